package sipflow

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/wire"
)

// transfer starts a transfer to a third phone, which has the INVITE.
func (p *rawPair) transfer() (third *rawPhone) {
	p.t.Helper()
	third = rawUDP(p.t, p.net, thirdAddr)
	to := p.call.Key
	to.Calling = "203@sipx.test"
	ctx, stop := context.WithTimeout(p.t.Context(), 5*time.Second)
	defer stop()
	if err := p.sw.Transfer(ctx, p.call.Key, to, "203@10.0.0.4", false); err != nil {
		p.t.Fatal(err)
	}
	third.invite = third.expect("INVITE")
	return third
}

// What the called phone sends while it is being joined with the target goes to
// the target.
func TestRequestDuringTheJoiningOfATransferGoesToTheTarget(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		third.ok(third.invite, "", sdpOf(6000))
		third.expect("ACK")
		joining := p.b.expect("INVITE")
		p.b.send(p.b.inDialog("INFO", 1, "Content-Type: text/plain\r\n", "x"))
		p.a.send(p.a.inDialog("INFO", 1, "Content-Type: text/plain\r\n", "y"))
		p.a.send(p.a.inDialog("INVITE", 2, sdpHeader, sdpOf(4002)))
		synctest.Wait()
		p.b.ok(joining, "", sdpOf(5001))
		p.b.expect("ACK")
		again := third.expect("INVITE") // port 5001 is not what it was offered
		if !strings.Contains(string(again.Body()), "m=audio 5001") {
			t.Errorf("the target was offered\n%s", again.Body())
		}
		third.ok(again, "", sdpOf(6000))
		third.expect("ACK")
		m := third.expect("INFO")
		third.send(third.response(m, 200, "", ""))
		p.b.response1(200)
		codes := map[string]int{}
		for len(codes) < 2 {
			if m := p.a.read(time.Minute); m.IsRequest() {
				p.a.queue = append(p.a.queue, m)
			} else if m.Code() > 100 {
				codes[string(m.Get(wire.CSeq))] = m.Code()
			}
		}
		if codes["1 INFO"] != 487 || codes["2 INVITE"] != 487 {
			t.Errorf("the phone that left was answered %v, want 487", codes)
		}
		p.a.hungUp()
		synctest.Wait()
		if p.call.Holds().Calling != "203@sipx.test" || p.sw.Find(p.call.Holds()) != p.call {
			t.Errorf("the call holds %s", p.call.Holds())
		}
		p.a = third
		p.hangUp()
	})
}

// A phone that leaves during a transfer takes its requests with it.
func TestCallingLeavesATransferWithRequestsOpen(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
		m := p.b.expect("INVITE")
		p.b.send(p.b.response(m, 180, "", ""))
		p.a.response1(180)
		p.b.send(p.b.inDialog("INFO", 1, "", "x"))
		p.a.expect("INFO")
		p.a.send(p.a.inDialog("BYE", 2, "", ""))
		p.b.response1(487) // its INFO has nobody to go to
		c := p.b.expect("CANCEL")
		p.b.send(p.b.response(c, 200, "", ""))
		p.b.send(p.b.response(m, 487, "", ""))
		p.b.expect("ACK")
		p.b.wants(500, p.b.inDialog("INFO", 2, "", "x")) // nor has this one, yet
		third.ok(third.invite, "", sdpOf(6000))
		third.expect("ACK")
		p.b.ok(p.b.expect("INVITE"), "", sdpOf(5000))
		p.b.expect("ACK")
		synctest.Wait()
		if n := len(p.call.legs); n != 2 {
			t.Errorf("the call holds %d legs, want 2", n)
		}
		p.a = third
		p.hangUp()
	})
}

// What the called phone last agreed to is what a target is offered, not what
// it would have liked.
func TestTargetIsOfferedTheSessionAsItIs(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		for i, code := range []int{200, 488} {
			p.b.send(p.b.inDialog("INVITE", i+1, sdpHeader, sdpOf(5100+i)))
			p.a.send(p.a.response(p.a.expect("INVITE"), code, p.a.contact()+sdpHeader, sdpOf(4100)))
			p.a.expect("ACK")
			p.b.response1(code)
			p.b.send(p.b.ack(i+1, ""))
		}
		synctest.Wait()
		third := p.transfer()
		if !strings.Contains(string(third.invite.Body()), "m=audio 5100") {
			t.Errorf("the target was offered\n%s", third.invite.Body())
		}
		third.send(third.response(third.invite, 486, "", ""))
		third.expect("ACK")
		p.hangUp()
	})
}

