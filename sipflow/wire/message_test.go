package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// lines joins the lines of a message as they stand on the wire.
func lines(l ...string) string { return strings.Join(l, "\r\n") }

// mandatory are the fields without which nothing is a message.
const mandatory = "Via: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n" +
	"Call-ID: x@y\r\nCSeq: 7 OPTIONS\r\n"

func optionsWith(extra string) string {
	return "OPTIONS sip:c@d SIP/2.0\r\n" + mandatory + extra + "\r\n"
}

func parse(t *testing.T, s string) *Message {
	t.Helper()
	m, err := Parse([]byte(s))
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, s)
	}
	return m
}

func TestEveryFormOfAHeaderIsRead(t *testing.T) {
	for name, s := range map[string]string{
		"long": optionsWith("Contact: <sip:c@e>\r\nContent-Length: 0\r\n"),
		"compact": lines("OPTIONS sip:c@d SIP/2.0", "v: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKa", "f: <sip:a@b>;tag=1",
			"t: <sip:c@d>;tag=2", "i: x@y", "CSeq: 7 OPTIONS", "m: <sip:c@e>", "l: 0", "", ""),
		"any case, blanks at the colon": lines("OPTIONS sip:c@d sip/2.0", "VIA :SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKa",
			"fROM \t:   <sip:a@b>;tag=1  ", "tO:\t<sip:c@d>;tag=2", "call-id:x@y", "cseq:7 OPTIONS", "CONTACT : <sip:c@e>", "", ""),
		"bare LF": strings.ReplaceAll(optionsWith("Contact: <sip:c@e>\r\n"), "\r\n", "\n"),
		"folded": lines("OPTIONS sip:c@d SIP/2.0", "Via: SIP/2.0/UDP", "  10.0.0.2:5060;branch=z9hG4bKa", "From: <sip:a@b>", "\t;tag=1",
			"To:", " <sip:c@d>", " ; tag=2", "Call-ID:", " x@y", "CSeq: 7", "   ", "\tOPTIONS", "Contact: <sip:c@e>", "", ""),
		"line ends and NULs before": "\r\n\r\n\x00\x00" + optionsWith("Contact: <sip:c@e>\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, s)
			via, ok := m.TopVia()
			if !ok || string(via.SentBy) != "10.0.0.2:5060" || string(via.Branch) != "z9hG4bKa" || string(via.Transport) != "UDP" {
				t.Errorf("Via read as %+v, %v", via, ok)
			}
			contact, _ := NameAddr(m.Get(Contact))
			got := fmt.Sprintf("%s %s %s %s %s %d %s %v", m.Method(), m.URI(), Tag(m.Get(From)), Tag(m.Get(To)), m.Get(CallID), m.Seq(), contact,
				m.IsRequest())
			if want := "OPTIONS sip:c@d 1 2 x@y 7 sip:c@e true"; got != want {
				t.Errorf("read as %s, want %s", got, want)
			}
		})
	}
}

func TestStatusLines(t *testing.T) {
	for _, c := range []struct {
		line, reason string
		code, status int // code 0: refused with this status
	}{
		{"SIP/2.0 200 OK", "OK", 200, 0},
		{"sip/2.0 180 Ringing it is", "Ringing it is", 180, 0},
		{"SIP/2.0 100 ", "", 100, 0},
		{"SIP/2.0 100", "", 100, 0},
		{"SIP/2.0 200 = 2**3 но", "= 2**3 но", 200, 0},
		{"SIP/2.0 99 x", "", 0, 400},
		{"SIP/2.0 700 x", "", 0, 400},
		{"SIP/2.0 2000 x", "", 0, 400},
		{"SIP/2.0 4294967496 x", "", 0, 400},
		{"SIP/2.0 +20 x", "", 0, 400},
		{"SIP/2.0  200 OK", "", 0, 400},
		{"SIP/2.0 ", "", 0, 400},
		{"SIP/2.0 180 a\rBye: b", "", 0, 400},
		{"SIP/3.0 200 OK", "", 0, 505},
	} {
		m, err := Parse([]byte(c.line + "\r\n" + mandatory + "\r\n"))
		var pe *ParseError
		if errors.As(err, &pe); c.status != 0 && (pe == nil || pe.Code != c.status) {
			t.Errorf("%q: %v, want a %d", c.line, err, c.status)
		}
		if c.status == 0 && (err != nil || m.Code() != c.code || string(m.Reason()) != c.reason || m.Method() != "OPTIONS" || m.IsRequest()) {
			t.Errorf("%q read as %d %q %s, %v", c.line, m.Code(), m.Reason(), m.Method(), err)
		}
		if c.status == 0 && m.StatusLine() != fmt.Sprintf("SIP/2.0 %d %s", c.code, c.reason) {
			t.Errorf("%q: status line %q", c.line, m.StatusLine())
		}
	}
}

