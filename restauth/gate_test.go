package restauth

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestPolicies(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("192.0.2.0/24")})
	const trusted, stranger = "192.0.2.9:1000", "198.51.100.7:1000"
	for _, c := range []struct {
		policy Policy
		tls    bool
		peer   string
		status int
		body   string
	}{
		{TrustedOrPIN, true, trusted, 200, "hello 201"},
		{TrustedOrPIN, true, "[::ffff:192.0.2.9]:1000", 200, "hello 201"},
		{TrustedOrPIN, true, stranger, 401, bodyNoneTLS},
		{TrustedOrPIN, true, "", 401, bodyNoneTLS},
		{TrustedOrPIN, true, "@", 401, bodyNoneTLS},
		{PIN, false, trusted, 401, bodyNone},
		{PIN, false, stranger, 401, bodyNone},
		{TrustedOnly, false, trusted, 200, "hello 201"},
		{TrustedOnly, false, stranger, 403, "Only trusted access allowed"},
		{TrustedOnly, false, "", 403, "Only trusted access allowed"},
	} {
		r := request("POST", "/callcontroller/201/202")
		r.RemoteAddr = c.peer
		res := do(g.on(c.policy, c.tls), r)
		if text := body(t, res); res.StatusCode != c.status || text != c.body {
			t.Errorf("%v, peer %q: %d %q, want %d %q", c.policy, c.peer, res.StatusCode, text, c.status, c.body)
		}
		if c.status != 200 && res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%v: content type %q", c.policy, res.Header.Get("Content-Type"))
		}
	}
}

func TestParsePolicy(t *testing.T) {
	for _, p := range []Policy{PIN, TrustedOrPIN, TrustedOnly} {
		if got, err := ParsePolicy(p.String()); err != nil || got != p {
			t.Errorf("ParsePolicy(%q) = %v, %v", p.String(), got, err)
		}
	}
	if p, err := ParsePolicy("none"); err == nil || p != PIN {
		t.Errorf("ParsePolicy(none) = %v, %v", p, err)
	}
}

// Attack 1: the original took the port in the Host header for the listener.
func TestHeadersDoNotMakeAPeerTrusted(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("127.0.0.0/8")})
	for _, policy := range []Policy{PIN, TrustedOrPIN, TrustedOnly} {
		h := g.on(policy, true)
		want := 401
		if policy == TrustedOnly {
			want = 403
		}
		for _, target := range []string{"/callcontroller/201/202", "http://127.0.0.1:6667/callcontroller/201/202",
			"http://localhost:6668/callcontroller/201/202"} {
			for _, host := range []string{"x:6667", "x:6668", "127.0.0.1", "localhost:6666", ""} {
				r := request("POST", target)
				r.Host = host
				for _, name := range []string{
					"X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Port", "X-Client-Ip", "True-Client-Ip", "Via",
				} {
					r.Header.Set(name, "127.0.0.1")
				}
				r.Header.Set("Forwarded", "for=127.0.0.1;host=localhost:6668")
				wantStatus(t, do(h, r), want)
			}
		}
	}
}

func TestForwardedForCountsOnlyFromAReverseProxy(t *testing.T) {
	g := newGate(t, Config{
		Trusted:        prefix("192.0.2.0/24"),
		ReverseProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.80/32")},
	})
	h := g.on(TrustedOnly, false)
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		status     int
	}{
		{"by the proxy", "10.0.0.1:1", []string{"192.0.2.9"}, 200},
		{"with a port", "10.0.0.1:1", []string{"192.0.2.9:4711"}, 200},
		{"through two proxies", "10.0.0.1:1", []string{"192.0.2.9, 10.0.0.2"}, 200},
		{"on two lines", "10.0.0.1:1", []string{"198.51.100.7", "192.0.2.9 ,10.0.0.2"}, 200},
		{"client made up the left", "10.0.0.1:1", []string{"192.0.2.9, 198.51.100.7"}, 403},
		{"client made up a line", "10.0.0.1:1", []string{"192.0.2.9", "198.51.100.7"}, 403},
		{"garbage on the right", "10.0.0.1:1", []string{"192.0.2.9, unknown"}, 403},
		{"empty on the right", "10.0.0.1:1", []string{"192.0.2.9,"}, 403},
		{"only proxies", "10.0.0.1:1", []string{"10.0.0.2"}, 403},
		{"none", "10.0.0.1:1", nil, 403},
		{"proxy in the trusted network", "192.0.2.80:1", nil, 403},
		{"not from the proxy", "198.51.100.7:1", []string{"192.0.2.9"}, 403},
		{"trusted peer passes on a stranger", "192.0.2.9:1", []string{"198.51.100.7"}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request("POST", "/callcontroller/201/202")
			r.RemoteAddr = c.peer
			r.Header["X-Forwarded-For"] = c.forwarded
			wantStatus(t, do(h, r), c.status)
		})
	}
}

