package sipflow

import (
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
	"sipxrest/sipflow/wire"
)

// byHand runs f with two phones that do what it writes, and checks that
// nothing is left of the call.
func byHand(t *testing.T, f func(t *testing.T, p *rawPair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := &rawPair{rig: newRig(t, n, ""), a: rawUDP(t, n, phoneAddr), b: rawUDP(t, n, calledAddr)}
		defer p.stop()
		f(t, p)
		p.empty()
	})
}

// hangUp has the client end the call.
func (p *rawPair) hangUp() {
	p.t.Helper()
	p.call.stop(ErrHungUpByUser)
	p.over("")
}

func TestJoiningINVITEThatCrossesThePhonesOwnIsRepeated(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		m := p.ring()
		p.a.wants(491, p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
		p.a.wants(491, p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002))) // repeated
		p.a.send(p.a.ack(1, ""))
		p.a.send(p.a.response(m, 491, "", ""))
		p.a.expect("ACK")
		start := time.Now()
		again := p.a.expect("INVITE")
		if d := time.Since(start); d < 2100*time.Millisecond || d > 4*time.Second+10*time.Millisecond {
			t.Errorf("repeated after %v, want 2.1 to 4 s", d)
		}
		if again.Seq() <= m.Seq() {
			t.Errorf("CSeq %d after %d", again.Seq(), m.Seq())
		}
		p.a.ok(again, "", sdpOf(4001))
		p.a.expect("ACK")
		p.b.expect("ACK")
		synctest.Wait()
		p.hangUp()
	})
}

func TestStormOf491EndsTheCall(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		m := p.ring()
		n := 0
		for ; m.Method() == "INVITE"; m = p.a.expect1() {
			n++
			p.a.send(p.a.response(m, 491, "", ""))
			p.a.expect("ACK")
		}
		if n != 4 {
			t.Errorf("%d INVITEs, want 4", n)
		}
		p.a.queue = append(p.a.queue, m)
		p.b.expect("ACK")
		p.over("491")
	})
}

// A calling phone that cannot do what the called one offers is asked for an offer of
// its own.
func TestCallingThatCannotDoTheOfferMakesOne(t *testing.T) {
	refused := map[string]func(p *rawPair, m *wire.Message){
		"488": func(p *rawPair, m *wire.Message) { p.a.send(p.a.response(m, 488, "", "")); p.a.expect("ACK") },
		"every stream refused": func(p *rawPair, m *wire.Message) {
			p.a.ok(m, "", strings.Replace(sdpOf(4000), "m=audio 4000", "m=audio 0", 1))
			p.a.expect("ACK")
		},
	}
	for how, refuse := range refused {
		t.Run(how, func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				refuse(p, p.ring())
				if ack := p.b.expect("ACK"); !strings.Contains(string(ack.Body()), "m=audio 2222 RTP/AVP 0 8\r\na=inactive\r\n") {
					t.Errorf("B got the ACK with\n%s", ack.Body())
				}
				asked := p.a.expect("INVITE")
				if len(asked.Body()) > 0 {
					t.Errorf("A is asked with\n%s", asked.Body())
				}
				p.a.ok(asked, "", sdpOf(4010))
				offer := p.b.expect("INVITE")
				if !strings.Contains(string(offer.Body()), "m=audio 4010 ") {
					t.Errorf("B is offered\n%s", offer.Body())
				}
				p.b.ok(offer, "", sdpOf(5010))
				p.b.expect("ACK")
				if ack := p.a.expect("ACK"); !strings.Contains(string(ack.Body()), "m=audio 5010 ") {
					t.Errorf("A got the ACK with\n%s", ack.Body())
				}
				synctest.Wait()
				p.hangUp()
			})
		})
	}
}

// One that makes none is offered to the called phone as it is known.
func TestCallingThatCannotDoTheOfferAndMakesNone(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.a.send(p.a.response(p.ring(), 488, "", ""))
		p.a.expect("ACK")
		p.b.expect("ACK")
		p.a.send(p.a.response(p.a.expect("INVITE"), 488, "", ""))
		p.a.expect("ACK")
		offer := p.b.expect("INVITE")
		if !strings.Contains(string(offer.Body()), "m=audio 4000 ") {
			t.Errorf("B is offered\n%s", offer.Body())
		}
		p.b.ok(offer, "", sdpOf(5010))
		p.b.expect("ACK")
		answer := p.a.expect("INVITE")
		if !strings.Contains(string(answer.Body()), "m=audio 5010 ") {
			t.Errorf("A is invited with\n%s", answer.Body())
		}
		p.a.ok(answer, "", sdpOf(4000))
		p.a.expect("ACK")
		synctest.Wait()
		p.hangUp()
	})
}

