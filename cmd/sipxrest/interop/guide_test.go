//go:build interop

package interop

import (
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
	followGuide(t, lab.StartGuide(t, "../../../docs/pbx/kamailio.md", ""))
}

// Asterisk is in no stable Debian: this is for machines that have it.
func TestTheGuideOfAsterisk(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("asterisk"); err != nil {
		t.Skip("the guide of Asterisk is not run: asterisk is not installed, and Debian 12 has no package: it was run with that of Debian sid")
	}
	for _, variant := range []string{"by address", "by digest"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			followGuide(t, lab.StartGuide(t, "../../../docs/pbx/asterisk.md", variant))
		})
	}
}

func followGuide(t *testing.T, g *lab.Guide) {
	calling := g.Phone("201", lab.PhoneConfig{NoJitterBuffer: true})
	called := g.Phone("202", lab.PhoneConfig{NoJitterBuffer: true, AnswerDelay: 500 * time.Millisecond})
	third := g.Phone("203", lab.PhoneConfig{NoJitterBuffer: true})
	s := g.Service()
	st := s.Follow("201", "/v1/events")
	g.Run(t, "check", func(t *testing.T) { checks(t, g) })
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
		if !strings.Contains(g.Files["sipxrest.yaml"], "dispatch:") {
			return // not by this variant
		}
		third.Dial("5000")
		third.AwaitInCallWith("5000")
		inCall(third, called)
		called.HangUp()
		third.AwaitOnHook()
	})
}

// A PBX that knows us as a trunk by a name of its own, whatever From says: calls to its
// numbers, and calls that it sends.
func TestTheGuideOfTrunks(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("asterisk"); err != nil {
		t.Skip("the guide of trunks is not run: asterisk is not installed, and Debian 12 has no package: it was run with that of Debian sid")
	}
	g := lab.StartGuide(t, "../../../docs/pbx/trunks.md", "")
	agent := g.Phone("202", lab.PhoneConfig{NoJitterBuffer: true})
	telephone := g.Phone("203", lab.PhoneConfig{NoJitterBuffer: true})
	s := g.Service()
	g.Run(t, "check", func(t *testing.T) { checks(t, g) })
	g.Run(t, "to a number", func(t *testing.T) {
		a := s.V1("POST", "trunk", "/dialout", `{"type":"dialout","dialout":{"number":"+493055500203"}}`)
		if a.Code != 200 && a.Code != 201 {
			t.Fatalf("POST /dialout: %d %s", a.Code, a.Body)
		}
		inCall(telephone, agent)
		telephone.HangUp()
		agent.AwaitOnHook()
	})
	g.Run(t, "a call that comes in", func(t *testing.T) {
		telephone.Dial("5000")
		telephone.AwaitInCallWith("5000")
		inCall(telephone, agent)
		agent.HangUp()
		telephone.AwaitOnHook()
	})
}

// checks compares what check says with the page.
func checks(t *testing.T, g *lab.Guide) {
	said, ok := g.Checks()
	if !ok || len(g.Check) < 3 {
		t.Errorf("check fails, or the page does not show it:\n%s", strings.Join(said, "\n"))
	}
	for _, line := range g.Check {
		if !slices.Contains(said, line) {
			t.Errorf("check does not say %q, but\n%s", line, strings.Join(said, "\n"))
		}
	}
}
