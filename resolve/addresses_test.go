package resolve

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/miekg/dns"
)

func TestAddressesAreThoseOfAllSIPServers(t *testing.T) {
	server := serve(t, newZone(t, append(pbx,
		`_sip._udp.dom.example. 60 SRV 10 0 5060 one.example.`,
		`_sips._tcp.dom.example. 60 SRV 10 0 5061 three.example.`,
		`dom.example. 60 NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.elsewhere.example.`,
		`dom.example. 60 A 203.0.113.5`)...))
	for domain, want := range map[string]string{
		"dom.example":   "[192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::3]",
		"plain.example": "[192.0.2.9 2001:db8::9]",
		"half.example":  "[192.0.2.2]",
		"192.0.2.4":     "[192.0.2.4]",
		"off.example":   "[]",
	} {
		r := newResolver(t, Config{Servers: []string{server}, Transports: []string{"udp"}, Network: "ip4"})
		got, err := r.Addresses(t.Context(), domain)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, %v; want %s", domain, got, err, want)
		}
	}
}

func TestAddressesAreNotGuessedWhenSRVFails(t *testing.T) {
	z := newZone(t, pbx...)
	r := newResolver(t, Config{Attempts: 1, Exchange: func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
		m, err := z.exchange(ctx, q, server)
		if q.Question[0].Qtype == dns.TypeSRV {
			m.Rcode, m.Answer = dns.RcodeServerFailure, nil
		}
		return m, err
	}})
	if got, err := r.Addresses(t.Context(), "plain.example"); !errors.Is(err, ErrNoAnswer) || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := r.Hops(t.Context(), Target{Host: "plain.example"}); !errors.Is(err, ErrNoAnswer) || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
