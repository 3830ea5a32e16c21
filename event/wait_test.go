package event

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Who waits for a call is woken when it can be read: he would wait for ever otherwise.
func TestWhoWaitsForACallIsNotWokenTooSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := Open(Config{Store: "memory", Strict: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = b.Run(ctx) })
		defer func() { stop(); running.Wait(); b.Close() }()
		const id = "call-that-is-waited-for"
		if err := b.Begin(Request{ID: id, Created: Created{Kind: ClickToCall, Source: FromAPI, Agent: "201@sipx.test"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 500 {
			before, _ := b.Call(id)
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					wait, stop := context.WithTimeout(ctx, time.Minute)
					defer stop()
					c, err := b.WaitCall(wait, id, before.Version)
					if err != nil || c.Version == before.Version {
						t.Errorf("round %d: version %d again, %v", i, before.Version, err)
					}
				})
			}
			b.Tell(id, CallUpdated, "", Change{Tags: map[string]string{"n": fmt.Sprint(i)}})
			all.Wait()
		}
	})
}
