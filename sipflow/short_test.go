package sipflow

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// questions are requests by which somebody may have us send to another, in
// every form that makes the request short and the response long.
func questions(t *testing.T) map[string]string {
	all := map[string]string{}
	for name, data := range tortureMessages(t) {
		all[name] = string(data)
		lines := strings.SplitAfter(string(data), "\n")
		for i := range lines { // each line left out
			all[fmt.Sprint(name, " without line ", i)] = strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "")
		}
	}
	const least = " a: SIP/2.0\r\nv:SIP/2.0/u a\r\nf:<a:>\r\nt:<a:>\r\ni:1\r\nCSeq:1 "
	usual := "OPTIONS sip:a SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bK1\r\nf:<sip:a>;tag=1\r\nt:<sip:a>\r\ni:1\r\nCSeq:1 OPTIONS\r\n"
	for _, method := range []string{"INVITE", "OPTIONS", "BYE", "CANCEL", "REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PRACK", "UPDATE",
		"INFO", "X", "x-no-such-method"} {
		all["as short as can be: "+method] = method + least + method + "\r\n\r\n"
		all["with rport: "+method] = strings.Replace(method+least+method+"\r\n\r\n", "/u a", "/u a;rport", 1)
		all["without a number: "+method] = method + least + "\r\n\r\n"
		all["compact "+method] = strings.ReplaceAll(usual, "OPTIONS", method) + "\r\n"
		all["with a foreign tag: "+method] = strings.ReplaceAll(strings.Replace(usual, "t:<sip:a>", "t:<sip:a>;tag=0123456789abcdef", 1),
			"OPTIONS", method) + "\r\n"
		all["usual "+method] = stranger(method, "")
	}
	for _, field := range []string{"v:", "v:x", "f:", "f:<a:>", "t:", "t:<a:>", "i:", "i:x", "CSeq:", "CSeq:1 X", "Record-Route:", "Require:",
		"Require:x", "l:1", "l:0", "m:", "\x00", ":"} {
		for _, method := range []string{"OPTIONS", "INVITE"} {
			all[fmt.Sprintf("%s, many times %q", method, field)] = strings.ReplaceAll(usual, "OPTIONS", method) + strings.Repeat(field+"\r\n", 200) +
				"\r\n"
			all[fmt.Sprintf("%s, many times %q before", method, field)] = method + " sip:a SIP/2.0\r\n" + strings.Repeat(field+"\r\n", 60) +
				usual[strings.Index(usual, "v:"):] + "\r\n"
		}
	}
	invite := rawInvite()
	for name, change := range map[string][2]string{
		"no hops left":        {"Max-Forwards: 70", "Max-Forwards: 0"},
		"no Contact":          {"Contact: <sip:201@10.0.0.2:5060>\r\n", ""},
		"a Contact of ours":   {"<sip:201@10.0.0.2:5060>", "<sip:x@10.0.0.1>"},
		"another body":        {"application/sdp", "text/plain"},
		"too short a session": {"Max-Forwards", "k: timer\r\nx: 60\r\nMax-Forwards"},
		"an unknown option":   {"Max-Forwards", "Require: " + strings.Repeat("a,", 300) + "b\r\nMax-Forwards"},
		"a dialog to replace": {"Max-Forwards", "Replaces: a;to-tag=1;from-tag=2\r\nMax-Forwards"},
		"another scheme":      {"sip:room@10.0.0.1:5060 SIP", "x: SIP"},
		"a later version":     {"SIP/2.0\r\nVia", "SIP/3.0\r\nVia"},
		"a good one":          {"z", "z"},
		"one without media":   {sdpOf(4000), ""},
	} {
		all["INVITE with "+name] = strings.Replace(strings.Replace(invite, change[0], change[1], 1), "l:1", "l:1", 1)
	}
	return all
}

