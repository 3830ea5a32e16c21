package restauth

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/internal/digest"
)

// The example of RFC 7616 §3.9.1, so that the other tests compute as it does.
func TestExampleOfRFC7616(t *testing.T) {
	d := proof{
		user: "Mufasa", pin: "Circle of Life", realm: "http-auth@example.org", method: "GET", uri: "/dir/index.html",
		nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc: "00000001", cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
		qop: "auth",
	}
	if got := d.response(); got != "8ca523f5e9506fed4657c9700eebdbec" {
		t.Errorf("MD5: %s", got)
	}
	d.algorithm = "SHA-256"
	if got := d.response(); got != "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1" {
		t.Errorf("SHA-256: %s", got)
	}
	users, err := LoadUsers(UsersConfig{Domain: "example.org", Realm: d.realm,
		Files: []string{writeUsers(t, t.TempDir(), "- {user: Mufasa, pin: Circle of Life}")}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{Realm: d.realm, Domain: "example.org"}, users, discard())
	if err != nil {
		t.Fatal(err)
	}
	for _, d.algorithm = range []string{"MD5", "SHA-256"} {
		// The nonce is not ours, but the response tells that the rest is right.
		res := do(g.Listener(PIN, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.Authorize(w, r, "Mufasa")
		})), with(request("GET", d.uri), d.String()))
		wantBody(t, res, 401, bodyStale)
	}
}

// Attack 2, each case a good header with one thing spoilt.
func TestSpoiltDigestIsRefused(t *testing.T) {
	const target = "/callcontroller/201/202?timeout=30"
	for _, c := range []struct {
		name  string
		spoil func(d *proof) (header string)
		body  string
	}{
		{"wrong PIN", func(d *proof) string { d.pin = "124"; return d.String() }, bodyMismatch},
		{"empty PIN", func(d *proof) string { d.pin = ""; return d.String() }, bodyMismatch},
		{"unknown user", func(d *proof) string { d.user = "nobody"; return d.String() }, bodyMismatch},
		{"name in another case", func(d *proof) string { d.user = "Bob"; return d.String() }, bodyMismatch},
		{"another path", func(d *proof) string { d.uri = "/callcontroller/201/203?timeout=30"; return d.String() }, bodyMismatch},
		{"without the query", func(d *proof) string { d.uri = "/callcontroller/201/202"; return d.String() }, bodyMismatch},
		{"another query", func(d *proof) string { d.uri = target + "0"; return d.String() }, bodyMismatch},
		{"uri is the root", func(d *proof) string { d.uri = "/"; return d.String() }, bodyMismatch},
		{"uri is a star", func(d *proof) string { d.uri = "*"; return d.String() }, bodyMismatch},
		{"another method", func(d *proof) string { d.method = "GET"; return d.String() }, bodyMismatch},
		{"another realm", func(d *proof) string { d.realm = "evil.test"; return d.String() }, bodyMismatch},
		{"realm changed afterwards", func(d *proof) string {
			return strings.Replace(d.String(), "realm=\"sipx.test\"", "realm=\"evil.test\"", 1)
		}, bodyMismatch},
		{"nc changed afterwards", func(d *proof) string {
			return strings.Replace(d.String(), "nc=00000001", "nc=00000002", 1)
		}, bodyMismatch},
		{"user changed afterwards", func(d *proof) string {
			return strings.Replace(d.String(), `username="201"`, `username="bob"`, 1)
		}, bodyMismatch},
		{"qop taken away", func(d *proof) string {
			text, _, _ := strings.Cut(d.String(), ", qop=")
			return text
		}, bodyMismatch},
		{"response in capitals", func(d *proof) string {
			return strings.Replace(d.String(), d.response(), strings.ToUpper(d.response()), 1)
		}, bodyMismatch},
		{"response cut short", func(d *proof) string {
			return strings.Replace(d.String(), d.response(), d.response()[:31], 1)
		}, bodyMismatch},
		{"auth-int", func(d *proof) string { d.qop = "auth-int"; return d.String() }, digest.ErrNotQOP.Error()},
		{"SHA-256 that was not offered", func(d *proof) string { d.algorithm = "SHA-256"; return d.String() }, errNotOffer.Error()},
		{"MD5-sess", func(d *proof) string { d.algorithm = "MD5-sess"; return d.String() }, errNotOffer.Error()},
		{"nc is zero", func(d *proof) string { d.nc = "00000000"; return d.String() }, digest.ErrSyntax.Error()},
		{"the original's nonce", func(d *proof) string { d.nonce = "null"; return d.String() }, bodyStale},
		{"a made-up nonce", func(d *proof) string { d.nonce = strings.Repeat("A", 43); return d.String() }, bodyStale},
		{"a nonce with another signature", func(d *proof) string { d.nonce = flip(d.nonce, 30); return d.String() }, bodyStale},
		{"a nonce with another time", func(d *proof) string { d.nonce = flip(d.nonce, 5); return d.String() }, bodyStale},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t, Config{})
			h := g.on(PIN, false)
			r := request("POST", target)
			d := digestFor(r, challenged(t, h), 1)
			untouched := d.String()
			res := do(h, with(r, c.spoil(&d)))
			wantBody(t, res, 401, c.body)
			if next := nonceOf(t, res); next == d.nonce {
				t.Error("the challenge has the old nonce")
			}
			challenge := res.Header.Get("WWW-Authenticate")
			if got := strings.Contains(challenge, "stale=true"); got != (c.body == bodyStale) {
				t.Errorf("challenge %q", challenge)
			}
			// what was spoilt was all that was wrong
			wantStatus(t, do(h, with(request("POST", target), untouched)), 200)
		})
	}
}

