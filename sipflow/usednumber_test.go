package sipflow

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// A request with a CSeq number that another had is no repeat of that: it is
// refused, and who hangs up by one has hung up.
func TestARequestWithAUsedNumberIsNotTakenForARepeat(t *testing.T) {
	for _, bye := range []int{5, 4, 1} {
		inCall(t, func(t *testing.T, r *rig, c *Call, p *rawPhone) {
			p.wants(200, p.notify(3, "180 Ringing", "active"))
			usedNumbers(t, p, 5, func(code int, msg string) { p.wants(code, msg) })
			p.wants(200, p.inDialog("BYE", bye, "", ""))
			<-c.Done()
			if err := c.Err(); err == nil || !strings.Contains(err.Error(), ErrHungUp.Error()) {
				t.Errorf("the call ended with %v", err)
			}
		})
	}
}

// Of a bridge no such request reaches the other phone, unless it is a BYE.
func TestBridgedRequestWithAUsedNumberIsNotTakenForARepeat(t *testing.T) {
	for _, after := range []time.Duration{0, time.Minute} { // while its transaction is remembered, and then
		for _, bye := range []int{5, 4, 1} {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.up()
				relayed := 0
				usedNumbers(t, p.a, 5, func(code int, msg string) {
					if code == 200 && relayed == 0 {
						relayed++
						p.a.send(msg)
						p.b.ok(p.b.expect("OPTIONS"), "", "")
						p.a.response1(200)
						return
					}
					if code == 200 {
						p.a.wants(code, msg)
						time.Sleep(after)
						return
					}
					p.a.wants(code, msg)
				})
				p.a.wants(200, p.a.inDialog("BYE", bye, "", ""))
				p.b.hungUp()
				<-p.call.Done()
			})
		}
	}
}

// While a request waits for the other phone's response its number is in use,
// too.
func TestBridgedRequestWithTheNumberOfOneThatWaits(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		p.a.send(p.a.inDialog("INVITE", 5, sdpHeader, sdpOf(4002)))
		hold := p.b.expect("INVITE")
		p.a.wants(500, p.a.inDialog("INFO", 5, "", ""))
		p.a.wants(500, p.a.inDialog("INVITE", 5, sdpHeader, sdpOf(4002), "branch=z9hG4bK", "branch=z9hG4bKx"))
		p.a.wants(200, p.a.inDialog("BYE", 5, "", ""))
		p.a.response1(487)
		p.b.hungUp()
		p.b.send(p.b.response(hold, 487, "", ""))
		<-p.call.Done()
	})
}

// A caller that hangs up with the number of its INVITE has hung up.
func TestInboundCallerHangsUpWithAUsedNumber(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		res := p.final("INVITE", 200)
		p.rawPhone.send(within(res, "ACK", 1, "", ""))
		time.Sleep(time.Second)
		p.wants(500, within(res, "INFO", 1, "", ""))
		p.wants(200, within(res, "BYE", 1, "", ""))
	})
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.target.SetScript(siptest.Script{Ring: 10 * time.Second})
		p.rawPhone.send(rawInvite("Max-Forwards", "Supported: 100rel\r\nMax-Forwards"))
		ringing := p.next(180)
		p.wants(200, within(ringing, "PRACK", 2, rack(ringing), ""))
		p.wants(200, within(ringing, "BYE", 2, "", ""))
		p.rawPhone.send(refusalACK(p.next(487)))
	})
}

// After the end of a call only what has been answered is answered again.
func TestARequestWithAUsedNumberAfterTheEnd(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		last := p.a.inDialog("INFO", 7, "", "")
		p.a.send(last)
		p.b.ok(p.b.expect("INFO"), "", "")
		p.a.response1(200)
		p.hangUp()
		synctest.Wait()
		p.a.wants(481, p.a.inDialog("INFO", 7, "", "", "branch=z9hG4bK", "branch=z9hG4bKx"))
		p.a.wants(481, p.a.inDialog("MESSAGE", 7, "", "x"))
		p.a.wants(481, p.a.inDialog("REFER", 6, "Refer-To: <sip:203@sipx.test>\r\n", ""))
		p.a.wants(200, p.a.inDialog("BYE", 7, "", ""))
	})
}

// usedNumbers has a phone send requests whose CSeq number another one had.
func usedNumbers(t *testing.T, p *rawPhone, seq int, wants func(code int, msg string)) {
	t.Helper()
	other := func(method string, seq int, branch string) string {
		return p.inDialog(method, seq, "", "", "branch=z9hG4bK"+method, "branch=z9hG4bK"+branch+method)
	}
	wants(200, p.inDialog("OPTIONS", seq, "", ""))
	wants(200, p.inDialog("OPTIONS", seq, "", "")) // its response was lost
	wants(500, other("OPTIONS", seq, "again"))     // another one
	wants(500, p.inDialog("INFO", seq, "", ""))    // another method
	wants(500, p.inDialog("INFO", seq-1, "", ""))
	wants(500, p.inDialog("REFER", seq, "Refer-To: <sip:203@sipx.test>\r\n", ""))
	wants(500, p.inDialog("INVITE", seq, sdpHeader, sdpOf(4002)))
	wants(500, p.inDialog("UPDATE", seq-1, sdpHeader, sdpOf(4002)))
	wants(500, p.inDialog("MESSAGE", seq, "", "x"))
}
