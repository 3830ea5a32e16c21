package sipflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/internal/overload"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// numbered is spec for the i-th pair of an agent.
func numbered(agent string, i int) Spec {
	return spec(func(s *Spec) {
		s.Key = Key{Agent: agent, Calling: fmt.Sprintf("%d@sipx.test", i), Called: "202@sipx.test"}
	})
}

func logOf(r *rig) *syncBuffer {
	log := new(syncBuffer)
	r.sw.log = slog.New(slog.NewTextHandler(log, nil))
	return log
}

func linesWith(log *syncBuffer, part string) (found []string) {
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return found
}

// tried is how many of n calls are placed and, if not all, the error of the
// first that is not.
func tried(r *rig, n int, of func(i int) Spec) (placed int, refused *LimitError) {
	r.t.Helper()
	for i := range n {
		c, err := r.sw.Place(r.t.Context(), of(i), func(ctx context.Context, c *Call) error {
			c.placed(nil)
			<-ctx.Done()
			return ErrHungUpByUser
		})
		switch {
		case err == nil && c != nil:
			placed++
		case !errors.Is(err, ErrTooManyCalls) || refused == nil && !errors.As(err, &refused):
			r.t.Fatalf("call %d: %v", i, err)
		}
	}
	return placed, refused
}

func TestCallsOfOneAgentAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), phoneAddr, func(c *Config) { c.Limits.CallsPerAgent = 5; c.MaxCalls = 12 })
		defer r.stop()
		of := func(agent string) func(int) Spec { return func(i int) Spec { return numbered(agent, i) } }
		if n, err := tried(r, 8, of("a@sipx.test")); n != 5 || err == nil || err.Limit != LimitCallsPerAgent || err.Most != 5 || !err.OfAgent() {
			t.Errorf("%d placed, then %v", n, err)
		}
		if n, err := tried(r, 5, of("b@sipx.test")); n != 5 {
			t.Errorf("%d of another agent placed, then %v", n, err)
		}
		// A call that replaces another is not one more, though it counts while the
		// other ends.
		if n, err := tried(r, 1, of("a@sipx.test")); n != 1 {
			t.Errorf("not replaced: %v", err)
		}
		time.Sleep(time.Second)
		r.sw.Find(numbered("a@sipx.test", 1).Key).stop(ErrHungUpByUser)
		synctest.Wait()
		if n, err := tried(r, 1, func(int) Spec { return numbered("a@sipx.test", 100) }); n != 1 {
			t.Errorf("after one has ended: %v", err)
		}
		// Who may name anybody is not held to the limit of one.
		trusted := func(i int) Spec { s := numbered("a@sipx.test", 200+i); s.Trusted = true; return s }
		if n, err := tried(r, 4, trusted); n != 2 || err.Limit != LimitCalls || err.OfAgent() {
			t.Errorf("%d placed for a trusted peer, then %v; want as many as limits.calls leaves", n, err)
		}
		s := r.sw.Stats()
		if s.Limited[LimitCallsPerAgent] != 3 || s.Limited[LimitCalls] != 2 || s.Refused[RefusedTooMany] != 5 {
			t.Errorf("counted %v, refused %v", s.Limited, s.Refused)
		}
		r.sw.stopCalls()
		synctest.Wait()
		r.sw.mu.Lock()
		defer r.sw.mu.Unlock()
		if n := len(r.sw.limits.agents); n != 0 {
			t.Errorf("%d agents are kept", n)
		}
	})
}

