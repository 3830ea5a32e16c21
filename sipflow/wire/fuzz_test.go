package wire

import (
	"bufio"
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/emiago/sipgo/sip"
)

// seeds are the torture messages and the usual ones.
func seeds(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "torture", "*.dat"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no torture messages: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(okWithSDP))
	f.Add([]byte(optionsWith("Content-Length: 3\r\n") + "abc"))
	f.Add([]byte(optionsWith("v: SIP/2.0/TCP x;rport\r\nf:\r\n <sip:a>\r\nl:0\r\n")))
	f.Add([]byte("\r\n\r\n"))
}

var fuzzSource = netip.MustParseAddrPort("[2001:db8::7]:5061")

// FuzzParse: nothing panics, what is accepted keeps the promises of Message,
// and what has a Via can have a response that can be read.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(bytes.Clone(data))
		var pe *ParseError
		switch {
		case err == nil:
		case errors.As(err, &pe):
			if m == nil || (pe.Code != 400 && pe.Code != 505 && pe.Code != 513) || pe.Reason == "" {
				t.Fatalf("%v with %v", pe, m)
			}
		case err == ErrKeepAlive && m == nil:
			return
		default:
			t.Fatal(err)
		}
		m.Fields(func(id Header, name, value []byte) bool {
			if len(name) == 0 || bytes.ContainsAny(value, "\r\n") {
				t.Fatalf("field %q: %q", name, value)
			}
			Split(value, func([]byte) bool { return true })
			if uri, _ := NameAddr(value); uri != nil && !bytes.Equal(ContactURI(value), uri) || !oneWord(ContactURI(value)) {
				t.Fatalf("%q: URI %q, as a Contact %q", value, uri, ContactURI(value))
			}
			ParseURI(value)
			return true
		})
		via, ok := m.TopVia()
		if ok {
			SentByAddr(via, fuzzSource)
			// As a malformed request is answered: it must not panic.
			AppendReply(nil, m, fuzzSource, Reply{Code: 400, ToTag: "t"})
		}
		if err != nil {
			return
		}
		for _, h := range []Header{Via, From, To, CallID, CSeq} {
			if m.Get(h) == nil {
				t.Fatalf("accepted without %s", h)
			}
		}
		if v := m.Get(ContentLength); v != nil {
			if n, _ := digits(v); n != uint64(len(m.Body())) {
				t.Fatalf("Content-Length %s, body of %d bytes", v, len(m.Body()))
			}
		}
		if m.Method() == "" || m.IsRequest() != (m.Code() == 0) || (m.IsRequest() && len(m.URI()) == 0) {
			t.Fatalf("method %q, code %d, URI %q", m.Method(), m.Code(), m.URI())
		}
		if !ok || !m.IsRequest() {
			return
		}
		reply := AppendReply(nil, m, fuzzSource, Reply{Code: 486, ToTag: "t"})
		if len(reply) > MaxMessage {
			return
		}
		r, err := Parse(bytes.Clone(reply))
		if err != nil {
			t.Fatalf("the answer cannot be read: %v\n%q", err, reply)
		}
		rvia, ok := r.TopVia()
		if !ok || !bytes.Equal(rvia.Branch, via.Branch) || !bytes.Equal(rvia.SentBy, via.SentBy) {
			t.Fatalf("the answer's Via is %q, the request's %q", r.Get(Via), m.Get(Via))
		}
		if r.Code() != 486 || r.Method() != m.Method() || r.Seq() != m.Seq() || !bytes.Equal(r.Get(CallID), m.Get(CallID)) ||
			!bytes.Equal(r.Get(From), m.Get(From)) {
			t.Fatalf("the answer is another request's:\n%q", reply)
		}
		if b, err := Parse(AppendReply(nil, m, fuzzSource, Reply{Code: 486, ToTag: "t", Brief: true})); err != nil || b.Code() != 486 ||
			b.Seq() != m.Seq() || !bytes.Equal(b.Get(CallID), r.Get(CallID)) || !bytes.Equal(b.ToTag(), r.ToTag()) ||
			!bytes.Equal(b.FromTag(), r.FromTag()) {
			t.Fatalf("the brief answer is another: %v\n%q", err, b.Raw())
		}
		want := Tag(m.Get(To))
		if len(want) == 0 {
			want = []byte("t")
		}
		if !bytes.Equal(Tag(r.Get(To)), want) {
			t.Fatalf("the answer's To is %q, the request's %q", r.Get(To), m.Get(To))
		}
	})
}

