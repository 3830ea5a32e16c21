package transport

import (
	"bytes"
	"net/netip"

	"sipxrest/internal/limit"
	"sipxrest/resolve"
	"sipxrest/sipflow/wire"
)

const (
	// maxReconnects bounds the responses that wait for a new connection at a
	// time. Strangers leave a quarter of them to others.
	maxReconnects = 64
	// maxReconnectsOfOne bounds those of one stranger's address: his port may
	// swallow what comes, and so hold each until dialTime has passed.
	maxReconnectsOfOne = 8
)

// reconnects counts the responses that wait for a new connection. Guarded by
// Sockets.mu.
type reconnects struct {
	all int
	of  map[netip.Addr]int // by limit.Network
}

// begin counts a response to an address. It is false for one too many.
func (r *reconnects) begin(a netip.Addr, known bool) bool {
	most, mostOfOne := maxReconnects, maxReconnects
	if !known {
		most, mostOfOne = most*3/4, maxReconnectsOfOne
	}
	a = limit.Network(a)
	if r.all >= most || r.of[a] >= mostOfOne {
		return false
	}
	if r.of == nil {
		r.of = map[netip.Addr]int{}
	}
	r.all++
	r.of[a]++
	return true
}

func (r *reconnects) end(a netip.Addr) {
	a = limit.Network(a)
	r.all--
	if r.of[a]--; r.of[a] <= 0 {
		delete(r.of, a)
	}
}

// Respond sends a response within a dialog, or to an INVITE that was taken in.
// When its connection has ended it goes over a new one, which is left to another
// goroutine; the error is nil then. Others are sent by Send: what a stranger asks
// for must not have us connect to a port of his choice.
func (p Path) Respond(b []byte) error {
	err := p.Send(b)
	if s, ok := p.Link.(*Stream); ok && err != nil && s.t.reconnect(s, b) {
		return nil
	}
	return err
}

// RespondAside is respond for callers that must not wait: the readers of
// sockets, the timers, and holders of a lock.
func (p Path) RespondAside(b []byte) {
	if s, ok := p.Link.(*Stream); ok {
		s.aside(func() { p.Respond(b) }) //nolint:errcheck // as good as lost
		return
	}
	p.Repeat(b)
}

// reconnect sends a response to the peer of a connection that has ended: to the
// address that its request came from, and the port at which it is reached by its
// Via (RFC 3261 §18.2.2). No other host is connected to, whatever the Via says,
// and over TLS none that does not prove to be the one that it names. It is false
// where there is no such way, or too many are being opened.
func (t *Sockets) reconnect(s *Stream, b []byte) bool {
	hop, ok := s.back(b)
	if !ok {
		return false
	}
	to := hop.Addr.Addr()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || !t.reconnects.begin(to, t.Admission.Knows(to)) {
		return false
	}
	t.wg.Go(func() {
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.reconnects.end(to)
		}()
		t.Faults.Try("sending a response over a new connection", func() {
			again, err := t.dialFor(t.ctx, hop, s.Ours)
			if err == nil {
				err = again.Send(b, hop.Addr)
			}
			if err != nil {
				t.Log.Debug("sip: response not sent", "to", hop, "error", err)
			}
		})
	})
	return true
}

// back says where a new connection to the stream's peer leads. Browsers, which
// speak SIP over WebSocket, take none.
func (s *Stream) back(response []byte) (hop resolve.Hop, ok bool) {
	if s.Ours {
		return s.Hop, !s.t.IsOwn(s.Hop.Addr)
	}
	if overWebSocket(s.Hop.Transport) {
		return hop, false
	}
	m, err := wire.Parse(bytes.Clone(response))
	if err != nil {
		return hop, false
	}
	via, ok := m.TopVia()
	if !ok {
		return hop, false
	}
	host, port := via.HostPort()
	hop.Transport = s.Hop.Transport
	switch {
	case hop.Transport == "tls" && port == 0:
		port = 5061
	case port == 0:
		port = 5060
	}
	if hop.Transport == "tls" {
		hop.Name = string(host)
	}
	hop.Addr = netip.AddrPortFrom(s.Hop.Addr.Addr(), port)
	return hop, !s.t.IsOwn(hop.Addr)
}
