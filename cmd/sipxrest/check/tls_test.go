package check

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/sipflow/wire"
)

func TestCheckAsksProxiesByTLS(t *testing.T) {
	for name, c := range map[string]struct {
		names []string
		made  time.Time
		known bool
		more  string
		wants string
		fails bool
	}{
		"good":       {names: []string{"localhost"}, known: true, wants: "answers OPTIONS with 200 OK"},
		"lab":        {names: []string{"a.test"}, more: ", verify: false", wants: "answers OPTIONS with 200 OK"},
		"wrong name": {names: []string{"a.test"}, known: true, fails: true, wants: `the certificate is for a.test, not for "localhost"`},
		"expired": {names: []string{"localhost"}, made: time.Now().Add(-10*365*24*time.Hour - 48*time.Hour), known: true, fails: true,
			wants: "has expired on"},
		"self-signed": {names: []string{"localhost"}, fails: true, wants: "is self-signed: put it into sip.tls.ca"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.made.IsZero() {
				c.made = time.Now()
			}
			port, certPEM := tlsProxy(t, c.names, c.made)
			if !c.known {
				certPEM, _, _ = web.MakeSelfSigned(nil, time.Now())
			}
			dir := t.TempDir()
			apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
			apptest.Write(t, dir, "ca.pem", string(certPEM))
			file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
data-dir: data
sip: {listen: [udp:127.0.0.1:0, tls:127.0.0.1:0], outbound-proxy: ["sips:localhost:%s"], tls: {ca: ca.pem%s}}
trusted: [10.0.0.0/8]
`, port, c.more))
			ok, out := checked(t, file)
			wants(t, out, c.wants, "ok SIP TLS: a self-signed certificate will be made in")
			if ok == c.fails {
				t.Errorf("no problem: %v\n%s", ok, out)
			}
			if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
				t.Error("check made the data directory")
			}
		})
	}
}

// tlsProxy is a SIP server that answers every request with 200, over TLS with
// a self-signed certificate for names.
func tlsProxy(t *testing.T, names []string, made time.Time) (port string, certPEM []byte) {
	t.Helper()
	certPEM, keyPEM, err := web.MakeSelfSigned(names, made)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			for {
				m, err := wire.ReadMessage(r, func() error { return nil })
				if err != nil {
					break
				}
				c.Write(wire.AppendReply(nil, m, c.RemoteAddr().(*net.TCPAddr).AddrPort(), wire.Reply{Code: 200, ToTag: "x"}))
			}
			c.Close()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, certPEM
}
