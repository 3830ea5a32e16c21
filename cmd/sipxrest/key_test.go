package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/config"
)

func TestKeysByTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	file := filepath.Join(dir, "keys.json")
	do := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := command("", nil, append([]string{"key"}, append(args, "--file", file)...)...)
		if code != want {
			t.Errorf("key %q: code %d, %s", args, code, stderr)
		}
		return stdout, stderr
	}
	out, errs := do(0, "add", "--name", "crm", "--scopes", "calls:read,calls:write", "--agents", "201,202", "--expires", "90d", "--networks",
		"192.0.2.7")
	if !regexp.MustCompile(`^sxk_[A-Za-z0-9_-]{43}\n$`).MatchString(out) || !strings.Contains(errs, "webhook secret whsec_") {
		t.Errorf("%q %q", out, errs)
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(data), strings.TrimSpace(out)) || strings.Contains(string(data), "whsec_") {
		t.Errorf("the file holds a secret: %v %s", err, data)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	do(0, "add", "--name", "wallboard", "--scopes", "events:read", "--agents", "*")
	for want, args := range map[string][]string{
		"there is a key crm":     {"add", "--name", "crm", "--scopes", "admin", "--agents", "*"},
		`scope "fly" is unknown`: {"add", "--name", "a", "--scopes", "fly", "--agents", "*"},
		"write up to 64":         {"add", "--name", "a b", "--scopes", "admin", "--agents", "*"},
		"that is over already":   {"add", "--name", "a", "--scopes", "admin", "--agents", "*", "--expires", "1999-12-31"},
		"write a day":            {"add", "--name", "a", "--scopes", "admin", "--agents", "*", "--expires", "soon"},
		"is not a network":       {"add", "--name", "a", "--scopes", "admin", "--agents", "*", "--networks", "x"},
		"are all already":        {"add", "--name", "a", "--scopes", "admin", "--agents", "*,201"},
		"there is no key eve":    {"revoke", "eve"},
	} {
		if _, errs := do(1, args...); !strings.Contains(errs, want) {
			t.Errorf("%q: %s, want …%s…", args, errs, want)
		}
	}
	out, _ = do(0, "list")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "calls:read,calls:write") || !strings.Contains(lines[0], "for 201,202") ||
		!strings.Contains(lines[0], "until ") || !strings.HasSuffix(lines[0], "from 192.0.2.7/32") || !strings.HasSuffix(lines[1], "never ends") {
		t.Errorf("%q", lines)
	}
	do(0, "revoke", "crm")
	if keys, err := api.ReadKeys(file); err != nil || len(keys) != 1 || keys[0].Name != "wallboard" {
		t.Errorf("%+v %v", keys, err)
	}
	if err := os.WriteFile(file+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs := do(1, "revoke", "wallboard"); !strings.Contains(errs, "another command is changing the keys") {
		t.Error(errs)
	}
}

// What --print says can stand in the configuration, and is the key.
func TestAKeyForTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	code, line, errs := command("", nil, "key", "add", "--name", "crm", "--scopes", "calls:read", "--agents", "201", "--expires", "2999-12-31",
		"--networks", "192.0.2.0/24", "--print")
	if code != 0 || !strings.HasPrefix(errs, "key sxk_") {
		t.Fatalf("%d %s", code, errs)
	}
	if err := os.WriteFile("users.yaml", []byte(`- {user: "201", pin: "1234"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "domain: pbx.test\nusers: [users.yaml]\napi:\n  keys:\n    " + line
	if err := os.WriteFile("sipxrest.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Source{File: "sipxrest.yaml"})
	if err != nil || len(cfg.API.Keys) != 1 || cfg.API.Keys[0].Name != "crm" || len(cfg.API.Keys[0].Networks) != 1 ||
		cfg.API.Keys[0].Expires.Year() != 3000 {
		t.Fatalf("%v %+v", err, cfg.API.Keys)
	}
	code, out, errs := command("", nil, "key", "list")
	if code != 0 || !strings.Contains(out, "in the configuration") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code, _, errs := command("", nil, "key", "revoke", "crm"); code != 1 || !strings.Contains(errs, "under api.keys") {
		t.Errorf("%d %s", code, errs)
	}
	for _, wrong := range []string{"keys: {}", "keys: [x]", "keys: [{name: a}]",
		`keys: [{name: a, sha256: "00", scopes: [admin], agents: ["*"]}]`,
		`keys: [{name: a, colour: red}]`} {
		if err := os.WriteFile("wrong.yaml", []byte("domain: pbx.test\nusers: [users.yaml]\napi: {"+wrong+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.Source{File: "wrong.yaml"}); err == nil || !strings.Contains(err.Error(), "api.keys") ||
			!strings.Contains(err.Error(), "wrong.yaml:3") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
