package sipflow

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
)

// A registrar is asked for a user's bindings, which are as they were before.
func TestAProbeTellsWhetherAUserIsTaken(t *testing.T) {
	const address = "201@sipx.test"
	for _, tt := range []struct {
		name  string
		probe Probe
		want  Found
	}{
		{"right", Probe{"REGISTER", "sipx.test", Account{address, Credentials{Username: "201", Password: "secret"}}},
			Found{Code: 200, Reason: "OK", Realm: "sipx.test", Bindings: 1}},
		{"wrong password", Probe{"REGISTER", "sipx.test", Account{address, Credentials{Username: "201", Password: "wrong"}}},
			Found{Code: 401, Reason: "Unauthorized", Realm: "sipx.test", Denied: "it refuses the SIP password"}},
		{"no password", Probe{"REGISTER", "sipx.test", Account{address, Credentials{Username: "201"}}},
			Found{Code: 401, Reason: "Unauthorized", Realm: "sipx.test", Denied: "no SIP password is stored for the user: add sip-password to it"}},
		{"another's name", Probe{"REGISTER", "sipx.test", Account{address, Credentials{Username: "202", Password: "other"}}},
			Found{Code: 403, Reason: "Forbidden", Realm: "sipx.test"}},
		{"no phone", Probe{"REGISTER", "sipx.test", Account{"202@sipx.test", Credentials{Username: "202", Password: "other"}}},
			Found{Code: 200, Reason: "OK", Realm: "sipx.test"}},
		{"the server itself", Probe{Method: "OPTIONS"}, Found{Code: 200, Reason: "OK"}},
		{"the domain", Probe{Method: "OPTIONS", Domain: "sipx.test"}, Found{Code: 200, Reason: "OK"}},
		{"another domain", Probe{Method: "OPTIONS", Domain: "sipx.tset"}, Found{Code: 407, Reason: "Proxy Authentication Required",
			Realm: "sipx.test"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"201": "secret", "202": "other"},
					Locations: map[string]string{"201": "sip:201@" + phoneAddr}})
				defer proxy.Close()
				r := newRig(t, n, proxyAddr)
				defer r.stop()
				found, err := r.sw.Probe(t.Context(), resolve.Hop{Transport: "udp", Addr: netip.MustParseAddrPort(proxyAddr)}, tt.probe)
				if err != nil {
					t.Fatal(err)
				}
				got := *found
				got.over, got.res = nil, nil
				if got != tt.want {
					t.Errorf("%+v\nwant %+v", got, tt.want)
				}
				for _, p := range n.Packets() {
					if text := string(p.Data); p.Method() == "REGISTER" && p.Status() == 0 && (strings.Contains(text, "\r\nContact:") ||
						strings.Contains(text, "\r\nExpires:")) {
						t.Errorf("it would change what is registered:\n%s", text)
					}
				}
				r.empty()
			})
		})
	}
}

// A server that knows us by a user's password sees that user, not a stranger.
func TestHealthChecksAreOfAUser(t *testing.T) {
	for _, password := range []string{"secret", "wrong"} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			server := n.Phone("201", proxyAddr, siptest.Script{Challenge: asking(func(c *siptest.Challenge) {
				c.Methods, c.Status, c.User = []sip.RequestMethod{sip.OPTIONS}, 401, "201"
			})})
			defer server.Close()
			log := new(syncBuffer)
			r := newRig(t, n, proxyAddr, func(c *Config) {
				c.HealthInterval = 30 * time.Second
				c.HealthUser = func() Account {
					return Account{"201@sipx.test", Credentials{Username: "201", Password: password}}
				}
			})
			defer r.stop()
			r.log.b.Store(log)
			time.Sleep(2 * time.Minute)
			if hops := r.sw.Hops(); len(hops) != 1 || !hops[0].Up {
				t.Errorf("%+v", hops)
			}
			taken := 0
			for _, p := range n.Packets() {
				if p.Method() == "OPTIONS" && p.Status() == 0 && !strings.Contains(string(p.Data), "\r\nFrom: <sip:201@sipx.test>;tag=") {
					t.Errorf("of a stranger:\n%s", p.Data)
				}
				if p.Method() == "OPTIONS" && p.Status() == 200 {
					taken++
				}
			}
			warned := strings.Count(log.String(), "does not take the user of the health checks: it refuses the SIP password")
			if right := password == "secret"; right && (taken < 4 || warned != 0) || !right && (taken != 0 || warned != 1) {
				t.Errorf("%s: %d taken:\n%s", password, taken, log)
			}
			r.stop()
		})
	}
}
