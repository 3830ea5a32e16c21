package sipflow

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

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

// crash ends a node as kill -9 does: its host is silent from now on. What its process
// still does in the test is seen by nobody.
func (r *rig) crash() {
	host, _, _ := strings.Cut(strings.TrimPrefix(r.sw.Addrs()[0], "udp:"), ":")
	r.net.Unplug(host)
}
