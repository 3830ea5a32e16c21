package app

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"sipxrest/dialout"
	"sipxrest/sipflow/siptest"
)

// everything is a service that has every resource, on all kinds of listeners:
// TLS, plain, for trusted peers only (nobody is), and for metrics.
func everything(t *testing.T) (*service, *siptest.Phone) {
	cfg, _, _ := withPhone(t)
	p, addr := phone(t, siptest.Script{NeverAnswer: true})
	cfg.SIP.OutboundProxy = []string{"sip:" + addr}
	cfg.Trusted = nil
	cfg.HTTP = []HTTPListener{
		{Listen: "127.0.0.1:0", TLS: &TLS{}, Auth: "trusted-or-pin"},
		{Listen: "127.0.0.1:0", Auth: "pin"},
		{Listen: "127.0.0.1:0", Auth: "trusted"},
	}
	cfg.Metrics.Listen = "127.0.0.1:0"
	cfg.Dialout.Gateway = dialout.Gateway{URI: "sip:" + addr, User: "trunk", Secret: "x", DefaultNumber: "+4930123456"}
	cfg.Dialout.Target = "conference"
	return start(t, cfg), p
}

// basic is user 201's Authorization.
const basic = "Basic MjAxOjEyMw=="

// requests are one of each kind of answer, to what has a body that nobody needs.
var requests = []struct {
	method, path string
	fields       []string
	status       int
}{
	{"POST", callPath, []string{"authorization", basic}, 200},
	{"GET", callPath, []string{"authorization", basic}, 200},
	{"DELETE", "/callcontroller/201/299", []string{"authorization", basic}, 404},
	{"PUT", callPath, []string{"authorization", basic}, 405},
	{"POST", callPath + "?timeout=x", []string{"authorization", basic}, 400},
	{"POST", callPath + "?sipMethod=x", []string{"authorization", basic}, 406},
	{"POST", callPath, nil, 401},
	{"POST", callPath, []string{"origin", "https://elsewhere.example"}, 403},
	{"POST", callPath, []string{"host", "elsewhere.example", "sec-fetch-mode", "cors"}, 421},
	{"POST", "/sipxconfig/rest/my/redirect/callcontroller/201/202", nil, 401},
	{"POST", "/", nil, 405},
	{"POST", "/nowhere", nil, 404},
	{"GET", "/dialout/x", []string{"authorization", basic}, 404},
	{"GET", "/dialout/x/events", []string{"authorization", basic}, 404},
	{"PUT", "/dialout", nil, 405},
	{"POST", "/dialout", nil, 401},
	{"POST", "/dialout", []string{"authorization", basic}, 415},
	{"POST", "/api/v3/auth/login", nil, 401},
	{"GET", "/api/v3/users/favorites", nil, 401},
	{"POST", "/api/v3/phone/initiate/x/to/y", nil, 401},
	{"GET", "/api/v3/notification/socket", nil, 401},
	{"GET", "/api/v3/nowhere", nil, 404},
}

// Whatever the answer is, it comes when the request is there, and the stream is
// not reset behind it: many clients take that for a failure.
func TestAnswersOverHTTP2WaitForTheBody(t *testing.T) {
	s, _ := everything(t)
	for _, r := range requests {
		t.Run(fmt.Sprint(r.method, r.path, r.status), func(t *testing.T) {
			c := s.http2()
			c.t = t
			fields := append([]string{"content-length", "3"}, r.fields...)
			open := c.begin(r.method, r.path, true, fields...)
			for range 20 { // while others are answered
				c.await(c.begin("GET", "/", false))
			}
			if a := c.answer(open); a.ended || a.reset != "" {
				t.Errorf("before the body: %+v", a)
			}
			c.end(open, "x=y")
			a := c.await(open)
			c.settle()
			if a.status != r.status || a.reset != "" {
				t.Errorf("%+v, want %d", a, r.status)
			}
		})
	}
	c := s.http2()
	open := c.begin("POST", callPath, true, "content-length", "0", "authorization", basic)
	for range 20 {
		c.await(c.begin("GET", "/", false))
	}
	c.end(open, "")
	if a := c.await(open); a.status != 200 || a.reset != "" {
		t.Errorf("a body of nothing: %+v", a)
	}
}

// converse says text over a connection to a listener, and answers what came up to
// the status line and header fields of the last response.
func converse(t *testing.T, conn net.Conn, text string) (status int, r *bufio.Reader) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	r = bufio.NewReader(conn)
	return response(t, r), r
}

func response(t *testing.T, r *bufio.Reader) int {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var major, minor, status int
	if _, err := fmt.Sscanf(line, "HTTP/%d.%d %d ", &major, &minor, &status); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	for {
		switch line, err := r.ReadString('\n'); {
		case err != nil:
			t.Fatal(err)
		case line == "\r\n":
			return status
		}
	}
}

