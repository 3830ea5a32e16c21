package event

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A thousand readers that are cut at random places, by the memory, the database, what
// retention has removed and a restart, have the same events as one that never was.
func TestReadersThatAreCutMissNothing(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	cfg := Config{Store: filepath.Join(t.TempDir(), "events.db"), Recent: time.Minute, RecentBytes: 100_000, Retention: time.Hour,
		Now: func() time.Time { return now }}
	r := rand.New(rand.NewPCG(7, 8))
	readers, rounds := 1000, 3
	readers /= share(20)
	type reader struct {
		at  Cursor
		got []string
	}
	var whole []string
	list := make([]reader, readers)
	run := func(first bool) {
		b := startOnce(t, cfg)
		defer b.stop()
		if first {
			for i := range list {
				list[i].at = b.Head()
			}
		}
		for round := range rounds {
			wander(t, b.Bus, r, fmt.Sprint(now.Unix(), "-", round), 8, nil)
			b.flush(t)
			for i := range list {
				one := &list[i]
				if i > 0 && r.IntN(4) > 0 { // it is away
					continue
				}
				for { // the first is never cut
					page, next, err := b.Events(Filter{}, one.at, 1+r.IntN(300))
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range page {
						one.got = append(one.got, lineOf(e))
					}
					done := one.at == next
					one.at = next
					if done || i > 0 && r.IntN(3) == 0 {
						break
					}
				}
			}
			b.trim()
		}
		whole = list[0].got
	}
	run(true)
	now = now.Add(time.Minute)
	run(false)
	b := startOnce(t, cfg)
	defer b.stop()
	for i := range list {
		one := &list[i]
		for _, e := range all(t, b.Bus, Filter{}, one.at) {
			one.got = append(one.got, lineOf(e))
		}
		if i > 0 && !slices.Equal(one.got, list[0].got) {
			t.Fatalf("reader %d has %d events, the first %d", i, len(one.got), len(list[0].got))
		}
	}
	if len(whole) < rounds*8*3 {
		t.Fatalf("only %d events", len(whole))
	}
	// What retention removes is said, not left out.
	start := b.Oldest()
	open := request("long")
	open.Created.Source = FromCallController
	if err := b.Begin(open); err != nil {
		t.Fatal(err)
	}
	b.Tell("long", LegDialled, "l1", Change{})
	b.flush(t)
	now = now.Add(2 * time.Hour)
	b.Tell("long", LegRang, "l1", Change{})
	b.flush(t)
	b.trim()
	var gone *CursorExpiredError
	if _, _, err := b.Events(Filter{}, start, 10); !errors.As(err, &gone) || gone.Oldest != b.Oldest() || gone.At.IsZero() {
		t.Fatal(err)
	}
	rest := all(t, b.Bus, Filter{}, gone.Oldest)
	if got := types(rest); !slices.Equal(got, []Type{LegRang}) || rest[0].Data.Call.Legs[0].DialingAt.IsZero() {
		t.Errorf("%v: %+v", got, rest[0].Data.Call)
	}
	b.Tell("long", CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l1"}})
	b.flush(t)
	b.stop()
	again := startOnce(t, cfg)
	defer again.stop()
	if rest := all(t, again.Bus, Filter{CallID: "long"}, gone.Oldest); len(rest) != 4 || rest[3].Data.Call.Legs[0].RingingAt.IsZero() {
		t.Error(types(rest))
	}
}

// lineOf tells an event, and the call after it, from others.
func lineOf(e *Event) string {
	if c := e.Data.Call; c != nil {
		return fmt.Sprint(e.ID, e.Type, e.Data.Leg, e.CallSeq, c.Version, c.State, c.Tags, len(c.Transfers), c.Legs[0].State, c.Legs[1].State)
	}
	return fmt.Sprint(e.ID, e.Type)
}

// onceBus is a bus that the test stops.
type onceBus struct {
	*Bus
	cancel context.CancelFunc
}

func startOnce(t *testing.T, cfg Config) *onceBus {
	t.Helper()
	cfg.Strict = true
	b, err := Open(cfg, nil)
	if err != nil || b.why != nil {
		t.Fatal(err, b.why)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go b.Run(ctx) //nolint:errcheck // see stop
	return &onceBus{b, cancel}
}

func (b *onceBus) stop() {
	b.cancel()
	<-b.done
	b.Close()
}

// flush waits until all that was told is kept.
func (b *onceBus) flush(t *testing.T) {
	t.Helper()
	waitKept(b.Bus)
}

// A list and a subscription that begins at its cursor have each call, and none twice.
func TestAListAndWhatFollowsIt(t *testing.T) {
	bothStores(t, func(t *testing.T, cfg Config) {
		b := startBus(t, cfg)
		r := rand.New(rand.NewPCG(9, 10))
		steps, checks := 0, 0
		wander(t, b, r, "call", 60, func() {
			if steps++; steps%50 != 0 {
				return
			}
			settle(b)
			at := b.Head()
			calls := map[string]int64{}
			cursor := ""
			for {
				page, next, err := b.Calls(CallFilter{States: []string{"active"}}, Page{Cursor: cursor, Limit: 7})
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range page {
					if calls[c.ID] != 0 {
						t.Fatalf("%s is there twice", c.ID)
					}
					calls[c.ID] = c.Version
				}
				if cursor = next; next == "" {
					break
				}
			}
			if list := all(t, b, Filter{}, at); len(list) != 0 {
				t.Fatal(types(list))
			}
			for id := range calls {
				if c, _ := b.Call(id); c.Version != calls[id] || c.State == Ended {
					t.Fatal(id)
				}
			}
			if n := b.Stats().Calls; n != len(calls) {
				t.Fatalf("%d calls are listed of %d", len(calls), n)
			}
			checks++
		})
		if checks == 0 {
			t.Error("nothing was looked at")
		}
	})
}

// What is no cursor is refused, and what is one is read as it was written.
func FuzzCursor(f *testing.F) {
	for _, text := range []string{"", "evt_k7q2mz_3_1842", "evt_k7q2mz_03_1", "evt_k7q2mz_3_-1", "evt__1_1",
		"evt_k7q2mz_3_99999999999999999999", "now"} {
		f.Add(text)
	}
	b, err := Open(Config{Strict: true}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCursor(text)
		if err != nil {
			return
		}
		if c.String() != text {
			t.Errorf("%q becomes %q", text, c)
		}
		if _, _, err := b.Events(Filter{}, c, 1); err != nil && !errors.Is(err, ErrOtherStore) && !errors.Is(err, ErrCursorExpired) {
			t.Errorf("%q: %v", text, err)
		}
		if _, _, err := b.Calls(CallFilter{}, Page{Cursor: text}); err != nil && !errors.Is(err, ErrBadCursor) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
