package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

func TestPhoneUsersByTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	file := filepath.Join(dir, "p.db")
	do := func(stdin, args string, want int) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := command(stdin, nil, append(strings.Fields("phone user "+args), "--database", file)...)
		if code != want {
			t.Errorf("phone user %s: code %d, %s", args, code, stderr)
		}
		return stdout, stderr
	}
	out, _ := do("password1\n", "add sam --display-name Sam --level admin", 0)
	if !regexp.MustCompile(`^[0-9A-F-]{36} sam admin\n$`).MatchString(out) {
		t.Errorf("%q", out)
	}
	do("password2\n", "add kim --id 6f9619ff-8b86-d011-b42d-00c04fc964ff", 0)
	for args, want := range map[string]string{
		"add sam":                  "there is a user of that name",
		"add a --id x":             "is no UUID",
		"add a --level king":       "is no access level",
		"delete eve":               "there is no such user",
		"set-password eve":         "there is no such user",
		"block sam eve":            "there is no such user",
		"favorite sam sam":         "the same user",
		"set kim --rename SAM":     "there is a user of that name",
		"sip sam":                  "write the SIP address",
		"sip sam sip:1@a --none":   "write the SIP address",
		"sip sam 201":              "write sip:201@example.com",
		"sip eve sip:1@a":          "there is no such user",
		"set kim --level x":        "is no access level",
		"add a --password 1234567": "at least 8",
	} {
		stdin := "password3\n"
		if _, stderr := do(stdin, args, 1); !strings.Contains(stderr, want) {
			t.Errorf("%s: %s, want …%s…", args, stderr, want)
		}
	}
	do("", "add a", 1) // no password
	for _, args := range []string{"favorite sam kim", "unfavorite sam kim", "block sam kim", "unblock sam kim", "mute sam kim",
		"unmute sam kim",
		"set kim --rename kimmy --pronoun she", "sip sam sip:1@a", "sip sam --none", "sip kimmy sip:202@pbx.example",
		"favorite 6F9619FF-8B86-D011-B42D-00C04FC964FF sam"} {
		if out, stderr := do("", args, 0); out != "" || stderr != "database "+file+"\n" {
			t.Errorf("%s: %q %q", args, out, stderr)
		}
	}
	do("password4\n", "set-password kimmy", 0)
	out, _ = do("", "list", 0)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 ||
		!strings.HasPrefix(lines[0], "6F9619FF-8B86-D011-B42D-00C04FC964FF kimmy ") || !strings.HasSuffix(lines[0], " sip:202@pbx.example") ||
		!strings.HasSuffix(lines[1], " admin        Sam") {
		t.Errorf("%q", lines)
	}
	do("", "delete kimmy", 0)
	if out, _ = do("", "list", 0); strings.Contains(out, "kimmy") {
		t.Error(out)
	}
}

func TestPhoneUsersAreImported(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("users.yaml",
		[]byte("- {user: \"201\", name: Bob, pin: \"1234\"}\n- {user: \"202\", pin-hash: 81dc9bdb52d04dc20036dbd8313ed055}\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"phone", "user", "import", "--domain", "a.test", "--users", "users.yaml", "--data-dir", dir}
	code, out, stderr := command("", nil, append(args, "--password-from-pin")...)
	if code != 0 || !regexp.MustCompile(`(?m)^201 \(PIN\)$`).MatchString(out) ||
		!regexp.MustCompile(`(?m)^202 [A-Z2-7]{4}(-[A-Z2-7]{4}){3}$`).MatchString(out) {
		t.Errorf("%d %q %s", code, out, stderr)
	}
	if strings.Contains(out+stderr, "1234") {
		t.Errorf("%q %q", out, stderr)
	}
	code, out, stderr = command("", nil, args...)
	if code != 0 || out != "" || !strings.HasSuffix(stderr, "\n0 users made, 2 were there\n") {
		t.Errorf("%d %q %q", code, out, stderr)
	}
}

// A command in a shell means the database of the service, wherever it is started,
// and says which one that is.
func TestPhoneUsersAreThoseOfTheService(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("etc", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"etc/users.yaml": "[]", "etc/sipxrest.yaml": "domain: a.test\nusers: [users.yaml]\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	do := func(args ...string) (code int, stderr string) {
		t.Helper()
		code, _, stderr = command("", nil, append([]string{"phone", "user"}, args...)...)
		return code, stderr
	}
	file := filepath.Join(dir, "etc/data/phone.db")
	if code, stderr := do("list", "--config", "etc/sipxrest.yaml"); code != 1 ||
		!strings.Contains(stderr, "there is no database "+file+": sipxrest phone user add NAME makes it. Has the service another one?") {
		t.Errorf("%d %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Dir(file)); !os.IsNotExist(err) {
		t.Errorf("it was made by looking at it: %v", err)
	}
	if code, stderr := do("add", "sam", "--password", "password1", "--config", "etc/sipxrest.yaml"); code != 0 ||
		stderr != "database "+file+", which is new\n" {
		t.Errorf("%d %s", code, stderr)
	}
	t.Chdir("etc") // another folder to start from
	if code, stderr := do("set", "sam", "--level", "admin"); code != 0 || stderr != "database "+file+"\n" {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestADatabaseOfAnotherUserSaysWhatToDo(t *testing.T) {
	err := forOwner(&os.PathError{Op: "open", Path: "phone.db", Err: syscall.EACCES}) // root may open everything
	if want := "open phone.db: permission denied: it is for the service's user: use sudo"; err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestABrokenConfigurationIsNotTakenForNone(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, stderr := command("", nil, "phone", "user", "list"); code != 1 ||
		!strings.Contains(stderr, "There is no configuration here that says it: add --config FILE, or --database FILE") {
		t.Errorf("%d %s", code, stderr)
	}
	if err := os.WriteFile("sipxrest.yaml", []byte("domain: a.test\nusrs: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := command("", nil, "phone", "user", "list"); code != 1 || !strings.Contains(stderr, `unknown key "usrs"`) ||
		strings.Contains(stderr, "There is no configuration") {
		t.Errorf("%d %s", code, stderr)
	}
}
