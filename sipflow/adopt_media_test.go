package sipflow

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// heirSDP is the media of the owner of a call at the node that takes it over.
var heirSDP = strings.ReplaceAll(ourSDP, "10.0.0.1", "10.0.0.8")

// mediaCase is a call to 201 whose media end at a node that dies.
type mediaCase struct {
	name    string
	phone   siptest.Script
	dial    bool // 201 is a number by way of a gateway
	absent  bool // its owner has no media at the heir
	refused bool // its owner does not want it to go on
	after   func(t *testing.T, c *cluster, phone *siptest.Phone)
	taken   string // what comes of it
	events  string // what its owner is told at the heir
	answers int    // that its owner gets there
}

func (mc *mediaCase) run(t *testing.T, n *siptest.Network) {
	there, k := &audio{}, &taken{}
	conversation := func() *Conversation {
		end := there.conversation()
		end.Offer = func() []byte { return []byte(heirSDP) }
		return end
	}
	resumed := 0
	c := newCluster(t, n, func(cfg *Config) {
		cfg.Resume = func(spec *Spec, record []byte, joined bool) bool {
			resumed++
			if spec.Kept.Door != "talk" || string(record) != "room 1" || !joined || spec.Converse == nil {
				t.Errorf("Resume is told of %+v, %q, joined %v", spec.Kept, record, joined)
			}
			spec.Observe = k.observe
			if !mc.absent {
				*spec.Converse = *conversation()
			}
			return !mc.refused
		}
	})
	phone := c.phone("201", phoneAddr, mc.phone)
	here := &audio{}
	spec := Spec{ID: "call_1", Key: Key{Agent: "200@sipx.test", Calling: "talk-1", Called: "201@sipx.test"}, Method: MethodInvite,
		AgentName:  "Sam",
		CalledUser: "201@sipx.test", Credentials: Credentials{Username: "200", Password: "secret"}, Converse: here.conversation(),
		Kept: &Kept{Door: "talk", Record: func(dst []byte) []byte { return append(dst, "room 1"...) }}}
	if mc.dial {
		spec.Dial = dialsNumber(false)
	}
	if _, err := c.first.sw.Place(t.Context(), spec, Converse); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	c.crash()
	time.Sleep(5 * time.Second)
	c.takeOver(true)
	time.Sleep(10 * time.Second)
	synctest.Wait()
	if mc.after != nil {
		mc.after(t, c, phone)
	}
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	if got := c.results(); !strings.HasPrefix(got, mc.taken) {
		t.Errorf("it came to %q, want %q", got, mc.taken)
	}
	if resumed != 1 {
		t.Errorf("Resume was called %d times", resumed)
	}
	k.mu.Lock()
	if got := strings.Join(k.events, ", "); got != mc.events {
		t.Errorf("its owner was told %q, want %q", got, mc.events)
	}
	k.mu.Unlock()
	there.mu.Lock()
	if there.answers != mc.answers {
		t.Errorf("its owner got %d answers, want %d", there.answers, mc.answers)
	}
	there.mu.Unlock()
	c.close()
}

// movedTo checks that the phone was invited with media at a host, in a newer version.
func movedTo(t *testing.T, phone *siptest.Phone, host string) {
	t.Helper()
	var last *sip.Request
	for _, r := range phone.Requests(sip.INVITE) {
		if _, inside := r.To().Params.Get("tag"); inside {
			last = r
		}
	}
	if last == nil {
		t.Fatalf("the phone was not invited again; it saw\n%s", strings.Join(phone.Log(), "\n"))
	}
	if body := string(last.Body()); !strings.Contains(body, "c=IN IP4 "+host) {
		t.Errorf("its audio goes to\n%s", body)
	}
	if contact := last.Contact(); contact == nil || contact.Address.Host != host {
		t.Errorf("its requests go to %v", contact)
	}
}

// Their owner has media at the heir, if it can.
var mediaCases = []*mediaCase{
	{name: "the phone hangs up", taken: TakenKept, events: "ended by 2, 0", answers: 1,
		after: func(t *testing.T, _ *cluster, phone *siptest.Phone) {
			movedTo(t, phone, "10.0.0.8")
			phone.HangUp()
		}},
	{name: "we hang up", dial: true, taken: TakenKept, events: "ended by 0, 0", answers: 1,
		after: func(t *testing.T, c *cluster, phone *siptest.Phone) {
			movedTo(t, phone, "10.0.0.8")
			c.heir.sw.ByID("call_1").HangUp(ErrHungUpByUser)
		}},
	{name: "the phone holds it", dial: true, taken: TakenKept, events: "ended by 1, 0", answers: 1,
		after: func(t *testing.T, _ *cluster, phone *siptest.Phone) {
			do(t, phone, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.2")})
			do(t, phone, 200, siptest.Action{Method: "INFO", Body: "Signal=5\r\n", ContentType: "application/dtmf-relay"})
			phone.HangUp()
		}},
	{name: "no media here", absent: true, taken: TakenHungUp, events: "ended by 0, 0"},
	{name: "not wanted", refused: true, taken: TakenHungUp, events: "ended by 0, 0"},
	{name: "the phone has hung up", phone: siptest.Script{HangUpAfter: 12 * time.Second}, taken: TakenHungUp,
		events: "ended by 2, 0"},
	{name: "the phone refuses", phone: siptest.Script{Reinvite: siptest.Reinvite{Status: 488}}, taken: TakenHungUp,
		events: "ended by 2, 0"},
	{name: "the phone is silent", phone: siptest.Script{Reinvite: siptest.Reinvite{Silent: true}}, taken: TakenHungUp,
		events: "ended by 2, 0"},
}

func TestMediaGoOnAtAnotherNode(t *testing.T) {
	for _, mc := range mediaCases {
		name := "kept-media-" + strings.ReplaceAll(mc.name, " ", "-")
		t.Run(mc.name, func(t *testing.T) {
			flowtest.Ladder(t, name, mc.run)
		})
	}
}
