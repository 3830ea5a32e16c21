package sipflow

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
	"sipxrest/sipflow/transport"
)

// lateOn are the networks on which the timers of switchboards fire late: each
// with a function that says how long the next ones may be in arrears.
var lateOn sync.Map // *siptest.Network to func() time.Duration

// late has the timers of a switchboard fire when the test says so, as after a
// pause of the process. Nothing fires by itself any more.
type late struct{ sw *Switchboard }

func lateTimers(sw *Switchboard) *late {
	for i := range sw.shards {
		for j := range sw.shards[i].lists {
			hold(&sw.shards[i].lists[j])
		}
	}
	return &late{sw}
}

// hold keeps a list from arming its alarm.
func hold(l *timerList) {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if l.alarm != nil {
		l.alarm.Stop()
	}
	l.armed = true
}

// fire has every timer fire that is due, the lists in any order.
func (l *late) fire() {
	var due []*timerList
	for i := range l.sw.shards {
		s := &l.sw.shards[i]
		s.mu.Lock()
		for j := range s.lists {
			if head := s.lists[j].head; head != nil && head.at <= s.now() {
				due = append(due, &s.lists[j])
			}
		}
		s.mu.Unlock()
	}
	for _, i := range rand.Perm(len(due)) {
		due[i].fire()
		hold(due[i])
	}
}

// release lets them fire on time again.
func (l *late) release() {
	for i := range l.sw.shards {
		for _, j := range rand.Perm(len(delays)) {
			l.sw.shards[i].lists[j].fire()
		}
	}
}

// run fires the timers now and then.
func (l *late) run(over chan struct{}, by func() time.Duration) {
	for {
		select {
		case <-over:
			l.release()
			return
		case <-time.After(by()):
			l.fire()
		}
	}
}

// lateness are ways in which timers may be late.
var lateness = map[string]func() time.Duration{
	"a little":     func() time.Duration { return 110 * time.Millisecond },
	"a second":     func() time.Duration { return time.Second },
	"seconds":      func() time.Duration { return 3300 * time.Millisecond },
	"a long while": func() time.Duration { return 17 * time.Second },
	"now and then": func() time.Duration {
		if rand.IntN(4) > 0 {
			return time.Millisecond * time.Duration(1+rand.IntN(20))
		}
		return time.Duration(rand.Int64N(int64(5 * time.Second)))
	},
}

// A message is repeated six times or ten, no closer than T1, and never when its
// 32 s have passed, however late the timers are.
func TestRepeatsEndByTheirAge(t *testing.T) {
	for _, longest := range []time.Duration{tEnd, t2} {
		for seed := range uint64(2000) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			var r repetition
			began := time.Duration(rnd.Int64N(int64(time.Hour)))
			now, repeats := began, 0
			wait, last := r.begin(began, true), began
			for turns := 0; ; turns++ {
				now += max(wait, t1)
				if rnd.IntN(3) == 0 {
					now += time.Duration(rnd.Int64N(int64(10 * time.Second)))
				}
				if r.over(now) {
					break
				}
				var again bool
				if again, wait = r.next(now, longest); wait <= 0 || wait > longest {
					t.Fatalf("seed %d: at %v the wait is %v", seed, now-began, wait)
				}
				if again {
					if repeats++; now-last < t1 || now-began >= tEnd {
						t.Fatalf("seed %d: a repeat at %v, %v after the one before", seed, now-began, now-last)
					}
					last = now
				}
				if turns > 64 {
					t.Fatalf("seed %d: no end", seed)
				}
			}
			if most := map[time.Duration]int{tEnd: 6, t2: 10}[longest]; repeats > most {
				t.Errorf("seed %d: %d repeats", seed, repeats)
			}
		}
	}
}

// On time it is the schedule of RFC 3261.
func TestRepeatsOnTimeAreThoseOfTheRFC(t *testing.T) {
	for longest, want := range map[time.Duration][]time.Duration{
		tEnd: {500, 1500, 3500, 7500, 15500, 31500},
		t2:   {500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500},
	} {
		var r repetition
		now := r.begin(0, true)
		for _, at := range want {
			again, wait := r.next(now, longest)
			if now != at*time.Millisecond || !again || r.over(now) {
				t.Errorf("repeat at %v: %v, want %d ms", now, again, at)
			}
			now += wait
		}
		if now != tEnd || !r.over(now) {
			t.Errorf("it ends at %v", now)
		}
	}
}