// While messages are late calls are refused, and those in progress are not: they may
// be transferred. What was asked about before is not asked about again.
func TestCallsAreRefusedWhileMessagesAreLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := overload.New(10*time.Millisecond, nil)
		r := newRig(t, siptest.NewNetwork(), phoneAddr, func(c *Config) { c.Overload = gate })
		defer r.stop()
		log := logOf(r)
		next := 0
		one := func(int) Spec { next++; return numbered("a@sipx.test", next) }
		if n, err := tried(r, 5, one); n != 5 {
			t.Errorf("%d placed, then %v", n, err)
		}
		for range 50 {
			time.Sleep(10 * time.Millisecond)
			gate.Waited(200 * time.Millisecond)
		}
		n, err := tried(r, 300, one) // two hundred at once are few
		if n < 190 || n > 225 || err == nil || err.Limit != LimitOverload || err.OfAgent() || err.Wait != time.Second {
			t.Errorf("%d of 300 placed, then %v", n, err)
		}
		if s := r.sw.Stats(); s.Limited[LimitOverload] != uint64(300-n) || s.Refused[RefusedTooMany] != uint64(300-n) {
			t.Errorf("counted %v, refused %v", s.Limited, s.Refused)
		}
		admitted := func(i int) Spec { s := one(i); s.Admitted = true; return s }
		if n, err := tried(r, 20, admitted); n != 20 {
			t.Errorf("%d of those placed that had been admitted before, then %v", n, err)
		}
		time.Sleep(3 * time.Second)
		if n, err := tried(r, 20, one); n != 20 {
			t.Errorf("%d of 20 placed with the delay gone, then %v", n, err)
		}
		synctest.Wait()
		if lines := linesWith(log, "calls refused: overload"); len(lines) != 1 || !strings.Contains(lines[0], "agents=[a@sipx.test]") ||
			!strings.Contains(lines[0], "limits.message-delay=10ms") {
			t.Errorf("log: %q", lines)
		}
		r.sw.stopCalls()
	})
}

func TestCallAttemptsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), phoneAddr, func(c *Config) { c.Limits.CallRatePerAgent, c.Limits.CallRate = 2, 20 })
		defer r.stop()
		log := logOf(r)
		next := 0
		of := func(agent string) func(int) Spec { return func(int) Spec { next++; return numbered(agent, next) } }
		if n, err := tried(r, 30, of("a@sipx.test")); n != minBurst || err.Limit != LimitCallRatePerAgent || err.Wait != 500*time.Millisecond {
			t.Errorf("%d placed, then %v, wait %v", n, err, err.Wait)
		}
		// What one agent was refused is not taken from the others, nor from who may
		// name him.
		trusted := func(int) Spec { next++; s := numbered("a@sipx.test", next); s.Trusted = true; return s }
		if n, err := tried(r, 5, trusted); n != 5 {
			t.Errorf("%d placed for a trusted peer, then %v", n, err)
		}
		if n, err := tried(r, 5, of("b@sipx.test")); n != 5 {
			t.Errorf("%d of another agent placed, then %v", n, err)
		}
		if n, err := tried(r, 10, of("c@sipx.test")); n != 0 || err.Limit != LimitCallRate || err.Wait != 50*time.Millisecond {
			t.Errorf("%d of a third agent placed, then %v, wait %v", n, err, err.Wait)
		}
		time.Sleep(1100 * time.Millisecond) // not at the instant of the line
		if n, _ := tried(r, 10, of("a@sipx.test")); n != 2 {
			t.Errorf("%d placed a second later", n)
		}
		time.Sleep(time.Second)
		if got := linesWith(log, "limit=call_rate_per_user"); len(got) != 1 || !strings.Contains(got[0], "refused=20 agents=[a@sipx.test]") {
			t.Errorf("log %q", got)
		}
	})
}

// asks has a stranger ask n times at once, and counts the responses by code.
func asks(p *rawPhone, n int, msg string) map[int]int {
	for range n {
		p.send(msg)
	}
	got := map[int]int{}
	for m := p.read(10 * time.Millisecond); m != nil; m = p.read(10 * time.Millisecond) {
		got[m.Code()]++
	}
	return got
}

