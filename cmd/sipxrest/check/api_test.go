package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/config"
)

func TestWhetherEventsCanBeKeptIsSaid(t *testing.T) {
	dir := t.TempDir()
	text, k := api.NewKey("crm")
	k.Scopes, k.Agents = []api.Scope{api.Admin}, []string{"*"}
	if err := api.ChangeKeys(filepath.Join(dir, api.KeysFile), func([]api.Key) ([]api.Key, error) { return []api.Key{k}, nil }); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   []string // level and what the line has
	}{
		"as it is": {func(*config.Config) {}, []string{"ok events will be kept in " + dir, "warning api 1 key, but no listener"}},
		"with TLS": {func(c *config.Config) { c.HTTP = []config.HTTPListener{{Listen: ":1", TLS: &config.TLS{}}} }, []string{"ok events",
			"ok api served at /v1, 1 key"}},
		"in memory":     {func(c *config.Config) { c.Events.Store = "memory" }, []string{"note events kept in memory", "warning api"}},
		"there already": {func(c *config.Config) { c.Events.Store = plain }, []string{"ok events kept in " + plain, "warning api"}},
		"below a file": {func(c *config.Config) { c.Events.Store = plain + "/x/events.db" }, []string{"warning events events.store: open",
			"warning api"}},
		"a folder":     {func(c *config.Config) { c.Events.Store = dir }, []string{"warning events events.store: open " + dir, "warning api"}},
		"keys at odds": {func(c *config.Config) { c.API.Keys = []api.Key{k} }, []string{"ok events", "problem api"}},
		"switched off": {func(c *config.Config) { c.API.Enabled = false }, nil},
	} {
		cfg := config.Default()
		cfg.DataDir, cfg.HTTP = dir, nil
		c.change(&cfg)
		var out strings.Builder
		(&checker{out: &out}).api(&cfg)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if c.want == nil {
			c.want = []string{""}
		}
		for i, want := range c.want {
			if i >= len(lines) || !strings.HasPrefix(strings.Join(strings.Fields(lines[i]), " "), want) || len(lines) != len(c.want) {
				t.Errorf("%s: %q, want %q", name, lines, c.want)
			}
		}
		if strings.Contains(out.String(), text) {
			t.Errorf("%s: a key is shown", name)
		}
	}
}