// Whatever is asked for, there is a list for it.
func TestATimerTakesAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shard
		s.init(new(transport.Faults))
		for _, c := range []struct{ want, d time.Duration }{
			{t1, -1 << 63}, {t1, -1}, {t1, 0}, {t1, 1}, {t1, t1}, {t1, 2*t1 - 1}, {2 * t1, 2 * t1}, {4 * t1, 3 * time.Second}, {tEnd, tEnd},
			{tEnd, tEnd + 1}, {tLate, 1<<63 - 1},
		} {
			var tm timer
			s.mu.Lock()
			tm.set(&s, c.d, &s.ended)
			if tm.list.delay != c.want {
				t.Errorf("%v waits %v, want %v", c.d, tm.list.delay, c.want)
			}
			tm.stop()
			s.mu.Unlock()
		}
		s.close()
	})
}

// sentAt are the times at which a message was sent, since the first.
func sentAt(n *siptest.Network, is func(siptest.Packet) bool) (at []time.Duration) {
	var began time.Time
	for _, p := range n.Packets() {
		if p.From.String() != ourAddr || !is(p) {
			continue
		}
		if began.IsZero() {
			began = p.Sent
		}
		at = append(at, p.Sent.Sub(began))
	}
	return at
}

// inTime checks the repeats of a message.
func inTime(t *testing.T, at []time.Duration, most int) {
	t.Helper()
	if len(at) < 2 || len(at) > most+1 {
		t.Errorf("sent %d times: %v", len(at), at)
	}
	for i := 1; i < len(at); i++ {
		if at[i]-at[i-1] < t1 || at[i] >= tEnd {
			t.Errorf("sent at %v", at)
			break
		}
	}
}

// The process is stopped for a second while a proxy says nothing, at each moment
// of the INVITE's life.
func TestAPauseWhileAProxyIsSilentChangesNothing(t *testing.T) {
	for at := 200 * time.Millisecond; at < 32*time.Second; at += 500 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			silent := n.Listen(phoneAddr)
			defer silent.Close()
			r := newRig(t, n, phoneAddr)
			defer r.stop()
			began := time.Now()
			c := r.place(spec(func(s *Spec) { s.Timeout = time.Minute }))
			time.Sleep(at)
			late := lateTimers(r.sw)
			time.Sleep(time.Second)
			late.release()
			<-c.Done()
			if took := time.Since(began); took < tEnd || took > tEnd+time.Second {
				t.Errorf("a pause at %v: it took %v", at, took)
			}
			inTime(t, sentAt(n, func(p siptest.Packet) bool { return p.Method() == "INVITE" }), 6)
			r.empty()
		})
	}
}

// What nobody responds to or acknowledges, with timers that are late in every
// way.
func TestLateTimersSendNoBursts(t *testing.T) {
	for name, by := range lateness {
		for _, c := range []struct {
			name string
			most int
			run  func(t *testing.T, n *siptest.Network)
			is   func(p siptest.Packet) bool
		}{
			{"INVITE", 6, func(t *testing.T, n *siptest.Network) {
				defer n.Listen(phoneAddr).Close()
				r := newRig(t, n, phoneAddr)
				defer r.stop()
				<-r.place(spec(func(s *Spec) { s.Timeout = 2 * time.Minute })).Done()
				r.empty()
			}, func(p siptest.Packet) bool { return p.Method() == "INVITE" }},
			{"BYE", 10, func(t *testing.T, n *siptest.Network) {
				phone := n.Phone("201", phoneAddr, siptest.Script{Bye: siptest.Bye{Silent: true}})
				defer phone.Close()
				r := newRig(t, n, phoneAddr)
				defer r.stop()
				<-r.place(spec()).Done()
				r.empty()
			}, func(p siptest.Packet) bool { return p.Method() == "BYE" }},
			{"183 that is not PRACKed", 6, func(t *testing.T, n *siptest.Network) {
				ic := inboundCase{how: siptest.Calling{Reliable: true, NoPRACK: true}, call: "504", target: siptest.Script{Ring: 90 * time.Second},
					take: func(ctx context.Context, in *Incoming) error {
						return in.Connect(ctx, Destination{URI: uri202, RingTime: 100 * time.Second})
					}}
				ic.run(t, n, false)
			}, func(p siptest.Packet) bool { return p.Status() == 180 && p.Method() == "INVITE" }},
			{"200 that is not acknowledged", 10, func(t *testing.T, n *siptest.Network) {
				ic := inboundCase{how: siptest.Calling{LoseACKs: 1000}}
				ic.run(t, n, false)
			}, func(p siptest.Packet) bool { return p.Status() == 200 && p.Method() == "INVITE" }},
			{"486 that is not acknowledged", 10, func(t *testing.T, n *siptest.Network) {
				n.Drop = func(p siptest.Packet) bool { return p.Method() == "ACK" && p.To.String() == ourAddr }
				ic := inboundCase{take: refuse486, call: "486"}
				ic.run(t, n, false)
			}, func(p siptest.Packet) bool { return p.Status() == 486 && p.To.String() == phoneAddr }},
			{"200 of a re-INVITE that is not acknowledged", 10, func(t *testing.T, n *siptest.Network) {
				p := rawUDP(t, n, phoneAddr)
				r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
				defer r.stop()
				call := r.place(spec())
				p.answerAndAccept()
				p.wants(200, p.notify(1, "180 Ringing", "active"))
				p.wants(200, p.inDialog("INVITE", 2, sdpHeader, sdpOf(4000)))
				time.Sleep(2 * time.Minute)
				p.wants(200, p.inDialog("BYE", 3, "", ""))
				<-call.Done()
				r.empty()
			}, func(p siptest.Packet) bool { return p.Status() == 200 && p.Method() == "INVITE" }},
		} {
			t.Run(c.name+", late by "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					n := siptest.NewNetwork()
					lateOn.Store(n, by)
					defer lateOn.Delete(n)
					c.run(t, n)
					if name == "a long while" { // few or no repeats at all
						c.most = max(c.most, 1)
						return
					}
					inTime(t, sentAt(n, c.is), c.most)
				})
			})
		}
	}
}

