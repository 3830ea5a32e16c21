package app

import (
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/policy"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// post places a call and answers the status and the document.
func (s *service) post(path string) (int, string) {
	s.t.Helper()
	resp, err := s.client.Post(s.Addrs()[0]+path, "", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// startIdle is start for a test whose calls may be under way at its end: they
// are waited for, while the phone is still there.
func startIdle(t *testing.T, cfg config.Config) *service {
	t.Helper()
	s := start(t, cfg)
	t.Cleanup(func() {
		look := time.NewTicker(5 * time.Millisecond)
		defer look.Stop()
		for s.sw.Active() > 0 {
			<-look.C
		}
	})
	return s
}

func TestAPolicyGuardsWhomACallRings(t *testing.T) {
	ph, addr := apptest.Phone(t, siptest.Script{Status: 486})
	cfg := testConfig(t, addr)
	cfg.Policy, cfg.Dial.Country = policy.NoPremium, "DE"
	s := startIdle(t, cfg)
	for _, path := range []string{
		"/callcontroller/201/09001234567",
		"/callcontroller/201/%2B49-900-1234567",
		"/callcontroller/201/tel:%2B49-900-1234567",
		"/callcontroller/201/%252B499001234567",
		"/callcontroller/201/09001234567@192.0.2.1",
		"/callcontroller/201/%EF%BC%90%EF%BC%99%EF%BC%90%EF%BC%90%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96%EF%BC%97",
		"/callcontroller/201/*31%2309001234567",
		"/callcontroller/09001234567/201?agent=201", // the calling phone is rung, too
		"/callcontroller/09001234567/201?agent=bob",
		"/callcontroller/201/09001234567?sipMethod=invite",
		"/callcontroller/09001234567/09001234567?agent=201",
		"/sipxconfig/rest/my/redirect/callcontroller/201/09001234567",
	} {
		status, body := s.post(path)
		if strings.HasPrefix(path, "/sipxconfig") {
			if status != 401 { // the user proves who he is there, before anything else
				t.Errorf("%s: %d %s", path, status, body)
			}
			continue
		}
		if status != 403 || !strings.Contains(body, "<error-code>403</error-code>") ||
			!strings.Contains(body, "is refused by policy no-premium, rule 2: premium") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if n := len(ph.Requests("INVITE")); n != 0 {
		t.Errorf("%d INVITEs went out", n)
	}
	if status, body := s.post("/callcontroller/201/202"); status != http.StatusOK {
		t.Errorf("an extension: %d %s", status, body)
	}
	s.log.WaitFor(t, `level=INFO msg="dialling refused" agent=201@sipx.test target=+499001234567 policy=no-premium rule=2`)
}

func TestUsersHaveTheirOwnPolicies(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{Status: 486})
	cfg := testConfig(t, addr)
	dir := filepath.Dir(cfg.Users[0])
	apptest.Write(t, dir, "users.yaml", `- {user: "201", aliases: [bob], pin: "1", policy: local-only}
- {user: "202", aliases: [ann], pin: "1"}
- {user: "203", pin: "1", policy: unrestricted, identity: boss@sipx.test}
- {user: "204", pin: "1", aliases: ["+499001234567"]}
`)
	cfg.Policy, cfg.Dial.Country = policy.NoPremium, "DE"
	cfg.PolicyUsers = map[string]string{"ann": policy.NoInternational, "201": policy.Unrestricted}
	s := startIdle(t, cfg)
	for _, tt := range []struct {
		path string
		want int
	}{
		{"201/030123456", 403}, {"bob/030123456", 403}, {"202/030123456?agent=bob", 403}, {"201/bob", 200}, {"201/ann", 200},
		{"202/030123456", 200}, {"202/0043123456", 403}, {"201/0043123456?agent=ann", 403},
		{"203/09001234567", 200}, {"204/0043123456", 200}, {"204/09001234568", 403},
		{"201/%2B499001234567", 200}, // an alias
	} {
		if status, body := s.post("/callcontroller/" + tt.path); status != tt.want {
			t.Errorf("%s: %d, want %d: %s", tt.path, status, tt.want, body)
		}
	}
	// A user's new policy counts at once, one that does not exist is refused.
	apptest.Write(t, dir, "users.yaml", `- {user: "201", pin: "1", policy: locl-only}`)
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), `users.yaml:1: policy: there is no policy "locl-only"`) {
		t.Errorf("reloaded: %v", err)
	}
	apptest.Write(t, dir, "users.yaml", `- {user: "201", pin: "1", policy: unrestricted}`)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, body := s.post("/callcontroller/201/09001234567"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestHUPReadsPoliciesAgain(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{Status: 486})
	dir := t.TempDir()
	text := `domain: sipx.test
users: [users.yaml]
data-dir: data
sip: {listen: ["udp:127.0.0.1:0"], outbound-proxy: ["sip:` + addr + `"]}
http: [{listen: "127.0.0.1:0", auth: trusted}]
trusted: [127.0.0.0/8]
`
	users := `- {user: "201", pin: "1"}` + "\n" + `- {user: "202", pin: "1", policy: mine}` + "\n"
	apptest.Write(t, dir, "users.yaml", users)
	mine := text + "policies: {mine: [{default: deny}]}\n"
	file := apptest.Write(t, dir, "sipxrest.yaml", mine)
	cfg, err := config.Load(config.Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	s := startIdle(t, cfg)
	want := func(path string, want int) {
		t.Helper()
		if status, body := s.post("/callcontroller/" + path); status != want {
			t.Errorf("%s: %d, want %d: %s", path, status, want, body)
		}
	}
	want("201/09001234567", 200)
	want("202/201", 403)
	apptest.Write(t, dir, "sipxrest.yaml", mine+"policy: no-premium\ndial: {country: DE}\n")
	s.signals <- syscall.SIGHUP
	s.log.WaitFor(t, "msg=reloaded")
	want("201/09001234567", 403)
	want("201/202", 200)
	for text, fault := range map[string]string{
		mine + "policy: nothing\n":    `policy: there is no policy "nothing"`,
		text + "policy: local-only\n": `user 202: there is no policy "mine"`,
		mine + "policies: [\n":        "sipxrest.yaml",
	} {
		apptest.Write(t, dir, "sipxrest.yaml", text)
		if err := s.Reload(); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: reloaded: %v", text, err)
		}
		want("201/09001234567", 403)
		want("201/030123456", 200)
	}
	// Who goes with his policy does not keep it from going.
	apptest.Write(t, dir, "sipxrest.yaml", text+"policy: local-only\n")
	apptest.Write(t, dir, "users.yaml", `- {user: "201", pin: "1"}`)
	if err := s.Reload(); err != nil {
		t.Error(err)
	}
	want("201/030123456", 403)
}

// A user over WebSocket has the policy of his own, not that of whose password
// answers for all.
func TestAPolicyIsThatOfTheUserWhoCalls(t *testing.T) {
	cfg := testConfig(t, "127.0.0.1:1")
	cfg.Dial.Country, cfg.PolicyUsers = "DE", map[string]string{"sam": policy.NoPremium}
	d, err := NewDialling(&cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadUsers(&cfg, d); err != nil {
		t.Fatal(err)
	}
	spec := sipflow.Spec{Key: sipflow.Key{Agent: "sam@" + cfg.Domain}, Credentials: sipflow.Credentials{Username: "201"},
		Converse: &sipflow.Conversation{}}
	if err := d.allow(&spec, "09001234567@"+cfg.Domain); err == nil {
		t.Error("sam may call a premium number")
	}
	spec.Agent = "kim@" + cfg.Domain
	if err := d.allow(&spec, "09001234567@"+cfg.Domain); err != nil {
		t.Errorf("kim may not: %v", err)
	}
}