func TestStrangersRequestsAreBounded(t *testing.T) {
	tagged := stranger("BYE", "", "To: <sip:x@10.0.0.1>", "To: <sip:x@10.0.0.1>;tag=0123456789abcdef")
	for name, c := range map[string]struct {
		msg  string
		code int
	}{
		"OPTIONS":        {stranger("OPTIONS", ""), 200},
		"unknown":        {stranger("FOO", ""), 501},
		"INVITE":         {stranger("INVITE", ""), 404},
		"of no dialog":   {tagged, 481},
		"malformed":      {stranger("OPTIONS", "Contact\r\n"), 400},
		"of our branch?": {strings.ReplaceAll(tagged, "tag=0", "tag=x"), 481},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				n.Forget = true
				r := newRig(t, n, phoneAddr, func(c *Config) { c.Limits.SourceRate = 20 })
				defer r.stop()
				log := logOf(r)
				p := rawUDP(t, n, "10.0.0.66:4711")
				if got := asks(p, 1000, c.msg); got[c.code] < 40 || got[c.code] > 41 || got[503] == 0 || got[503] > 16 {
					t.Errorf("answers %v, want 40 and a few 503", got)
				}
				other := rawUDP(t, n, "10.0.0.67:4711")
				other.wants(c.code, c.msg)
				time.Sleep(time.Second)
				if got := asks(p, 100, c.msg); got[c.code] < 20 || got[c.code] > 21 {
					t.Errorf("a second later the answers are %v", got)
				}
				time.Sleep(time.Minute)
				if got := linesWith(log, "limit=sip_rate_per_address"); len(got) != 2 || !strings.Contains(got[0], "peers=[10.0.0.66]") {
					t.Errorf("log %q", got)
				}
				if n := r.sw.Stats().Limited[LimitSource]; n < 1030 || n > 1040 {
					t.Errorf("%d are counted", n)
				}
			})
		})
	}
}

// However many addresses strangers have, or make up, no more is answered.
func TestStrangersTogetherAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr, func(c *Config) { c.Limits.SourceRate, c.Limits.StrangerRate = 20, 50 })
		defer r.stop()
		all := 0
		for i := range 100 {
			p := rawUDP(t, n, fmt.Sprintf("10.0.1.%d:5060", i))
			p.send(stranger("OPTIONS", ""))
			if m := p.read(3 * time.Millisecond); m != nil {
				all++
			}
		}
		if all < 50 || all > 70 {
			t.Errorf("%d of 100 strangers are answered at once", all)
		}
		if r.sw.Stats().Limited[LimitStrangers] == 0 {
			t.Error("nothing is counted")
		}
	})
}

// A stranger that asks often gets responses no longer than its requests.
func TestAnswersToWhoAsksOftenAreShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) { c.Limits.SourceRate = 20 })
		defer r.stop()
		p := rawUDP(t, n, "10.0.0.66:4711")
		for _, method := range []string{"OPTIONS", "REGISTER", "FOO"} {
			msg := stranger(method, "")
			if m := p.ask(msg); m == nil || m.Get(wire.Allow) == nil {
				t.Errorf("%s: the first has no Allow: %s", method, show(m))
			}
			asks(p, 25, stranger("OPTIONS", ""))
			m := p.ask(msg)
			if m == nil || len(m.Raw()) > len(msg)+100 {
				t.Errorf("%s of %d bytes: %s", method, len(msg), m.Raw())
			}
			time.Sleep(time.Minute)
		}
	})
}

// Servers that calls go to, and who is known otherwise, ask as often as they like.
func TestServersAndKnownPeersAreNoStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr, func(c *Config) {
			c.Limits.SourceRate, c.Limits.StrangerRate = 1, 1
			c.Limits.Known = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.7") }
		})
		defer r.stop()
		known, server := rawUDP(t, n, "10.0.0.7:5060"), rawUDP(t, n, phoneAddr)
		if got := asks(known, 100, stranger("OPTIONS", "")); got[200] != 100 {
			t.Errorf("a known peer gets %v", got)
		}
		if got := asks(server, 100, stranger("OPTIONS", "")); got[200] > 3 {
			t.Errorf("a server that no call went to gets %v", got)
		}
		c := r.place(spec())
		server.expect("INVITE")
		if got := asks(server, 100, stranger("OPTIONS", "")); got[200] != 100 {
			t.Errorf("a server that a call went to gets %v", got)
		}
		c.stop(ErrHungUpByUser)
		<-c.Done()
	})
}

