package sipflow

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// rawInvite is an INVITE of 201. replace are pairs of what is put for what.
func rawInvite(replace ...string) string { return rawOf("INVITE", 1, "b1", sdpOf(4000), replace...) }

// rawOf is a request of 201 outside of a dialog.
func rawOf(method string, seq int, branch, body string, replace ...string) string {
	contentType := ""
	if body != "" {
		contentType = sdpHeader
	}
	return strings.NewReplacer(replace...).Replace(fmt.Sprintf("%s sip:room@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP "+
		"%s;branch=z9hG4bK%s;rport\r\n"+
		"Max-Forwards: 70\r\nFrom: <sip:201@sipx.test>;tag=f1\r\nTo: <sip:room@10.0.0.1>\r\nCall-ID: raw1\r\nCSeq: %d %s\r\nContact: "+
		"<sip:201@10.0.0.2:5060>\r\n%s", method, phoneAddr, branch, seq, method, contentType)) +
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

// within is a request of the caller's in the dialog that a response of ours
// made.
func within(res *wire.Message, method string, seq int, header, body string) string {
	return fmt.Sprintf("%s sip:callcontroller@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s%d;rport\r\nMax-Forwards: 70\r\n"+
		"From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n"+
		"Contact: <sip:201@10.0.0.2:5060>\r\n%sContent-Length: %d\r\n\r\n%s", method, phoneAddr, method, seq, res.Get(wire.From),
		res.Get(wire.To), res.Get(wire.CallID), seq, method, header, len(body), body)
}

// refusalACK is the ACK of a final response other than 2xx.
func refusalACK(res *wire.Message) string {
	return rawOf("ACK", 1, "b1", "", "To: <sip:room@10.0.0.1>", "To: "+string(res.Get(wire.To)))
}

// rawInbound is a caller that does what the test writes, and what we take.
type rawInbound struct {
	*rig
	*rawPhone
	target *siptest.Phone
	takes  atomic.Int32
}

// inboundRaw runs f with a caller that does what the test writes. Nothing may be
// left of what it did.
func inboundRaw(t *testing.T, take func(ctx context.Context, in *Incoming) error, f func(t *testing.T, p *rawInbound),
	adjust ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := &rawInbound{rawPhone: rawUDP(t, n, phoneAddr)}
		p.target = n.Phone("202", calledAddr, siptest.Script{Ring: time.Second})
		defer p.target.Close()
		p.rig = newRig(t, n, "", append([]func(*Config){func(cfg *Config) {
			cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: func(ctx context.Context, in *Incoming) error {
				p.takes.Add(1)
				return take(ctx, in)
			}}
		}}, adjust...)...)
		defer p.rig.stop()
		f(t, p)
		p.empty()
		if !p.target.OnHook() {
			t.Error("the target is not on hook")
		}
		if t.Failed() {
			t.Log(n.Ladder())
		}
	})
}

// next is the next response whose code is not 100.
func (p *rawInbound) next(code int) *wire.Message {
	p.rawPhone.t.Helper()
	for {
		m := p.read(10 * time.Second)
		if m != nil && (m.IsRequest() || m.Code() == 100) {
			continue
		}
		if m == nil || m.Code() != code {
			p.rawPhone.t.Fatalf("got %s, want %d", show(m), code)
		}
		return m
	}
}

func refuse486(_ context.Context, in *Incoming) error { return in.Refuse(486, "") }

// waits is a Take that says nothing until the caller gives up.
func waits(ctx context.Context, _ *Incoming) error { <-ctx.Done(); return context.Cause(ctx) }

