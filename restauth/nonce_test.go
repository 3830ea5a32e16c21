package restauth

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func (n *nonces) mustIssue(t *testing.T, now time.Time) nonceID {
	t.Helper()
	id, ok := n.verify(n.issue("1", now), "1", now)
	if !ok {
		t.Fatal("a fresh nonce is not good")
	}
	return id
}

func TestEachCountOnceInAnyOrder(t *testing.T) {
	now := time.Now()
	n := newNonces(now)
	id := n.mustIssue(t, now)
	for _, c := range []struct {
		nc uint32
		ok bool
	}{
		{3, true}, {1, true}, {2, true}, {1, false}, {2, false}, {3, false},
		{ncWindow, true}, {ncWindow, false}, {4, true}, {4, false},
		{ncWindow + 5, true}, {5, false}, {6, true}, {6, false}, {ncWindow + 3, true}, {ncWindow + 3, false},
		{1 << 31, true}, {7, false}, {1<<31 - 1, true}, {1<<31 - 1, false}, {1<<31 - ncWindow, false}, {1<<31 - ncWindow + 1, true}, {1<<31 - ncWindow + 6, true},
		{1<<32 - 1, true}, {1<<32 - 1, false}, {0, false},
	} {
		if got := n.use(id, c.nc, now); got != c.ok {
			t.Fatalf("nc %d: %v, want %v", c.nc, got, c.ok)
		}
	}
}

func TestEachCountOnceAgainstAModel(t *testing.T) {
	now := time.Now()
	n := newNonces(now)
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
		if got := n.use(id, nc, now); got != want {
			t.Fatalf("nc %d with highest %d: %v, want %v", nc, highest, got, want)
		}
		used[nc] = true
		highest = max(highest, nc)
	}
}

func TestNoncesAreBounded(t *testing.T) {
	start := time.Now()
	n := newNonces(start)
	n.max = 100
	var ids []nonceID
	for i := range 1000 {
		now := start.Add(time.Duration(i) * time.Millisecond)
		n.issue("1", now) // never used: takes no room
		id := n.mustIssue(t, now)
		ids = append(ids, id)
		if !n.use(id, 1, now) {
			t.Fatalf("nonce %d refused", i)
		}
	}
	if len(n.used) != 100 || len(n.order) != 100 {
		t.Fatalf("%d and %d nonces remembered, want 100", len(n.used), len(n.order))
	}
	now := start.Add(time.Second)
	for i, id := range ids {
		if n.use(id, 1, now) {
			t.Fatalf("nonce %d replayed after it was forgotten", i)
		}
	}
	if !n.use(ids[len(ids)-1], 2, now) {
		t.Error("the last nonce was forgotten")
	}
	if late := n.mustIssue(t, now.Add(nonceLife)); !n.use(late, 1, now.Add(nonceLife)) || len(n.used) != 1 {
		t.Errorf("%d nonces remembered after their time, want 1", len(n.used))
	}
	for _, id := range ids {
		if n.use(id, 1, now) { // as if the clock had been set back
			t.Fatal("a nonce came to life again")
		}
	}
}

func TestUnusedNonceSurvivesTheUseOfLaterOnes(t *testing.T) {
	start := time.Now()
	n := newNonces(start)
	early := n.mustIssue(t, start)
	for i := range 50 {
		now := start.Add(time.Duration(i+1) * time.Second)
		n.use(n.mustIssue(t, now), 1, now)
	}
	if !n.use(early, 1, start.Add(time.Minute)) {
		t.Error("refused")
	}
}

func TestGuessersAreBounded(t *testing.T) {
	now := time.Now()
	th := NewGuesses()
	th.max = 1000
	for i := range 10_000 {
		th.Settle(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), fmt.Sprint(i), false, now)
	}
	if n := len(th.now) + len(th.old); n > 2000 {
		t.Fatalf("%d counters", n)
	}
	// the clock is set back
	addr := netip.MustParseAddr("192.0.2.1")
	for range maxUserFailures {
		th.Settle(addr, "x", false, now)
	}
	if th.Wait(addr, "x", now) != guessWindow {
		t.Error("not slowed")
	}
	if wait := th.Wait(addr, "x", now.Add(-time.Hour)); wait > 0 {
		t.Errorf("locked out for %v", wait)
	}
}

func TestCountsSurviveTheTurnOfGenerations(t *testing.T) {
	now := time.Now()
	th := NewGuesses()
	addr, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	th.Settle(other, "x", false, now)
	now = now.Add(guessWindow - time.Second)
	for i := range maxUserFailures {
		if i == 5 { // the turn is between the fifth and the sixth
			now = now.Add(3 * time.Second)
		}
		th.Settle(addr, "x", false, now)
	}
	if th.Wait(addr, "x", now) == 0 {
		t.Error("failures were forgotten")
	}
}