// What is not a message is refused, with the fields that stand after the fault:
// they are needed to refuse it.
func TestMalformedMessagesAreRefused(t *testing.T) {
	without := func(name string) string {
		s := ""
		for l := range strings.Lines(optionsWith("")) {
			if !strings.HasPrefix(l, name+":") {
				s += l
			}
		}
		return s
	}
	start := func(line string) string { return line + "\r\n" + mandatory + "\r\n" }
	for _, c := range []struct {
		name, msg string
		code      int
		reason    string
	}{
		{"no Via", without("Via"), 400, "Missing Via"},
		{"no From", without("From"), 400, "Missing From"},
		{"no To", without("To"), 400, "Missing To"},
		{"no Call-ID", without("Call-ID"), 400, "Missing Call-ID"},
		{"no CSeq", without("CSeq"), 400, "Missing CSeq"},
		{"two From", optionsWith("f: <sip:x@y>;tag=3\r\n"), 400, "Repeated From"},
		{"two To", optionsWith("To: <sip:x@y>\r\n"), 400, "Repeated To"},
		{"two Call-ID", optionsWith("i: x\r\n"), 400, "Repeated Call-ID"},
		{"two CSeq", optionsWith("CSeq: 7 OPTIONS\r\n"), 400, "Repeated CSeq"},
		{"two Max-Forwards", optionsWith("Max-Forwards: 1\r\nMax-Forwards: 1\r\n"), 400, "Repeated Max-Forwards"},
		{"two Content-Length", optionsWith("Content-Length: 0\r\nl: 0\r\n"), 400, "Repeated Content-Length"},
		{"empty Call-ID", without("Call-ID")[:len(without("Call-ID"))-2] + "Call-ID:  \r\n\r\n", 400, "Empty Call-ID"},
		{"Content-Length too long", optionsWith("Content-Length: 5\r\n") + "1234", 400, "Content-Length Exceeds The Message"},
		{"Content-Length negative", optionsWith("Content-Length: -1\r\n"), 400, "Malformed Content-Length"},
		{"Content-Length huge", optionsWith("Content-Length: 99999999999999999999\r\n"), 400, "Malformed Content-Length"},
		{"Content-Length wraps 16 bits", optionsWith("Content-Length: 65536\r\n"), 400, "Content-Length Exceeds The Message"},
		{"Content-Length wraps 32 bits", optionsWith("Content-Length: 4294967296\r\n"), 400, "Content-Length Exceeds The Message"},
		{"Content-Length of words", optionsWith("Content-Length: four\r\n"), 400, "Malformed Content-Length"},
		{"Content-Length empty", optionsWith("Content-Length:\r\n"), 400, "Malformed Content-Length"},
		{"Max-Forwards too big", optionsWith("Max-Forwards: 256\r\n"), 400, "Malformed Max-Forwards"},
		{"CSeq of another method", strings.Replace(optionsWith(""), "7 OPTIONS", "7 INVITE", 1), 400, "CSeq Method Is Not The Request's"},
		{"CSeq method in other case", strings.Replace(optionsWith(""), "7 OPTIONS", "7 options", 1), 400, "CSeq Method Is Not The Request's"},
		{"CSeq too big", strings.Replace(optionsWith(""), "7 OPT", "2147483648 OPT", 1), 400, "Malformed CSeq"},
		{"CSeq without number", strings.Replace(optionsWith(""), "7 OPT", "OPT", 1), 400, "Malformed CSeq"},
		{"CSeq without method", strings.Replace(optionsWith(""), "7 OPTIONS", "7", 1), 400, "Malformed CSeq"},
		{"From without URI", strings.Replace(optionsWith(""), "<sip:a@b>", "Bob", 1), 400, "Malformed From"},
		{"From with a comma in an unquoted name", strings.Replace(optionsWith(""), "<sip:a@b>", "Bell, Alexander <sip:a@b>", 1), 400,
			"Malformed From"},
		{"From with an open quote", strings.Replace(optionsWith(""), "<sip:a@b>", `"Bob <sip:a@b>`, 1), 400, "Malformed From"},
		{"To with an open quote in its parameters", strings.Replace(optionsWith(""), "<sip:c@d>;tag=2", "<sip:c@d>;x=\"y", 1), 400,
			"Malformed To"},
		{"From is a list", strings.Replace(optionsWith(""), "<sip:a@b>;tag=1", "<sip:a@b>,<sip:x@y>;tag=1", 1), 400, "Malformed From"},
		{"To with a tag that says nothing", strings.Replace(optionsWith(""), ";tag=2", ";tag=", 1), 400, "Malformed To"},
		{"To with a tag and no value", strings.Replace(optionsWith(""), ";tag=2", ";tag", 1), 400, "Malformed To"},
		{"To with words after the address", strings.Replace(optionsWith(""), "<sip:c@d>;tag=2", "<sip:c@d> x;tag=2", 1), 400, "Malformed To"},
		{"To with a blank in its URI", strings.Replace(optionsWith(""), "<sip:c@d>", `<sip:c@d SIP/2.0>`, 1), 400, "Malformed To"},
		{"Contact without colon", optionsWith("Contact <sip:x@y>\r\n"), 400, "Malformed Header Field Name"},
		{"Route and nothing else", optionsWith("Route\r\n"), 400, "Header Field Without Colon"},
		{"second Via without colon", optionsWith("v\tSIP/2.0/UDP x\r\n"), 400, "Header Field Without Colon"},
		{"blank in Content-Length", optionsWith("Content-Length x: 0\r\n"), 400, "Malformed Header Field Name"},
		{"lone CR in a Contact", optionsWith("Contact: <sip:x@y>\rBye: y\r\n"), 400, "Carriage Return In A Header Field"},
		{"lone CR in a Content-Encoding", optionsWith("content-encoding: x\ry\r\n"), 400, "Carriage Return In A Header Field"},
		{"lone CR in a Replaces", optionsWith("Replaces: x\ry\r\n"), 400, "Carriage Return In A Header Field"},
		{"no end of header", strings.TrimSuffix(optionsWith(""), "\r\n"), 400, "No Empty Line After The Header"},
		{"header ends inside of a fold", strings.TrimSuffix(optionsWith("Subject: a\r\n b"), "\r\n"), 400, "No Empty Line After The Header"},
		{"too many fields", optionsWith(strings.Repeat("X: y\r\n", 300)), 400, "Too Many Header Fields"},
		{"version 3.0", start("OPTIONS sip:c@d SIP/3.0"), 505, "Version Not Supported"},
		{"version 2.00", start("OPTIONS sip:c@d SIP/2.00"), 505, "Version Not Supported"},
		{"other protocol", start("OPTIONS sip:c@d HTTP/1.1"), 400, "Malformed Request Line"},
		{"no version", start("OPTIONS sip:c@d"), 400, "Malformed Request Line"},
		{"blank at the end of the request line", start("OPTIONS sip:c@d SIP/2.0 "), 400, "Malformed Request Line"},
		{"two blanks in the request line", start("OPTIONS  sip:c@d SIP/2.0"), 400, "Malformed Request-URI"},
		{"Request-URI in angle brackets", start("OPTIONS <sip:c@d> SIP/2.0"), 400, "Malformed Request-URI"},
		{"Request-URI with blanks", start("OPTIONS sip:c@d; lr SIP/2.0"), 400, "Malformed Request-URI"},
		{"no start line at all", "\r\n" + mandatory + "\r\n", 400, "Malformed Method"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Parse([]byte(c.msg))
			var pe *ParseError
			if !errors.As(err, &pe) || pe.Code != c.code || pe.Reason != c.reason {
				t.Fatalf("got %v, want %d %s", err, c.code, c.reason)
			}
			if m == nil {
				t.Fatal("nothing is left of the message")
			}
			if !strings.HasPrefix(c.reason, "Missing") && c.name != "too many fields" && c.name != "no start line at all" && m.Get(CSeq) == nil {
				t.Error("its CSeq was not read: nobody could be told")
			}
		})
	}
}

