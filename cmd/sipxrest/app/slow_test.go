package app

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// exchange is a server of ours, with its limits, on a network in memory.
type exchange struct {
	t      *testing.T
	net    *siptest.Network
	log    *logLines
	socket *limitListener
}

const exchangeAddr = "10.0.0.1:6667"

// within runs f in fake time with a server that answers GET with size bytes and
// does not look at bodies.
func within(t *testing.T, total, perAddress, size int, f func(x *exchange)) {
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{t: t, net: siptest.NewNetwork(), log: newLogLines()}
		log := slog.New(slog.NewTextHandler(x.log, nil))
		handler := guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", size))
		}), log)
		x.socket = newLimitListener(x.net.ListenTCP(exchangeAddr), total, perAddress, nil, log)
		l := listener{server: newServer(handler, log), socket: x.socket}
		served := make(chan error)
		go func() { served <- l.serve() }()
		f(x)
		_ = l.server.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func (x *exchange) dial(from string) net.Conn {
	x.t.Helper()
	c, err := x.net.DialFrom(from)(x.t.Context(), "tcp", exchangeAddr)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { c.Close() })
	return c
}

// says writes text, waits for the end of the connection, and answers what came
// and when.
func says(c net.Conn, text string) (answer string, after time.Duration) {
	start := time.Now()
	go func() { _, _ = io.WriteString(c, text) }()
	b, _ := io.ReadAll(c)
	return string(b), time.Since(start).Round(100 * time.Millisecond)
}

// Who says half of something, or too much, has his connection closed in time,
// and is told why where he can be.
func TestExchangesEnd(t *testing.T) {
	for _, c := range []struct {
		name, says string
		status     string // how the answer begins; empty: none
		after      time.Duration
	}{
		{"nothing is said", "", "", readHeaderTimeout},
		{"half a request line", "GET /callcont", "HTTP/1.1 400 ", readHeaderTimeout},
		{"half a header", "GET / HTTP/1.1\r\nHost: x\r\nX: ", "", readHeaderTimeout},
		{"nothing more is said", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", idleTimeout},
		{"half a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx", "HTTP/1.1 200 OK", readTimeout},
		{"half a chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nx", "HTTP/1.1 200 OK", readTimeout},
		{"a long line", "GET /" + strings.Repeat("x", 40_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 431 ", 0},
		{"a long field", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 40_000) + "\r\n\r\n", "HTTP/1.1 431 ", 0},
		{"many fields", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: x\r\n", 10_000) + "\r\n", "HTTP/1.1 431 ", 0},
		{"a long body is announced", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", "HTTP/1.1 413 ", readTimeout}, // at once, but so small a rest is waited for
		{"a very long body is announced", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n", "HTTP/1.1 413 ", 0},
		{"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "HTTP/1.1 400 ", 0},
		{"a length that is none", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 ", 0},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", "HTTP/1.1 400 ", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, 100, 0, 10, func(x *exchange) {
				answer, after := says(x.dial("10.0.0.2"), c.says)
				if c.status == "" && answer != "" || !strings.HasPrefix(answer, c.status) {
					t.Errorf("answer %q", answer)
				}
				if after < c.after || after > c.after+time.Second {
					t.Errorf("closed after %v, want %v", after, c.after)
				}
			})
		})
	}
}

// Bodies that never end, in chunks or by drops, are not read for ever.
func TestEndlessBodiesEnd(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration
		chunk string
	}{
		"as fast as can be": {0, "1000\r\n" + strings.Repeat("x", 4096) + "\r\n"},
		"by drops":          {time.Second, "1\r\nx\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, 100, 0, 10, func(x *exchange) {
				conn := x.dial("10.0.0.2")
				start, sent := time.Now(), 0
				_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
				for {
					n, err := io.WriteString(conn, c.chunk)
					if sent += n; err != nil {
						break
					}
					if time.Since(start) > 5*readTimeout || sent > 10<<20 {
						t.Fatalf("after %v and %d bytes more is taken", time.Since(start), sent)
					}
					time.Sleep(c.every)
				}
			})
		})
	}
}

// A client that asks for much and reads nothing is given up.
func TestAClientThatDoesNotReadIsGivenUp(t *testing.T) {
	within(t, 1, 1, 8<<20, func(x *exchange) {
		conn := x.dial("10.0.0.2")
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(writeTimeout + time.Second)
		conn = x.dial("10.0.0.3") // the only connection that there may be is free again
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b := make([]byte, 15)
		if _, err := io.ReadFull(conn, b); err != nil || string(b) != "HTTP/1.1 200 OK" {
			t.Errorf("%q, %v", b, err)
		}
		conn.Close()
	})
}

// Connections of one address that say next to nothing do not keep others out.
func TestSlowConnectionsOfOneAddressLeaveRoomForOthers(t *testing.T) {
	const slow = 10_000
	within(t, 1000, 250, 10, func(x *exchange) {
		for range slow {
			_, _ = io.WriteString(x.dial("10.0.0.66"), "G")
		}
		synctest.Wait()
		if open, refused := x.socket.counts(); open != 250 || refused < slow/2 {
			t.Errorf("%d of %d slow connections are open, %d were refused", open, slow, refused)
		}
		for i := range 100 {
			answer, _ := says(x.dial(fmt.Sprintf("10.0.1.%d", i)), "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(answer, "HTTP/1.1 200 OK") {
				t.Fatalf("client %d is answered %q", i, answer)
			}
		}
		time.Sleep(time.Minute)
		if lines := strings.Count(x.log.String(), "HTTP connections refused"); lines < 1 || lines > 4 || !strings.Contains(x.log.String(), "peers=[10.0.0.66]") {
			t.Errorf("%d lines:\n%s", lines, x.log)
		}
	})
}
