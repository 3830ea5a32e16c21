package wire

import (
	"strings"
	"testing"
)

func TestNameAddr(t *testing.T) {
	for _, c := range []struct{ in, uri, tag string }{
		{"<sip:a@b>;tag=1", "sip:a@b", "1"},
		{"<sip:a@b> ; tag=1", "sip:a@b", "1"},
		{"<sip:a@b>;x;TAG = 1 ;y=2", "sip:a@b", "1"},
		{"< sip:a@b >;tag=1", "sip:a@b", "1"},
		{"<sip:a@b;tag=inner>;tag=1", "sip:a@b;tag=inner", "1"},
		{"<sip:a@b;tag=inner>", "sip:a@b;tag=inner", ""},
		{"sip:a@b;tag=1", "sip:a@b", "1"}, // without brackets the parameter is the field's
		{"sip:a@b", "sip:a@b", ""},
		{"sip:a@b ;tag=1", "sip:a@b", "1"},
		{"Bob Caller <sip:a@b>;tag=1", "sip:a@b", "1"},
		{`"Bob" <sip:a@b>;tag=1`, "sip:a@b", "1"},
		{`"Bob"<sip:a@b>;tag=1`, "sip:a@b", "1"},
		{`"Bell, A. <x>; \"tag=9\" \\" <sip:a@b>;tag=1`, "sip:a@b", "1"},
		{`"Bob" sip:a@b;tag=1`, "", ""},
		{`"Bob" <sip:a@b>;x="a;tag=9,\"b";tag=1`, "sip:a@b", "1"},
		{`<sip:a@b>;tag="quoted"`, "sip:a@b", "quoted"},
		{"<sip:a@b>;tag=", "sip:a@b", ""},
		{"<sip:a@b>, <sip:c@d>;tag=of-the-next", "sip:a@b", ""},
		{"<sip:a@b>;x=1,<sip:c@d>;tag=of-the-next", "sip:a@b", ""},
		{"<sip:a,b;c@d?x=%3B>;tag=1", "sip:a,b;c@d?x=%3B", "1"},
		{"<tel:+49-30>;tag=1", "tel:+49-30", "1"},
		{"<sip:[2001:db8::1]:5060;transport=tcp>;tag=1", "sip:[2001:db8::1]:5060;transport=tcp", "1"},
		{`<sip:a@b`, "", ""},
		{`"Bob <sip:a@b>`, "", ""},
		{`"Bob\" <sip:a@b>`, "", ""},
		{`"Bob\`, "", ""},
		{"<>", "", ""},
		{"Bob", "", ""},
		{"", "", ""},
		{"*", "", ""},
		{"<bob>;tag=1", "", ""},
		{"<sip:a b@c>;tag=1", "", ""},
		{"<sip:a@b SIP/2.0>;tag=1", "", ""},
		{"<sip:a\tb@c>", "", ""},
		{"<sip:a\x00b@c>", "", ""},
		{"<sip:<a>@c>", "", ""},
		{`<sip:a"@c>`, "", ""},
		{"foo;bar <sip:a@b>", "", ""},
	} {
		uri, _ := NameAddr([]byte(c.in))
		if string(uri) != c.uri {
			t.Errorf("%s: URI %q, want %q", c.in, uri, c.uri)
		}
		if c.uri == "" {
			continue
		}
		if tag := Tag([]byte(c.in)); string(tag) != c.tag {
			t.Errorf("%s: tag %q, want %q", c.in, tag, c.tag)
		}
	}
}

func TestParam(t *testing.T) {
	const all = `;a;b=;c=1;D = "two; , \"3\"" ; e="" ;f=" ;g=9`
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"a", "", true}, {"b", "", true}, {"c", "1", true}, {"C", "1", true}, {"d", `two; , \"3\"`, true}, {"e", "", true},
		{"g", "", false}, // the quote of f is open
		{"x", "", false}, {"", "", false},
	} {
		v, ok := Param([]byte(all), c.name)
		if string(v) != c.value || ok != c.ok {
			t.Errorf("%s is %q, %v; want %q, %v", c.name, v, ok, c.value, c.ok)
		}
	}
	for _, s := range []string{"", ";", ";;", ",", ",;a=1", "a=1", ";b,;a=1", " , ;b"} {
		if v, ok := Param([]byte(s), "a"); ok {
			t.Errorf("%q has a parameter a of %q", s, v)
		}
	}
}

func TestSplit(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"a":                       "a",
		" a , b ":                 "a|b",
		"<sip:a,b>, <sip:c>;x=1":  "<sip:a,b>|<sip:c>;x=1",
		`"a, b" <sip:a>,<sip:b>`:  `"a, b" <sip:a>|<sip:b>`,
		`"a\", b" <sip:a>,c`:      `"a\", b" <sip:a>|c`,
		`<sip:a";>,<sip:b>`:       `<sip:a";>|<sip:b>`,
		`"open, <sip:a>, <sip:b>`: `"open, <sip:a>, <sip:b>`,
		"a,,b,":                   "a||b",
		`x="\`:                    `x="\`,
	} {
		var got []string
		Split([]byte(in), func(v []byte) bool { got = append(got, string(v)); return true })
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("%s splits to %s, want %s", in, s, want)
		}
	}
	n := 0
	Split([]byte("a,b,c"), func([]byte) bool { n++; return n < 2 })
	if n != 2 {
		t.Errorf("split went on after it was told to stop: %d", n)
	}
}

