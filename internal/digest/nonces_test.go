package digest

import (
	"testing"
	"time"
)

func (n *Nonces) mustIssue(t *testing.T, now time.Time) NonceID {
	t.Helper()
	id, ok := n.Verify(n.Issue("1", now), "1", now)
	if !ok {
		t.Fatal("a fresh nonce is not good")
	}
	return id
}

func TestEachCountOnceInAnyOrder(t *testing.T) {
	now := time.Now()
	n := NewNonces(now)
	id := n.mustIssue(t, now)
	for _, c := range []struct {
		nc uint32
		ok bool
	}{
		{3, true}, {1, true}, {2, true}, {1, false}, {2, false}, {3, false},
		{ncWindow, true}, {ncWindow, false}, {4, true}, {4, false},
		{ncWindow + 5, true}, {5, false}, {6, true}, {6, false}, {ncWindow + 3, true}, {ncWindow + 3, false},
		{1 << 31, true}, {7, false}, {1<<31 - 1, true}, {1<<31 - 1, false}, {1<<31 - ncWindow, false}, {1<<31 - ncWindow + 1, true},
		{1<<31 - ncWindow + 6, true},
		{1<<32 - 1, true}, {1<<32 - 1, false}, {0, false},
	} {
		if got := n.Use(id, c.nc, now); got != c.ok {
			t.Fatalf("nc %d: %v, want %v", c.nc, got, c.ok)
		}
	}
}

func TestEachCountOnceAgainstAModel(t *testing.T) {
	now := time.Now()
	n := NewNonces(now)
	id := n.mustIssue(t, now)
	used := map[uint32]bool{}
	highest, state := uint32(0), uint32(1)
	for range 20_000 {
		state = state*1664525 + 1013904223
		base := max(highest, 300)
		nc := base - 300 + state>>16%400
		if nc == 0 {
			continue
		}
		want := !used[nc] && nc+ncWindow > highest
		if got := n.Use(id, nc, now); got != want {
			t.Fatalf("nc %d with highest %d: %v, want %v", nc, highest, got, want)
		}
		used[nc] = true
		highest = max(highest, nc)
	}
}

func TestNoncesAreBounded(t *testing.T) {
	start := time.Now()
	n := NewNonces(start)
	n.max = 100
	var ids []NonceID
	for i := range 1000 {
		now := start.Add(time.Duration(i) * time.Millisecond)
		n.Issue("1", now) // never used: takes no room
		id := n.mustIssue(t, now)
		ids = append(ids, id)
		if !n.Use(id, 1, now) {
			t.Fatalf("nonce %d refused", i)
		}
	}
	if len(n.used) != 100 || len(n.order) != 100 {
		t.Fatalf("%d and %d nonces remembered, want 100", len(n.used), len(n.order))
	}
	now := start.Add(time.Second)
	for i, id := range ids {
		if n.Use(id, 1, now) {
			t.Fatalf("nonce %d replayed after it was forgotten", i)
		}
	}
	if !n.Use(ids[len(ids)-1], 2, now) {
		t.Error("the last nonce was forgotten")
	}
	if late := n.mustIssue(t, now.Add(NonceLife)); !n.Use(late, 1, now.Add(NonceLife)) || len(n.used) != 1 {
		t.Errorf("%d nonces remembered after their time, want 1", len(n.used))
	}
	for _, id := range ids {
		if n.Use(id, 1, now) { // as if the clock had been set back
			t.Fatal("a nonce came to life again")
		}
	}
}

func TestUnusedNonceSurvivesTheUseOfLaterOnes(t *testing.T) {
	start := time.Now()
	n := NewNonces(start)
	early := n.mustIssue(t, start)
	for i := range 50 {
		now := start.Add(time.Duration(i+1) * time.Second)
		n.Use(n.mustIssue(t, now), 1, now)
	}
	if !n.Use(early, 1, start.Add(time.Minute)) {
		t.Error("refused")
	}
}
