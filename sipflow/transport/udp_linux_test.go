//go:build amd64 || arm64

package transport

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestTheKernelSaysHowLongADatagramHasWaited in its socket. The kernel begins to stamp
// what arrives some time after the first socket asks for it. Until then a stamp is the
// time of reading, so that the first rounds may fail.
func TestTheKernelSaysHowLongADatagramHasWaited(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		var err error
		for range 100 {
			if err = stampsAtArrival(t, at); err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func stampsAtArrival(t *testing.T, at string) error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Logf("%s: %v", at, err) // a machine without IPv6
		return nil
	}
	d := newDirectUDP(c)
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	sent := time.Now()
	for range batchSize + 3 {
		if _, err := c.WriteToUDPAddrPort([]byte("x"), to); err != nil {
			t.Fatal(err)
		}
	}
	last := time.Now()
	for time.Since(last) < 20*time.Millisecond { // the datagrams wait, whatever the clock of the machine does
		time.Sleep(time.Millisecond)
	}
	var waits []time.Duration
	n := 0
	d.read(64, func([]byte, netip.AddrPort) { //nolint:errcheck // closed below
		if n++; n == batchSize+3 {
			go c.Close() // which waits for the reader
		}
	}, func(wait time.Duration) { waits = append(waits, wait) }, func(err error) { t.Error(err) })
	most := time.Since(sent) + time.Millisecond
	if len(waits) < 2 {
		return fmt.Errorf("told %d times of %d datagrams", len(waits), n)
	}
	for _, wait := range waits {
		if wait < 20*time.Millisecond || wait > most {
			return fmt.Errorf("a datagram has waited for %v, want 20ms to %v", wait, most)
		}
	}
	return nil
}

// TestAStampThatMakesNoSense is none: the clock was set, or the kernel has said
// nothing.
func TestAStampThatMakesNoSense(t *testing.T) {
	for _, ago := range []time.Duration{-time.Second, time.Hour} {
		s := stampOf(time.Now().Add(-ago))
		if d, ok := s.waited(); ok {
			t.Errorf("%v ago: %v", ago, d)
		}
	}
	if d, ok := new(stamp).waited(); ok {
		t.Errorf("no stamp: %v", d)
	}
	s := stampOf(time.Now().Add(-time.Second))
	if d, ok := s.waited(); !ok || d < time.Second {
		t.Errorf("a second ago: %v, %v", d, ok)
	}
}

func stampOf(at time.Time) stamp {
	var s stamp
	s.hdr.Level, s.hdr.Type = solSocket, scmTimestampNS
	s.at.Sec, s.at.Nsec = at.Unix(), int64(at.Nanosecond())
	return s
}
