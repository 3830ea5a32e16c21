package event

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/webhook"
)

// dyingStore is a store whose process dies: nothing is kept any more.
type dyingStore struct {
	outboxStore
	dead atomic.Bool
}

func (s *dyingStore) commit(b []*hookBatch) error {
	if s.dead.Load() {
		return errKilled
	}
	return s.outboxStore.commit(b)
}

func (s *dyingStore) saveHook(r *hookRecord) error {
	if s.dead.Load() {
		return errKilled
	}
	return s.outboxStore.saveHook(r)
}

func (s *dyingStore) dropHook(id string) error {
	if s.dead.Load() {
		return errKilled
	}
	return s.outboxStore.dropHook(id)
}

// The process dies at any moment, 500 times, while the receiver fails now and then:
// each event arrives at least once, or is a dead letter; the first time each in the
// order of its call, but for those that overtook what failed for ten minutes.
func TestNothingIsLostThoughTheProcessDies500Times(t *testing.T) {
	file := testFile(t)
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		to := &receiver{}
		random := rand.New(rand.NewPCG(1, 2))
		fails := atomic.Int64{} // in a hundred
		to.set(func(ctx context.Context, p posted) (webhook.Posted, error) {
			wait := time.NewTimer(time.Duration(rand.IntN(1500)) * time.Millisecond)
			defer wait.Stop()
			select {
			case <-wait.C:
			case <-ctx.Done():
				return webhook.Posted{}, context.Cause(ctx)
			}
			if at, err := ParseCursor(p.id); err != nil || at.Seq%97 == 0 || rand.Int64N(100) < fails.Load() {
				return webhook.Posted{Code: 500}, nil
			}
			return okay, nil
		})
		spec := WebhookSpec{Name: "crm", URL: "https://hooks.example/"}
		spec.Complete()
		all := map[string]bool{}
		calls := 0
		made := false
		for round := range 500 / share(5) {
			db := testDB(t, file)
			store := &dyingStore{outboxStore: &sqlOutbox{write: db, read: db, seal: newSealer(nil)}}
			o := newOutbox(OutboxConfig{post: to.post, Wait: time.Millisecond}, log, slog.New(slog.DiscardHandler))
			o.store = store
			if err := o.load(nil); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { o.Run(ctx); close(done) }()
			if !made {
				if _, _, err := o.Create(spec, "", "", Cursor{}); err != nil {
					t.Fatal(err)
				}
				made = true
			}
			fails.Store([]int64{0, 10, 60, 100}[random.IntN(4)])
			for range random.IntN(12) {
				types := []Type{CallCreated, LegRang, LegPickedUp, LegOver, CallEnded}
				if len(all)%len(types) == 0 {
					calls++
				}
				all[log.put(types[len(all)%len(types)], fmt.Sprint("call", calls))] = true
				time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
			}
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			store.dead.Store(true)
			cancel()
			<-done
			db.Close()
			if round%100 == 99 {
				time.Sleep(time.Minute)
			}
		}
		fails.Store(0)
		r := newOutboxRigFor(t, log, file, OutboxConfig{}, to)
		settleFor(40 * time.Hour)
		taken := to.taken("")
		list, _, err := r.Deliveries(r.Webhooks()[0].ID, DeliveryQuery{Limit: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		dead := map[string]bool{}
		for _, d := range list {
			if d.State != "dead" {
				t.Errorf("%+v still waits", d)
			}
			dead[d.EventID] = true
		}
		if len(dead) < len(all)/97 {
			t.Errorf("%d dead letters of %d events", len(dead), len(all))
		}
		got := map[string]bool{}
		for _, id := range taken {
			got[id] = true
			if !all[id] {
				t.Errorf("%s is no event", id)
			}
		}
		for id := range all {
			if !got[id] && !dead[id] {
				t.Errorf("%s is lost", id)
			}
		}
		if s := r.Webhooks()[0]; s.Status.Dead != len(dead) || s.Status.Waiting != 0 {
			t.Errorf("%+v, but %d dead letters", s.Status, len(dead))
		}
		t.Logf("%d events, %d requests, %d taken more than once, %d dead letters", len(all), len(to.all()), len(taken)-len(got), len(dead))
		inOrderUnlessLate(t, log, to.all())
	})
}

// inOrderUnlessLate checks that an event was sent before one of its call that comes
// earlier was taken only where it had waited ten minutes for that.
func inOrderUnlessLate(t *testing.T, log *testLog, got []posted) {
	t.Helper()
	made := map[string]*Event{}
	ofCall := map[string][]string{}
	for _, e := range log.events {
		if e.Data.CallID != nil {
			made[e.ID] = e
			ofCall[*e.Data.CallID] = append(ofCall[*e.Data.CallID], e.ID)
		}
	}
	first := map[string]time.Time{}
	for _, p := range got {
		if _, is := first[p.id]; !is {
			first[p.id] = p.at
		}
	}
	for _, ids := range ofCall {
		for i := 1; i < len(ids); i++ {
			for _, before := range ids[:i] {
				if first[ids[i]].Before(first[before]) && first[ids[i]].Sub(made[ids[i]].Timestamp.Time) < overtake {
					t.Errorf("%s was sent before %s, after %v", ids[i], before, first[ids[i]].Sub(made[ids[i]].Timestamp.Time))
				}
			}
		}
	}
	if !slices.IsSortedFunc(got, func(a, b posted) int { return a.at.Compare(b.at) }) {
		t.Error("the receiver's own list has no order")
	}
}
