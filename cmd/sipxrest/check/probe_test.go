package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// checkedAt is what a check says about a proxy, with more of the section sip.
func checkedAt(t *testing.T, proxy, more, users string) (ok bool, out string) {
	t.Helper()
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", users)
	return checked(t, apptest.Write(t, dir, "sipxrest.yaml",
		fmt.Sprintf("%strusted: []\nsip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:%s]%s}\n",
			apptest.Minimal, proxy, more)))
}

// A proxy that does not know the domain may say so only to those whom it knows.
func TestCheckNoticesAProxyThatDoesNotKnowTheDomain(t *testing.T) {
	challenge := siptest.Challenge{Methods: []sip.RequestMethod{sip.OPTIONS}, Status: 407, Realm: "sipx.test"}
	for _, tt := range []struct {
		code int
		want string // "": nothing
	}{
		{200, ""}, {480, ""}, {486, ""},
		{403, "domain: sip:PROXY: udp:PROXY answers OPTIONS for sip:sipx.test with 403 Forbidden: does it serve that domain?"},
		{604, "domain: sip:PROXY: udp:PROXY answers OPTIONS for sip:sipx.test with 604 "},
	} {
		_, proxy := apptest.PhoneOf(t, siptest.Account{User: "201", Password: "123"},
			siptest.Script{Answers: map[sip.RequestMethod]int{sip.OPTIONS: tt.code}, Challenge: challenge})
		ok, out := checkedAt(t, proxy, "", apptest.UsersYAML)
		if tt.want == "" && strings.Contains(out, " domain ") && strings.Contains(out, "warning") {
			t.Errorf("%d:\n%s", tt.code, out)
		}
		if tt.want != "" {
			wants(t, out, "warning domain ", strings.ReplaceAll(tt.want, "PROXY", proxy), "1 warning.")
		}
		if !ok {
			t.Errorf("%d: it says that there are problems:\n%s", tt.code, out)
		}
	}
}

// answering is a proxy that answers OPTIONS for itself and for the domain, and those
// for a user by his code.
func answering(t *testing.T, codes map[string]string) *rawServer {
	t.Helper()
	return serve(t, "udp", "127.0.0.1", nil, func(_ int, req *wire.Message) string {
		user, _, _ := strings.Cut(strings.TrimPrefix(string(req.URI()), "sip:"), "@")
		if status := codes[user]; status != "" {
			return response(req, status)
		}
		return response(req, "200 OK")
	})
}

func TestCheckNoticesAProxyThatKnowsNoUser(t *testing.T) {
	users := "- {user: \"201\", pin: \"1\", sip-password: a}\n- {user: \"202\", sip-password: b}\n- {user: \"203\", pin: \"1\"}\n"
	for name, tt := range map[string]struct {
		codes map[string]string
		want  []string // parts of the line
	}{
		"all are known":                          {nil, nil},
		"one has a phone":                        {map[string]string{"201": "404 Not Found"}, nil},
		"the other's phone is busy":              {map[string]string{"201": "404 Not Found", "202": "486 Busy Here"}, nil},
		"who has no password is not asked about": {map[string]string{"203": "404 Not Found"}, nil},
		"none is known, or registered": {map[string]string{"201": "404 Not Found", "202": "404 Not Found"},
			[]string{"note domain",
				"answers OPTIONS for 201@sipx.test, 202@sipx.test with 404 Not Found: it does not serve the domain or its users, or none"}},
		"nobody is known anywhere": {map[string]string{"201": "604 Does Not Exist Anywhere", "202": "604 Does Not Exist Anywhere"},
			[]string{"warning domain", "with 604 Does Not Exist Anywhere: does it serve that domain, and these users? Calls to them end so"}},
		"they are foreign": {map[string]string{"201": "403 Relaying denied", "202": "403 Relaying denied"},
			[]string{"warning domain", "with 403 Relaying denied: does it serve that domain, and these users?"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, tt.codes)
			ok, out := checkedAt(t, s.hop.Addr.String(), "", users)
			plain := strings.Join(strings.Fields(out), " ")
			if tt.want == nil && (strings.Contains(plain, "note domain") || strings.Contains(plain, "warning domain")) {
				t.Errorf("%s", out)
			}
			for _, part := range tt.want {
				if !strings.Contains(plain, part) {
					t.Errorf("it does not say %q:\n%s", part, out)
				}
			}
			if !ok {
				t.Errorf("it says that there are problems:\n%s", out)
			}
		})
	}
}

// The service asks in the name of sip.health.user, and so does check.
func TestCheckAsksInTheNameOfTheHealthUser(t *testing.T) {
	by := func(req *wire.Message) string {
		from := string(req.Get(wire.From))
		user, _, _ := strings.Cut(from[strings.Index(from, "sip:")+4:], "@")
		return user
	}
	proxy := func(known string) *rawServer {
		return serve(t, "udp", "127.0.0.1", nil, func(_ int, req *wire.Message) string {
			if by(req) != known {
				return response(req, "401 Unauthorized", `WWW-Authenticate: Digest realm="sipx.test", nonce="n"`)
			}
			return response(req, "200 OK")
		})
	}
	// asked are those who have asked for the server itself.
	asked := func(s *rawServer) (names []string) {
		for len(s.requests) > 0 {
			if req := <-s.requests; !strings.Contains(string(req.URI()), "sipx.test") {
				names = append(names, by(req))
			}
		}
		return names
	}
	const users = "- {user: \"201\", pin: \"1\", sip-password: a}\n- {user: \"202\", pin: \"1\", sip-password: b}\n"
	for _, tt := range []struct {
		known, health string
		asked         []string
		want          string
	}{
		{"202", `, health: {user: "202"}`, []string{"202"}, "ok proxy sip:PROXY: udp:PROXY answers OPTIONS with 200 OK"},
		{"202", "", []string{"callcontroller"}, "ok proxy sip:PROXY: udp:PROXY answers OPTIONS with 401 Unauthorized"},
		{"nobody", `, health: {user: "202"}`, []string{"202", "202"},
			"sip.health.user: sip:PROXY: udp:PROXY does not take 202@sipx.test, in whose name it is asked: it refuses the SIP password"},
	} {
		s := proxy(tt.known)
		at := s.hop.Addr.String()
		ok, out := checkedAt(t, at, tt.health, users)
		wants(t, out, strings.ReplaceAll(tt.want, "PROXY", at))
		if got := asked(s); !slices.Equal(got, tt.asked) || !ok {
			t.Errorf("asked by %q, want %q:\n%s", got, tt.asked, out)
		}
	}
}
