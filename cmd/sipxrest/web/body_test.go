package web

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// A body that does not come delays the call no longer than bodyWait, nor does a
// client that has only closed its side; one that is in trouble is a bad request.
func TestBodiesInTrouble(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: x\r\n"
	for _, c := range []struct {
		name, says string
		closes     bool   // the client ends the connection then
		status     string // how the answer begins
		after      time.Duration
		served     bool
	}{
		{"whole", head + "Content-Length: 3\r\nConnection: close\r\n\r\nx=y", false, "HTTP/1.1 200 OK", 0, true},
		{"a byte is missing", head + "Content-Length: 3\r\n\r\nx=", false, "HTTP/1.1 200 OK", bodyWait + lingerTime, true},
		{"nothing comes", head + "Content-Length: 3\r\n\r\n", false, "HTTP/1.1 200 OK", bodyWait + lingerTime, true},
		{"a chunk that is none", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", false, "HTTP/1.1 400 ", lingerTime, false},
		{"the client has closed its side", head + "Content-Length: 3\r\n\r\nx=", true, "", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				var served atomic.Bool
				handler := Guard(testRoutes, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Store(true) }),
					slog.New(slog.DiscardHandler))
				l := NewListener(n.ListenTCP(exchangeAddr), nil, Room{Total: 10}, handler, slog.New(slog.DiscardHandler))
				ended := make(chan error)
				go func() { ended <- l.Serve() }()
				conn, err := n.DialContext(t.Context(), "tcp", exchangeAddr)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				_, _ = io.WriteString(conn, c.says)
				if c.closes {
					time.Sleep(10 * time.Millisecond)
					conn.Close()
					time.Sleep(time.Minute)
				} else {
					answer, _ := io.ReadAll(conn)
					if !strings.HasPrefix(string(answer), c.status) {
						t.Errorf("%q", answer)
					}
					if after := time.Since(began).Round(100 * time.Millisecond); after != c.after {
						t.Errorf("closed after %v, want %v", after, c.after)
					}
					conn.Close()
				}
				if served.Load() != c.served {
					t.Errorf("served: %v", served.Load())
				}
				_ = l.server.Close()
				<-ended
			})
		})
	}
}

// What may hide a request in the body of another ends the connection: a
// Transfer-Encoding beside a Content-Length, or one in HTTP/1.0.
func TestTwoLengthsOfABodyEndTheConnection(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, c := range map[string]struct {
		says string
		want int // answers
	}{
		"Content-Length alone":          {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx=y", 2},
		"no body":                       {"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 2},
		"both":                          {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1},
		"both, the other way round":     {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 1},
		"Transfer-Encoding in HTTP/1.0": {"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n", 1},
		"both in HTTP/1.0": {"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\nTransfer-Encoding: " +
			"chunked\r\n\r\nx=y", 1},
		"Transfer-Encoding that is none": {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 1},
		"Content-Length twice":           {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 0\r\n\r\nx=y", 1},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, 100, 0, 10, func(x *exchange) {
				answer, _ := says(x.dial("10.0.0.2"), c.says+smuggled)
				if got := strings.Count(answer, "HTTP/1."); got != c.want {
					t.Errorf("%d answers, want %d:\n%s", got, c.want, answer)
				}
			})
		})
	}
}
