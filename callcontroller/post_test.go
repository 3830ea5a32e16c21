package callcontroller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/restauth"
	"sipxrest/sipflow"
)

func TestWhyACallIsNotPlaced(t *testing.T) {
	for _, tt := range []struct {
		err        error
		status     int
		code, text string
		retry      string
	}{
		{fmt.Errorf("place: %w", sipflow.ErrUnreachable), 502, "502", "The SIP server of the calling user cannot be reached", ""},
		{fmt.Errorf("place: %w: tls:192.0.2.9:5061: TLS: %w", sipflow.ErrUnreachable,
			&sipflow.CertificateError{Err: errors.New(`the certificate is for a, not for b`)}), 502, "502",
			"The SIP server of the calling user cannot be reached by TLS: the certificate is for a, not for b", ""},
		{context.DeadlineExceeded, 502, "502", "The SIP server of the calling user cannot be reached in time", ""},
		{sipflow.ErrDraining, 503, "503", "The service is shutting down, try again later", "5"},
		{errors.New("secret: /etc/passwd"), 500, "500", "The call could not be placed: an internal error, see the log of the service", ""},
	} {
		var log bytes.Buffer
		b := newBench(t, Config{}, &log)
		b.fail = tt.err
		w := b.do("POST", "/callcontroller/201/202")
		if w.Code != tt.status || w.Body.String() != xmlError(tt.code, tt.text) || w.Header().Get("Retry-After") != tt.retry {
			t.Errorf("%v: %d %v %s", tt.err, w.Code, w.Header(), w.Body)
		}
		if !strings.Contains(log.String(), tt.err.Error()) || strings.Contains(log.String(), bobHA1) {
			t.Errorf("%v: log %s", tt.err, log.String())
		}
		if w := b.do("GET", "/callcontroller/201/202"); w.Body.String() != emptyLines {
			t.Errorf("%v: a record: %s", tt.err, w.Body)
		}
	}
}

const bobHA1 = "0cc175b9c0f1b6a831c399e269772661"

func TestAPostWaitsAtMostFiveSecondsAndOutlivesItsClient(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.place = func(ctx context.Context, _ sipflow.Spec, _ sipflow.Flow) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > placeTimeout {
			t.Errorf("deadline %v %v", deadline, ok)
		}
		return ctx.Err()
	}
	r := httptest.NewRequest("POST", "/callcontroller/201/202", nil)
	gone, cancel := context.WithCancel(r.Context())
	cancel()
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r.WithContext(gone))
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestStrangersNeedThePINOfTheAgent(t *testing.T) {
	b := newBench(t, Config{}, nil)
	for _, tt := range []struct {
		name, peer, target, user, pin string
		status                        int
	}{
		{"nothing given", "198.51.100.1:1", "/callcontroller/201/202", "", "", 401},
		{"before the method", "198.51.100.1:1", "PUT /callcontroller/201/202", "", "", 401},
		{"unknown agent looks the same", "198.51.100.1:1", "/callcontroller/nobody/202", "", "", 401},
		{"malformed agent looks the same", "198.51.100.1:1", "/callcontroller/a%3Bb/202?agent=%zz", "", "", 401},
		{"wrong PIN", "198.51.100.1:1", "/callcontroller/201/202", "201", "1", 401},
		{"PIN of another", "198.51.100.1:1", "/callcontroller/201/202?agent=200", "201", "123", 401},
		{"own PIN", "198.51.100.1:1", "/callcontroller/201/202", "201", "123", 200},
		{"own PIN, by alias", "198.51.100.1:1", "/callcontroller/bob/202", "bob", "123", 200},
		{"agent's PIN", "198.51.100.1:1", "/callcontroller/201/202?agent=alice", "alice", "4711", 200},
		{"DELETE without a PIN", "198.51.100.1:1", "DELETE /callcontroller/201/202", "", "", 401},
		{"DELETE with the PIN of another", "198.51.100.1:1", "DELETE /callcontroller/201/202", "202", "9", 401},
		{"transfer without a PIN", "198.51.100.1:1", "/callcontroller/201/202?action=transfer&target=203", "", "", 401},
		{"then the method", "198.51.100.1:1", "PUT /callcontroller/201/202", "201", "123", 405},
		{"trusted", trustedPeer, "/callcontroller/201/202", "", "", 200},
		{"the redirect trusts nobody", trustedPeer, "/sipxconfig/rest/my/redirect/callcontroller/201/202", "", "", 401},
		{"the redirect, own PIN", trustedPeer, "/sipxconfig/rest/my/redirect/callcontroller/201/202/", "201", "123", 200},
		{"the redirect, agent of another", trustedPeer, "/sipxconfig/rest/my/redirect/callcontroller/201/202?agent=200", "201", "123", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := b.placed()
			method, target, ok := strings.Cut(tt.target, " ")
			if !ok {
				method, target = "POST", tt.target
			}
			r := httptest.NewRequest(method, target, nil)
			r.RemoteAddr = tt.peer
			if tt.user != "" {
				r.SetBasicAuth(tt.user, tt.pin)
			}
			w := httptest.NewRecorder()
			b.handler.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if len(b.orders) > 0 {
				t.Errorf("done: %q", b.orders)
			}
			if placed := b.placed() > before; placed != (tt.status == 200) {
				t.Errorf("placed: %v", placed)
			}
		})
	}
	r := httptest.NewRequest("POST", "/callcontroller/201/202", nil)
	r.Header.Set("Origin", "https://evil.test")
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("a page of another site: %d", w.Code)
	}
}

