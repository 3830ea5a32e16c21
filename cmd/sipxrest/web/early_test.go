package web

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// refuseCalls is an Early that refuses each POST to /call, and passes all others.
func refuseCalls(method, target []byte) ([]byte, bool) {
	if string(method) == "POST" && bytes.HasPrefix(target, []byte("/call")) {
		return []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nearly"), false
	}
	return nil, string(method) == "POST"
}

// An early answer leaves the connection as it was: the requests before and after it
// are the handler's, and so are all that are not wholly there or have a body.
func TestRequestsAreAnsweredBeforeTheyAreHandled(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	for name, secure := range map[string]*tls.Config{"clear": nil,
		"TLS": {Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12}} {
		t.Run(name, func(t *testing.T) {
			var handled atomic.Int32
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handled.Add(1)
				body, _ := io.ReadAll(r.Body)
				if AskedEarly(r) {
					w.Header().Set("Asked", "early")
				}
				io.WriteString(w, "late "+string(body))
			})
			l := NewListener(mustListen(t), secure, Room{Total: 10}, h, slog.New(slog.DiscardHandler))
			l.AnswerEarly(refuseCalls)
			ended := make(chan error)
			go func() { ended <- l.Serve() }()
			defer func() {
				l.Close()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if secure != nil {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for _, tt := range []struct{ method, path, more, answer, asked string }{
				{"GET", "/call", "", "late ", ""},
				{"POST", "/call/1", "", "early", ""},
				{"POST", "/call/2", "Content-length: 0\r\n", "early", ""},
				{"POST", "/other", "", "late ", "early"},
				{"POST", "/call/3", "CONNECTION: keep-alive\r\n", "early", ""},
				{"POST", "/call/4", "Content-Length: 2\r\n\r\nhi", "late hi", ""},
				{"POST", "/call/5", "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", "late hi", ""},
				{"POST", "/other", "Content-Length: 2\r\n\r\nhi", "late hi", ""}, // what was asked about another does not count
				{"GET", "/other", "", "late ", ""},
				{"POST", "/call/6", "", "early", ""},
			} {
				text := tt.method + " " + tt.path + " HTTP/1.1\r\nHost: x\r\n" + tt.more
				if !strings.HasSuffix(text, "hi") {
					text += "\r\n"
				}
				l.awaitIdle() // else net/http has the first byte already, and the handler the request
				before := handled.Load()
				if _, err := io.WriteString(c, text); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				body, _ := io.ReadAll(resp.Body)
				if string(body) != tt.answer || resp.Header.Get("Asked") != tt.asked || (handled.Load() == before) != (tt.answer == "early") {
					t.Errorf("%q: %s %v, handled %d times", text, body, resp.Header, handled.Load()-before)
				}
			}
		})
	}
}

// awaitIdle waits until no connection has a request.
func (l *Listener) awaitIdle() {
	for busy := true; busy; runtime.Gosched() {
		busy = false
		l.socket.mu.Lock()
		for c := range l.socket.all(false) {
			busy = busy || c.idle.Load() == 0
		}
		l.socket.mu.Unlock()
	}
}

// Only one whole request without a body, that leaves its connection open, is
// answered early.
func TestWhatIsNotAnsweredEarly(t *testing.T) {
	for _, text := range []string{"", "P", "POST /call HTTP/1.1\r\n", "POST /call HTTP/1.1\r\nHost: x\r\n", "POST /call\r\n\r\n",
		"POST /call HTTP/1.0\r\n\r\n", "POST /call HTTP/1.1\r\nConnection: close\r\n\r\n", "POST /call HTTP/1.1\r\nconnection: upgrade\r\n\r\n",
		"POST /call HTTP/1.1\r\nContent-Length: 1\r\n\r\n", "POST /call HTTP/1.1\r\nContent-Length: 00\r\n\r\n",
		"POST /call HTTP/1.1\r\nEXPECT: 100-continue\r\n\r\n", "POST /call HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /call HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", "POST /call HTTP/1.1\r\n\r\nPOST /call HTTP/1.1\r\n\r\n",
		"POST /call HTTP/1.1\r\nContent-Length : 3\r\n\r\n", "POST /call HTTP/1.1\r\nX: y\nContent-Length: 3\r\n\r\n",
		"POST /call HTTP/1.1\r\nX: y\rContent-Length: 3\r\n\r\n", "POST /call HTTP/1.1\r\nX: y\r\n Content-Length: 3\r\n\r\n",
		"POST /call HTTP/1.1\r\nX\r\n Content-Length: 3\r\n\r\n"} {
		if method, target, ok := bodiless([]byte(text)); ok {
			t.Errorf("%q: %s %s", text, method, target)
		}
	}
	method, target, ok := bodiless([]byte("POST /call?x=1 HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\n"))
	if !ok || string(method) != "POST" || string(target) != "/call?x=1" {
		t.Errorf("%s %s %v", method, target, ok)
	}
}
