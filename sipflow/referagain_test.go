package sipflow

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// twice is a phone that has accepted a REFER, said that it came to nothing and left
// the subscription active, so that it gets a second REFER.
type twice struct {
	*rawPhone
	event func(refer *wire.Message) string // its Event for a REFER's NOTIFYs
	first *wire.Message
	seq   int // CSeq of its NOTIFYs
}

// says is the next NOTIFY about a REFER, which must be answered with the code.
func (p *twice) says(code int, refer *wire.Message, line, state string) {
	p.t.Helper()
	p.seq++
	p.wants(code, p.notify(p.seq, line, state, "Event: refer", "Event: refer"+p.event(refer)))
}

const notReadyLine = "503 Service Unavailable"

// referredTwice runs f with such a phone, whether its NOTIFYs say which REFER they
// are about or not.
func referredTwice(t *testing.T, adjust func(*Config), f func(t *testing.T, r *rig, p *twice, c *Call)) {
	for name, event := range map[string]func(*wire.Message) string{
		"without id":         func(*wire.Message) string { return "" },
		"with id":            func(m *wire.Message) string { return fmt.Sprintf(";id=%d", m.Seq()) },
		"with an id of ours": func(*wire.Message) string { return ";id=1" }, // of no REFER, though
		"with id in quotes":  func(m *wire.Message) string { return fmt.Sprintf(` ; ID="%d"`, m.Seq()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				p := &twice{rawPhone: rawUDP(t, n, phoneAddr), event: event}
				r := newRig(t, n, phoneAddr, adjust)
				defer r.stop()
				c := r.place(spec())
				p.answer()
				p.first = p.expect("REFER")
				p.send(p.response(p.first, 202, p.contact(), ""))
				p.says(200, p.first, notReadyLine, "active")
				f(t, r, p, c)
				if t.Failed() {
					t.Log(n.Ladder())
				}
				r.empty()
			})
		})
	}
}

func onOutcome(c *Config) { c.HangUpOn = Outcome }

// The phone ends the first subscription by a further NOTIFY: before the second
// REFER, between it and its response, or after that.
func TestALateEndOfTheFirstReferIsNotThatOfTheSecond(t *testing.T) {
	for _, when := range []string{"before", "meanwhile", "after", "never"} {
		t.Run(when, func(t *testing.T) {
			referredTwice(t, onOutcome, func(t *testing.T, r *rig, p *twice, c *Call) {
				end := func(now string) {
					if when == now {
						p.says(200, p.first, notReadyLine, overWith)
					}
				}
				time.Sleep(100 * time.Millisecond)
				end("before")
				second := p.expect("REFER")
				end("meanwhile")
				p.send(p.response(second, 202, p.contact(), ""))
				end("after")
				p.says(200, second, "100 Trying", "active")
				p.says(200, second, "180 Ringing", "active")
				time.Sleep(3 * time.Second)
				p.says(200, second, "200 OK", overWith)
				p.hungUp()
				<-c.Done()
				if c.Err() != nil {
					t.Errorf("the call ended with %v; %s", c.Err(), r.status())
				}
			})
		})
	}
}

// The phone that is calling the other one by the second REFER is not bridged with
// it: the other one would be called twice.
func TestALateEndOfTheFirstReferCallsNobodyTwice(t *testing.T) {
	referredTwice(t, func(c *Config) { c.Fallback = true }, func(t *testing.T, r *rig, p *twice, c *Call) {
		time.Sleep(100 * time.Millisecond)
		p.says(200, p.first, notReadyLine, overWith)
		second := p.expect("REFER")
		p.send(p.response(second, 202, p.contact(), ""))
		p.says(200, second, "180 Ringing", "active")
		p.hungUp()
		<-c.Done()
	})
}

// When we have hung up, the end of the first subscription is not that of the second,
// whose outcome is still to come.
func TestALateEndOfTheFirstReferLeavesTheSecondItsOutcome(t *testing.T) {
	referredTwice(t, func(*Config) {}, func(t *testing.T, r *rig, p *twice, c *Call) {
		second := p.expect("REFER")
		p.send(p.response(second, 202, p.contact(), ""))
		if named := p.event(p.first) != p.event(second); !named {
			p.says(200, p.first, notReadyLine, overWith) // after a word of the second nothing tells it apart
		}
		p.says(200, second, "180 Ringing", "active")
		p.hungUp()
		<-c.Done()
		if named := p.event(p.first) != p.event(second); named {
			p.says(200, p.first, notReadyLine, overWith)
		}
		p.says(200, second, "486 Busy Here", overWith)
		if want := "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 503 Service Unavailable, NOTIFY 503 Service Unavailable, NOTIFY 180 Ringing, " +
			"NOTIFY 486 Busy Here"; r.status() != want &&
			r.status() != "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 503 Service Unavailable, NOTIFY 180 Ringing, NOTIFY 503 Service "+
				"Unavailable, NOTIFY 486 Busy Here" {
			t.Errorf("status lines: %s", r.status())
		}
		if _, err := r.sw.Place(t.Context(), spec(), Refer); errors.Is(err, ErrReferred) {
			t.Errorf("a call that came to nothing is not placed again: %v", err)
		}
		p.send(p.response(p.expect("INVITE"), 486, "", ""))
		p.expect("ACK")
	})
}

