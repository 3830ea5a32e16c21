package restauth

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sipxrest/internal/digest"
)

func TestLookupByNameAndAlias(t *testing.T) {
	users, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{"../testdata/users/users.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	if users.Len() != 3 {
		t.Fatalf("%d users, want 3", users.Len())
	}
	for text, want := range map[string]string{
		"201": "201", "bob": "201", "robert": "201", "201@sipx.test": "201", "bob@SIPX.test": "201",
		"alice": "202", "Bob": "", "201@other.test": "", "": "", "@sipx.test": "", "201@": "", "nobody": "",
	} {
		user, ok := users.Lookup(text)
		switch {
		case ok != (want != "") || ok != (user != nil):
			t.Errorf("Lookup(%q) = %v, %v", text, user, ok)
		case ok && user.Name != want:
			t.Errorf("Lookup(%q) = %s, want %s", text, user.Name, want)
		}
	}
	alice, _ := users.Lookup("202")
	if alice.Identity != "202@sipx.test" {
		t.Errorf("identity %q", alice.Identity)
	}
	if alice.SIPHA1 != md5sum("202:sipx.test:secret") {
		t.Errorf("SIP HA1 %q is not in lower case", alice.SIPHA1)
	}
}

func TestValidUsers(t *testing.T) {
	users, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{"../testdata/users/validusers.xml"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]pin{
		"201": {md5: md5sum("201:sipx.test:123")},
		"202": {clear: "456"},
		"203": {},
		"204": {}, // has the hash of the empty PIN
	} {
		user, ok := users.Lookup(name)
		if !ok || user.pin != want {
			t.Errorf("user %s: %v, PIN as stored: %v", name, ok, user.pin == want)
		}
	}
	if u, _ := users.Lookup("201"); u.SIPHA1 != md5sum("201:sipx.test:secret") || u.SIPPassword != "" {
		t.Error("passtoken that is a hash was not taken for one")
	}
	if u, _ := users.Lookup("202"); u.SIPHA1 != "" || u.SIPPassword != "secret" {
		t.Error("passtoken that is no hash was taken for one")
	}
	if u, _ := users.Lookup("bob"); u.Name != "201" {
		t.Errorf("an alias of two users leads to %s, want the first", u.Name)
	}
	if w := users.Warnings(); len(w) != 1 || !strings.Contains(w[0], "bob") {
		t.Errorf("warnings %q, want one about bob", w)
	}
}

func TestAllUsersTellWhichSecretsTheyHave(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`
- {user: both, aliases: [b], pin: "1", sip-password: x}
- {user: none}
- {user: ha1, ha1: "` + md5sum("x") + `"}
- {user: sha256, pin-hash: "` + md5sum("x") + `", ha1-sha256: "` + digest.SHA256.Hash("x") + `"}
`)
	users, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	all := func() (got string) {
		for u := range users.All() {
			got += fmt.Sprintf("%s %v %v\n", u.Name, u.HasPIN(), u.HasSIPSecret())
			if u.Name == "both" { // what is reloaded meanwhile is for the next time
				write("- {user: new}")
				if err := users.Reload(); err != nil {
					t.Fatal(err)
				}
			}
		}
		return got
	}
	if got, want := all(), "both true true\nnone false false\nha1 false true\nsha256 true true\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got, want := all(), "new false false\n"; got != want {
		t.Errorf("after the reload %q, want %q", got, want)
	}
	for range users.All() {
		break // ends the iteration, and does not panic
	}
}