// A phone that floods its call is answered that it is too fast, then not at all.
// Nothing of that is recorded, the call goes on, and its BYE is heard.
func TestRequestsInADialogAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome; c.Limits.DialogRate = 50 })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.answerAndAccept()
		time.Sleep(time.Minute)
		seq := 0
		flood := func(count int) map[int]int {
			got := map[int]int{}
			for range count {
				seq++
				p.send(p.notify(seq, "180 Ringing", "active"))
				if m := p.read(3 * time.Millisecond); m != nil {
					got[m.Code()]++
					if m.Code() == 500 && string(m.Get(wire.RetryAfter)) != "1" {
						t.Fatalf("500 without Retry-After: %s", m.Raw())
					}
				}
			}
			return got
		}
		// A second's worth, another one once the clock has been looked at.
		if got := flood(200); got[200] < 50 || got[200] > 101 || got[500] < 50 || got[500] > 100 {
			t.Errorf("200 NOTIFYs at once: %v", got)
		}
		time.Sleep(2 * time.Second)
		if got := flood(300); got[200] != 50 || got[500] != 50 { // the rest is silence
			t.Errorf("300 a second later: %v", got)
		}
		if got := strings.Count(r.status(), "NOTIFY"); got > 151 {
			t.Errorf("%d are recorded", got)
		}
		p.wants(0, p.inDialog("OPTIONS", 1000, "", ""))
		if n := r.sw.Stats().Limited[LimitDialog]; n == 0 {
			t.Error("nothing is counted")
		}
		p.wants(200, p.inDialog("BYE", 2000, "", ""))
		<-c.Done()
		r.empty()
	})
}

// Late NOTIFYs are bounded as those in the call are.
func TestRequestsAfterTheEndOfADialogAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr, func(c *Config) { c.Limits.DialogRate = 50; c.Limits.SourceRate = 20 })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.answerAndAccept()
		p.wants(200, p.notify(1, "180 Ringing", "active"))
		p.hungUp()
		<-c.Done()
		got := map[int]int{}
		for i := range 400 {
			p.send(p.notify(2+i, "183 Session Progress", "active"))
			if m := p.read(2 * time.Millisecond); m != nil {
				got[m.Code()]++
			}
		}
		if got[200] < 50 || got[200] > 101 || got[500] > 100 {
			t.Errorf("400 late NOTIFYs: %v", got)
		}
		// A BYE that crosses ours is heard, as in the call; one more is one too many.
		p.wants(200, p.inDialog("BYE", 2000, "", ""))
		p.wants(0, p.inDialog("BYE", 2001, "", ""))
		p.wants(200, p.inDialog("CANCEL", 1, "", ""))
		time.Sleep(time.Minute)
	})
}

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) {
			c.Limits.StreamsPerSource = 3
			c.Limits.Known = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.7") }
		})
		defer r.stop()
		open := func(from string) bool {
			c, err := n.DialFrom(from)(t.Context(), "tcp", ourAddr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			_, err = c.Read(make([]byte, 1))
			var timeout net.Error
			return errors.As(err, &timeout) && timeout.Timeout()
		}
		for i := range 5 {
			if got := open("10.0.0.66"); got != (i < 3) {
				t.Errorf("connection %d stays open: %v", i+1, got)
			}
			if !open("10.0.0.7") {
				t.Errorf("connection %d of a known peer is closed", i+1)
			}
		}
		if !open("10.0.0.67") {
			t.Error("another address gets no connection")
		}
		if n := r.sw.Stats().Limited[LimitStreamsPerSource]; n != 2 {
			t.Errorf("%d are counted", n)
		}
	})
}