// FuzzParseAgainstSipgo: where both parsers accept a message they read the same.
//
// Known holes of sipgo are left out: it keeps blanks around the CSeq number,
// the tag and the branch, and loses a tag after a blank. It reads a bare LF as
// part of a value, and takes the parameters of an addr-spec without brackets as
// the URI's. It does not look for the end of a quoted string, and takes one of
// repeated fields. It knows parameter names in one case only, and not every
// compact form. It stops reading a Via at a sent-by or an empty parameter that
// it does not like.
func FuzzParseAgainstSipgo(f *testing.F) {
	seeds(f)
	parser := sip.NewParser()
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(bytes.Clone(data))
		if err != nil {
			return
		}
		if !plain(m) {
			return
		}
		other, err := parser.ParseSIP(bytes.Clone(m.Raw()))
		if err != nil {
			return
		}
		switch o := other.(type) {
		case *sip.Request:
			if !m.IsRequest() || string(o.Method) != m.Method() {
				t.Fatalf("method %q, sipgo %q", m.Method(), o.Method)
			}
		case *sip.Response:
			if o.StatusCode != m.Code() {
				t.Fatalf("code %d, sipgo %d", m.Code(), o.StatusCode)
			}
		}
		if h := other.CallID(); h != nil && h.Value() != string(m.Get(CallID)) {
			t.Fatalf("Call-ID %q, sipgo %q", m.Get(CallID), h.Value())
		}
		if h := other.CSeq(); h != nil && h.SeqNo != m.Seq() {
			t.Fatalf("CSeq %d, sipgo %d", m.Seq(), h.SeqNo)
		}
		if h := other.From(); h != nil {
			if tag, _ := h.Params.Get("tag"); tag != string(Tag(m.Get(From))) {
				t.Fatalf("From %q: tag %q, sipgo %q", m.Get(From), Tag(m.Get(From)), tag)
			}
		}
		if h := other.To(); h != nil {
			if tag, _ := h.Params.Get("tag"); tag != string(Tag(m.Get(To))) {
				t.Fatalf("To %q: tag %q, sipgo %q", m.Get(To), Tag(m.Get(To)), tag)
			}
		}
		if via, ok := m.TopVia(); ok && other.Via() != nil {
			if branch, _ := other.Via().Params.Get("branch"); branch != string(via.Branch) {
				t.Fatalf("Via %q: branch %q, sipgo %q", m.Get(Via), via.Branch, branch)
			}
		}
	})
}

var emptyParam = regexp.MustCompile(`;(;|$)`)

var sentBy = regexp.MustCompile(`^[a-zA-Z0-9.-]+(:[0-9]+)?$`)

// plain reports whether sipgo can be asked about a message.
func plain(m *Message) bool {
	head := m.Raw()[:len(m.Raw())-len(m.Body())]
	if bytes.Count(head, []byte("\n")) != bytes.Count(head, []byte("\r\n")) {
		return false
	}
	var seen [numHeaders]int
	via, ok := m.TopVia()
	ok = ok && sentBy.Match(via.SentBy)
	m.Fields(func(id Header, name, v []byte) bool {
		seen[id]++
		if seen[id] > 1 && id != Other {
			ok = false
		}
		switch id {
		case From, To:
			i := bytes.IndexByte(v, '>')
			ok = ok && i > 0 && !bytes.ContainsAny(v, "\"\\,") && bytes.Count(v, []byte("<")) == 1 && !bytes.ContainsAny(v[i:], " \t<") &&
				bytes.Count(v, []byte(">")) == 1 && bytes.Count(bytes.ToLower(v), []byte("tag")) < 2 &&
				bytes.Count(v, []byte("tag")) == bytes.Count(bytes.ToLower(v), []byte("tag"))
		case Via:
			ok = ok && !emptyParam.Match(v) && !bytes.ContainsAny(v, "\"\\,\t") && bytes.Count(v, []byte(" ")) == 1 &&
				bytes.Count(bytes.ToLower(v), []byte("branch")) < 2 &&
				bytes.Count(v, []byte("branch")) == bytes.Count(bytes.ToLower(v), []byte("branch"))
		case CSeq:
			ok = ok && bytes.Count(v, []byte(" ")) == 1 && !bytes.Contains(v, []byte("\t"))
		}
		for _, c := range v {
			ok = ok && (c >= ' ' && c < 0x7f)
		}
		return ok
	})
	return ok
}

