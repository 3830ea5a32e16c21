package check

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/event"
	"sipxrest/internal/webhook"
)

// What is said of a webhook by where its URL leads. Nothing is sent to any.
func TestCheckSaysWhereWebhooksLead(t *testing.T) {
	asked := func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent", r.Method, r.URL) }
	plain, secure := httptest.NewServer(http.HandlerFunc(asked)), httptest.NewTLSServer(http.HandlerFunc(asked))
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := refusing.Addr().String()
	refusing.Close()
	dir := t.TempDir()
	apptest.Write(t, dir, "secret", webhook.NewSigningKey().Secret()+"\n")
	names := apptest.NameServer(t)

	local := []string{"127.0.0.0/8"}
	const p, ok = "problem webhooks", "ok webhooks"
	for name, c := range map[string]struct {
		urls, private []string
		want          []string // what each line begins with, and has
	}{
		"a private address":         {[]string{"https://10.0.0.5/hooks"}, nil, []string{p + "|events.allow-private"}},
		"one in clear":              {[]string{plain.URL}, nil, []string{p + "|events.allow-private"}},
		"a name of a private one":   {[]string{"https://sipx.test/"}, nil, []string{p + " hook1: sipx.test leads to|events.allow-private"}},
		"a name that there is not":  {[]string{"https://nowhere.test/"}, nil, []string{p + " hook1: lookup nowhere.test: no such host"}},
		"refused":                   {[]string{"http://" + closed}, local, []string{p + " hook1: |connection refused"}},
		"of an authority unknown":   {[]string{secure.URL}, local, []string{p + " hook1: |certificate"}},
		"fine":                      {[]string{plain.URL}, local, []string{ok + " 1 webhook"}},
		"fine, two":                 {[]string{plain.URL, plain.URL + "/2"}, local, []string{ok + " 2 webhooks"}},
		"one of two does not exist": {[]string{plain.URL, "https://nowhere.test/"}, local, []string{p + " hook2: "}},
		"none":                      {nil, nil, nil},
	} {
		cfg := config.Default()
		cfg.DataDir, cfg.DNS.Servers, cfg.Events.AllowPrivate = dir, []string{names}, c.private
		for i, url := range c.urls {
			hook := config.EventWebhook{WebhookSpec: event.WebhookSpec{Name: "hook" + string(rune('1'+i)), URL: url},
				SecretFile: filepath.Join(dir, "secret")}
			hook.Complete()
			cfg.Events.Webhooks = append(cfg.Events.Webhooks, hook)
		}
		var out strings.Builder
		(&checker{ctx: t.Context(), out: &out}).webhooks(&cfg)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if out.Len() == 0 {
			lines = nil
		}
		if len(lines) != len(c.want) {
			t.Errorf("%s: %q", name, lines)
			continue
		}
		for i, want := range c.want {
			begin, has, _ := strings.Cut(want, "|")
			if line := strings.Join(strings.Fields(lines[i]), " "); !strings.HasPrefix(line, begin) || !strings.Contains(line, has) {
				t.Errorf("%s: %q, want %q", name, line, want)
			}
		}
	}
}
