package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/event"
	"sipxrest/internal/webhook"
	"sipxrest/sipflow/siptest"
)

// A webhook of the configuration hears of a call, by secrets that SIGHUP reads
// again, and of what happens last: that the service ends.
func TestAWebhookOfTheConfigurationIsToldUntilTheEnd(t *testing.T) {
	url, events := apptest.Webhook(t, "")
	var secrets atomic.Pointer[[]string]
	verify := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, s := range *secrets.Load() {
			lib, err := standardwebhooks.NewWebhook(s)
			if err == nil {
				err = lib.Verify(body, r.Header)
			}
			if err != nil {
				t.Errorf("%v: %s", err, body)
			}
		}
		answer, err := http.Post(url, "application/json", strings.NewReader(string(body)))
		if err != nil {
			t.Error(err)
			return
		}
		answer.Body.Close()
	}))
	t.Cleanup(verify.Close)
	_, proxy := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, proxy)
	file := filepath.Join(t.TempDir(), "crm.secret")
	first, second := webhook.NewSigningKey().Secret(), webhook.NewSigningKey().Secret()
	if err := os.WriteFile(file, []byte(first+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets.Store(&[]string{first})
	hook := config.EventWebhook{WebhookSpec: event.WebhookSpec{Name: "crm", URL: verify.URL}, SecretFile: file}
	hook.Complete()
	cfg.Events.Webhooks, cfg.Events.AllowPrivate = []config.EventWebhook{hook}, []string{"127.0.0.0/8"}
	s := start(t, cfg)
	id := s.outbox.Webhooks()[0].ID
	test := func() {
		t.Helper()
		if got, err := s.outbox.Test(t.Context(), id, false); err != nil || !got.Taken {
			t.Fatalf("%+v %v", got, err)
		}
	}
	next := func(kind string) {
		t.Helper()
		for {
			if e := apptest.NextEvent(t, events); e["type"] == kind {
				return
			}
		}
	}
	test()
	next("webhook.test")
	if err := os.WriteFile(file, []byte(second+"\n"+first+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	secrets.Store(&[]string{second, first})
	test()
	next("webhook.test")
	// What cannot be taken leaves all as it was.
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "crm: line 1 of secret-file") {
		t.Error(err)
	}
	test()
	next("webhook.test")
	s.signals <- syscall.SIGTERM
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	next("system.draining")
}

func TestWebhooksThatCannotBeAreNamedAtTheStart(t *testing.T) {
	for want, change := range map[string]func(*config.Config){
		"events.webhooks: crm: url: ":         func(c *config.Config) { c.Events.Webhooks[0].URL = "https://10.0.0.5/" },
		"events.webhooks: crm: secret-file: ": func(c *config.Config) { c.Events.Webhooks[0].SecretFile = "/nowhere/crm.secret" },
		"api.key-file: ":                      func(c *config.Config) { c.API.KeyFile = "/nowhere/api.key" },
		"events.allow-private: ":              func(c *config.Config) { c.Events.AllowPrivate = []string{"10.0.0.0/99"} },
	} {
		cfg := testConfig(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 5999).String())
		hook := config.EventWebhook{WebhookSpec: event.WebhookSpec{Name: "crm", URL: "https://hooks.example/"}, SecretFile: "/nowhere"}
		hook.Complete()
		cfg.Events.Webhooks = []config.EventWebhook{hook}
		change(&cfg)
		a, err := New(cfg, nil)
		if err == nil {
			a.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
