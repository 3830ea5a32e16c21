package sfu

import (
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"sipxrest/media"
)

// turnServer is one that takes users whose passwords are made of a secret.
func turnServer(t *testing.T, secret string) string {
	t.Helper()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := turn.NewServer(turn.ServerConfig{Realm: "example", AuthHandler: turn.LongTermTURNRESTAuthHandler(secret, nil),
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: socket,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return "turn:" + socket.LocalAddr().String() + "?transport=udp"
}

func withServers(t *testing.T, servers ...ICEServer) *SFU {
	t.Helper()
	s, err := New(Config{Address: netip.MustParseAddr("127.0.0.1"), Loopback: true, Servers: servers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Credentials made of coturn's static-auth-secret get a relayed candidate.
func TestARelayIsFoundBySecret(t *testing.T) {
	for name, secret := range map[string]string{"right": "the secret", "wrong": "another one"} {
		s := withServers(t, ICEServer{URLs: []string{turnServer(t, "the secret")}, Secret: secret, Username: "sipxrest"})
		s.serverTime = patience // on a busy machine
		p, offer, err := s.Publish(media.G722, Events{})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(offer, "typ relay"); got != (secret == "the secret") {
			t.Errorf("%s: a relayed candidate is %v in\n%s", name, got, offer)
		}
		if !strings.Contains(offer, "typ host") || strings.Contains(offer, secret) {
			t.Errorf("%s: %s", name, offer)
		}
		p.Close()
	}
}

// A server that does not answer holds up an offer for a second.
func TestAServerThatIsSilent(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := withServers(t, ICEServer{URLs: []string{"turn:" + silent.LocalAddr().String()}, Username: "u", Credential: "c"},
		ICEServer{URLs: []string{"stun:" + silent.LocalAddr().String()}})
	for tries := 1; ; tries++ {
		from := time.Now()
		p, offer, err := s.Publish(media.PCMA, Events{})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		if !strings.Contains(offer, "typ host") {
			t.Errorf("no candidate of ours: %s", offer)
		}
		took := time.Since(from)
		if took < 5*serverTime {
			return
		}
		if tries == 10 { // not the machine's fault
			t.Fatalf("after %v", took)
		}
	}
}

// The user is the time until which it is good, with a name behind it.
func TestCredentialsOfASecret(t *testing.T) {
	s := ICEServer{Secret: "north", Username: "x"}
	user, password := s.credentials(time.Unix(1_700_000_000, 0))
	if user != "1700086400:x" || password != "dM2kZWP1gnQibA97RNO4HmmcFDw=" {
		t.Errorf("%s %s", user, password)
	}
	if s.Username = ""; true {
		if user, _ := s.credentials(time.Unix(1_700_000_000, 0)); user != "1700086400" {
			t.Errorf("%s", user)
		}
	}
	if text := (ICEServer{URLs: []string{"turn:x"}, Secret: "north", Credential: "south"}).String(); text != "turn:x" {
		t.Errorf("%s", text)
	}
}

// Behind a NAT the media server is told the other address.
func TestTheExternalAddressIsTold(t *testing.T) {
	s, err := New(Config{Address: netip.MustParseAddr("127.0.0.1"), Loopback: true, External: netip.MustParseAddr("203.0.113.7")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, offer, err := s.Publish(media.PCMU, Events{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	found := regexp.MustCompile(`a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host`).FindAllStringSubmatch(offer, -1)
	if len(found) != 1 || found[0][1] != "203.0.113.7" || strings.Contains(offer, "127.0.0.1") {
		t.Errorf("%q in\n%s", found, offer)
	}
}

// The offer has one codec, no data channel, and no way to send us anything.
func TestWhatIsOffered(t *testing.T) {
	r := newRig(t)
	for codec, want := range map[media.Codec]string{media.G722: "9", media.PCMU: "0", media.PCMA: "8"} {
		p, offer, err := r.sfu.Publish(codec, Events{})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		for _, want := range []string{"m=audio 9 UDP/TLS/RTP/SAVPF " + want + "\r\n", "a=sendonly\r\n", "a=setup:actpass\r\n",
			"a=end-of-candidates\r\n"} {
			if strings.Count(offer, want) != 1 {
				t.Errorf("%v: no %q in\n%s", codec, want, offer)
			}
		}
		if strings.Count(offer, "\r\nm=") != 1 || strings.Contains(offer, "cryptex") || strings.Contains(offer, "transport-cc") {
			t.Errorf("%v: %s", codec, offer)
		}
	}
	if _, _, err := r.sfu.Publish(media.Opus, Events{}); err == nil || !strings.Contains(err.Error(), "cannot be encoded") {
		t.Errorf("Opus: %v", err)
	}
}