func dial(t *testing.T, url string, protocols ...string) net.Conn {
	t.Helper()
	addr, secure := strings.CutPrefix(url, "https://")
	conn, err := net.Dial("tcp", strings.TrimPrefix(addr, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if !secure {
		return conn
	}
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols, MinVersion: tls.VersionTLS12})
}

func invites(p *siptest.Phone) int { return len(p.Requests("INVITE")) }

// Clients that hold their body back until they are told to go on are told so at
// once, or get their answer, and nobody's phone rings before they have gone on.
func TestAClientThatWaitsFor100IsAnsweredAtOnce(t *testing.T) {
	s, p := everything(t)
	for _, r := range requests {
		host, rest := "127.0.0.1", ""
		for i := 0; i < len(r.fields); i += 2 {
			if r.fields[i] == "host" {
				host = r.fields[i+1]
			} else {
				rest += r.fields[i] + ": " + r.fields[i+1] + "\r\n"
			}
		}
		t.Run(fmt.Sprint(r.method, r.path, r.status), func(t *testing.T) {
			conn := dial(t, s.Addrs()[0], "http/1.1")
			calls := invites(p)
			began := time.Now()
			status, in := converse(t, conn, r.method+" "+r.path+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"+rest+"\r\n")
			if waited := time.Since(began); waited >= bodyWait {
				t.Errorf("%d after %v", status, waited)
			}
			if status == 100 {
				if invites(p) != calls {
					t.Error("a phone is called while the client waits")
				}
				if _, err := io.WriteString(conn, "x=y"); err != nil {
					t.Fatal(err)
				}
				status = response(t, in)
			}
			if status != r.status {
				t.Errorf("%d, want %d", status, r.status)
			}
			if r.method == "POST" && status == 200 {
				if err := p.Wait(t.Context(), func() bool { return invites(p) > calls }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	conn := dial(t, s.Addrs()[0], "http/1.1")
	if status, _ := converse(t, conn, "POST "+callPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"); status != 413 {
		t.Errorf("a long body that is held back: %d", status)
	}
	if status, _ := converse(t, dial(t, s.MetricsURL()), "POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"); status != 100 {
		t.Errorf("by the listener for metrics: %d", status)
	}
	// Over HTTP/2 the 100 is HEADERS before those of the answer.
	c := s.http2()
	calls := invites(p)
	open := c.begin("POST", "/callcontroller/201/203", true, "content-length", "3", "authorization", basic, "expect", "100-continue")
	for c.answer(open).status == 0 {
		if !c.read(bodyWait / 2) {
			t.Fatal("over HTTP/2 nothing comes")
		}
	}
	if a := c.answer(open); a.status != 100 || invites(p) != calls {
		t.Errorf("over HTTP/2: %+v, %d INVITEs before, %d then", a, calls, invites(p))
	}
	c.end(open, "x=y")
	if a := c.await(open); a.status != 200 || a.reset != "" {
		t.Errorf("over HTTP/2 then: %+v", a)
	}
}

// A client that gives its request up over HTTP/2 before it is complete calls
// nobody.
func TestARequestThatIsGivenUpIsNoCall(t *testing.T) {
	s, p := everything(t)
	c := s.http2()
	c.must(c.framer.WriteRSTStream(c.begin("POST", callPath, true, "content-length", "3", "authorization", basic), http2.ErrCodeCancel))
	if a := c.await(c.begin("POST", "/callcontroller/201/203", false, "authorization", basic)); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	if err := p.Wait(t.Context(), func() bool { return invites(p) > 0 }); err != nil {
		t.Fatal(err)
	}
	if a := c.await(c.begin("GET", callPath, false, "authorization", basic)); strings.Contains(a.body, "<status>") {
		t.Errorf("it is: %+v", a)
	}
	if a := c.await(c.begin("DELETE", callPath, false, "authorization", basic)); a.status != 404 {
		t.Errorf("it can be hung up: %+v", a)
	}
}

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
				handler := guarded(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Store(true) }), slog.New(slog.DiscardHandler))
				l := newListener(n.ListenTCP(exchangeAddr), nil, room{total: 10}, handler, slog.New(slog.DiscardHandler))
				ended := make(chan error)
				go func() { ended <- l.serve() }()
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
		"Content-Length alone":           {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx=y", 2},
		"no body":                        {"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 2},
		"both":                           {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1},
		"both, the other way round":      {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 1},
		"Transfer-Encoding in HTTP/1.0":  {"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n", 1},
		"both in HTTP/1.0":               {"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nx=y", 1},
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
