package event

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/webhook"
)

// A deliverer is a node with its outbox.
type deliverer struct {
	*testNode
	out  *Outbox
	dead atomic.Bool // killed: not a byte leaves it any more
	end  func()
}

// fleet are the nodes of a cluster that deliver.
type fleet struct {
	t      *testing.T
	stream *memoryStream
	shelf  *memoryShelf
	to     *receiver
	mu     sync.Mutex
	alive  []string // guarded by mu
	nodes  map[string]*deliverer
}

func newFleet(t *testing.T, names ...string) *fleet {
	f := &fleet{t: t, stream: newMemoryStream(), shelf: newMemoryShelf(), to: &receiver{}, nodes: map[string]*deliverer{}}
	for _, n := range names {
		f.start(n)
	}
	return f
}

func (f *fleet) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.alive)
}

func (f *fleet) start(name string, hooks ...ConfiguredWebhook) *deliverer {
	f.t.Helper()
	d := &deliverer{testNode: startNode(f.t, name, f.stream, func(c *Config) { c.Nodes = f.names })}
	cfg := OutboxConfig{Shelf: shelfWay{f.shelf, &d.way.cut}, Webhooks: hooks}
	cfg.post = func(ctx context.Context, h *hook, address string, header http.Header, body []byte) (webhook.Posted, error) {
		if d.dead.Load() {
			<-ctx.Done()
			return webhook.Posted{}, ctx.Err()
		}
		p, err := f.to.post(ctx, h, address, header, body)
		if d.dead.Load() { // it was killed before it had the response
			<-ctx.Done()
			return webhook.Posted{}, ctx.Err()
		}
		return p, err
	}
	out, err := NewOutbox(cfg, d.Bus, slog.New(slog.DiscardHandler))
	if err != nil {
		f.t.Fatal(err)
	}
	d.out = out
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { out.Run(ctx); close(done) }()
	var once sync.Once
	d.end = func() { once.Do(func() { cancel(); <-done }) }
	f.t.Cleanup(d.end)
	f.mu.Lock()
	f.alive = append(f.alive, name)
	slices.Sort(f.alive)
	f.mu.Unlock()
	f.nodes[name] = d
	return d
}

// leave has the others not see a node any more.
func (f *fleet) leave(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.alive = slices.DeleteFunc(f.alive, func(n string) bool { return n == name })
}

// kill is kill -9: the others notice five seconds later.
func (f *fleet) kill(name string) {
	d := f.nodes[name]
	delete(f.nodes, name)
	d.dead.Store(true)
	d.kill()
	d.holds.Store(false)
	time.Sleep(5 * time.Second)
	f.leave(name)
	d.end() // cut off from all, it does nothing any more
	d.stop()
}

func (f *fleet) webhook(d *deliverer, name string) Webhook {
	f.t.Helper()
	return f.webhookOf(d, name, func(*WebhookSpec) {})
}

func (f *fleet) webhookOf(d *deliverer, name string, change func(*WebhookSpec)) Webhook {
	f.t.Helper()
	spec := WebhookSpec{Name: name, URL: "https://hooks.example/" + name, Events: []string{"call.*"}}
	spec.Complete()
	change(&spec)
	w, _, err := d.out.Create(spec, "", "", Cursor{})
	if err != nil {
		f.t.Fatal(err)
	}
	return w
}

// quiet waits until all webhooks have all that was told.
func (f *fleet) quiet() {
	f.t.Helper()
	var rest []*testNode
	for _, d := range f.nodes {
		rest = append(rest, d.testNode)
	}
	levelOff(f.t, rest...)
	for range 400 {
		time.Sleep(30 * time.Second)
		synctest.Wait()
		done := f.shelf.rows("d.") == 0
		for _, d := range f.nodes {
			for _, w := range d.out.Webhooks() {
				at, err := ParseCursor(w.Status.Cursor)
				done = done && err == nil && at.Seq >= d.Head().Seq-2*int64(len(f.nodes)) && w.Status.State == WebhookOK
			}
		}
		if done {
			return
		}
	}
	for name, d := range f.nodes {
		for _, w := range d.out.Webhooks() {
			f.t.Errorf("node %s: %+v of %s, %d rows", name, w.Status, d.Head(), f.shelf.rows("d."))
		}
	}
	f.t.FailNow()
}

