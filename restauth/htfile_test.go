package restauth

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	auth "github.com/abbot/go-http-auth"
	"golang.org/x/crypto/bcrypt"
)

const (
	htpasswdFile = "../testdata/users/users.htpasswd"
	htdigestFile = "../testdata/users/users.htdigest"
)

func loadFiles(t *testing.T, files ...string) (*Users, error) {
	t.Helper()
	return LoadUsers(UsersConfig{Domain: testDomain, Files: files})
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// What go-http-auth reads of a file, we read of it, too.
func TestFilesOfHtpasswdAndHtdigestAreReadAsGoHTTPAuthReadsThem(t *testing.T) {
	users, err := loadFiles(t, htpasswdFile, htdigestFile)
	if err != nil {
		t.Fatal(err)
	}
	hashes, ha1s := auth.HtpasswdFileProvider(htpasswdFile), auth.HtdigestFileProvider(htdigestFile)
	for user := range users.All() {
		if user.pin.crypt != hashes(user.Name, "") || user.pin.md5 != ha1s(user.Name, testDomain) || !user.HasPIN() ||
			user.Identity != user.Name+"@sipx.test" {
			t.Errorf("user %s differs", user.Name)
		}
	}
	if w := users.Warnings(); users.Len() != 6 || len(w) != 1 ||
		!strings.Contains(w[0], `1 users of the realm "Another Realm" are left out: ours is "sipx.test"`) {
		t.Errorf("%d users, %q", users.Len(), w)
	}
}

// The kind of a file is known by its name, or by its first line.
func TestTheKindOfAFileOfUsers(t *testing.T) {
	passwd, _ := os.ReadFile(htpasswdFile)
	digests, _ := os.ReadFile(htdigestFile)
	for _, tt := range []struct {
		name string
		data []byte
		want htKind
	}{
		{"users.htpasswd", nil, htpasswd}, {".HTPASSWD", nil, htpasswd}, {"pins", passwd, htpasswd},
		{"a.htdigest", nil, htdigest}, {"pins", digests, htdigest},
		{"users.yaml", []byte("- {user: \"201\", pin-bcrypt: $2y$05$x}"), noHT}, {"users.yaml", []byte("# user:realm\n- user: 201\n"), noHT},
		{"x", nil, noHT},
	} {
		if got := htKindOf(tt.name, tt.data); got != tt.want {
			t.Errorf("%s, %.20q is %d, want %d", tt.name, tt.data, got, tt.want)
		}
	}
}

func TestUsersOfSuchFilesLogIn(t *testing.T) {
	bcryptUser := `- {user: "307", pin-bcrypt: "` + hashed(t, "4711") + `"}`
	users, err := loadFiles(t, htpasswdFile, htdigestFile, writeUsers(t, t.TempDir(), testUsers+bcryptUser))
	if err != nil {
		t.Fatal(err)
	}
	clock := &clock{}
	g, err := New(Config{Domain: testDomain, Now: clock.now}, users, discard())
	if err != nil {
		t.Fatal(err)
	}
	handler := func(tls bool) http.Handler {
		return g.Listener(PIN, tls, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := g.Authorize(w, r, r.URL.Query().Get("agent")); ok {
				w.WriteHeader(200)
			}
		}))
	}
	secure, clear := handler(true), handler(false)
	for _, tt := range []struct {
		user, pin   string
		basic, hash int // by Basic on TLS, by Digest
	}{
		{"301", "myPassword", 200, 401}, {"302", "myPassword", 200, 401}, {"303", "myPassword", 200, 401}, {"304", "1234", 200, 401},
		{"307", "4711", 200, 401},
		{"301", "mypassword", 401, 401}, {"302", "1234", 401, 401}, {"303", "", 401, 401}, {"307", "", 401, 401},
		{"305", "1234", 200, 200}, {"306", "5678", 200, 200}, {"306", "1234", 401, 401},
		{"201", "123", 200, 200}, {"201", "myPassword", 401, 401}, {"nobody", "myPassword", 401, 401},
	} {
		clock.advance(guessWindow)
		target := "/x?agent=" + tt.user
		for range 2 { // the second time it is known
			r := request("POST", target)
			r.SetBasicAuth(tt.user, tt.pin)
			if got := do(secure, r).StatusCode; got != tt.basic {
				t.Errorf("%s with %q by Basic: %d", tt.user, tt.pin, got)
			}
		}
		r := request("POST", target)
		r.SetBasicAuth(tt.user, tt.pin)
		if res := do(clear, r); res.StatusCode != 401 {
			t.Errorf("%s by Basic in clear: %d", tt.user, res.StatusCode)
		}
		r = request("POST", target)
		p := digestFor(r, challenged(t, clear), 1)
		p.user, p.pin = tt.user, tt.pin
		if got := do(clear, with(r, p.String())).StatusCode; got != tt.hash {
			t.Errorf("%s with %q by Digest: %d", tt.user, tt.pin, got)
		}
	}
}

// A hash that we make is one that we take.
func TestAHashOfOursIsTaken(t *testing.T) {
	hash, err := HashPIN("4711")
	if err != nil || checkCrypt(hash) != nil || cryptCost(hash) != bcryptCost || !sameCrypt(hash, "4711") {
		t.Errorf("%q, %v", hash, err)
	}
}