// The rate of transfers goes by the client that transfers, not by the one that
// placed the call.
func TestTransfersCountForWhoTransfers(t *testing.T) {
	for _, placedByTrusted := range []bool{false, true} {
		byHand(t, func(t *testing.T, p *rawPair) {
			p.up()
			p.call.Trusted = placedByTrusted // Place has taken its turn
			p.sw.limits.agentRate = limit.NewNames(1, 1)
			p.sw.limits.agentRate.Wait(p.call.Agent, time.Now())
			ask := func(trusted bool) error {
				return p.sw.Transfer(t.Context(), p.call.Key, p.call.Key, "203@10.0.0.4", trusted)
			}
			var refused *LimitError
			if err := ask(false); !errors.As(err, &refused) || refused.Limit != LimitCallRatePerAgent {
				t.Errorf("call placed by a trusted peer %v: a user transfers once more: %v", placedByTrusted, err)
			}
			if err := ask(true); errors.As(err, &refused) {
				t.Errorf("call placed by a trusted peer %v: a trusted peer transfers: %v", placedByTrusted, err)
			}
			p.hangUp()
		})
	}
}

// counts are what other nodes have of calls, and what this one has told them.
type counts struct {
	own    map[string]int64 // without those that are 0
	others map[string]int64
}

func (c *counts) Set(name string, n int64) {
	if c.own[name] = n; n == 0 {
		delete(c.own, name)
	}
}
func (c *counts) Others(name string) int64 { return c.others[name] }

// A user's calls at other nodes count, and those of a dead node do not.
func TestCallsOfOneAgentAreBoundedInTheWholeCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &counts{map[string]int64{}, map[string]int64{"a@sipx.test": 3, "b@sipx.test": 9}}
		r := newRig(t, siptest.NewNetwork(), phoneAddr, func(c *Config) { c.Limits.CallsPerAgent = 5; c.Limits.Agents = all })
		defer r.stop()
		of := func(agent string, from int) func(int) Spec {
			return func(i int) Spec { return numbered(agent, from+i) }
		}
		if n, err := tried(r, 4, of("a@sipx.test", 0)); n != 2 || err == nil || err.Limit != LimitCallsPerAgent || err.Most != 5 {
			t.Errorf("%d placed beside three at another node, then %v", n, err)
		}
		if n, err := tried(r, 1, of("b@sipx.test", 0)); n != 0 || err == nil {
			t.Errorf("%d placed beside nine", n)
		}
		if all.own["a@sipx.test"] != 2 || len(all.own) != 1 {
			t.Errorf("told %v", all.own)
		}
		delete(all.others, "a@sipx.test") // its node is fenced
		if n, _ := tried(r, 4, of("a@sipx.test", 10)); n != 3 {
			t.Errorf("%d placed after the other node's end", n)
		}
		r.sw.stopCalls()
		synctest.Wait()
		r.sw.mu.Lock()
		defer r.sw.mu.Unlock()
		if len(all.own) != 0 {
			t.Errorf("told %v after the last call", all.own)
		}
	})
}

// What a user has spent at other nodes is taken off.
func TestCallAttemptsAreBoundedInTheWholeCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := func(c *Config) { c.Limits.CallRatePerAgent, c.Limits.CallRate = 2, 20 }
		a, b := newRig(t, siptest.NewNetwork(), phoneAddr, limit), newRig(t, siptest.NewNetwork(), phoneAddr, limit)
		defer a.stop()
		defer b.stop()
		next := 0
		of := func(agent string) func(int) Spec { return func(int) Spec { next++; return numbered(agent, next) } }
		a.sw.Spent() // from now on they are counted
		if n, _ := tried(a, 7, of("a@sipx.test")); n != 7 {
			t.Fatalf("%d placed", n)
		}
		b.sw.Spend(a.sw.Spent())
		if n, err := tried(b, 10, of("a@sipx.test")); n != minBurst-7 || err.Limit != LimitCallRatePerAgent {
			t.Errorf("%d placed at the other node, then %v", n, err)
		}
		if n, err := tried(b, 20, of("b@sipx.test")); n != 10 || err.Limit != LimitCallRatePerAgent { // 20 - 7 - 3
			t.Errorf("%d of another agent placed, then %v", n, err)
		}
		if n, err := tried(b, 20, of("c@sipx.test")); n != 0 || err.Limit != LimitCallRate {
			t.Errorf("%d of a third agent placed, then %v", n, err)
		}
		if s := a.sw.Spent(); s.All != 0 || len(s.Agent) != 0 {
			t.Errorf("turns are told twice: %+v", s)
		}
	})
}
