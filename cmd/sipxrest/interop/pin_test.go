//go:build interop

package interop

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// A telephone hears that a PIN is wanted and enters it by RFC 4733, as real ones do. A
// wrong one is told, and after the right one the telephone talks to the room itself.
func TestAPINIsEnteredByTelephone(t *testing.T) {
	t.Parallel()
	const enter, wrong, goodbye, ringing = 700, 900, 1100, 425
	for codec, wide := range map[string]bool{"G.711": false, "G.722": true} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			sip, rtp := net.JoinHostPort("127.0.0.1", strconv.Itoa(lab.Ports(t, 1))), lab.Ports(t, 8)
			l := lab.Start(t, map[string]string{"5000": sip})
			caller := l.Phone("201", lab.PhoneConfig{G722: wide})
			room := l.Phone("202", lab.PhoneConfig{G722: wide, Manual: true})
			l.ServiceAt(sip, fmt.Sprintf(`dispatch:
  trunks: [{name: kamailio, sources: [127.0.0.1]}]
  rooms: {support: "sip:202@sipx.test"}
  agent: "209"
  audio: {address: 127.0.0.1, rtp-ports: %d-%d, media-allow: [127.0.0.0/8], prompts: %q}
  rules:
  - {id: pin, numbers: ["5000"], action: answer, room_name: support, pin: "4711"}`, rtp, rtp+7,
				l.Prompts(map[string]float64{"en/enter-pin": enter, "en/wrong-pin": wrong, "en/goodbye": goodbye})))

			caller.Dial("5000")
			caller.AwaitInCallWith("5000")
			caller.AwaitTone(enter, "the prompt")
			caller.Press("12#")
			caller.AwaitTone(wrong, "the prompt")
			caller.Press("4711#") // in the prompt's place
			room.AwaitRinging()
			caller.AwaitTone(ringing, "the room")
			room.Answer()
			inCall(caller, room)
			caller.HangUp()
			caller.AwaitOnHook()
			room.AwaitOnHook()

			caller.Dial("5000")
			caller.Await("its second call", func(c lab.Call) bool { return c.State == "established" })
			caller.Press("1#2#3#")
			caller.AwaitTone(goodbye, "the prompt")
			caller.AwaitOnHook()
			if n := len(room.Calls()); n != 1 {
				t.Errorf("the room was called %d times", n)
			}
		})
	}
}
