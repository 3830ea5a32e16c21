package phone

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestUsersAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sub dir", "phone%20?#.db")
	s, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	s.hashing = newHashing(cheap)
	ctx := t.Context()
	sam, err := s.Add(ctx, User{Username: "Sam", DisplayName: "Sam Ö"}, "password1")
	if err != nil || sam.Level != "verified" {
		t.Fatal(sam, err)
	}
	if _, err := s.Add(ctx, User{Username: "sAM"}, "password1"); !errors.Is(err, ErrUserExists) {
		t.Errorf("the same name: %v", err)
	}
	kim, err := s.Add(ctx, User{ID: NewID(), Username: "kim", Level: "admin"}, "password2")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Relate(ctx, Favorite, kim.ID, sam.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if s, err = Open(file); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.hashing = newHashing(cheap)
	for _, who := range []string{"sam", "SAM", sam.ID.String(), strings.ToLower(sam.ID.String())} {
		if u, err := s.Find(ctx, who); err != nil || u != sam {
			t.Errorf("%s: %+v, %v", who, u, err)
		}
	}
	if list, err := s.List(ctx); err != nil || len(list) != 2 || list[0] != kim || list[1] != sam {
		t.Errorf("%v, %v", list, err)
	}
	if c, err := s.callee(ctx, sam.ID, kim.ID); err != nil || !c.favorite || c.refuses || c.User != kim {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := s.callee(ctx, kim.ID, sam.ID); err != nil || c.favorite {
		t.Errorf("%+v, %v", c, err)
	}
	sam.Username, sam.Level = "samuel", "banned"
	if err := s.Update(ctx, sam); err != nil {
		t.Error(err)
	}
	if u, err := s.Find(ctx, "samuel"); err != nil || u != sam {
		t.Errorf("%+v, %v", u, err)
	}
	sam.Username = "KIM"
	if err := s.Update(ctx, sam); !errors.Is(err, ErrUserExists) {
		t.Error(err)
	}
	if err := s.Delete(ctx, sam.ID); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"delete":   s.Delete(ctx, sam.ID),
		"password": s.SetPassword(ctx, sam.ID, "password3"),
		"relate":   s.Relate(ctx, Block, kim.ID, sam.ID),
	} {
		if !errors.Is(err, ErrNoUser) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if list, err := s.Related(ctx, Favorite, kim.ID); err != nil || len(list) != 0 {
		t.Errorf("favourites of who is gone: %v, %v", list, err)
	}
	if err := s.Relate(ctx, Favorite, kim.ID, kim.ID); !errors.Is(err, ErrSelf) {
		t.Error(err)
	}
}

func TestUsersThatCannotBe(t *testing.T) {
	s := tempStore(t)
	defer s.Close()
	for _, u := range []User{{}, {Username: "a b"}, {Username: "a:b"}, {Username: "a\x00"}, {Username: "\xff"},
		{Username: strings.Repeat("x", 51)},
		{Username: "a", Level: "king"}, {Username: "a", DisplayName: "\x1b[2J"}, {Username: "a", Image: strings.Repeat("x", 201)},
		{Username: "a", Pronoun: "\xff"}} {
		if _, err := s.Add(t.Context(), u, "password1"); err == nil {
			t.Errorf("%+v", u)
		}
	}
	for _, p := range []string{"", "1234567", strings.Repeat("x", 257), "password\xff"} {
		if err := CheckPassword(p); err == nil {
			t.Errorf("password %q", p)
		}
	}
	if _, err := s.Add(t.Context(), User{Username: "a"}, ""); err == nil {
		t.Error("no password")
	}
}

// A copy of the database tells neither passwords nor tokens.
func TestSecretsAreNotStored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "phone.db")
	s, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	s.hashing = newHashing(cheap)
	if _, err := s.Add(t.Context(), User{Username: "sam"}, "the secret password"); err != nil {
		t.Fatal(err)
	}
	_, token, err := s.LogIn(t.Context(), "sam", "the secret password")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := tokenText.DecodeString(token)
	for _, secret := range [][]byte{[]byte("the secret password"), []byte(token), raw} {
		if bytes.Contains(data, secret) {
			t.Errorf("%q is in the file", secret)
		}
	}
	hash := sha256.Sum256([]byte(token))
	if !bytes.Contains(data, hash[:]) {
		t.Error("the token's hash is not in the file: is this test looking at it?")
	}
}

