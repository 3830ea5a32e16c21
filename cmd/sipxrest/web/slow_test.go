package web

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/sipflow/siptest"
)

// exchange is a server of ours, with its limits, on a network in memory.
type exchange struct {
	t      *testing.T
	net    *siptest.Network
	log    *apptest.Log
	socket *limitListener
}

const exchangeAddr = "10.0.0.1:6667"

// within runs f in fake time with a server that answers GET with size bytes and
// does not look at bodies.
func within(t *testing.T, total, perAddress, size int, f func(x *exchange)) {
	inRoom(t, Room{Total: total, PerAddress: perAddress}, size, f)
}

func inRoom(t *testing.T, r Room, size int, f func(x *exchange)) {
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{t: t, net: siptest.NewNetwork(), log: apptest.NewLog()}
		log := slog.New(slog.NewTextHandler(x.log, nil))
		handler := Guard(testRoutes, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", size))
		}), log)
		l := NewListener(x.net.ListenTCP(exchangeAddr), nil, r, handler, log)
		x.socket = l.socket
		served := make(chan error)
		go func() { served <- l.Serve() }()
		defer func() {
			_ = l.server.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}()
		f(x)
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
		{"half a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx", "HTTP/1.1 200 OK", bodyWait},
		{"half a chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nx", "HTTP/1.1 200 OK", bodyWait},
		{"a long line", "GET /" + strings.Repeat("x", 40_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 431 ", lingerTime},
		{"a long field", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 40_000) + "\r\n\r\n", "HTTP/1.1 431 ", lingerTime},
		{"many fields", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: x\r\n", 10_000) + "\r\n", "HTTP/1.1 431 ", lingerTime},
		{"a long body is announced", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", "HTTP/1.1 413 ", bodyWait}, // at once, but so small a rest is waited for
		{"a very long body is announced", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n", "HTTP/1.1 413 ", lingerTime},
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
		if open, became := x.socket.stats(); open != 250 || became.displaced != slow-250 {
			t.Errorf("%d of %d slow connections are open, %d were closed for others", open, slow, became.displaced)
		}
		for i := range 100 {
			answer, _ := says(x.dial(fmt.Sprintf("10.0.1.%d", i)), "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(answer, "HTTP/1.1 200 OK") {
				t.Fatalf("client %d is answered %q", i, answer)
			}
		}
		time.Sleep(time.Minute)
		if lines := strings.Count(x.log.String(), "idle HTTP connections closed"); lines < 1 || lines > 4 || !strings.Contains(x.log.String(), "peers=[10.0.0.66]") {
			t.Errorf("%d lines:\n%s", lines, x.log)
		}
	})
}

// ask sends a request from an address and fails the test unless it is answered.
func (x *exchange) ask(from string) {
	x.t.Helper()
	conn := x.dial(from)
	defer conn.Close()
	answer, _ := says(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 200 OK") {
		x.t.Fatalf("%s is answered %q", from, answer)
	}
}

// Connections over which nothing is asked keep nobody out, however many addresses
// they are of, whether nothing was ever said or one request was answered.
func TestIdleConnectionsOfManyAddressesKeepNobodyOut(t *testing.T) {
	known := netip.MustParseAddr("10.0.9.9")
	inRoom(t, Room{Total: 1000, PerAddress: 250, Knows: func(a netip.Addr) bool { return a == known }}, 10, func(x *exchange) {
		for i := range 1000 {
			conn := x.dial(fmt.Sprintf("10.0.0.%d", 10+i%5))
			if i%2 == 0 {
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				_, _ = conn.Read(make([]byte, 1000))
			}
		}
		synctest.Wait()
		if open, became := x.socket.stats(); open != 900 || became.refused > 0 { // the rest is for the known peer
			t.Errorf("%d idle connections are open, %d were refused", open, became.refused)
		}
		for i := range 114 {
			x.ask(fmt.Sprintf("10.0.1.%d", i))
			x.ask(known.String())
		}
		if _, became := x.socket.stats(); became.refused > 0 {
			t.Errorf("%d are refused", became.refused)
		}
	})
}

// Clients that send request after request and read no answer keep nobody out:
// their connections are in use, but of no use.
func TestClientsThatDoNotReadKeepNobodyOut(t *testing.T) {
	within(t, 4, 4, 100_000, func(x *exchange) {
		for i := range 4 {
			conn := x.dial(fmt.Sprintf("10.0.0.%d", 10+i))
			go func() {
				_, _ = io.WriteString(conn, strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1000))
			}()
		}
		time.Sleep(2 * stuckAfter)
		for i := range 4 {
			x.ask(fmt.Sprintf("10.0.1.%d", i))
		}
	})
}

// Nor do clients that hold the rest of their request back, which nobody needs.
func TestClientsThatHoldTheirBodyBackKeepNobodyOut(t *testing.T) {
	within(t, 4, 4, 10, func(x *exchange) {
		for i := range 4 {
			_, _ = io.WriteString(x.dial(fmt.Sprintf("10.0.0.%d", 10+i)), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
		}
		time.Sleep(10 * time.Millisecond) // on its way
		for i := range 4 {
			x.ask(fmt.Sprintf("10.0.1.%d", i))
		}
	})
}

// Who sends many requests in one go is served between others, not before them.
func TestRequestsInOneGoGiveWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	l := newLimitListener(&scriptedListener{from: []string{"10.0.0.1:1"}}, Room{Total: 1}, slog.New(slog.DiscardHandler))
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var other atomic.Bool
	go other.Store(true)
	for range 1000 {
		c.(*limitedConn).state(http.StateActive)
		c.(*limitedConn).state(http.StateIdle)
	}
	if !other.Load() {
		t.Error("after a thousand answers nobody else has had his turn")
	}
}

// Over HTTP/2 a client need not even leave the connection unread: it can just not
// let the answer be sent. A stream of events is no such answer.
func TestClientsThatTakeNoAnswerOverHTTP2KeepNobodyOut(t *testing.T) {
	certPEM, keyPEM, err := MakeSelfSigned([]string{"10.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	for path, lasts := range map[string]bool{"/": false, "/dialout/x/events": true} {
		synctest.Test(t, func(t *testing.T) {
			x := &exchange{t: t, net: siptest.NewNetwork()}
			handler := Guard(testRoutes, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if lasts {
					w.Header().Set("Content-Type", "text/event-stream")
					_, _ = io.WriteString(w, ": alive\n")
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
					return
				}
				_, _ = io.WriteString(w, strings.Repeat("x", 10))
			}), slog.New(slog.DiscardHandler))
			l := NewListener(x.net.ListenTCP(exchangeAddr), &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, Room{Total: 1}, handler, slog.New(slog.DiscardHandler))
			served := make(chan error)
			go func() { served <- l.Serve() }()
			var settings []http2.Setting
			if !lasts {
				settings = []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}
			}
			first := apptest.NewHTTP2Client(t, x.dial("10.0.0.2"), settings...)
			first.Begin("GET", path, false)
			time.Sleep(2 * stuckAfter)
			other := tls.Client(x.dial("10.0.0.3"), &tls.Config{InsecureSkipVerify: true})
			if err := other.Handshake(); (err == nil) == lasts {
				t.Errorf("%s: another connection: %v", path, err)
			}
			other.Close()
			first.Conn.Close()
			l.server.Close()
			<-served
		})
	}
}
