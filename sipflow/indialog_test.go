package sipflow

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// sdpOf is a phone's description with that port.
func sdpOf(port int) string {
	return fmt.Sprintf("v=0\r\no=phone 1 %d IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio %d RTP/AVP 0 8\r\na=sendrecv\r\n",
		port, port)
}

const sdpHeader = "Content-Type: application/sdp\r\n"

// rawPair is a call between two phones that do what the test writes.
type rawPair struct {
	*rig
	call *Call
	a, b *rawPhone
	// headers of A's 200 to the re-INVITE that joins it, and of B's 200
	headerA, headerB string
}

// ring brings the call to the point where A has got B's offer, which it returns.
func (p *rawPair) ring() *wire.Message {
	t := p.t
	t.Helper()
	var err error
	p.call, err = p.sw.Place(t.Context(), spec(func(s *Spec) {
		s.Method, s.CallingUser, s.CalledUser = MethodInvite, "201@10.0.0.2", "202@10.0.0.3"
	}), Invite)
	if err != nil {
		t.Fatal(err)
	}
	p.a.invite = p.a.expect("INVITE")
	p.a.send(p.a.response(p.a.invite, 200, p.a.contact()+sdpHeader, sdpOf(4000)))
	p.a.expect("ACK")
	p.b.invite = p.b.expect("INVITE")
	p.b.send(p.b.response(p.b.invite, 200, p.b.contact()+sdpHeader+p.headerB, sdpOf(5000)))
	return p.a.expect("INVITE")
}

// up brings the call up.
func (p *rawPair) up() {
	p.t.Helper()
	p.a.send(p.a.response(p.ring(), 200, p.a.contact()+sdpHeader+p.headerA, sdpOf(4001)))
	p.a.expect("ACK")
	p.b.expect("ACK")
	synctest.Wait()
}

// over expects a BYE at both phones, with that in its Reason.
func (p *rawPair) over(reason string) {
	p.t.Helper()
	for _, ph := range []*rawPhone{p.a, p.b} {
		if m := ph.hungUp(); !strings.Contains(string(m.Get(wire.Reason)), reason) {
			p.t.Errorf("hung up with Reason %q, want %q", m.Get(wire.Reason), reason)
		}
	}
	<-p.call.Done()
}

// ok responds to a request with 200.
func (p *rawPhone) ok(m *wire.Message, header, body string) {
	p.t.Helper()
	if body != "" {
		header += sdpHeader
	}
	p.send(p.response(m, 200, p.contact()+header, body))
}

// quiet checks that nothing comes for a while.
func (p *rawPhone) quiet(d time.Duration) {
	p.t.Helper()
	if m := p.read(d); m != nil {
		p.t.Errorf("got %s, want nothing", show(m))
	}
}

// response1 returns the next response.
func (p *rawPhone) response1(code int) *wire.Message {
	p.t.Helper()
	for {
		m := p.read(time.Minute)
		switch {
		case m == nil:
			p.t.Fatalf("no response, want %d", code)
		case m.IsRequest():
			p.queue = append(p.queue, m)
		case m.Code() == code:
			return m
		case m.Code() > 100:
			p.t.Fatalf("response %s, want %d", show(m), code)
		}
	}
}

// ack renders the ACK of the phone's INVITE with that CSeq.
func (p *rawPhone) ack(seq int, body string) string {
	header := ""
	if body != "" {
		header = sdpHeader
	}
	return p.inDialog("ACK", seq, header, body)
}

func since(start time.Time) time.Duration { return time.Since(start).Round(time.Second) }