func TestTokens(t *testing.T) {
	s := tempStore(t)
	defer s.Close()
	ctx := t.Context()
	sam, err := s.Add(ctx, User{Username: "sam"}, "password1")
	if err != nil {
		t.Fatal(err)
	}
	logIn := func(password string) string {
		t.Helper()
		u, token, err := s.LogIn(ctx, "SAM", password)
		if err != nil || u != sam {
			t.Fatal(u, err)
		}
		if u, err := s.withToken(ctx, sha256.Sum256([]byte(token))); err != nil || u != sam {
			t.Errorf("%+v, %v", u, err)
		}
		return token
	}
	var all sync.WaitGroup
	tokens := make([]string, 10)
	for i := range tokens { // devices at once
		all.Go(func() { _, tokens[i], _ = s.LogIn(ctx, "sam", "password1") })
	}
	all.Wait()
	first := logIn("password1")
	for _, token := range tokens {
		if token != first {
			t.Errorf("%q and %q", token, first)
		}
	}
	for _, wrong := range [][2]string{{"sam", "password2"}, {"sam", ""}, {"eve", "password1"}, {"", ""}, {"sam", strings.Repeat("x", 300)}} {
		if _, _, err := s.LogIn(ctx, wrong[0], wrong[1]); !errors.Is(err, ErrWrongPassword) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if err := s.endToken(ctx, sha256.Sum256([]byte(first))); err != nil {
		t.Error(err)
	}
	if _, err := s.withToken(ctx, sha256.Sum256([]byte(first))); !errors.Is(err, ErrNoUser) {
		t.Errorf("logged out: %v", err)
	}
	second := logIn("password1")
	if second == first {
		t.Error("the same token again")
	}
	if err := s.SetPassword(ctx, sam.ID, "password2"); err != nil {
		t.Error(err)
	}
	if _, err := s.withToken(ctx, sha256.Sum256([]byte(second))); !errors.Is(err, ErrNoUser) {
		t.Errorf("another password: %v", err)
	}
	if third := logIn("password2"); third == second {
		t.Error("the same token again")
	}
	// A password that is changed while the old one is checked.
	var stored string
	if err := s.db.QueryRow(`SELECT password FROM users`).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if err := s.SetPassword(ctx, sam.ID, "password3"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.token(ctx, sam.ID, stored, make([]byte, 32)); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("token for an old password: %v", err)
	}
}

// nthContext calls a function when it is asked for its end the n-th time.
type nthContext struct {
	context.Context
	n    atomic.Int64
	then func()
}

func (c *nthContext) Done() <-chan struct{} {
	if c.n.Add(-1) == 0 {
		c.then()
	}
	return c.Context.Done()
}

// Whatever another process does while a user is changed, who is refused is told
// why.
func TestWhatAnotherProcessTakesMeanwhileIsNamed(t *testing.T) {
	if residents == nil {
		residents = newHousehold(t)
	}
	taken := 0
	for n := range 16 {
		file := filepath.Join(t.TempDir(), "phone.db")
		if err := os.WriteFile(file, residents.data, 0o600); err != nil {
			t.Fatal(err)
		}
		ours, theirs := openStore(t, file), openStore(t, file)
		theirs.db.SetMaxOpenConns(1)
		if _, err := theirs.db.Exec(`PRAGMA busy_timeout(0)`); err != nil { // what cannot be at once is not
			t.Fatal(err)
		}
		sam, kim := residents.users["sam"], residents.users["kim"]
		during := func(then func()) context.Context {
			c := &nthContext{Context: t.Context(), then: then}
			c.n.Store(int64(n))
			return c
		}
		ctx := during(func() { _ = theirs.SetSIP(context.Background(), kim.ID, "sip:201@example.com") })
		if err := ours.SetSIP(ctx, sam.ID, "sip:201@example.com"); errors.Is(err, ErrAddressTaken) {
			taken++
		} else if err != nil {
			t.Errorf("%d: %v", n, err)
		}
		kim.Username, sam.Username = "alex", "Alex"
		ctx = during(func() { _ = theirs.Update(context.Background(), kim) })
		if err := ours.Update(ctx, sam); errors.Is(err, ErrUserExists) {
			taken++
		} else if err != nil {
			t.Errorf("%d: %v", n, err)
		}
		for _, s := range []*Store{ours, theirs} {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if taken == 0 {
		t.Error("nothing was taken meanwhile")
	}
}

func TestDatabasesOfLaterVersionsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "phone.db")
	s, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec(`PRAGMA user_version = 99`); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(file, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder is a database")
	}
}

// Two processes write at the same time; each waits for the other.
func TestTwoStoresOnOneFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "phone.db")
	var stores [2]*Store
	for i := range stores {
		s, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.hashing = newHashing(cheap)
		stores[i] = s
	}
	changed, end, err := stores[0].changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if changed() {
		t.Error("changed before anything was")
	}
	var all sync.WaitGroup
	for i, s := range stores {
		all.Go(func() {
			for n := range 20 {
				if _, err := s.Add(context.Background(), User{Username: fmt.Sprint(i, "x", n)[:]}, "password1"); err != nil &&
					!strings.Contains(err.Error(), "spaces") {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if !changed() || changed() {
		t.Error("changes are not seen, or twice")
	}
}

func TestStoredHashesOfOthersAreRefused(t *testing.T) {
	h := newHashing(cheap)
	for _, bad := range []string{"x", "$argon2i$v=19$m=64,t=1,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=99999999,t=1,p=1$AAAA$" + base.EncodeToString(make([]byte, 32)),
		"$argon2id$v=19$m=64,t=0,p=1$AAAA$" + base.EncodeToString(make([]byte, 32)), "$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAA"} {
		if _, err := h.check(t.Context(), "password1", bad); err == nil || errors.Is(err, ErrWrongPassword) ||
			strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// So many passwords are hashed at once, so many wait, the rest are refused.
func TestHashingIsBounded(t *testing.T) {
	h := newHashing(cheap)
	for range maxHashing {
		h.running <- struct{}{} // all are at work
		h.queue <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	errs := make(chan error, maxHashQueue)
	for range maxHashQueue {
		all.Go(func() {
			_, err := h.check(ctx, "password1", "")
			errs <- err
		})
	}
	for len(h.queue) < cap(h.queue) {
		time.Sleep(time.Millisecond)
	}
	if _, err := h.check(t.Context(), "password1", ""); !errors.Is(err, errBusy) {
		t.Errorf("%v", err)
	}
	cancel()
	all.Wait()
	for range maxHashQueue {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}

func TestAccount(t *testing.T) {
	at(t, func(h *house) {
		basic := func(name, password string) string {
			r, _ := http.NewRequest("GET", "/", nil)
			r.SetBasicAuth(name, password)
			return r.Header.Get("Authorization")
		}
		res, text := h.ask(basic("KIM", passwordOf("kim")), "POST", "/api/v3/auth/login", "")
		want := `{"userID":"` + h.id("kim") + `","accessLevel":"verified","token":"` + h.tokens["kim"] + `"}`
		if res.StatusCode != 200 || text != want || res.Header.Get("Content-Type") != jsonType || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %s, want %s", res.StatusCode, text, want)
		}
		for _, who := range []string{"", "Basic", "Basic !", "kim", basic("kim", "x"), basic("nobody", "x")} {
			res, text := h.ask(who, "POST", "/api/v3/auth/login", "")
			h.compare("log in", res, text, 401, "User not authenticated.")
			if !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%v", res.Header)
			}
		}
		res, _ = h.ask("", "POST", "/api/v3/auth/login", "", "Sec-Fetch-Mode", "cors")
		if res.Header.Get("WWW-Authenticate") != "" { // the browser would ask in a window of its own
			t.Errorf("%v", res.Header)
		}

		h.wants("eve", "POST", "/api/v3/users/"+h.id("sam")+"/favorite", "", 201, "")
		h.wants("eve", "POST", "/api/v3/users/"+strings.ToLower(h.id("kim"))+"/favorite", "", 201, "")
		h.wants("eve", "POST", "/api/v3/users/"+h.id("kim")+"/favorite", "", 201, "")
		h.wants("eve", "POST", "/api/v3/users/"+h.id("eve")+"/favorite", "", 400, "Cannot make yourself a favorite user.")
		h.wants("eve", "POST", "/api/v3/users/"+nobodyID+"/favorite", "", 404, "Couldn't find user.")
		h.wants("eve", "POST", "/api/v3/users/x/favorite", "", 400, "Request parameter missing.")
		list := func(want string) {
			t.Helper()
			if res, text := h.ask("eve", "GET", "/api/v3/users/favorites", ""); res.StatusCode != 200 || text != want ||
				res.Header.Get("Content-Type") != jsonType {
				t.Errorf("%d %s, want %s", res.StatusCode, text, want)
			}
		}
		kim := `{"userID":"` + h.id("kim") + `","username":"kim"}`
		list(`[` + kim + `,{"userID":"` + h.id("sam") +
			`","username":"sam","displayName":"Sam <Iam>","userImage":"sam.png","preferredPronoun":"they"}]`)
		h.wants("eve", "DELETE", "/api/v3/users/"+h.id("sam")+"/favorite", "", 204, "")
		h.wants("eve", "DELETE", "/api/v3/users/"+h.id("sam")+"/favorite", "", 204, "")
		list(`[` + kim + `]`)
		h.wants("eve", "POST", "/api/v3/users/"+h.id("kim")+"/unfavorite", "", 204, "")
		list(`[]`)

		h.wants("eve", "POST", "/api/v3/auth/logout", "", 204, "")
		h.wants("eve", "POST", "/api/v3/auth/logout", "", 401, "User not authenticated.")
	})
}

// try logs a user in by name and password.
func (h *house) try(name, password string) (*http.Response, string) {
	r, _ := http.NewRequest("GET", "/", nil)
	r.SetBasicAuth(name, password)
	return h.ask(r.Header.Get("Authorization"), "POST", "/api/v3/auth/login", "")
}

func TestPasswordsAreGuessedSlowly(t *testing.T) {
	at(t, func(h *house) {
		try := h.try
		for range 10 {
			res, text := try("Kim", "wrong")
			h.compare("wrong", res, text, 401, "User not authenticated.")
		}
		res, text := try("kim", passwordOf("kim")) // even the right one, whatever the case of the name
		h.compare("too often", res, text, 429, "Too many failed log-ins.")
		if res.Header.Get("Retry-After") != "60" {
			t.Errorf("%v", res.Header)
		}
		if res, _ := try("sam", passwordOf("sam")); res.StatusCode != 200 {
			t.Errorf("another user: %d", res.StatusCode)
		}
		time.Sleep(time.Minute)
		if res, _ := try("kim", passwordOf("kim")); res.StatusCode != 200 {
			t.Errorf("a minute later: %d", res.StatusCode)
		}
		if s := h.Stats(); s.LoginsFailed != 10 {
			t.Errorf("%+v", s)
		}
		if strings.Contains(h.log.String(), "wrong\"") || strings.Contains(h.log.String(), passwordOf("kim")) {
			t.Error(h.log)
		}
	})
}

// Many guesses at once learn no more than one after another.
func TestPasswordsAreNotGuessedAtOnce(t *testing.T) {
	at(t, func(h *house) {
		for range maxHashing { // what comes now waits
			h.cfg.Store.hashing.running <- struct{}{}
		}
		const tries = 25
		answers := make(chan int, tries)
		for i := range tries {
			password := "wrong"
			if i%5 == 0 {
				password = passwordOf("kim")
			}
			go func() {
				res, _ := h.try("kim", password)
				answers <- res.StatusCode
			}()
		}
		settle()
		for range maxHashing {
			<-h.cfg.Store.hashing.running
		}
		count := map[int]int{}
		for range tries {
			count[<-answers]++
		}
		if count[401] != 10 || count[429] < 10 || count[200]+count[429] != 15 {
			t.Errorf("answered %v", count)
		}
	})
}

func TestADatabaseThatFailsIs500(t *testing.T) {
	at(t, func(h *house) {
		if _, err := h.cfg.Store.db.Exec(`ALTER TABLE tokens RENAME TO gone`); err != nil {
			t.Fatal(err)
		}
		h.wants("sam", "GET", "/api/v3/users/favorites", "", 500, "Internal Server Error")
		if !strings.Contains(h.log.String(), "the phone's database fails") {
			t.Error(h.log)
		}
	})
}
