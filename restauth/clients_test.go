package restauth

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

// server is a real server for the bytes of real clients, who are strangers
// to it.
type server struct {
	*httptest.Server
	*harness
}

func serve(t *testing.T, policy Policy, useTLS bool, cfg Config) *server {
	t.Helper()
	g := newGate(t, cfg)
	s := &server{httptest.NewUnstartedServer(g.on(policy, useTLS)), g}
	s.Config.ErrorLog = nil
	if useTLS {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// conn is one connection of a client.
type conn struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func (s *server) dial(t *testing.T) *conn {
	t.Helper()
	addr := s.Listener.Addr().String()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if s.TLS != nil {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // as curl -k
	}
	t.Cleanup(func() { c.Close() })
	return &conn{t, c, bufio.NewReader(c)}
}

// send sends text, in which the lines end with LF, and reads the response.
func (c *conn) send(text string) *http.Response {
	c.t.Helper()
	if _, err := io.WriteString(c, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		c.t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	res, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(data))
	return res
}

// unasked is what a client is told that gives no credentials.
func unasked(c *conn) string {
	if _, encrypted := c.Conn.(*tls.Conn); encrypted {
		return bodyNoneTLS
	}
	return bodyNone
}

const clientURI = "/callcontroller/201/202?timeout=30&subject=a%20b"

func TestCurlBasicOverTLS(t *testing.T) {
	c := serve(t, TrustedOrPIN, true, Config{}).dial(t)
	wantBody(t, c.send("POST "+clientURI+` HTTP/1.1
Host: 127.0.0.1:6666
Authorization: Basic MjAxOjEyMw==
User-Agent: curl/7.88.1
Accept: */*

`), 200, "hello 201")
	// -d '' gives an empty form
	wantBody(t, c.send("POST "+clientURI+` HTTP/1.1
Host: 127.0.0.1:6666
Authorization: Basic MjAxOjEyMw==
User-Agent: curl/7.88.1
Accept: */*
Content-Length: 0
Content-Type: application/x-www-form-urlencoded

`), 200, "hello 201")
}

func TestPreemptiveBasicWithOneByteBody(t *testing.T) {
	c := serve(t, TrustedOrPIN, true, Config{}).dial(t)
	for range 2 {
		wantBody(t, c.send("POST "+clientURI+` HTTP/1.1
Host: 127.0.0.1:6666
Authorization: Basic MjAxOjEyMw==
Content-Type: application/x-www-form-urlencoded
User-Agent: Java/1.6.0_20
Connection: keep-alive
Content-Length: 1

x`), 200, "hello 201")
	}
}

func TestCurlDigest(t *testing.T) {
	for _, useTLS := range []bool{false, true} {
		c := serve(t, PIN, useTLS, Config{}).dial(t)
		for _, body := range []string{"", "Content-Length: 0\nContent-Type: application/x-www-form-urlencoded\n"} {
			res := c.send("POST " + clientURI + ` HTTP/1.1
Host: 127.0.0.1:6667
User-Agent: curl/7.88.1
Accept: */*
` + body + "\n")
			wantBody(t, res, 401, unasked(c))
			d := proof{user: "201", pin: "123", realm: testDomain, nonce: nonceOf(t, res), method: "POST", uri: clientURI,
				nc: "00000001", cnonce: "YmU3Yzg0ZmEwMTg4ZDU1N2JiODlhZGJkZmM3MGNmMTU=", qop: "auth"}
			wantBody(t, c.send("POST "+clientURI+` HTTP/1.1
Host: 127.0.0.1:6667
Authorization: Digest username="201", realm="sipx.test", nonce="`+d.nonce+`", uri="`+clientURI+`", cnonce="`+d.cnonce+
				`", nc=00000001, qop=auth, response="`+d.response()+`", algorithm=MD5
User-Agent: curl/7.88.1
Accept: */*
`+body+"\n"), 200, "hello 201")
		}
	}
}

// curl --anyauth sends its body at first too, and takes Digest although
// Basic is offered.
func TestCurlAnyauth(t *testing.T) {
	c := serve(t, TrustedOrPIN, true, Config{}).dial(t)
	head := "POST " + clientURI + ` HTTP/1.1
Host: 127.0.0.1:6666
`
	tail := `User-Agent: curl/7.88.1
Accept: */*
Content-Length: 3
Content-Type: application/x-www-form-urlencoded

a=b`
	res := c.send(head + tail)
	wantBody(t, res, 401, unasked(c))
	d := proof{user: "201", pin: "123", realm: testDomain, nonce: nonceOf(t, res), method: "POST", uri: clientURI,
		nc: "00000001", cnonce: "OTU5M2Rh", qop: "auth"}
	wantBody(t, c.send(head+`Authorization: Digest username="201", realm="sipx.test", nonce="`+d.nonce+`", uri="`+clientURI+
		`", cnonce="OTU5M2Rh", nc=00000001, qop=auth, response="`+d.response()+`", algorithm=MD5
`+tail), 200, "hello 201")
}

// Java's HttpURLConnection keeps the nonce and counts nc up without asking
// again; nc stands before uri and without quotes.
func TestJavaHttpURLConnection(t *testing.T) {
	for _, useTLS := range []bool{false, true} {
		c := serve(t, TrustedOrPIN, useTLS, Config{}).dial(t)
		tail := `Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2
Connection: keep-alive
Content-Length: 1
Content-Type: application/x-www-form-urlencoded
User-Agent: Java/1.8.0_292

x`
		head := "POST " + clientURI + " HTTP/1.1\nHost: 127.0.0.1:6667\n"
		res := c.send(head + tail)
		wantBody(t, res, 401, unasked(c))
		nonce := nonceOf(t, res)
		for _, nc := range []string{"00000001", "00000002", "00000003"} {
			for _, qop := range []string{"auth", `"auth"`} {
				if nc == "00000002" != (qop != "auth") {
					continue
				}
				d := proof{user: "201", pin: "123", realm: testDomain, nonce: nonce, method: "POST", uri: clientURI,
					nc: nc, cnonce: "NBDGDPJDKLMDLJGEPBNEPAGJJDILODHOKLDGDGCO", qop: "auth"}
				wantBody(t, c.send(head+`Authorization: Digest username="201", realm="sipx.test", nonce="`+nonce+`", nc=`+nc+
					`, uri="`+clientURI+`", response="`+d.response()+`", algorithm=MD5, cnonce="`+d.cnonce+`", qop=`+qop+"\n"+tail), 200, "hello 201")
			}
		}
	}
}

// What RFC 2069 says: no qop, no cnonce, a new challenge for each request.
func TestClientOfRFC2069(t *testing.T) {
	c := serve(t, PIN, false, Config{}).dial(t)
	nonce := nonceOf(t, c.send("GET "+clientURI+" HTTP/1.0\nConnection: keep-alive\n\n"))
	send := func() *http.Response {
		d := proof{user: "201", pin: "123", realm: testDomain, nonce: nonce, method: "GET", uri: clientURI}
		return c.send("GET " + clientURI + " HTTP/1.0\nConnection: keep-alive\n" +
			`Authorization: Digest username="201", realm="sipx.test", nonce="` + nonce + `", uri="` + clientURI + `", response="` + d.response() +
			"\"\n\n")
	}
	wantBody(t, send(), 200, "hello 201")
	res := send()
	wantBody(t, res, 401, bodyStale)
	if !strings.Contains(res.Header.Get("WWW-Authenticate"), "stale=true") {
		t.Fatal("not stale=true: the client would ask its user")
	}
	nonce = nonceOf(t, res)
	wantBody(t, send(), 200, "hello 201")
}

// A portal's page calls by XMLHttpRequest with open(…, user, password).
func TestXMLHttpRequestOfAnAllowedPage(t *testing.T) {
	c := serve(t, TrustedOrPIN, true, Config{AllowedOrigins: []string{"https://portal.sipx.test"}}).dial(t)
	res := c.send("OPTIONS " + clientURI + ` HTTP/1.1
Host: pbx.sipx.test:6666
Accept: */*
Access-Control-Request-Method: POST
Access-Control-Request-Headers: authorization
Origin: https://portal.sipx.test
Sec-Fetch-Mode: cors
Sec-Fetch-Site: same-site
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0

`)
	wantStatus(t, res, 204)
	head := "POST " + clientURI + ` HTTP/1.1
Host: pbx.sipx.test:6666
`
	tail := `User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0
Accept: */*
Origin: https://portal.sipx.test
Content-Length: 0
Sec-Fetch-Mode: cors
Sec-Fetch-Site: same-site

`
	res = c.send(head + tail)
	wantStatus(t, res, 401)
	for _, r := range []*http.Response{res, c.send(head + "Authorization: Basic MjAxOjEyMw==\n" + tail)} {
		if r.Header.Get("Access-Control-Allow-Origin") != "https://portal.sipx.test" ||
			r.Header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("the page may not read the %d: %v", r.StatusCode, r.Header)
		}
	}
	d := proof{user: "201", pin: "123", realm: testDomain, nonce: nonceOf(t, res), method: "POST", uri: clientURI, nc: "00000001",
		cnonce: "5b1a", qop: "auth"}
	wantBody(t, c.send(head+"Authorization: "+d.String()+"\n"+tail), 200, "hello 201")

	foreign := strings.ReplaceAll(tail, "portal.sipx.test", "evil.example")
	wantStatus(t, c.send(head+"Authorization: Basic MjAxOjEyMw==\n"+foreign), 403)
}

// The original took this for a request on its internal port.
func TestHostHeaderOnTheWire(t *testing.T) {
	c := serve(t, TrustedOrPIN, true, Config{}).dial(t)
	for _, host := range []string{"x:6667", "127.0.0.1:6668", "localhost"} {
		wantStatus(t, c.send("POST /x HTTP/1.1\nHost: "+host+"\n\n"), 401)
		wantStatus(t, c.send("POST http://"+host+"/x HTTP/1.1\nHost: "+host+"\n\n"), 401)
	}
}

func TestRealCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed (make setup does it); the other tests here replay its bytes")
	}
	for _, useTLS := range []bool{false, true} {
		for _, yaml := range []string{testUsers, clearUsers} { // without and with SHA-256
			g := newGate(t, Config{}, withUsers(yaml))
			s := httptest.NewUnstartedServer(g.on(PIN, useTLS))
			if useTLS {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			for _, args := range [][]string{{"--digest", "-X", "POST"}, {"--digest", "-d", ""}, {"--anyauth", "-d", "x"}, {"--digest"}, {"-d", ""}} {
				if args[0] == "-d" && !useTLS {
					continue // Basic
				}
				args = append(args, "-sk", "-u", "201:123", s.URL+clientURI)
				out, err := exec.Command(curl, args...).CombinedOutput()
				if err != nil || string(out) != "hello 201" {
					t.Errorf("curl %q: %q, %v", args, out, err)
				}
			}
		}
	}
}
