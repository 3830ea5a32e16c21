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
	"sync"
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
	serving(t, nil, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", size))
	}), f)
}

// serving runs f in fake time with a server of h, which has TLS where there is a
// certificate.
func serving(t *testing.T, cert *tls.Certificate, r Room, h http.Handler, f func(x *exchange)) {
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{t: t, net: siptest.NewNetwork(), log: apptest.NewLog()}
		log := slog.New(slog.NewTextHandler(x.log, nil))
		var secure *tls.Config
		if cert != nil {
			secure = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
		}
		l := NewListener(x.net.ListenTCP(exchangeAddr), secure, r, Guard(testRoutes, h, log), log)
		x.socket = l.socket
		served := make(chan error)
		go func() { served <- l.Serve() }()
		defer func() {
			_ = l.server.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute) // net/http waits a moment before it closes a connection
		}()
		f(x)
	})
}

// certified is a certificate for exchangeAddr.
func certified(t *testing.T) *tls.Certificate {
	t.Helper()
	certPEM, keyPEM, err := MakeSelfSigned([]string{"10.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
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
		// at once, but so small a rest is waited for
		{"a long body is announced", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", "HTTP/1.1 413 ", bodyWait},
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
		if lines := strings.Count(x.log.String(), "idle HTTP connections closed"); lines < 1 || lines > 4 || !strings.Contains(x.log.String(),
			"peers=[10.0.0.66]") {
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

// heldBack are requests whose rest is not sent. None needs credentials.
var heldBack = map[string]string{
	"a body that nobody needs": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
	"in HTTP/1.0":              "POST / HTTP/1.0\r\nContent-Length: 10\r\n\r\nx",
	"of another method":        "DELETE / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
	"in chunks":                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nx",
	"after a WebSocket's request": "GET /api/v3/notification/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Content-Length: 10\r\n\r\nx",
	"after a question for options": "OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
	"of a resource that reads it":  "POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
	"of it, in HTTP/1.0":           "POST /form HTTP/1.0\r\nContent-Length: 10\r\n\r\nx",
	"of it, in chunks":             "POST /form HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nx",
	"of it, until it is asked for": "POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
	"of another such resource":     "POST /phone/x/to/y HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
	"that is too long":             "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\nx",
	"that is too long in chunks":   "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10002\r\n" + strings.Repeat("x", 0x10001),
	"that is much too long":        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nx",
	"after what is malformed":      "POST /%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
	"after what nobody expects":    "POST / HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\nContent-Length: 10\r\n\r\nx",
	"in chunks that are none":      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}

// Nor do clients that hold the rest of their request back. Neither do they while
// the resource waits for it, nor while net/http does, before the answer or
// behind it.
func TestClientsThatHoldTheirBodyBackKeepNobodyOut(t *testing.T) {
	for name, text := range heldBack {
		for resource, reads := range map[string]bool{"refuses before it reads": false, "reads": true} {
			t.Run(name+", the resource "+resource, func(t *testing.T) {
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if reads {
						_, _ = io.Copy(io.Discard, r.Body)
					}
					_, _ = io.WriteString(w, "x")
				})
				serving(t, nil, Room{Total: 4, PerAddress: 4}, handler, func(x *exchange) {
					for i := range 4 {
						_, _ = io.WriteString(x.dial(fmt.Sprintf("10.0.0.%d", 10+i)), text)
					}
					for i := range 4 {
						time.Sleep(10 * time.Millisecond) // on its way
						x.ask(fmt.Sprintf("10.0.1.%d", i))
					}
				})
			})
		}
	}
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
	cert := certified(t)
	for path, lasts := range map[string]bool{"/": false, "/dialout/x/events": true} {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if lasts {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, ": alive\n")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return
			}
			_, _ = io.WriteString(w, strings.Repeat("x", 10))
		})
		serving(t, cert, Room{Total: 1}, handler, func(x *exchange) {
			var settings []http2.Setting
			if !lasts {
				settings = []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}
			}
			first := apptest.NewHTTP2Client(x.t, x.dial("10.0.0.2"), settings...)
			first.Begin("GET", path, false)
			time.Sleep(2 * stuckAfter)
			if served := x.shakes("10.0.0.3"); served == lasts {
				t.Errorf("%s: another connection is served: %v", path, served)
			}
			first.Conn.Close()
		})
	}
}

// shakes reports whether a client from an address gets to agree on TLS.
func (x *exchange) shakes(from string) bool {
	conn := x.dial(from)
	defer conn.Close()
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake() == nil
}

