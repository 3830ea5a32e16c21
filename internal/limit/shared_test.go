package limit

import (
	"maps"
	"net/netip"
	"testing"
	"time"
)

func TestCountsOfOtherNodesAreAdded(t *testing.T) {
	told := 0
	s := NewShared(func() { told++ })
	s.Note("201", 3)
	s.Heard("b", false, map[string]int{"201": 2, "202": 1})
	s.Heard("c", true, map[string]int{"201": 4})
	if s.Others("201") != 6 || s.Others("202") != 1 || s.Others("203") != 0 || told != 1 {
		t.Errorf("others have %d and %d, told %d times", s.Others("201"), s.Others("202"), told)
	}
	s.Heard("b", false, map[string]int{"201": 0})
	if s.Others("201") != 4 || s.Others("202") != 1 {
		t.Errorf("a name that is not told is not as before: %d, %d", s.Others("201"), s.Others("202"))
	}
	s.Heard("b", true, map[string]int{"203": 1})
	if s.Others("202") != 0 || s.Others("203") != 1 {
		t.Error("a node that tells all keeps what it had before")
	}
	s.Heard("c", false, map[string]int{"201": -7})
	if s.Others("201") != 0 {
		t.Errorf("a count is below zero: %d", s.Others("201"))
	}
	s.Forget("b")
	if s.Others("203") != 0 || len(s.Nodes()) != 1 {
		t.Errorf("a dead node's counts stay: %d of %v", s.Others("203"), s.Nodes())
	}
	var alone *Shared
	alone.Note("201", 1)
	if alone.Others("201") != 0 {
		t.Error("a node that is alone has others")
	}
}

func TestOnlyChangesAreTold(t *testing.T) {
	s := NewShared(func() {})
	s.Note("201", 1)
	s.Note("201", 2)
	s.Note("202", 1)
	if got := s.Changes(false); !maps.Equal(got, map[string]int{"201": 2, "202": 1}) {
		t.Errorf("told %v", got)
	}
	s.Note("202", 0)
	if got := s.Changes(false); !maps.Equal(got, map[string]int{"202": 0}) {
		t.Errorf("told %v", got)
	}
	if got := s.Changes(true); !maps.Equal(got, map[string]int{"201": 2}) {
		t.Errorf("told %v of all", got)
	}
	if got := s.Changes(false); len(got) != 0 {
		t.Errorf("told %v twice", got)
	}
}

func TestWhatANodeTellsIsBounded(t *testing.T) {
	s := NewShared(func() {})
	many := map[string]int{}
	for i := range maxShared + 10 {
		many[netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()] = 1
	}
	s.Heard("b", true, many)
	if len(s.others) > maxShared {
		t.Errorf("%d names of one node are remembered", len(s.others))
	}
}

func TestFailuresAtOtherNodesCount(t *testing.T) {
	now := time.Unix(1, 0)
	clock := func() time.Time { return now }
	a, b := NewFailures(time.Minute), NewFailures(time.Minute)
	var hearA, hearB func([]byte)
	hearA = a.Share(clock, func(data []byte) { hearB(data) })
	hearB = b.Share(clock, func(data []byte) { hearA(data) })
	who := []Suspect{{Addr: netip.MustParseAddr("192.0.2.7"), Most: 100}, {Addr: netip.MustParseAddr("192.0.2.7"), Name: "as\x00201\xff", Most: 3}}
	a.Settle(now, false, who...)
	b.Settle(now, false, who...)
	if a.Wait(now, who...) != 0 {
		t.Error("two failures are three")
	}
	a.Settle(now, false, who...)
	if a.Wait(now, who...) == 0 || b.Wait(now, who...) == 0 {
		t.Error("three failures at two nodes are not three at each")
	}
	if b.Settle(now, false, who...) == 0 || b.Wait(now.Add(time.Minute), who...) != 0 {
		t.Error("the window is not that of one node")
	}
	pin := Suspect{Name: "room 12", Most: 1}
	if !a.Take(now, pin) || b.Take(now, pin) {
		t.Error("an attempt at the other node does not count while it is looked at")
	}
	b.Forgive(now, pin)
	a.Forgive(now, pin)
	if a.Wait(now, pin)+b.Wait(now, pin) != 0 {
		t.Error("what was right counts at one of the nodes")
	}
}

func TestWhatIsNoFailureIsLeftOut(t *testing.T) {
	now := time.Unix(1, 0)
	f := NewFailures(time.Minute)
	hear := f.Share(func() time.Time { return now }, func([]byte) {})
	for _, data := range []string{"", "{", "null", `{"who":7}`, `{"who":[{},{},{},{},{},{},{},{},{}]}`, `{"who":[{"addr":"1.2.3"}]}`} {
		hear([]byte(data))
	}
	hear(make([]byte, maxTold+1))
	if n := f.Suspects(now); n != 0 {
		t.Errorf("%d suspects", n)
	}
}

func TestTurnsAtOtherNodesAreTakenOff(t *testing.T) {
	now := time.Unix(1, 0)
	a, b := NewNames(10, 10), NewNames(10, 10)
	a.Share()
	for range 6 {
		if a.Wait("201", now) != 0 {
			t.Fatal("a turn of ten is refused")
		}
	}
	for name, n := range a.Spent() {
		b.Spend(name, n, now)
	}
	if left := b.Left("201", now); left != 4 {
		t.Errorf("%d turns are left at the other node", left)
	}
	if len(a.Spent()) != 0 || len(b.Spent()) != 0 {
		t.Error("turns are told twice, or where nobody is told")
	}
	b.Spend("201", 1000, now) // no debt: what is over the limit was admitted already
	if wait := b.Wait("201", now); wait == 0 || wait > 100*time.Millisecond {
		t.Errorf("waits %v for one turn", wait)
	}
}
