package app

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/dispatch"
	"sipxrest/restauth"
	"sipxrest/sipflow/siptest"
)

// dispatching is a configuration with rules in a folder, and trunks.
func dispatching(t *testing.T, proxy, rules string) config.Config {
	cfg := testConfig(t, proxy)
	cfg.Dispatch.RulesDir = t.TempDir()
	apptest.Write(t, cfg.Dispatch.RulesDir, "rules.yaml", rules)
	cfg.Dispatch.Trunks = []dispatch.Trunk{{Name: "here", Sources: []string{"127.0.0.1"}}}
	cfg.Dispatch.RoomTarget = "sip:{room}@sipx.test"
	cfg.Metrics.Listen = "127.0.0.1:0"
	return cfg
}

func (s *service) sip() string {
	_, addr, _ := strings.Cut(s.Addrs()[2], ":")
	return addr
}

func call(t *testing.T, p *siptest.Phone, uri string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return p.CallAs(ctx, siptest.Calling{}, uri)
}

func TestACallThatComesInIsDispatched(t *testing.T) {
	url, events := apptest.Webhook(t, `{"room_name":"support","metadata":"ticket 7"}`)
	_, room := apptest.Phone(t, siptest.Script{HangUpAfter: 200 * time.Millisecond})
	caller, _ := apptest.Phone(t, siptest.Script{})
	s := start(t, dispatching(t, room,
		fmt.Sprintf("{id: r, url: %s, allow_http: true, allow_private: [127.0.0.1], numbers: ['5000'], events: [answered, ended]}", url)))
	if err := call(t, caller, "sip:5000@"+s.sip()); err != nil {
		t.Fatal(err)
	}
	invite := apptest.NextEvent(t, events)
	if invite["event"] != "invite" || invite["to_user"] != "5000" || invite["from_user"] != "201" || invite["trunk_id"] != "here" ||
		invite["source_ip"] != "127.0.0.1" {
		t.Errorf("%v", invite)
	}
	answered, ended := apptest.NextEvent(t, events), apptest.NextEvent(t, events)
	if answered["event"] != "answered" || answered["call_id"] != invite["call_id"] || answered["metadata"] != "ticket 7" ||
		answered["answered_at"] == "" {
		t.Errorf("%v", answered)
	}
	if ended["event"] != "ended" || ended["ended_by"] != "target" || ended["sip_code"] != 200.0 || ended["duration"].(float64) < 0.1 {
		t.Errorf("%v", ended)
	}
	if err := call(t, caller, "sip:5001@"+s.sip()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("no rule: %v", err)
	}
	s.log.WaitFor(t, `metadata="ticket 7"`)
	s.log.WaitFor(t, "no rule is for it")
	for _, want := range []string{
		`level=INFO msg="call ended" flow=dispatch calling=201@[^ ]+ called=5000@[^ ]+ peer=127.0.0.1 call_ids="\[[^ ]+ [^ ]+\]" ` +
			`outcome=connected ended_by=called took=\S+ call=\S+ trunk=here rule=r code=200 duration=\S+ action=answer room=support ` +
			`metadata="ticket 7"\n`,
		`level=INFO msg="call ended" flow=dispatch calling=201@[^ ]+ called=5001@[^ ]+ peer=127.0.0.1 call_ids=\[[^ ]+\] outcome=refused_4xx ` +
			`ended_by=service took=\S+ call=\S+ trunk=here code=404 error="no rule is for it"\n`,
	} {
		if n := len(regexp.MustCompile(want).FindAllString(s.log.String(), -1)); n != 1 {
			t.Errorf("%d lines %s:\n%s", n, want, s.log)
		}
	}
	if n := strings.Count(s.log.String(), "call ended"); n != 2 {
		t.Errorf("%d lines for two calls:\n%s", n, s.log)
	}
	resp, err := s.client.Get(s.MetricsURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	for _, want := range []string{`sipxrest_dispatch_decisions_total{decision="answer"} 1`,
		`sipxrest_dispatch_decisions_total{decision="no_rule"} 1`,
		`sipxrest_dispatch_webhook_seconds_count 1`, `sipxrest_dispatch_events_total{result="delivered"} 2`, `sipxrest_dispatch_rules 1`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}

// A rule's policy holds for whom the caller has the other phone call, too.
func TestThePolicyOfARuleHoldsForREFER(t *testing.T) {
	room, addr := apptest.Phone(t, siptest.Script{})
	caller, _ := apptest.Phone(t, siptest.Script{})
	s := start(t, dispatching(t, addr, "{id: r, policy: no-premium, action: answer, room_name: support}"))
	if err := call(t, caller, "sip:5000@"+s.sip()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := caller.Do(ctx, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:+499001234567@sipx.test>")}})
	if err != nil || r.StatusCode != 603 || len(room.Requests("REFER")) != 0 {
		t.Errorf("%v %v, %v", r, err, room.Log())
	}
	caller.HangUp()
}

func TestChangedRulesAreReadAndBrokenOnesAreNot(t *testing.T) {
	_, room := apptest.Phone(t, siptest.Script{})
	caller, _ := apptest.Phone(t, siptest.Script{})
	cfg := dispatching(t, room, "{id: r, action: hangup, reject_status_code: 486}")
	s := start(t, cfg)
	wants := func(code string) {
		t.Helper()
		if err := call(t, caller, "sip:5000@"+s.sip()); err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("want %s, got %v", code, err)
		}
	}
	wants("486")
	apptest.Write(t, cfg.Dispatch.RulesDir, "rules.yaml", "{id: r, action: hangup, reject_status_code: 606}")
	s.log.WaitFor(t, "dispatch rules reloaded")
	wants("606")
	apptest.Write(t, cfg.Dispatch.RulesDir, "more.yaml", "{id: r, action: hangup}")
	s.log.WaitFor(t, "dispatch rules not reloaded, the old ones stay")
	wants("606")
	s.signals <- syscall.SIGHUP // the configuration is not from a file: nothing to read, nothing lost
	wants("606")
}

func TestRulesOfTheConfigurationAreReadOnSIGHUP(t *testing.T) {
	_, room := apptest.Phone(t, siptest.Script{})
	caller, _ := apptest.Phone(t, siptest.Script{})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	written := func(code string) string {
		return apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+"data-dir: data\nsip: {listen: ['udp:127.0.0.1:0'], outbound-proxy: ['sip:"+
			room+"']}\ntrusted: []\n"+
			"http: [{listen: '127.0.0.1:0', auth: pin}, {listen: '127.0.0.1:0', auth: pin}]\n"+
			"dispatch: {trunks: [{name: here, sources: [127.0.0.1]}], rules: [{id: r, action: hangup, reject_status_code: "+code+"}]}\n")
	}
	cfg, err := config.Load(config.Source{File: written("486")})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, cfg)
	wants := func(code string) {
		t.Helper()
		if err := call(t, caller, "sip:5000@"+s.sip()); err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("want %s, got %v", code, err)
		}
	}
	wants("486")
	written("606")
	s.signals <- syscall.SIGHUP
	s.log.WaitFor(t, "msg=reloaded")
	wants("606")
	written("200")
	s.signals <- syscall.SIGHUP
	s.log.WaitFor(t, "200 does not refuse a call")
	wants("606")
}