// Whoever is named as the sender of a datagram may not have sent it. What we
// send him is never more than twice as long, whatever was asked.
func TestAnswersByUDPAreShort(t *testing.T) {
	all := questions(t)
	for name, adjust := range map[string]func(*Config){
		"no inbound calls": func(*Config) {},
		"challenged": func(c *Config) {
			c.Inbound = &Inbound{Take: waits, Admit: func(*Incoming) Admission { return Challenge }}
		},
		"challenged in a long realm": func(c *Config) {
			c.Inbound = &Inbound{Take: waits, Realm: strings.Repeat("long.", 40) + "example", Admit: func(*Incoming) Admission { return Challenge }}
		},
		"refused": func(c *Config) { c.Inbound = &Inbound{Take: waits, Admit: func(*Incoming) Admission { return Refuse }} },
		"unknown": func(c *Config) {
			c.Inbound = &Inbound{Take: waits, Admit: func(*Incoming) Admission { return RefuseUnknown }}
		},
		"unfit or busy": func(c *Config) {
			c.Inbound = &Inbound{Take: waits, Admit: func(*Incoming) Admission { return Trusted }}
			c.MaxCalls = -1
		},
		"bounded": func(c *Config) { c.Limits.SourceRate = 1 },
		"failing": func(c *Config) {
			c.Inbound = &Inbound{Take: waits, Admit: func(*Incoming) Admission { panic("a fault") }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				n.Forget = true
				var sent atomic.Int64
				n.Observe = func(p siptest.Packet) {
					if p.From.String() == ourAddr {
						sent.Add(int64(len(p.Data)))
					}
				}
				r := newRig(t, n, phoneAddr, adjust)
				defer r.stop()
				r.faulty = name == "failing"
				for _, from := range []string{"10.0.0.66:4711", "10.0.0.2:5060"} {
					p := rawUDP(t, n, from)
					for what, msg := range all {
						sent.Store(0)
						p.send(msg)
						time.Sleep(40 * time.Second)
						if got := sent.Load(); got > 2*int64(len(msg)) {
							t.Errorf("%s: %d bytes are answered with %d:\n%q", what, len(msg), got, msg[:min(len(msg), 300)])
						}
					}
				}
				r.empty()
			})
		})
	}
}

// A usual request, short as it may be, gets its response all the same, with
// what the RFC demands where there is room for it.
func TestShortAnswersSayWhatTheyMust(t *testing.T) {
	for _, c := range []struct {
		name, msg string
		code      int
		has, not  string
	}{
		{"usual", stranger("REGISTER", "User-Agent: a phone of some maker or other/1.0\r\nMax-Forwards: 70\r\n"), 405, "Allow: " + allow,
			"\r\nv:"},
		{"short", "X sip:a SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bK1\r\nf:<sip:a>;tag=1\r\nt:<sip:a>\r\ni:1\r\nCSeq:1 X\r\n\r\n", 501, "",
			"Allow"},
		{"very short", "X a: SIP/2.0\r\nv:SIP/2.0/u a\r\nf:<a:>\r\nt:<a:>\r\ni:1\r\nCSeq:1 X\r\n\r\n", 416,
			"\r\nv:SIP/2.0/u a;received=10.0.0.66\r\nf:<a:>\r\nt:<a:>;tag=", "Via"},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			r := newRig(t, n, phoneAddr)
			defer r.stop()
			p, at5060 := rawUDP(t, n, "10.0.0.66:4711"), rawUDP(t, n, "10.0.0.66:5060")
			p.send(c.msg)
			m := p.read(time.Second)
			if m == nil {
				m = at5060.read(time.Second)
			}
			if m == nil || m.Code() != c.code || !bytes.Contains(m.Raw(), []byte(c.has)) || bytes.Contains(m.Raw(), []byte(c.not)) {
				t.Errorf("%s: got %s", c.name, show(m))
				if m != nil {
					t.Logf("%s", m.Raw())
				}
			}
			if m != nil && (m.Get(wire.CallID) == nil || m.Get(wire.Via) == nil || len(m.ToTag()) == 0) {
				t.Errorf("%s: incomplete: %s", c.name, m.Raw())
			}
		})
	}
}