// Neither can do what the other offers.
func TestCalledThatCannotDoTheOfferEither(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.a.send(p.a.response(p.ring(), 488, "", ""))
		p.a.expect("ACK")
		p.b.expect("ACK")
		p.a.ok(p.a.expect("INVITE"), "", sdpOf(4010))
		p.b.send(p.b.response(p.b.expect("INVITE"), 488, "", ""))
		p.b.expect("ACK")
		if ack := p.a.expect("ACK"); !strings.Contains(string(ack.Body()), "m=audio 0 RTP/AVP 0\r\n") {
			t.Errorf("A got the ACK with\n%s", ack.Body())
		}
		p.over("488")
	})
}

func TestPhoneThatRingsForeverOverAReinviteIsHungUp(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		m := p.ring()
		p.a.send(p.a.response(m, 100, "", ""))
		start := time.Now()
		c := p.a.expect("CANCEL")
		if d := since(start); d != inviteTime {
			t.Errorf("given up after %v, want %v", d, inviteTime)
		}
		p.a.send(p.a.response(c, 200, "", ""))
		p.a.send(p.a.response(m, 487, "", ""))
		bye := p.a.expect1()
		if bye.Method() == "ACK" {
			bye = p.a.expect1()
		}
		p.a.queue = append(p.a.queue, bye)
		p.b.expect("ACK")
		p.over("408")
	})
}

// A phone that insists on reliable provisional responses makes its offer in
// the first of them (RFC 3262 §5).
func TestCalledInsistsOnReliableProvisionalResponses(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.place()
		p.b.invite = p.b.expect("INVITE")
		p.b.send(p.b.response(p.b.invite, 421, "Require: 100rel\r\n", ""))
		p.b.expect("ACK")
		p.b.invite = p.b.expect("INVITE")
		if !wire.Lists(p.b.invite, wire.Supported, "100rel") {
			t.Error("no Supported: 100rel")
		}
		progress := func(rseq int) string {
			return p.b.response(p.b.invite, 183, fmt.Sprintf("Require: 100rel\r\nRSeq: %d\r\n", rseq)+p.b.contact()+sdpHeader, sdpOf(5000))
		}
		p.b.send(progress(7))
		m := p.a.expect("INVITE")
		if !strings.Contains(string(m.Body()), "m=audio 5000") {
			t.Errorf("A was offered\n%s", m.Body())
		}
		p.b.send(progress(7)) // its PRACK takes long
		p.a.ok(m, "", sdpOf(4001))
		p.a.expect("ACK")
		prack := p.b.expect("PRACK")
		if got := string(prack.Get(wire.RAck)); got != fmt.Sprintf("7 %d INVITE", p.b.invite.Seq()) || !strings.Contains(string(prack.Body()),
			"m=audio 4001") {
			t.Errorf("PRACK of %s with\n%s", got, prack.Body())
		}
		again := p.b.expect("PRACK") // nobody answered it
		if again.Seq() != prack.Seq() {
			t.Errorf("a second PRACK, not the first again")
		}
		p.b.send(p.b.response(again, 200, "", ""))
		p.b.send(progress(8)) // the same offer is not made again
		p.b.send(p.b.response(p.b.expect("PRACK"), 200, "", ""))
		p.b.send(p.b.response(p.b.invite, 200, p.b.contact(), ""))
		if ack := p.b.expect("ACK"); len(ack.Body()) > 0 || ack.Seq() != p.b.invite.Seq() {
			t.Errorf("ACK of %d with\n%s", ack.Seq(), ack.Body())
		}
		p.a.quiet(0)
		synctest.Wait()
		p.hangUp()
	})
}

// A calling phone that cannot do what the called one offers before it picks up makes an
// offer itself once it has: its 200 may repeat the refused offer, or say nothing.
func TestCallingCannotDoTheEarlyOffer(t *testing.T) {
	for name, refuse := range map[string]func(a *rawPhone, m *wire.Message){
		"488":          func(a *rawPhone, m *wire.Message) { a.send(a.response(m, 488, "", "")) },
		"every stream": func(a *rawPhone, m *wire.Message) { a.ok(m, "", sdpOf(0)) },
	} {
		for _, said := range []string{"", sdpOf(5000)} {
			t.Run(name, func(t *testing.T) { byHand(t, func(t *testing.T, p *rawPair) { earlyOfferRefused(p, refuse, said) }) })
		}
	}
}

