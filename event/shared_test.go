package event

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
)

// A testNode is one node of a cluster, with its own way to the stream.
type testNode struct {
	*Bus
	way   *way
	holds atomic.Bool
	stop  context.CancelFunc
}

// way is a node's own connection, which can be cut.
type way struct {
	*memoryStream
	cut atomic.Bool
}

func (w *way) Publish(ctx context.Context, list []StreamRecord) error {
	if w.cut.Load() {
		return errCut
	}
	return w.memoryStream.Publish(ctx, list)
}

func (w *way) Attach(ctx context.Context, last int64) (StreamState, error) {
	if w.cut.Load() {
		return StreamState{}, errCut
	}
	return w.memoryStream.Attach(ctx, last)
}

func (w *way) Follow(ctx context.Context, after int64, take func(int64, StreamRecord)) error {
	return w.memoryStream.Follow(ctx, after, func(seq int64, r StreamRecord) {
		for w.cut.Load() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		if ctx.Err() == nil {
			take(seq, r)
		}
	})
}

// startNode is a node, which runs until the test ends or it is killed.
func startNode(t testing.TB, name string, m *memoryStream, adjust ...func(*Config)) *testNode {
	t.Helper()
	n := &testNode{way: &way{memoryStream: m}}
	n.holds.Store(true)
	cfg := Config{Node: name, Stream: n.way, Holds: n.holds.Load, Strict: true}
	for _, f := range adjust {
		f(&cfg)
	}
	b, err := Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.Bus, n.stop = b, cancel
	go b.Run(ctx) //nolint:errcheck // what a killed node does not keep is lost
	t.Cleanup(func() {
		cancel()
		<-b.done
		b.Close()
	})
	return n
}

// kill ends a node without a word: nothing of it reaches the stream any more.
func (n *testNode) kill() { n.way.cut.Store(true) }

// level waits until all nodes have all that the stream has, and nobody has more to tell.
func levelOff(t testing.TB, nodes ...*testNode) {
	t.Helper()
	for range 10_000 {
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		even := true
		for _, n := range nodes {
			s, _ := n.way.memoryStream.Attach(t.Context(), 0)
			even = even && n.queued.Load() == 0 && n.shared.waiting() == 0 && n.sequenced.Load() == s.Last && n.idle()
		}
		if even {
			return
		}
	}
	for _, n := range nodes {
		t.Errorf("node %s: %d wait, read up to %d, %v", n.cfg.Node, n.shared.waiting(), n.sequenced.Load(), n.Stats().StoreError)
	}
	t.FailNow()
}

func inFile(t testing.TB) func(*Config) {
	file := filepath.Join(t.TempDir(), "events.db")
	return func(c *Config) { c.Store = file }
}

// A hopper reads the stream of events, and goes on at another node each time that it is
// cut off, which happens at random.
type hopper struct {
	nodes []*testNode
	at    int
	from  Cursor
	read  []*Event
}

func (h *hopper) step(t testing.TB, r *rand.Rand) {
	if r.IntN(3) == 0 {
		h.at = r.IntN(len(h.nodes))
	}
	events, next, err := h.nodes[h.at].Events(Filter{}, h.from, 1+r.IntN(20))
	if err != nil {
		t.Fatalf("at %s behind %s: %v", h.nodes[h.at].cfg.Node, h.from, err)
	}
	if n := r.IntN(4); n == 0 && len(events) > 1 { // cut off in the middle of a page
		events = events[:len(events)/2]
		next, _ = ParseCursor(events[len(events)-1].ID)
	}
	h.read, h.from = append(h.read, events...), next
}

