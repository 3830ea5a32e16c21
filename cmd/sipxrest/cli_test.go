package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/restauth"
)

// command runs a command line and answers what it printed.
func command(stdin string, environ []string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, world{strings.NewReader(stdin), &out, &errs, environ})
	return code, out.String(), errs.String()
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	for _, args := range []string{"", "serve", "demo", "check", "reload", "user hash"} {
		code, out, _ := command("", nil, append(strings.Fields(args), "--help")...)
		if code != 0 || !strings.Contains(out, "sipxrest "+args) || strings.Count(out, "    sipxrest ") < 1 {
			t.Errorf("%s --help: code %d\n%s", args, code, out)
		}
	}
}

func TestHelpIsACommandToo(t *testing.T) {
	for _, args := range []string{"", "user hash"} {
		_, want, _ := command("", nil, append(strings.Fields(args), "--help")...)
		if code, out, _ := command("", nil, append([]string{"help"}, strings.Fields(args)...)...); code != 0 || out != want {
			t.Errorf("sipxrest help %s: code %d\n%s", args, code, out)
		}
	}
}

func TestWrongCommandLinesAreExplained(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"chek", 2, "did you mean sipxrest check?"},
		{"--config x phone user list", 2, "write flags after the command"},
		{"serve --confg x", 2, `did you mean`},
		{"--set realm", 1, "write KEY=VALUE, such as --set call.timeout=90s"},
		{"--set relm=x", 1, `--set: unknown key "relm": did you mean "realm"?`},
		{"--log-level loud --domain a.test --users u", 1, `--log-level: log.level: "loud" is unknown`},
		{"", 1, "sipxrest serve --example-config > sipxrest.yaml"},
		{"serve --config nowhere.yaml", 1, "nowhere.yaml"},
		{"user hash", 2, "<user>"},
		{"user hash", 2, "See sipxrest user --help."},
		{"serve --foo", 2, "See sipxrest serve --help."},
		{"user hash 201@a.test --realm x --pin 1", 1, "is not a user name"},
		{"user hash 201 --pin 1", 1, "add --realm NAME"},
		{"user hash 201 --realm x", 1, "neither a PIN nor a SIP password"},
	} {
		code, _, stderr := command("", nil, strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(stderr, tt.want) {
			t.Errorf("sipxrest %s: code %d, want %d; %s, want …%s…", tt.args, code, tt.code, stderr, tt.want)
		}
	}
}

func TestTheExampleIsPrinted(t *testing.T) {
	for _, args := range [][]string{{"--example-config"}, {"serve", "--example-config"}} {
		if code, out, _ := command("", nil, args...); code != 0 || out != config.Example {
			t.Errorf("%q: code %d, %d bytes", args, code, len(out))
		}
	}
}

func TestFlagsBeatTheEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	_, out, _ := command("", []string{"SIPXREST_DOMAIN=env.test", "SIPXREST_REALM=env.test"},
		"check", "--domain", "flag.test", "--users", "a.yaml,b.yaml", "--sip-listen", "tcp:127.0.0.1:1",
		"--outbound-proxy", "sip:127.0.0.1:1;transport=tcp", "--set", "trusted=[]", "--set", "http=[{listen: ':1'}]")
	if !strings.Contains(out, "domain flag.test, realm env.test") {
		t.Errorf("got %s", out)
	}
}

func TestHashedUsersAreLetIn(t *testing.T) {
	code, out, stderr := command("1234\nsecret\n", nil, "user", "hash", "201", "--realm", "sipx.test")
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, %s", code, stderr)
	}
	if strings.Contains(out, "1234\n") || strings.Contains(out, "secret") {
		t.Errorf("a secret is printed:\n%s", out)
	}
	file := filepath.Join(t.TempDir(), "users.yaml")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: "sipx.test", Files: []string{file}})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	u, ok := users.Lookup("201")
	// printf 201:sipx.test:secret | md5sum, sha256sum
	if !ok || !u.HasPIN() || u.SIPHA1 != "cb664b2441a1aca4c0a2d3d267b4f81b" ||
		u.SIPHA1SHA256 != "baa1eae381083a677a2e3603545d0b8bf667ab12216a46686ca7f556c0ec2da2" {
		t.Errorf("user %v, HA1 %s, %s", u, u.SIPHA1, u.SIPHA1SHA256)
	}
}

func TestOnlyGivenSecretsAreHashed(t *testing.T) {
	code, out, _ := command("", []string{"SIPXREST_DOMAIN=sipx.test"}, "user", "hash", "201", "--pin", "1234")
	if code != 0 || !strings.Contains(out, "pin-hash: ") || strings.Contains(out, "ha1") {
		t.Errorf("code %d\n%s", code, out)
	}
}

func TestTheVersionIsOneLine(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		if code, out, _ := command("", nil, arg); code != 0 || !strings.HasPrefix(out, "sipxrest ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: code %d, %q", arg, code, out)
		}
	}
}

func TestCheckPrintsJSONOnRequest(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, _ := command("", nil, "check", "--json", "--set", "drain=5", "--set", "relm=x")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 1 || len(lines) != 2 {
		t.Fatalf("code %d\n%s", code, out)
	}
	for _, line := range lines {
		var f struct{ Level, About, Text string }
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Level != "problem" || f.Text == "" {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestHealthSaysWhetherAServiceRuns(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, stderr := command("", nil, "health", "--domain", "a.test", "--users", "u", "--data-dir", "d"); code != 1 ||
		!strings.Contains(stderr, "no service answers in data-dir ") {
		t.Errorf("code %d, %s", code, stderr)
	}
	if code, _, stderr := command("", nil, "health"); code != 1 || !strings.Contains(stderr, "no configuration found") {
		t.Errorf("code %d, %s", code, stderr)
	}
}
