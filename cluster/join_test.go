package cluster_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"sipxrest/cluster"
)

// The second process with a name does not start, and says which key is wrong.
func TestASecondProcessWithOneNameDoesNotStart(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		r.store.Record()
		second := r.start("a")
		err := <-second.ended
		second.ended <- err
		taken := (*cluster.NameTakenError)(nil)
		if !errors.As(err, &taken) || taken.Node != "a" || !strings.Contains(err.Error(), "cluster.node") {
			t.Errorf("error %v", err)
		}
		time.Sleep(20 * time.Second)
		if got := r.fences(); len(got) != 0 || r.nodes[0].forgets > 0 || !r.nodes[0].Holds() {
			t.Errorf("fenced by %v", got)
		}
	})
}

// Of two that start at the same moment one does.
func TestOneOfTwoProcessesWithOneNameStarts(t *testing.T) {
	in(t, "", func(t *testing.T, r *rig) {
		one, two := r.start("a"), r.start("a")
		time.Sleep(time.Minute)
		over := 0
		for _, n := range []*node{one, two} {
			select {
			case err := <-n.ended:
				n.ended <- err
				over++
				if !errors.As(err, new(*cluster.NameTakenError)) {
					t.Errorf("error %v", err)
				}
			default:
				if !n.Holds() {
					t.Error("the one that has started does not hold its lease")
				}
			}
		}
		if over != 1 {
			t.Errorf("%d of two did not start", over)
		}
	})
}

// A process that is killed and started at once waits for its former lease, and its calls go to all.
func TestAProcessIsKilledAndStartedAtOnce(t *testing.T) {
	for _, names := range []string{"a", "a b"} {
		t.Run(names, func(t *testing.T) {
			in(t, names, func(t *testing.T, r *rig) {
				a := r.get("a")
				number := a.Number()
				ids := a.places("x", 40)
				a.kill()
				began := time.Now()
				a = r.start("a")
				<-a.Joined()
				if took := time.Since(began); took < 4*time.Second || took > 7*time.Second {
					t.Errorf("joined after %v", took)
				}
				if a.Number() != number {
					t.Errorf("number %d, and %d before", a.Number(), number)
				}
				time.Sleep(10 * time.Second)
				r.owners(ids)
				if got := r.streams(); len(got) != len(strings.Fields(names)) {
					t.Errorf("streams %v", got)
				}
			})
		})
	}
}

// A node that starts while the store is away joins when that is there, and takes nothing until then.
func TestANodeWaitsForItsStore(t *testing.T) {
	in(t, "", func(t *testing.T, r *rig) {
		r.store.Away(true)
		a := r.start("a")
		time.Sleep(time.Minute)
		if a.Holds() || a.Number() != 0 || a.Incarnation() != "" || len(a.Secrets()) == 0 {
			t.Error("it has joined")
		}
		wants(t, a.claim("K", "call_1"), cluster.ErrNotOwner)
		select {
		case <-a.Joined():
			t.Error("it has joined")
		default:
		}
		r.store.Away(false)
		<-a.Joined()
		time.Sleep(time.Second)
		a.place("K", "call_1")
	})
}

// A node ends in time, whatever is away, and leaves no goroutine.
func TestANodeEndsWhateverIsAway(t *testing.T) {
	for name, fault := range map[string]func(r *rig, a *node){
		"nothing":   func(*rig, *node) {},
		"the store": func(r *rig, _ *node) { r.store.Away(true) },
		"cut off":   func(_ *rig, a *node) { a.e.Cut(true, true) },
		"election":  func(r *rig, _ *node) { r.store.Elect(time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, "a b", func(t *testing.T, r *rig) {
				a := r.get("a")
				ids := a.places("x", 10)
				fault(r, a)
				a.Keep(ids[0], state(0, "last"))
				a.drop(ids[1], "over")
				began := time.Now()
				a.stop()
				if took := time.Since(began); took > 6*time.Second {
					t.Errorf("it took %v", took)
				}
				if got := r.get("b").Stats(); name == "nothing" && got.Calls != 0 {
					t.Errorf("%+v", got)
				}
				r.store.Away(false)
				r.store.Elect(0)
				time.Sleep(20 * time.Second) // its calls are taken over, for it had some still
				left := append([]string{ids[0]}, ids[2:]...)
				if name != "nothing" {
					left = ids // the end of the second is not committed
					r.get("b").mu.Lock()
					_, has := r.get("b").has[ids[1]]
					r.get("b").mu.Unlock()
					if !has {
						t.Error("the call whose end was not written is nowhere")
					}
				}
				r.owners(left)
			})
		})
	}
}

func TestNumbersDiffer(t *testing.T) {
	in(t, "n0 n1 n2 n3 n4 n5 n6 n7 n8 n9 node.example.com node=example", func(t *testing.T, r *rig) {
		seen := map[int]bool{}
		for _, n := range r.nodes {
			if at := n.Number(); at < 1 || at > 4095 || seen[at] {
				t.Errorf("%s has %d", n.name, at)
			}
			seen[n.Number()] = true
		}
		members := r.nodes[3].Members()
		if len(members) != len(r.nodes) {
			t.Fatalf("%d members", len(members))
		}
		for _, m := range members {
			if m.State != "live" || m.Number != r.get(m.Node).Number() || m.Self != (m.Node == "n3") || m.Version != "test" {
				t.Errorf("%+v", m)
			}
		}
	})
}

