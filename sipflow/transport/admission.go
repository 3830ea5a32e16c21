package transport

import (
	"net/netip"

	"sipxrest/internal/limit"
)

// Admission says whose connections are taken, and is told of those that are not.
// Its functions are called by the readers of sockets: they return at once.
type Admission struct {
	// PerSource bounds the connections that one address (IPv6: /64) has opened; 0: no limit.
	PerSource int
	// Knows reports whether an address is no stranger's.
	Knows func(netip.Addr) bool
	// Refused is told of a connection that was one too many: of its source, or of all.
	Refused func(from netip.Addr, ofSource bool)
	// Starved is told of a socket that has no file descriptor left for a connection.
	Starved func(socket string)
	// RefusedPage is told of a browser's page whose WebSocket is not taken.
	RefusedPage func(limit.Page)
}

// crowded reports whether an address has opened as many connections as it may.
// mu is held.
func (t *Sockets) crowded(a netip.Addr) bool {
	most := t.Admission.PerSource
	return most > 0 && t.sources[limit.Network(a)] >= most && !t.Admission.Knows(a)
}

// refusedStream counts a connection that was one too many. mu is held.
func (t *Sockets) refusedStream(a netip.Addr) {
	if !t.closed {
		t.Admission.Refused(a, t.crowded(a))
	}
}