// Three nodes tell of calls at once while answers of the stream are lost and connections
// cut: all of them show the same events, each once, and one end of each call. Who reads
// now here, now there misses nothing and gets nothing twice.
func TestNodesShowOneStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStream()
		nodes := []*testNode{startNode(t, "a", m), startNode(t, "b", m, inFile(t)), startNode(t, "c", m, inFile(t))}
		levelOff(t, nodes...)
		h := &hopper{nodes: nodes, from: nodes[0].Oldest()}
		if h.from != nodes[1].Oldest() {
			t.Fatal(h.from, nodes[1].Oldest())
		}
		m.set(func() { m.faults = rand.New(rand.NewPCG(1, 2)) })
		r := rand.New(rand.NewPCG(3, 4))
		var ids []string
		for round := range 60 / share(6) {
			for i, n := range nodes {
				ids = append(ids, wander(t, n.Bus, r, fmt.Sprintf("%s-%d", n.cfg.Node, round), 5, func() {
					if r.IntN(8) == 0 {
						time.Sleep(time.Duration(r.IntN(8)) * time.Millisecond)
						h.step(t, r)
					}
				})...)
				_ = i
			}
		}
		m.set(func() { m.faults = nil })
		levelOff(t, nodes...)
		for h.from != nodes[h.at].Head() {
			h.step(t, r)
		}
		want := texts(nodes[0].Bus, all(t, nodes[0].Bus, Filter{}, nodes[0].Oldest()))
		for _, n := range nodes[1:] {
			if got := texts(n.Bus, all(t, n.Bus, Filter{}, n.Oldest())); !slices.Equal(got, want) {
				t.Fatalf("node %s has %d events, node a %d", n.cfg.Node, len(got), len(want))
			}
		}
		if got := texts(nodes[0].Bus, h.read); !slices.Equal(got, want) {
			t.Fatalf("the reader has %d events of %d", len(got), len(want))
		}
		for i, e := range h.read {
			if e.Seq != h.read[0].Seq+int64(i) {
				t.Fatalf("event %d has the number %d", i, e.Seq)
			}
		}
		for _, n := range nodes {
			for _, id := range ids {
				list, err := n.CallEvents(id, 0, 0)
				if err != nil || len(list) == 0 {
					t.Fatal(n.cfg.Node, id, len(list), err)
				}
				sound(t, list)
				if c, ok := n.Call(id); !ok || c.State != Ended || c.Node != id[:1] {
					t.Fatalf("%s at node %s: %+v", id, n.cfg.Node, c)
				}
			}
			if got := records(t, n.Bus); got != len(ids) {
				t.Errorf("node %s has %d records of %d calls", n.cfg.Node, got, len(ids))
			}
			if s := n.Stats(); s.Refused != 0 || s.Calls != 0 || s.Unstored != 0 {
				t.Errorf("%+v", s)
			}
		}
		if m.refused == 0 {
			t.Error("no batch was refused: the faults do nothing")
		}
	})
}

// resumed is what sipflow tells when a call goes on at this node.
func resumed(id string) *sipflow.Event {
	return &sipflow.Event{ID: id, Kind: sipflow.Resumed, At: time.Now(), Spec: &sipflow.Spec{Key: sipflow.Key{Agent: "201@example.com"}},
		Legs: []sipflow.LegReport{{N: 1, Role: sipflow.RoleCalling, Address: "201@example.com"},
			{N: 2, Role: sipflow.RoleCalled, Address: "202@example.com"}}}
}

// half is the first half of talk.
func half(t testing.TB, b *Bus, id string) {
	t.Helper()
	if err := b.Begin(request(id)); err != nil {
		t.Fatal(err)
	}
	b.Tell(id, LegDialled, "l1", Change{SIPCallID: "a-" + id})
	b.Tell(id, LegPickedUp, "l1", Change{})
	b.Tell(id, CallConnecting, "", Change{})
}

// The node of a call dies. Its heir goes on with the record as it was; there is one end,
// and the record of the call says who had it.
func TestHeirGoesOnWithTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStream()
		a, b, c := startNode(t, "a", m), startNode(t, "b", m, inFile(t)), startNode(t, "c", m)
		half(t, a.Bus, "call_1")
		levelOff(t, a, b, c)
		if !a.Mine("call_1") || b.Mine("call_1") {
			t.Fatal("the call is not that of node a")
		}
		b.Tell("call_1", CallConnected, "", Change{}) // it is none of its business
		a.kill()
		a.Tell("call_1", LegHeld, "l1", Change{}) // nobody hears of it
		moved := time.Now()
		b.Observe(resumed("call_1"))
		b.Tell("call_1", LegPickedUp, "l2", Change{})
		b.Tell("call_1", CallConnected, "", Change{})
		b.Tell("call_1", CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l2"}})
		levelOff(t, b, c)
		for _, n := range []*testNode{b, c} {
			list, err := n.CallEvents("call_1", 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			sound(t, list)
			want := []Type{CallCreated, LegDialled, LegPickedUp, CallConnecting, CallMoved, LegPickedUp, CallConnected, LegOver, LegOver, CallEnded}
			if got := types(list); !slices.Equal(got, want) {
				t.Errorf("node %s: %v", n.cfg.Node, got)
			}
			r, err := n.CDR(t.Context(), "call_1")
			if err != nil || r.Node != "b" || r.TakenOverFrom != "a" || r.MovedAt != At(moved) || r.Outcome != Completed {
				t.Errorf("node %s: %+v, %v", n.cfg.Node, r, err)
			}
		}
	})
}

