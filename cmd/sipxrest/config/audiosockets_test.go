package config

import (
	"fmt"
	"net/netip"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
)

// SIP and Janus need not be reached by the same address: sockets for audio are bound
// to the one that is told, if this machine has it.
func TestSocketsForAudioAreBoundToTheAddressThatIsTold(t *testing.T) {
	for _, tt := range []struct{ address, bound, external string }{
		{"127.0.0.1", "127.0.0.1", ""},
		{"203.0.113.9", "127.0.0.3", "203.0.113.9"}, // a NAT's
	} {
		t.Run(tt.address, func(t *testing.T) {
			c, err := Load(Source{File: apptest.Write(t, t.TempDir(), "sipxrest.yaml", fmt.Sprintf(`domain: sipx.test
users: [users.yaml]
sip: {listen: ["udp:127.0.0.3:5060"]}
dialout:
  servers: [{url: "https://s.example", secret: s, backends: [{url: "https://c.example/", sip-secret: t}]}]
  gateway: {uri: "sip:g.example"}
  audio: {address: %s}
`, tt.address))})
			if err != nil {
				t.Fatal(err)
			}
			phones, err := c.AudioMedia()
			if err != nil {
				t.Fatal(err)
			}
			servers, err := c.SFU()
			if err != nil {
				t.Fatal(err)
			}
			if phones.Address != netip.MustParseAddr(tt.address) || phones.Listen != netip.MustParseAddr(tt.bound) {
				t.Errorf("phones are told %v, sockets are bound to %v", phones.Address, phones.Listen)
			}
			var external netip.Addr
			if tt.external != "" {
				external = netip.MustParseAddr(tt.external)
			}
			if servers.Address != netip.MustParseAddr(tt.bound) || servers.External != external {
				t.Errorf("the socket for media servers is bound to %v, which are told %v", servers.Address, servers.External)
			}
		})
	}
}
