package web

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Handlers see the TLS of a request, whichever HTTP is spoken over it, and find
// the kernel's connection beneath.
func TestRequestsKnowTheirTLS(t *testing.T) {
	var mu sync.Mutex // the system calls of a connection order nothing for the race detector
	seen := map[string]bool{}
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var conn net.Conn = connOf(r)
		for {
			below, ok := conn.(interface{ NetConn() net.Conn })
			if !ok {
				break
			}
			conn = below.NetConn()
		}
		_, kernel := conn.(interface{ SetWriteBuffer(int) error })
		mu.Lock()
		defer mu.Unlock()
		seen[r.Proto] = r.TLS != nil && r.TLS.HandshakeComplete && kernel
	})
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	l := NewListener(mustListen(t), &tls.Config{Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12}, Room{Total: 10}, h,
		slog.New(slog.DiscardHandler))
	ended := make(chan error)
	go func() { ended <- l.Serve() }()
	for _, http2 := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		resp, err := client.Get(l.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		client.CloseIdleConnections()
	}
	l.server.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !seen["HTTP/1.1"] || !seen["HTTP/2.0"] {
		t.Errorf("%v", seen)
	}
}

// HTTP/2 over TLS is for clients that have agreed on it by ALPN (RFC 9113 §3.2):
// others are told so, and cannot pass by what is watched of HTTP/2.
func TestHTTP2ThatTLSHasNotAgreedOnIsRefused(t *testing.T) {
	cert := certified(t)
	for name, c := range map[string]struct {
		offers []string
		piece  int // bytes at a time
		says   string
		want   string // how the answer begins
	}{
		"agreed on HTTP/1.1":        {[]string{"http/1.1"}, 1000, http2Preface, "HTTP/1.1 505 "},
		"agreed on HTTP/1.0":        {[]string{"http/1.0"}, 1000, http2Preface, "HTTP/1.1 505 "},
		"agreed on nothing":         {nil, 1000, http2Preface, "HTTP/1.1 505 "},
		"in pieces":                 {nil, 5, http2Preface, "HTTP/1.1 505 "},
		"byte by byte":              {nil, 1, http2Preface, "HTTP/1.1 505 "},
		"a request that is none":    {nil, 1, "PRI * HTTP/2.1\r\n\r\n", "HTTP/1.1 505 "},
		"a request that is like it": {nil, 1, "PRI * HTTP/1.0\r\n\r\n", "HTTP/1.0 200 "},
		"HTTP/2 after HTTP/1.1":     {nil, 1000, "GET / HTTP/1.1\r\nHost: x\r\n\r\n" + http2Preface, "HTTP/1.1 200 "},
	} {
		t.Run(name, func(t *testing.T) {
			major := 0
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if major = r.ProtoMajor; r.Method == "PRI" {
					major = 1 // net/http hands it over as a request of HTTP/1
				}
			})
			serving(t, cert, Room{Total: 1}, handler, func(x *exchange) {
				client := tls.Client(x.dial("10.0.0.2"), &tls.Config{InsecureSkipVerify: true, NextProtos: c.offers})
				if err := client.Handshake(); err != nil {
					x.t.Fatal(err)
				}
				go func() {
					for rest := c.says; rest != ""; rest = rest[min(c.piece, len(rest)):] {
						_, _ = io.WriteString(client, rest[:min(c.piece, len(rest))])
					}
				}()
				answer, _ := io.ReadAll(client)
				if !strings.HasPrefix(string(answer), c.want) || major == 2 {
					t.Errorf("HTTP/%d is spoken, the answer is %q", major, answer)
				}
			})
		})
	}
}