// A node that stood still, and wakes when its call is another one's, tells nothing of it
// any more, be it told that it has lost the call or not.
func TestZombieTellsNothing(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprint(told), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemoryStream()
				a, b := startNode(t, "a", m), startNode(t, "b", m)
				half(t, a.Bus, "call_1")
				levelOff(t, a, b)
				a.kill()
				a.holds.Store(false)
				a.Tell("call_1", CallEnded, "", Change{End: &End{Reason: "phone_lost"}})
				synctest.Wait()
				b.Observe(resumed("call_1"))
				b.Tell("call_1", LegHeld, "l1", Change{})
				levelOff(t, b)
				a.way.cut.Store(false)
				if told {
					a.Disown()
				}
				a.holds.Store(true)
				levelOff(t, a, b)
				if a.Mine("call_1") || !b.Mine("call_1") {
					t.Error("the call is not that of node b")
				}
				a.Tell("call_1", CallConnected, "", Change{})
				b.Tell("call_1", CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l1"}})
				levelOff(t, a, b)
				want := []Type{CallCreated, LegDialled, LegPickedUp, CallConnecting, CallMoved, LegHeld, LegOver, LegOver, CallEnded}
				for _, n := range []*testNode{a, b} {
					list, err := n.CallEvents("call_1", 0, 0)
					if got := types(list); err != nil || !slices.Equal(got, want) {
						t.Errorf("node %s: %v, %v", n.cfg.Node, got, err)
					}
				}
			})
		})
	}
}

// The heir takes a call over before the last events of the dead node, or any of them, have
// come to it. They stay, and what it tells comes behind them.
func TestHeirHearsTheLastEventsLate(t *testing.T) {
	for _, begun := range []bool{true, false} {
		t.Run(fmt.Sprint(begun), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemoryStream()
				a, b := startNode(t, "a", m), startNode(t, "b", m)
				levelOff(t, a, b)
				if begun {
					half(t, a.Bus, "call_1")
					levelOff(t, a, b)
				}
				b.way.cut.Store(true)
				if !begun {
					half(t, a.Bus, "call_1")
				}
				a.Tell("call_1", LegHeld, "l1", Change{By: "calling"})
				levelOff(t, a)
				a.kill()
				b.Observe(resumed("call_1"))
				b.Tell("call_1", LegDialled, "l2", Change{SIPCallID: "b"})
				b.Tell("call_1", LegResumed, "l1", Change{})
				time.Sleep(time.Second)
				b.way.cut.Store(false)
				levelOff(t, b)
				b.Tell("call_1", CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l1"}})
				levelOff(t, b)
				list, err := b.CallEvents("call_1", 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				sound(t, list)
				got := types(list)
				if want := []Type{CallCreated, LegDialled, LegPickedUp, CallConnecting, LegHeld}; !slices.Equal(got[:min(len(got), 5)], want) {
					t.Errorf("%v", got)
				}
				for _, typ := range []Type{CallMoved, CallEnded} {
					if n := len(slices.DeleteFunc(slices.Clone(got), func(o Type) bool { return o != typ })); n != 1 {
						t.Errorf("%d %s: %v", n, typ, got)
					}
				}
				if c, _ := b.Call("call_1"); c.Node != "b" || c.TakenOverFrom != "a" {
					t.Errorf("%+v", c)
				}
			})
		})
	}
}

// A node that starts again goes on where it has stopped, with the calls that are open;
// it does not end those of others.
func TestNodeStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStream()
		file := inFile(t)
		a, b := startNode(t, "a", m), startNode(t, "b", m, file)
		half(t, a.Bus, "call_1")
		levelOff(t, a, b)
		at := b.Head()
		b.stop()
		<-b.done
		b.Close()
		a.Tell("call_1", LegPickedUp, "l2", Change{})
		a.Tell("call_1", CallConnected, "", Change{})
		levelOff(t, a)
		b = startNode(t, "b", m, file)
		if c, ok := b.Call("call_1"); !ok || c.State != Connecting && c.State != Connected { // it may know the rest by now
			t.Errorf("%+v, %t", c, ok)
		}
		levelOff(t, a, b)
		got := all(t, b.Bus, Filter{CallID: "call_1"}, at)
		if want := []Type{LegPickedUp, CallConnected}; !slices.Equal(types(got), want) {
			t.Errorf("%v", types(got))
		}
		if c, _ := b.Call("call_1"); c.State != Connected {
			t.Errorf("%+v", c)
		}
	})
}

