package natslog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sipxrest/event"
)

// talk tells of a whole call.
func (n *node) talk(t testing.TB, id string) {
	t.Helper()
	n.begin(t, id)
	n.Tell(id, event.LegPickedUp, "l1", event.Change{})
	n.Tell(id, event.CallConnecting, "", event.Change{})
	n.Tell(id, event.LegPickedUp, "l2", event.Change{})
	n.Tell(id, event.CallConnected, "", event.Change{})
	n.end(id)
}

func (n *node) begin(t testing.TB, id string) {
	t.Helper()
	err := n.Begin(event.Request{ID: id, Fresh: true, Created: event.Created{Kind: event.ClickToCall,
		Source: event.FromCallController, Agent: "201@example.com",
		Legs: []event.Leg{{Role: event.RoleCalling, Address: "201@example.com"}, {Role: event.RoleCalled, Address: "202@example.com"}}}})
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) end(id string) {
	n.Tell(id, event.CallEnded, "", event.Change{End: &event.End{Reason: "hung_up", Leg: "l1"}})
}

// ended waits until a node shows that a call has ended.
func (n *node) ended(t testing.TB, id string) {
	t.Helper()
	await(t, "the end of "+id+" at "+n.name, func() bool {
		c, ok := n.Call(id)
		return ok && c.State == event.Ended
	})
}

// all are the events behind a cursor as JSON.
func (n *node) all(t testing.TB, from event.Cursor) (list []string) {
	t.Helper()
	for {
		page, next, err := n.Events(event.Filter{}, from, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			list = append(list, string(n.Encoded(e)))
		}
		if next == from {
			return list
		}
		from = next
	}
}

