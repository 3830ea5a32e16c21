package sipflow

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// rack is the RAck for a reliable response to the first INVITE.
func rack(m *wire.Message) string { return "RAck: " + string(m.Get(wire.RSeq)) + " 1 INVITE\r\n" }

func TestInboundAnswerWaitsForThePRACK(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.target.SetScript(siptest.Script{Ring: time.Second, EarlyForks: 3})
		p.rawPhone.send(rawInvite("Max-Forwards", "Supported: 100rel\r\nMax-Forwards"))
		ringing := p.next(180)
		// The target's further 180s say nothing new, and its 200 waits.
		rseq := string(ringing.Get(wire.RSeq))
		for until := time.Now().Add(3 * time.Second); time.Now().Before(until); {
			if m := p.read(time.Until(until)); m != nil && (m.Code() != 180 || string(m.Get(wire.RSeq)) != rseq) {
				t.Fatalf("got %s, RSeq %s", show(m), m.Get(wire.RSeq))
			}
		}
		p.rawPhone.send(within(ringing, "PRACK", 2, "RAck: 1 1 INVITE\r\n", ""))
		p.final("PRACK", 481)
		p.rawPhone.send(within(ringing, "PRACK", 3, rack(ringing)+sdpHeader, sdpOf(4002))) // an offer of its own
		p.final("PRACK", 488)
		p.rawPhone.send(within(ringing, "PRACK", 4, "Require: 100rel\r\n"+rack(ringing), ""))
		answer := p.final("INVITE", 200)
		p.rawPhone.send(within(answer, "ACK", 1, "", ""))
		p.rawPhone.send(within(answer, "PRACK", 4, "Require: 100rel\r\n"+rack(ringing), "")) // again
		p.final("PRACK", 200)
		p.target.HangUp()
		p.rawPhone.hungUp()
	})
}

// final is the next final response to a method.
func (p *rawInbound) final(method string, code int) *wire.Message {
	p.rawPhone.t.Helper()
	for {
		m := p.read(10 * time.Second)
		if m == nil {
			p.rawPhone.t.Fatalf("no answer to %s", method)
		}
		if m.IsRequest() || m.Method() != method || m.Code() < 200 {
			continue
		}
		if m.Code() != code {
			p.rawPhone.t.Fatalf("%s got %s, want %d", method, show(m), code)
		}
		return m
	}
}

func TestInboundRefusedCallIsNoDialog(t *testing.T) {
	inboundRaw(t, refuse486, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		res := p.next(486)
		p.rawPhone.send(refusalACK(res))
		p.wants(481, within(res, "BYE", 2, "", ""))
		p.wants(481, within(res, "INVITE", 3, "", ""))
	})
}

func TestInboundHeldCallerHangsUpAfterATargetWasBusy(t *testing.T) {
	inboundRaw(t, func(ctx context.Context, in *Incoming) error {
		if err := in.AnswerHeld(ctx); err != nil {
			return err
		}
		if err := connectTo202(ctx, in); err == nil {
			t.Error("connected to a phone that is busy")
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}, func(t *testing.T, p *rawInbound) {
		p.target.SetScript(siptest.Script{Status: 486})
		p.rawPhone.send(rawInvite())
		res := p.next(200)
		p.rawPhone.send(within(res, "ACK", 1, "", ""))
		time.Sleep(5 * time.Second)
		p.wants(200, within(res, "INVITE", 2, sdpHeader, sdpOf(4002))) // it may be put on hold, while it is
		p.rawPhone.send(within(res, "ACK", 2, "", ""))
		p.wants(200, within(res, "UPDATE", 3, "", ""))
		p.wants(200, within(res, "BYE", 4, "", ""))
		time.Sleep(time.Second)
		if n := p.sw.Active(); n != 0 {
			t.Errorf("%d calls are active", n)
		}
	})
}

// A caller whose call has been joined, and came to a bad end, is hung up: nobody is
// called for it any more.
func TestInboundHeldCallerIsJoinedOnce(t *testing.T) {
	inboundRaw(t, func(ctx context.Context, in *Incoming) error {
		if err := in.AnswerHeld(ctx); err != nil {
			return err
		}
		err := connectTo202(ctx, in)
		if !errors.Is(err, errNoAck) {
			t.Errorf("the first target: %v", err)
		}
		if again := connectTo202(ctx, in); !errors.Is(again, errAnswered) {
			t.Errorf("the second target: %v", again)
		}
		return err
	}, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		res := p.next(200)
		p.rawPhone.send(within(res, "ACK", 1, "", ""))
		p.rawPhone.invite = p.expect("INVITE")
		p.rawPhone.ok(p.rawPhone.invite, "", sdpOf(4000))
		p.expect("ACK")
		p.rawPhone.send(within(res, "INVITE", 2, sdpHeader, sdpOf(4002)))
		p.rawPhone.hungUp() // there is no ACK
		time.Sleep(time.Minute)
		invites := 0
		for _, m := range p.rig.net.Packets() {
			if m.To.String() == calledAddr && strings.HasPrefix(string(m.Data), "INVITE ") && strings.Contains(string(m.Data), "CSeq: 1 ") {
				invites++
			}
		}
		if invites != 1 {
			t.Errorf("the target was called %d times", invites)
		}
	})
}

