package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
)

// nothing is a store that acknowledges everything at once.
type nothing struct {
	Engine
	seq uint64
}

func (e *nothing) Put(_, _ string, _ []byte) error { e.seq++; return nil }

func (e *nothing) Commit(context.Context, string, []Write, ...Cond) (uint64, error) {
	e.seq++
	return e.seq, nil
}

// A tick of a thousand calls whose states have changed, without what the engine does.
func BenchmarkTickOfAThousandCalls(b *testing.B) {
	n, t, ids, state := aThousandCalls(b)
	b.ReportAllocs()
	for b.Loop() {
		for _, id := range ids {
			n.Keep(id, state)
		}
		if err := t.tick(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// A tick allocates nothing for each of its calls.
func TestATickAllocatesNothingForACall(t *testing.T) {
	n, tick, ids, state := aThousandCalls(t)
	got := testing.AllocsPerRun(10, func() {
		for _, id := range ids {
			n.Keep(id, state)
		}
		if err := tick.tick(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if got > 20 { // of a thousand
		t.Errorf("%.0f allocations", got)
	}
}

// aThousandCalls returns a node with as many calls, all of them committed once.
func aThousandCalls(tb testing.TB) (n *Node, t *ticker, ids []string, state []byte) {
	n, err := New(Config{Node: "a", Adopt: func(context.Context, Taken, func(string, error)) {}, Forget: func() {}}, &nothing{},
		slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	n.calls.setTicking(true)
	l := &life{who: who{"a", "e"}, stream: "s", fence: "f", tickSubject: "t"}
	t, state = &ticker{n: n, l: l}, make([]byte, 1200)
	for i := range 1000 {
		ids = append(ids, fmt.Sprintf("call_%020d", i))
		n.calls.add(&call{id: ids[i], keys: []string{"some key"}, state: state})
	}
	if err := t.tick(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return n, t, ids, state
}
