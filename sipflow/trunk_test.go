package sipflow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sipxrest/sipflow/wire"
)

// byTrunk has the user that is called be the trunk of a call: a may have most.
func byTrunk(most *int) func(*Incoming) (string, int) {
	return func(in *Incoming) (string, int) {
		switch in.To.User {
		case "room":
			return "a", *most
		case "none":
			return "", 1
		}
		return "b", 0
	}
}

// calls sends an INVITE of a call of its own and returns the first response.
func (p *rawInbound) calls(id, to string) *wire.Message {
	p.rawPhone.t.Helper()
	p.rawPhone.send(rawInvite("b1", id, "raw1", id, "INVITE sip:room", "INVITE sip:"+to))
	for {
		m := p.read(5 * time.Second)
		if m == nil {
			p.rawPhone.t.Fatalf("no answer to call %s", id)
		}
		if !m.IsRequest() && m.Method() == "INVITE" && string(m.Get(wire.CallID)) == id {
			return m
		}
	}
}

// of is a request of a call that calls began, made of one for raw1.
func (p *rawInbound) of(id, msg string) {
	p.rawPhone.send(strings.NewReplacer("z9hG4bKb1", "z9hG4bK"+id, "raw1", id).Replace(msg))
}

// trunkCalls is how many calls count for a trunk.
func trunkCalls(sw *Switchboard, name string) (n int, kept bool) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	n, kept = sw.limits.trunks[name]
	return n, kept
}

func TestCallsOfOneTrunkAreBounded(t *testing.T) {
	most := 3
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) {
		log := logOf(p.rig)
		codes := map[int]int{}
		for i := range 50 {
			m := p.calls(fmt.Sprint("a", i), "room")
			codes[m.Code()]++
			if m.Code() == 480 && string(m.Get(wire.RetryAfter)) != "5" {
				t.Errorf("480 with Retry-After %q", m.Get(wire.RetryAfter))
			}
		}
		if codes[100] != 3 || codes[480] != 47 {
			t.Errorf("a trunk that may have three calls got %v", codes)
		}
		// What it was refused is taken from nobody, nor are others held to its bound.
		for i, to := range []string{"b", "b", "b", "b", "none", "none", "none"} {
			if m := p.calls(fmt.Sprint("b", i), to); m.Code() != 100 {
				t.Errorf("call %d of another got %d", i, m.Code())
			}
		}
		time.Sleep(2 * time.Second)
		if got := p.sw.Stats().Limited[LimitCallsPerTrunk]; got != 47 {
			t.Errorf("%d are counted", got)
		}
		if got := linesWith(log, "limit=calls_per_trunk"); len(got) != 1 || !strings.Contains(got[0], "refused=47 trunks=[a]") {
			t.Errorf("logged %q", got)
		}
		// A bound that is changed holds for the next call, whatever was when the
		// others began.
		for i, change := range []struct{ most, code int }{{4, 100}, {4, 480}, {0, 100}, {5, 480}, {6, 100}} {
			most = change.most
			if m := p.calls(fmt.Sprint("c", i), "room"); m.Code() != change.code {
				t.Errorf("with a bound of %d, change %d: got %d", change.most, i, m.Code())
			}
			time.Sleep(200 * time.Millisecond) // for limits.call-rate
		}
		p.sw.stopCalls()
		time.Sleep(40 * time.Second)
		p.queue = nil
		for _, name := range []string{"a", "b", ""} {
			if n, kept := trunkCalls(p.sw, name); kept {
				t.Errorf("%d calls of %q are kept", n, name)
			}
		}
	}, func(cfg *Config) { cfg.Limits.CallRate, cfg.Inbound.Trunk = 10, byTrunk(&most) })
}

// Of many calls, however they end, the trunk has each back, and no more than
// each; TestInboundCalls looks at every other way to end.
func TestATrunkGetsEachCallBack(t *testing.T) {
	most := 2
	inboundRaw(t, func(ctx context.Context, in *Incoming) error {
		id, _, _ := strings.Cut(in.CallID, "-")
		switch id {
		case "refused":
			time.Sleep(time.Second)
			return in.Refuse(486, "")
		case "failed":
			time.Sleep(time.Second)
			return errors.New("boom")
		case "answered":
			if err := in.AnswerHeld(ctx); err != nil {
				return err
			}
		}
		return waits(ctx, in)
	}, func(t *testing.T, p *rawInbound) {
		ends := []struct {
			id  string
			end func(id string)
		}{
			{"cancelled", func(id string) {
				p.of(id, rawOf("CANCEL", 1, "b1", ""))
				p.final("CANCEL", 200)
				p.of(id, refusalACK(p.final("INVITE", 487)))
			}},
			{"refused", func(id string) { p.of(id, refusalACK(p.final("INVITE", 486))) }},
			{"failed", func(id string) { p.of(id, refusalACK(p.final("INVITE", 480))) }},
			{"refused", func(string) { time.Sleep(40 * time.Second); p.drain() }}, // no ACK
			{"answered", func(string) {
				answer := p.final("INVITE", 200)
				p.rawPhone.send(within(answer, "ACK", 1, "", ""))
				p.wants(200, within(answer, "BYE", 2, "", ""))
			}},
			{"answered", func(string) { time.Sleep(2 * time.Minute); p.drain() }}, // no ACK
		}
		p.calls("stays", "room")
		for i := range 5 * len(ends) {
			c := ends[i%len(ends)]
			id := fmt.Sprint(c.id, "-", i)
			if code := p.calls(id, "room").Code(); code != 100 {
				t.Fatalf("%s got %d", id, code)
			}
			if c.id != "answered" { // whose 200 would be taken for the other's
				if code := p.calls(id+"-more", "room").Code(); code != 480 {
					t.Errorf("one more than %s got %d", id, code)
				}
			}
			c.end(id)
			time.Sleep(time.Second)
			if n, _ := trunkCalls(p.sw, "a"); n != 1 {
				t.Fatalf("after %s %d calls are counted, want the one that stays", id, n)
			}
		}
		ends[0].end("stays")
		time.Sleep(time.Second)
		if n, kept := trunkCalls(p.sw, "a"); kept {
			t.Errorf("%d calls are kept", n)
		}
	}, func(cfg *Config) { cfg.Inbound.Trunk = byTrunk(&most) })
}

// drain drops what has come.
func (p *rawInbound) drain() {
	for p.read(time.Millisecond) != nil {
	}
}

// Two sockets' readers may find room for a call at once.
func TestTheLastCallOfATrunkIsEnteredOnce(t *testing.T) {
	l := &limits{trunks: map[string]int{}, counters: new([numLimits]atomic.Uint64)}
	in := &Incoming{trunk: "a", mostCalls: 1}
	if err := l.ofTrunk(in); err != nil {
		t.Fatal(err)
	}
	first, second := &Call{in: in}, &Call{in: in}
	if err := l.enter(first, false); err != nil {
		t.Error(err)
	}
	var refused *LimitError
	if err := l.enter(second, false); !errors.As(err, &refused) || refused.Limit != LimitCallsPerTrunk || !refused.OfAgent() ||
		l.trunks["a"] != 1 {
		t.Errorf("%v, %v", err, l.trunks)
	}
	if l.leave(first); len(l.trunks) != 0 {
		t.Errorf("%v is kept", l.trunks)
	}
}