// A first server that is silent, a second that accepts, refuses or is silent as
// well: with late timers the response of either may come before the next step,
// after it or in its midst. Each call ends, and leaves nothing.
func TestLateTimersAndAChangeOfServer(t *testing.T) {
	second := "10.0.1.2:5060"
	ways, turn := slices.Sorted(maps.Keys(lateness)), 0
	for _, name := range ways {
		by := lateness[name]
		for _, ring := range []time.Duration{0, 31 * time.Second, 31900 * time.Millisecond, 32100 * time.Millisecond, 50 * time.Second} {
			scripts := []siptest.Script{{Ringing: -1, Ring: ring}, {Ringing: -1, Ring: ring, Status: 486}, {Ringing: -1, Ring: ring, Status: 503}}
			if ring == 0 {
				scripts = append(scripts, siptest.Script{Silent: true})
			}
			for _, script := range scripts {
				if turn++; turn%flowtest.Share(4) != 0 {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					n := siptest.NewNetwork()
					lateOn.Store(n, by)
					defer lateOn.Delete(n)
					slow := n.Phone("201", phoneAddr, script)
					defer slow.Close()
					other := n.Phone("201", second, siptest.Script{Ring: time.Second})
					defer other.Close()
					r := newRig(t, n, phoneAddr, func(c *Config) { c.OutboundProxies = append(c.OutboundProxies, "sip:"+second) })
					defer r.stop()
					c := r.place(spec(func(s *Spec) { s.Timeout = 3 * time.Minute }))
					time.Sleep(6 * time.Minute)
					select {
					case <-c.Done():
					default:
						t.Errorf("late by %s, answered after %v: the call is not over", name, ring)
						c.stop(ErrHungUpByUser)
					}
					if !slow.OnHook() || !other.OnHook() {
						t.Errorf("late by %s, answered after %v with %d: a phone is off-hook: %v, %v", name, ring, script.Status, slow.Log(), other.Log())
					}
					r.empty()
				})
			}
		}
	}
}

// Each flow with late timers: whatever becomes of the call, the phones are
// on-hook and nothing is left behind. Each is late at random and in one way
// more, which the next flows take in turn.
func TestFlowsSurviveLateTimers(t *testing.T) {
	ways, flows := slices.Sorted(maps.Keys(lateness)), 0
	each := func(t *testing.T, name string, run func(t *testing.T, n *siptest.Network)) {
		flows++
		for i, how := range ways {
			if how != "now and then" && (i != flows%len(ways) || flowtest.Share(2) == 2) {
				continue
			}
			by := lateness[how]
			t.Run(name+", late by "+how, func(t *testing.T) {
				t.Parallel()
				flowtest.Ladder(t, "", func(t *testing.T, n *siptest.Network) {
					lateOn.Store(n, by)
					defer lateOn.Delete(n)
					run(t, n)
				})
			})
		}
	}
	for _, sc := range scenarios {
		each(t, sc.name, func(t *testing.T, n *siptest.Network) { sc.run(t, n, false) })
	}
	for _, ic := range inboundCases {
		each(t, ic.name, func(t *testing.T, n *siptest.Network) { ic.run(t, n, false) })
	}
}
