//go:build interop

package interop

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// Who follows the page on Kamailio gets what it promises: the same words of
// `sipxrest check`, calls in both flows, and calls that come in.
func TestTheGuideOfKamailio(t *testing.T) {
	t.Parallel()
	followGuide(t, lab.StartGuide(t, "../../../docs/pbx/kamailio.md"))
}

// Asterisk is in no stable Debian: this is for machines that have it.
func TestTheGuideOfAsterisk(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("asterisk"); err != nil {
		t.Skip("the guide of Asterisk is not run: ", err)
	}
	followGuide(t, lab.StartGuide(t, "../../../docs/pbx/asterisk.md"))
}

func followGuide(t *testing.T, g *lab.Guide) {
	calling := g.Phone("201", lab.PhoneConfig{})
	called := g.Phone("202", lab.PhoneConfig{AnswerDelay: 500 * time.Millisecond})
	third := g.Phone("203", lab.PhoneConfig{})
	s := g.Service()
	st := s.Follow("201", "/v1/events")
	g.Run(t, "check", func(t *testing.T) {
		said, ok := g.Checks("--user", "201")
		if !ok || len(g.Check) < 3 {
			t.Errorf("check fails, or the page does not show it:\n%s", strings.Join(said, "\n"))
		}
		for _, line := range g.Check {
			if !slices.Contains(said, line) {
				t.Errorf("check does not say %q, but\n%s", line, strings.Join(said, "\n"))
			}
		}
	})
	g.Run(t, "by REFER", func(t *testing.T) {
		s.Post(call201to202)
		inCall(calling, called)
		called.HangUp()
		calling.AwaitOnHook()
	})
	g.Run(t, "by INVITE, held and transferred", func(t *testing.T) {
		id := place(t, s, "")
		st.AwaitEvent(id, "call.connected", lab.Patience)
		inCall(calling, called)
		act(t, s, "/v1/calls/"+id+"/actions/hold", `{"leg":"l1"}`, 200)
		called.AwaitNothingHeard()
		act(t, s, "/v1/calls/"+id+"/actions/unhold", `{"leg":"l1"}`, 200)
		calling.AwaitAudio()
		called.AwaitAudio()
		act(t, s, "/v1/calls/"+id+"/transfers", `{"to":"203","leaver":"called"}`, 202)
		st.AwaitEvent(id, "transfer.completed", lab.Patience)
		called.AwaitOnHook()
		third.AwaitTalk() // the recording of 201 has more than one tone
		calling.AwaitTalk()
		third.AwaitHears(calling)
		if a := s.V1("DELETE", "201", "/v1/calls/"+id, ""); a.Code != 200 {
			t.Errorf("DELETE: %d %s", a.Code, a.Body)
		}
		calling.AwaitOnHook()
		third.AwaitOnHook()
	})
	g.Run(t, "a call that comes in", func(t *testing.T) {
		third.Dial("5000")
		third.AwaitInCallWith("5000")
		inCall(third, called)
		called.HangUp()
		third.AwaitOnHook()
	})
	var page struct {
		Data []struct {
			Kind string `json:"kind"`
		} `json:"data"`
	}
	if a := s.V1("GET", "201", "/v1/calls", ""); json.Unmarshal([]byte(a.Body), &page) != nil || len(page.Data) < 2 {
		t.Errorf("/v1/calls: %d %s", a.Code, a.Body)
	}
}
