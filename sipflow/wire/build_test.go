package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func request(t *testing.T, via ...string) *Message {
	t.Helper()
	s := "INVITE sip:c@d SIP/2.0\r\n"
	for _, v := range via {
		s += "Via: " + v + "\r\n"
	}
	return parse(t, s+"Record-Route: <sip:p;lr>,\r\n  <sip:q;lr>\r\nf: \"A\" <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\ni: x@y\r\nCSeq:  7  "+
		" INVITE\r\n"+
		"Record-Route: <sip:r;lr>\r\nSubject: not in a response\r\nMax-Forwards: 9\r\n\r\n")
}

// RFC 3261 §18.2.1 and RFC 3581 §4: what the sender does not know about itself.
func TestReplyTellsWhereTheRequestCameFrom(t *testing.T) {
	for _, c := range []struct{ via, from, want string }{
		{"SIP/2.0/UDP 10.0.0.2:5060;branch=z", "10.0.0.2:5060", "SIP/2.0/UDP 10.0.0.2:5060;branch=z"},
		{"SIP/2.0/UDP 10.0.0.2;branch=z", "10.0.0.2:9999", "SIP/2.0/UDP 10.0.0.2;branch=z"},
		{"SIP/2.0/UDP phone.lan;branch=z", "10.0.0.2:5060", "SIP/2.0/UDP phone.lan;branch=z;received=10.0.0.2"},
		{"SIP/2.0/UDP 192.168.0.9;branch=z", "10.0.0.2:5060", "SIP/2.0/UDP 192.168.0.9;branch=z;received=10.0.0.2"},
		{"SIP/2.0/UDP 10.0.0.2;rport;branch=z", "10.0.0.2:1024", "SIP/2.0/UDP 10.0.0.2;rport=1024;branch=z;received=10.0.0.2"},
		{"SIP/2.0/UDP 10.0.0.2;branch=z;rport", "10.0.0.2:1024", "SIP/2.0/UDP 10.0.0.2;branch=z;rport=1024;received=10.0.0.2"},
		{"SIP/2.0/UDP 10.0.0.2;branch=z;rport=", "10.0.0.2:1024", "SIP/2.0/UDP 10.0.0.2;branch=z;rport=1024;received=10.0.0.2"},
		{"SIP/2.0/UDP 10.0.0.2 ;\trport ; branch=z", "10.0.0.2:1024", "SIP/2.0/UDP 10.0.0.2 ;rport=1024; branch=z;received=10.0.0.2"},
		{"SIP/2.0/UDP rport:5060;rportx;x-rport=1;branch=rport;rport", "10.0.0.2:1024",
			"SIP/2.0/UDP rport:5060;rportx;x-rport=1;branch=rport;rport=1024;received=10.0.0.2"},
		{"SIP/2.0/UDP 10.0.0.2;x=\"a;rport,\";rport;rport, SIP/2.0/UDP 10.0.0.3;rport", "10.0.0.2:1024",
			"SIP/2.0/UDP 10.0.0.2;x=\"a;rport,\";rport=1024;rport;received=10.0.0.2, SIP/2.0/UDP 10.0.0.3;rport"},
		{"SIP/2.0/UDP 10.0.0.9,SIP/2.0/UDP 10.0.0.3", "10.0.0.2:1024", "SIP/2.0/UDP 10.0.0.9;received=10.0.0.2,SIP/2.0/UDP 10.0.0.3"},
		{"SIP/2.0/UDP [2001:db8::2]:5060;rport", "[2001:db8::2]:1024", "SIP/2.0/UDP [2001:db8::2]:5060;rport=1024;received=2001:db8::2"},
		{"SIP/2.0/UDP [2001:db8::2]:5060", "[2001:db8::2]:1024", "SIP/2.0/UDP [2001:db8::2]:5060"},
		{"SIP/2.0/UDP x;rport", "[fe80::2%eth0]:1024", "SIP/2.0/UDP x;rport=1024;received=fe80::2"},
		{"SIP/2.0/UDP x;rport", "[::ffff:10.0.0.2]:1024", "SIP/2.0/UDP x;rport=1024;received=10.0.0.2"},
	} {
		b := AppendReply(nil, request(t, c.via, "SIP/2.0/UDP 10.0.0.7;rport;branch=second"), netip.MustParseAddrPort(c.from), Reply{Code: 180})
		m := parse(t, string(b))
		got := slices.Collect(m.All(Via))
		if len(got) != 2 || string(got[0]) != c.want || string(got[1]) != "SIP/2.0/UDP 10.0.0.7;rport;branch=second" {
			t.Errorf("%s from %s:\n got %s\nwant %s", c.via, c.from, got, c.want)
		}
	}
}

