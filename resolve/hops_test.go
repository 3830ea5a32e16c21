package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestNumericHostNeedsNoLookup(t *testing.T) {
	all := []string{"udp", "tcp", "tls", "ws", "wss"}
	for _, c := range []struct {
		target     Target
		transports []string
		want       string
	}{
		{Target{Host: "192.0.2.1"}, nil, "udp:192.0.2.1:5060"},
		{Target{Host: "192.0.2.1", Port: 5070}, nil, "udp:192.0.2.1:5070"},
		{Target{Host: "192.0.2.1", Transport: "TCP"}, nil, "tcp:192.0.2.1:5060"},
		{Target{Host: "192.0.2.1", Transport: "tls"}, all, "tls:192.0.2.1:5061"},
		{Target{Host: "192.0.2.1", Transport: "ws"}, all, "ws:192.0.2.1:80"},
		{Target{Host: "192.0.2.1", Transport: "wss"}, all, "wss:192.0.2.1:443"},
		{Target{Host: "192.0.2.1", Secure: true}, all, "tls:192.0.2.1:5061"},
		{Target{Host: "192.0.2.1", Secure: true, Transport: "tcp"}, all, "tls:192.0.2.1:5061"},
		{Target{Host: "192.0.2.1", Secure: true, Transport: "ws"}, all, "wss:192.0.2.1:443"},
		{Target{Host: "192.0.2.1", Secure: true}, []string{"udp", "wss"}, "wss:192.0.2.1:443"},
		{Target{Host: "192.0.2.1"}, []string{"tcp", "tls"}, "tcp:192.0.2.1:5060"},
		{Target{Host: "192.0.2.1"}, []string{"tcp", "udp"}, "udp:192.0.2.1:5060"},
		{Target{Host: "[2001:db8::1]"}, nil, "udp:[2001:db8::1]:5060"},
		{Target{Host: "2001:db8::1", Port: 5070}, nil, "udp:[2001:db8::1]:5070"},
		{Target{Host: "::ffff:192.0.2.1"}, nil, "udp:192.0.2.1:5060"},
	} {
		r := newResolver(t, Config{Transports: c.transports, Exchange: func(_ context.Context, q *dns.Msg, _ string) (*dns.Msg, error) {
			t.Errorf("%v: asked %v", c.target, q.Question)
			return nil, errors.New("no")
		}})
		wantHops(t, mustHops(t, r, c.target), c.want)
	}
}

// pbx is a domain with all that RFC 3263 knows.
var pbx = []string{
	`naptr.example. 60 NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.naptr.example.`,
	`naptr.example. 60 NAPTR 10 20 "s" "SIP+D2T" "" _sip._tcp.elsewhere.example.`,
	`naptr.example. 60 NAPTR 10 10 "S" "sips+d2t" "" _sips._tcp.naptr.example.`,
	`naptr.example. 60 NAPTR 5 10 "s" "SIP+D2S" "" _sip._sctp.naptr.example.`,
	`naptr.example. 60 NAPTR 5 10 "u" "E2U+sip" "!^.*$!sip:x@evil.example!" .`,
	`naptr.example. 60 NAPTR 5 10 "s" "SIP+D2U" "!x!y!" _sip._udp.evil.example.`,
	`naptr.example. 60 NAPTR 5 10 "s" "SIP+D2U" "" .`,
	`naptr.example. 60 NAPTR 5 10 "a" "SIP+D2U" "" _sip._udp.evil.example.`,
	`_sip._udp.evil.example. 60 SRV 1 0 5060 evil.example.`,
	`evil.example. 60 A 203.0.113.66`,
	`_sip._udp.naptr.example. 60 SRV 1 0 5060 one.example.`,
	`_sip._tcp.elsewhere.example. 60 SRV 1 0 5062 two.example.`,
	`_sips._tcp.naptr.example. 60 SRV 1 0 5061 three.example.`,
	`one.example. 60 A 192.0.2.1`,
	`two.example. 60 A 192.0.2.2`,
	`three.example. 60 A 192.0.2.3`,
	`three.example. 60 AAAA 2001:db8::3`,

	`_sip._udp.srv.example. 60 SRV 20 0 5060 two.example.`,
	`_sip._udp.srv.example. 60 SRV 10 0 5070 one.example.`,
	`_sip._udp.srv.example. 60 SRV 30 0 5060 three.example.`,
	`_sip._tcp.srv.example. 60 SRV 10 0 5060 one.example.`,
	`_sips._tcp.srv.example. 60 SRV 10 0 5061 three.example.`,
	`srv.example. 60 A 203.0.113.1`,

	`plain.example. 60 A 192.0.2.9`,
	`plain.example. 60 AAAA 2001:db8::9`,
	`v6.example. 60 AAAA 2001:db8::6`,

	`onlytls.example. 60 NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.naptr.example.`,
	`_sip._udp.onlytls.example. 60 SRV 10 0 5060 one.example.`,
	`nosrv.example. 60 NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.gone.example.`,
	`_sip._tcp.nosrv.example. 60 SRV 10 0 5060 two.example.`,

	`_sip._udp.off.example. 60 SRV 0 0 0 .`,
	`off.example. 60 A 203.0.113.2`,
	`_sip._udp.half.example. 60 SRV 0 0 0 .`,
	`_sip._tcp.half.example. 60 SRV 10 0 5060 two.example.`,
	`offnaptr.example. 60 NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.off.example.`,
	`_sip._tcp.offnaptr.example. 60 SRV 10 0 5060 two.example.`,

	`_sip._udp.alias.example. 60 CNAME _sip._udp.srv2.example.`,
	`_sip._udp.srv2.example. 60 SRV 10 0 5060 www.example.`,
	`www.example. 60 CNAME one.example.`,
	`_sip._udp.sloppy.example. 60 SRV 10 0 0 three.example.`,
	`_sip._udp.sloppy.example. 60 SRV 20 0 5060 gone.example.`,
	`_sip._udp.sloppy.example. 60 SRV 30 0 5060 192.0.2.77.`,
	`_sip._udp.sloppy.example. 60 SRV 40 0 5060 zero.example.`,
	`_sip._udp.sloppy.example. 60 SRV 50 0 5060 one.example.`,
	`_sip._udp.sloppy.example. 60 SRV 60 0 5060 one.example.`,
	`zero.example. 60 A 0.0.0.0`,
	`zero.example. 60 AAAA ff02::1`,
}

