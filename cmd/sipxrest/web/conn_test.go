package web

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Handlers see the TLS of a request, whichever HTTP is spoken over it, and find
// the kernel's connection beneath.
func TestRequestsKnowTheirTLS(t *testing.T) {
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
		seen[r.Proto] = r.TLS != nil && r.TLS.HandshakeComplete && kernel
	})
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	l := NewListener(mustListen(t), &tls.Config{Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12}, Room{Total: 10}, h, slog.New(slog.DiscardHandler))
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
	if !seen["HTTP/1.1"] || !seen["HTTP/2.0"] {
		t.Errorf("%v", seen)
	}
}