func TestConfigurationsAreChecked(t *testing.T) {
	ok := cluster.Config{Node: "a", Adopt: (&node{}).adopt, Forget: func() {}}
	for _, c := range []struct {
		key    string
		change func(c *cluster.Config)
	}{
		{"cluster.name", func(c *cluster.Config) { c.Name = "a.b" }},
		{"cluster.name", func(c *cluster.Config) { c.Name = strings.Repeat("x", 65) }},
		{"cluster.node", func(c *cluster.Config) { c.Node = "" }},
		{"cluster.lease", func(c *cluster.Config) { c.Lease = time.Second }},
		{"cluster.lease", func(c *cluster.Config) { c.Lease = time.Minute }},
		{"cluster.flush", func(c *cluster.Config) { c.Flush = time.Second }},
		{"cluster.takeover", func(c *cluster.Config) { c.Takeover = "maybe" }},
		{"cluster.without-store", func(c *cluster.Config) { c.WithoutStore = "maybe" }},
		{"Adopt", func(c *cluster.Config) { c.Adopt = nil }},
	} {
		cfg := ok
		c.change(&cfg)
		if _, err := cluster.New(cfg, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%s: error %v", c.key, err)
		}
	}
	if _, err := cluster.New(ok, nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

// Whom an operator knows to be dead he may have fenced at once.
func TestAnOperatorFencesANode(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		ids := r.get("a").places("x", 20)
		r.get("a").kill()
		if err := r.get("b").Fence(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("error %v", err)
		}
		if err := r.get("b").Fence(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.owners(ids)
		if s := r.get("b").Stats(); s.Fences["operator"] != 1 ||
			s.Takeovers[cluster.TakeoverKey{Flow: "first", State: "class 0", Result: "kept"}] != 20 {
			t.Errorf("%+v", s)
		}
	})
}

// Those who talk go first, then callers who wait.
func TestUrgentCallsAreTakenOverFirst(t *testing.T) {
	in(t, "a", func(t *testing.T, r *rig) {
		b := r.start("b", func(c *cluster.Config) { c.TakeoverRate = 20 })
		r.settle()
		a := r.get("a")
		for i, class := range []byte{2, 1, 0, 2, 1, 0, 200, 0, 1, 2} {
			id := "call_" + string(rune('0'+i))
			if err := a.Claim(t.Context(), "", id, state(class, id)); err != nil {
				t.Fatal(err)
			}
		}
		a.kill()
		time.Sleep(10 * time.Second)
		var classes []byte
		for _, taken := range b.adopted() {
			classes = append(classes, taken.State[0])
		}
		if len(classes) != 10 || !slices.IsSorted(classes) {
			t.Errorf("order %v", classes)
		}
	})
}

// With takeover: none nobody goes on; the keys become free, and what is known of the calls is shown.
func TestCallsAreLeftAloneWhereThatIsWished(t *testing.T) {
	in(t, "a", func(t *testing.T, r *rig) {
		b := r.start("b", func(c *cluster.Config) {
			c.Takeover = cluster.TakeoverNone
			c.Lost = func(t cluster.Taken) ([]byte, time.Duration) { return []byte("lost " + t.Key), time.Hour }
		})
		r.settle()
		r.get("a").place("K", "call_1")
		r.get("a").kill()
		time.Sleep(10 * time.Second)
		if got := b.find("K"); got.Live || string(got.Record) != "lost K" || len(b.adopted()) > 0 {
			t.Errorf("found %+v", got)
		}
		b.place("K", "call_2")
		if got := r.streams(); len(got) != 1 {
			t.Errorf("streams %v", got)
		}
	})
}

// A call that cannot be taken over is over, and its key is free.
func TestACallThatCannotBeTakenOverIsOver(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		b := r.get("b")
		b.result = "lost"
		r.get("a").place("K", "call_1")
		r.get("a").keep("call_1", "newest of it")
		r.get("a").kill()
		time.Sleep(10 * time.Second)
		if got := b.find("K"); got.Live {
			t.Errorf("found %+v", got)
		}
		if s := b.Stats(); s.Takeovers[cluster.TakeoverKey{Flow: "newest", State: "class 0", Result: "lost"}] != 1 || s.Calls != 0 {
			t.Errorf("%+v", s)
		}
		b.place("K", "call_2")
	})
}

// Two clusters at one store do not know of each other.
func TestTwoClustersAtOneStore(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		other := r.start("a", func(c *cluster.Config) { c.Name = "other" })
		r.settle()
		r.get("b").place("K", "call_1")
		other.place("K", "call_2")
		if got := len(other.Members()); got != 1 {
			t.Errorf("%d members", got)
		}
	})
}

// Messages that nobody should send harm nothing.
func TestRubbishIsIgnored(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		stranger := r.store.Node("stranger")
		defer stranger.Close()
		ids := r.get("a").places("x", 5)
		for _, data := range []string{"", "{", "null", `{"node":"a"}`, `{"node":"b","e":"x","state":"gone"}`, "\xff", strings.Repeat("x", 1000),
			`{"node":"zzz","e":"1","state":"live","beat":1}`} {
			for _, subject := range []string{"node.a", "node.b", "node.zzz", "c.a.x.fence", "gossip.t", "gossip.counts", "secret"} {
				_ = stranger.Tell("sipxrest."+subject, []byte(data))
			}
			for _, node := range []string{"a", "b"} {
				_, _ = stranger.Ask(t.Context(), "sipxrest.ask."+node, []byte(data))
				for _, op := range []string{"cluster.adopt", "none"} {
					question := append([]byte{byte(len(op))}, op+"\x00\x00\x10\x00"...)
					if out, err := stranger.Ask(t.Context(), "sipxrest.ask."+node, append(question, data...)); err != nil || out[0] == 0 {
						t.Errorf("%s with %q: %q, %v", op, data, out, err)
					}
				}
			}
		}
		time.Sleep(30 * time.Second)
		r.owners(ids)
		for _, n := range r.nodes {
			if n.forgets > 0 || !n.Holds() {
				t.Errorf("%s has forgotten %d times", n.name, n.forgets)
			}
		}
	})
}