func TestInboundINVITEsOfWhichNoCallCanBeMade(t *testing.T) {
	const contact = "Contact: <sip:201@10.0.0.2:5060>\r\n"
	for _, c := range []struct {
		name    string
		code    int
		replace []string
		header  wire.Header
		want    string
	}{
		{"a good one is taken", 486, nil, 0, ""},
		{"unknown extension", 420, []string{contact, contact + "Require: foo, 100rel, bar\r\n"}, wire.Unsupported, "foo, bar"},
		{"extensions that are known", 486, []string{contact, contact + "Require: 100rel, timer\r\n"}, 0, ""},
		{"no hops left", 483, []string{"Max-Forwards: 70", "Max-Forwards: 0"}, 0, ""},
		{"no Contact", 400, []string{contact, ""}, 0, ""},
		{"a Contact that is none", 400, []string{contact, "Contact: <mailto:a@b>\r\n"}, 0, ""},
		{"a Contact that is ours", 482, []string{contact, "Contact: <sip:x@10.0.0.1:5060>\r\n"}, 0, ""},
		{"a Contact on this machine", 403, []string{contact, "Contact: <sip:x@127.0.0.1:22>\r\n"}, 0, ""},
		{"another type of body", 415, []string{"application/sdp", "text/plain"}, 0, ""},
		{"SDP that is none", 488, []string{"v=0", "x=0"}, 0, ""},
		{"a dialog to replace that there is not", 481, []string{contact, contact + "Replaces: a;to-tag=0123456789abcdef;from-tag=b\r\n"}, 0, ""},
		{"a session interval that is too small", 422, []string{contact, contact + "Supported: timer\r\nSession-Expires: 60\r\n"}, wire.MinSE,
			"90"},
		{"another scheme", 416, []string{"INVITE sip:room@10.0.0.1:5060", "INVITE http://x"}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inboundRaw(t, refuse486, func(t *testing.T, p *rawInbound) {
				msg := rawInvite()
				if c.replace != nil {
					msg = strings.ReplaceAll(msg, c.replace[0], c.replace[1])
				}
				p.rawPhone.send(msg)
				res := p.next(c.code)
				if c.want != "" && string(res.Get(c.header)) != c.want {
					t.Errorf("%v is %q, want %q", c.header, res.Get(c.header), c.want)
				}
				p.rawPhone.send(refusalACK(res))
				if taken := p.takes.Load() == 1; taken != (c.code == 486) {
					t.Errorf("taken: %v", taken)
				}
			})
		})
	}
}

func TestInboundINVITEThatComesAgainIsTakenOnce(t *testing.T) {
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) {
		for range 3 {
			p.wants(100, rawInvite())
		}
		p.rawPhone.send(strings.Replace(rawInvite(), "branch=z9hG4bKb1", "branch=z9hG4bKother", 1))
		if m := p.next(482); string(m.ToTag()) == "" {
			t.Error("482 without To tag")
		}
		p.rawPhone.send(rawOf("CANCEL", 1, "b1", ""))
		p.next(200)
		res := p.next(487)
		if again := p.ask(rawInvite()); again == nil || again.Code() != 487 { // repeated, and by timer G
			t.Errorf("got %s, want 487", show(again))
		}
		p.rawPhone.send(refusalACK(res))
		time.Sleep(time.Second)
		for m := p.read(time.Second); m != nil; m = p.read(time.Second) {
			t.Errorf("after the ACK came %s", show(m))
		}
		p.wants(0, rawInvite())                           // absorbed (RFC 6026 has the like for 2xx)
		p.wants(200, rawOf("CANCEL", 1, "b1", ""))        // too late
		p.wants(481, rawOf("CANCEL", 1, "unheardof", "")) // of no INVITE
		if n := p.takes.Load(); n != 1 {
			t.Errorf("taken %d times", n)
		}
		if s := p.sw.Stats(); s.Inbound[InboundMerged] != 1 || s.Inbound[InboundAdmitted] != 1 {
			t.Errorf("counted %v", s.Inbound)
		}
	})
}

// A phone behind a NAT gets another address while its call rings: it repeats its
// INVITE and cancels it from there. Whoever knows less than all of the call's
// names does neither.
func TestInboundCallerThatHasMovedCancels(t *testing.T) {
	const moved = "10.0.0.6:7345"
	at := strings.NewReplacer(phoneAddr+";branch", moved+";branch")
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) {
		p.wants(100, rawInvite())
		there := rawUDP(t, p.rig.net, moved)
		there.wants(100, at.Replace(rawInvite()))
		for _, other := range []string{"raw1", "tag=f1", "CSeq: 1 ", "branch=z9hG4bKb1"} {
			there.wants(481, at.Replace(rawOf("CANCEL", 1, "b1", "", other, other[:len(other)-1]+"7 ")))
		}
		there.wants(200, at.Replace(rawOf("CANCEL", 1, "b1", "")))
		p.rawPhone.send(refusalACK(p.next(487)))
		if n := p.takes.Load(); n != 1 {
			t.Errorf("taken %d times", n)
		}
	})
	// Before RFC 3261 a branch was unique at one address only.
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) {
		old := strings.NewReplacer("branch=z9hG4bKb1", "branch=1")
		p.wants(100, old.Replace(rawInvite()))
		there := rawUDP(t, p.rig.net, moved)
		there.wants(481, at.Replace(old.Replace(rawOf("CANCEL", 1, "b1", ""))))
		there.wants(482, at.Replace(old.Replace(rawInvite())))
		p.wants(200, old.Replace(rawOf("CANCEL", 1, "b1", "")))
		p.rawPhone.send(old.Replace(refusalACK(p.next(487))))
	})
}