// wholly checks that a webhook was told of each call from its beginning to its end, in
// its order, whatever came twice.
func (f *fleet) wholly(d *deliverer, hook string, calls []string) {
	f.t.Helper()
	first := map[string]int{}
	for i, id := range f.to.taken(hook) {
		if _, twice := first[id]; !twice {
			first[id] = i
		}
	}
	for _, call := range calls {
		list, err := d.CallEvents(call, 0, 0)
		if err != nil || len(list) == 0 {
			f.t.Fatal(call, err)
		}
		sound(f.t, list)
		last := -1
		for _, e := range list {
			if !MatchType("call.*", e.Type) {
				continue
			}
			at, told := first[e.ID]
			switch {
			case !told:
				f.t.Fatalf("%s was not told of event %d of %s, %s", hook, e.CallSeq, call, e.Type)
			case at < last:
				f.t.Fatalf("%s was told of event %d of %s, %s, too soon", hook, e.CallSeq, call, e.Type)
			}
			last = at
		}
	}
}

// Receivers fail at random, nodes that deliver are killed and started at random, and the
// store loses answers: each webhook is told of all of each call, in its order, with one
// end under one id.
func TestDeliverersAreKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "a", "b", "c")
		time.Sleep(3 * time.Second)
		names := []string{"one", "two", "three", "four"}
		for _, n := range names {
			f.webhook(f.nodes["a"], n)
		}
		time.Sleep(3 * time.Second)
		r := rand.New(rand.NewPCG(5, 6))
		var mu sync.Mutex
		failed := map[string]int{} // what was refused thrice may be overtaken: see overtake
		f.to.set(func(ctx context.Context, p posted) (webhook.Posted, error) {
			mu.Lock()
			n, pause := r.IntN(4), time.Duration(r.IntN(200))*time.Millisecond
			if n < 2 {
				if failed[p.hook+p.id]++; failed[p.hook+p.id] > 2 {
					n = 2
				}
			}
			mu.Unlock()
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return webhook.Posted{}, ctx.Err()
			}
			switch n {
			case 0:
				return webhook.Posted{Code: 500}, nil
			case 1:
				return webhook.Posted{}, errReceiverAway
			}
			return okay, nil
		})
		f.shelf.mu.Lock()
		f.shelf.faults = rand.New(rand.NewPCG(7, 8))
		f.shelf.mu.Unlock()
		f.stream.set(func() { f.stream.faults = rand.New(rand.NewPCG(9, 10)) })
		own := rand.New(rand.NewPCG(11, 12))
		var calls []string
		killed := 0
		for round := range 24 / share(2) {
			list := slices.Sorted(keysOf(f.nodes))
			n := f.nodes[list[own.IntN(len(list))]]
			calls = append(calls, wander(t, n.Bus, own, fmt.Sprint("r", round), 4, func() {
				if own.IntN(10) == 0 {
					time.Sleep(time.Duration(own.IntN(20)) * time.Millisecond)
				}
			})...)
			switch {
			case round%3 == 1:
				levelOff(t, n.testNode) // what it has told is there; what it has delivered may be not
				name := list[own.IntN(len(list))]
				f.kill(name)
				killed++
				f.start(fmt.Sprint("n", round))
			case round%3 == 2:
				time.Sleep(time.Duration(own.IntN(8)) * time.Second)
			}
		}
		f.shelf.mu.Lock()
		f.shelf.faults = nil
		f.shelf.mu.Unlock()
		f.stream.set(func() { f.stream.faults = nil })
		f.to.set(nil)
		time.Sleep(2 * time.Minute) // a node may have died before it had told all: the others end its calls
		f.quiet()                   // what was refused often is due an hour later
		d := f.nodes[slices.Sorted(keysOf(f.nodes))[0]]
		for _, n := range names {
			f.wholly(d, n, calls)
		}
		if got := len(f.to.taken("")); killed == 0 || got < len(calls)*len(names) {
			t.Errorf("%d killed, %d taken", killed, got)
		}
	})
}

