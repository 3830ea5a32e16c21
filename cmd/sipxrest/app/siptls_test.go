package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/sipflow/siptest"
)

func TestAFaultyFileOfAuthoritiesIsExplained(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"":  "holds no certificate in PEM form",
		"x": "holds no certificate in PEM form",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})): "certificate 1: x509:",
	} {
		if _, err := web.ReadAuthorities(apptest.Write(t, dir, "ca.pem", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
	if _, err := web.ReadAuthorities(filepath.Join(dir, "none.pem")); err == nil {
		t.Error("a missing file is no fault")
	}
}

// A renewed certificate needs no signal: its files are watched.
func TestRenewedCertificatesAreReadAndPresented(t *testing.T) {
	dir := t.TempDir()
	renew := func() *x509.Certificate {
		certPEM, keyPEM, err := web.MakeSelfSigned([]string{"localhost"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		apptest.Write(t, dir, "sip.key", string(keyPEM))
		apptest.Write(t, dir, "sip.crt", string(certPEM))
		block, _ := pem.Decode(certPEM)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	renew()
	_, proxy := apptest.Phone(t, siptest.Script{})
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
	s.log.WaitFor(t, "certificates reloaded")
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.ConnectionState().PeerCertificates[0].Equal(want) {
		t.Error("the old certificate is presented")
	}
}
