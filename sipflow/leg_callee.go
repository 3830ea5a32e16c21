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
	// servers are those that may have the secret.
	servers() secretServers
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

// A newcomer is a phone that has called us to take another one's place in a call
// (RFC 3891). It belongs to the call's goroutine.
type newcomer interface {
	callee
	// mayReplace reports whether it may take the place of old, and be joined with
	// stays. If not, it has been refused.
	mayReplace(old, stays *Leg) bool
	// accept sends our 2xx. It is false when the phone has given up.
	accept(body []byte) bool
	// decline refuses it because of an error. It does nothing after accept.
	decline(why error)
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

func (c *userPhone) servers() secretServers { return secretServers{c.Key.Agent, ofAddress} }

func (c *userPhone) route(ctx context.Context, uri string) ([]resolve.Hop, error) {
	return (*Call)(c).namedHops(ctx, uri)
}

func (c *userPhone) ringTime() time.Duration { return (*Call)(c).ringTime() }

func (c *userPhone) caller() *Incoming { return nil }

func (c *userPhone) ringing(*Leg, *wire.Message) {}

func (c *userPhone) pickedUp(*wire.Message) {}

func (c *userPhone) asked(*shard, *wire.Message, transport.Path) int { return 0 }

func (c *userPhone) allow() string { return allowBridged }

func (c *userPhone) passwordKey() string {
	if (*Call)(c).dialsFirst() {
		return "dialout.agent"
	}
	return ""
}

// servedBy reports whether an address is that of a server which may have the callee's
// secret: an outbound proxy, or one of the agent's own domain. A phone may name the
// realm as well, and its Contact is the URI that a response in the dialog is computed
// for: it could have calls of its own choice paid by him. It waits for DNS at most t1,
// for the cache knows.
//
//go:noinline
func (l *Leg) servedBy(addr netip.Addr) bool {
	sw, by := l.call.sw, l.callee.servers()
	if by.kind == ofGateway {
		return sw.serves(by.name, addr)
	}
	if by.kind == ofAddress {
		by.name = "sip:" + by.name
	}
	ctx, stop := context.WithTimeout(context.Background(), t1)
	defer stop()
	hops, err := sw.nextHops(ctx, by.name)
	return err == nil && slices.ContainsFunc(hops, func(h resolve.Hop) bool { return h.Addr.Addr() == addr })
}

// serves reports whether an address is that of a server that a URI leads to.
func (sw *Switchboard) serves(uri string, addr netip.Addr) bool {
	ctx, stop := context.WithTimeout(context.Background(), t1)
	defer stop()
	hops, err := sw.hopsOf(ctx, uri)
	return err == nil && slices.ContainsFunc(hops, func(h resolve.Hop) bool { return h.Addr.Addr() == addr })
}

// right is by what right the leg's phone was called.
func (l *Leg) right() right {
	cred, realm, anyRealm := l.callee.secret()
	return right{*cred, realm, anyRealm, l.callee.servers()}
}

// pastPhone is the phone of a call that is over. What is left to do is to hang it up.
type pastPhone struct {
	*userPhone
	by right
}

func (p pastPhone) secret() (*Credentials, string, bool) {
	return &p.by.cred, p.by.realm, p.by.anyRealm
}

func (p pastPhone) servers() secretServers { return p.by.servers }
