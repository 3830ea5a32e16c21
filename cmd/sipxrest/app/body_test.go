package app

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/dialout"
	"sipxrest/sipflow/siptest"
)

// everything is a service that has every resource, on all kinds of listeners:
// TLS, plain, for trusted peers only (nobody is), and for metrics.
func everything(t *testing.T) (*service, *siptest.Phone) {
	cfg, _, _ := withPhone(t)
	p, addr := apptest.Phone(t, siptest.Script{NeverAnswer: true})
	cfg.SIP.OutboundProxy = []string{"sip:" + addr}
	cfg.Trusted = nil
	cfg.HTTP = []config.HTTPListener{
		{Listen: "127.0.0.1:0", TLS: &config.TLS{}, Auth: "trusted-or-pin"},
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
	{"POST", apptest.CallPath, []string{"authorization", basic}, 200},
	{"GET", apptest.CallPath, []string{"authorization", basic}, 200},
	{"DELETE", "/callcontroller/201/299", []string{"authorization", basic}, 404},
	{"PUT", apptest.CallPath, []string{"authorization", basic}, 405},
	{"POST", apptest.CallPath + "?timeout=x", []string{"authorization", basic}, 400},
	{"POST", apptest.CallPath + "?sipMethod=x", []string{"authorization", basic}, 406},
	{"POST", apptest.CallPath, nil, 401},
	{"POST", apptest.CallPath, []string{"origin", "https://elsewhere.example"}, 403},
	{"POST", apptest.CallPath, []string{"host", "elsewhere.example", "sec-fetch-mode", "cors"}, 421},
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
			c.T = t
			fields := append([]string{"content-length", "3"}, r.fields...)
			open := c.Begin(r.method, r.path, true, fields...)
			for range 20 { // while others are answered
				c.Await(c.Begin("GET", "/", false))
			}
			if a := c.Answer(open); a.Ended || a.Reset != "" {
				t.Errorf("before the body: %+v", a)
			}
			c.End(open, "x=y")
			a := c.Await(open)
			c.Settle()
			if a.Status != r.status || a.Reset != "" {
				t.Errorf("%+v, want %d", a, r.status)
			}
		})
	}
	c := s.http2()
	open := c.Begin("POST", apptest.CallPath, true, "content-length", "0", "authorization", basic)
	for range 20 {
		c.Await(c.Begin("GET", "/", false))
	}
	c.End(open, "")
	if a := c.Await(open); a.Status != 200 || a.Reset != "" {
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
			status, in := converse(t, conn, r.method+" "+r.path+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"+rest+
				"\r\n")
			if waited := time.Since(began); waited >= 2*time.Second {
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
	if status, _ := converse(t, conn, "POST "+apptest.CallPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: "+
		"100-continue\r\n\r\n"); status != 413 {
		t.Errorf("a long body that is held back: %d", status)
	}
	if status, _ := converse(t, dial(t, s.MetricsURL()), "POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nExpect: "+
		"100-continue\r\n\r\n"); status != 100 {
		t.Errorf("by the listener for metrics: %d", status)
	}
	// Over HTTP/2 the 100 is HEADERS before those of the answer.
	c := s.http2()
	calls := invites(p)
	open := c.Begin("POST", "/callcontroller/201/203", true, "content-length", "3", "authorization", basic, "expect", "100-continue")
	for c.Answer(open).Status == 0 {
		if !c.Read(time.Second) {
			t.Fatal("over HTTP/2 nothing comes")
		}
	}
	if a := c.Answer(open); a.Status != 100 || invites(p) != calls {
		t.Errorf("over HTTP/2: %+v, %d INVITEs before, %d then", a, calls, invites(p))
	}
	c.End(open, "x=y")
	if a := c.Await(open); a.Status != 200 || a.Reset != "" {
		t.Errorf("over HTTP/2 then: %+v", a)
	}
}

// A client that gives its request up over HTTP/2 before it is complete calls
// nobody.
func TestARequestThatIsGivenUpIsNoCall(t *testing.T) {
	s, p := everything(t)
	c := s.http2()
	c.Must(c.Framer.WriteRSTStream(c.Begin("POST", apptest.CallPath, true, "content-length", "3", "authorization", basic),
		http2.ErrCodeCancel))
	if a := c.Await(c.Begin("POST", "/callcontroller/201/203", false, "authorization", basic)); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	if err := p.Wait(t.Context(), func() bool { return invites(p) > 0 }); err != nil {
		t.Fatal(err)
	}
	if a := c.Await(c.Begin("GET", apptest.CallPath, false, "authorization", basic)); strings.Contains(a.Body, "<status>") {
		t.Errorf("it is: %+v", a)
	}
	if a := c.Await(c.Begin("DELETE", apptest.CallPath, false, "authorization", basic)); a.Status != 404 {
		t.Errorf("it can be hung up: %+v", a)
	}
}
