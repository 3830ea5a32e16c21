package sipflow

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

// A user is asked for by the way that his calls go, and only servers of the agent's get
// the agent's credentials.
func TestProbeUser(t *testing.T) {
	agent := Account{Address: "200@sipx.test", Credentials: Credentials{Username: "200", Password: "secret"}}
	challenge := siptest.Script{Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"OPTIONS"}, Realm: "sipx.test", User: "200",
		Password: "secret"}}
	for _, tc := range []struct {
		name   string
		hop    string // outbound proxy; "" for none
		user   string
		script siptest.Script
		code   int
		denied bool
		err    error
	}{
		{name: "by the proxy", hop: phoneAddr, user: "201@sipx.test", code: 200},
		{name: "nobody is there", hop: phoneAddr, user: "201@sipx.test", code: 480,
			script: siptest.Script{Answers: map[sip.RequestMethod]int{"OPTIONS": 480}}},
		{name: "the proxy challenges", hop: phoneAddr, user: "201@sipx.test", script: challenge, code: 200},
		{name: "a stranger challenges for our realm", user: "201@10.0.0.2", script: challenge, code: 407, denied: true},
		{name: "no response", hop: phoneAddr, user: "201@sipx.test", script: siptest.Script{Answers: map[sip.RequestMethod]int{"OPTIONS": -1}},
			err: ErrUnreachable},
		{name: "a service of this machine", user: "x@127.0.0.1", err: ErrUnreachable},
		{name: "no user", hop: phoneAddr, user: "x>\r\ny", err: errNoUser},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				phone := n.Phone("201", phoneAddr, tc.script)
				defer phone.Close()
				r := newRig(t, n, tc.hop)
				defer r.stop()
				found, hop, err := r.sw.ProbeUser(t.Context(), tc.user, agent)
				if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
					t.Fatalf("came to %v, want %v", err, tc.err)
				}
				if err == nil && (found.Code != tc.code || (found.Denied != "") != tc.denied || hop.String() != "udp:"+phoneAddr) {
					t.Errorf("%d by %s, denied %q", found.Code, hop, found.Denied)
				}
				if asked := phone.Requests("OPTIONS"); len(asked) > 0 && asked[0].Recipient.User != "201" {
					t.Errorf("asked for %s", asked[0].Recipient.String())
				}
			})
		})
	}
}