// A phone that repeats itself while the bridge is busy fills no inbox.
func TestCancelsWhileTheBridgeIsBusyAreOne(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		third.ok(third.invite, "", sdpOf(6000))
		third.expect("ACK")
		joining := p.b.expect("INVITE") // from now on the bridge waits for B
		p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
		for range 1000 {
			p.a.send(p.a.inDialog("CANCEL", 1, "", "", "z9hG4bKCANCEL1", "z9hG4bKINVITE1"))
		}
		time.Sleep(50 * time.Millisecond)
		calling := p.call.legs[0]
		calling.inbox.mu.Lock()
		if n := len(calling.inbox.queue); n > 2 {
			t.Errorf("%d events wait", n)
		}
		calling.inbox.mu.Unlock()
		p.b.ok(joining, "", sdpOf(5000))
		p.b.expect("ACK")
		p.a.hungUp()
		synctest.Wait()
		p.a = third
		p.hangUp()
	})
}

// Both are there before the call's goroutine looks: the target's 200 and the
// called phone's BYE. The target must not be left with an answered call.
func TestTransferTargetHasAnsweredWhenTheCallEnds(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		feed := func(from, msg string) {
			m, err := wire.Parse([]byte(msg))
			if err != nil {
				t.Fatal(err)
			}
			p.sw.receive(m, pathTo(t, p.sw, from))
		}
		p.call.mu.Lock() // the goroutine stops at its next event
		feed(thirdAddr, third.response(third.invite, 180, "", ""))
		feed(thirdAddr, third.response(third.invite, 200, third.contact()+sdpHeader, sdpOf(6000)))
		feed(calledAddr, p.b.inDialog("BYE", 1, "", ""))
		p.call.mu.Unlock()
		p.b.response1(200)
		p.a.hungUp()
		third.expect("ACK")
		third.hungUp()
		<-p.call.Done()
	})
}

// The target insists on reliable provisional responses; its answer is in the
// first of them.
func TestTransferTargetAnswersReliably(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		third.send(third.response(third.invite, 421, "Require: 100rel\r\n", ""))
		third.expect("ACK")
		third.invite = third.expect("INVITE")
		for _, rseq := range []string{"1", "1", "2"} {
			third.send(third.response(third.invite, 183, "Require: 100rel\r\nRSeq: "+rseq+"\r\n"+third.contact()+sdpHeader, sdpOf(6000)))
		}
		for _, want := range []string{"1 2 INVITE", "2 2 INVITE"} {
			m := third.expect("PRACK")
			if got := string(m.Get(wire.RAck)); got != want || len(m.Body()) > 0 {
				t.Errorf("PRACK of %s with %q, want %s", got, m.Body(), want)
			}
			third.send(third.response(m, 200, "", ""))
		}
		third.send(third.response(third.invite, 200, third.contact(), ""))
		third.expect("ACK")
		m := p.b.expect("INVITE")
		if !strings.Contains(string(m.Body()), "m=audio 6000") {
			t.Errorf("B was offered\n%s", m.Body())
		}
		p.b.ok(m, "", sdpOf(5000))
		p.b.expect("ACK")
		p.a.hungUp()
		synctest.Wait()
		p.a = third
		p.hangUp()
	})
}

// The called phone hangs up, and says why, while it is told of the target.
func TestCalledHangsUpWhileItIsJoinedWithTheTarget(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		third.ok(third.invite, "", sdpOf(6000))
		third.expect("ACK")
		m := p.b.expect("INVITE")
		p.b.send(p.b.inDialog("BYE", 1, "Reason: Q.850;cause=16\r\n", ""))
		p.b.send(p.b.response(m, 487, "", ""))
		for name, ph := range map[string]*rawPhone{"the calling phone": p.a, "the target": third} {
			if m := ph.hungUp(); string(m.Get(wire.Reason)) != "Q.850;cause=16" {
				t.Errorf("%s was hung up with Reason %q", name, m.Get(wire.Reason))
			}
		}
		<-p.call.Done()
		if p.call.by != CalledParty {
			t.Errorf("ended by %v", p.call.by)
		}
		p.b.drain()
	})
}

// Many transfers that come to nothing leave nothing in the call.
func TestRefusedTransfersLeaveNothingBehind(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		for range 50 {
			third.send(third.response(third.invite, 486, "", ""))
			third.expect("ACK")
			synctest.Wait()
			to := p.call.Key
			if err := p.sw.Transfer(t.Context(), p.call.Key, to, "203@10.0.0.4", false); err != nil {
				t.Fatal(err)
			}
			third.invite = third.expect("INVITE")
		}
		third.send(third.response(third.invite, 486, "", ""))
		third.expect("ACK")
		synctest.Wait()
		if n := len(p.call.legs); n != 2 {
			t.Errorf("the call holds %d legs, want 2", n)
		}
		p.hangUp()
	})
}

// The 200 of a transfer's target crosses the end of the call.
func TestTransferTargetAnswersAsTheCallEnds(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		third.send(third.response(third.invite, 180, "", ""))
		third.ok(third.invite, "", sdpOf(6000)) // a millisecond from now
		p.b.send(p.b.inDialog("BYE", 1, "", ""))
		p.b.response1(200)
		p.a.hungUp()
		for m := third.expect1(); ; m = third.expect1() {
			if m.Method() != "ACK" {
				third.send(third.response(m, 200, "", ""))
			}
			if m.Method() == "BYE" {
				break
			}
		}
		<-p.call.Done()
	})
}
