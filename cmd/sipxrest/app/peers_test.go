package app

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
)

func TestTheDomainsProxiesAreTrustedButNotLoopback(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.Trusted = []string{"domain"}
	cfg.DNS.Servers = []string{apptest.NameServer(t)}
	s := start(t, cfg)
	s.log.WaitFor(t, "SIP proxies of the domain")
	if got, want := s.peers.addresses(), []netip.Addr{netip.MustParseAddr("192.0.2.5")}; !slices.Equal(got, want) {
		t.Errorf("trusted: %v, want %v", got, want)
	}
	if resp := s.do("GET", s.Addrs()[1]+apptest.CallPath); resp.StatusCode != 403 {
		t.Errorf("loopback got %s on the listener for trusted peers", resp.Status)
	}
}

func TestADomainThatCannotBeLookedUpTrustsNobody(t *testing.T) {
	cfg := config.Default()
	cfg.DNS.Servers = []string{apptest.NameServer(t)}
	cfg.SIP.Listen = []string{"udp:127.0.0.1:0"}
	r, err := NewResolver(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p domainPeers
	first, log := make(chan struct{}), apptest.NewLog()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.refresh(ctx, r, "nowhere.test", slog.New(slog.NewTextHandler(log, nil)), first)
	}()
	<-first
	cancel()
	<-ended
	if got := p.addresses(); len(got) != 0 || !strings.Contains(log.String(), "cannot be looked up") {
		t.Errorf("trusted: %v\n%s", got, log)
	}
}