func TestInboundRefusalIsRepeatedUntilItsACK(t *testing.T) {
	inboundRaw(t, refuse486, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		start := time.Now()
		var at []string
		for m := p.read(time.Minute); m != nil; m = p.read(time.Minute) {
			if m.Code() == 486 {
				at = append(at, time.Since(start).Round(100*time.Millisecond).String())
			}
		}
		if got := strings.Join(at, " "); got != "0s 500ms 1.5s 3.5s 7.5s 11.5s 15.5s 19.5s 23.5s 27.5s 31.5s" {
			t.Errorf("486 at %s", got)
		}
	})
}

func TestInboundAnswerIsRepeatedOverStreamsToo(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		conn, err := p.rig.net.DialFrom("10.0.0.2")(t.Context(), "tcp", ourAddr)
		if err != nil {
			t.Fatal(err)
		}
		tcp := &rawPhone{t: t, via: "SIP/2.0/TCP " + phoneAddr, port: phoneAddr}
		tcp.use(conn)
		tcp.send(strings.Replace(rawInvite(), "SIP/2.0/UDP", "SIP/2.0/TCP", 1))
		answers := 0
		var last *wire.Message
		for m := tcp.read(5 * time.Second); m != nil; m = tcp.read(5 * time.Second) {
			if m.Code() == 200 {
				answers++
				if last = m; answers == 3 {
					break
				}
			}
		}
		if answers != 3 {
			t.Fatalf("%d answers", answers)
		}
		tcp.send(within(last, "ACK", 1, "", "") + within(last, "BYE", 2, "", ""))
		for m := tcp.read(5 * time.Second); ; m = tcp.read(5 * time.Second) {
			if m == nil {
				t.Fatal("no answer to BYE")
			}
			if m.Method() == "BYE" {
				break
			}
		}
	})
}

func TestInboundCallerHangsUpBeforeTheAnswer(t *testing.T) {
	inboundRaw(t, func(ctx context.Context, in *Incoming) error {
		if err := in.Ring(); err != nil {
			return err
		}
		return waits(ctx, in)
	}, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		ringing := p.next(180)
		p.rawPhone.send(within(ringing, "INVITE", 2, "", "")) // RFC 3261 §14.2
		p.next(500)
		p.rawPhone.send(within(ringing, "UPDATE", 3, sdpHeader, sdpOf(1)))
		p.next(500)
		p.rawPhone.send(within(ringing, "PRACK", 4, "RAck: 1 1 INVITE\r\n", ""))
		p.next(481)
		p.rawPhone.send(within(ringing, "BYE", 5, "", ""))
		if m := p.next(200); m.Method() != "BYE" {
			t.Errorf("200 to %s", m.Method())
		}
		p.rawPhone.send(refusalACK(p.next(487)))
	})
}

func TestInboundDialogIsThatOfTheINVITE(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(strings.Replace(rawInvite(), "Max-Forwards", "Record-Route: <sip:10.0.0.2:5060;lr;n=1>, <sip:10.0.0.8;lr;n=2>\r\n"+
			"Max-Forwards", 1))
		for _, code := range []int{180, 200} {
			m := p.next(code)
			if got := string(m.Get(wire.RecordRoute)); got != "<sip:10.0.0.2:5060;lr;n=1>, <sip:10.0.0.8;lr;n=2>" {
				t.Errorf("%d has the Record-Route %q", code, got)
			}
			if code == 200 {
				p.rawPhone.send(within(m, "INVITE", 2, "", "")) // before the ACK
				p.next(491)
				p.rawPhone.send(within(m, "ACK", 1, "", ""))
			}
		}
		p.target.HangUp()
		bye := p.rawPhone.expect("BYE")
		if string(bye.URI()) != "sip:201@10.0.0.2:5060" {
			t.Errorf("BYE for %s", bye.URI())
		}
		var routes []string
		for v := range bye.All(wire.Route) {
			routes = append(routes, string(v))
		}
		if got := strings.Join(routes, ", "); got != "<sip:10.0.0.2:5060;lr;n=1>, <sip:10.0.0.8;lr;n=2>" {
			t.Errorf("BYE has the Route %q", got)
		}
		p.rawPhone.send(p.response(bye, 200, "", ""))
	})
}

