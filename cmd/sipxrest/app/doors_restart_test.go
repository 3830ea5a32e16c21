package app

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"sipxrest/event"
)

// A call that was in progress when the service ended without a word has an end once it
// starts again, and only one.
func TestWhatARestartTells(t *testing.T) {
	store := filepath.Join(t.TempDir(), "events.db")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	// run opens the log, does something with the bus, and leaves its calls as they are.
	run := func(f func(b *event.Bus)) {
		b, err := event.Open(event.Config{Store: store, Strict: true}, log)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		kept := make(chan error, 1)
		go func() { kept <- b.Run(ctx) }()
		f(b)
		stop()
		if err := <-kept; err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	told := func(b *event.Bus) string {
		list, err := b.CallEvents("the-call-in-progress", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, e := range list {
			text += string(e.Type)
			if e.Data.Leg != "" {
				text += " " + e.Data.Leg
			}
			text += tell(e) + "\n"
		}
		return text
	}
	run(func(b *event.Bus) {
		news := b.Subscribe(event.Filter{CallID: "the-call-in-progress"})
		defer news.Close()
		err := b.Begin(event.Request{ID: "the-call-in-progress", Fresh: true, Created: event.Created{Kind: event.ClickToCall,
			Source: event.FromAPI, Agent: "201@sipx.test", Flow: event.Flow{Requested: "auto", Used: "invite"}, Legs: []event.Leg{
				{Role: event.RoleCalling, Address: "201@sipx.test"}, {Role: event.RoleCalled, Address: "202@sipx.test"}}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []struct {
			is  event.Type
			leg string
		}{{event.LegDialled, "l1"}, {event.LegRang, "l1"}, {event.LegPickedUp, "l1"}, {event.CallConnecting, ""}, {event.LegDialled, "l2"}} {
			b.Tell("the-call-in-progress", e.is, e.leg, event.Change{})
		}
		for c, ok := b.Call("the-call-in-progress"); !ok || c.Version < 6; c, ok = b.Call("the-call-in-progress") {
			<-news.Wake()
		}
	})
	first := ""
	run(func(b *event.Bus) { first = told(b) })
	run(func(b *event.Bus) {
		if again := told(b); again != first {
			t.Errorf("it was\n%s\nand is now\n%s", first, again)
		}
	})
	doorsGolden(t, "restart", first)
}
