//go:build interop

package interop

import (
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// SIPp 3.6 reads the first challenge of a 401 only, and knows MD5 alone.
func TestACallerThatKnowsMD5AloneCallsInByDigest(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	room := l.Phone("202", lab.PhoneConfig{})
	h := startHook(t)
	h.answers(`{"dispatch_action":"answer","room_name":"support"}`)
	s := l.Service(`dispatch:
  digest-algorithms: [MD5, SHA-256]
  trunks: [{name: branch, username: branch, password: "secret", max-calls: 3}]
  rooms: {support: "sip:202@sipx.test"}
  agent: "209"
  rules: [{id: hook, trunks: [branch], url: "` + h.URL + `", allow_http: true, allow_private: [127.0.0.1], events: [answered, ended]}]`)
	// By itself SIPp writes a digest-uri without the user that it calls.
	caller := l.SIPp("digest_caller", lab.Ports(t, 1), 3, "-l", "1", "-s", "5000", "-au", "branch", "-ap", "secret", "-auth_uri",
		"5000@"+s.SIP, s.SIP)
	l.SIPpPassed(caller)
	if m := h.await(l, "ended"); m["trunk_id"] != "branch" || m["from_user"] != "+4930123" || m["ended_by"] != "caller" ||
		m["sip_code"] != 200.0 {
		t.Errorf("%v", m)
	}
	room.AwaitOnHook()
}