// A response is good for the method that it was made for, whichever that is.
func TestDigestIsForOneMethod(t *testing.T) {
	h := newGate(t, Config{}).on(PIN, false)
	for _, made := range []string{"GET", "POST", "DELETE"} {
		for _, sent := range []string{"GET", "POST", "DELETE"} {
			d := digestFor(request(made, "/callcontroller/201/202"), challenged(t, h), 1)
			want := 401
			if made == sent {
				want = 200
			}
			wantStatus(t, do(h, with(request(sent, "/callcontroller/201/202"), d.String())), want)
		}
	}
}

// flip changes the character at i.
func flip(text string, i int) string {
	c := "A"
	if text[i] == 'A' {
		c = "B"
	}
	return text[:i] + c + text[i+1:]
}

func TestRequestTargetForms(t *testing.T) {
	h := newGate(t, Config{}).on(PIN, false)
	for _, c := range []struct {
		target, uri string
		status      int
	}{
		{"/a%20b?c=%2F", "/a%20b?c=%2F", 200},
		{"/a%20b?c=%2F", "/a b?c=/", 401},
		{"http://pbx:6667/a?b", "/a?b", 200},
		{"http://pbx:6667/a?b", "http://pbx:6667/a?b", 200},
		{"/a?b", "http://pbx:6667/a?b", 200},
		{"/a?b", "http://pbx:6667/a", 401},
		{"/a?b=http://c/d", "/d", 401},
		{"/", "http://pbx", 200},
		{"/?b", "http://pbx?b", 200},
	} {
		r := request("GET", c.target)
		d := digestFor(r, challenged(t, h), 1)
		d.uri = c.uri
		if res := do(h, with(r, d.String())); res.StatusCode != c.status {
			t.Errorf("target %q, uri %q: %d, want %d", c.target, c.uri, res.StatusCode, c.status)
		}
	}
}

func TestReplayIsRefused(t *testing.T) {
	h := newGate(t, Config{}).on(PIN, false)
	r := request("POST", "/x")
	header := digestFor(r, challenged(t, h), 1).String()
	wantStatus(t, do(h, with(request("POST", "/x"), header)), 200)
	for range 3 {
		wantBody(t, do(h, with(request("POST", "/x"), header)), 401, bodyStale)
	}
}

func TestNonceWithoutQOPIsSingleUse(t *testing.T) {
	h := newGate(t, Config{}).on(PIN, false)
	for _, first := range []string{"", "auth"} {
		for _, second := range []string{"", "auth"} {
			r := request("POST", "/x")
			d := digestFor(r, challenged(t, h), 1)
			d.qop = first
			wantStatus(t, do(h, with(r, d.String())), 200)
			d.qop, d.nc = second, "00000002"
			want := 401
			if first == "auth" && second == "auth" {
				want = 200
			}
			if res := do(h, with(request("POST", "/x"), d.String())); res.StatusCode != want {
				t.Errorf("qop %q, then %q: %d, want %d", first, second, res.StatusCode, want)
			}
		}
	}
}