func TestAStrangerMustProveToBeAUser(t *testing.T) {
	_, room := apptest.Phone(t, siptest.Script{})
	cfg := dispatching(t, room, "{id: r, action: hangup, reject_status_code: 486}")
	cfg.Dispatch.Trunks = []dispatch.Trunk{{Name: "elsewhere", Sources: []string{"192.0.2.1"}}}
	s := start(t, cfg)
	stranger, _ := apptest.Phone(t, siptest.Script{})
	if err := call(t, stranger, "sip:5000@"+s.sip()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a password: %v", err)
	}
	user, _ := apptest.PhoneOf(t, siptest.Account{User: "201", Password: "123"}, siptest.Script{})
	if err := call(t, user, "sip:5000@"+s.sip()); err == nil || !strings.Contains(err.Error(), "486") {
		t.Errorf("with one: %v", err)
	}
}

func TestProxiesThatAreATrunkAreNotTrustedOverHTTP(t *testing.T) {
	_, room := apptest.Phone(t, siptest.Script{})
	cfg := dispatching(t, room, "{id: r, action: hangup}")
	cfg.Trusted = []string{"10.0.0.0/8"}
	cfg.Dispatch.Trunks = []dispatch.Trunk{{Name: "proxies", Sources: []string{"domain"}}}
	cfg.DNS.Servers = []string{apptest.NameServer(t)}
	s := start(t, cfg)
	s.log.WaitFor(t, "SIP proxies of the domain")
	proxy := netip.MustParseAddr("192.0.2.5")
	if !s.dispatch.Known(proxy) || len(s.trustedProxies()) != 0 {
		t.Errorf("a source of the trunk: %v, trusted: %v", s.dispatch.Known(proxy), s.trustedProxies())
	}
}

func TestUsersCallInTheirOwnNamesOnly(t *testing.T) {
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: "sipx.test",
		Files: []string{apptest.Write(t, t.TempDir(), "users.yaml", "- {user: \"201\", aliases: [bob], pin: \"1\"}\n- {user: \"202\", "+
			"pin: \"1\"}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	d := &Dialling{}
	d.users.Store(users)
	for _, c := range []struct {
		user, name string
		owns       bool
	}{{"201", "201", true}, {"201", "bob", true}, {"bob", "201", true}, {"201", "202", false}, {"201", "", false}, {"201", "911", false},
		{"gone", "201", false}, {"gone", "gone", false}} {
		if got := d.owns(c.user, c.name); got != c.owns {
			t.Errorf("%s calls as %q: %v", c.user, c.name, got)
		}
	}
}

// Nobody's password is there to answer a target's challenge: the log says where to
// name a user.
func TestATargetThatAsksForAPasswordIsToldToTheOperator(t *testing.T) {
	_, room := apptest.Phone(t, siptest.Script{Challenge: siptest.Challenge{Methods: []sip.RequestMethod{sip.INVITE}, Realm: "sipx.test"}})
	caller, _ := apptest.Phone(t, siptest.Script{})
	s := start(t, dispatching(t, room, "{id: r, action: transfer, transfer_to: 'sip:202@sipx.test'}"))
	if err := call(t, caller, "sip:5000@"+s.sip()); err == nil {
		t.Error("the call is connected")
	}
	s.log.WaitFor(t,
		`it asks for a SIP password, and nobody's is configured for such calls: name a user with one in dispatch.agent" agent="" sip-user="" `+
			`method=INVITE`)
}