func TestHopsOfDomain(t *testing.T) {
	server := serve(t, newZone(t, pbx...))
	udpTCP, withTLS := []string{"udp", "tcp"}, []string{"udp", "tcp", "tls"}
	for _, c := range []struct {
		name       string
		target     Target
		transports []string
		network    string
		want       string
	}{
		{"three targets by priority, then TCP", Target{Host: "srv.example"}, udpTCP, "ip4",
			"udp:192.0.2.1:5070 udp:192.0.2.2:5060 udp:192.0.2.3:5060 tcp:192.0.2.1:5060"},
		{"our order of transports", Target{Host: "SRV.Example."}, []string{"tcp", "udp"}, "ip4",
			"tcp:192.0.2.1:5060 udp:192.0.2.1:5070 udp:192.0.2.2:5060 udp:192.0.2.3:5060"},
		{"transport in the URI", Target{Host: "srv.example", Transport: "tcp"}, udpTCP, "", "tcp:192.0.2.1:5060"},
		{"port in the URI", Target{Host: "srv.example", Port: 5080}, udpTCP, "", "udp:203.0.113.1:5080"},
		{"sips", Target{Host: "srv.example", Secure: true}, withTLS, "", "tls:192.0.2.3:5061 tls:[2001:db8::3]:5061"},
		{"NAPTR by order and preference", Target{Host: "naptr.example"}, withTLS, "ip4",
			"tls:192.0.2.3:5061 tcp:192.0.2.2:5062 udp:192.0.2.1:5060"},
		{"NAPTR without what we cannot send", Target{Host: "naptr.example"}, udpTCP, "",
			"tcp:192.0.2.2:5062 udp:192.0.2.1:5060"},
		{"NAPTR for sips", Target{Host: "naptr.example", Secure: true}, withTLS, "ip6", "tls:[2001:db8::3]:5061"},
		{"NAPTR is not for a transport in the URI", Target{Host: "naptr.example", Transport: "udp"}, udpTCP, "", "udp:192.0.2.1:5060"},
		{"NAPTR with nothing for us: SRV", Target{Host: "onlytls.example"}, udpTCP, "", "udp:192.0.2.1:5060"},
		{"NAPTR to nowhere: SRV", Target{Host: "nosrv.example"}, udpTCP, "", "tcp:192.0.2.2:5060"},
		{"no SRV: addresses, IPv4 first", Target{Host: "plain.example"}, udpTCP, "", "udp:192.0.2.9:5060 udp:[2001:db8::9]:5060"},
		{"no SRV, transport", Target{Host: "plain.example", Transport: "tcp"}, udpTCP, "ip4", "tcp:192.0.2.9:5060"},
		{"no SRV, sips", Target{Host: "plain.example", Secure: true}, withTLS, "ip4", "tls:192.0.2.9:5061"},
		{"no SRV, ws", Target{Host: "plain.example", Transport: "ws"}, []string{"ws", "wss"}, "ip4", "ws:192.0.2.9:80"},
		{"no SRV, wss", Target{Host: "plain.example", Transport: "wss"}, []string{"ws", "wss"}, "ip4", "wss:192.0.2.9:443"},
		{"IPv6 only", Target{Host: "v6.example"}, udpTCP, "", "udp:[2001:db8::6]:5060"},
		{"one transport is off", Target{Host: "half.example"}, udpTCP, "", "tcp:192.0.2.2:5060"},
		{"aliases", Target{Host: "alias.example"}, udpTCP, "", "udp:192.0.2.1:5060"},
		{"port 0, no address, literal, 0.0.0.0, twice", Target{Host: "sloppy.example"}, udpTCP, "",
			"udp:192.0.2.77:5060 udp:192.0.2.1:5060"},
		{"localhost", Target{Host: "localhost"}, udpTCP, "", "udp:127.0.0.1:5060 udp:[::1]:5060"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newResolver(t, Config{Servers: []string{server}, Transports: c.transports, Network: c.network})
			hops, err := r.Hops(t.Context(), c.target)
			if err != nil {
				t.Fatal(err)
			}
			wantHops(t, texts(hops), strings.Fields(c.want)...)
			for _, h := range hops {
				if want := strings.TrimSuffix(strings.ToLower(c.target.Host), "."); h.Name != want {
					t.Errorf("certificate name of %v is %q, want %q", h, h.Name, want)
				}
			}
		})
	}
}

