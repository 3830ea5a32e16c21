package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
)

// operated is a configuration with an operator's key, whose text is returned.
func operated(cfg config.Config) (config.Config, string) {
	text, key := api.NewKey("operator")
	key.Scopes, key.Agents = []api.Scope{api.Admin}, []string{"*"}
	cfg.API.Keys = append(cfg.API.Keys, key)
	return cfg, text
}

// try asks with a key, and reads the answer.
func (s *service) try(target, key, body string, into any) int {
	s.t.Helper()
	r, err := http.NewRequest("POST", s.Addrs()[0]+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode
}

func TestAnOperatorSeesWhatBecomesOfCallsThatComeIn(t *testing.T) {
	url, asked := apptest.Webhook(t, `{"room_name":"support","pin":"4711"}`)
	_, room := apptest.Phone(t, siptest.Script{})
	cfg, key := operated(dispatching(t, room, fmt.Sprintf(`
- {id: crm, name: The CRM, url: "%s/calls?token=geheim", allow_http: true, allow_private: [127.0.0.1], numbers: ['5000'], events: [ended],
   hmac_secret: sehr-geheim-sehr-geheim, headers: {X-Key: ganz-geheim}, fallback: {dispatch_action: hangup, reject_status_code: 480}}
- {id: bob, numbers: ['200'], trunks: [here], dispatch_action: transfer, transfer_to: "sip:201@sipx.test"}`, url)))
	s := start(t, cfg)
	_, text := s.get("/v1/inbound/rules", key)
	var page struct {
		Enabled bool
		Rules   []api.InboundRule
		Trunks  []api.InboundTrunk
	}
	if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Rules) != 2 || len(page.Trunks) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	crm, bob := &page.Rules[0], &page.Rules[1]
	if crm.Name != "The CRM" || *crm.URL != url+"/calls" || crm.Decision != nil || crm.Fallback.SIP != 480 || !slices.Equal(crm.Events,
		[]string{"ended"}) ||
		crm.Mode != "dial" || !strings.HasSuffix(crm.Where, "rules.yaml:2") {
		t.Errorf("%+v", crm)
	}
	if bob.URL != nil || bob.Fallback != nil || bob.Decision.To != "sip:201@sipx.test" || bob.Decision.RingMS != 30000 ||
		!slices.Equal(bob.Trunks, []string{"here"}) || !slices.Equal(page.Trunks[0].Sources, []string{"127.0.0.1"}) {
		t.Errorf("%+v %+v", bob, page.Trunks)
	}
	if strings.Contains(text, "geheim") {
		t.Errorf("a secret is shown: %s", text)
	}

	for _, tt := range []struct{ body, result, outcome string }{
		{`{"from":"+4930123","to":"200","source":"127.0.0.1"}`, "decided", "transfer: sip:201@sipx.test is called"},
		{`{"from":"+4930123","to":"5000","source":"127.0.0.1"}`, "webhook_not_asked", "that of the webhook, which was not asked"},
		{`{"from":"+4930123","to":"5000","trunk":"here","ask":true}`, "decided",
			"answer: room support, sip:support@sipx.test is called, once the caller"},
		{`{"from":"+4930123","to":"5001","trunk":"here"}`, "no_rule", "404 Not Found"},
		{`{"from":"201","to":"200","source":"203.0.113.9"}`, "no_rule", "404 Not Found"},
	} {
		var trial api.InboundTrial
		if code := s.try("/v1/inbound/try", key, tt.body, &trial); code != 200 {
			t.Errorf("%s: %d", tt.body, code)
		}
		if trial.Result != tt.result || !strings.HasPrefix(trial.Outcome, tt.outcome) || len(trial.Rules) != 2 {
			t.Errorf("%s: %+v", tt.body, trial)
		}
		if strings.Contains(trial.Request, "geheim") || strings.Contains(trial.Answer, "4711") {
			t.Errorf("%s: a secret is shown: %s %s", tt.body, trial.Request, trial.Answer)
		}
		if tt.result == "decided" && strings.Contains(tt.body, "ask") && (trial.TookMS == nil || !trial.Decision.PIN || trial.Answer == "") {
			t.Errorf("%s: %+v", tt.body, trial)
		}
		if trial.Prove != strings.Contains(tt.body, "203.0.113.9") {
			t.Errorf("%s: whether he has to prove who he is: %t", tt.body, trial.Prove)
		}
	}
	if got := apptest.NextEvent(t, asked); got["event"] != "invite" || got["to_user"] != "5000" {
		t.Errorf("the webhook was asked %v", got)
	}
	var problem api.Problem
	if code := s.try("/v1/inbound/try", key, `{"from":"1","to":"2","trunk":"nowhere"}`, &problem); code != 400 ||
		problem.Errors[0].Pointer != "/trunk" {
		t.Errorf("%d %+v", code, problem)
	}
}

func TestAnOperatorSeesHowTheServiceFares(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg, key := operated(watched(t, addr))
	cfg.SIP.Health.Interval = time.Second
	s := start(t, cfg)
	var h struct {
		Status, Version string
		Checked         bool `json:"proxies_checked"`
		Proxies         []struct {
			Address string
			Up      bool
			Trip    *int64     `json:"round_trip_ms"`
			Checked *time.Time `json:"checked_at"`
		}
		Certificates []api.Certificate
		Limits       []api.Limit
		Talk         []api.TalkServer `json:"talk_servers"`
	}
	for began := time.Now(); len(h.Proxies) != 1 || !h.Proxies[0].Up || h.Proxies[0].Trip == nil; {
		_, text := s.get("/v1/health", key)
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("the proxy is not asked: %s", text)
		}
	}
	if h.Status != "ok" || h.Version == "" || !h.Checked || h.Proxies[0].Address != addr {
		t.Errorf("%+v", h)
	}
	if len(h.Certificates) != 1 || !h.Certificates[0].SelfSigned || !slices.Equal(h.Certificates[0].Uses, []string{"http"}) ||
		h.Certificates[0].LeftMS < 24*time.Hour.Milliseconds() {
		t.Errorf("%+v", h.Certificates)
	}
	used := map[string]api.Limit{}
	for _, l := range h.Limits {
		used[l.Name] = l
	}
	if l := used["limits.calls"]; l.Most == nil || *l.Most != cfg.Limits.Calls || l.Used != 0 {
		t.Errorf("%+v", l)
	}
	if l := used["limits.connections"]; l.Used < 1 || l.Most == nil {
		t.Errorf("%+v", l)
	}
	if len(h.Talk) != 0 {
		t.Errorf("%+v", h.Talk)
	}
	if resp, _ := s.get("/v1/health", ""); resp.StatusCode != 403 {
		t.Errorf("a user sees it: %s", resp.Status)
	}
}