func earlyOfferRefused(p *rawPair, refuse func(a *rawPhone, m *wire.Message), said string) {
	t := p.t
	p.place()
	p.b.invite = p.b.expect("INVITE")
	p.b.send(p.b.response(p.b.invite, 183, "Require: 100rel\r\nRSeq: 1\r\n"+p.b.contact()+sdpHeader, sdpOf(5000)))
	refuse(p.a, p.a.expect("INVITE"))
	p.a.expect("ACK")
	prack := p.b.expect("PRACK")
	if body := string(prack.Body()); strings.Contains(body, "m=audio 0 ") || !strings.Contains(body, "a=inactive") {
		t.Errorf("PRACK with\n%s", body)
	}
	p.b.send(p.b.response(prack, 200, "", ""))
	p.a.quiet(5 * time.Second)
	p.b.ok(p.b.invite, "", said)
	if ack := p.b.expect("ACK"); len(ack.Body()) > 0 {
		t.Errorf("ACK with\n%s", ack.Body())
	}
	asked := p.a.expect("INVITE")
	if len(asked.Body()) > 0 {
		t.Errorf("A was offered\n%s", asked.Body())
	}
	p.a.ok(asked, "", sdpOf(4001))
	offered := p.b.expect("INVITE")
	if !strings.Contains(string(offered.Body()), "m=audio 4001") {
		t.Errorf("B was offered\n%s", offered.Body())
	}
	p.b.ok(offered, "", sdpOf(5001))
	p.b.expect("ACK")
	if ack := p.a.expect("ACK"); !strings.Contains(string(ack.Body()), "m=audio 5001") {
		t.Errorf("A was answered\n%s", ack.Body())
	}
	p.hangUp()
}

// place calls A, which answers.
func (p *rawPair) place(adjust ...func(*Spec)) {
	p.t.Helper()
	var err error
	p.call, err = p.sw.Place(p.t.Context(), spec(func(s *Spec) {
		s.Method, s.CallingUser, s.CalledUser = MethodInvite, "201@10.0.0.2", "202@10.0.0.3"
		for _, f := range adjust {
			f(s)
		}
	}), Invite)
	if err != nil {
		p.t.Fatal(err)
	}
	p.a.invite = p.a.expect("INVITE")
	p.a.ok(p.a.invite, "", sdpOf(4000))
	p.a.expect("ACK")
}