func TestNonceEndsWithItsListenerAndItsTime(t *testing.T) {
	g := newGate(t, Config{})
	one, other := g.on(PIN, false), g.on(PIN, false)
	r := request("POST", "/x")
	header := digestFor(r, challenged(t, one), 1).String()
	wantBody(t, do(other, with(request("POST", "/x"), header)), 401, bodyStale)
	g.clock.advance(digest.NonceLife - time.Second)
	wantStatus(t, do(one, with(request("POST", "/x"), header)), 200)
	g.clock.advance(2 * time.Second)
	r = request("POST", "/x")
	d := digestFor(r, "", 1)
	if m := nonceParam.FindStringSubmatch(header); m != nil {
		d.nonce = m[1]
	}
	d.nc = "00000002"
	res := do(one, with(request("POST", "/x"), d.String()))
	wantBody(t, res, 401, bodyStale)
	if !strings.Contains(res.Header.Get("WWW-Authenticate"), "stale=true") {
		t.Error("not stale=true: the client would ask its user for the PIN")
	}
	// wrong PIN on an old nonce is just wrong
	d.pin = "999"
	wantBody(t, do(one, with(request("POST", "/x"), d.String())), 401, bodyMismatch)

	// a nonce that nobody used ends as well
	unused := request("POST", "/x")
	header = digestFor(unused, challenged(t, one), 1).String()
	g.clock.advance(digest.NonceLife)
	wantBody(t, do(one, with(unused, header)), 401, bodyStale)

	// another process has another key
	again := newGate(t, Config{}).on(PIN, false)
	d.pin = "123"
	wantBody(t, do(again, with(request("POST", "/x"), d.String())), 401, bodyStale)
}

func TestParallelRequestsOnOneNonce(t *testing.T) {
	h := newGate(t, Config{}).on(PIN, false)
	nonce := challenged(t, h)
	send := func() (statuses map[int]int) {
		var (
			wg sync.WaitGroup
			mu sync.Mutex
		)
		statuses = map[int]int{}
		for _, i := range rand.Perm(100) {
			wg.Go(func() {
				r := request("POST", "/x")
				res := do(h, with(r, digestFor(r, nonce, i+1).String()))
				mu.Lock()
				statuses[res.StatusCode]++
				mu.Unlock()
			})
		}
		wg.Wait()
		return statuses
	}
	if got := send(); got[200] != 100 {
		t.Fatalf("first time: %v, want 100 times 200", got)
	}
	if got := send(); got[401] != 100 {
		t.Fatalf("replayed: %v, want 100 times 401", got)
	}
}

func TestSHA256OnlyWhenEverybodyCan(t *testing.T) {
	mixed := newGate(t, Config{}).on(TrustedOrPIN, true)
	if got := do(mixed, request("POST", "/x")).Header["Www-Authenticate"]; len(got) != 2 ||
		!strings.HasPrefix(got[0], `Digest realm="sipx.test", qop="auth", algorithm=MD5, nonce="`) || got[1] != `Basic realm="sipx.test"` {
		t.Errorf("challenges %q", got)
	}

	h := newGate(t, Config{}, withUsers(clearUsers)).on(PIN, false)
	res := do(h, request("POST", "/x"))
	got := res.Header["Www-Authenticate"]
	if len(got) != 2 || !strings.Contains(got[0], "algorithm=MD5,") || !strings.Contains(got[1], "algorithm=SHA-256,") {
		t.Fatalf("challenges %q", got)
	}
	for _, c := range []struct {
		user, pin, algorithm string
		status               int
	}{
		{"201", "123", "SHA-256", 200}, {"bob", "123", "SHA-256", 200}, {"201", "123", "MD5", 200}, {"201", "123", "", 200},
		{"202", "456", "SHA-256", 200}, {"202", "456", "MD5", 401}, {"202", "457", "SHA-256", 401}, {"203", "", "SHA-256", 401},
	} {
		r := request("POST", "/x?agent="+c.user)
		d := digestFor(r, challenged(t, h), 1)
		d.user, d.pin, d.algorithm = c.user, c.pin, c.algorithm
		if res := do(h, with(r, d.String())); res.StatusCode != c.status {
			t.Errorf("%s by %q: %d, want %d", c.user, c.algorithm, res.StatusCode, c.status)
		}
	}
}

func TestStoredHashTakesOnlyTheNameThatWasHashed(t *testing.T) {
	h := newGate(t, Config{}).on(TrustedOrPIN, true)
	for user, status := range map[string]int{"202": 200, "alice": 401, "202@sipx.test": 401} {
		r := request("POST", "/x?agent=202")
		d := digestFor(r, challenged(t, h), 1)
		d.user, d.pin = user, "456"
		if res := do(h, with(r, d.String())); res.StatusCode != status {
			t.Errorf("Digest as %s: %d, want %d", user, res.StatusCode, status)
		}
	}
	for _, user := range []string{"202", "alice", "alice@sipx.test"} {
		r := request("POST", "/x?agent=202")
		r.SetBasicAuth(user, "456")
		if res := do(h, r); res.StatusCode != 200 {
			t.Errorf("Basic as %s: %d, want 200", user, res.StatusCode)
		}
	}
	// the hash itself is no PIN
	r := request("POST", "/x?agent=202")
	r.SetBasicAuth("202", md5sum("202:sipx.test:456"))
	wantStatus(t, do(h, r), 401)
}

