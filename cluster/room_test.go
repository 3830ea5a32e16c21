package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Results of calls that clients have kept for a day do not fill the store: beyond a bound
// they go after a minute, and long ones at once. Live calls are kept all the same.
func TestResultsDoNotFillTheStore(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a := r.get("a")
		const bound = 1 << 20
		a.Room(bound)
		stored := func() (bytes, records int) {
			for subject, data := range r.store.Entries("sipxrest_KEYS") {
				bytes += len(data)
				if strings.HasPrefix(subject, "sipxrest.rec.") && len(data) > 0 {
					records++
				}
			}
			return bytes, records
		}
		over := func(id string, record int) {
			t.Helper()
			a.place("key of "+id, id)
			a.Drop(id, make([]byte, record), 2*time.Hour)
			a.flushed()
		}
		for i := range 100 {
			over(fmt.Sprint("call_large", i), 32<<10)
		}
		if bytes, records := stored(); bytes > bound || records < 25 || records > 32 {
			t.Errorf("%d bytes and %d records are stored", bytes, records)
		}
		for i := range 100 {
			over(fmt.Sprint("call_small", i), 200)
		}
		if p := a.find("key of call_small99"); p.Live || len(p.Record) != 200 {
			t.Errorf("a small record is not kept for a minute: %+v", p)
		}
		for i := range 50 {
			if old, err := a.Once(t.Context(), "key", fmt.Sprint(i), []byte("x"), 2*time.Hour); old != nil || err != nil {
				t.Fatal(old, err)
			}
		}
		time.Sleep(11 * time.Minute)
		if _, records := stored(); records > 32 {
			t.Errorf("%d records are stored after eleven minutes", records)
		}
		if n := len(r.store.Entries("sipxrest_ONCE")); n > 10 {
			t.Errorf("%d keys of clients are stored after eleven minutes", n)
		}
		time.Sleep(2 * time.Hour)
		over("call_next", 32<<10)
		if p := a.find("key of call_next"); len(p.Record) != 32<<10 {
			t.Error("two hours later there is no room")
		}
	})
}
