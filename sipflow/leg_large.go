package sipflow

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
)

const (
	// maxDatagram is the longest request that goes by UDP where a stream can
	// take it: the path's MTU is not known (RFC 3261 §18.1.1).
	maxDatagram = 1300
	// largeDial bounds the opening of a connection that is wanted for a
	// request's size only: the request goes by UDP after all when it passes.
	largeDial = time.Second
	// datagramsOnly is how long a hop that took no connection is sent large
	// requests by UDP without asking it again.
	datagramsOnly = 5 * time.Minute
	maxDatagrams  = 1024
)

// datagrams remembers the addresses that do not take connections.
type datagrams struct {
	mu    sync.Mutex
	until map[netip.AddrPort]time.Time // at most maxDatagrams
}

func (d *datagrams) only(to netip.AddrPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	until, ok := d.until[to]
	if ok && time.Now().After(until) {
		delete(d.until, to)
		return false
	}
	return ok
}

func (d *datagrams) remember(to netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil {
		d.until = map[netip.AddrPort]time.Time{}
	}
	now := time.Now()
	for a, until := range d.until {
		if len(d.until) < maxDatagrams && now.Before(until) {
			continue
		}
		delete(d.until, a)
	}
	d.until[to] = now.Add(datagramsOnly)
}

// toStream gives a request that is too long for a datagram a connection to the
// same hop (RFC 3261 §18.1.1). Its Via says so; the Contact stays, for it is
// this request's size and not our reachability that asks for a stream. Without
// a connection everything is as it was. msg is one of dialog.request for p.
//
//go:noinline
func (l *Leg) toStream(ctx context.Context, p transport.Path, msg []byte) (transport.Path, []byte) {
	sw := l.call.sw
	if p.Link.Reliable() || !sw.transport.Listens("tcp") || !l.mayConnect(p.To.Addr()) || sw.datagrams.only(p.To) {
		return p, msg
	}
	ctx, stop := context.WithTimeout(ctx, largeDial)
	defer stop()
	stream, err := sw.transport.Path(ctx, resolve.Hop{Transport: "tcp", Addr: p.To})
	if err != nil {
		sw.log.Debug("sip: a large request goes by UDP after all", "to", p.To, "error", err)
		sw.datagrams.remember(p.To)
		return p, msg
	}
	return stream, overLink(msg, p.Link, stream.Link)
}

// toStream is Leg.toStream for a transaction that is about to start.
//
//go:noinline
func (a *attempt) toStream(ctx context.Context, tx *clientTx, msg []byte) []byte {
	from := tx.path
	a.large = transport.Path{}
	if len(msg) > maxDatagram && from.To != a.small {
		tx.path, msg = a.leg.toStream(ctx, from, msg)
		if tx.path != from {
			a.large = tx.path
		}
	}
	return msg
}

// backToUDP notes that the connection of a large request came to nothing: it
// goes to the same hop by UDP. Its CSeq stays, so that a phone that knows it
// already refuses it.
//
//go:noinline
func (a *attempt) backToUDP() {
	a.leg.call.sw.datagrams.remember(a.large.To)
	a.small, a.large = a.large.To, transport.Path{}
}

// overLink rewrites the topmost Via of a request of ours for another link.
func overLink(msg []byte, from, to transport.Link) []byte {
	via := func(l transport.Link) []byte {
		transport, host := l.Local()
		return []byte("\r\nVia: SIP/2.0/" + transport + " " + host + ";rport;")
	}
	return bytes.Replace(msg, via(from), via(to), 1)
}