func TestBrokenUsersFileNamesThePlace(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"unknown key", "- {user: a}\n- user: b\n  sip-pasword: x", `users.yaml:3: unknown key "sip-pasword": did you mean sip-password?`},
		{"unknown key in capitals", "- {User: a}", `users.yaml:1: unknown key "User": did you mean user?`},
		{"key like none", "- {user: a, favourite-colour: x}", `the keys are user, name`},
		{"name twice", "- {user: a}\n- {user: b}\n- {user: a}", `users.yaml:3: name "a" of user "a" is taken by user "a" (`},
		{"alias twice", "- {user: a, aliases: [x]}\n- {user: b, aliases: [x]}", `users.yaml:2: alias "x" of user "b" is taken by user "a" (`},
		{"alias is a name", "- {user: a, aliases: [b]}\n- {user: b}", `users.yaml:1: alias "b" of user "a" is taken by user "b" (`},
		{"alias with domain", "- {user: a}\n- {user: b, aliases: [a@sipx.test]}", `alias "a" of user "b" is taken`},
		{"key twice", "- {user: a, user: b}", "users.yaml:1: user: given twice"},
		{"aliases twice", "- {user: a, aliases: [], aliases: [b]}", "users.yaml:1: aliases: given twice"},
		{"no user", "- {pin: abc}", "users.yaml:1: user: missing"},
		{"not a list", "user: a", "users.yaml:1: want a list"},
		{"not a user", "- a", "users.yaml:1: want a user"},
		{"nested", "- {user: a, name: [x]}", "users.yaml:1: name: want a text"},
		{"aliases no list", "- {user: a, aliases: x}", "users.yaml:1: aliases: want a list"},
		{"bad hash", "- {user: a, pin-hash: abc}", "users.yaml:1: pin-hash: want 32 hex digits"},
		{"bad HA1", "- {user: a, ha1-sha256: 00112233445566778899aabbccddeeff}", "ha1-sha256: want 64 hex digits"},
		{"PIN and hash", "- {user: a, pin: abc, pin-hash: 00112233445566778899aabbccddeeff}", "pin: give either"},
		{"colon", "- {user: 'a:b'}", "is not a user name"},
		{"domain in the name", "- {user: a@sipx.test}", "has a domain"},
		{"line feed in the name", "- {user: a, name: \"x\\nFrom: y\"}", "name: has control characters"},
		{"identity", "- {user: a, identity: 'a@b>;x'}", "identity:"},
		{"two documents", "- {user: a}\n---\n- {user: b}", "more than one document"},
		{"not YAML", "- {user: a", "users.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{writeUsers(t, t.TempDir(), c.yaml)}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "abc") {
				t.Errorf("error shows a secret: %v", err)
			}
		})
	}
	if _, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{filepath.Join(t.TempDir(), "none.yaml")}}); err == nil {
		t.Error("a missing file is no error")
	}
	if _, err := LoadUsers(UsersConfig{}); err == nil {
		t.Error("a missing domain is no error")
	}
}

// A secret without quotes may mean something to YAML. It is neither taken for
// another nor shown.
func TestASecretThatYAMLTakesForSomethingElseIsRefused(t *testing.T) {
	for _, secret := range []string{"*hunter2", "&hunter2", "!hunter2", "%hunter2", "@hunter2", "'hunter2", "[hunter2", "hunter2: x",
		">hunter2"} {
		for _, key := range []string{"pin", "sip-password"} {
			_, err := readYAML("users.yaml", []byte("- user: a\n  "+key+": "+secret+"\n"), nil)
			if err == nil {
				t.Errorf("%s: %s is taken", key, secret)
			} else if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %s: the error shows it: %v", key, secret, err)
			}
		}
	}
}

func TestNumbersInUsersFileStayText(t *testing.T) {
	users := loadUsers(t, "- {user: 0201, pin: 0077, aliases: [1e3], name: ~}\n")
	user, ok := users.Lookup("0201")
	if !ok || user.pin.clear != "0077" || user.Aliases[0] != "1e3" || user.DisplayName != "" {
		t.Fatalf("read %q, alias %q, PIN as written: %v", user.Name, user.Aliases, user.pin.clear == "0077")
	}
}

func TestEmptyUsersFile(t *testing.T) {
	for _, text := range []string{"", "# none yet\n", "[]", "---\n"} {
		if n := loadUsers(t, text).Len(); n != 0 {
			t.Errorf("%q: %d users", text, n)
		}
	}
}

func TestBrokenReloadKeepsTheUsers(t *testing.T) {
	dir := t.TempDir()
	file := writeUsers(t, dir, "- {user: a}")
	users, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	writeUsers(t, dir, "- {user: b}\n- {oops")
	if err := users.Reload(); err == nil {
		t.Fatal("a broken file is no error")
	}
	if _, ok := users.Lookup("a"); !ok || users.Len() != 1 {
		t.Fatal("the old users are gone")
	}
	writeUsers(t, dir, "")
	if err := users.Reload(); err == nil || !strings.Contains(err.Error(), "until a restart") {
		t.Fatalf("a file that has become empty: %v", err)
	}
	if _, ok := users.Lookup("a"); !ok {
		t.Fatal("an empty file took the users away")
	}
	writeUsers(t, dir, "- {user: b}")
	if err := users.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, ok := users.Lookup("a"); ok {
		t.Fatal("the old users are still there")
	}
}

// lines is a log handler that hands out each message.
type lines struct {
	slog.Handler
	ch chan string
}

func (l lines) Handle(_ context.Context, r slog.Record) error { l.ch <- r.Message; return nil }