func TestPortInURISkipsNAPTRAndSRV(t *testing.T) {
	z := newZone(t, pbx...)
	r := newResolver(t, Config{Exchange: z.exchange, Network: "ip4"})
	mustHops(t, r, Target{Host: "srv.example", Port: 5060})
	if got := z.questions(); !slices.Equal(got, []string{"A srv.example"}) {
		t.Errorf("asked %v", got)
	}
}

func TestErrorSaysWhatWasAskedAndWhy(t *testing.T) {
	z := newZone(t, pbx...)
	for _, c := range []struct {
		target Target
		want   error
		text   string
	}{
		{Target{Host: "gone.example"}, ErrNoName,
			"resolve sip:gone.example: no SRV record, and A gone.example: no such name (asked 192.0.2.53:53)"},
		{Target{Host: "gone.example", Port: 5070, Transport: "tcp"}, ErrNoName,
			"resolve sip:gone.example:5070;transport=tcp: A gone.example: no such name (asked 192.0.2.53:53)"},
		{Target{Host: "off.example"}, ErrOff,
			"resolve sip:off.example: SRV _sip._udp.off.example: the domain does not offer SIP (asked 192.0.2.53:53)"},
		{Target{Host: "offnaptr.example"}, ErrOff,
			"resolve sip:offnaptr.example: SRV _sip._udp.off.example: the domain does not offer SIP (asked 192.0.2.53:53)"},
		{Target{Host: "zero.example"}, ErrNoRecord,
			"resolve sip:zero.example: no SRV record, and AAAA zero.example: no such record (asked 192.0.2.53:53)"},
		{Target{Host: "srv.example", Transport: "tls"}, ErrTransport,
			"resolve sip:srv.example;transport=tls: transport not available: tls is not configured, the service sends udp, tcp"},
		{Target{Host: "srv.example", Transport: "sctp"}, ErrTransport,
			"resolve sip:srv.example;transport=sctp: transport not available: sctp is none of udp, tcp, tls, ws, wss"},
		{Target{Host: "srv.example", Secure: true}, ErrTransport,
			"resolve sips:srv.example: transport not available: a sips URI needs tls or wss, the service sends udp, tcp"},
		{Target{Host: "srv.example", Secure: true, Transport: "udp"}, ErrTransport,
			"resolve sips:srv.example;transport=udp: transport not available: a sips URI cannot use udp (RFC 3261 §26.2.2)"},
		{Target{Host: ""}, ErrTarget, "resolve sip:: not a usable SIP target: the host is empty"},
		{Target{Host: "192.0.2.1", Port: 70000}, ErrTarget, "resolve sip:192.0.2.1:70000: not a usable SIP target: port 70000"},
		{Target{Host: "a..b"}, ErrTarget, `resolve sip:a..b: not a usable SIP target: host "a..b" has an empty label`},
		{Target{Host: "a\r\nb"}, ErrTarget, `resolve sip:"a\r\nb": not a usable SIP target: host "a\r\nb" has a character that no name has`},
		{Target{Host: "0.0.0.0"}, ErrTarget, `resolve sip:0.0.0.0: not a usable SIP target: 0.0.0.0 is not an address that a server can have`},
		{Target{Host: "[::]"}, ErrTarget, `resolve sip:[::]: not a usable SIP target: :: is not an address that a server can have`},
		{Target{Host: "239.1.1.1"}, ErrTarget,
			`resolve sip:239.1.1.1: not a usable SIP target: 239.1.1.1 is not an address that a server can have`},
	} {
		r := newResolver(t, Config{Exchange: z.exchange, Servers: []string{"192.0.2.53"}})
		hops, err := r.Hops(t.Context(), c.target)
		if !errors.Is(err, c.want) || len(hops) > 0 {
			t.Errorf("%v: got %v, %v; want %v", c.target, hops, err, c.want)
		} else if err.Error() != c.text {
			t.Errorf("error\n got %v\nwant %v", err, c.text)
		}
	}
}