func keysOf(m map[string]*deliverer) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// A webhook that one node made is known at all, is told once of what each of them tells,
// and is changed, read and deleted at any.
func TestWebhooksAreTheClusters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "a", "b", "c")
		a, b, c := f.nodes["a"], f.nodes["b"], f.nodes["c"]
		spec := WebhookSpec{Name: "early", URL: "https://hooks.example/early"}
		spec.Complete()
		time.Sleep(3 * time.Second)
		w := f.webhook(a, "crm")
		time.Sleep(2 * time.Second)
		for _, d := range []*deliverer{b, c} {
			if got, err := d.out.Webhook(w.ID); err != nil || got.Name != "crm" || got.Status.State != WebhookOK {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		for _, d := range []*deliverer{a, b, c} {
			talk(t, d.Bus, "call_"+d.cfg.Node)
		}
		f.quiet()
		calls := []string{"call_a", "call_b", "call_c"}
		f.wholly(a, "crm", calls)
		if n := len(f.to.taken("crm")); n != 3*4 {
			t.Errorf("%d requests", n)
		}
		spec.Name, spec.Events = "crm2", []string{"call.ended"}
		if _, err := b.out.Change(w.ID, spec, nil); err != nil {
			t.Fatal(err)
		}
		off := false
		if _, err := c.out.Change(w.ID, spec, &off); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		talk(t, a.Bus, "call_2")
		time.Sleep(10 * time.Second)
		for _, d := range []*deliverer{a, b, c} {
			if got, err := d.out.Webhook(w.ID); err != nil || got.Name != "crm2" || got.Enabled {
				t.Errorf("node %s: %+v, %v", d.cfg.Node, got, err)
			}
		}
		if n := len(f.to.taken("crm2")); n != 0 {
			t.Errorf("%d requests while it is off", n)
		}
		if _, err := a.out.Enable(w.ID); err != nil {
			t.Fatal(err)
		}
		f.quiet()
		if n := len(f.to.taken("crm2")); n != 1 {
			t.Errorf("%d requests once it is on", n)
		}
		if err := c.out.Delete(w.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		for _, d := range []*deliverer{a, b, c} {
			if list := d.out.Webhooks(); len(list) != 0 {
				t.Errorf("node %s: %+v", d.cfg.Node, list)
			}
		}
		if n := f.shelf.rows(""); n != 0 {
			t.Errorf("%d entries are left of it", n)
		}
	})
}

// What a webhook has not taken is listed, and sent again, at any node; and goes with the
// turn to another one.
func TestOtherNodeSendsWhatIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "a", "b")
		time.Sleep(3 * time.Second)
		w := f.webhook(f.nodes["a"], "crm")
		time.Sleep(2 * time.Second)
		f.to.set(code(500))
		talk(t, f.nodes["b"].Bus, "call_1")
		time.Sleep(10 * time.Second)
		owner := chosen(w.ID, []string{"a", "b"})
		other := f.nodes[map[string]string{"a": "b", "b": "a"}[owner]]
		list, _, err := other.out.Deliveries(w.ID, DeliveryQuery{Limit: 10})
		if err != nil || len(list) != 4 || len(list[3].Attempts) == 0 {
			t.Fatalf("%+v, %v", list, err)
		}
		tries := len(list[3].Attempts)
		f.kill(owner)
		f.to.set(nil)
		f.quiet()
		f.wholly(other, "crm", []string{"call_1"})
		f.to.mu.Lock()
		defer f.to.mu.Unlock()
		if got := f.to.took[0].attempt; got != fmt.Sprint(tries+1) && got != fmt.Sprint(tries+2) {
			t.Errorf("attempt %s after %d", got, tries)
		}
	})
}

// The webhook of one call is told of it, wherever the call goes on, and vanishes with it.
func TestWebhookOfACallGoesWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "a", "b", "c")
		time.Sleep(3 * time.Second)
		spec := WebhookSpec{Name: "of-call", URL: "https://hooks.example/call"}
		spec.Complete()
		if err := f.nodes["a"].out.ForCall("call_1", spec, "key", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="); err != nil {
			t.Fatal(err)
		}
		half(t, f.nodes["a"].Bus, "call_1")
		levelOff(t, f.nodes["a"].testNode, f.nodes["b"].testNode)
		f.kill("a")
		f.nodes["b"].Observe(resumed("call_1"))
		f.nodes["b"].Tell("call_1", CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l1"}})
		time.Sleep(time.Minute)
		f.wholly(f.nodes["c"], "of-call", []string{"call_1"})
		if n := f.shelf.rows(""); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}

// A webhook of the configuration, which is the same at each node, is one.
func TestConfiguredWebhookIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		one := ConfiguredWebhook{WebhookSpec: WebhookSpec{Name: "crm", URL: "https://hooks.example/crm"},
			Secrets: []string{"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}}
		one.Complete()
		a, b := f.start("a", one), f.start("b", one)
		time.Sleep(5 * time.Second)
		talk(t, a.Bus, "call_1")
		talk(t, b.Bus, "call_2")
		f.quiet()
		f.wholly(a, "crm", []string{"call_1", "call_2"})
		for _, d := range []*deliverer{a, b} {
			if list := d.out.Webhooks(); len(list) != 1 || list[0].Origin != OriginConfig {
				t.Errorf("node %s: %+v", d.cfg.Node, list)
			}
		}
		if n := f.shelf.rows("h."); n != 1 {
			t.Errorf("%d webhooks", n)
		}
		if err := a.out.Reload(nil, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if list := b.out.Webhooks(); len(list) != 0 {
			t.Errorf("%+v", list)
		}
	})
}
