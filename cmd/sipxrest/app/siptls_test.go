package app

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// tlsProxy is a SIP server that answers every request with 200, over TLS with
// a self-signed certificate for names.
func tlsProxy(t *testing.T, names []string, made time.Time) (port string, certPEM []byte) {
	t.Helper()
	certPEM, keyPEM, err := makeSelfSigned(names, made)
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

func TestCheckAsksProxiesByTLS(t *testing.T) {
	for name, c := range map[string]struct {
		names []string
		made  time.Time
		known bool
		more  string
		wants string
		fails bool
	}{
		"good":        {names: []string{"localhost"}, known: true, wants: "answers OPTIONS with 200 OK"},
		"lab":         {names: []string{"a.test"}, more: ", verify: false", wants: "answers OPTIONS with 200 OK"},
		"wrong name":  {names: []string{"a.test"}, known: true, fails: true, wants: `the certificate is for a.test, not for "localhost"`},
		"expired":     {names: []string{"localhost"}, made: time.Now().Add(-selfSignedLife - 48*time.Hour), known: true, fails: true, wants: "has expired on"},
		"self-signed": {names: []string{"localhost"}, fails: true, wants: "is self-signed: put it into sip.tls.ca"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.made.IsZero() {
				c.made = time.Now()
			}
			port, certPEM := tlsProxy(t, c.names, c.made)
			if !c.known {
				certPEM, _, _ = makeSelfSigned(nil, time.Now())
			}
			dir := t.TempDir()
			write(t, dir, "users.yaml", usersYAML)
			write(t, dir, "ca.pem", string(certPEM))
			file := write(t, dir, "sipxrest.yaml", minimal+fmt.Sprintf(`
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

func TestAFaultyFileOfAuthoritiesIsExplained(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"":  "holds no certificate in PEM form",
		"x": "holds no certificate in PEM form",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})): "certificate 1: x509:",
	} {
		r := &authorities{file: write(t, dir, "ca.pem", text)}
		if err := r.reload(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
	if err := (&authorities{file: filepath.Join(dir, "none.pem")}).reload(); err == nil {
		t.Error("a missing file is no fault")
	}
}

// A renewed certificate needs no signal: its files are watched.
func TestRenewedCertificatesAreReadAndPresented(t *testing.T) {
	dir := t.TempDir()
	renew := func() *x509.Certificate {
		certPEM, keyPEM, err := makeSelfSigned([]string{"localhost"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, "sip.key", string(keyPEM))
		write(t, dir, "sip.crt", string(certPEM))
		block, _ := pem.Decode(certPEM)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	renew()
	_, proxy := phone(t, siptest.Script{})
	cfg := testConfig(t, proxy)
	cfg.SIP.Listen = append(cfg.SIP.Listen, "tls:127.0.0.1:0")
	cfg.SIP.TLS.Cert, cfg.SIP.TLS.Key = filepath.Join(dir, "sip.crt"), filepath.Join(dir, "sip.key")
	s := start(t, cfg)
	addr := ""
	for _, a := range s.Addrs() {
		if rest, ok := strings.CutPrefix(a, "tls:"); ok {
			addr = rest
		}
	}
	want := renew()
	s.log.waitFor(t, "certificates reloaded")
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.ConnectionState().PeerCertificates[0].Equal(want) {
		t.Error("the old certificate is presented")
	}
}
