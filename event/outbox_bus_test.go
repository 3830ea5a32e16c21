package event

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"sipxrest/internal/webhook"
)

// A real bus with its database, in real time: what a receiver has not taken when the
// service ends comes after the next start, with the same ids and the same bytes.
func TestWebhooksOfADatabaseOutliveTheService(t *testing.T) {
	file := testFile(t)
	to := &receiver{}
	serve := func(f func(b *Bus, o *Outbox)) {
		t.Helper()
		b, err := Open(Config{Store: file, Strict: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := b.store.(*sqliteLog); !ok {
			t.Fatal(b.why)
		}
		o, err := NewOutbox(OutboxConfig{post: to.post, Wait: 100 * time.Millisecond}, b, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		busCtx, endBus := context.WithCancel(context.Background())
		ctx, end := context.WithCancel(context.Background())
		var running, bus sync.WaitGroup
		bus.Go(func() { _ = b.Run(busCtx) })
		running.Go(func() { o.Run(ctx) })
		f(b, o)
		end()
		running.Wait()
		endBus()
		bus.Wait()
		b.Close()
	}
	until := func(what string, f func() bool) {
		t.Helper()
		for range 2000 {
			if f() {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("never: %s", what)
	}
	begin := func(b *Bus, id string) {
		t.Helper()
		if err := b.Begin(Request{ID: id, Created: Created{Kind: ClickToCall, Source: FromCallController, Agent: "201@example.com",
			State: Calling,
			Legs:  []Leg{{ID: "l1", Role: RoleCalling, Address: "201@example.com", State: LegPending}}}}); err != nil {
			t.Fatal(err)
		}
	}
	to.set(away)
	var id string
	serve(func(b *Bus, o *Outbox) {
		spec := WebhookSpec{Name: "crm", URL: "https://hooks.example/", Events: []string{"call.*"}}
		spec.Complete()
		w, _, err := o.Create(spec, "", "", Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		id = w.ID
		for i := range 5 {
			begin(b, fmt.Sprintf("call-%012d", i))
		}
		until("five attempts", func() bool { return len(to.all()) >= 5 })
		until("five rows", func() bool { w, _ := o.Webhook(id); return w.Status.Waiting == 5 })
	})
	first := map[string]string{}
	for _, p := range to.all() {
		first[p.id] = string(p.body)
	}
	to.forget()
	to.set(nil)
	serve(func(b *Bus, o *Outbox) {
		// The five calls were open: the next run has ended them. Their ends wait for
		// their beginnings, which are tried again after 5 s at the earliest.
		until("ten taken", func() bool { return len(to.taken("")) >= 10 })
		until("nothing waits", func() bool { w, _ := o.Webhook(id); return w.Status.Waiting == 0 })
	})
	for _, p := range to.all() {
		if body, again := first[p.id]; again && body != string(p.body) {
			t.Errorf("%s was\n%s\nand is\n%s", p.id, body, p.body)
		}
		delete(first, p.id)
	}
	if len(first) != 0 {
		t.Errorf("%v did not come", first)
	}
	got := to.taken("")
	if slices.Sort(got); len(slices.Compact(got)) != 10 {
		t.Errorf("%d events were taken", len(got))
	}
	inOrder(t, to.all())
	for _, p := range to.all() {
		if p.header.Get(webhook.HeaderSignature) == "" {
			t.Error("it is not signed")
		}
	}
}