func TestOddNumbersAreNoAddress(t *testing.T) {
	for _, host := range []string{"127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.01", "1.2.3.4.5", "00..", "pbx.example..",
		"fe80::1%eth0", "[::%\r\nx]", "[127.0.0.1", "::1]",
		"127.0.0.1\x00", "bücher.example", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 200) + "example", ".", "a b", "%31"} {
		r := newResolver(t, Config{Exchange: func(_ context.Context, q *dns.Msg, _ string) (*dns.Msg, error) {
			t.Errorf("%q: asked %v", host, q.Question)
			return nil, errors.New("no")
		}})
		if hops, err := r.Hops(t.Context(), Target{Host: host}); !errors.Is(err, ErrTarget) {
			t.Errorf("%q: got %v, %v", host, hops, err)
		} else if len(err.Error()) > 300 {
			t.Errorf("%q: the error is %d characters long", host, len(err.Error()))
		}
	}
}

func TestWeightsShareTheLoad(t *testing.T) {
	z := newZone(t,
		`_sip._udp.w.example. 60 SRV 10 30 5060 a.example.`,
		`_sip._udp.w.example. 60 SRV 10 0 5060 b.example.`,
		`_sip._udp.w.example. 60 SRV 10 70 5060 c.example.`,
		`_sip._udp.w.example. 60 SRV 20 100 5060 d.example.`,
		`a.example. 60 A 192.0.2.1`, `b.example. 60 A 192.0.2.2`, `c.example. 60 A 192.0.2.3`, `d.example. 60 A 192.0.2.4`)
	r := newResolver(t, Config{Exchange: z.exchange, Network: "ip4"})
	first := map[string]int{}
	const rounds = 3000
	for range rounds {
		hops := mustHops(t, r, Target{Host: "w.example"})
		first[hops[0]]++
		if len(hops) != 4 || hops[3] != "udp:192.0.2.4:5060" {
			t.Fatalf("the backup is not last: %v", hops)
		}
	}
	// Six standard deviations: about one false alarm in a billion.
	for hop, share := range map[string]float64{"udp:192.0.2.1:5060": 30. / 101, "udp:192.0.2.2:5060": 1. / 101,
		"udp:192.0.2.3:5060": 70. / 101} {
		if got, want := float64(first[hop]), share*rounds; got < want-6*27 || got > want+6*27 {
			t.Errorf("%s came first %v times of %d, want about %.0f", hop, got, rounds, want)
		}
	}
	if first["udp:192.0.2.1:5060"] == 0 || first["udp:192.0.2.3:5060"] == 0 {
		t.Errorf("a server got nothing: %v", first)
	}
}

func TestWeightedOrderFollowsRFC2782(t *testing.T) {
	records := records{srv: []srv{{priority: 1, weight: 5, host: "a"}, {priority: 1, weight: 0, host: "z"},
		{priority: 1, weight: 3, host: "b"}, {priority: 0, weight: 1, host: "p"}}}
	records.bound() // p; z a b
	for draw, want := range map[[2]int]string{{0, 0}: "pzab", {1, 0}: "pazb", {5, 3}: "pabz", {6, 0}: "pbza", {8, 5}: "pbaz"} {
		draws, bounds := draw[:], []int{}
		var got strings.Builder
		for _, s := range appendWeighted(nil, records.srv, func(n int) int {
			bounds = append(bounds, n)
			d := draws[0]
			draws = draws[1:]
			return d
		}) {
			got.WriteString(s.host)
		}
		if got.String() != want || bounds[0] != 9 {
			t.Errorf("draws %v of %v: got %s, want %s", draw, bounds, got.String(), want)
		}
	}
}

