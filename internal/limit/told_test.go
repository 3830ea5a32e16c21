package limit

import (
	"net/netip"
	"testing"
	"time"
)

func TestFailuresAtOtherNodesCount(t *testing.T) {
	now := time.Unix(1, 0)
	clock := func() time.Time { return now }
	a, b := NewFailures(time.Minute), NewFailures(time.Minute)
	var hearA, hearB func([]byte)
	hearA = a.Share(clock, func(data []byte) { hearB(data) })
	hearB = b.Share(clock, func(data []byte) { hearA(data) })
	who := []Suspect{{Addr: netip.MustParseAddr("192.0.2.7"), Most: 100}, {Addr: netip.MustParseAddr("192.0.2.7"), Name: "as\x00201\xff",
		Most: 3}}
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
	a.Spent()
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
