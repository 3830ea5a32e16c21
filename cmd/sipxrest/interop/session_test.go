//go:build interop

package interop

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// Sessions that end because nobody refreshes them (RFC 4028 §10): 30 s before their
// end when the phone is to, and when the phone has not responded to us for 32 s.
func TestSessionsThatRunOut(t *testing.T) {
	for _, c := range []struct {
		name, refresher string
		from, to        time.Duration
	}{
		// On a busy machine it is seen late that the session has begun.
		{"the phone never refreshes", "uas", 40 * time.Second, 75 * time.Second},
		{"the phone has vanished", "uac", 50 * time.Second, 95 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			port := lab.Ports(t, 1)
			l := lab.Start(t, map[string]string{"205": net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
			calling := l.Phone("201", lab.PhoneConfig{})
			s := l.Service()
			peer := l.SIPp("session_expires", port, 1, "-key", "refresher", c.refresher, "-timeout", "120")
			s.Post("/callcontroller/201/205" + byInvite)
			calling.AwaitInCallWith("201")
			began := time.Now()
			if err := peer.Wait(c.to); err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(peer.Lines(), "\n"))
			}
			if took := time.Since(began); took < c.from {
				t.Errorf("hung up after %v, want %v to %v", took, c.from, c.to)
			}
			calling.AwaitOnHook()
		})
	}
}
