package sipflow

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

// heirAddr is where the node is that takes over from the one at ourAddr.
const heirAddr = "10.0.0.8:5060"

// newRigAt starts a further node, which sends everything to hop. It has a host of its own.
func newRigAt(t *testing.T, n *siptest.Network, name, addr, hop string, adjust ...func(*Config)) *rig {
	t.Helper()
	n.Name(addr, name)
	host := netip.MustParseAddrPort(addr).Addr().String()
	res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Listen: []string{"udp:" + addr, "tcp:" + addr}, Realm: "sipx.test", Resolver: res,
		Account: func(user, gateway string) (Credentials, bool) {
			return Credentials{Username: user, Password: "secret"}, user == "200"
		},
		Network: transport.Network{
			ListenUDP: func(a string) (transport.PacketConn, error) { return n.Listen(a), nil },
			ListenTCP: func(a string) (net.Listener, error) { return n.ListenTCP(a), nil },
			DialTCP:   func(ctx context.Context, addr string) (net.Conn, error) { return n.DialFrom(host)(ctx, "tcp", addr) },
		}}
	if hop != "" {
		cfg.OutboundProxies = []string{"sip:" + hop}
	}
	for _, f := range adjust {
		f(&cfg)
	}
	r := &rig{t: t, net: n}
	if r.sw, err = New(cfg, slog.New(slog.NewTextHandler(&r.log, nil)), r.observe, r.stories.observe); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.sw.Serve(ctx) }()
	r.shutdown = func() error {
		defer res.Close()
		cancel()
		return <-served
	}
	r.stop = func() {
		if err := r.shutdown(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	synctest.Wait()
	return r
}

// shelf keeps the states of calls in memory, and commits each at once.
type shelf struct {
	mu     sync.Mutex
	states map[string][]byte // by the id of the call
	over   map[string]int    // how often Drop was called for it
	cut    bool              // its node is dead: what it still writes is lost
}

func newShelf() *shelf { return &shelf{states: map[string][]byte{}, over: map[string]int{}} }

var atOnce = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

func (s *shelf) put(id string, state []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cut {
		s.states[id] = bytes.Clone(state)
	}
}

func (s *shelf) Claim(_ context.Context, _ Key, id string, state []byte) error {
	s.put(id, state)
	return nil
}

func (s *shelf) Keep(id string, state []byte) <-chan struct{} {
	s.put(id, state)
	return atOnce
}

func (s *shelf) Move(id string, _, _ Key, state []byte) { s.put(id, state) }

func (s *shelf) Drop(id string, _ []byte, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cut {
		delete(s.states, id)
		s.over[id]++
	}
}

func (s *shelf) Holds() bool { return true }

// all are the states of the calls that are not over.
func (s *shelf) all() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.states)
}

// cluster is two nodes, phones, and the proxy between them. The first node dies.
type cluster struct {
	t      *testing.T
	net    *siptest.Network
	first  *rig
	heir   *rig
	kept   *shelf // of the first node
	keeps  *shelf // of the heir
	proxy  *siptest.Proxy
	phones []*siptest.Phone
	taken  []string // what came of the calls that were taken over
	mu     sync.Mutex
}

// newCluster starts two nodes that send everything to the proxy.
func newCluster(t *testing.T, n *siptest.Network, adjust ...func(*Config)) *cluster {
	t.Helper()
	return newClusterBy(t, n, proxyAddr, adjust...)
}

// newClusterBy starts two nodes that send everything to hop.
func newClusterBy(t *testing.T, n *siptest.Network, hop string, adjust ...func(*Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, net: n, kept: newShelf(), keeps: newShelf()}
	c.proxy = n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Open: true,
		Users:     map[string]string{"200": "secret", "201": "x", "202": "x", "203": "x"},
		Locations: map[string]string{"201": "sip:201@" + phoneAddr, "202": "sip:202@" + calledAddr, "203": "sip:203@" + thirdAddr}})
	with := func(keeper *shelf) []func(*Config) {
		return append([]func(*Config){func(cfg *Config) { cfg.Keeper = keeper }}, adjust...)
	}
	c.first = newRigAt(t, n, "sipxrest", ourAddr, hop, with(c.kept)...)
	c.heir = newRigAt(t, n, "heir", heirAddr, hop, with(c.keeps)...)
	return c
}

// phone starts a phone of the domain.
func (c *cluster) phone(user, addr string, script siptest.Script) *siptest.Phone {
	c.net.Name(addr, user)
	account := siptest.Account{User: user, Domain: "sipx.test", Password: "x", Proxy: c.proxy.Addr()}
	if len(c.heir.sw.proxies) == 0 {
		account = siptest.Account{User: user}
	}
	p := siptest.NewPhone(c.net.Listen(addr), account, script)
	c.phones = append(c.phones, p)
	return p
}

// crash ends the first node as kill -9 does: its host is silent from now on. What its
// process still does in the test nobody sees.
func (c *cluster) crash() {
	c.kept.mu.Lock()
	c.kept.cut = true
	c.kept.mu.Unlock()
	c.net.Unplug("10.0.0.1")
}

// takeOver has the heir take over what the first node has kept.
func (c *cluster) takeOver(keep bool) {
	c.t.Helper()
	states := c.kept.all()
	for _, id := range slices.Sorted(maps.Keys(states)) {
		err := c.heir.sw.Adopt(c.t.Context(), Adopted{ID: id, State: states[id], Epoch: 1, Keep: keep}, func(result string, err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if err != nil {
				result += ": " + err.Error()
			}
			c.taken = append(c.taken, result)
		})
		if err != nil {
			c.t.Errorf("Adopt: %v", err)
		}
	}
}

// results are what came of the calls that were taken over.
func (c *cluster) results() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.taken, ", ")
}

// close ends the test: nobody rings or talks any more, nothing is left, nobody was called
// twice, and each call has ended once.
func (c *cluster) close() {
	c.t.Helper()
	for _, p := range c.phones {
		if !p.OnHook() {
			c.t.Errorf("a phone is off-hook; it saw\n%s", strings.Join(p.Log(), "\n"))
		}
		invites := 0
		for _, r := range p.Requests(sip.INVITE) {
			if _, inside := r.To().Params.Get("tag"); !inside {
				invites++
			}
		}
		if refers := len(p.Requests(sip.REFER)); invites > 1 || refers > 1 {
			c.t.Errorf("a phone got %d INVITEs and %d REFERs", invites, refers)
		}
	}
	c.heir.empty()
	if left := c.keeps.all(); len(left) > 0 {
		c.t.Errorf("%d states are left", len(left))
	}
	c.first.shutdown() //nolint:errcheck // it is dead
	c.heir.stop()
	for _, p := range c.phones {
		p.Close()
	}
	c.proxy.Close()
}