func TestProxiesOfTheDomainAreTrusted(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("127.0.0.1"),
		netip.MustParseAddr("::1")}
	cfg := Config{DomainAddrs: func() []netip.Addr { return addrs }}
	h := newGate(t, cfg).on(TrustedOnly, false)
	for peer, status := range map[string]int{
		"203.0.113.5:1": 200, "[2001:db8::5]:1": 200, "203.0.113.6:1": 403, "127.0.0.1:1": 403, "[::1]:1": 403,
	} {
		r := request("GET", "/")
		r.RemoteAddr = peer
		if res := do(h, r); res.StatusCode != status {
			t.Errorf("%s: %d, want %d", peer, res.StatusCode, status)
		}
	}
	cfg.Trusted = prefix("127.0.0.0/8")
	h = newGate(t, cfg).on(TrustedOnly, false)
	r := request("GET", "/")
	r.RemoteAddr = "127.0.0.1:1"
	wantStatus(t, do(h, r), 200)
}

func TestTrustedPeerNamesAnUnknownAgent(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("192.0.2.0/24")})
	r := request("POST", "/x?agent=nobody")
	r.RemoteAddr = "192.0.2.9:1"
	wantBody(t, do(g.on(TrustedOrPIN, true), r), 200, "no such agent")
}

func TestRequestWithoutListenerNeedsThePIN(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("192.0.2.0/24")})
	r := request("POST", "/x")
	r.RemoteAddr = "192.0.2.9:1"
	wantStatus(t, do(g.agentHandler(g.Authorize), r), 401)
}

// Attack 3: the PIN must be the agent's.
func TestPINOfSomebodyElseIsRefused(t *testing.T) {
	g := newGate(t, Config{})
	h := g.on(TrustedOrPIN, true)
	for _, method := range []string{"GET", "POST", "DELETE"} {
		for _, agent := range []string{"202", "alice", "alice@sipx.test"} {
			r := request(method, "/callcontroller/201/202?agent="+agent)
			wantBody(t, do(h, with(r, digestFor(r, challenged(t, h), 1).String())), 401, bodyMismatch)
			g.clock.advance(2 * guessWindow)

			r = request(method, "/callcontroller/201/202?agent="+agent)
			r.SetBasicAuth("201", "123")
			wantBody(t, do(h, r), 401, bodyMismatch)
		}
	}
	// and Bob may call for himself by any name
	for _, agent := range []string{"201", "bob", "bob@sipx.test"} {
		for _, username := range []string{"201", "bob", "201@sipx.test"} {
			r := request("POST", "/x?agent="+agent)
			d := digestFor(r, challenged(t, h), 1)
			d.user = username
			wantBody(t, do(h, with(r, d.String())), 200, "hello 201")
		}
	}
}

