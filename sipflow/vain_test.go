package sipflow

import (
	"strings"
	"testing"
	"testing/synctest"

	"sipxrest/sipflow/wire"
)

// inVain are the ways to accept a re-INVITE without anything coming of it.
var inVain = map[string]func(ph *rawPhone, m *wire.Message){
	"every stream is refused": func(ph *rawPhone, m *wire.Message) { ph.ok(m, "", sdpOf(0)) },
	"nothing is said":         func(ph *rawPhone, m *wire.Message) { ph.ok(m, "", "") },
}

// offered expects a re-INVITE of the audio at that port, and accepts it.
func (p *rawPhone) offered(port string, answer string) {
	p.t.Helper()
	m := p.expect("INVITE")
	if !strings.Contains(string(m.Body()), "m=audio "+port) {
		p.t.Errorf("was offered\n%s\nwant the audio at port %s", m.Body(), port)
	}
	p.ok(m, "", answer)
	p.expect("ACK")
}

// A transfer whose called phone makes nothing of the target's offer fails, and the two
// old phones hear each other again.
func TestTransferThatIsTakenInVain(t *testing.T) {
	for name, take := range inVain {
		t.Run(name, func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.up()
				third := p.transfer()
				third.ok(third.invite, "", sdpOf(6000))
				third.expect("ACK")
				take(p.b, p.b.expect("INVITE"))
				p.b.expect("ACK")
				third.hungUp()
				p.b.offered("4001", sdpOf(5000))
				synctest.Wait()
				p.a.quiet(0)
				if got := p.call.Holds(); got != p.call.Key {
					t.Errorf("the call holds %s, want %s", got, p.call.Key)
				}
				p.hangUp()
			})
		})
	}
}

// Likewise where the target refuses every stream of the called phone's as it picks up.
func TestTransferToAPhoneThatRefusesEveryStream(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		third.ok(third.invite, "", sdpOf(0))
		third.expect("ACK")
		third.hungUp()
		synctest.Wait()
		p.b.quiet(0)
		p.hangUp()
	})
}

// Likewise where the target makes nothing of what the called phone answers.
func TestTransferOfWhichTheTargetTakesTheAnswerInVain(t *testing.T) {
	for name, take := range inVain {
		t.Run(name, func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.up()
				third := p.transfer()
				third.ok(third.invite, "", sdpOf(6000))
				third.expect("ACK")
				p.b.offered("6000", sdpOf(5001))
				take(third, third.expect("INVITE"))
				third.expect("ACK")
				third.hungUp()
				p.b.offered("4001", sdpOf(5000))
				synctest.Wait()
				p.a.quiet(0)
				p.hangUp()
			})
		})
	}
}

// A transfer that is taken in vain after the old phone has left ends the call.
func TestTransferThatIsTakenInVainByWhoIsAlone(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := p.transfer()
		p.a.wants(200, p.a.inDialog("BYE", 1, "", ""))
		third.ok(third.invite, "", sdpOf(6000))
		third.expect("ACK")
		p.b.ok(p.b.expect("INVITE"), "", sdpOf(0))
		p.b.expect("ACK")
		third.hungUp()
		p.b.hungUp()
		<-p.call.Done()
	})
}

// A phone that is to take another one's place is refused where the other phone makes
// nothing of its offer.
func TestReplacementThatIsTakenInVain(t *testing.T) {
	for name, take := range inVain {
		t.Run(name, func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.up()
				third := rawUDP(t, p.net, "10.0.0.2:5080")
				third.wants(100, third.newcomerINVITE(1, third.contact()+"Replaces: "+p.b.replacesFor()+"\r\n"+sdpHeader, sdpOf(6000)))
				take(p.a, p.a.expect("INVITE"))
				p.a.expect("ACK")
				m := third.response1(488)
				third.send(third.ackOf(m))
				p.a.offered("5000", sdpOf(4001))
				synctest.Wait()
				p.b.quiet(0)
				p.hangUp()
			})
		})
	}
}