// Over HTTP/2 a request may be held back though it has no body, and a new one may
// always be under way before the last one is given up.
func TestClientsThatHoldTheirBodyBackOverHTTP2KeepNobodyOut(t *testing.T) {
	cert := certified(t)
	for name, c := range map[string]struct {
		method, path string
		fields       []string
	}{
		"of unknown length":           {"POST", "/", nil},
		"of no length":                {"POST", "/", []string{"content-length", "0"}},
		"of some length":              {"GET", "/", []string{"content-length", "3"}},
		"that is too long":            {"POST", "/", []string{"content-length", "65537"}},
		"of a resource that reads it": {"POST", "/form", []string{"content-length", "3"}},
		"of another such resource":    {"POST", "/phone/x/to/y", nil},
		"of what is malformed":        {"POST", "/%", nil},
		"after all options":           {"OPTIONS", "*", []string{"content-length", "3"}},
	} {
		for resource, reads := range map[string]bool{"refuses before it reads": false, "reads": true} {
			t.Run(name+", the resource "+resource, func(t *testing.T) {
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if reads {
						_, _ = io.Copy(io.Discard, r.Body)
					}
					_, _ = io.WriteString(w, "x")
				})
				serving(t, cert, Room{Total: 4, PerAddress: 4}, handler, func(x *exchange) {
					over := make(chan struct{})
					var clients sync.WaitGroup
					for i := range 4 {
						client := apptest.NewHTTP2Client(x.t, x.dial(fmt.Sprintf("10.0.0.%d", 10+i)))
						go func() { _, _ = io.Copy(io.Discard, client.Conn) }()
						clients.Go(func() {
							for {
								if _, err := client.Ask(c.method, c.path, true, c.fields...); err != nil {
									return
								}
								select {
								case <-time.After(bodyWait - 100*time.Millisecond):
								case <-over:
									return
								}
							}
						})
					}
					refused := 0
					for i := range 30 {
						time.Sleep(500 * time.Millisecond)
						if !x.shakes(fmt.Sprintf("10.0.1.%d", i)) {
							refused++
						}
					}
					if refused > 0 {
						t.Errorf("%d of 30 clients are refused", refused)
					}
					close(over)
					clients.Wait()
				})
			})
		}
	}
}

// A request that is being answered keeps its connection, whatever others over the
// same one wait for, and before and after.
func TestARequestInProgressKeepsItsConnection(t *testing.T) {
	cert := certified(t)
	const takes = 10 * time.Second
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(takes)
		}
		_, _ = io.WriteString(w, "x")
	})
	serving(t, cert, Room{Total: 1}, handler, func(x *exchange) {
		first := apptest.NewHTTP2Client(x.t, x.dial("10.0.0.2"))
		waits := first.Begin("POST", "/", true, "content-length", "3")
		slow := first.Begin("GET", "/slow", false)
		for range 2 {
			first.Await(first.Begin("GET", "/", false))
			if x.shakes("10.0.0.3") {
				t.Fatal("a connection is closed that is in use")
			}
			time.Sleep(bodyWait / 4)
		}
		first.End(waits, "x=y")
		for _, stream := range []uint32{slow, waits} {
			if a := first.Await(stream); a.Status != 200 {
				t.Errorf("%+v", a)
			}
		}
		first.Begin("POST", "/", true, "content-length", "3")
		first.Settle()
		if !x.shakes("10.0.0.3") {
			t.Error("a connection all of whose requests wait for the client keeps its place")
		}
	})
}

// Nor do clients that take their answers late: one after the other over HTTP/1,
// while the next one waits, or none over HTTP/2, where they give each up in time
// for the next.
func TestClientsThatTakeEachAnswerLateKeepNobodyOut(t *testing.T) {
	const pause = stuckAfter - 100*time.Millisecond
	const size, times = 50_000, 10
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", size))
	})
	pipelines := func(x *exchange) {
		conn := x.dial("10.0.0.2")
		go func() { _, _ = io.WriteString(conn, strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1000)) }()
		for range times {
			if _, err := io.CopyN(io.Discard, conn, size); err != nil {
				return
			}
			time.Sleep(pause)
		}
	}
	renews := func(x *exchange) {
		client := apptest.NewHTTP2Client(x.t, x.dial("10.0.0.2"), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		go func() { _, _ = io.Copy(io.Discard, client.Conn) }()
		for range times {
			stream, err := client.Ask("GET", "/", false)
			if err != nil || stream > 1 && client.Framer.WriteRSTStream(stream-2, http2.ErrCodeCancel) != nil {
				return
			}
			time.Sleep(pause)
		}
	}
	for name, c := range map[string]struct {
		cert   *tls.Certificate
		client func(*exchange)
	}{"HTTP/1": {nil, pipelines}, "HTTP/2": {certified(t), renews}} {
		t.Run(name, func(t *testing.T) {
			serving(t, c.cert, Room{Total: 1}, handler, func(x *exchange) {
				var client sync.WaitGroup
				client.Go(func() { c.client(x) })
				time.Sleep(2 * stuckAfter)
				if c.cert == nil {
					x.ask("10.0.0.3")
				} else if !x.shakes("10.0.0.3") {
					t.Error("another client is refused")
				}
				client.Wait()
			})
		})
	}
}
