//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/phone"
)

// A phone that encrypts its audio, always or when the other side does, calls a user
// over WebSocket and is called by him: each hears the other's tone, also after a hold.
func TestSRTPPhones(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, phone, here string
		called            bool // encrypted when it is called
	}{
		{"mandatory", "srtp-mand", "required", true},
		{"mandatory for the phone", "srtp-mand", "offered", false},
		{"optional for the phone", "srtp", "offered", false},
		{"optional for the phone and required here", "srtp", "required", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sip := net.JoinHostPort("127.0.0.1", strconv.Itoa(lab.Ports(t, 1)))
			rtp := lab.Ports(t, 8)
			l := lab.Start(t, map[string]string{"5000": sip})
			desk := l.Phone("202", lab.PhoneConfig{AnswerDelay: 500 * time.Millisecond, Encryption: tt.phone})
			s := l.ServiceAt(sip, fmt.Sprintf(`phone:
  enabled: true
  sip: {enabled: true, rtp-ports: %d-%d, agent: "209", media-allow: [127.0.0.0/8], srtp: %s}
dispatch:
  trunks: [{name: kamailio, sources: [127.0.0.1]}]
  rules: [{id: sam, numbers: ["5000"], action: transfer, transfer_to: "phone:sam"}]`, rtp, rtp+7, tt.here))
			store, err := phone.Open(filepath.Join(l.Dir, "data", "phone.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			sam, kim := newSoftphone(t, s, store, "sam"), newSoftphone(t, s, store, "kim")
			for _, err := range []error{store.Relate(t.Context(), phone.Favorite, kim.user.ID, sam.user.ID),
				store.Relate(t.Context(), phone.Favorite, sam.user.ID, kim.user.ID), store.SetSIP(t.Context(), kim.user.ID, "sip:202@sipx.test")} {
				if err != nil {
					t.Fatal(err)
				}
			}
			encrypted := regexp.MustCompile(`SRTP is Enabled \(cryptosuite=A`)
			const hz = 1000
			l.Run(t, "a phone calls", func(t *testing.T) {
				from := desk.Mark()
				sam.listen()
				desk.Dial("5000")
				var call struct{ ContentID string }
				if err := json.Unmarshal([]byte(sam.notified(l, "incomingPhoneCall")), &call); err != nil {
					t.Fatal(err)
				}
				ws := sam.dial("phone/socket/answer/" + call.ContentID)
				sam.talk(ws, hz)
				if _, err := desk.AwaitLine(from, encrypted, lab.Patience); err != nil {
					t.Error(err)
				}
				sam.hears(l, desk.Tone)
				desk.AwaitTone(hz, "sam")
				desk.Hold()
				desk.Resume()
				sam.hears(l, desk.Tone)
				if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
					t.Error(err)
				}
				desk.AwaitOnHook()
				// What it prints comes later than what it tells: the next call must not see it.
				if _, err := desk.AwaitLine(from, regexp.MustCompile(`terminated \(duration`), lab.Patience); err != nil {
					t.Error(err)
				}
				sam.notified(l, "phoneCallEnded")
			})
			if tt.phone == "srtp-mand" && !tt.called {
				return // it takes no offer of plain RTP
			}
			l.Run(t, "a user calls", func(t *testing.T) {
				from := desk.Mark()
				ws := sam.dial("phone/socket/initiate/" + phone.NewID().String() + "/to/" + kim.user.ID.String())
				sam.talk(ws, hz+200)
				sam.hears(l, desk.Tone)
				desk.AwaitTone(hz+200, "sam")
				if _, err := desk.AwaitLine(from, encrypted, time.Millisecond); (err == nil) != tt.called {
					t.Errorf("encrypted: %v, want %v", err == nil, tt.called)
				}
				desk.HangUp()
				sam.ended(l, websocket.StatusGoingAway)
				desk.AwaitOnHook()
			})
			if log := strings.Join(s.Lines(), "\n"); strings.Contains(log, "inline:") || strings.Count(log, "keys go over SIP in the clear") != 1 {
				t.Errorf("what the log says of keys:\n%s", log)
			}
		})
	}
}
