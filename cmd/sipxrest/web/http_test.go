package web

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/schema"
)

func TestEveryExchangeHasItsLimits(t *testing.T) {
	for _, secure := range []*tls.Config{nil, {MinVersion: config.TLSVersion("")}} {
		l := NewListener(mustListen(t), secure, Room{Total: 10}, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
		s := l.server
		if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes != 16<<10 {
			t.Errorf("%s: a limit is missing: %+v", l.URL, s)
		}
		if l.tls != nil && l.tls.MinVersion != tls.VersionTLS12 {
			t.Errorf("%s: TLS from version %x", l.URL, l.tls.MinVersion)
		}
		l.Close()
	}
}

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	log := apptest.NewLog()
	h := Guard(testRoutes, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret internals") }),
		slog.New(slog.NewTextHandler(log, nil)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", apptest.CallPath, nil))
	if body := w.Body.String(); w.Code != 500 || !strings.Contains(body, "<error-code>500</error-code>") || strings.Contains(body, "secret") {
		t.Errorf("%d %s", w.Code, body)
	}
	if !strings.Contains(log.String(), "secret internals") || !strings.Contains(log.String(), "http_test.go") {
		t.Errorf("log:\n%s", log)
	}
}

func TestABodyIsBounded(t *testing.T) {
	asked := false
	h := Guard(testRoutes, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }), slog.New(slog.DiscardHandler))
	for _, announced := range []int64{maxBodyBytes + 1, -1} {
		r := httptest.NewRequest("POST", apptest.CallPath, strings.NewReader(strings.Repeat("x", maxBodyBytes+1)))
		r.ContentLength = announced
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if body := w.Body.String(); w.Code != 413 || !strings.Contains(body, "<error-code>413</error-code>") ||
			!strings.Contains(body, "65536 bytes") {
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
		err := ExplainBind(&net.OpError{Op: "listen", Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.address)),
			Err: os.NewSyscallError("bind", tt.err)})
		if !strings.Contains(err.Error(), tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%s, %v: %v, want …%s…", tt.address, tt.err, err, tt.want)
		}
	}
}

func mustListen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// testRoutes are two resources that read bodies, and one for the rest, which has a
// stream. All word their faults in XML.
var testRoutes = Routes{
	{Owns: under("/form"), ReadsBody: isPost, Fail: failInXML},
	{Owns: under("/phone"), ReadsBody: isPost, Fail: failInXML},
	{Streams: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/events") }, Fail: failInXML},
}

func under(prefix string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, prefix) }
}

func isPost(r *http.Request) bool { return r.Method == http.MethodPost }

func failInXML(w http.ResponseWriter, _ *http.Request, status int, text string) {
	w.WriteHeader(status)
	_, _ = w.Write(schema.AppendProcessingStatus(nil, status, text))
}