func TestInboundCallerIsReachedWhereItsContactSays(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		elsewhere := rawUDP(t, p.rig.net, "10.0.0.6:5062")
		p.rawPhone.send(rawInvite("<sip:201@10.0.0.2:5060>", "<sip:201@10.0.0.6:5062>"))
		p.next(180)
		p.rawPhone.send(strings.Replace(within(p.next(200), "ACK", 1, "", ""), "10.0.0.2:5060>", "10.0.0.6:5062>", 1))
		time.Sleep(time.Second)
		p.target.HangUp()
		elsewhere.hungUp()
	})
}

// A caller writes into From what it likes: that makes no server of whoever it names.
func TestInboundCallerOpensNoConnectionToOthers(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		l := p.rig.net.ListenTCP("10.0.0.77:5060")
		defer l.Close()
		connected := make(chan struct{})
		go func() {
			if _, err := l.Accept(); err == nil {
				close(connected)
			}
		}()
		p.rawPhone.send(rawInvite("<sip:201@10.0.0.2:5060>", "<sip:201@10.0.0.77:5060;transport=tcp>", "<sip:201@sipx.test>",
			"<sip:201@10.0.0.77>"))
		p.next(180)
		p.rawPhone.send(within(p.next(200), "ACK", 1, "", ""))
		time.Sleep(time.Second)
		p.target.HangUp()
		p.rawPhone.hungUp() // where it called from
		select {
		case <-connected:
			t.Error("a connection was opened to whom the caller named")
		default:
		}
	})
}

func TestInboundCallerThatAsksOftenIsStillChallenged(t *testing.T) {
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) {
		for i := range 8 {
			id := string(rune('a' + i))
			m := p.wants(401, rawInvite("b1", id, "raw1", id))
			if m == nil || m.Get(wire.WWWAuthenticate) == nil {
				t.Fatalf("answer %d is no challenge", i)
			}
		}
	}, func(cfg *Config) {
		cfg.Inbound.Admit = func(*Incoming) Admission { return Challenge }
		cfg.Limits.SourceRate = 5 // ten at once, of which the latter half is answered briefly
	})
}

func TestInboundCANCELAfterTheAnswerHasNoEffect(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		answer := p.final("INVITE", 200)
		p.rawPhone.send(rawOf("CANCEL", 1, "b1", ""))
		p.final("CANCEL", 200)
		p.rawPhone.send(within(answer, "ACK", 1, "", ""))
		time.Sleep(10 * time.Second)
		if n := p.sw.Active(); n != 1 {
			t.Errorf("%d calls are active, want 1", n)
		}
		p.wants(0, rawInvite()) // a late copy
		p.target.HangUp()
		p.rawPhone.hungUp()
	})
}