// Three nodes tell of calls at once. Readers that are cut off at random, and go on at
// another node with the cursor that they have, get each event once, and all of them.
func TestReadersGoOnAtAnotherNode(t *testing.T) {
	all := startStores(t, 1)
	var nodes []*node
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, startNode(t, all, name, filepath.Join(t.TempDir(), "events.db")))
	}
	nodes[0].talk(t, "call_first")
	for _, n := range nodes {
		n.ended(t, "call_first")
	}
	from := nodes[0].Oldest()
	const calls = 60
	done := make(chan struct{})
	var readers sync.WaitGroup
	read := make([][]string, 3)
	for i := range read {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			at := from
			for n := nodes[i]; ; {
				over := isClosed(done)
				page, next, err := n.Events(event.Filter{}, at, 1+r.IntN(30))
				if err != nil {
					t.Errorf("at node %s: %v", n.name, err)
					return
				}
				for _, e := range page {
					read[i] = append(read[i], string(n.Encoded(e)))
				}
				at = next
				if over && at == nodes[0].Head() {
					return
				}
				if r.IntN(3) == 0 {
					n = nodes[r.IntN(3)]
				}
				if len(page) == 0 {
					s := n.Subscribe(event.Filter{})
					select {
					case <-s.Wake():
					case <-time.After(5 * time.Millisecond):
					}
					s.Close()
				}
			}
		})
	}
	var tellers sync.WaitGroup
	for _, n := range nodes {
		tellers.Go(func() {
			for i := range calls {
				n.talk(t, fmt.Sprintf("call_%s%d", n.name, i))
			}
		})
	}
	tellers.Wait()
	for _, n := range nodes { // of all: calls may overtake each other where the store is slow
		for _, m := range nodes {
			for i := range calls {
				n.ended(t, fmt.Sprintf("call_%s%d", m.name, i))
			}
		}
	}
	close(done)
	readers.Wait()
	want := nodes[0].all(t, from)
	if len(want) < 3*calls*8 {
		t.Errorf("%d events", len(want))
	}
	for _, n := range nodes[1:] {
		if got := n.all(t, from); !slices.Equal(got, want) {
			t.Errorf("node %s shows %d events, node a %d", n.name, len(got), len(want))
		}
	}
	for i := range read {
		if !slices.Equal(read[i], want) {
			t.Errorf("reader %d has %d events of %d", i, len(read[i]), len(want))
		}
	}
	for _, n := range nodes {
		await(t, "a record of each call at "+n.name, func() bool { // its own database may be behind
			list, _, err := n.CDRs(t.Context(), event.CDRFilter{}, event.CDRPage{Limit: 1000})
			return err == nil && len(list) == 3*calls+1
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A name is taken once, alone or in a batch, of which nothing is kept then.
func TestTakenNamesAreRefused(t *testing.T) {
	all := startStores(t, 1)
	l := New(engine(t, all), Config{Cluster: "t"})
	ctx := t.Context()
	began, err := l.Attach(ctx, 0)
	if err != nil || began.Last != began.Run.First-1 || began.First != began.Run.First {
		t.Fatalf("%+v, %v", began, err)
	}
	record := func(name string) event.StreamRecord {
		return event.StreamRecord{Name: name, Data: []byte(`{"w":"a/1","t":"x"}`)}
	}
	for _, c := range []struct {
		names []string
		taken bool
	}{{[]string{"c.1"}, false}, {[]string{"c.1"}, true}, {[]string{"c.2", "d.1"}, false},
		{[]string{"c.3", "d.1"}, true}, {[]string{"c.3"}, false}} {
		var list []event.StreamRecord
		for _, n := range c.names {
			list = append(list, record(n))
		}
		if err := l.Publish(ctx, list); errors.Is(err, event.ErrTaken) != c.taken || !c.taken && err != nil {
			t.Errorf("%v: %v", c.names, err)
		}
	}
	s, err := l.Attach(ctx, 0)
	if err != nil || s.Last != began.Run.First+3 || s.Run != began.Run {
		t.Errorf("%+v, %v", s, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var got []string
	err = l.Follow(ctx, began.Last+1, func(seq int64, r event.StreamRecord) {
		if got = append(got, r.Name); seq == s.Last {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(got, []string{"c.2", "d.1", "c.3"}) {
		t.Errorf("%v, %v", got, err)
	}
}

// Somebody deletes the stream while calls go on. It is made anew, and readers go on.
func TestStreamIsDeleted(t *testing.T) {
	all := startStores(t, 1)
	a, b := startNode(t, all, "a", ""), startNode(t, all, "b", filepath.Join(t.TempDir(), "events.db"))
	a.begin(t, "call_1")
	await(t, "the call", func() bool { _, ok := b.Call("call_1"); return ok })
	from := b.Head()
	if err := a.log.engine.Delete(t.Context(), a.log.stream); err != nil {
		t.Fatal(err)
	}
	a.end("call_1")
	for _, n := range []*node{a, b} {
		n.ended(t, "call_1")
		if got := n.all(t, from); len(got) != 3 {
			t.Errorf("node %s: %q", n.name, got)
		}
	}
	if a.Head() != b.Head() || a.Head().Run <= from.Run {
		t.Errorf("%s, %s after %s", a.Head(), b.Head(), from)
	}
}

// The store's server that leads the stream is killed while calls are told of, and then
// a node's own: nothing is lost and nothing comes twice.
func TestServersAreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: elections take seconds")
	}
	all := startStores(t, 3)
	a, b := startNode(t, all, "a", ""), startNode(t, all, "b", filepath.Join(t.TempDir(), "events.db"))
	a.talk(t, "call_first")
	b.ended(t, "call_first")
	from := a.Oldest()
	for i := range 200 {
		if i == 50 {
			all[0].Kill()
		}
		a.talk(t, fmt.Sprint("call_a", i))
		b.talk(t, fmt.Sprint("call_b", i))
	}
	for _, n := range []*node{a, b} {
		for i := range 200 {
			n.ended(t, fmt.Sprint("call_a", i))
			n.ended(t, fmt.Sprint("call_b", i))
		}
	}
	want := a.all(t, from)
	if got := b.all(t, from); !slices.Equal(got, want) {
		t.Errorf("node b shows %d events, node a %d", len(got), len(want))
	}
	for _, n := range []*node{a, b} {
		for i := range 200 {
			list, err := n.CallEvents(fmt.Sprint("call_a", i), 0, 0)
			if err != nil || len(list) != 8 || !list[7].Final {
				t.Fatalf("call %d at node %s has %d events, %v", i, n.name, len(list), err)
			}
		}
	}
}