func TestInboundCallGoesOnWithOneHopLess(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(strings.Replace(rawInvite(), "Max-Forwards: 70", "Max-Forwards: 7\r\nSubject: lunch\r\nX-Ticket: 5\r\nX-Auto-Answer: "+
			"1\r\nX-Binary: a\x00b\r\nAlert-Info: <x>;info=auto-answer\r\nP-Asserted-Identity: <sip:boss@sipx.test>", 1))
		m := p.next(180)
		got := p.target.Requests("INVITE")[0]
		for name, want := range map[string]string{"Max-Forwards": "6", "Subject": "lunch", "X-Ticket": "5", "X-Auto-Answer": "", "X-Binary": "",
			"Alert-Info": "", "P-Asserted-Identity": "", "From": `<sip:201@sipx.test>`} {
			value := ""
			if h := got.GetHeader(name); h != nil {
				value, _, _ = strings.Cut(h.Value(), ";tag=")
			}
			if value != want {
				t.Errorf("the target gets %s: %q, want %q", name, value, want)
			}
		}
		mark := got.GetHeader(loopField).Value()
		p.rawPhone.send(rawOf("CANCEL", 1, "b1", ""))
		p.next(200)
		p.rawPhone.send(refusalACK(p.next(487)))
		_ = m
		// The INVITE that went on comes back for the same: a loop. For another: none.
		loop := strings.NewReplacer("b1", "b2", "raw1", "raw2", "Subject", loopField+": "+mark+"\r\nSubject", "Max-Forwards: 70",
			loopField+": "+mark+"\r\nMax-Forwards: 70")
		p.wants(482, loop.Replace(rawInvite()))
		p.wants(100, strings.Replace(strings.NewReplacer("b1", "b3", "raw1", "raw3", "Max-Forwards: 70",
			loopField+": "+mark+"\r\nMax-Forwards: 70").Replace(rawInvite()), "INVITE sip:room@", "INVITE sip:other@", 1))
	})
}

func TestInboundReplacesOfADialogThatThereIs(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		tag := string(p.next(180).ToTag())
		p.wants(481, rawInvite("b1", "b2", "raw1", "raw2", "Max-Forwards", "Replaces: raw1;to-tag="+tag+";from-tag=f1\r\nMax-Forwards"))
		p.wants(481, rawInvite("b1", "b3", "raw1", "raw3", "Max-Forwards", "Replaces: raw2;to-tag="+tag+";from-tag=f1\r\nMax-Forwards"))
		p.endCall()
	})
}

func TestInboundSessionTimer(t *testing.T) {
	for _, c := range []struct{ name, header, want, require string }{
		{"none", "", "", ""},
		{"the caller refreshes", "Supported: timer\r\nSession-Expires: 120\r\n", "120;refresher=uac", "timer"},
		{"we refresh when it says so", "Supported: timer\r\nSession-Expires: 120;refresher=uas\r\n", "120;refresher=uas", ""},
		{"we refresh when it cannot", "Session-Expires: 120\r\n", "120;refresher=uas", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
				p.rawPhone.send(strings.Replace(rawInvite(), "Max-Forwards", "Allow: INVITE, UPDATE\r\n"+c.header+"Max-Forwards", 1))
				p.next(180)
				m := p.next(200)
				if got := string(m.Get(wire.SessionExpires)); got != c.want || string(m.Get(wire.Require)) != c.require {
					t.Errorf("Session-Expires %q, Require %q", got, m.Get(wire.Require))
				}
				p.rawPhone.send(within(m, "ACK", 1, "", ""))
				switch {
				case strings.HasSuffix(c.want, "uas"):
					update := p.rawPhone.expect("UPDATE")
					p.rawPhone.send(p.response(update, 200, p.contact()+"Session-Expires: 120;refresher=uas\r\n", "")) // from now on the caller
				case c.want != "":
					time.Sleep(50 * time.Second)
					if res := p.ask(within(m, "UPDATE", 2, "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n", "")); res == nil ||
						res.Code() != 200 {
						t.Errorf("UPDATE was answered %s", show(res))
					}
					time.Sleep(79 * time.Second)
				}
				if c.want == "" {
					p.target.HangUp()
				}
				p.rawPhone.hungUp() // nobody refreshes any more
			})
		})
	}
}