// An attended transfer: A is in two bridged calls, with B and with C, and asks
// B to call C in its place (RFC 3891, RFC 5589 §7).
func TestAttendedTransferNamesTheDialogThatTheThirdPhoneHas(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		second := &rawPair{rig: p.rig, a: rawUDP(t, p.net, "10.0.0.2:5080"), b: rawUDP(t, p.net, thirdAddr)}
		var err error
		second.call, err = p.sw.Place(t.Context(), spec(func(s *Spec) {
			s.Key.Called = "203@sipx.test"
			s.Method, s.CallingUser, s.CalledUser = MethodInvite, "201@10.0.0.2:5080", "203@10.0.0.4"
		}), Invite)
		if err != nil {
			t.Fatal(err)
		}
		second.a.invite = second.a.expect("INVITE")
		second.a.ok(second.a.invite, "", sdpOf(4100))
		second.a.expect("ACK")
		second.b.invite = second.b.expect("INVITE")
		second.b.ok(second.b.invite, "", sdpOf(6000))
		second.a.ok(second.a.expect("INVITE"), "", sdpOf(4101))
		second.a.expect("ACK")
		second.b.expect("ACK")
		synctest.Wait()

		dialog := func(m *wire.Message, to, from string) string { // as the phone that got the INVITE sees it
			return url.PathEscape(string(m.Get(wire.CallID)) + ";to-tag=" + to + ";from-tag=" + from)
		}
		ourTag := func(ph *rawPhone) string { return string(wire.Tag(ph.invite.Get(wire.From))) }
		for i, tc := range []struct{ sent, want string }{
			{"<sip:callcontroller@10.0.0.1:5060?Replaces=" + dialog(second.a.invite, ourTag(second.a), phoneTag) + ">",
				"<sip:203@10.0.0.4?Replaces=" + dialog(second.b.invite, phoneTag, ourTag(second.b)) + ">"},
			{"<sip:200@sipx.test?Replaces=" + dialog(second.a.invite, phoneTag, ourTag(second.a)) + "&Require=replaces>",
				"<sip:203@10.0.0.4?Replaces=" + dialog(second.b.invite, phoneTag, ourTag(second.b)) + "&Require=replaces>"},
			{"<sip:200@sipx.test?Subject=x&replaces=" + dialog(second.a.invite, ourTag(second.a), phoneTag+";early-only") + ">",
				"<sip:203@10.0.0.4?Subject=x&replaces=" + dialog(second.b.invite, phoneTag, ourTag(second.b)+";early-only") + ">"},
			{"<sip:203@sipx.test?Replaces=nobody%40x%3Bto-tag%3D1%3Bfrom-tag%3D2>",
				"<sip:203@sipx.test?Replaces=nobody%40x%3Bto-tag%3D1%3Bfrom-tag%3D2>"},
			{"<sip:203@sipx.test?Replaces=" + dialog(p.b.invite, ourTag(second.a), phoneTag) + ">", // the Call-ID of another dialog
				"<sip:203@sipx.test?Replaces=" + dialog(p.b.invite, ourTag(second.a), phoneTag) + ">"},
			{"<sip:203@sipx.test?Replaces=%zz>", "<sip:203@sipx.test?Replaces=%zz>"},
			{"sip:203@sipx.test", "sip:203@sipx.test"},
			{"Replaces=", "Replaces="},
		} {
			p.a.send(p.a.inDialog("REFER", i+1, "Refer-To: "+tc.sent+"\r\n", ""))
			m := p.b.expect("REFER")
			unescape := func(s string) string { u, _ := url.PathUnescape(s); return u + s[:4] }
			if got := string(m.Get(wire.ReferTo)); unescape(got) != unescape(tc.want) {
				t.Errorf("Refer-To: %s\nbecame     %s\nwant       %s", tc.sent, got, tc.want)
			}
			p.b.send(p.b.response(m, 202, p.b.contact(), ""))
			p.a.response1(202)
		}
		p.a.wants(400, p.a.inDialog("REFER", 20, "Refer-To: <sip:202@sipx.test?Replaces="+dialog(p.a.invite, ourTag(p.a), phoneTag)+">\r\n", ""))
		p.b.send(p.b.notify(1, "200 OK", "terminated;reason=noresource"))
		m := p.a.expect("NOTIFY")
		if string(m.Get(wire.Event)) != "refer" || !strings.Contains(string(m.Body()), "200 OK") {
			t.Errorf("A got %s\n%s", m.Get(wire.Event), m.Body())
		}
		p.a.send(p.a.response(m, 200, "", ""))
		p.b.response1(200)
		second.hangUp()
		p.hangUp()
	})
}

// What a phone sends without end neither fills the memory nor reaches the other
// phone faster than that one responds.
func TestFloodFromABridgedPhone(t *testing.T) {
	for _, method := range []string{"INFO", "NOTIFY", "INVITE", "UPDATE", "MESSAGE", "ACK", "CANCEL", "BOGUS"} {
		t.Run(method, func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.net.Forget = true
				p.up()
				header, body := "Event: refer\r\n", ""
				if method == "INVITE" || method == "UPDATE" {
					header, body = sdpHeader, sdpOf(4002)
				}
				var before, after runtime.MemStats
				flood := func(from, n int) {
					for i := range n {
						p.a.send(p.a.inDialog(method, from+i, header, body))
						if i%64 == 0 {
							for p.a.read(2*time.Millisecond) != nil {
							}
						}
					}
					synctest.Wait()
				}
				flood(1, 500)
				runtime.GC()
				runtime.ReadMemStats(&before)
				many := 5_000 / flowtest.Share(10)
				flood(501, many)
				for p.a.read(10*time.Millisecond) != nil {
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
					t.Errorf("%d requests left %d KiB behind", many, grown>>10)
				}
				l := p.call.legs[0]
				l.peer.mu.Lock()
				waiting := 0
				for _, tx := range l.peer.open {
					if !tx.done {
						waiting++
					}
				}
				if n := len(l.peer.open); n > 2*maxOpen || waiting > maxOpen {
					t.Errorf("%d transactions are open, %d wait for an answer", n, waiting)
				}
				l.peer.mu.Unlock()
				got := 0
				for p.b.read(10*time.Millisecond) != nil {
					got++
				}
				if got > 20*maxOpen { // each of them repeated a few times
					t.Errorf("the other phone got %d requests", got)
				}
				p.call.stop(ErrHungUpByUser)
				time.Sleep(time.Minute) // neither responds to its BYE
				for p.a.read(0) != nil || p.b.read(0) != nil {
				}
				<-p.call.Done()
			})
		})
	}
}
