package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

func TestEveryExchangeHasItsLimits(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	a, err := New(testConfig(t, addr), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, l := range a.listeners {
		s := l.server
		if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes != 16<<10 {
			t.Errorf("%s: a limit is missing: %+v", l.url, s)
		}
		if l.tls != nil && l.tls.MinVersion != tls.VersionTLS12 {
			t.Errorf("%s: TLS from version %x", l.url, l.tls.MinVersion)
		}
	}
}

func TestOldTLSVersionsAreServedOnlyOnRequest(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.HTTP[1].TLS = &TLS{MinVersion: "1.0"}
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
	_, addr := phone(t, siptest.Script{})
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

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	log := newLogLines()
	h := guarded(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret internals") }), slog.New(slog.NewTextHandler(log, nil)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", callPath, nil))
	if body := w.Body.String(); w.Code != 500 || !strings.Contains(body, "<error-code>500</error-code>") || strings.Contains(body, "secret") {
		t.Errorf("%d %s", w.Code, body)
	}
	if !strings.Contains(log.String(), "secret internals") || !strings.Contains(log.String(), "http_test.go") {
		t.Errorf("log:\n%s", log)
	}
}

func TestABodyIsBounded(t *testing.T) {
	asked := false
	h := guarded(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }), slog.New(slog.DiscardHandler))
	for _, announced := range []int64{maxBodyBytes + 1, -1} {
		r := httptest.NewRequest("POST", callPath, strings.NewReader(strings.Repeat("x", maxBodyBytes+1)))
		r.ContentLength = announced
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if body := w.Body.String(); w.Code != 413 || !strings.Contains(body, "<error-code>413</error-code>") || !strings.Contains(body, "65536 bytes") {
			t.Errorf("a body that is too long, announced as %d: %d %s", announced, w.Code, body)
		}
	}
	if asked {
		t.Error("a request is served whose body is too long")
	}
}

// The advice fits the cause.
func TestASocketThatCannotBeBoundSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		address string
		err     error
		want    string
	}{
		{"0.0.0.0:443", syscall.EACCES, "ports below 1024 need a privilege"},
		{"0.0.0.0:6666", syscall.EACCES, "the system forbids it, such as SELinux"},
		{"[::1]:6666", syscall.EAFNOSUPPORT, "this machine has no IPv6"},
		{"192.0.2.1:6666", syscall.EADDRNOTAVAIL, "this machine has the addresses"},
		{"0.0.0.0:6666", syscall.EADDRINUSE, "another program"},
	} {
		err := explainBind(&net.OpError{Op: "listen", Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.address)), Err: os.NewSyscallError("bind", tt.err)})
		if !strings.Contains(err.Error(), tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%s, %v: %v, want …%s…", tt.address, tt.err, err, tt.want)
		}
	}
}

// startPlain runs a service as testConfig has it, whose phone rings.
func startPlain(t *testing.T) *service {
	_, addr := phone(t, siptest.Script{NeverAnswer: true})
	return start(t, testConfig(t, addr))
}

func mustListen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
