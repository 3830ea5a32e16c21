package sipflow

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"sipxrest/sipflow/wire"
)

const whyHungUp = "Reason: SIP;cause=600;text=\"Busy Everywhere\"\r\nReason: Q.850;cause=17\r\n"

// wantReasons checks that a request carries both reasons of whyHungUp.
func wantReasons(t *testing.T, m *wire.Message) {
	t.Helper()
	var got []string
	for v := range m.All(wire.Reason) {
		got = append(got, string(v))
	}
	if want := []string{`SIP;cause=600;text="Busy Everywhere"`, "Q.850;cause=17"}; !slices.Equal(got, want) {
		t.Errorf("%s has the reasons %q, want %q", m.Method(), got, want)
	}
}

// The other phone learns every reason that the one which ended it gave (RFC
// 3326 §2: there may be one for each protocol).
func TestEachReasonReachesTheOtherPhone(t *testing.T) {
	t.Run("BYE in the call", func(t *testing.T) {
		byHand(t, func(t *testing.T, p *rawPair) {
			p.up()
			p.a.wants(200, p.a.inDialog("BYE", 1, whyHungUp, ""))
			wantReasons(t, p.b.hungUp())
			<-p.call.Done()
		})
	})
	t.Run("BYE while the other rings", func(t *testing.T) {
		byHand(t, func(t *testing.T, p *rawPair) {
			p.place()
			p.b.invite = p.b.expect("INVITE")
			p.b.send(p.b.response(p.b.invite, 180, "", ""))
			synctest.Wait()
			p.a.wants(200, p.a.inDialog("BYE", 1, whyHungUp, ""))
			c := p.b.expect("CANCEL")
			wantReasons(t, c)
			p.b.send(p.b.response(c, 200, "", ""))
			p.b.send(p.b.response(p.b.invite, 487, "", ""))
			p.b.expect("ACK")
			<-p.call.Done()
		})
	})
	for _, provisional := range []string{"before", "after"} {
		t.Run("CANCEL "+provisional+" a provisional response", func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.up()
				p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
				m := p.b.expect("INVITE")
				cancel := func() {
					p.a.send(p.a.inDialog("CANCEL", 1, whyHungUp, "", "z9hG4bKCANCEL1", "z9hG4bKINVITE1"))
					synctest.Wait()
				}
				if provisional == "after" {
					cancel()
				}
				p.b.send(p.b.response(m, 100, "", ""))
				synctest.Wait()
				if provisional == "before" {
					cancel()
				}
				c := p.b.expect("CANCEL")
				wantReasons(t, c)
				p.b.send(p.b.response(c, 200, "", ""))
				p.b.send(p.b.response(m, 487, "", ""))
				p.b.expect("ACK")
				p.a.response1(200)
				p.a.response1(487)
				p.a.send(p.a.ack(1, ""))
				synctest.Wait()
				p.hangUp()
			})
		})
	}
}

// Why a phone cannot be reached, in the words of the telephone network, reaches
// the other one beside what it answered (RFC 6432): one reason for each protocol.
func TestTheCauseOfARefusalReachesTheOtherPhone(t *testing.T) {
	for name, tt := range map[string]struct{ header, want string }{
		"alone":                {"Reason: Q.850;cause=17;text=\"User busy\"\r\n", `Q.850;cause=17;text="User busy"`},
		"beside SIP's":         {"Reason: SIP;cause=600;text=\"a, b\", q.850 ;cause=1\r\n", "q.850 ;cause=1"},
		"in a line of its own": {"Reason: SIP;cause=600\r\nReason: Q.850;cause=3\r\n", "Q.850;cause=3"},
		"twice":                {"Reason: Q.850;cause=3, Q.850;cause=4\r\n", "Q.850;cause=3"},
		"another protocol's":   {"Reason: X.int;reason-code=9\r\n", ""},
		"none":                 {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.place()
				p.b.invite = p.b.expect("INVITE")
				p.b.send(p.b.response(p.b.invite, 486, tt.header, ""))
				p.b.expect("ACK")
				var got []string
				for v := range p.a.hungUp().All(wire.Reason) {
					got = append(got, string(v))
				}
				want := []string{`SIP;cause=486;text="Busy Here"`}
				if tt.want != "" {
					want = append(want, tt.want)
				}
				if !slices.Equal(got, want) {
					t.Errorf("hung up for %q, want %q", got, want)
				}
				<-p.call.Done()
				if refused := new(StatusError); !errors.As(p.call.Err(), &refused) || refused.Code != 486 {
					t.Errorf("the call ended with %v", p.call.Err())
				}
			})
		})
	}
}
