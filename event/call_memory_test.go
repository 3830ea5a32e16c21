package event

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
)

// countingLog counts how often events of a call are read.
type countingLog struct {
	Log
	reads int
}

func (c *countingLog) ReadCall(id string, after int64, limit int) ([]*Event, error) {
	c.reads++
	return c.Log.ReadCall(id, after, limit)
}

// Who follows a call costs the same at its first event and at its thousandth.
func TestWhoFollowsACallDoesNotReadItAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := Open(Config{Strict: true, Store: filepath.Join(t.TempDir(), "events.db")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		log := &countingLog{Log: b.store}
		b.store = log
		ctx, cancel := context.WithCancel(context.Background())
		go b.Run(ctx) //nolint:errcheck // what is left unkept is the test's matter
		defer func() { cancel(); <-b.done; b.Close() }()
		talk := func(n int) {
			b.Tell("call-1", CallUpdated, "", Change{Tags: map[string]string{"n": fmt.Sprint(n)}})
			settle(b)
		}
		if err := b.Begin(request("call-1")); err != nil {
			t.Fatal(err)
		}
		settle(b)
		talk(0)
		s := b.Subscribe(Filter{CallID: "call-1"})
		defer s.Close()
		var got []int64
		at := int64(0)
		read := func() {
			list, err := b.CallEvents("call-1", at, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				at = e.CallSeq
				got = append(got, at)
			}
		}
		read() // what was before: from the store
		before := log.reads
		for n := 1; n < 50; n++ {
			talk(n)
			read()
			read()
		}
		if log.reads != before {
			t.Errorf("the store was read %d times", log.reads-before)
		}
		want := make([]int64, 51)
		for i := range want {
			want[i] = int64(i + 1)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v", got)
		}
		if list, err := b.CallEvents("call-1", 0, 3); err != nil || len(list) != 3 || list[0].CallSeq != 1 {
			t.Errorf("from the first one: %d %v", len(list), err)
		}
	})
}
