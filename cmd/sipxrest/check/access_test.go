package check

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
)

// owned is a file as if it had another owner.
type owned struct {
	fs.FileInfo
	mode     fs.FileMode
	uid, gid uint32
}

func (o owned) Mode() fs.FileMode { return o.mode }
func (o owned) Sys() any          { return &syscall.Stat_t{Uid: o.uid, Gid: o.gid} }

func TestRightsAreThoseOfOwnerGroupOrOthers(t *testing.T) {
	id := identity{"sipxrest", 100, []uint32{200, 300}}
	for _, tt := range []struct {
		mode     fs.FileMode
		uid, gid uint32
		right    fs.FileMode
		want     bool
	}{
		{0o600, 100, 0, 4, true},
		{0o060, 100, 200, 4, false}, // the owner's rights come first
		{0o640, 0, 300, 4, true},
		{0o640, 0, 300, 2, false},
		{0o604, 0, 300, 4, false},
		{0o604, 0, 1, 4, true},
		{0o600, 0, 0, 4, false},
		{0o750, 0, 200, 1, true},
		{0o710, 0, 200, 5, false},
	} {
		if got := id.may(owned{mode: tt.mode, uid: tt.uid, gid: tt.gid}, tt.right); got != tt.want {
			t.Errorf("%o %d:%d, right %o: %v", tt.mode, tt.uid, tt.gid, tt.right, got)
		}
	}
	if !(identity{"root", 0, nil}).may(owned{}, 7) {
		t.Error("root may not")
	}
}

// Root, who checks, can read everything; the service cannot.
func TestCheckSaysWhatTheServicesUserCannotRead(t *testing.T) {
	nobody, ok := serviceIdentity("nobody")
	if !ok {
		t.Skip("there is no user nobody")
	}
	dir, err := os.MkdirTemp("", "access") // of a test's own folder others have no right to enter the one above
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cert, key, err := web.MakeSelfSigned([]string{"sipx.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+`
data-dir: data
http: [{listen: "127.0.0.1:0", tls: {cert: a.crt, key: shut/a.key}}]
dispatch: {rules-dir: rules}
phone: {enabled: true}
`)
	for _, folder := range []string{"data", "shut", "rules"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	apptest.Write(t, dir, "a.crt", string(cert))
	apptest.Write(t, dir, "shut/a.key", string(key))
	apptest.Write(t, dir, "rules/r.yaml", "{id: r, action: hangup}")
	apptest.Write(t, dir, "data/phone.db", "")
	chmod := func(name string, mode fs.FileMode) {
		t.Helper()
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	check := func() (problems []string) {
		t.Helper()
		cfg, err := config.Load(config.Source{File: file})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		c := &checker{ctx: t.Context(), out: &b, as: "nobody", anyone: true}
		c.permissions(&cfg)
		for line := range strings.Lines(b.String()) {
			if strings.HasPrefix(line, levelProblem) {
				problems = append(problems, line)
			}
		}
		if (len(problems) == 0) != strings.Contains(b.String(), "the service's user nobody can read its files") {
			t.Errorf("%s", b.String())
		}
		return problems
	}
	chmod(".", 0o755)
	chmod("shut", 0o700)
	problems := strings.Join(check(), "")
	for _, want := range []string{
		"the service's user nobody cannot read " + dir + "/sipxrest.yaml (-rw------- ",
		"cannot read " + dir + "/users.yaml (-rw------- ",
		": chgrp nobody " + dir + "/users.yaml && chmod g+r " + dir + "/users.yaml",
		"cannot read " + dir + "/a.crt",
		dir + "/shut/a.key: the service's user nobody cannot enter " + dir + "/shut (drwx------ ",
		"cannot read " + dir + "/rules/r.yaml",
		"cannot write " + dir + "/data/phone.db",
		"cannot write " + dir + "/data (",
	} {
		if !strings.Contains(problems, want) {
			t.Errorf("it does not say %s:\n%s", want, problems)
		}
	}
	for name, mode := range map[string]fs.FileMode{"shut": 0o711, "data": 0o777, "sipxrest.yaml": 0o644, "users.yaml": 0o644, "a.crt": 0o644,
		"shut/a.key":   0o644,
		"rules/r.yaml": 0o644, "data/phone.db": 0o666} {
		chmod(name, mode)
	}
	if problems := check(); len(problems) > 0 {
		t.Errorf("%q", problems)
	}
	if err := os.Symlink(filepath.Join(dir, "users.yaml"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	chmod("users.yaml", 0o600)
	if why := nobody.lacks(filepath.Join(dir, "link"), 4); !strings.Contains(why, "cannot read") {
		t.Errorf("by a link: %q", why)
	}
	if why := nobody.lacks(filepath.Join(dir, "nothing"), 4); why != "" {
		t.Errorf("what there is not: %q", why)
	}
	var b strings.Builder
	c := &checker{ctx: t.Context(), out: &b, as: "no-such-user-here"}
	if c.permissions(&config.Config{}); !strings.Contains(b.String(), "--service-user: the system has no user no-such-user-here") {
		t.Error(b.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "data/.new")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something was written")
	}
}
