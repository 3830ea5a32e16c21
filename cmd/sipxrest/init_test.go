package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/restauth"
)

// written loads what init has written into dir, as the service does.
func written(t *testing.T, dir string) (config.Config, *restauth.Users) {
	t.Helper()
	cfg, err := config.Load(config.Source{File: filepath.Join(dir, "sipxrest.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: cfg.Domain, Realm: cfg.Realm, Files: cfg.Users})
	if err != nil {
		t.Fatal(err)
	}
	return cfg, users
}

func TestInitWritesWhatTheServiceReads(t *testing.T) {
	for _, tt := range []struct {
		name, stdin string
		args        []string
		domain      string
		proxy       string
		listen      string // a socket that is there, beside the usual ones
		user        string
		password    string
	}{
		{"all by flags", "", []string{"--domain=pbx.example", "--proxy=sip:192.0.2.1:5060", "--user=201", "--pin=1234", "--sip-password=secret"},
			"pbx.example", "sip:192.0.2.1:5060", "", "201", "secret"},
		{"all by answers", "pbx.example\n192.0.2.1\n201\n1234\nsecret\n", nil, "pbx.example", "sip:192.0.2.1", "", "201", "secret"},
		{"some by each", "pbx.example\r\n1234\r\n\r\n", []string{"--user=bob", "--proxy", "dns"}, "pbx.example", "", "", "bob", ""},
		{"secrets may be missing", "pbx.example\ndns\n201", nil, "pbx.example", "", "", "201", ""},
		{"TLS", "", []string{"--domain=pbx.example", "--proxy=sips:192.0.2.1", "--user=201", "--pin=", "--sip-password="},
			"pbx.example", "sips:192.0.2.1", "tls:", "201", ""},
		{"WebSocket", "", []string{"--domain=pbx.example", "--proxy=192.0.2.1:8080;transport=ws", "--user=201", "--pin=", "--sip-password="},
			"pbx.example", "sip:192.0.2.1:8080;transport=ws", "ws:", "201", ""},
		{"secrets that YAML would take for something else", "", []string{"--domain=pbx.example", "--proxy=dns", "--user=0x1f", "--pin=0123",
			`--sip-password=&a "b" \c # d: é`}, "pbx.example", "", "", "0x1f", `&a "b" \c # d: é`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			code, out, stderr := command(tt.stdin, nil, append([]string{"init", "--dir", dir}, tt.args...)...)
			if code != 0 || stderr != "" || !strings.Contains(out, "sipxrest check --config "+dir) {
				t.Fatalf("code %d\n%s%s", code, out, stderr)
			}
			cfg, users := written(t, dir)
			if got := strings.Join(cfg.SIP.OutboundProxy, " "); cfg.Domain != tt.domain || got != tt.proxy {
				t.Errorf("domain %q, proxy %q", cfg.Domain, got)
			}
			if tt.listen != "" && !strings.Contains("\n"+strings.Join(cfg.SIPListen(), "\n"), "\n"+tt.listen) {
				t.Errorf("sockets %q", cfg.SIPListen())
			}
			u, ok := users.Lookup(tt.user)
			if !ok || !u.HasPIN() || u.SIPPassword != tt.password {
				t.Errorf("user %v, %v", u, ok)
			}
			if tt.password != "" && strings.Contains(out, tt.password) {
				t.Errorf("a secret is shown:\n%s", out)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 2 {
				t.Errorf("%v, %v", entries, err)
			}
			for _, e := range entries {
				// Root lets the service's group read, where the service is installed.
				if info, err := e.Info(); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&^0o040 != 0o600 {
					t.Errorf("%v, %v", info, err)
				}
			}
		})
	}
}

func TestInitMakesAPINOfDigits(t *testing.T) {
	dir, made := t.TempDir(), map[string]bool{}
	for _, name := range []string{"a", "b"} {
		_, out, _ := command("pbx.example\ndns\n201\n\n\n", nil, "init", "--dir", filepath.Join(dir, name))
		pin := regexp.MustCompile(`The PIN of 201 is ([0-9]{8})\.`).FindStringSubmatch(out)
		if pin == nil || made[pin[1]] {
			t.Fatalf("%s", out)
		}
		made[pin[1]] = true
		text, err := os.ReadFile(filepath.Join(dir, name, "users.yaml"))
		if err != nil || !strings.Contains(string(text), `pin: "`+pin[1]+`"`) {
			t.Errorf("%s %v", text, err)
		}
	}
}

func TestInitExplainsWrongAnswers(t *testing.T) {
	good := []string{"pbx.example", "dns", "201", "1234", "secret"}
	flags := []string{"--domain", "--proxy", "--user", "--pin", "--sip-password"}
	for _, tt := range []struct {
		flag, answer, want string
	}{
		{"--domain", "", "missing: it may not be empty"},
		{"--domain", "sip:pbx.example", "write the domain without sip: before it"},
		{"--domain", "pbx example", "is not a domain name"},
		{"--domain", "pbx.example:5060", "is not a domain name"},
		{"--proxy", "", "missing: it may not be empty"},
		{"--proxy", "http://192.0.2.1", "is not a port"},
		{"--proxy", "192.0.2.1:70000", `"70000" is not a port`},
		{"--proxy", "sip:192.0.2.1;transport=sctp", "only ;lr and ;transport="},
		{"--user", "", "missing: it may not be empty"},
		{"--user", "201@pbx.example", "has a domain"},
		{"--user", "2:1", "is not a user name"},
		{"--user", "a\x01b", "is not a user name"},
		{"--user", "\xff", "it is not UTF-8"},
		{"--pin", "a\tb\x7f", "pin: has control characters"},
		{"--pin", strings.Repeat("1", 5000), "it has more than 4096 bytes"},
		{"--sip-password", "\xfe", "it is not UTF-8"},
	} {
		dir := t.TempDir()
		var args []string
		answers := ""
		for i, f := range flags {
			value := good[i]
			if f == tt.flag {
				value = tt.answer
			}
			args = append(args, f+"="+value)
			answers += value + "\n"
		}
		for how, run := range map[string]func() (int, string, string){
			"flags": func() (int, string, string) {
				return command("", nil, append([]string{"init", "--dir", dir}, args...)...)
			},
			"answers": func() (int, string, string) { return command(answers, nil, "init", "--dir", dir) },
		} {
			code, out, stderr := run()
			if code != 1 || !strings.Contains(stderr, "sipxrest: "+tt.flag+": ") || !strings.Contains(stderr, tt.want) || out != "" {
				t.Errorf("%s %.30q by %s: code %d, %s%s, want …%s…", tt.flag, tt.answer, how, code, out, stderr, tt.want)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
				t.Errorf("%s %.30q by %s leaves %v, %v", tt.flag, tt.answer, how, entries, err)
			}
		}
	}
}

func TestInitSaysWhichAnswerIsMissing(t *testing.T) {
	dir := t.TempDir()
	for answers, want := range map[string]string{
		"":                     "--domain: no answer: add the flag, or write a line for it",
		"pbx.example\n":        "--proxy: no answer",
		"pbx.example\ndns\n":   "--user: no answer",
		"pbx.example\n\n201\n": "--proxy: missing",
	} {
		if code, _, stderr := command(answers, nil, "init", "--dir", dir); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%q: code %d, %s, want …%s…", answers, code, stderr, want)
		}
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	args := []string{"--domain=pbx.example", "--proxy=dns", "--user=201", "--pin=1234", "--sip-password="}
	for _, name := range []string{"sipxrest.yaml", "users.yaml"} {
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := command("", nil, append([]string{"init", "--dir", dir}, args...)...)
		if code != 1 || !strings.Contains(stderr, file+" is there, and nothing is overwritten") {
			t.Errorf("code %d, %s", code, stderr)
		}
		if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
			t.Errorf("%s, %v", text, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%v", entries)
		}
	}
	// A link that leads nowhere is somebody's, too.
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "users.yaml")); err != nil {
		t.Skip("this file system has no links: set TMPDIR to a folder of one that has: ", err)
	}
	if code, _, stderr := command("", nil, append([]string{"init", "--dir", dir}, args...)...); code != 1 {
		t.Errorf("code %d, %s", code, stderr)
	}
}

// Files that come while the answers are typed are not overwritten either, and
// nothing is left of a try that fails.
func TestInitLosesNoRace(t *testing.T) {
	for _, name := range []string{"sipxrest.yaml", "users.yaml"} {
		f := initFiles{dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.write(&answers{domain: "pbx.example", user: "201", pin: "1234"}); err == nil {
			t.Error("written")
		}
		var left []string
		err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
			if path != f.dir {
				left = append(left, path)
			}
			return err
		})
		if err != nil || len(left) != 1 {
			t.Errorf("left %q, %v", left, err)
		}
	}
}

// In the folder of the configuration no flag is needed to check it.
func TestInitInThisFolderIsChecked(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, stderr := command("1\ns\n", nil, "init", "--dir=.", "--domain=pbx.example", "--proxy=127.0.0.1:1", "--user=201")
	if code != 0 || !strings.Contains(out, "Next:  sipxrest check --user 201\n") {
		t.Fatalf("code %d\n%s%s", code, out, stderr)
	}
	_, out, _ = command("", nil, "check",
		"--set", "http=[{listen: '127.0.0.1:0'}]", "--set", "sip.listen=['tcp:127.0.0.1:0']", "--set", "trusted=[]")
	if !strings.Contains(out, "realm pbx.example, from sipxrest.yaml\n") || !strings.Contains(out, "1 user in users.yaml\n") {
		t.Errorf("%s", out)
	}
}