// hashed is a hash as HashPIN makes them, but cheap.
func hashed(t *testing.T, pin string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(pin), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// A line may be the PIN of a user whom another file has.
func TestPINsOfOneFileAreForUsersOfAnother(t *testing.T) {
	yaml := file(t, "users.yaml", `[{user: "305", name: Five, sip-password: s}, {user: "301", aliases: [one]}]`)
	for _, files := range [][]string{{yaml, htdigestFile, htpasswdFile}, {htpasswdFile, htdigestFile, yaml}} {
		users, err := loadFiles(t, files...)
		if err != nil {
			t.Fatal(err)
		}
		five, _ := users.Lookup("305")
		one, _ := users.Lookup("one")
		if users.Len() != 6 || five == nil || five.DisplayName != "Five" || five.pin.md5 == "" || one == nil || one.pin.crypt == "" {
			t.Errorf("%d users, %v, %v", users.Len(), five, one)
		}
	}
}

func TestFaultsOfSuchFilesNameTheirLine(t *testing.T) {
	good := "301:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n"
	for _, tt := range []struct{ name, text, want string }{
		{"a.htpasswd", good + "302:geheim\n", ":2: the hash is none that is known: make it by htpasswd -B (bcrypt), -m (apr1) or -s (SHA)"},
		{"a.htpasswd", "302:cPWq3GLEnG3gk\n", ":1: the hash is none that is known"},
		{"a.htpasswd", "302\n", ":1: want user:hash"},
		{"a.htpasswd", "302:$2y$31$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n", "cost 31 takes seconds"},
		{"a.htpasswd", "302:$2y$05$short\n", "want a bcrypt hash"},
		{"a.htpasswd", "a b:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\n", `"a b" is not a user name`},
		{"a.htpasswd", good + good, `:2: user "301" has a PIN already (`},
		{"a.htdigest", "301:sipx.test:geheim\n", ":1: want user:realm:hash"},
		{"a.htdigest", "301:geheim\n", ":1: want user:realm:hash"},
		{"u.yaml", `- {user: "1", pin-bcrypt: geheim}`, ":1: pin-bcrypt: want a bcrypt hash"},
		{"u.yaml", `- {user: "1", pin: "1", pin-bcrypt: "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"}`,
			"give either pin or its hash pin-bcrypt"},
		{"u.yaml", `- {user: "1", pin-bcript: x}`, "did you mean pin-bcrypt?"},
	} {
		_, err := loadFiles(t, file(t, tt.name, tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "geheim") ||
			strings.Contains(err.Error(), "c4Wo") {
			t.Errorf("%s %q: %v", tt.name, tt.text, err)
		}
	}
}

// A PIN that is right is compared once, and no more than some wait for that.
func TestComparingPINsIsBounded(t *testing.T) {
	c, now := newCrypter(), time.Now()
	here, hash := netip.MustParseAddr("192.0.2.1"), hashed(t, "1")
	for range maxHashing + maxHashQueue {
		c.queue <- struct{}{}
	}
	if _, err := c.same(t.Context(), here, hash, "1", now); err != errHashing {
		t.Errorf("one too many: %v", err)
	}
	<-c.queue
	if ok, err := c.same(t.Context(), here, hash, "1", now); !ok || err != nil {
		t.Errorf("the right one: %v, %v", ok, err)
	}
	c.queue <- struct{}{}
	if ok, err := c.same(t.Context(), here, hash, "1", now.Add(rightFor+time.Second)); !ok || err != nil {
		t.Errorf("it is not remembered: %v, %v", ok, err)
	}
	if _, err := c.same(t.Context(), here, hash, "2", now); err != errHashing {
		t.Error("a wrong one is remembered")
	}
	if _, err := c.same(t.Context(), here, hash, "1", now.Add(5*rightFor)); err != errHashing {
		t.Error("it is remembered for ever")
	}
	<-c.queue
	for range maxHashesOfOne {
		c.enter(here)
	}
	if _, err := c.same(t.Context(), here, hash, "2", now); err != errHashing {
		t.Errorf("one too many of an address: %v", err)
	}
	if _, err := c.same(t.Context(), netip.MustParseAddr("192.0.2.2"), hash, "2", now); err != nil {
		t.Errorf("another address: %v", err)
	}
	for range maxHashesOfOne {
		c.leave(here)
	}
	if len(c.waiting) != 0 {
		t.Errorf("still waiting: %v", c.waiting)
	}
	for i := range 3 * maxRight {
		c.learn([32]byte{byte(i), byte(i >> 8)}, now)
	}
	if n := len(c.now) + len(c.old); n > 2*maxRight {
		t.Errorf("%d are remembered", n)
	}
	if fmt.Sprint(sameCrypt("x", "1"), sameCrypt("", "")) != "false false" {
		t.Error("a hash that is none is some PIN's")
	}
}

// Who does not exist is compared with the costliest hash: the time would tell names.
func TestNobodyCostsAsMuchAsAnybody(t *testing.T) {
	cheap := "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
	dear, err := bcrypt.GenerateFromPassword([]byte("x"), 6)
	if err != nil {
		t.Fatal(err)
	}
	for _, lines := range []string{"a:" + cheap + "\nb:" + string(dear) + "\n", "a:" + string(dear) + "\nb:" + cheap + "\n"} {
		users, err := loadFiles(t, file(t, "u.htpasswd", lines))
		if err != nil {
			t.Fatal(err)
		}
		if got := users.now.Load().crypt; got != string(dear) {
			t.Errorf("nobody is compared with %s", got)
		}
	}
}