func TestBridgedPhonesByHand(t *testing.T) {
	const hangUp = "hang up"
	for _, tc := range []struct {
		name             string
		headerA, headerB string
		do               func(t *testing.T, p *rawPair)
		reason           string // of the BYEs at the end; hangUp: the test hangs up
	}{
		{name: "the refresher is us, by UPDATE, for as long as it takes", headerA: "Allow: UPDATE\r\nSession-Expires: 90;refresher=uac\r\n",
			do: func(t *testing.T, p *rawPair) {
				start := time.Now()
				for i := range 3 {
					m := p.a.expect("UPDATE")
					if got, want := since(start), 45*time.Second*time.Duration(i+1); got != want {
						t.Errorf("refreshed after %v, want %v", got, want)
					}
					if got := string(m.Get(wire.SessionExpires)); got != "90;refresher=uac" || len(m.Body()) > 0 {
						t.Errorf("Session-Expires: %s, body %q", got, m.Body())
					}
					p.a.ok(m, "Session-Expires: 90;refresher=uac\r\n", "")
				}
			}},
		{name: "the refresher is us, by INVITE with the description that the phone has",
			headerA: "Allow: INVITE, BYE\r\nSession-Expires: 90;refresher=uac\r\n", do: func(t *testing.T, p *rawPair) {
				var before string
				for range 3 {
					m := p.a.expect("INVITE")
					if before != "" && before != string(m.Body()) {
						t.Errorf("the description changed:\n%s\n%s", before, m.Body())
					}
					if before = string(m.Body()); !strings.Contains(before, "m=audio 5000") {
						t.Errorf("refreshed with\n%s", before)
					}
					p.a.ok(m, "Session-Expires: 90;refresher=uac\r\n", sdpOf(4001))
					if ack := p.a.expect("ACK"); ack.Seq() != m.Seq() {
						t.Errorf("ACK of %d, want %d", ack.Seq(), m.Seq())
					}
				}
			}},
		{name: "a phone that takes no UPDATE after all is refreshed by INVITE", headerB: "Allow: UPDATE\r\nSession-Expires: 90;refresher=uac\r\n",
			do: func(t *testing.T, p *rawPair) {
				p.b.send(p.b.response(p.b.expect("UPDATE"), 405, "", ""))
				p.b.ok(p.b.expect("INVITE"), "Session-Expires: 90;refresher=uac\r\n", sdpOf(5000))
				p.b.expect("ACK")
			}},
		{name: "a refresh that is too brief is repeated with the interval wanted",
			headerB: "Allow: UPDATE\r\nSession-Expires: 90;refresher=uac\r\n", do: func(t *testing.T, p *rawPair) {
				p.b.send(p.b.response(p.b.expect("UPDATE"), 422, "Min-SE: 1800\r\n", ""))
				m := p.b.expect("UPDATE")
				if se, floor := string(m.Get(wire.SessionExpires)), string(m.Get(wire.MinSE)); !strings.HasPrefix(se, "1800") || floor != "1800" {
					t.Errorf("Session-Expires: %s, Min-SE: %s", se, floor)
				}
				p.b.ok(m, "Session-Expires: 1800;refresher=uac\r\n", "")
				p.b.quiet(14 * time.Minute)
			}},
		{name: "a refresh that crosses the phone's INVITE is tried again", headerA: "Allow: INVITE\r\nSession-Expires: 90;refresher=uac\r\n",
			do: func(t *testing.T, p *rawPair) {
				m := p.a.expect("INVITE")
				p.a.send(p.a.response(m, 491, "", ""))
				p.a.expect("ACK")
				p.a.ok(p.a.expect("INVITE"), "", sdpOf(4001))
				p.a.expect("ACK")
			}},
		{name: "while a refresh of ours is pending the other phone's INVITE waits",
			headerA: "Allow: INVITE\r\nSession-Expires: 90;refresher=uac\r\n", do: func(t *testing.T, p *rawPair) {
				m := p.a.expect("INVITE")
				p.b.send(p.b.inDialog("INVITE", 1, sdpHeader, sdpOf(5002)))
				p.b.response1(491) // RFC 3261 §14.1: one at a time in A's dialog
				p.b.send(p.b.ack(1, ""))
				p.a.ok(m, "", sdpOf(4001))
				p.a.expect("ACK")
				synctest.Wait()
				p.b.send(p.b.inDialog("INVITE", 2, sdpHeader, sdpOf(5002)))
				p.a.ok(p.a.expect("INVITE"), "", sdpOf(4002))
				p.a.expect("ACK")
				p.b.response1(200)
				p.b.send(p.b.ack(2, ""))
				synctest.Wait()
			}},
		{name: "each leg has its own session timer", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader+"Supported: timer\r\nSession-Expires: 90\r\n", sdpOf(4002)))
			m := p.b.expect("INVITE")
			if m.Get(wire.SessionExpires) != nil {
				t.Errorf("B was asked for %s", m.Get(wire.SessionExpires))
			}
			p.b.ok(m, "", sdpOf(5002))
			p.b.expect("ACK")
			res := p.a.response1(200)
			if got := string(res.Get(wire.SessionExpires)); got != "90;refresher=uac" || !wire.Requires(res, "timer") {
				t.Errorf("Session-Expires: %s, Require: %s", got, res.Get(wire.Require))
			}
			p.a.send(p.a.ack(1, ""))
			start := time.Now()
			p.a.send(p.a.inDialog("UPDATE", 2, "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n", ""))
			if got := string(p.a.response1(200).Get(wire.SessionExpires)); got != "90;refresher=uac" {
				t.Errorf("the UPDATE was answered with Session-Expires: %s", got)
			}
			p.a.queue = append(p.a.queue, p.a.read(10*time.Minute)) // the BYE
			if got := since(start); got != time.Minute {
				t.Errorf("hung up after %v, want 1m0s", got)
			}
		}, reason: "408"},
		{name: "a phone without timers leaves the refreshing to us", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("UPDATE", 1, "Session-Expires: 120\r\n", "")) // a proxy put it in
			if got := string(p.a.response1(200).Get(wire.SessionExpires)); got != "120;refresher=uas" {
				t.Errorf("Session-Expires: %s", got)
			}
		}},
		{name: "the phone moves", do: func(t *testing.T, p *rawPair) {
			moved := rawUDP(t, p.net, "10.0.0.2:5070")
			moved.invite = p.a.invite
			p.a.send(p.a.inDialog("UPDATE", 1, "", "", p.a.contact(), moved.contact()))
			p.a.response1(200)
			p.b.send(p.b.inDialog("INFO", 1, "", "x"))
			m := moved.expect("INFO")
			if got := string(m.URI()); got != "sip:201@10.0.0.2:5070" {
				t.Errorf("Request-URI %s", got)
			}
			moved.send(moved.response(m, 200, "", ""))
			p.b.response1(200)
			p.a, moved.queue = moved, p.a.queue
		}},
		{name: "an INVITE without an offer", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, "", ""))
			m := p.b.expect("INVITE")
			if len(m.Body()) > 0 {
				t.Errorf("B was offered\n%s", m.Body())
			}
			p.b.ok(m, "", sdpOf(5002))
			if res := p.a.response1(200); !strings.Contains(string(res.Body()), "m=audio 5002") || !strings.Contains(string(res.Body()), "o=- ") {
				t.Errorf("A was offered\n%s", res.Body())
			}
			p.b.quiet(0) // no ACK before A's
			p.a.send(p.a.ack(1, sdpOf(4003)))
			ack := p.b.expect("ACK")
			if !strings.Contains(string(ack.Body()), "m=audio 4003") || ack.Seq() != m.Seq() {
				t.Errorf("B got the ACK of %d with\n%s", ack.Seq(), ack.Body())
			}
			p.b.ok(m, "", sdpOf(5002)) // repeated: the same again
			if again := p.b.expect("ACK"); string(again.Body()) != string(ack.Body()) {
				t.Errorf("then with\n%s", again.Body())
			}
		}},
		{name: "a cancelled INVITE", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			m := p.b.expect("INVITE")
			p.b.send(p.b.response(m, 180, "", ""))
			p.a.response1(180)
			cancel := p.a.inDialog("CANCEL", 1, "", "", "z9hG4bKCANCEL1", "z9hG4bKINVITE1")
			start := time.Now()
			for range 1000 {
				p.a.send(cancel)
			}
			if got := p.b.expect("CANCEL"); got.Seq() != m.Seq() || since(start) > 0 { // not when the INVITE is given up
				t.Errorf("CANCEL of %d after %v, want %d at once", got.Seq(), since(start), m.Seq())
			}
			synctest.Wait()
			for p.a.read(0) != nil {
			}
			p.b.ok(m, "", "") // of the CANCEL, as far as anybody cares
			p.b.quiet(0)
		}, reason: hangUp},
		{name: "a cancelled INVITE is given up by the other phone", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			m := p.b.expect("INVITE")
			p.b.send(p.b.response(m, 100, "", ""))
			p.a.send(p.a.inDialog("CANCEL", 1, "", "", "z9hG4bKCANCEL1", "z9hG4bKINVITE1"))
			c := p.b.expect("CANCEL")
			p.b.send(p.b.response(c, 200, "", ""))
			p.b.send(p.b.response(m, 487, "", ""))
			p.b.expect("ACK")
			p.a.response1(200)
			p.a.response1(487)
			p.a.send(p.a.ack(1, ""))
			p.a.quiet(40 * time.Second)
		}},
		{name: "a cancelled INVITE is not sent again with credentials", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			m := p.b.expect("INVITE")
			p.a.send(p.a.inDialog("CANCEL", 1, "", "", "z9hG4bKCANCEL1", "z9hG4bKINVITE1"))
			p.a.response1(200)
			p.b.send(p.b.response(m, 407, "Proxy-Authenticate: Digest realm=\"sipx.test\", nonce=\"n\"\r\n", ""))
			p.b.expect("ACK")
			p.a.response1(487)
			p.a.send(p.a.ack(1, ""))
			p.b.quiet(time.Minute)
		}},
		{name: "a phone that answers the other's INVITE starts its own timer", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			p.b.ok(p.b.expect("INVITE"), "Allow: UPDATE\r\nSession-Expires: 90;refresher=uac\r\n", sdpOf(5002))
			p.b.expect("ACK")
			p.a.response1(200)
			p.a.send(p.a.ack(1, ""))
			start := time.Now()
			m := p.b.expect("UPDATE")
			if got := since(start); got != 45*time.Second {
				t.Errorf("refreshed after %v", got)
			}
			p.b.ok(m, "", "")
			p.a.send(p.a.inDialog("INFO", 2, "", "x")) // the refresh has not locked anything
			p.b.send(p.b.response(p.b.expect("INFO"), 200, "", ""))
			p.a.response1(200)
		}},
		{name: "a phone that insists on reliable provisional responses within a call", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			p.b.send(p.b.response(p.b.expect("INVITE"), 421, "Require: 100rel\r\n", ""))
			p.b.expect("ACK")
			m := p.b.expect("INVITE")
			for range 2 {
				p.b.send(p.b.response(m, 183, "Require: 100rel\r\nRSeq: 3\r\n", ""))
			}
			prack := p.b.expect("PRACK")
			if got := string(prack.Get(wire.RAck)); got != "3 3 INVITE" || string(prack.URI()) != "sip:201@10.0.0.3:5060" {
				t.Errorf("PRACK %s of %s", prack.URI(), got)
			}
			p.b.send(p.b.response(prack, 200, "", ""))
			p.b.ok(m, "", sdpOf(5002))
			p.b.expect("ACK")
			for range 2 {
				if res := p.a.response1(183); res.Get(wire.Require) != nil || res.Get(wire.RSeq) != nil {
					t.Errorf("A got a reliable response:\n%s", res.Raw())
				}
			}
			p.a.response1(200)
			p.a.send(p.a.ack(1, ""))
		}},
		{name: "an answer has the streams of its offer, whatever there were before", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, twoStreams))
			p.b.ok(p.b.expect("INVITE"), "", twoStreams)
			p.b.expect("ACK")
			p.a.response1(200)
			p.a.send(p.a.ack(1, ""))
			p.a.send(p.a.inDialog("INVITE", 2, sdpHeader, sdpOf(4002))) // which it must not, but phones do
			m := p.b.expect("INVITE")
			if _, n, _ := sdp.Split(m.Body()); n != 2 {
				t.Errorf("B was offered %d streams, want 2", n)
			}
			p.b.ok(m, "", strings.Replace(twoStreams, "m=video 5002", "m=video 0", 1))
			p.b.expect("ACK")
			if _, n, _ := sdp.Split(p.a.response1(200).Body()); n != 1 {
				t.Errorf("A was answered %d streams, want 1", n)
			}
			p.a.send(p.a.ack(2, ""))
		}},
		{name: "an INVITE that nobody decides about ends", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			m := p.b.expect("INVITE")
			p.b.send(p.b.response(m, 180, "", ""))
			p.a.response1(180)
			start := time.Now()
			c := p.b.expect("CANCEL")
			if got := since(start); got != tLate {
				t.Errorf("given up after %v, want %v", got, tLate)
			}
			p.a.response1(408)
			p.a.send(p.a.ack(1, ""))
			p.b.send(p.b.response(c, 200, "", ""))
			p.b.send(p.b.response(m, 487, "", ""))
			p.b.expect("ACK")
			p.a.send(p.a.inDialog("INVITE", 2, sdpHeader, sdpOf(4002))) // the way is free again
			p.b.ok(p.b.expect("INVITE"), "", sdpOf(5002))
			p.b.expect("ACK")
			p.a.response1(200)
			p.a.send(p.a.ack(2, ""))
		}},
		{name: "one INVITE after the other", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			first := p.b.expect("INVITE")
			if res := p.a.wants(500, p.a.inDialog("INVITE", 2, sdpHeader, sdpOf(4003))); res != nil && res.Get(wire.RetryAfter) == nil {
				t.Error("500 without Retry-After")
			}
			p.a.send(p.a.ack(2, ""))
			p.b.ok(first, "", sdpOf(5002))
			p.b.expect("ACK")
			p.a.response1(200)
			p.a.send(p.a.ack(1, ""))
			p.b.wants(0, p.b.ack(9, "")) // of nothing
		}},
		{name: "a 200 that is repeated is acknowledged again", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			m := p.b.expect("INVITE")
			for range 3 {
				p.b.ok(m, "", sdpOf(5002))
				if ack := p.b.expect("ACK"); ack.Seq() != m.Seq() {
					t.Errorf("ACK of %d, want %d", ack.Seq(), m.Seq())
				}
			}
			p.a.response1(200)
			p.a.send(p.a.ack(1, ""))
			p.a.quiet(5 * time.Second)
		}},
		{name: "a 200 that is never acknowledged ends the call", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			p.b.ok(p.b.expect("INVITE"), "", sdpOf(5002))
			p.b.expect("ACK")
			start, n := time.Now(), 0
			for {
				m := p.a.read(time.Minute)
				if m.IsRequest() {
					p.a.queue = append(p.a.queue, m)
					break
				}
				n++
			}
			if got := since(start); got < 32*time.Second || got > 36*time.Second || n < 10 {
				t.Errorf("hung up after %v and %d responses", got, n)
			}
		}, reason: "408"},
		{name: "a refused INVITE leaves the session as it was", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4999)))
			p.b.send(p.b.response(p.b.expect("INVITE"), 488, sdpHeader, sdpOf(5999)))
			p.b.expect("ACK")
			p.a.response1(488)
			p.a.send(p.a.ack(1, ""))
			synctest.Wait()
			for _, l := range p.call.legs {
				if s := string(l.media.remote); strings.Contains(s, "999") {
					t.Errorf("the session is now\n%s", s)
				}
			}
		}},
		{name: "digits dialled fast", do: func(t *testing.T, p *rawPair) {
			for i := 1; i <= 100; i++ {
				p.a.send(p.a.inDialog("INFO", i, "Content-Type: application/dtmf-relay\r\n", "Signal=5\r\n"))
				p.b.send(p.b.response(p.b.expect("INFO"), 200, "", ""))
				p.a.response1(200)
			}
			if n := len(p.call.legs[0].peer.open); n > 2*maxOpen {
				t.Errorf("%d transactions are kept", n)
			}
			// A repeat of the last is answered from memory, not passed on.
			p.a.wants(200, p.a.inDialog("INFO", 100, "Content-Type: application/dtmf-relay\r\n", "Signal=5\r\n"))
			p.b.quiet(0)
		}},
		{name: "an INVITE of the phone's that comes after the end", do: func(t *testing.T, p *rawPair) {
			p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
			p.b.expect("INVITE")
			p.b.send(p.b.inDialog("BYE", 1, "Reason: Q.850;cause=16\r\n", ""))
			p.b.response1(200)
			p.a.response1(487)
			if m := p.a.hungUp(); string(m.Get(wire.Reason)) != "Q.850;cause=16" {
				t.Errorf("Reason: %s", m.Get(wire.Reason))
			}
			<-p.call.Done()
			p.a.wants(487, p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002))) // its 487 was lost
		}, reason: "over"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				p := &rawPair{rig: newRig(t, n, ""), a: rawUDP(t, n, phoneAddr), b: rawUDP(t, n, calledAddr), headerA: tc.headerA, headerB: tc.headerB}
				defer p.stop()
				p.up()
				tc.do(t, p)
				switch tc.reason {
				case "over":
				case "", hangUp:
					go p.sw.HangUp(t.Context(), p.call.Holds()) //nolint:errcheck // shows below
					if tc.reason == hangUp {
						p.call.stop(ErrHungUpByUser)
					}
					p.over("")
				default:
					p.over(tc.reason)
				}
				p.empty()
			})
		})
	}
}
