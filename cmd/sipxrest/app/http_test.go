package app

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
)

func TestOldTLSVersionsAreServedOnlyOnRequest(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.HTTP[1].TLS = &config.TLS{MinVersion: "1.0"}
	s := start(t, cfg)
	for i, want := range []bool{false, true} {
		c, err := tls.Dial("tcp", strings.TrimPrefix(s.Addrs()[i], "https://"), &tls.Config{
			InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
			NextProtos: []string{"h2", "http/1.1"}, // as curl offers them
		})
		if got := err == nil; got != want {
			t.Errorf("listener %d: TLS 1.1 served %v, want %v (%v)", i+1, got, want, err)
		}
		if err == nil {
			if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
				t.Errorf("listener %d: %q is spoken over TLS 1.1", i+1, p)
			}
			c.Close()
		}
	}
	if len(s.certificates) != 1 {
		t.Errorf("the listeners have %d self-signed certificates, want the same", len(s.certificates))
	}
}

func TestAHugeHeaderIsRefused(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	s := start(t, testConfig(t, addr))
	c, err := net.Dial("tcp", strings.TrimPrefix(s.Addrs()[1], "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	}()
	answer, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("answer %q", answer)
	}
}

// startPlain runs a service as testConfig has it, whose phone rings.
func startPlain(t *testing.T) *service {
	_, addr := apptest.Phone(t, siptest.Script{NeverAnswer: true})
	return start(t, testConfig(t, addr))
}
