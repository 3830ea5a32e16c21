package sipflow

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// aloneStates bring a call to where the phone is up and waits, by name.
var aloneStates = map[string]func(t *testing.T, n *siptest.Network, p *rawPhone) (*rig, *Call){
	"before the 202": func(t *testing.T, n *siptest.Network, p *rawPhone) (*rig, *Call) {
		r := newRig(t, n, phoneAddr)
		c := r.place(spec())
		p.answer()
		p.expect("REFER")
		return r, c
	},
	"after the 202": func(t *testing.T, n *siptest.Network, p *rawPhone) (*rig, *Call) {
		r := newRig(t, n, phoneAddr, onOutcome)
		c := r.place(spec())
		p.answerAndAccept()
		p.wants(200, p.notify(1, "180 Ringing", "active"))
		return r, c
	},
	"while the other phone rings": func(t *testing.T, n *siptest.Network, p *rawPhone) (*rig, *Call) {
		r := newRig(t, n, "")
		t.Cleanup(n.Phone("202", calledAddr, siptest.Script{NeverAnswer: true}).Close)
		c, err := r.sw.Place(t.Context(), spec(func(s *Spec) {
			s.Method, s.CallingUser, s.CalledUser, s.Timeout = MethodInvite, "201@10.0.0.2", "202@10.0.0.3", time.Hour
		}), Invite)
		if err != nil {
			t.Fatal(err)
		}
		p.invite = p.expect("INVITE")
		p.ok(p.invite, "", sdpOf(4000))
		p.expect("ACK")
		synctest.Wait()
		return r, c
	},
	"on hold while the target rings": func(t *testing.T, n *siptest.Network, p *rawPhone) (*rig, *Call) {
		r := newRig(t, n, "")
		t.Cleanup(n.Phone("202", calledAddr, siptest.Script{NeverAnswer: true}).Close)
		s := spec(dialling(func(d *Dialling) {
			d.Gateway, d.Target, d.TargetTime = "sip:10.0.0.2", "sip:202@10.0.0.3", time.Hour
		}), func(s *Spec) { s.Method = MethodInvite })
		c, err := r.sw.Place(t.Context(), s, Dial)
		if err != nil {
			t.Fatal(err)
		}
		p.invite = p.expect("INVITE")
		p.ok(p.invite, "", sdpOf(4000))
		p.expect("ACK")
		return r, c
	},
}

// inEachState runs f with a phone that is up alone.
func inEachState(t *testing.T, f func(t *testing.T, r *rig, p *rawPhone, c *Call)) {
	for name, bring := range aloneStates {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				p := rawUDP(t, n, phoneAddr)
				r, c := bring(t, n, p)
				defer r.stop()
				p.drain()
				f(t, r, p, c)
				c.stop(ErrHungUpByUser)
				if isDone(c) {
					return
				}
				for m := p.expect1(); m != nil && m.Method() != "BYE"; m = p.expect1() { // REFERs that are repeated
					continue
				}
				<-c.Done()
			})
		})
	}
}

