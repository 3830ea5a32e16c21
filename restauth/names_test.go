package restauth

import (
	"strings"
	"testing"
)

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

// A page that has its own name lead to us is found out by that name. What is no
// browser may call by any.
func TestBrowsersCallByOurNames(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("192.0.2.0/24"), Names: []string{"pbx.intranet", "PBX2.intranet."},
		AllowedOrigins: []string{"https://portal.example"}})
	fetch := []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"}
	for _, c := range []struct {
		name, method, host string
		policy             Policy
		header             []string
		status             int
	}{
		{"curl by any name", "POST", "rebound.example:6666", TrustedOrPIN, []string{"User-Agent", "curl/8.5.0", "Accept", "*/*"}, 200},
		{"Java by any name", "POST", "rebound.example", TrustedOnly, []string{"User-Agent", "Java/1.6.0_20"}, 200},
		{"a page reads", "GET", "rebound.example:6666", TrustedOrPIN, fetch, 421},
		{"a page reads, on a listener for PINs", "GET", "rebound.example", PIN, fetch, 421},
		{"a page reads without TLS", "GET", "rebound.example:6668", TrustedOnly, []string{"User-Agent", firefox}, 421},
		{"a page reads without TLS, as another program", "GET", "rebound.example", TrustedOnly,
			[]string{"User-Agent", "curl/8", "Accept-Language", "en"}, 421},
		{"a page reads without TLS where nobody is trusted", "GET", "rebound.example", PIN, []string{"User-Agent", firefox}, 401},
		{"a page places a call", "POST", "rebound.example", TrustedOrPIN, []string{"Origin", "https://rebound.example"}, 421},
		{"a page deletes", "DELETE", "rebound.example", TrustedOrPIN, append([]string{"Origin", "https://rebound.example"}, fetch...), 421},
		{"an allowed page by a name that we do not know", "POST", "other.example", TrustedOrPIN, []string{"Origin", "https://portal.example",
			"Sec-Fetch-Mode", "cors"}, 200},
		{"by address", "GET", "192.0.2.10:6666", TrustedOrPIN, fetch, 200},
		{"by IPv6 address", "GET", "[2001:db8::1]:6666", TrustedOrPIN, fetch, 200},
		{"by IPv6 address without a port", "GET", "[2001:db8::1]", TrustedOrPIN, fetch, 200},
		{"localhost", "GET", "localhost:6666", TrustedOrPIN, fetch, 200},
		{"the domain", "GET", "SIPX.test.:6666", TrustedOrPIN, fetch, 200},
		{"below the domain", "GET", "sip1.sipx.test", TrustedOrPIN, fetch, 200},
		{"ends like the domain", "GET", "evilsipx.test", TrustedOrPIN, fetch, 421},
		{"begins like the domain", "GET", "sipx.test.evil.example", TrustedOrPIN, fetch, 421},
		{"a configured name", "GET", "PBX.intranet:6666", TrustedOrPIN, fetch, 200},
		{"another one", "GET", "pbx2.intranet", TrustedOrPIN, fetch, 200},
		{"below a configured name", "GET", "x.pbx.intranet", TrustedOrPIN, fetch, 421},
		{"the host of a page that may call", "GET", "portal.example", TrustedOrPIN, fetch, 200},
		{"looks like an address", "GET", "192.0.2.10.evil.example", TrustedOrPIN, fetch, 421},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(c.method, "/x")
			r.RemoteAddr, r.Host = "192.0.2.9:1", c.host
			for i := 0; i < len(c.header); i += 2 {
				r.Header.Set(c.header[i], c.header[i+1])
			}
			before := g.Stats().Failures[ForeignName]
			wantStatus(t, do(g.on(c.policy, true), r), c.status)
			if counted := g.Stats().Failures[ForeignName] > before; counted != (c.status == 421) {
				t.Errorf("counted: %v", counted)
			}
		})
	}
	r := request("GET", "/x")
	r.RemoteAddr, r.Host = "192.0.2.9:1", "rebound.example"
	r.Header.Set("Sec-Fetch-Mode", "cors")
	wantStatus(t, do(newGate(t, Config{Trusted: prefix("192.0.2.0/24"), Names: []string{"*"}}).on(TrustedOrPIN, true), r), 200)
}

func TestNamesThatAreNoneAreRefused(t *testing.T) {
	for _, name := range []string{"", "https://pbx.example", "pbx.example/x", "*.example", "a b"} {
		_, err := New(Config{Domain: testDomain, Names: []string{name}}, loadUsers(t, testUsers), discard())
		if err == nil || !strings.Contains(err.Error(), "http-names: ") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
