package limit

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestABucketFillsAtItsRate(t *testing.T) {
	b := NewBucket(10, 5)
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{0, 5}, {0, 0}, {99 * time.Millisecond, 0}, {100 * time.Millisecond, 1}, {10 * time.Second, 5}, {11 * time.Second, 5}} {
		got := 0
		for range 100 {
			if b.Allow(c.at) {
				got++
			}
		}
		if got != c.want {
			t.Errorf("at %v %d pass, want %d", c.at, got, c.want)
		}
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestEachAddressHasItsOwnRate(t *testing.T) {
	s := NewSources(10, 20)
	passed := func(a string, at time.Duration) (ok, spare int) {
		for range 100 {
			v := s.Ask(addr(a), at)
			if v.OK {
				ok++
			}
			if v.Spare {
				spare++
			}
		}
		return
	}
	if ok, spare := passed("192.0.2.1", 0); ok != 20 || spare != 10 {
		t.Errorf("%d pass, %d of them with room to spare", ok, spare)
	}
	if v := s.Ask(addr("::ffff:192.0.2.1"), 0); v.OK || v.Over != 81 {
		t.Errorf("the same address, mapped: %+v", v)
	}
	if ok, _ := passed("192.0.2.2", 0); ok != 20 {
		t.Errorf("%d of another address pass", ok)
	}
	if ok, _ := passed("192.0.2.1", time.Second); ok != 10 {
		t.Errorf("%d pass after a second", ok)
	}
	if ok, _ := passed("2001:db8::1", 0); ok != 20 {
		t.Errorf("%d of an IPv6 address pass", ok)
	}
	if ok, _ := passed("2001:db8::ffff:1", 0); ok != 0 {
		t.Errorf("%d of its neighbour in the same /64 pass", ok)
	}
	if ok, _ := passed("2001:db8:0:1::1", 0); ok != 20 {
		t.Errorf("%d of the next /64 pass", ok)
	}
}

// Who floods from addresses that he makes up cannot have his own forgotten.
func TestMadeUpAddressesDoNotFreeAFlood(t *testing.T) {
	s := NewSources(10, 20)
	now, ok := time.Duration(0), 0
	for i := range 200_000 {
		now += 10 * time.Microsecond
		s.Ask(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
		if s.Ask(addr("192.0.2.1"), now).OK {
			ok++
		}
	}
	if ok < 30 || ok > 45 { // 20 at once, and 10 a second
		t.Errorf("%d of the flood pass within 2 s", ok)
	}
}

func TestAskingAllocatesNothing(t *testing.T) {
	s, a := NewSources(10, 20), addr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() { s.Ask(a, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEachNameHasItsOwnRate(t *testing.T) {
	n, now := NewNames(2, 3), time.Unix(1000, 0)
	for i := range 3 {
		if d := n.Wait("a", now); d != 0 {
			t.Errorf("turn %d: wait %v", i, d)
		}
	}
	for range 3 { // a refusal costs nothing
		if d := n.Wait("a", now); d != 500*time.Millisecond {
			t.Errorf("wait %v, want half a second", d)
		}
	}
	if d := n.Wait("b", now); d != 0 {
		t.Errorf("another waits %v", d)
	}
	if d := n.Wait("a", now.Add(500*time.Millisecond)); d != 0 {
		t.Errorf("after its wait it waits %v", d)
	}
}

func TestNamesAreBoundedAndThoseThatActAreKept(t *testing.T) {
	n, now := NewNames(1, 1), time.Unix(1000, 0)
	n.Wait("busy", now)
	for i := range 5 * maxNames {
		n.Wait(fmt.Sprint(i), now)
		if i%1000 == 0 && n.Wait("busy", now) == 0 {
			t.Fatalf("a name that is refused was forgotten after %d others", i)
		}
	}
	if all := len(n.now) + len(n.old); all > 2*maxNames {
		t.Errorf("%d names are kept", all)
	}
}

func TestRefusalsAreToldALineForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var lines []string
		start := time.Now()
		l := Log[string]{Say: func(n uint64, some []string) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, fmt.Sprintf("%v: %d %v", time.Since(start), n, some))
		}}
		for i := range 250 { // for 25 s
			l.Refused(string(rune('a' + i%5)))
			if i == 0 {
				time.Sleep(50 * time.Millisecond) // not at the instants of the lines
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		l.Refused("z")
		time.Sleep(time.Minute)
		l.Refused("y")
		l.Stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		want := "[1s: 10 [a b c] 11s: 100 [a b c] 21s: 100 [a b c] 31s: 40 [a b c] 1m26.05s: 1 [z]]"
		mu.Lock()
		defer mu.Unlock()
		if got := fmt.Sprint(lines); got != want {
			t.Errorf("lines\n%s, want\n%s", got, want)
		}
	})
}

func BenchmarkAsk(b *testing.B) {
	s := NewSources(20, 40)
	b.RunParallel(func(pb *testing.PB) {
		a := addr("192.0.2.1")
		for now := time.Duration(0); pb.Next(); now++ {
			s.Ask(a, now)
		}
	})
}