func TestBasicOnlyOverTLS(t *testing.T) {
	g := newGate(t, Config{})
	for _, policy := range []Policy{PIN, TrustedOrPIN} {
		r := request("POST", "/x")
		r.SetBasicAuth("201", "123")
		wantStatus(t, do(g.on(policy, true), r), 200)

		plainHTTP := g.on(policy, false)
		for range 30 { // is no guess, however often
			res := do(plainHTTP, r)
			wantBody(t, res, 401, bodyBasic)
			if got := res.Header["Www-Authenticate"]; len(got) != 1 || !strings.HasPrefix(got[0], "Digest ") {
				t.Fatalf("challenges %q", got)
			}
		}
	}
	for _, header := range []string{"Basic", "Basic ", "Basic !!!", "Basic MjAx", "Basic OjEyMw==", "Basic MjAxOg=="} {
		if res := do(newGate(t, Config{}).on(PIN, true), with(request("POST", "/x"), header)); res.StatusCode != 401 {
			t.Errorf("%q: %d", header, res.StatusCode)
		}
	}
}

func TestHeadersThatAreNoCredentials(t *testing.T) {
	h := newGate(t, Config{}).on(PIN, true)
	for _, header := range []string{"", "Bearer abc", "Negotiate", "NTLM TlRMTVNTUAAB", "garbage"} {
		for range 15 {
			wantBody(t, do(h, with(request("POST", "/x"), header)), 401, bodyNoneTLS)
		}
	}
	for _, header := range []string{"Basic MjAxOjEyMw==" + strings.Repeat("=", maxAuthorization),
		"Digest " + strings.Repeat(",", maxAuthorization)} {
		wantBody(t, do(h, with(request("POST", "/x"), header)), 401, errTooLong.Error())
	}
	r := request("POST", "/x")
	r.Header["Authorization"] = []string{digestFor(r, challenged(t, h), 1).String(), "Digest x=y"}
	wantBody(t, do(h, r), 401, digest.ErrSyntax.Error())
}

func TestTenFailuresAMinute(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("192.0.2.0/24")})
	h := g.on(TrustedOrPIN, true)
	from := func(peer, agent, pin string) *http.Response {
		r := request("POST", "/x?agent="+agent)
		r.RemoteAddr = peer
		r.SetBasicAuth(agent, pin)
		return do(h, r)
	}
	const evil = "198.51.100.7:1"
	for range maxUserFailures {
		wantStatus(t, from(evil, "201", "000"), 401)
		g.clock.advance(time.Second)
	}
	res := from(evil, "201", "000")
	wantStatus(t, res, 429)
	if got := res.Header.Get("Retry-After"); got != "50" {
		t.Errorf("Retry-After %q, want 50", got)
	}
	wantStatus(t, from(evil, "201", "123"), 429)             // nor with the right PIN
	wantStatus(t, from(evil, "201@sipx.test", "123"), 429)   // nor by a longer name
	wantStatus(t, from("198.51.100.7:2", "201", "123"), 429) // nor from another port
	wantStatus(t, from("198.51.100.8:1", "201", "123"), 200) // another address may
	wantStatus(t, from(evil, "202", "456"), 200)             // and another user
	wantStatus(t, from("192.0.2.9:1", "201", "000"), 200)    // and a trusted peer always
	wantStatus(t, do(h, request("POST", "/x")), 401)         // asking for a challenge is no guess
	g.clock.advance(50 * time.Second)
	wantStatus(t, from(evil, "201", "123"), 200)

	// a user who does not exist is slowed alike
	for range maxUserFailures {
		wantStatus(t, from(evil, "nobody", "000"), 401)
	}
	wantStatus(t, from(evil, "nobody", "000"), 429)

	// a clock that is set back locks nobody out
	g.clock.advance(-time.Hour)
	wantStatus(t, from(evil, "201", "123"), 200)
	wantStatus(t, from(evil, "nobody", "000"), 401)
}

func TestHundredFailuresAMinuteOverAllUsers(t *testing.T) {
	h := newGate(t, Config{}).on(TrustedOrPIN, true)
	for i := range 110 {
		r := request("POST", fmt.Sprintf("/x?agent=u%d", i))
		r.RemoteAddr = fmt.Sprintf("[2001:db8::%x]:1", i+1) // one host may have all of them
		r.SetBasicAuth("x", "y")
		want := 401
		if i >= 100 {
			want = 429
		}
		wantStatus(t, do(h, r), want)
	}
}

// A request that was sent with a nonce that is not good any more is no guess.
func TestStaleIsNoFailure(t *testing.T) {
	h := newGate(t, Config{}).on(PIN, false)
	for range 3 * maxUserFailures {
		r := request("POST", "/x")
		wantBody(t, do(h, with(r, digestFor(r, "null", 1).String())), 401, bodyStale)
	}
}
