package natslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sipxrest/cluster/store"
	"sipxrest/event"
)

// Entries are written together or not at all, on conditions; who follows gets what there
// is, and what changes.
func TestEntriesAreWrittenOnConditions(t *testing.T) {
	all := startStores(t, 1)
	s := NewShelf(engine(t, all), Config{Cluster: "t"})
	other := NewShelf(engine(t, all), Config{Cluster: "t"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type got struct {
		all  []event.ShelfEntry
		upTo int64
	}
	began, changes, ended := make(chan got, 1), make(chan event.ShelfEntry, 10), make(chan error, 1)
	go func() {
		ended <- other.Follow(ctx, func(list []event.ShelfEntry, upTo int64) { began <- got{list, upTo} },
			func(e event.ShelfEntry) { changes <- e })
	}()
	if g := <-began; len(g.all) != 0 {
		t.Fatalf("%+v", g)
	}
	entry := func(name, data string) event.ShelfEntry { return event.ShelfEntry{Name: name, Data: []byte(data)} }
	last, err := s.Write(ctx, []event.ShelfEntry{entry("h.1", "a"), entry("p.1", "b")}, map[string]int64{"h.1": 0, "p.1": 0})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Write(ctx, []event.ShelfEntry{entry("d.1.1-5", "x"), entry("p.1", "c")}, map[string]int64{"p.1": last - 1})
	if !errors.Is(err, event.ErrTaken) {
		t.Errorf("%v", err)
	}
	if _, err := s.Write(ctx, []event.ShelfEntry{entry("d.1.1-5", "x")}, map[string]int64{"p.1": last}); err != nil {
		t.Error(err)
	}
	if _, err := s.Write(ctx, []event.ShelfEntry{entry("d.1.1-5", ""), entry("h.1", "z")}, nil); err != nil {
		t.Error(err)
	}
	var names []string
	for range 5 {
		e := <-changes
		names = append(names, fmt.Sprintf("%s=%s", e.Name, e.Data))
	}
	if want := []string{"h.1=a", "p.1=b", "d.1.1-5=x", "d.1.1-5=", "h.1=z"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	cancel()
	<-ended
	ctx2, stop := context.WithCancel(t.Context())
	defer stop()
	err = s.Follow(ctx2, func(list []event.ShelfEntry, upTo int64) {
		if len(list) != 2 || upTo < last+3 {
			t.Errorf("%+v up to %d", list, upTo)
		}
		stop()
	}, func(event.ShelfEntry) {})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A hooked node delivers to webhooks, too.
type hooked struct {
	*node
	out *event.Outbox
	end func()
}

// fleet are nodes that see each other.
type fleet struct {
	mu    sync.Mutex
	alive []string
}

func (f *fleet) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.alive)
}

func (f *fleet) start(t testing.TB, all []*store.Server, name string) *hooked {
	t.Helper()
	n := startNodeOf(t, all, name, "", f.names)
	out, err := event.NewOutbox(event.OutboxConfig{Shelf: NewShelf(n.log.engine, Config{Cluster: "t"}), Wait: time.Millisecond,
		AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, n.Bus, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { out.Run(ctx); close(done) }()
	h := &hooked{node: n, out: out}
	var once sync.Once
	h.end = func() {
		once.Do(func() {
			f.mu.Lock()
			f.alive = slices.DeleteFunc(f.alive, func(s string) bool { return s == name })
			f.mu.Unlock()
			cancel()
			<-done
		})
	}
	t.Cleanup(h.end)
	f.mu.Lock()
	f.alive = append(f.alive, name)
	slices.Sort(f.alive)
	f.mu.Unlock()
	return h
}

// A webhook's receiver fails at random while the nodes that deliver come and go: it is
// told of each call from its beginning to one end, in its order.
func TestReceiverFailsWhileNodesComeAndGo(t *testing.T) {
	all := startStores(t, 1)
	f := &fleet{}
	var mu sync.Mutex
	var taken []string
	failed := map[string]bool{}
	r := rand.New(rand.NewPCG(1, 2))
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		io.Copy(io.Discard, q.Body) //nolint:errcheck // what is there is enough
		mu.Lock()
		defer mu.Unlock()
		id := q.Header.Get("webhook-id")
		if r.IntN(50) == 0 && !failed[id] && len(failed) < 3 { // each costs a pause of seconds
			failed[id] = true
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		taken = append(taken, id)
	}))
	defer receiver.Close()
	nodes := []*hooked{f.start(t, all, "a"), f.start(t, all, "b"), f.start(t, all, "c")}
	spec := event.WebhookSpec{Name: "crm", URL: receiver.URL, Events: []string{"call.*"}}
	spec.Complete()
	var id string
	await(t, "a webhook", func() bool {
		w, _, err := nodes[0].out.Create(spec, "", "", event.Cursor{})
		id = w.ID
		return err == nil
	})
	const calls = 120
	for i := range calls {
		nodes[i%len(nodes)].talk(t, fmt.Sprint("call_", i))
		time.Sleep(5 * time.Millisecond) // no order is asked of it: nodes come and go among the calls
		if i%40 == 20 {
			gone := nodes[0]
			gone.end()
			gone.stop()
			nodes = append(nodes[1:], f.start(t, all, fmt.Sprint("n", i)))
		}
	}
	last := nodes[len(nodes)-1]
	want := map[string][]string{}
	for i := range calls {
		call := fmt.Sprint("call_", i)
		last.ended(t, call)
		list, err := last.CallEvents(call, 0, 0)
		if err != nil || len(list) == 0 || !list[len(list)-1].Final {
			t.Fatalf("%s: %d events, %v", call, len(list), err)
		}
		for _, e := range list {
			if event.MatchType("call.*", e.Type) {
				want[call] = append(want[call], e.ID)
			}
		}
	}
	await(t, "what is owed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		at := map[string]int{}
		for i, id := range taken {
			if _, twice := at[id]; !twice {
				at[id] = i + 1
			}
		}
		for _, ids := range want {
			before := 0
			for _, id := range ids {
				switch {
				case at[id] == 0:
					return false
				case at[id] < before:
					t.Fatalf("%s came before the one before it", id)
				}
				before = at[id]
			}
		}
		return true
	})
	for _, n := range nodes {
		await(t, "the webhook", func() bool {
			w, err := n.out.Webhook(id)
			return err == nil && w.Status.Waiting == 0
		})
	}
}