// unreadable are lines that are no header fields, and that nobody needs.
var unreadable = map[string]string{
	"no colon":             "nonsense\r\n",
	"no name":              ": x\r\n",
	"a blank in the name":  "User Agent: Phone 1.0\r\n",
	"a slash in the name":  "X/Stat: 1\r\n",
	"a NUL in the name":    "Bad\x00Name: x\r\n",
	"a NUL after one name": "Contact\x00: <sip:x@y>\r\n",
	"a CR in the value":    "Subject: x\rBye: y\r\n",
	"folded":               "User Agent: Phone\r\n 1.0\r\n",
	"all of them":          "nonsense\r\n: x\r\nUser Agent: x\r\nX/Stat: 1\r\nSubject: x\rBye: y\r\n",
}

// A field that cannot be read is as good as none, and goes no further.
func TestAFieldThatCannotBeReadIsLeftOut(t *testing.T) {
	for name, line := range unreadable {
		for _, start := range []string{"OPTIONS sip:c@d SIP/2.0\r\n", "SIP/2.0 200 OK\r\n"} {
			m, err := Parse([]byte(start + "X-First: 1\r\n" + line + mandatory + line + "X-Last: 2\r\nContent-Length: 3\r\n" + line + "\r\nabc"))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			names := ""
			m.Fields(func(_ Header, name, _ []byte) bool { names += string(name) + " "; return true })
			if names != "X-First Via From To Call-ID CSeq X-Last Content-Length " || string(m.Body()) != "abc" || m.Seq() != 7 {
				t.Errorf("%s: read as %s, %q", name, names, m.Body())
			}
			via, ok := m.TopVia()
			if !ok || string(via.Branch) != "z9hG4bKa" || string(m.FromTag()) != "1" || string(m.ToTag()) != "2" {
				t.Errorf("%s: Via %+v, tags %s, %s", name, via, m.FromTag(), m.ToTag())
			}
		}
	}
	// What says nothing in a response does no harm there.
	for _, line := range []string{"Max-Forwards: 70\r\nMax-Forwards: 70\r\n", "Max-Forwards: many\r\n", "Route x\r\n", "Refer-To: x\ry\r\n"} {
		if _, err := Parse([]byte("SIP/2.0 200 OK\r\n" + mandatory + line + "\r\n")); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, line := range []string{"Contact <sip:x@y>\r\n", "Record-Route: <sip:x>\ry\r\n", "RSeq 1\r\n", "Content-Type text: x\r\n", "f\r\n"} {
		if _, err := Parse([]byte("SIP/2.0 200 OK\r\n" + mandatory + line + "\r\n")); err == nil {
			t.Errorf("%q is left out", line)
		}
	}
}

func TestDatagramsThatAreNoMessages(t *testing.T) {
	for _, s := range []string{"", "\r\n", "\r\n\r\n", "\x00", "\x00\x00\x00\x00", "\n"} {
		if m, err := Parse([]byte(s)); err != ErrKeepAlive || m != nil {
			t.Errorf("%q: %v, %v", s, m, err)
		}
	}
	for _, s := range []string{"x", "OPTIONS", "\r\n\r\nOPTIONS sip:a@b SIP/2.0", " \r\n\r\n", "\xff\xfe\r\n\r\n", "SIP/2.0\r\n\r\n"} {
		var pe *ParseError
		if _, err := Parse([]byte(s)); !errors.As(err, &pe) || pe.Code != 400 {
			t.Errorf("%q: %v", s, err)
		}
	}
	var pe *ParseError
	if _, err := Parse([]byte(optionsWith("") + strings.Repeat("x", MaxMessage))); !errors.As(err, &pe) || pe.Code != 513 {
		t.Errorf("too large: %v", err)
	}
	big := optionsWith("")
	big += strings.Repeat("x", MaxMessage-len(big))
	if m := parse(t, big); len(m.Body()) != MaxMessage-len(optionsWith("")) {
		t.Errorf("the largest message has a body of %d bytes", len(m.Body()))
	}
}

func TestBodyIsCutToContentLength(t *testing.T) {
	for _, c := range []struct{ length, sent, body string }{
		{"", "v=0\r\n", "v=0\r\n"},
		{"Content-Length: 0\r\n", "v=0\r\n", ""},
		{"l: 3\r\n", "v=0\r\nBYE sip:x SIP/2.0", "v=0"},
		{"Content-Length: 0000000003\r\n", "v=0", "v=0"},
		{"Content-Length: 4\r\n", "\x00\r\n\x00", "\x00\r\n\x00"},
	} {
		if m := parse(t, optionsWith(c.length)+c.sent); string(m.Body()) != c.body {
			t.Errorf("%q after %q: body %q", c.sent, c.length, m.Body())
		}
	}
}

func TestFieldsKeepTheirOrderAndUnknownOnesTheirNames(t *testing.T) {
	m := parse(t, optionsWith("Route: <sip:1>,<sip:2>\r\nX-One: 1\r\nroute: <sip:3>\r\nx-one:\r\n"))
	var all, routes []string
	m.Fields(func(id Header, name, value []byte) bool {
		all = append(all, fmt.Sprintf("%s/%s=%s", id, name, value))
		return true
	})
	if got, want := strings.Join(all[5:], " "), "Route/Route=<sip:1>,<sip:2> /X-One=1 Route/route=<sip:3> /x-one="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for v := range m.All(Route) {
		Split(v, func(r []byte) bool { routes = append(routes, string(r)); return true })
	}
	if got := strings.Join(routes, " "); got != "<sip:1> <sip:2> <sip:3>" {
		t.Errorf("routes %s", got)
	}
	if m.Get(Contact) != nil {
		t.Error("a field that is not there has a value")
	}
}

// Every name that is known is found in any case, and nothing else is.
func TestHeaderNames(t *testing.T) {
	for h := Via; h < numHeaders; h++ {
		for _, s := range []string{h.String(), strings.ToLower(h.String()), strings.ToUpper(h.String())} {
			if got := lookup([]byte(s)); got != h {
				t.Errorf("%s is %v", s, got)
			}
		}
		if got := lookup([]byte(h.String() + "x")); got != Other {
			t.Errorf("%sx is %v", h, got)
		}
	}
	for _, s := range []string{"z", "1", "-", "Vi@", strings.Repeat("a", 40), "~"} {
		if got := lookup([]byte(s)); got != Other {
			t.Errorf("%s is %v", s, got)
		}
	}
	if KnownMethod("FOO") || KnownMethod("invite") || !KnownMethod("INVITE") {
		t.Error("methods are case-sensitive and registered")
	}
}