func TestWatchReloads(t *testing.T) {
	dir := t.TempDir()
	file := writeUsers(t, dir, "- {user: a}")
	users, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	log := lines{slog.NewTextHandler(io.Discard, nil), make(chan string, 10)}
	writeUsers(t, dir, "- {user: changed-before-watching}")
	go func() { ended <- users.Watch(ctx, slog.New(log)) }()
	await := func(what, name string) {
		t.Helper()
		if got := <-log.ch; got != what {
			t.Fatalf("logged %q, want %q", got, what)
		}
		if _, ok := users.Lookup(name); !ok {
			t.Fatalf("user %s is not there", name)
		}
	}
	await("users reloaded", "changed-before-watching")

	writeUsers(t, dir, "- {user: written}")
	await("users reloaded", "written")

	replacement := filepath.Join(dir, "new")
	if err := os.WriteFile(replacement, []byte("- {user: replaced}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(replacement, file); err != nil {
		t.Fatal(err)
	}
	await("users reloaded", "replaced")

	writeUsers(t, dir, "- {usr: broken}")
	await("users not reloaded, the old ones stay", "replaced")

	writeUsers(t, dir, "- {user: mended-now}")
	await("users reloaded", "mended-now")

	writeUsers(t, dir, "")
	await("users not reloaded, the old ones stay", "mended-now")

	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// A Kubernetes volume replaces a folder that the file's link leads through.
func TestWatchFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"v1": "- {user: a}", "v2": "- {user: bb}"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeUsers(t, filepath.Join(dir, name), text)
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("v1", "..data")
	link("..data/users.yaml", "users.yaml")
	users, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{filepath.Join(dir, "users.yaml")}})
	if err != nil {
		t.Fatal(err)
	}
	log := lines{slog.NewTextHandler(io.Discard, nil), make(chan string, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- users.Watch(ctx, slog.New(log)) }()
	link("v2", "..next")
	if err := os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	<-log.ch
	if _, ok := users.Lookup("bb"); !ok {
		t.Error("the new folder's users are not there")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestWatchSeesWhatALinkLeadsTo(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	target := writeUsers(t, elsewhere, "- {user: a}")
	file := filepath.Join(dir, "users.yaml")
	if err := os.Symlink(target, file); err != nil {
		t.Fatal(err)
	}
	users, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	log := lines{slog.NewTextHandler(io.Discard, nil), make(chan string, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- users.Watch(ctx, slog.New(log)) }()
	for _, name := range []string{"bb", "ccc"} { // the first may come before watching
		writeUsers(t, elsewhere, "- {user: "+name+"}")
		<-log.ch
		if _, ok := users.Lookup(name); !ok {
			t.Fatalf("user %s is not there", name)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	users := loadUsers(t, `- {user: "201", pin: geheim, sip-password: geheim, aliases: [x]}`)
	user, _ := users.Lookup("201")
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "user", user, "pin", user.pin, "users", users)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "user", user, "pin", user.pin, "users", users)
	fmt.Fprintf(&log, "%v %+v %#v %s %v %#v", user, user, user, user, user.pin, user.pin)
	if strings.Contains(log.String(), "geheim") {
		t.Fatalf("a secret is shown: %s", log.String())
	}
}

func manyUsers(t testing.TB, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- {user: \"%d\", name: Bob Caller, aliases: [bob%d], identity: %d@sipx.test, pin: \"%d\", sip-password: \"s%d\"}\n", i,
			i, i, i, i)
	}
	return writeUsers(t, t.TempDir(), b.String())
}

func BenchmarkLoadUsers40000(b *testing.B) {
	cfg := UsersConfig{Domain: testDomain, Files: []string{manyUsers(b, 40_000)}}
	for b.Loop() {
		if _, err := LoadUsers(cfg); err != nil {
			b.Fatal(err)
		}
	}
}

// What is no list of users for sure is refused before it takes the memory, or the
// time, of the service.
func TestUsersFilesHaveABound(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	pad := strings.Repeat("#"+strings.Repeat(" ", 1022)+"\n", 1024) // 1 MiB of nothing
	for name, text := range map[string]string{
		"large.yaml": "- {user: \"201\"}\n" + strings.Repeat(pad, maxYAML>>20),
		"large.xml":  "<validusers>" + strings.Repeat(pad, maxUsersFile>>20),
	} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(file("pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", file("endless.yaml")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"large.yaml": "large.yaml is too large: it has more than 16 MiB, and no more is read of users in YAML: put the users into " +
			"several files",
		"large.xml":    "large.xml is too large: it has more than 64 MiB",
		"pipe.yaml":    "pipe.yaml: it is not a regular file but a pipe: name a file",
		"endless.yaml": "endless.yaml: it is not a regular file but a device: name a file",
		"no.yaml":      "no.yaml: no such file or directory: name an existing file under users",
	} {
		if _, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{file(name)}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", name, err, want)
		}
	}
}

func TestAUsersFileOfAnotherUserSaysWhoMustReadIt(t *testing.T) {
	err := advised(&os.PathError{Op: "open", Path: "users.yaml", Err: syscall.EACCES}) // root may read everything
	const want = "permission denied: whoever runs sipxrest must be able to read it: the service by chgrp sipxrest FILE"
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "existing") {
		t.Errorf("%v, want …%s…", err, want)
	}
}
