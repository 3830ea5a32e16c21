package sfu

import (
	"hash/maphash"
	"net"
	"net/netip"
	"time"
)

const (
	// guardPackets is how many packets a second are taken of one source: audio
	// needs 50 of RTP, up to 400 in frames of 2.5 ms.
	guardPackets = 800
	guardCounts  = 4096
)

// A guard is the UDP socket of all connections. pion's multiplexer queues what
// comes without a bound, so sources that flood lose their packets before it.
// Sources share counters by their hash: no list of them can grow.
type guard struct {
	*net.UDPConn
	seed maphash.Seed
	// Owned by the multiplexer's reader.
	counts [guardCounts]uint16
	since  time.Time
}

func newGuard(c *net.UDPConn) *guard {
	return &guard{UDPConn: c, seed: maphash.MakeSeed(), since: time.Now()}
}

// takes reports whether a packet of a source is taken now.
func (g *guard) takes(from netip.AddrPort, now time.Time) bool {
	if now.Sub(g.since) >= time.Second {
		clear(g.counts[:])
		g.since = now
	}
	n := &g.counts[maphash.Comparable(g.seed, from)%guardCounts]
	if *n >= guardPackets {
		return false
	}
	*n++
	return true
}

// ReadFromAddrPort has the multiplexer read without an allocation.
func (g *guard) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := g.ReadFromUDPAddrPort(b)
		if err != nil || g.takes(from, time.Now()) {
			return n, from, err
		}
	}
}

// WriteToAddrPort does the same for writing.
func (g *guard) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return g.WriteToUDPAddrPort(b, to)
}

// ReadFrom is what the multiplexer calls if it does not know the other one.
func (g *guard) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := g.ReadFromAddrPort(b)
	return n, net.UDPAddrFromAddrPort(from), err
}
