package sipflow

import (
	"bytes"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/digest"
	"sipxrest/sipflow/siptest"
)

// An operator finds a call by its parties, by the client, and by the Call-IDs
// in the phones' and the proxy's logs. He sees what it came to.
func TestTheEndOfACallIsOneLineOfOneShape(t *testing.T) {
	const (
		parties = `agent=200@sipx.test calling=201@sipx.test called=202@sipx.test peer=192.0.2.7 `
		id      = `[0-9a-z]+@10\.0\.0\.1`
	)
	for _, tt := range []struct {
		name, method string
		calling      siptest.Script
		calls        bool // log.calls
		during       func(r *rig, c *Call)
		want         string // "" for no line at info
	}{
		{"busy", MethodRefer, siptest.Script{Status: 486}, false, nil,
			`INFO msg="call ended" flow=refer ` + parties + `call_ids=\[` + id + `\] outcome=busy took=\S+ error="INVITE: 486 Busy Here"`},
		{"called does not exist", MethodRefer,
			siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{notify(0, "404 Not Found", overWith)}}}, false, nil,
			`INFO msg="call ended" flow=refer ` + parties + `call_ids=\[` + id + `\] outcome=refused_4xx took=\S+ error="NOTIFY: 404 Not Found"`},
		{"as it should", MethodRefer, siptest.Script{}, false, nil, ""},
		{"as it should, all are asked for", MethodRefer, siptest.Script{}, true, nil,
			`INFO msg="call ended" flow=refer ` + parties + `call_ids=\[` + id + `\] outcome=connected took=\S+`},
		{"hung up by its client", MethodInvite, siptest.Script{}, true, func(_ *rig, c *Call) { c.HangUp(ErrHungUpByUser) },
			`INFO msg="call ended" flow=invite ` + parties + `call_ids="\[` + id + ` ` + id +
				`\]" outcome=connected ended_by=client took=\S+ error="hung up by its client"`},
		{"hung up by its client when it was up", MethodInvite, siptest.Script{}, false, func(_ *rig, c *Call) { c.HangUp(ErrHungUpByUser) }, ""},
		{"hung up by its client before", MethodRefer, siptest.Script{NeverAnswer: true}, false, func(_ *rig, c *Call) {
			c.HangUp(ErrHungUpByUser)
		},
			`INFO msg="call ended" flow=refer ` + parties + `call_ids=\[` + id +
				`\] outcome=hung_up_by_client ended_by=client took=\S+ error="INVITE \S+: hung up by its client"`},
		{"replaced before it was up", MethodRefer, siptest.Script{NeverAnswer: true}, false, func(_ *rig, c *Call) { c.HangUp(ErrReplaced) },
			`INFO msg="call ended" flow=refer ` + parties + `call_ids=\[` + id +
				`\] outcome=replaced ended_by=client took=\S+ error="INVITE \S+: replaced by a new call with the same parties"`},
		{"cut by the end of the service", MethodInvite, siptest.Script{}, false, func(r *rig, _ *Call) { _ = r.shutdown() },
			`INFO msg="call ended" flow=invite ` + parties + `call_ids="\[` + id + ` ` + id +
				`\]" outcome=connected ended_by=service took=\S+ error="cut off by the shutdown of the service"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"200": "secret", "201": "x", "202": "x"},
					Open:      true,
					Locations: map[string]string{"201": "sip:201@" + phoneAddr, "202": "sip:202@" + calledAddr}})
				defer proxy.Close()
				for _, p := range []*siptest.Phone{n.Phone("201", phoneAddr, tt.calling), n.Phone("202", calledAddr, siptest.Script{})} {
					defer p.Close()
				}
				r := newRig(t, n, proxyAddr, func(c *Config) { c.LogCalls = tt.calls })
				defer r.stop()
				var log bytes.Buffer
				r.sw.log = slog.New(slog.NewTextHandler(&log, nil))
				flow := Refer
				if tt.method == MethodInvite {
					flow = Invite
				}
				c, err := r.sw.Place(t.Context(), spec(func(s *Spec) { s.Method, s.Peer = tt.method, netip.MustParseAddr("192.0.2.7") }), flow)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if tt.during != nil {
					tt.during(r, c)
				}
				<-c.Done()
				time.Sleep(time.Minute)
				synctest.Wait()
				var lines []string
				for line := range strings.Lines(log.String()) {
					if strings.Contains(line, "call ended") {
						lines = append(lines, strings.TrimSuffix(line, "\n"))
					}
				}
				if tt.want == "" && len(lines) == 0 {
					return
				}
				if len(lines) != 1 || !regexp.MustCompile(`level=`+tt.want+`$`).MatchString(lines[0]) {
					t.Errorf("%q\nwant %s", lines, tt.want)
				}
			})
		})
	}
}

// What a challenge is not answered for is said so that it can be put right.
func TestAChallengeThatIsNotAnsweredSaysWhatIsMissing(t *testing.T) {
	md5 := Credentials{Username: "201", HA1: "0123456789abcdef0123456789abcdef"}
	for _, tt := range []struct {
		challenge string
		cred      Credentials
		want      string
	}{
		{`Digest realm="r", nonce="n"`, Credentials{}, whyNobody},
		{`Digest realm="r", nonce="n"`, Credentials{Username: "201"}, "no SIP password is stored for the user: add sip-password to it"},
		{`Digest realm="r", nonce="n", algorithm=SHA-256`, md5, "answers its algorithm SHA-256: add sip-password, or the hash for it"},
		{`Digest realm="r", nonce="n", algorithm=SHA-512-256`, md5, `the algorithm "SHA-512-256", which is not known`},
		{`Digest realm="r", nonce="n", qop="auth-int"`, md5, "wants the qop"},
	} {
		c, ok := digest.ParseChallenge(tt.challenge)
		_, err := c.Respond(&tt.cred, "BYE", "sip:b", "c")
		if got := unanswered(&c, &tt.cred, err); !ok || !strings.Contains(got, tt.want) || strings.Contains(got, `""`) {
			t.Errorf("%s with %+v: %q, want …%s…", tt.challenge, tt.cred, got, tt.want)
		}
	}
}