// TestOverARealServer sends what only a server's own reader judges.
func TestOverARealServer(t *testing.T) {
	b := newBench(t, Config{}, nil)
	srv := httptest.NewServer(b.gate.Listener(restauth.TrustedOrPIN, false, b.Handler()))
	defer srv.Close()
	for _, tt := range []struct{ name, request, want string }{
		{"bad escape in the path", "POST /callcontroller/201/a%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 "},
		{"bytes beyond ASCII", "POST /callcontroller/201/m\xc3\xbcller HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
		{"no length", "POST /callcontroller/201/202 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "Content-Length: 0\r\n"},
		{"old protocol", "GET /callcontroller/201/202 HTTP/1.0\r\n\r\n", "Content-Length: 138\r\n"},
		{"whole URI", "GET http://x:6667/callcontroller/201/202 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
		{"form body is no parameter", "POST /callcontroller/201/202 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: " +
			"application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\ntimeout=-1", "HTTP/1.1 200 OK\r\n"},
		{"body that never comes", "POST /callcontroller/201/202 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n" +
			"Content-Length: 1000000\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
		{"head", "HEAD /callcontroller/201/209 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "Content-Length: 138\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, tt.request); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(got), tt.want) {
				t.Errorf("got %s", got)
			}
			if strings.HasPrefix(tt.request, "HEAD") && !strings.HasSuffix(string(got), "\r\n\r\n") {
				t.Errorf("a body for HEAD: %s", got)
			}
		})
	}
}

func TestManyPostsAtOnceLeaveOneRecord(t *testing.T) {
	b := newBench(t, Config{}, nil)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			b.do("POST", "/callcontroller/201/202")
			b.do("GET", "/callcontroller/201/202")
		})
	}
	wg.Wait()
	if b.placed() != 100 || b.records.cache.ItemCount() != 1 {
		t.Errorf("%d calls, %d records", b.placed(), b.records.cache.ItemCount())
	}
	for _, spec := range b.specs {
		wg.Go(func() {
			for range 20 {
				progress(spec, "INVITE", "SIP/2.0 180 Ringing")
				b.do("GET", "/callcontroller/201/202")
			}
			end(spec)
		})
	}
	wg.Wait()
	if got := texts(b.do("GET", "/callcontroller/201/202").Body.String()); len(got) != 20 {
		t.Errorf("%d lines, want those of one call", len(got))
	}
}

func BenchmarkPost(b *testing.B) {
	c := newBench(b, Config{}, nil)
	c.place = func(_ context.Context, spec sipflow.Spec, _ sipflow.Flow) error {
		spec.Observe(&sipflow.Event{Kind: sipflow.Placed, Key: spec.Key})
		return nil
	}
	r := httptest.NewRequest("POST", "/callcontroller/201/202?sipMethod=REFER&agent=200&timeout=30&subject=Click%20to%20call", nil)
	w := &discard{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		c.handler.ServeHTTP(w, r)
	}
	if w.status != 200 {
		b.Fatal(w.status)
	}
}

func BenchmarkGet(b *testing.B) {
	c := newBench(b, Config{}, nil)
	c.do("POST", "/callcontroller/201/202")
	for _, text := range []string{"SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"} {
		progress(c.last(b), "INVITE", text)
		progress(c.last(b), "NOTIFY", text)
	}
	r := httptest.NewRequest("GET", "/callcontroller/201/202", nil)
	w := &discard{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		c.handler.ServeHTTP(w, r)
	}
	if w.status != 200 {
		b.Fatal(w.status)
	}
}

// discard is a client that reads nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
