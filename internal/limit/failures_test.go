package limit

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func suspect(a string, name string, most int) Suspect {
	return Suspect{Addr: addr(a), Name: name, Most: most}
}

func TestTooManyFailuresHaveToWait(t *testing.T) {
	f, now := NewFailures(time.Minute), time.Now()
	one, all := suspect("192.0.2.1", "x", 3), suspect("192.0.2.1", "", 5)
	for i := range 3 {
		if wait := f.Settle(now, false, one, all); wait != 0 {
			t.Fatalf("failure %d waits %v", i, wait)
		}
	}
	if wait := f.Settle(now.Add(time.Second), true, one, all); wait != 59*time.Second {
		t.Errorf("the right one waits %v", wait)
	}
	other := suspect("::ffff:192.0.2.1", "y", 3)
	for range 2 {
		f.Settle(now, false, other, all)
	}
	if f.Wait(now, other) != 0 || f.Wait(now, other, all) != time.Minute {
		t.Error("the address has one count for all names")
	}
	if f.Wait(now, suspect("192.0.2.2", "x", 3)) != 0 || f.Wait(now, Suspect{Name: "x", Most: 1}) != 0 {
		t.Error("others have to wait")
	}
	if f.Wait(now.Add(time.Minute), one, all) != 0 || f.Suspects(now.Add(time.Minute)) != 0 {
		t.Error("it does not end")
	}
	if f.Wait(now.Add(-time.Hour), one, all) != 0 {
		t.Error("a clock that was set back locks out")
	}
}

func TestNeighboursInANetworkAreOneSuspect(t *testing.T) {
	f, now := NewFailures(time.Minute), time.Now()
	f.Settle(now, false, suspect("2001:db8::1", "", 1))
	if f.Wait(now, suspect("2001:db8::2", "", 1)) == 0 || f.Wait(now, suspect("2001:db8:0:1::1", "", 1)) != 0 {
		t.Error("IPv6 counts by /64")
	}
}

func TestAnAttemptIsTakenAndForgiven(t *testing.T) {
	f, now := NewFailures(time.Minute), time.Now()
	who := Suspect{Name: "201", Most: 2}
	for range 100 {
		if !f.Take(now, who) {
			t.Fatal("right ones count")
		}
		f.Forgive(now, who)
	}
	f.Forgive(now, who) // none is left: nothing is owed
	for i := range 3 {
		if may := f.Take(now, who); may != (i < 2) {
			t.Errorf("attempt %d may be tried: %v", i, may)
		}
	}
}

// A crowd of names, each wrong once, does not displace one with too many
// failures.
func TestACrowdDoesNotFreeASuspect(t *testing.T) {
	f, now := NewFailures(time.Minute), time.Now()
	blocked, busy := suspect("192.0.2.1", "x", 10), suspect("192.0.2.2", "x", 1000)
	for range 10 {
		f.Settle(now, false, blocked)
	}
	for i := range 300_000 {
		f.Settle(now, false, Suspect{Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Name: fmt.Sprint(i), Most: 10})
		if i%300 == 0 {
			f.Settle(now, false, busy)
		}
	}
	if f.Wait(now, blocked) == 0 {
		t.Error("ten failures were forgotten")
	}
	if busy.Most = 990; f.Wait(now, busy) == 0 {
		t.Error("some of a thousand failures were forgotten")
	}
	if n := f.Suspects(now); n > failureSets*failureWays {
		t.Errorf("%d suspects", n)
	}
}

func TestCountingFailuresAllocatesNothing(t *testing.T) {
	f, now := NewFailures(time.Minute), time.Now()
	who := suspect("2001:db8::1", "201", 10)
	f.Take(now, who)
	if n := testing.AllocsPerRun(100, func() { f.Wait(now, who); f.Settle(now, false, who) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