func TestUserHimselfHasToProveItEvenFromATrustedPeer(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("192.0.2.0/24")})
	self := g.agentHandler(g.AuthorizeSelf)
	for _, policy := range []Policy{PIN, TrustedOrPIN, TrustedOnly} {
		h := g.Listener(policy, false, self)
		r := request("POST", "/x")
		r.RemoteAddr = "192.0.2.9:1"
		res := do(h, r)
		wantStatus(t, res, 401)
		r = request("POST", "/x")
		r.RemoteAddr = "192.0.2.9:1"
		wantBody(t, do(h, with(r, digestFor(r, nonceOf(t, res), 1).String())), 200, "hello 201")

		r = request("POST", "/x?agent=202")
		r.RemoteAddr = "192.0.2.9:1"
		wantBody(t, do(h, with(r, digestFor(r, nonceOf(t, res), 2).String())), 401, bodyMismatch)
	}
	wantStatus(t, do(g.Listener(TrustedOnly, false, self), request("POST", "/x")), 403)
}

// Attack 2: the original let anybody in as a user without a PIN.
func TestUserWithoutPINIsRefused(t *testing.T) {
	tries := func(t *testing.T, g *harness) (statuses []int) {
		h := g.on(TrustedOrPIN, true)
		for _, agent := range []string{"203", "204", "205"} {
			target := "/x?agent=" + agent
			statuses = append(statuses, do(h, request("POST", target)).StatusCode)
			r := request("POST", target)
			d := digestFor(r, g.nonces.Issue("1 "+testDomain, g.clock.now()), 1)
			d.user, d.pin = agent, ""
			statuses = append(statuses, do(h, with(r, d.String())).StatusCode)
			r = request("POST", target)
			r.SetBasicAuth(agent, "")
			statuses = append(statuses, do(h, r).StatusCode)
		}
		return statuses
	}
	for _, status := range tries(t, newGate(t, Config{})) {
		if status != 401 {
			t.Errorf("status %d, want 401", status)
		}
	}
	for _, status := range tries(t, newGate(t, Config{AllowPinless: true})) {
		if status != 200 {
			t.Errorf("status %d with AllowPinless, want 200", status)
		}
	}
	g := newGate(t, Config{AllowPinless: true})
	wantStatus(t, do(g.on(PIN, false), request("POST", "/x?agent=201")), 401)
	wantStatus(t, do(g.on(PIN, false), request("POST", "/x?agent=nobody")), 401)
}

// Attack 12: the response does not tell who exists.
func TestUnknownUserLooksLikeAWrongPIN(t *testing.T) {
	g := newGate(t, Config{})
	h := g.on(PIN, true)
	answer := func(agent string, basic bool) string {
		r := request("POST", "/x?agent="+agent)
		if basic {
			r.SetBasicAuth(agent, "000")
		} else {
			d := digestFor(r, challenged(t, h), 1)
			d.user, d.pin = agent, "000"
			with(r, d.String())
		}
		res := do(h, r)
		text := body(t, res)
		for _, c := range res.Header["Www-Authenticate"] {
			text += "\n" + nonceParam.ReplaceAllString(c, "nonce")
		}
		return strings.ReplaceAll(text, agent, "")
	}
	for _, basic := range []bool{false, true} {
		want := answer("201", basic)
		if !strings.HasPrefix(want, bodyMismatch+"\nDigest") {
			t.Fatalf("answer %q", want)
		}
		for _, agent := range []string{"202", "203", "nobody"} {
			if got := answer(agent, basic); got != want {
				t.Errorf("agent %s: %q, want %q", agent, got, want)
			}
		}
	}
	none := do(h, request("POST", "/x?agent=201"))
	unknown := do(h, request("POST", "/x?agent=nobody"))
	if a, b := body(t, none), body(t, unknown); a != b || none.StatusCode != unknown.StatusCode {
		t.Errorf("without credentials: %q and %q", a, b)
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	users := loadUsers(t, testUsers)
	for want, cfg := range map[string]Config{
		"realm: missing":               {},
		"realm: has control":           {Realm: "a\r\nb"},
		`allowed-origins: "*"`:         {Realm: "x", AllowedOrigins: []string{"*"}},
		`allowed-origins: "https://x/`: {Realm: "x", AllowedOrigins: []string{"https://x/"}},
	} {
		if _, err := New(cfg, users, discard()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := New(Config{Realm: "x"}, nil, discard()); err == nil {
		t.Error("no users, no error")
	}
}

var _ http.Handler = (*listener)(nil)
