package sipflow

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// offer renders an INVITE or UPDATE with an offer.
func (p *rawPhone) offer(method string, seq int) string {
	return p.inDialog(method, seq, sdpHeader, sdpOf(4000+seq))
}

// refused sends one that must be refused, and acknowledges that of an INVITE.
func (p *rawPhone) refused(code int, method string, seq int) {
	p.t.Helper()
	m := p.wants(code, p.offer(method, seq))
	if m != nil && code == 500 && m.Get(wire.RetryAfter) == nil {
		p.t.Error("500 without Retry-After")
	}
	if method == "INVITE" {
		p.send(p.ack(seq, ""))
		synctest.Wait()
	}
}

// One offer at a time, in the dialog that it comes in and in that which it would go to
// (RFC 3261 §14, RFC 3311 §5.2, RFC 3264 §4, RFC 6337 §4).
func TestOffersThatCrossInABridge(t *testing.T) {
	for _, tc := range []struct {
		name    string
		headerA string
		do      func(t *testing.T, p *rawPair)
	}{
		{name: "an UPDATE while the other phone's INVITE is open", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.offer("INVITE", 1))
			m := p.b.expect("INVITE")
			p.b.refused(491, "UPDATE", 1)
			p.b.refused(491, "INVITE", 2)
			p.b.wants(200, p.b.inDialog("UPDATE", 3, "", ""))
			p.a.refused(500, "UPDATE", 2) // the phone's own is open
			p.a.wants(200, p.a.inDialog("UPDATE", 3, "", ""))
			p.a.queue = nil
			p.b.ok(m, "", sdpOf(5002))
			p.b.expect("ACK")
			p.a.response1(200)
			p.a.send(p.a.ack(1, ""))
			synctest.Wait()
			p.b.send(p.b.offer("UPDATE", 4))
			p.a.ok(p.a.expect("UPDATE"), "", sdpOf(4002))
			p.b.response1(200)
		}},
		{name: "an INVITE while the other phone's UPDATE is open", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.offer("UPDATE", 1))
			m := p.b.expect("UPDATE")
			p.b.refused(491, "INVITE", 1)
			p.b.refused(491, "UPDATE", 2)
			p.b.wants(200, p.b.inDialog("UPDATE", 3, "", ""))
			p.a.refused(500, "INVITE", 2)
			p.a.refused(500, "UPDATE", 3)
			p.a.wants(200, p.a.inDialog("UPDATE", 4, "", ""))
			p.b.ok(m, "", sdpOf(5002))
			p.a.response1(200)
			synctest.Wait()
			p.b.send(p.b.offer("INVITE", 4))
			p.a.ok(p.a.expect("INVITE"), "", sdpOf(4002))
			p.a.expect("ACK")
			p.b.response1(200)
			p.b.send(p.b.ack(4, ""))
		}},
		{name: "an UPDATE that is refused leaves the way free", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.offer("UPDATE", 1))
			p.b.send(p.b.response(p.b.expect("UPDATE"), 488, "", ""))
			p.a.response1(488)
			synctest.Wait()
			p.b.send(p.b.offer("UPDATE", 1))
			p.a.ok(p.a.expect("UPDATE"), "", sdpOf(4002))
			p.b.response1(200)
		}},
		{name: "an UPDATE before the answer to an offer in a 200", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, "", ""))
			p.b.ok(p.b.expect("INVITE"), "", sdpOf(5002))
			p.a.response1(200)
			p.a.refused(491, "UPDATE", 2)
			p.b.refused(491, "UPDATE", 1)
			p.a.send(p.a.ack(1, sdpOf(4003)))
			p.b.expect("ACK")
			synctest.Wait()
			p.a.send(p.a.offer("UPDATE", 3))
			p.b.ok(p.b.expect("UPDATE"), "", sdpOf(5003))
			p.a.response1(200)
		}},
		{name: "an UPDATE while a refresh of ours is open", headerA: "Allow: INVITE\r\nSession-Expires: 90;refresher=uac\r\n",
			do: func(t *testing.T, p *rawPair) {
				m := p.a.expect("INVITE")
				p.a.refused(491, "UPDATE", 1)
				p.b.refused(491, "UPDATE", 1) // it would go to A
				p.b.wants(200, p.b.inDialog("UPDATE", 2, "", ""))
				p.a.ok(m, "", sdpOf(4001))
				p.a.expect("ACK")
				synctest.Wait()
				p.b.send(p.b.offer("UPDATE", 3))
				p.a.ok(p.a.expect("UPDATE"), "", sdpOf(4001))
				p.b.response1(200)
			}},
		{name: "a client mutes a phone whose UPDATE is open", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.offer("UPDATE", 1))
			m := p.b.expect("UPDATE")
			muted := make(chan error, 1)
			go func() { muted <- p.call.Mute(t.Context(), MuteSpeaking) }()
			p.a.quiet(t1 / 2)
			p.b.ok(m, "", sdpOf(5002))
			p.a.response1(200)
			p.a.ok(p.a.expect("INVITE"), "", sdpOf(4001)) // tried again
			p.a.expect("ACK")
			if err := <-muted; err != nil {
				t.Error(err)
			}
		}},
		{name: "a refresh of ours by UPDATE does not wait for ever for an INVITE",
			headerA: "Allow: UPDATE\r\nSession-Expires: 90;refresher=uac\r\n",
			do: func(t *testing.T, p *rawPair) {
				start := time.Now()
				time.Sleep(40 * time.Second)
				p.b.send(p.b.offer("INVITE", 1))
				m := p.a.expect("INVITE")
				p.a.send(p.a.response(m, 180, "", ""))
				for range 2 { // it rings on for longer than the session
					update := p.a.expect("UPDATE")
					if len(update.Body()) > 0 {
						t.Errorf("refreshed with\n%s", update.Body())
					}
					p.a.ok(update, "Session-Expires: 90;refresher=uac\r\n", "")
				}
				if got := since(start); got != 135*time.Second {
					t.Errorf("refreshed after %v", got)
				}
				p.a.ok(m, "Session-Expires: 90;refresher=uac\r\n", sdpOf(4001))
				p.a.expect("ACK")
				p.b.queue = nil
				p.b.response1(180)
				p.b.response1(200)
				p.b.send(p.b.ack(1, ""))
			}},
		{name: "a session does not end while the phone's INVITE is open", headerA: "Session-Expires: 90;refresher=uas\r\n",
			do: func(t *testing.T, p *rawPair) {
				time.Sleep(50 * time.Second)
				p.a.send(p.a.inDialog("INVITE", 1, sdpHeader+"Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n", sdpOf(4001)))
				m := p.b.expect("INVITE")
				p.b.send(p.b.response(m, 180, "", ""))
				p.a.response1(180)
				p.a.quiet(100 * time.Second)
				p.b.ok(m, "", sdpOf(5001))
				p.b.expect("ACK")
				p.a.response1(200)
				p.a.send(p.a.ack(1, ""))
				p.a.quiet(50 * time.Second)
			}},
		{name: "a refresh of ours waits for an UPDATE", headerA: "Allow: INVITE, UPDATE\r\nSession-Expires: 90;refresher=uac\r\n",
			do: func(t *testing.T, p *rawPair) {
				time.Sleep(40 * time.Second)
				p.b.send(p.b.offer("UPDATE", 1))
				m := p.a.expect("UPDATE")
				if len(m.Body()) == 0 {
					t.Fatal("that is a refresh")
				}
				for by := time.Now().Add(10 * time.Second); time.Now().Before(by); {
					if again := p.a.read(time.Until(by)); again != nil && again.Seq() != m.Seq() {
						t.Errorf("got %s, want nothing", show(again))
					}
				}
				p.a.ok(m, "Session-Expires: 90;refresher=uac\r\n", sdpOf(4001))
				p.b.response1(200)
				if m := p.a.expect("UPDATE"); len(m.Body()) > 0 {
					t.Errorf("refreshed with\n%s", m.Body())
				} else {
					p.a.ok(m, "", "")
				}
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				p := &rawPair{rig: newRig(t, n, ""), a: rawUDP(t, n, phoneAddr), b: rawUDP(t, n, calledAddr), headerA: tc.headerA}
				defer p.stop()
				p.up()
				tc.do(t, p)
				p.call.HangUp(errors.New("the test is over"))
				p.over("")
				p.empty()
			})
		})
	}
}
