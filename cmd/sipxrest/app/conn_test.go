package app

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
)

// Every TLS listener speaks what the client offers: HTTP/2, 1.1, or 1.0 alone, as
// very old clients do, or nothing.
func TestClientsAreAnsweredByTheProtocolThatTheyOffer(t *testing.T) {
	cfg, _, _ := withPhone(t)
	cfg.Phone.Listen = "127.0.0.1:0"
	cfg.HTTP = append(cfg.HTTP, config.HTTPListener{Listen: "127.0.0.1:0", TLS: &config.TLS{MinVersion: "1.0"}, Auth: "pin"})
	s := start(t, cfg)
	secure := 0
	for _, url := range s.Addrs() {
		if !strings.HasPrefix(url, "https://") {
			continue
		}
		secure++
		for offer, want := range map[string]string{"http/1.0": "http/1.0", "http/1.1": "http/1.1", "h2,http/1.1": "h2",
			"http/1.0,http/1.1": "http/1.1", "": ""} {
			var offers []string
			if offer != "" {
				offers = strings.Split(offer, ",")
			}
			if want == "h2" && secure == 2 { // may be asked by TLS 1.0, which has no HTTP/2
				want = "http/1.1"
			}
			conn := dial(t, url, offers...).(*tls.Conn)
			if err := conn.HandshakeContext(t.Context()); err != nil {
				t.Errorf("%s, offering %q: %v", url, offer, err)
				continue
			}
			if got := conn.ConnectionState().NegotiatedProtocol; got != want {
				t.Errorf("%s, offering %q: %q is spoken, want %q", url, offer, got, want)
			}
			if want == "h2" {
				continue
			}
			if status, _ := converse(t, conn, "GET /nowhere HTTP/1.0\r\n\r\n"); status != 404 {
				t.Errorf("%s, offering %q: %d", url, offer, status)
			}
		}
	}
	if secure != 3 {
		t.Errorf("%d listeners have TLS", secure)
	}
}

// What net/http refuses before any handler is told in a sentence, and the client
// can read it though it has more to say.
func TestMalformedRequestsAreToldWhatIsWrong(t *testing.T) {
	s := startPlain(t)
	body := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		says   string
		status string
		text   string
	}{
		{"POST " + apptest.CallPath + "%u20AC HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n" + body, "400 Bad Request",
			"% must be followed by two hexadecimal digits"},
		{"GET /%zz HTTP/1.0\r\n\r\n", "400 Bad Request", "% must be followed by two hexadecimal digits"},
		{"POST / HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n" + body, "400 Bad Request", "missing required Host header"},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\nContent-Length: 1\r\n\r\n" + body, "400 Bad Request",
			"The request is malformed"},
		{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n" + body, "501 Not Implemented", "only chunked is"},
		{"GET / HTTP/1.1\r\nHost: x\r\nX: " + body + "\r\n\r\n", "431 Request Header Fields Too Large", "more than 16384 bytes"},
		{"GET / HTTP/3.0\r\nHost: x\r\n\r\n", "505 HTTP Version Not Supported", "unsupported protocol version"},
		{"POST / HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\nContent-Length: 1048576\r\n\r\n" + body, "417 Expectation Failed", ""},
	} {
		for _, url := range s.Addrs()[:2] {
			conn := dial(t, url)
			go func() { _, _ = io.WriteString(conn, c.says) }()
			answer, err := io.ReadAll(conn)
			if status, _, _ := strings.Cut(strings.TrimPrefix(string(answer), "HTTP/1.1 "), "\r\n"); !strings.HasPrefix(status, c.status) ||
				!strings.Contains(string(answer), c.text) || err != nil {
				t.Errorf("%s, %.60q: %q, %v", url, c.says, answer, err)
			}
		}
	}
}

// Who forgets the s of https is told so, before a long body is over, too.
func TestHTTPAtAnHTTPSListenerIsToldSo(t *testing.T) {
	s := startPlain(t)
	for _, body := range []string{"", strings.Repeat("x", 1<<20)} {
		resp, err := s.client.Post(strings.Replace(s.Addrs()[0], "https://", "http://", 1)+apptest.CallPath, "text/plain",
			strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 400 || !strings.Contains(string(text), "write https://") || err != nil {
			t.Errorf("%s %q, %v", resp.Status, text, err)
		}
	}
}