// The stream is lost, with what it had. Readers go on, and nothing that a node has told
// is missing at it.
func TestStreamIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStream()
		a, b := startNode(t, "a", m), startNode(t, "b", m, inFile(t))
		half(t, a.Bus, "call_1")
		levelOff(t, a, b)
		from := a.Head()
		m.renew(Run{N: 1001, First: 1 << 24})
		a.Tell("call_1", LegPickedUp, "l2", Change{})
		a.Tell("call_1", CallConnected, "", Change{})
		levelOff(t, a, b)
		for _, n := range []*testNode{a, b} {
			got := all(t, n.Bus, Filter{}, from)
			if want := []Type{LegPickedUp, CallConnected}; !slices.Equal(types(got), want) {
				t.Errorf("node %s: %v", n.cfg.Node, types(got))
			}
			if len(got) > 0 && got[0].ID != "evt_fake01_1001_16777216" {
				t.Error(got[0].ID)
			}
		}
	})
}

// What was gone before a node came back is told to who reads there, and the calls of the
// time are right again with their ends.
func TestNodeWasAwayForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStream()
		file := inFile(t)
		a, b := startNode(t, "a", m), startNode(t, "b", m, file)
		levelOff(t, a, b)
		at := b.Head()
		b.stop()
		<-b.done
		b.Close()
		half(t, a.Bus, "call_1")
		levelOff(t, a)
		m.set(func() { m.first, m.records = m.first+int64(len(m.records)), nil })
		a.Tell("call_1", CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l1"}})
		levelOff(t, a)
		b = startNode(t, "b", m, file)
		levelOff(t, b)
		var expired *CursorExpiredError
		if _, _, err := b.Events(Filter{}, at, 0); err == nil || !asExpired(err, &expired) {
			t.Fatal(err)
		}
		got := all(t, b.Bus, Filter{CallID: "call_1"}, expired.Oldest)
		if len(got) == 0 || got[len(got)-1].Type != CallEnded {
			t.Errorf("%v", types(got))
		}
		if r, err := b.CDR(t.Context(), "call_1"); err != nil || r.Node != "a" || len(r.Legs) < 10 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func asExpired(err error, to **CursorExpiredError) bool {
	e, ok := err.(*CursorExpiredError) //nolint:errorlint // as Events returns it
	*to = e
	return ok
}

// A call whose node is gone and that nobody takes over is ended a minute later, once.
func TestOrphansEndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStream()
		var names atomic.Pointer[[]string]
		names.Store(&[]string{"a", "b", "c"})
		alive := func(c *Config) { c.Nodes = func() []string { return *names.Load() } }
		a, b, c := startNode(t, "a", m, alive), startNode(t, "b", m, alive), startNode(t, "c", m, alive)
		for i := range 20 {
			half(t, a.Bus, fmt.Sprint("call_", i))
		}
		half(t, b.Bus, "call_b")
		levelOff(t, a, b, c)
		a.kill()
		synctest.Wait()
		names.Store(&[]string{"b", "c"})
		time.Sleep(50 * time.Second)
		if c, _ := b.Call("call_0"); c.State == Ended {
			t.Error("too soon")
		}
		time.Sleep(30 * time.Second)
		levelOff(t, b, c)
		for i := range 20 {
			list, err := c.CallEvents(fmt.Sprint("call_", i), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			sound(t, list)
			end := list[len(list)-1].Data.Call
			if end.End == nil || end.End.Reason != "node_lost" || end.End.Outcome != Unknown || end.Knowledge.Level != "lost" || end.TalkMS != nil {
				t.Fatalf("%+v", end)
			}
		}
		if c, _ := c.Call("call_b"); c.State == Ended {
			t.Error("it has a node")
		}
	})
}

// While the stream is away nothing is shown, and calls of the API are refused; then all
// of it comes.
func TestStreamIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStream()
		a, b := startNode(t, "a", m), startNode(t, "b", m)
		levelOff(t, a, b)
		from := a.Head()
		m.set(func() { m.away = true })
		if err := a.Begin(request("call_1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if a.Head() != from {
			t.Error("an event is shown that no other node may ever have")
		}
		if err := a.Expect(request("call_2")); !isStore(err) {
			t.Error(err)
		}
		if err := a.Committed(t.Context(), "call_1"); !isStore(err) {
			t.Error(err)
		}
		m.set(func() { m.away = false })
		levelOff(t, a, b)
		if got := types(all(t, b.Bus, Filter{}, from)); !slices.Equal(got, []Type{CallCreated}) {
			t.Error(got)
		}
		if err := a.Committed(t.Context(), "call_1"); err != nil {
			t.Error(err)
		}
		if err := a.Expect(request("call_2")); err != nil {
			t.Error(err)
		}
	})
}

func isStore(err error) bool {
	_, ok := err.(*StoreError) //nolint:errorlint // as the Bus returns it
	return ok
}