func TestDigitsOfAHeldCaller(t *testing.T) {
	var got []byte
	inboundRaw(t, func(ctx context.Context, in *Incoming) error {
		if err := in.AnswerHeld(ctx); err != nil {
			return err
		}
		for {
			d, err := in.Digit(ctx)
			if err != nil {
				return err
			}
			got = append(got, d)
		}
	}, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		res := p.final("INVITE", 200)
		p.rawPhone.send(within(res, "ACK", 1, "", ""))
		for i, info := range []struct{ kind, body string }{
			{"application/dtmf-relay", "Signal=1\r\nDuration=160\r\n"}, {"application/dtmf-relay; x=y", "Duration=100\nsignal = 2\n"},
			{"application/dtmf", "3"},
			{"Application/DTMF", " # "}, {"application/dtmf-relay", "Signal=10"}, {"application/dtmf-relay", "Signal=11"}, {"application/dtmf", "a"},
			{"application/dtmf", "12"}, {"application/dtmf", ""}, {"text/plain", "5"}, {"application/dtmf-relay", "Signal=!"},
			{"application/dtmf-relay", "Duration=5"},
		} {
			p.wants(200, within(res, "INFO", 2+i, "Content-Type: "+info.kind+"\r\n", info.body))
		}
		p.wants(200, within(res, "BYE", 50, "", ""))
		synctest.Wait()
		if string(got) != "123#*#A" {
			t.Errorf("digits %q", got)
		}
	})
}

// What the call does for a digit does not overtake the response to its INFO.
func TestDigitIsHeardAfterItsResponse(t *testing.T) {
	var caller atomic.Pointer[Incoming]
	inboundRaw(t, func(ctx context.Context, in *Incoming) error {
		if err := in.AnswerHeld(ctx); err != nil {
			return err
		}
		caller.Store(in)
		<-ctx.Done()
		return context.Cause(ctx)
	}, func(t *testing.T, p *rawInbound) {
		p.net.Late = func(packet siptest.Packet) time.Duration {
			if in := caller.Load(); packet.Method() == "INFO" && packet.Status() == 200 && len(in.digits) > 0 {
				t.Error("the digit was heard before its response was sent")
			}
			return 0
		}
		p.rawPhone.send(rawInvite())
		res := p.final("INVITE", 200)
		p.rawPhone.send(within(res, "ACK", 1, "", ""))
		synctest.Wait()
		p.wants(200, within(res, "INFO", 2, "Content-Type: application/dtmf\r\n", "3"))
		if n := len(caller.Load().digits); n != 1 {
			t.Errorf("%d digits were heard, want 1", n)
		}
		p.wants(200, within(res, "BYE", 3, "", ""))
	})
}

func TestWhatCannotBeSaidToACaller(t *testing.T) {
	inboundRaw(t, func(_ context.Context, in *Incoming) error {
		for name, err := range map[string]error{"200": in.Refuse(200, ""), "700": in.Refuse(700, ""), "nowhere": in.Redirect(),
			"elsewhere": in.Redirect("http://x"),
			"a header":  in.Redirect("sip:x@y>\r\nX-Evil: 1\r\n<sip:z")} {
			if err == nil {
				t.Errorf("%s was sent", name)
			}
		}
		if err := in.Refuse(603, strings.Repeat("no\r\n ", 100), "X-Why: 1\r\nX-Evil: 1", "To: <sip:x>", "Retry-After: 5"); err != nil {
			t.Errorf("Refuse: %v", err)
		}
		if err := in.Ring(); err == nil {
			t.Error("rang after the refusal")
		}
		if err := in.Refuse(486, ""); err == nil {
			t.Error("refused twice")
		}
		return nil
	}, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		m := p.next(603)
		if len(m.Reason()) > wire.MaxPhrase || string(m.Get(wire.RetryAfter)) != "5" {
			t.Errorf("%d bytes of a reason, Retry-After %q", len(m.Reason()), m.Get(wire.RetryAfter))
		}
		readable(t, m.Raw())
		if strings.Contains(string(m.Raw()), "\nX-Evil") || len(valuesOf(m, wire.To)) != 1 {
			t.Errorf("%s", m.Raw())
		}
		p.rawPhone.send(refusalACK(m))
	})
}

// What a caller's name would be without its escapes goes nowhere on the wire.
func TestInboundCallersNameStaysEscaped(t *testing.T) {
	inboundRaw(t, func(ctx context.Context, in *Incoming) error {
		if in.From.User != "a>b" || in.leg.party != "a%3Eb@sipx.test" {
			t.Errorf("user %q, party %q", in.From.User, in.leg.party)
		}
		return refuse486(ctx, in)
	}, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite("sip:201@sipx.test", "sip:a%3Eb@sipx.test"))
		p.rawPhone.send(strings.Replace(refusalACK(p.next(486)), "sip:201@sipx.test", "sip:a%3Eb@sipx.test", 1))
	})
}
