//go:build interop

package interop

import (
	"regexp"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// The proxy is reached by TLS or WebSocket, the phones behind it by UDP.
func TestReferOverTLSAndWebSocket(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"tls", "ws", "wss"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			l := lab.StartSecure(t, nil)
			calling := l.Phone("201", lab.PhoneConfig{})
			called := l.Phone("202", lab.PhoneConfig{})
			s := l.SecureService(transport, l.Proxy.CA)
			s.Post(call201to202)
			calling.AwaitInCallWith("202")
			called.AwaitInCallWith("201")
			s.AwaitStatus(call201to202, challenged, trying, ringing, answered, referred, "NOTIFY 200 OK")
			calling.AwaitClosed(calling.AwaitNthCall(0).ID) // the BYE that the service sent
			via := regexp.MustCompile(`^Via: SIP/2.0/` + strings.ToUpper(transport) + ` 127\.0\.0\.1:`)
			if _, err := calling.AwaitLine(0, via, lab.Patience); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInviteOverTLS(t *testing.T) {
	t.Parallel()
	l := lab.StartSecure(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	s := l.SecureService("tls", l.Proxy.CA)
	s.Post(call201to202 + byInvite)
	calling.AwaitInCallWith("201")
	called.AwaitInCallWith("201")
	calling.AwaitAudio()
	called.AwaitAudio()
	called.HangUp()
	calling.AwaitOnHook()
	called.AwaitOnHook()
}

// Whoever cannot prove to be the proxy gets nothing.
func TestProxyOfAnUnknownAuthorityIsNotCalled(t *testing.T) {
	t.Parallel()
	l := lab.StartSecure(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	s := l.SecureService("tls", l.Proxy.OtherCA)
	if a := s.Trusted("POST", call201to202); a.Code != 502 {
		t.Errorf("answered %+v", a)
	}
	if _, err := s.AwaitLine(0,
		regexp.MustCompile(`signed by CN=lab CA, which is not a known authority: put the authority's certificate into sip.tls.ca`),
		lab.Patience); err != nil {
		t.Error(err)
	}
	if calls := calling.Calls(); len(calls) > 0 {
		t.Errorf("the phone was called: %+v", calls)
	}
}
