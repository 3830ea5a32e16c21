package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sipxrest/event"
)

// rules are what becomes of calls, for tests.
type rules struct{ asked []InboundCall }

func (*rules) Rules() ([]InboundRule, []InboundTrunk) {
	url := "https://crm.example/calls"
	return []InboundRule{
		{ID: "crm", Where: "rules.yaml:1", Trunks: []string{"carrier"}, Numbers: []string{}, InboundNumbers: []string{}, Mode: "dial", URL: &url,
			Events: []string{"answered"}, Decide: []string{}, Fallback: &InboundDecision{Action: "hangup", SIP: 480}},
		{ID: "bob", Where: "rules.yaml:9", Trunks: []string{}, Numbers: []string{"200"}, InboundNumbers: []string{}, Mode: "redirect",
			Events: []string{}, Decide: []string{}, Decision: &InboundDecision{Action: "transfer", To: "sip:201@sipx.test", RingMS: 30000}},
	}, []InboundTrunk{{Name: "carrier", Sources: []string{"192.0.2.0/24"}, FromHosts: []string{}, MaxCalls: 10}}
}

func (r *rules) Try(_ context.Context, c InboundCall) (*InboundTrial, error) {
	r.asked = append(r.asked, c)
	if c.Trunk == "nobody's" {
		return nil, errors.New(`there is no trunk "nobody's"`)
	}
	return &InboundTrial{Object: "inbound_trial", Result: TrialNoRule, Rules: []InboundMatch{{ID: "crm", Where: "rules.yaml:1",
		Why: "it is for others"}},
		Outcome: "404 Not Found: no rule is for the call"}, nil
}

func TestInboundRulesAreShown(t *testing.T) {
	st := newRig(t, nil, func(c *Config) { c.Inbound = &rules{} })
	w := st.ask("GET", "/v1/inbound/rules", st.withKey("all"))
	var page inboundPage
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if !page.Enabled || len(page.Rules) != 2 || page.Rules[1].Decision.To != "sip:201@sipx.test" || len(page.Trunks) != 1 {
		t.Errorf("%s", w.Body)
	}
	st = newRig(t, nil)
	if w := st.ask("GET", "/v1/inbound/rules",
		st.withKey("all")); w.Body.String() != `{"object":"inbound","enabled":false,"rules":[],"trunks":[]}`+"\n" {
		t.Errorf("without rules: %s", w.Body)
	}
	if w := st.ask("POST", "/v1/inbound/try", st.withKey("all"), body(`{"from":"1","to":"2"}`)); w.Code != 200 ||
		!strings.Contains(w.Body.String(), `"result":"off"`) {
		t.Errorf("without rules: %d %s", w.Code, w.Body)
	}
}

func TestACallIsTried(t *testing.T) {
	r := &rules{}
	st := newRig(t, nil, func(c *Config) { c.Inbound = r })
	w := st.ask("POST", "/v1/inbound/try", st.withKey("all"),
		body(`{"from":"+4930123456","to":"sip:200@sipx.test","trunk":"carrier","source":"192.0.2.7","ask":true}`))
	if w.Code != 200 || w.Header().Get("Preference-Applied") != "" {
		t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	want := InboundCall{From: "+4930123456", To: "sip:200@sipx.test", Trunk: "carrier", Source: netip.MustParseAddr("192.0.2.7"), Ask: true}
	if len(r.asked) != 1 || r.asked[0] != want {
		t.Errorf("%+v", r.asked)
	}
	for text, at := range map[string]string{
		`{}`:                                    "/from missing, /to missing",
		`{"from":"1"}`:                          "/to missing",
		`{"from":"1","to":""}`:                  "/to missing",
		`{"from":"1","to":"2","source":"here"}`: "/source invalid",
		`{"from":"1","to":"2","source":"192.0.2.7:5060"}`:             "/source invalid",
		`{"from":"1\u0007","to":"2"}`:                                 "/from invalid",
		`{"from":"1","to":"` + strings.Repeat("2", maxTried+1) + `"}`: "/to invalid",
		`{"from":"1","to":"2","trunk":"nobody's"}`:                    "/trunk invalid",
		`{"from":"1","to":"2","asks":true}`:                           "/asks unknown_member",
		`{"from":1,"to":"2"}`:                                         "/from wrong_type",
	} {
		p := problemOf(t, st.ask("POST", "/v1/inbound/try", st.withKey("all"), body(text)))
		var got []string
		for _, e := range p.Errors {
			got = append(got, e.Pointer+" "+e.Code)
		}
		if p.Code != InvalidRequest || strings.Join(got, ", ") != at {
			t.Errorf("%.80s: %s %v, want %s", text, p.Code, got, at)
		}
	}
}

func TestOperatorsAloneSeeRulesAndHealth(t *testing.T) {
	st := newRig(t, nil, func(c *Config) { c.Inbound = &rules{} })
	for _, target := range []string{"GET /v1/inbound/rules", "GET /v1/health", "POST /v1/inbound/try"} {
		method, path, _ := strings.Cut(target, " ")
		for _, how := range []string{"crm", "reader", "hooks"} {
			if p := problemOf(t, st.ask(method, path, st.withKey(how), body(`{"from":"1","to":"2"}`))); p.Code != MissingScope {
				t.Errorf("%s by %s: %s", target, how, p.Code)
			}
		}
		if p := problemOf(t, st.ask(method, path, asUser("201"), body(`{"from":"1","to":"2"}`))); p.Code != MissingScope {
			t.Errorf("%s by a user: %s", target, p.Code)
		}
		if p := problemOf(t, st.ask(method, path, asNobody)); p.Code != Unauthenticated {
			t.Errorf("%s by nobody: %s", target, p.Code)
		}
	}
}

func TestHealthTellsWhatThePartsSay(t *testing.T) {
	most := 10
	st := newRig(t, nil, func(c *Config) {
		c.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
		c.Health = func() Health {
			return Health{Version: "1.2", Limits: []Limit{{Name: "limits.calls", Used: 3, Most: &most}, {Name: "x", Used: 1}},
				Certificates: []Certificate{{Subject: "CN=pbx", Names: []string{"pbx.example"}, Issuer: "CN=ca", Uses: []string{"http"},
					NotBefore: event.At(time.Unix(1e9, 0)), NotAfter: event.At(time.Unix(2e9, 0)), LeftMS: -5}},
				TalkServers: []TalkServer{{Server: "wss://hpb.example/spreed", Nextcloud: "https://cloud.example", Error: "refused"}}}
		}
	})
	w := st.ask("GET", "/v1/health", st.withKey("all"))
	var h healthDocument
	if err := json.Unmarshal(w.Body.Bytes(), &h); err != nil || w.Code != 200 {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if h.Version != "1.2" || h.Status != "ok" || h.Checked || *h.Limits[0].Most != 10 || h.Limits[1].Most != nil ||
		h.Certificates[0].LeftMS != -5 || h.TalkServers[0].Error != "refused" || !h.At.Equal(st.cfg.Now()) {
		t.Errorf("%s", w.Body)
	}
	st = newRig(t, nil)
	if w := st.ask("GET", "/v1/health", st.withKey("all")); !strings.Contains(w.Body.String(),
		`"certificates":[],"limits":[],"talk_servers":[]`) {
		t.Errorf("%s", w.Body)
	}
}