// RFC 3261 §8.2.6.2: what a response takes from its request, and nothing else.
func TestReplyMirrorsTheRequest(t *testing.T) {
	from := netip.MustParseAddrPort("10.0.0.2:5060")
	req := request(t, "SIP/2.0/UDP 10.0.0.2;branch=z")
	const top = "\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z\r\n"
	const routes = "Record-Route: <sip:p;lr>,    <sip:q;lr>\r\n"
	const rest = "From: \"A\" <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=ours\r\nCall-ID: x@y\r\nCSeq: 7   INVITE\r\n"
	for _, c := range []struct {
		r    Reply
		want string
	}{
		{Reply{Code: 404, ToTag: "ours"}, "SIP/2.0 404 Not Found" + top + rest + "Content-Length: 0\r\n\r\n"},
		{Reply{Code: 499, ToTag: "ours", Reason: "Because"}, "SIP/2.0 499 Because" + top + rest + "Content-Length: 0\r\n\r\n"},
		{Reply{Code: 499, ToTag: "ours"}, "SIP/2.0 499 Unknown" + top + rest + "Content-Length: 0\r\n\r\n"},
		{Reply{Code: 200, ToTag: "ours", Header: "Allow: BYE\r\n", ContentType: "text/plain", Body: []byte("hi")},
			"SIP/2.0 200 OK" + top + routes + rest + "Record-Route: <sip:r;lr>\r\nAllow: BYE\r\nContent-Type: text/plain\r\nContent-Length: " +
				"2\r\n\r\nhi"},
	} {
		if got := string(AppendReply([]byte(nil), req, from, c.r)); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
	if got := string(AppendReply(nil, req, from, Reply{Code: 100, ToTag: "ours"})); strings.Contains(got, "Record-Route") {
		t.Errorf("a 100 has the route: %s", got)
	}
}

func TestReplyKeepsATagThatIsThere(t *testing.T) {
	for to, want := range map[string]string{
		"<sip:c@d>":                   "<sip:c@d>;tag=ours",
		"<sip:c@d>;tag=theirs":        "<sip:c@d>;tag=theirs",
		"<sip:c@d> ; Tag = theirs":    "<sip:c@d> ; Tag = theirs",
		"<sip:c@d;tag=of-the-uri>":    "<sip:c@d;tag=of-the-uri>;tag=ours",
		"sip:c@d;tag=theirs":          "sip:c@d;tag=theirs",
		`"x;tag=1" <sip:c@d>`:         `"x;tag=1" <sip:c@d>;tag=ours`,
		`<sip:c@d>;x="tag=1;tag=2"`:   `<sip:c@d>;x="tag=1;tag=2";tag=ours`,
		`"x\";tag=1" <sip:c@d>;tag=t`: `"x\";tag=1" <sip:c@d>;tag=t`,
	} {
		req := parse(t, "BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a>\r\nTo: "+to+"\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n")
		m := parse(t, string(AppendReply(nil, req, netip.MustParseAddrPort("10.0.0.2:1"), Reply{Code: 481, ToTag: "ours"})))
		if got := string(m.Get(To)); got != want {
			t.Errorf("%s becomes %s, want %s", to, got, want)
		}
	}
}

// RFC 3261 §18.2.2: a response never goes anywhere but to the sender's address.
func TestWhereAResponseGoes(t *testing.T) {
	for _, c := range []struct{ via, from, to string }{
		{"SIP/2.0/UDP 10.0.0.2:5070", "10.0.0.2:1024", "10.0.0.2:5070"},
		{"SIP/2.0/UDP 10.0.0.2", "10.0.0.2:1024", "10.0.0.2:5060"},
		{"SIP/2.0/UDP 10.0.0.2:5070;rport", "10.0.0.2:1024", "10.0.0.2:1024"},
		{"SIP/2.0/UDP 192.0.2.7:5070;maddr=192.0.2.8", "10.0.0.2:1024", "10.0.0.2:5070"},
		{"SIP/2.0/UDP [2001:db8::2]", "[2001:db8::2]:1024", "[2001:db8::2]:5060"},
		{"SIP/2.0/UDP [2001:db8::2]:5070", "[2001:db8::2]:1024", "[2001:db8::2]:5070"},
		{"SIP/2.0/UDP x:0", "10.0.0.2:1024", "10.0.0.2:5060"},
		{"SIP/2.0/UDP x:65536", "10.0.0.2:1024", "10.0.0.2:5060"},
		{"SIP/2.0/UDP x:port", "10.0.0.2:1024", "10.0.0.2:5060"},
	} {
		via, ok := request(t, c.via).TopVia()
		if !ok {
			t.Fatalf("%s is no Via", c.via)
		}
		if got := SentByAddr(via, netip.MustParseAddrPort(c.from)); got.String() != c.to {
			t.Errorf("%s from %s goes to %s, want %s", c.via, c.from, got, c.to)
		}
	}
}

func TestSentByIsTakenApart(t *testing.T) {
	for sentBy, want := range map[string]string{
		"": " 0", ":": " 0", "h": "h 0", "h:5062": "h 5062", "h : 5062": "h 5062", "h:": "h 0", "h:0": "h 0", "h:99999": "h 0", "h:x": "h 0",
		"[::1]:5062": "::1 5062", "[::1]": "::1 0",
		"[2001:db8::1] : 5062": "2001:db8::1 5062", "2001:db8::1": "2001:db8::1 0", "[": "[ 0", "]": "] 0", "[]": "[] 0",
	} {
		host, port := ViaValue{SentBy: []byte(sentBy)}.HostPort()
		if got := fmt.Sprintf("%s %d", host, port); got != want {
			t.Errorf("%q is %q, want %q", sentBy, got, want)
		}
	}
}