// FuzzNameAddr: what is taken for a URI can be written into a request line, and
// into angle brackets and read again.
func FuzzNameAddr(f *testing.F) {
	for _, s := range []string{`"Bob \"x\" <y>" <sip:a@b;lr>;tag=1;x="a;b,c"`, "sip:a@b;tag=1", "Bob <sip:a@[::1]:5060?x=y>,<sip:c>", "*", "<",
		`"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		Split(v, func(part []byte) bool { NameAddr(part); return true })
		ParseURI(v)
		Param(v, "tag")
		uri, params := NameAddr(v)
		if uri == nil {
			if params != nil {
				t.Fatalf("parameters %q without a URI", params)
			}
			return
		}
		if len(uri) == 0 || bytes.ContainsAny(uri, " \t\r\n<>\"\x00") {
			t.Fatalf("URI %q", uri)
		}
		again, p := NameAddr([]byte("<" + string(uri) + ">" + string(params)))
		if !bytes.Equal(again, uri) || !bytes.Equal(p, params) {
			t.Fatalf("%q read as %q %q, then as %q %q", v, uri, params, again, p)
		}
		if u, ok := ParseURI(uri); ok && (u.Host == "" || u.Port < 0 || u.Port > 65535 || strings.ContainsAny(u.Host, " <>@")) {
			t.Fatalf("%q is %+v", uri, u)
		}
	})
}

// FuzzReadMessage: a stream ends or gives messages, and does not depend on how
// it is cut into pieces.
func FuzzReadMessage(f *testing.F) {
	seeds(f)
	f.Add([]byte(optionsWith("Content-Length: 3\r\n") + "abc" + "\r\n\r\n" + optionsWith("l: 0\r\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 20000 {
			return
		}
		whole := read(bytes.NewReader(data))
		if pieces := read(iotest.OneByteReader(bytes.NewReader(data))); pieces != whole {
			t.Fatalf("in one piece: %s\nbyte by byte: %s", whole, pieces)
		}
		n := 0
		r := bufio.NewReaderSize(bytes.NewReader(data), 16)
		for {
			m, err := ReadMessage(r, func() error { return nil })
			var pe *ParseError
			if err != nil && (!errors.As(err, &pe) || errors.Is(err, ErrFraming)) {
				break
			}
			if n++; n > len(data) {
				t.Fatal("more messages than bytes")
			}
			if err == nil && m.Get(ContentLength) == nil {
				t.Fatal("a message without Content-Length")
			}
		}
	})
}

// FuzzURI: what is read of a URI is in it, and another parser reads the same
// where both can.
func FuzzURI(f *testing.F) {
	for _, s := range []string{"sip:a@b:5060;transport=TCP;lr;maddr=1.2.3.4?x=y", "sips:[2001:db8::1]:5061", "SIP:b;lr=on", "sip:a;b=c@d",
		"sip:a@b@c", "sip::@:", "tel:+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, ok := ParseURI([]byte(s))
		if !ok {
			return
		}
		if u.Scheme != "sip" && u.Scheme != "sips" || u.Host == "" || u.Port < 0 || u.Port > 65535 || strings.Contains(u.Host, "@") {
			t.Fatalf("%q is %+v", s, u)
		}
		if len(u.User)+len(u.Host)+len(u.Transport)+len(u.MAddr) > len(s) {
			t.Fatalf("%q has grown to %+v", s, u)
		}
		if !plainURI.MatchString(s) || strings.Contains(s, ":::") { // RFC 5118 §4.10
			return // sipgo takes what no URI may hold
		}
		var o sip.Uri
		if err := sip.ParseUri(s, &o); err != nil {
			return
		}
		if !sameAddr(strings.Trim(o.Host, "[]"), u.Host) || o.Port != u.Port {
			t.Fatalf("%q is %+v, sipgo has %q port %d", s, u, o.Host, o.Port)
		}
	})
}

// sameAddr compares hosts; ours may have an address in its usual form.
func sameAddr(a, b string) bool {
	if x, err := netip.ParseAddr(a); err == nil {
		y, err := netip.ParseAddr(b)
		return err == nil && x == y
	}
	return a == b
}

var plainURI = regexp.MustCompile(`^sips?:([a-z0-9.+-]+@)?([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?(;[a-z0-9-]+(=[a-z0-9.-]+)?)*$`)

// FuzzLists: the elements of a list and the parameters of a value are parts of
// it, and the elements put together again are the same.
func FuzzLists(f *testing.F) {
	for _, s := range []string{`<sip:a;x=","@b>;tag=1, "q,\"" <sip:c>;expires=3`, `timer, 100rel`, `;a="x;y";B = c ;d`, `,,"`, `<,>,<`} {
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		var all []string
		Split([]byte(s), func(e []byte) bool {
			all = append(all, string(e))
			return len(all) < 10_000
		})
		total := 0
		for _, e := range all {
			if total += len(e); total > len(s) || !strings.Contains(s, e) {
				t.Fatalf("%q is split into %q", s, all)
			}
		}
		n := 0
		if joined := strings.Join(all, ","); len(all) > 0 && all[len(all)-1] != "" && balanced([]byte(s)) {
			Split([]byte(joined), func(e []byte) bool {
				if n >= len(all) || all[n] != string(e) {
					t.Fatalf("%q is split into %q, and then element %d is %q", s, all, n, e)
				}
				n++
				return true
			})
		}
		if name = strings.ToLower(name); name == "" || strings.ContainsAny(name, " \t") {
			return
		}
		if v, ok := Param([]byte(s), name); ok && !strings.Contains(s, string(v)) {
			t.Fatalf("%q of %q is %q", name, s, v)
		}
	})
}