// isDone reports whether the call is over.
func isDone(c *Call) bool {
	synctest.Wait()
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

// drain forgets what has come.
func (p *rawPhone) drain() {
	synctest.Wait()
	for p.read(0) != nil {
		continue
	}
}

func TestARequestIsAnsweredAlikeWhateverTheCallWaitsFor(t *testing.T) {
	const require = "Require: timer, 100rel, replaces\r\n"
	const keeps = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n"
	inEachState(t, func(t *testing.T, _ *rig, p *rawPhone, _ *Call) {
		seq := 10
		ask := func(method, header, body string, code int) *wire.Message {
			t.Helper()
			seq++
			if body != "" && !strings.Contains(header, "Content-Type") {
				header += sdpHeader
			}
			msg := p.inDialog(method, seq, header, body)
			m := p.wants(code, msg)
			if m == nil {
				t.FailNow()
			}
			if again := p.wants(code, msg); again == nil || string(again.Raw()) != string(m.Raw()) {
				t.Errorf("%s is answered\n%s\nand when it comes again\n%s", method, m.Raw(), again.Raw())
			}
			if method == "INVITE" {
				p.send(p.ack(seq, ""))
				synctest.Wait()
			}
			return m
		}
		for _, method := range []string{"INVITE", "UPDATE"} {
			m := ask(method, require+keeps, twoStreams, 200)
			if d := read(t, m.Body()); len(d.MediaDescriptions) != 2 || d.MediaDescriptions[1].MediaName.Port.Value != 0 {
				t.Errorf("%s is answered\n%s", method, m.Body())
			}
			if got := string(m.Get(wire.SessionExpires)); got != "90;refresher=uac" || !wire.Requires(m, "timer") ||
				!wire.Lists(m, wire.Allow, "update") {
				t.Errorf("%s is answered\n%s", method, m.Raw())
			}
			if m := ask(method, "Session-Expires: 89\r\n", "", 422); string(m.Get(wire.MinSE)) != "90" {
				t.Errorf("Min-SE: %s", m.Get(wire.MinSE))
			}
			ask(method, "", twoStreams+strings.Repeat("m=audio 0 RTP/AVP 0\r\n", 63), 488)
			if m := ask(method, "Content-Type: text/plain\r\n", "x", 415); !strings.Contains(string(m.Raw()),
				"\r\nAccept: application/sdp, multipart/*\r\n") {
				t.Errorf("%s is answered\n%s", method, m.Raw())
			}
		}
		m := ask("UPDATE", require+"Session-Expires: 120\r\n", "", 200)
		if string(m.Get(wire.SessionExpires)) != "120;refresher=uas" || len(m.Body()) > 0 {
			t.Errorf("UPDATE is answered\n%s", m.Raw())
		}
		if m := ask("INVITE", "", "", 200); len(read(t, m.Body()).MediaDescriptions) != 2 {
			t.Errorf("an INVITE without an offer is answered\n%s", m.Raw())
		}
		ask("INFO", require, "", 200)
		m = ask("OPTIONS", require, "", 200)
		if !wire.Lists(m, wire.Allow, "update") || !supports(m, "timer") ||
			!strings.Contains(string(m.Raw()), "\r\nAccept: application/sdp, multipart/*\r\n") {
			t.Errorf("OPTIONS is answered\n%s", m.Raw())
		}
		for _, method := range []string{"INVITE", "UPDATE", "INFO", "OPTIONS"} {
			if m := ask(method, "Require: timer, telepathy\r\nRequire: x\r\n", "", 420); string(m.Get(wire.Unsupported)) != "telepathy, x" {
				t.Errorf("Unsupported: %s", m.Get(wire.Unsupported))
			}
		}
	})
}

// RFC 3261 §14.2, RFC 3311 §5.2, RFC 3264 §4.
func TestAPhoneThatIsAloneOffersOneThingAfterTheOther(t *testing.T) {
	inEachState(t, func(t *testing.T, _ *rig, p *rawPhone, _ *Call) {
		p.wants(200, p.inDialog("INVITE", 11, sdpHeader, sdpOf(4001))) // and is not acknowledged yet
		p.wants(500, p.inDialog("INVITE", 12, sdpHeader, sdpOf(4002)))
		p.wants(200, p.inDialog("UPDATE", 13, sdpHeader, sdpOf(4003))) // the offer before has its answer
		p.wants(200, p.inDialog("UPDATE", 14, "", ""))
		p.send(p.ack(11, ""))
		p.drain()
		p.wants(200, p.inDialog("INVITE", 15, "", "")) // our offer is in the 200
		p.wants(491, p.inDialog("UPDATE", 16, sdpHeader, sdpOf(4004)))
		p.wants(200, p.inDialog("UPDATE", 17, "", ""))
		p.wants(200, p.inDialog("INFO", 18, "", ""))
		p.send(p.ack(15, sdpOf(4005)))
		p.drain()
		p.wants(200, p.inDialog("UPDATE", 19, sdpHeader, sdpOf(4006)))
	})
}

// A refresh by INVITE says the same again, and the phone's own waits for it.
func TestARefreshOfAPhoneThatIsAlone(t *testing.T) {
	inEachState(t, func(t *testing.T, _ *rig, p *rawPhone, _ *Call) {
		// What a proxy has put in; the phone takes no UPDATE.
		m := p.wants(200, p.inDialog("INVITE", 11, "Allow: INVITE, BYE\r\nSession-Expires: 90\r\n"+sdpHeader, twoStreams))
		p.send(p.ack(11, ""))
		var invite *wire.Message
		for invite = p.expect1(); invite.Method() != "INVITE"; invite = p.expect1() {
			if invite.Method() == "BYE" { // its REFER has timed out
				p.ok(invite, "", "")
				return
			}
		}
		if string(invite.Body()) != string(m.Body()) {
			t.Errorf("the session is refreshed with\n%s\nand was\n%s", invite.Body(), m.Body())
		}
		if got := string(invite.Get(wire.SessionExpires)); got != "90;refresher=uac" {
			t.Errorf("Session-Expires: %s", got)
		}
		p.wants(491, p.inDialog("INVITE", 12, sdpHeader, sdpOf(4002)))
		p.send(p.ack(12, ""))
		p.wants(491, p.inDialog("UPDATE", 13, sdpHeader, sdpOf(4002)))
		p.wants(200, p.inDialog("UPDATE", 14, "", ""))
		p.ok(invite, "Session-Expires: 90;refresher=uac\r\n", sdpOf(4003))
		for m := p.expect1(); m.Method() != "ACK"; m = p.expect1() {
			continue
		}
		p.drain()
		p.wants(200, p.inDialog("INVITE", 15, sdpHeader, sdpOf(4002)))
		p.send(p.ack(15, ""))
	})
}

// A phone that is alone moves, and is hung up where it is.
func TestAPhoneThatIsAloneMoves(t *testing.T) {
	for _, method := range []string{"INVITE", "UPDATE"} {
		t.Run(method, func(t *testing.T) {
			inEachState(t, func(t *testing.T, r *rig, p *rawPhone, c *Call) {
				moved := rawUDP(t, r.net, "10.0.0.2:5070")
				moved.invite = p.invite
				p.wants(200, p.inDialog(method, 11, sdpHeader, sdpOf(4001), p.contact(), moved.contact()))
				p.send(p.ack(11, ""))
				synctest.Wait()
				c.stop(ErrHungUpByUser)
				moved.queue = nil
				for m := moved.expect1(); m.Method() != "BYE"; m = moved.expect1() {
					continue
				}
				<-c.Done()
			})
		})
	}
}

// A session of a phone that asks for it long after the call has begun.
func TestASessionBeginsWhileThePhoneIsAlone(t *testing.T) {
	inEachState(t, func(t *testing.T, _ *rig, p *rawPhone, c *Call) {
		start := time.Now()
		p.wants(200, p.inDialog("UPDATE", 11, "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n", ""))
		m := p.expect1()
		for ; m.Method() != "BYE"; m = p.expect1() { // REFERs
			continue
		}
		p.ok(m, "", "")
		if got := since(start); got > time.Minute {
			t.Errorf("hung up after %v", got)
		}
		<-c.Done()
	})
}

// Waits for something else than the caller end with it, and with ctx.
func TestIncomingWait(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(p *rawInbound, answer *wire.Message, cancel, done func())
		want string
	}{
		{"what is waited for comes", func(_ *rawInbound, _ *wire.Message, _, done func()) { done() }, "<nil>"},
		{"nobody waits any more", func(_ *rawInbound, _ *wire.Message, cancel, _ func()) { cancel() }, "context canceled"},
		{"the caller hangs up", func(p *rawInbound, answer *wire.Message, _, _ func()) {
			p.rawPhone.send(within(answer, "BYE", 9, "", ""))
		}, ErrHungUp.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			done, got := make(chan struct{}), make(chan error, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			take := func(_ context.Context, in *Incoming) error {
				if err := in.AnswerHeld(t.Context()); err != nil {
					return err
				}
				got <- in.Wait(ctx, done)
				return nil
			}
			inboundRaw(t, take, func(t *testing.T, p *rawInbound) {
				done, got = make(chan struct{}), make(chan error, 1)
				ctx, cancel = context.WithCancel(t.Context())
				p.rawPhone.send(rawInvite())
				answer := p.final("INVITE", 200)
				p.rawPhone.send(within(answer, "ACK", 1, "", ""))
				time.Sleep(time.Second)
				tc.end(p, answer, cancel, func() { close(done) })
				err := <-got
				if text := "<nil>"; err != nil && err.Error() != tc.want || err == nil && text != tc.want {
					t.Errorf("got %v, want %s", err, tc.want)
				}
				if tc.want != ErrHungUp.Error() {
					p.rawPhone.hungUp()
				}
			})
		})
	}
}
