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

// onlyInvite is a phone that takes no UPDATE.
const onlyInvite = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"

// keptCase is a call of 201 and 202 that outlives its node. These are the cases that went
// wrong with others who take calls over.
type keptCase struct {
	name            string
	calling, called siptest.Script
	direct          bool                                                            // without a proxy
	cfg             func(*Config)                                                   // of both nodes
	during          func(t *testing.T, c *cluster, p, q *siptest.Phone, call *Call) // before the node dies
	at              time.Duration                                                   // it dies so long after that
	after           func(t *testing.T, c *cluster, p, q *siptest.Phone, call *Call) // at the heir
	moved           bool                                                            // the descriptions are others afterwards
}

func (kc *keptCase) run(t *testing.T, n *siptest.Network) {
	hop := proxyAddr
	if kc.direct {
		hop = ""
	}
	c := newClusterBy(t, n, hop, func(cfg *Config) {
		if kc.cfg != nil {
			kc.cfg(cfg)
		}
	})
	p, q := c.phone("201", phoneAddr, kc.calling), c.phone("202", calledAddr, kc.called)
	call, err := c.first.sw.Place(t.Context(), spec(func(s *Spec) {
		s.Method = MethodInvite
		if kc.direct {
			s.CallingUser, s.CalledUser = "201@10.0.0.2", "202@10.0.0.3"
		}
	}), Invite)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	if kc.during != nil {
		kc.during(t, c, p, q, call)
	}
	time.Sleep(kc.at)
	synctest.Wait()
	heardP, heardQ := p.Heard(), q.Heard()
	was := map[*siptest.Phone]int{p: len(p.Requests()), q: len(q.Requests())}
	c.crash()
	time.Sleep(5 * time.Second)
	c.takeOver(true)
	time.Sleep(3 * time.Second)
	synctest.Wait()
	for ph, heard := range map[*siptest.Phone]string{p: heardP, q: heardQ} {
		kc.refreshed(t, ph, ph.Requests()[was[ph]:], heard)
	}
	taken := c.heir.sw.ByID(call.ID())
	if c.results() != TakenKept || taken == nil {
		t.Errorf("taken over: %s; 201 saw\n%s\n202 saw\n%s", c.results(), strings.Join(p.Log(), "\n"), strings.Join(q.Log(), "\n"))
	} else {
		if kc.after != nil {
			kc.after(t, c, p, q, taken)
		}
		// Each phone reaches the other one by way of the heir.
		do(t, p, 200, siptest.Action{Method: "INFO", Body: "Signal=1\r\n", ContentType: "application/dtmf-relay"})
		do(t, q, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.3")})
		if got := p.Requests(sip.INVITE); !strings.Contains(string(got[len(got)-1].Body()), "a=sendonly") {
			t.Errorf("201 was told\n%s", got[len(got)-1].Body())
		}
		q.HangUp()
		<-taken.Done()
	}
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	c.close()
}

// refreshed checks what a phone got of the takeover: one request, from the heir, that
// changes nothing.
func (kc *keptCase) refreshed(t *testing.T, p *siptest.Phone, got []*sip.Request, heard string) {
	t.Helper()
	refreshes := 0
	for _, r := range got {
		if r.Method != sip.INVITE && r.Method != sip.UPDATE {
			continue
		}
		refreshes++
		if to := r.Contact().Address.Host; to != "10.0.0.8" {
			t.Errorf("%s names %s", r.Method, to)
		}
		if via := r.Via(); kc.direct && via.Host != "10.0.0.8" {
			t.Errorf("%s came by %s", r.Method, via.Host)
		}
		for _, h := range r.GetHeaders("Record-Route") {
			t.Errorf("%s in a dialog has Record-Route: %s", r.Method, h.Value())
		}
		if body := string(r.Body()); body != "" && body != heard && refreshes == 1 && !kc.moved {
			t.Errorf("it was told\n%s\nand before\n%s", body, heard)
		}
	}
	if refreshes == 0 {
		t.Errorf("a phone was not refreshed: it saw\n%s", strings.Join(p.Log(), "\n"))
	}
}

// asksInDialog is a phone behind a proxy that asks for credentials in every dialog.
func asksInDialog(s siptest.Script) siptest.Script {
	s.Challenge = siptest.Challenge{Methods: []sip.RequestMethod{"INVITE", "UPDATE", "BYE", "INFO"}, Realm: "sipx.test",
		User: "200", Password: "secret"}
	return s
}

var keptCases = []keptCase{
	{name: "by-update"},
	{name: "by-invite", calling: siptest.Script{Allow: onlyInvite}, called: siptest.Script{Allow: onlyInvite}},
	{name: "one-by-invite", called: siptest.Script{Allow: onlyInvite}},
	{name: "on-hold-by-phone", calling: siptest.Script{Allow: onlyInvite}, called: siptest.Script{Allow: onlyInvite},
		during: func(t *testing.T, _ *cluster, p, _ *siptest.Phone, _ *Call) {
			do(t, p, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.2")})
		}},
	{name: "on-hold-by-client", calling: siptest.Script{Allow: onlyInvite}, called: siptest.Script{Allow: onlyInvite},
		during: func(t *testing.T, _ *cluster, _, _ *siptest.Phone, call *Call) {
			if err := call.Hold(t.Context(), CalledParty, true); err != nil {
				t.Error(err)
			}
		},
		after: func(t *testing.T, c *cluster, _, _ *siptest.Phone, call *Call) {
			if err := call.Hold(t.Context(), CalledParty, false); err != nil {
				t.Error(err)
			}
			if told := c.heir.events(); !strings.HasSuffix(told, "l2 held by client, l2 resumed by client") {
				t.Errorf("told: %s", told)
			}
		}},
	{name: "muted", calling: siptest.Script{Allow: onlyInvite}, called: siptest.Script{Allow: onlyInvite},
		during: func(t *testing.T, _ *cluster, _, _ *siptest.Phone, call *Call) {
			if err := call.Mute(t.Context(), MuteSpeaking); err != nil {
				t.Error(err)
			}
		},
		after: func(t *testing.T, _ *cluster, _, _ *siptest.Phone, call *Call) {
			if err := call.Mute(t.Context(), 0); err != nil {
				t.Error(err)
			}
		}},
	{name: "after-reinvite-of-calling", calling: siptest.Script{Allow: onlyInvite}, called: siptest.Script{Allow: onlyInvite},
		during: func(t *testing.T, _ *cluster, p, _ *siptest.Phone, _ *Call) {
			do(t, p, 200, siptest.Action{Method: "INVITE"})
		}},
	{name: "after-reinvite-of-called", calling: siptest.Script{Allow: onlyInvite}, called: siptest.Script{Allow: onlyInvite},
		during: func(t *testing.T, _ *cluster, _, q *siptest.Phone, _ *Call) {
			do(t, q, 200, siptest.Action{Method: "INVITE"})
		}},
	{name: "after-reinvite-without-offer", calling: siptest.Script{Allow: onlyInvite}, called: siptest.Script{Allow: onlyInvite},
		during: func(t *testing.T, _ *cluster, _, q *siptest.Phone, _ *Call) {
			do(t, q, 200, siptest.Action{Method: "INVITE", NoBody: true})
		}, at: time.Second},
	// The answer of its ACK is lost with the node.
	{name: "within-reinvite-without-offer", moved: true,
		during: func(t *testing.T, _ *cluster, _, q *siptest.Phone, _ *Call) {
			do(t, q, 200, siptest.Action{Method: "INVITE", NoBody: true})
		}},
	{name: "two-record-routes", direct: true, calling: siptest.Script{RecordRoute: []string{"<sip:10.0.0.2:5060;lr;x=1>",
		"<sip:10.0.0.2:5060;r2=on;lr>"}},
		called: siptest.Script{RecordRoute: []string{"<sip:10.0.0.3:5060;lr;x=1>", "<sip:10.0.0.3:5060;r2=on;lr>"}, Allow: onlyInvite}},
	{name: "strict-router", direct: true, calling: siptest.Script{RecordRoute: []string{"<sip:10.0.0.2:5060>"}},
		called: siptest.Script{RecordRoute: []string{"<sip:10.0.0.3:5060>"}, Allow: onlyInvite}},
	{name: "forked", called: siptest.Script{EarlyForks: 1, Forks: 1}},
	{name: "challenged", calling: siptest.Script{}, called: siptest.Script{Allow: onlyInvite},
		during: func(_ *testing.T, _ *cluster, p, q *siptest.Phone, _ *Call) {
			p.SetScript(asksInDialog(siptest.Script{}))
			q.SetScript(asksInDialog(siptest.Script{Allow: onlyInvite}))
		}},
	{name: "session-of-ours", called: siptest.Script{Header: session("90;refresher=uac")}, at: 25 * time.Second,
		after: func(_ *testing.T, _ *cluster, _, q *siptest.Phone, _ *Call) { time.Sleep(2 * minute) }},
	{name: "session-of-theirs", called: siptest.Script{Header: session("90;refresher=uas"), Allow: onlyInvite,
		Do: []siptest.Action{{After: 40 * time.Second, Method: "UPDATE", NoBody: true, Header: session("90;refresher=uac")}}},
		at:    15 * time.Second,
		after: func(_ *testing.T, _ *cluster, _, _ *siptest.Phone, _ *Call) { time.Sleep(50 * time.Second) }},
	{name: "after-600-digits", calling: siptest.Script{Allow: onlyInvite},
		during: func(t *testing.T, _ *cluster, _, _ *siptest.Phone, call *Call) {
			for range 600 {
				if err := call.SendDTMF(t.Context(), '1', DTMFRelay); err != nil {
					t.Fatal(err)
				}
			}
		}},
}

// What FreeSWITCH's users, and others', have seen go wrong when a call is taken over.
func TestCallsThatOutliveTheirNode(t *testing.T) {
	for _, kc := range keptCases {
		t.Run(kc.name, func(t *testing.T) {
			name := "kept-" + kc.name
			if kc.name == "after-600-digits" {
				name = "" // it is long
			}
			flowtest.Ladder(t, name, kc.run)
		})
	}
}