func TestTopVia(t *testing.T) {
	for _, c := range []struct {
		in, transport, sentBy, branch string
		rport, ok                     bool
	}{
		{"SIP/2.0/UDP 10.0.0.2", "UDP", "10.0.0.2", "", false, true},
		{"SIP/2.0/TCP 10.0.0.2:5062;branch=z9hG4bKx;rport", "TCP", "10.0.0.2:5062", "z9hG4bKx", true, true},
		{"SIP / 2.0 / UDP  host.example :5060 ; rport= ; BRANCH = z", "UDP", "host.example :5060", "z", true, true},
		{"SIP/2.0/UDP [2001:db8::1]:5060;branch=z", "UDP", "[2001:db8::1]:5060", "z", false, true},
		{"SIP/2.0/UDP 10.0.0.2;rport=99;branch=z", "UDP", "10.0.0.2", "z", false, true},
		{"SIP/2.0/UDP 10.0.0.2;x=\"a,;branch=y\";branch=z, SIP/2.0/UDP 10.0.0.3;branch=w", "UDP", "10.0.0.2", "z", false, true},
		{"SIP/2.0/UDP 10.0.0.2,SIP/2.0/UDP 10.0.0.3;branch=w;rport", "UDP", "10.0.0.2", "", false, true},
		{"SIP/2.0/UDP 10.0.0.2;x=\"open;branch=z", "", "", "", false, false},
		{"SIP/2.0/UDP", "", "", "", false, false},
		{"SIP/2.0/UDP ;branch=z", "", "", "", false, false},
		{"SIP/2.0/ 10.0.0.2", "", "", "", false, false},
		{"SIP/3.0/UDP 10.0.0.2", "UDP", "10.0.0.2", "", false, true},
		{"SIP//UDP 10.0.0.2", "", "", "", false, false},
		{"HTTP/2.0/UDP 10.0.0.2", "", "", "", false, false},
		{"SIP/2.0 UDP 10.0.0.2", "", "", "", false, false},
		{", SIP/2.0/UDP 10.0.0.2", "", "", "", false, false},
		{"10.0.0.2", "", "", "", false, false},
		{"", "", "", "", false, false},
	} {
		m := parse(t, "OPTIONS sip:a SIP/2.0\r\nVia: "+c.in+"\r\nVia: SIP/2.0/UDP other\r\nFrom: <sip:a>\r\nTo: <sip:a>\r\nCall-ID: x\r\n"+
			"CSeq: 1 OPTIONS\r\n\r\n")
		v, ok := m.TopVia()
		if ok != c.ok {
			t.Errorf("%s: ok is %v", c.in, ok)
		}
		if ok && (string(v.Transport) != c.transport || string(v.SentBy) != c.sentBy || string(v.Branch) != c.branch || v.RPort != c.rport) {
			t.Errorf("%s: %s %s %s %v", c.in, v.Transport, v.SentBy, v.Branch, v.RPort)
		}
	}
}

func TestParseURI(t *testing.T) {
	for _, c := range []struct {
		in   string
		want URI
		ok   bool
	}{
		{"sip:a@b", URI{Scheme: "sip", User: "a", Host: "b"}, true},
		{"SIPS:a:pw@b:5061;TRANSPORT=TCP;lr", URI{Scheme: "sips", User: "a:pw", Host: "b", Port: 5061, Transport: "tcp", Loose: true}, true},
		{"sip:b", URI{Scheme: "sip", Host: "b"}, true},
		{"sip:b;lr=on;maddr=10.0.0.1", URI{Scheme: "sip", Host: "b", MAddr: "10.0.0.1", Loose: true}, true},
		{"sip:a;b=c,d?e@host.example:5070;transport=udp?Subject=x;lr", URI{Scheme: "sip", User: "a;b=c,d?e", Host: "host.example", Port: 5070,
			Transport: "udp"}, true},
		{"sip:a@[2001:db8::1]", URI{Scheme: "sip", User: "a", Host: "2001:db8::1"}, true},
		{"sip:[::1]:5062;lr", URI{Scheme: "sip", Host: "::1", Port: 5062, Loose: true}, true},
		{"sip:@b", URI{Scheme: "sip", Host: "b"}, true},
		{"tel:+4930", URI{}, false}, {"mailto:a@b", URI{}, false}, {"a@b", URI{}, false}, {"", URI{}, false}, {"sip:", URI{}, false},
		{"sip:a@", URI{}, false}, {"sip:a@b:", URI{}, false}, {"sip:a@b:0", URI{}, false}, {"sip:a@b:65536", URI{}, false},
		{"sip:a@b:+5", URI{}, false}, {"sip:a@b:5060x", URI{}, false}, {"sip:[::1", URI{}, false}, {"sip:[::1]5060", URI{}, false},
		{"sip:[10.0.0.1]", URI{}, false}, {"sip:[x]", URI{}, false}, {"sip:2001:db8::1", URI{}, false}, {"sip:a@b@c", URI{}, false},
		{"sip:a@b c", URI{}, false}, {"sip:a@b\x7f", URI{}, false}, {"sip:a@bü", URI{}, false}, {"sip:a@b/c", URI{}, false},
		{"sip:a@b<", URI{}, false}, {"sip:a@,b", URI{}, false},
	} {
		u, ok := ParseURI([]byte(c.in))
		if ok != c.ok || (ok && u != c.want) {
			t.Errorf("%s: %+v, %v", c.in, u, ok)
		}
	}
}