func TestAThousandRecordsGiveSixteenHops(t *testing.T) {
	var lines []string
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf(`_sip._udp.big.example. 60 SRV %d 1 5060 t%d.example.`, 1000-i, i),
			fmt.Sprintf(`t%d.example. 60 A 192.0.2.%d`, i, i%250+1))
	}
	z := newZone(t, lines...)
	r := newResolver(t, Config{Servers: []string{serve(t, z)}, Network: "ip4"})
	hops := mustHops(t, r, Target{Host: "big.example"})
	if len(hops) != 16 || hops[0] != "udp:192.0.2.250:5060" { // t999 has priority 1
		t.Errorf("got %d hops: %v", len(hops), hops)
	}
	if asked := z.questions(); len(asked) > 3+1+16 { // the truncated SRV question twice
		t.Errorf("asked %d questions", len(asked))
	}
}

func TestManyNAPTRRecordsAskFewQuestions(t *testing.T) {
	var lines []string
	for i := range 30 {
		lines = append(lines, fmt.Sprintf(`many.example. 60 NAPTR %d 1 "s" "SIP+D2U" "" n%d.example.`, i, i))
	}
	z := newZone(t, append(lines, "many.example. 60 A 192.0.2.1")...)
	r := newResolver(t, Config{Exchange: z.exchange, Network: "ip4"})
	wantHops(t, mustHops(t, r, Target{Host: "many.example"}), "udp:192.0.2.1:5060")
	if asked := z.questions(); len(asked) > maxSteps+4 {
		t.Errorf("asked %v", asked)
	}
}

func TestDomainThatIsOffIsOffInTheHostsFileToo(t *testing.T) {
	r := newResolver(t, Config{Exchange: newZone(t, pbx...).exchange,
		Hosts: map[string][]netip.Addr{"off.example": {netip.MustParseAddr("192.0.2.1")}}})
	if hops, err := r.Hops(t.Context(), Target{Host: "off.example"}); !errors.Is(err, ErrOff) {
		t.Errorf("got %v, %v", hops, err)
	}
}

func TestRecordSetsAreBounded(t *testing.T) {
	var rec records
	for i := range 1000 {
		for _, text := range []string{"x. 60 SRV %d 1 5060 t.example.", `x. 60 NAPTR %d 1 "s" "SIP+D2U" "" t.example.`} {
			rr, err := dns.NewRR(fmt.Sprintf(text, 1000-i))
			if err != nil {
				t.Fatal(err)
			}
			rec.add(rr)
		}
		rec.add(&dns.A{A: []byte{10, 0, byte(i >> 8), byte(i)}})
	}
	rec.bound()
	if len(rec.srv) != maxSRV || len(rec.naptr) != maxNAPTR || len(rec.addrs) != maxAddrs || rec.srv[0].priority != 1 ||
		rec.naptr[0].order != 1 {
		t.Errorf("%d SRV, %d NAPTR, %d addresses", len(rec.srv), len(rec.naptr), len(rec.addrs))
	}
}

func TestManyAddressesGiveSixteenHopsOnceEach(t *testing.T) {
	lines := []string{
		`_sip._udp.farm.example. 60 SRV 1 1 5060 a.example.`, `_sip._udp.farm.example. 60 SRV 2 1 5060 b.example.`,
		`_sip._udp.farm.example. 60 SRV 3 1 5060 c.example.`}
	for i := range 10 {
		lines = append(lines, fmt.Sprintf("a.example. 60 A 192.0.2.%d", i), fmt.Sprintf("b.example. 60 A 192.0.2.%d", i),
			fmt.Sprintf("c.example. 60 A 198.51.100.%d", i))
	}
	r := newResolver(t, Config{Exchange: newZone(t, lines...).exchange, Network: "ip4"})
	hops := mustHops(t, r, Target{Host: "farm.example"})
	if len(hops) != 16 || hops[9] != "udp:192.0.2.9:5060" || hops[10] != "udp:198.51.100.0:5060" {
		t.Errorf("got %d hops: %v", len(hops), hops)
	}
}
