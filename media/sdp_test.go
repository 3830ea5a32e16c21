package media

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"sipxrest/sipflow/siptest"
)

// idle is a session without sockets and goroutines, to negotiate with.
func idle(t testing.TB, change ...func(*Config)) *Session {
	s := &Session{ports: ports(t, siptest.NewNetwork(), change...), port: 20000, id: 7, closed: true}
	s.jitter.stats = &s.stats
	return s
}

const head = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n"

func TestOffer(t *testing.T) {
	s := idle(t)
	const want = "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 9 8 0 101\r\n" +
		"a=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n" +
		"a=ptime:20\r\na=rtcp:20001\r\na=sendrecv\r\n"
	if got := string(s.Offer()); got != want {
		t.Errorf("offer\n%s\nwant\n%s", got, want)
	}
	if got := string(s.Offer()); got != want {
		t.Errorf("the same offer has another version:\n%s", got)
	}
	s = idle(t, func(c *Config) { c.Address = netip.MustParseAddr("2001:db8::1") })
	if got := string(s.Offer()); !strings.Contains(got, "c=IN IP6 2001:db8::1\r\n") ||
		!strings.Contains(got, "o=- 7 1 IN IP6 2001:db8::1\r\n") {
		t.Errorf("offer\n%s", got)
	}
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, offer string
		code        int    // of the refusal
		want        string // the answer from its first m= line on, or words of the refusal
		codec       string
		to          string // where RTP goes
	}{
		{"PCMA alone", head + "m=audio 4000 RTP/AVP 8\r\n", 0, "m=audio 20000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\n" +
			"a=rtcp:20001\r\na=sendrecv\r\n", "PCMA", phoneAddr},
		{"the offer's order", head + "m=audio 4000 RTP/AVP 3 0 9 8\r\n", 0, "m=audio 20000 RTP/AVP 0\r\n", "PCMU", phoneAddr},
		{"wideband first", head + "m=audio 4000 RTP/AVP 9 8 0\r\n", 0, "m=audio 20000 RTP/AVP 9\r\na=rtpmap:9 G722/8000\r\n", "G722", phoneAddr},
		{"dynamic payload types", head + "m=audio 4000 RTP/AVP 96 97 98\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 pcma/8000/1\r\na=rtpmap:98 " +
			"telephone-event/8000\r\n", 0,
			"m=audio 20000 RTP/AVP 97 98\r\na=rtpmap:97 PCMA/8000\r\na=rtpmap:98 telephone-event/8000\r\na=fmtp:98 0-15\r\n", "PCMA", phoneAddr},
		{"a static number that means something else", head + "m=audio 4000 RTP/AVP 8 0\r\na=rtpmap:8 L16/8000\r\n", 0,
			"m=audio 20000 RTP/AVP 0\r\n", "PCMU", phoneAddr},
		{"video beside it", head + "m=video 5000 RTP/AVP 99\r\nm=audio 4000 RTP/AVP 8\r\nm=image 6000 udptl t38\r\n", 0,
			"m=video 0 RTP/AVP 99\r\nm=audio 20000 RTP/AVP 8\r\n", "PCMA", phoneAddr},
		{"SRTP or plain", head + "m=audio 4002 RTP/SAVP 8\r\nm=audio 4000 RTP/AVP 8\r\n", 0,
			"m=audio 0 RTP/SAVP 8\r\nm=audio 20000 RTP/AVP 8\r\n", "PCMA", phoneAddr},
		{"feedback profile", head + "m=audio 4000 RTP/AVPF 8\r\n", 0, "m=audio 20000 RTP/AVPF 8\r\n", "PCMA", phoneAddr},
		{"one line is enough", head + "m=audio 4000 RTP/AVP 8\r\nm=audio 4010 RTP/AVP 8\r\n", 0,
			"m=audio 20000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=rtcp:20001\r\na=sendrecv\r\nm=audio 0 RTP/AVP 8\r\n", "PCMA",
			phoneAddr},
		{"address of the line", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 192.0.2.30\r\n", 0, "m=audio 20000", "PCMA", "192.0.2.30:4000"},
		{"hold", head + "a=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n", 0, "a=recvonly\r\n", "PCMA", phoneAddr},
		{"hold of the line", head + "a=sendrecv\r\nm=audio 4000 RTP/AVP 8\r\na=inactive\r\n", 0, "a=inactive\r\n", "PCMA", phoneAddr},
		{"listens only", head + "m=audio 4000 RTP/AVP 8\r\na=recvonly\r\n", 0, "a=sendonly\r\n", "PCMA", phoneAddr},
		{"hold of old", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n", 0, "a=recvonly\r\n", "PCMA", "invalid AddrPort"},
		{"hold of old, inactive", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n", 0, "a=inactive\r\n", "PCMA",
			"invalid AddrPort"},
		{"bare line ends", strings.ReplaceAll(head, "\r\n", "\n") + "m=audio 4000 RTP/AVP 8\n", 0, "m=audio 20000", "PCMA", phoneAddr},
		{"bandwidth of a new kind", strings.Replace(head, "t=", "b=X-NEW:1\r\nt=", 1) + "m=audio 4000 RTP/AVP 8\r\n", 0, "m=audio 20000", "PCMA",
			phoneAddr},

		{"SRTP alone", head + "m=audio 4000 RTP/SAVP 8\r\n", 488, "RTP/SAVP", "", ""},
		{"WebRTC", head + "m=audio 4000 UDP/TLS/RTP/SAVPF 8\r\n", 488, "SAVPF", "", ""},
		{"no codec", head + "m=audio 4000 RTP/AVP 3 18\r\n", 488, "no codec in common", "", ""},
		{"G722 of another rate", head + "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 G722/16000\r\n", 488, "no codec in common", "", ""},
		{"no audio", head + "m=image 4000 udptl t38\r\n", 488, "no audio line", "", ""},
		{"audio switched off", head + "m=audio 0 RTP/AVP 8\r\n", 488, "switched off", "", ""},
		{"host name", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 phone.example\r\n", 488, "IP address", "", ""},
		{"no address", strings.Replace(head, "c=IN IP4 192.0.2.20\r\n", "", 1) + "m=audio 4000 RTP/AVP 8\r\n", 488, "IP address", "", ""},
		{"multicast", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 224.1.2.3/127\r\n", 488, "multicast", "", ""},
		{"broadcast", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 255.255.255.255\r\n", 488, "broadcast", "", ""},
		{"loopback", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 127.0.0.1\r\n", 488, "loopback", "", ""},
		{"loopback in disguise", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP6 ::ffff:127.0.0.1\r\n", 488, "loopback", "", ""},
		{"network 0", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 0.1.2.3\r\n", 488, "reserved", "", ""},
		{"link-local", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 169.254.1.1\r\n", 488, "link-local", "", ""},
		{"our own address", head + "m=audio 20000 RTP/AVP 8\r\nc=IN IP4 192.0.2.1\r\n", 488, "our own", "", ""},
		{"low port", head + "m=audio 53 RTP/AVP 8\r\n", 488, "below 1024", "", ""},
		{"IPv6", head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP6 2001:db8::5\r\n", 488, "IP version", "", ""},

		{"empty", "", 400, "no m= line", "", ""},
		{"no media", head, 400, "no m= line", "", ""},
		{"something else", "hello\r\n", 400, "no type", "", ""},
		{"not version 0", "v=1\r\nm=audio 4000 RTP/AVP 8\r\n", 400, "v=0", "", ""},
		{"port that is none", head + "m=audio 70000 RTP/AVP 8\r\n", 400, "no port", "", ""},
		{"short m=", head + "m=audio 4000\r\n", 400, "too short", "", ""},
		{"strange c=", head + "c=IN IP5 1.2.3.4\r\nm=audio 4000 RTP/AVP 8\r\n", 400, "c=", "", ""},
		{"control character", head + "m=audio 4000 RTP/AVP 8\rm=x 1 2 3\r\n", 400, "control character", "", ""},
		{"too many lines", head + strings.Repeat("m=audio 0 RTP/AVP 8\r\n", 17), 400, "more than 16", "", ""},
		{"too long", head + strings.Repeat("a=x\r\n", 4000), 400, "longer than", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := idle(t)
			answer, err := s.Answer([]byte(tt.offer))
			if tt.code != 0 {
				if code(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v, want %d, %q", err, tt.code, tt.want)
				}
				if s.terms != nil || s.version != 0 {
					t.Errorf("a refused offer has changed the session: %+v", s.terms)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			at := strings.Index(string(answer), "m=")
			if at < 0 || !strings.HasPrefix(string(answer[at:]), tt.want) && !strings.HasSuffix(string(answer), tt.want) {
				t.Errorf("answer\n%s\nwant\n%s", answer, tt.want)
			}
			if got := s.Codec(); got != tt.codec {
				t.Errorf("codec %s, want %s", got, tt.codec)
			}
			if got := s.terms.addr.String(); got != tt.to {
				t.Errorf("RTP goes to %s, want %s", got, tt.to)
			}
			if !strings.Contains(tt.offer, "udptl") {
				wellFormed(t, answer)
			}
		})
	}
}

func wellFormed(t *testing.T, b []byte) {
	t.Helper()
	var d sdp.SessionDescription
	if err := d.Unmarshal(b); err != nil {
		t.Errorf("%v:\n%s", err, b)
	}
}

// Addresses that are refused are a matter of configuration.
func TestAllowedNetworksAreServed(t *testing.T) {
	allow := func(c *Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	if _, err := idle(t, allow).Answer([]byte(head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 127.0.0.1\r\n")); err != nil {
		t.Error(err)
	}
}

func TestBroadcastAddresses(t *testing.T) {
	for network, want := range map[string]string{"10.1.2.3/8": "10.255.255.255", "192.168.7.9/24": "192.168.7.255",
		"192.168.7.9/29": "192.168.7.15", "10.0.0.0/31": "invalid IP", "2001:db8::/64": "invalid IP"} {
		if got := broadcast(netip.MustParsePrefix(network)).String(); got != want {
			t.Errorf("%s: %s, want %s", network, got, want)
		}
	}
}

func TestAnswersToOurOffer(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		code         int
		codec        string
		sends, hears bool
	}{
		{"PCMA", head + "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n", 0, "PCMA", true, true},
		{"several: the first counts", head + "m=audio 4000 RTP/AVP 0 9\r\n", 0, "PCMU", true, true},
		{"what was not offered is passed over", head + "m=audio 4000 RTP/AVP 96 8\r\na=rtpmap:96 PCMU/8000\r\n", 0, "PCMA", true, true},
		{"held at once", head + "m=audio 4000 RTP/AVP 8\r\na=sendonly\r\n", 0, "PCMA", false, true},
		{"listens only", head + "m=audio 4000 RTP/AVP 8\r\na=recvonly\r\n", 0, "PCMA", true, false},
		{"nothing that was offered", head + "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 PCMU/8000\r\n", 488, "", false, false},
		{"audio refused", head + "m=audio 0 RTP/AVP 8\r\n", 488, "", false, false},
		{"another profile", head + "m=audio 4000 RTP/SAVP 8\r\n", 488, "", false, false},
		{"too many lines", head + "m=audio 4000 RTP/AVP 8\r\nm=video 0 RTP/AVP 9\r\n", 400, "", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := idle(t)
			s.Offer()
			err := s.Accept([]byte(tt.answer))
			if code(err) != tt.code || err != nil && tt.code == 0 {
				t.Fatal(err)
			}
			if got := s.Codec(); got != tt.codec {
				t.Errorf("codec %s, want %s", got, tt.codec)
			}
			if sends, hears := s.Directions(); sends != tt.sends || hears != tt.hears {
				t.Errorf("sends %v, hears %v", sends, hears)
			}
			if tt.code == 0 {
				if err := s.Accept([]byte(tt.answer)); err != nil {
					t.Errorf("the same answer again: %v", err)
				}
			}
		})
	}
	if err := idle(t).Accept([]byte(head + "m=audio 4000 RTP/AVP 8\r\n")); err == nil {
		t.Error("an answer was taken without an offer")
	}
}

// The version of o= rises by one if, and only if, the description changes;
// m= lines stay, and payload types keep their meaning (RFC 3264 §8).
func TestLaterNegotiations(t *testing.T) {
	s := idle(t)
	ask := func(offer, version string, has ...string) {
		t.Helper()
		b, err := s.Answer([]byte(offer))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range append(has, "o=- 7 "+version+" IN") {
			if !strings.Contains(string(b), h) {
				t.Errorf("the answer has no %q:\n%s", h, b)
			}
		}
	}
	first := head + "m=video 5000 RTP/AVP 99\r\nm=audio 4000 RTP/AVP 97 96\r\na=rtpmap:97 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\n"
	ask(first, "1", "a=sendrecv")
	ask(first, "1", "a=sendrecv")
	ask(first+"a=sendonly\r\n", "2", "a=recvonly")
	ask(first, "3", "a=sendrecv")
	ask(strings.Replace(first, "192.0.2.20\r\nt=", "192.0.2.21\r\nt=", 1), "3")
	if got := s.terms.addr.String(); got != "192.0.2.21:4000" {
		t.Errorf("RTP goes to %s", got)
	}
	if _, err := s.Answer([]byte(head + "m=audio 4000 RTP/AVP 8\r\n")); code(err) != 400 {
		t.Errorf("an offer with fewer lines: %v", err)
	}
	if _, err := s.Answer([]byte(strings.Replace(first, "PCMA", "L16", 1))); code(err) != 488 || s.terms.addr.String() != "192.0.2.21:4000" {
		t.Errorf("an offer without a codec: %v, %s", err, s.terms.addr)
	}

	b := string(s.Offer())
	for _, h := range []string{"o=- 7 4 IN", "m=video 0 RTP/AVP 99\r\nm=audio 20000 RTP/AVP 97 9 0 96\r\n", "a=rtpmap:97 PCMA/8000",
		"a=rtpmap:96 telephone-event/8000", "a=sendrecv"} {
		if !strings.Contains(b, h) {
			t.Errorf("the offer has no %q:\n%s", h, b)
		}
	}
	if s.Codec() != "PCMA" || s.terms.addr.String() != "192.0.2.21:4000" {
		t.Error("an offer has changed something before its answer")
	}
	if err := s.Accept([]byte(head +
		"m=video 0 RTP/AVP 99\r\nm=audio 4444 RTP/AVP 9 96\r\na=rtpmap:96 telephone-event/8000\r\n")); err != nil {
		t.Fatal(err)
	}
	if s.Codec() != "G722" || s.terms.addr.String() != "192.0.2.20:4444" || s.terms.event != 96 {
		t.Errorf("agreed on %s to %s, event %d", s.Codec(), s.terms.addr, s.terms.event)
	}
}

// The phone's further codecs are not part of our answer, and offered anew.
func TestOffersAfterAnAnswer(t *testing.T) {
	s := idle(t)
	if _, err := s.Answer([]byte(head + "m=audio 4000 RTP/AVP 0 97 9\r\na=rtpmap:97 PCMA/8000\r\n")); err != nil {
		t.Fatal(err)
	}
	if b := string(s.Offer()); !strings.Contains(b, "m=audio 20000 RTP/AVP 0 9 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:9 G722/8000\r\n"+
		"a=rtpmap:8 PCMA/8000\r\n") {
		t.Error(b)
	}
}

func TestOurMachineIsNotCalled(t *testing.T) {
	s := idle(t)
	s.ports.own = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.ParseIP("198.51.100.9"), Mask: net.CIDRMask(24, 32)}, &net.IPAddr{}}, nil
	}
	for at, want := range map[string]string{
		"198.51.100.9": "an address of this machine", "198.51.100.255": "broadcast address", "198.51.100.10": "",
	} {
		_, err := s.Answer([]byte(head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 " + at + "\r\n"))
		if want == "" && err != nil || want != "" && (code(err) != 488 || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", at, err, want)
		}
	}
	s.ports.own = func() ([]net.Addr, error) { return nil, errors.New("none") }
	if _, err := s.Answer([]byte(head + "m=audio 4000 RTP/AVP 8\r\n")); code(err) != 488 {
		t.Errorf("without knowing the machine's addresses: %v", err)
	}
}

// 101 may be the number of a codec of the phone's.
func TestOfferedEventsFindANumber(t *testing.T) {
	s := idle(t)
	if _, err := s.Answer([]byte(head + "m=audio 4000 RTP/AVP 101\r\na=rtpmap:101 PCMA/8000\r\n")); err != nil {
		t.Fatal(err)
	}
	if b := string(s.Offer()); !strings.Contains(b, "m=audio 20000 RTP/AVP 101 9 0 102\r\n") {
		t.Error(b)
	}
}

func TestConfigIsChecked(t *testing.T) {
	ok := Config{Address: netip.MustParseAddr("192.0.2.1"), MinPort: 20000, MaxPort: 20001}
	for _, tt := range []struct {
		field  string
		change func(*Config)
	}{
		{"", func(*Config) {}},
		{"Address", func(c *Config) { c.Address = netip.Addr{} }},
		{"Address", func(c *Config) { c.Address = netip.IPv4Unspecified() }},
		{"Listen", func(c *Config) { c.Listen = netip.IPv6Unspecified() }},
		{"", func(c *Config) { c.Listen = netip.IPv4Unspecified() }},
		{"MinPort", func(c *Config) { c.MinPort = 1000 }},
		{"MinPort", func(c *Config) { c.MinPort = 20001 }},
		{"MinPort", func(c *Config) { c.MaxPort = 20000 }},
		{"", func(c *Config) { c.MinPort, c.MaxPort = 65534, 65535 }},
	} {
		cfg := ok
		tt.change(&cfg)
		_, err := NewPorts(cfg)
		if tt.field == "" && err != nil || tt.field != "" && (err == nil || !strings.Contains(err.Error(), tt.field)) {
			t.Errorf("want an error of %q, got %v", tt.field, err)
		}
	}
}

func TestPortsRunOut(t *testing.T) {
	p := ports(t, siptest.NewNetwork())
	seen := map[uint16]bool{}
	var all []*Session
	for range p.Pairs() {
		s, err := p.Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.Port()%2 != 0 || seen[s.Port()] || s.Port() < 20000 || s.Port() > 20006 {
			t.Errorf("port %d", s.Port())
		}
		seen[s.Port()] = true
		all = append(all, s)
	}
	if _, err := p.Open(Options{}); !errors.Is(err, ErrNoPorts) {
		t.Errorf("got %v", err)
	}
	all[2].Close()
	all[2].Close()
	if p.InUse() != 3 {
		t.Errorf("%d in use", p.InUse())
	}
	s, err := p.Open(Options{})
	if err != nil || s.Port() != all[2].Port() {
		t.Fatalf("after one was closed: %v", err)
	}
	s.Close()
}

// A port that another process holds is passed over, with the pair it belongs to.
func TestPortsOfOthersArePassedOver(t *testing.T) {
	n := siptest.NewNetwork()
	p := ports(t, n, func(c *Config) {
		listen := c.ListenUDP
		c.ListenUDP = func(at netip.AddrPort) (Conn, error) {
			if at.Port() != 20004 && at.Port() != 20005 {
				if at.Port()%2 == 1 {
					return nil, errors.New("address already in use")
				}
			}
			return listen(at)
		}
	})
	s, err := p.Open(Options{})
	if err != nil || s.Port() != 20004 {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := p.Open(Options{}); !errors.Is(err, ErrNoPorts) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}

func TestSystemSockets(t *testing.T) {
	p, err := NewPorts(Config{Address: netip.MustParseAddr("127.0.0.1"), MinPort: 30000, MaxPort: 60000})
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