// The second REFER comes to nothing as the first has: by the same report.
func TestASecondReferThatIsNotFollowedEither(t *testing.T) {
	referredTwice(t, onOutcome, func(t *testing.T, r *rig, p *twice, c *Call) {
		second := p.expect("REFER")
		p.send(p.response(second, 202, p.contact(), ""))
		p.says(200, second, notReadyLine, "active")
		p.hungUp()
		<-c.Done()
		if !errors.Is(c.Err(), errNotReady) || refusedBy(c.Err(), "NOTIFY") != 503 {
			t.Errorf("the call ended with %v", c.Err())
		}
		p.says(200, second, notReadyLine, overWith)
	})
}

// A phone that has hung up is not asked again.
func TestAPhoneThatWasNotReadyAndHungUpIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := rawUDP(t, n, phoneAddr)
		r := newRig(t, n, phoneAddr, func(c *Config) { c.Fallback = true })
		defer r.stop()
		c := r.place(spec())
		p.answerAndAccept()
		p.wants(200, p.inDialog("BYE", 2, "", ""))
		p.wants(200, p.notify(1, notReadyLine, overWith))
		<-c.Done()
		if m := p.read(time.Minute); m != nil {
			t.Errorf("it gets %s", show(m))
		}
		r.empty()
	})
}

// A call that came to nothing may be placed again at once, however it did.
func TestACallThatCameToNothingIsPlacedAgain(t *testing.T) {
	for name, ends := range map[string]func(p *rawPhone){
		"the subscription ends without an outcome": func(p *rawPhone) { p.ask(p.notify(1, "100 Trying", overWith)) },
		"the phone hangs up":                       func(p *rawPhone) { p.ask(p.inDialog("BYE", 1, "", "")) },
		"the called one declines":                  func(p *rawPhone) { p.ask(p.notify(1, "603 Decline", overWith)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				p := rawUDP(t, n, phoneAddr)
				r := newRig(t, n, phoneAddr, onOutcome)
				defer r.stop()
				c := r.place(spec())
				p.answerAndAccept()
				ends(p)
				go func() {
					for m := p.expect1(); m != nil; m = p.expect1() {
						if m.Method() != "ACK" {
							p.send(p.response(m, 486, "", ""))
						}
					}
				}()
				<-c.Done()
				if _, err := r.sw.Place(t.Context(), spec(), Refer); err != nil {
					t.Errorf("refused: %v", err)
				}
				time.Sleep(11 * time.Minute)
			})
		})
	}
}

// So may one whose two REFERs came to nothing, bridged after that or not.
func TestACallThatWasNeverReadyIsPlacedAgain(t *testing.T) {
	for _, fallback := range []bool{false, true} {
		t.Run(fmt.Sprint("fallback ", fallback), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				for _, p := range []*siptest.Phone{n.Phone("201", phoneAddr, siptest.AsteriskNotReady(time.Hour, "SIP/2.0 400 Bad Request")),
					n.Phone("202", calledAddr, siptest.Script{Status: 486, Ringing: -1})} {
					defer p.Close()
				}
				proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"200": "secret", "201": "x", "202": "x"},
					Open:      true,
					Locations: map[string]string{"201": "sip:201@" + phoneAddr, "202": "sip:202@" + calledAddr}})
				defer proxy.Close()
				r := newRig(t, n, proxyAddr, func(c *Config) { c.Fallback = fallback })
				defer r.stop()
				<-r.place(spec()).Done()
				if _, err := r.sw.Place(t.Context(), spec(), Refer); err != nil {
					t.Errorf("refused: %v", err)
				}
				time.Sleep(5 * time.Minute)
				r.empty()
			})
		})
	}
}

// What becomes of a call in the end says nothing of the one that came after it.
func TestTheEndOfACallForgetsNoLaterOne(t *testing.T) {
	var r referred
	at := time.Now()
	r.add(spec().Key, at)
	r.add(spec().Key, at.Add(time.Second))
	if r.failed(spec().Key, at); !r.lately(spec().Key, at.Add(2*time.Second)) {
		t.Error("the later call is forgotten")
	}
	if r.failed(spec().Key, at.Add(time.Second)); r.lately(spec().Key, at.Add(2*time.Second)) {
		t.Error("it is not forgotten when it fails itself")
	}
}
