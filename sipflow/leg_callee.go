package sipflow

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// A callee is the party that a leg is with, and by what right we call it. The
// flow makes it; nobody below asks which flow that was.
type callee interface {
	// secret returns the credentials for challenges of a realm; with anyRealm, for
	// each.
	secret() (cred *Credentials, realm string, anyRealm bool)
	// servedBy reports whether an address is that of a server which may have the
	// secret. It waits for DNS at most t1, for the cache knows.
	servedBy(addr netip.Addr) bool
	// route returns where the INVITE for a Request-URI may go, in the order to try.
	route(ctx context.Context, uri string) ([]resolve.Hop, error)
	// ringTime is how long it may ring.
	ringTime() time.Duration
	// caller is the call that it has placed to us, nil where we called it.
	caller() *Incoming
	// ringing is told of each provisional response to its INVITE, and pickedUp of
	// the 2xx.
	ringing(l *Leg, m *wire.Message)
	pickedUp(m *wire.Message)
	// asked returns the code for a request in the dialog that is not like that of
	// any other phone, negated when the response is out; 0 for the usual. It runs in
	// the reader; the leg's peer.mu is held.
	asked(s *shard, m *wire.Message, from transport.Path) int
	// allow is what it may send in the dialog.
	allow() string
	// passwordKey is the key of the configuration that says whose SIP password the
	// secret is; "" where the client says it.
	passwordKey() string
}

// isWith changes whom the leg is with: its media end here, or no longer do. Readers
// of sockets ask it too, by peer.mu.
func (l *Leg) isWith(with callee) {
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	l.callee = with
}

// userPhone is the phone of a user whom the call's agent calls by his own right.
type userPhone Call

func (c *userPhone) secret() (*Credentials, string, bool) {
	return &c.Credentials, c.sw.cfg.Realm, false
}

func (c *userPhone) servedBy(addr netip.Addr) bool { return c.sw.servedBy("sip:"+c.Key.Agent, addr) }

func (c *userPhone) route(ctx context.Context, uri string) ([]resolve.Hop, error) {
	return (*Call)(c).namedHops(ctx, uri)
}

func (c *userPhone) ringTime() time.Duration { return (*Call)(c).ringTime() }

func (c *userPhone) caller() *Incoming { return nil }

func (c *userPhone) ringing(*Leg, *wire.Message) {}

func (c *userPhone) pickedUp(*wire.Message) {}

func (c *userPhone) asked(_ *shard, m *wire.Message, _ transport.Path) int {
	if m.Get(wire.Require) != nil {
		return 420
	}
	return 0
}

func (c *userPhone) allow() string { return allowBridged }

func (c *userPhone) passwordKey() string {
	if c.Dial != nil {
		return "dialout.agent"
	}
	return ""
}

// servedBy reports whether an address is that of a server which may have the
// agent's credentials: an outbound proxy, or one of his own domain. A phone may
// name the realm as well, and its Contact is the URI that a response in the
// dialog is computed for: it could have calls of its own choice paid by him.
//
//go:noinline
func (sw *Switchboard) servedBy(uri string, addr netip.Addr) bool {
	ctx, stop := context.WithTimeout(context.Background(), t1)
	defer stop()
	hops, err := sw.nextHops(ctx, uri)
	return err == nil && slices.ContainsFunc(hops, func(h resolve.Hop) bool { return h.Addr.Addr() == addr })
}
