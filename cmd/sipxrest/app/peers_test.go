package app

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"sipxrest/sipflow/siptest"
)

// nameServer answers for sipx.test, whose proxies are 192.0.2.5 and, by a
// fault, 127.0.0.1; there is no other name. It answers its address.
func nameServer(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }}
	server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Rcode = dns.RcodeNameError
		if name := q.Question[0].Name; name == "sipx.test." {
			m.Rcode = dns.RcodeSuccess
			if q.Question[0].Qtype == dns.TypeA {
				for _, a := range []string{"127.0.0.1", "192.0.2.5"} {
					m.Answer = append(m.Answer, &dns.A{
						Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(a)})
				}
			}
		}
		_ = w.WriteMsg(m)
	})
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-ended
	})
	return conn.LocalAddr().String()
}

func TestTheDomainsProxiesAreTrustedButNotLoopback(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.Trusted = []string{"domain"}
	cfg.DNS.Servers = []string{nameServer(t)}
	s := start(t, cfg)
	s.log.waitFor(t, "SIP proxies of the domain")
	if got, want := s.peers.addresses(), []netip.Addr{netip.MustParseAddr("192.0.2.5")}; !slices.Equal(got, want) {
		t.Errorf("trusted: %v, want %v", got, want)
	}
	if resp := s.do("GET", s.Addrs()[1]+callPath); resp.StatusCode != 403 {
		t.Errorf("loopback got %s on the listener for trusted peers", resp.Status)
	}
}

func TestADomainThatCannotBeLookedUpTrustsNobody(t *testing.T) {
	cfg := Default()
	cfg.DNS.Servers = []string{nameServer(t)}
	cfg.SIP.Listen = []string{"udp:127.0.0.1:0"}
	r, err := newResolver(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p domainPeers
	first, log := make(chan struct{}), newLogLines()
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
