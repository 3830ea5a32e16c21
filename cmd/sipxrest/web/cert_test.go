package web

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
)

func TestTheSelfSignedCertificateIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, made, err := OpenCertificate(config.TLS{}, dir, []string{"pbx.example", "192.0.2.1"})
	if err != nil || !made {
		t.Fatalf("made %v, error %v", made, err)
	}
	leaf := first.Leaf()
	if err := leaf.VerifyHostname("pbx.example"); err != nil {
		t.Error(err)
	}
	if err := leaf.VerifyHostname("192.0.2.1"); err != nil {
		t.Error(err)
	}
	if leaf.PublicKeyAlgorithm != x509.ECDSA || time.Until(leaf.NotAfter) < 9*365*24*time.Hour {
		t.Errorf("%v until %v", leaf.PublicKeyAlgorithm, leaf.NotAfter)
	}
	info, err := os.Stat(filepath.Join(dir, "self-signed.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: mode %v, error %v", info.Mode(), err)
	}
	again, made, err := OpenCertificate(config.TLS{}, dir, nil)
	if err != nil || made || again.Fingerprint() != first.Fingerprint() {
		t.Errorf("the second start made another certificate (made %v, error %v)", made, err)
	}
	if got := len(first.Fingerprint()); got != 32*3-1 {
		t.Errorf("fingerprint %q", first.Fingerprint())
	}
}

func TestTheSelfSignedCertificateIsRenewedBeforeItExpires(t *testing.T) {
	dir := t.TempDir()
	if _, _, made, err := selfSigned(dir, nil, time.Now()); err != nil || !made {
		t.Fatal(made, err)
	}
	if _, _, made, err := selfSigned(dir, nil, time.Now().Add(selfSignedLife-24*time.Hour)); err != nil || !made {
		t.Errorf("made %v, error %v", made, err)
	}
}

func TestABrokenSelfSignedCertificateIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "self-signed.crt", "x")
	apptest.Write(t, dir, "self-signed.key", "x")
	_, _, err := OpenCertificate(config.TLS{}, dir, nil)
	if err == nil || !strings.Contains(err.Error(), "remove") {
		t.Errorf("error %v", err)
	}
}

func TestABrokenNewCertificateLeavesTheOldOne(t *testing.T) {
	dir := t.TempDir()
	c, _, err := OpenCertificate(config.TLS{}, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	was := c.Fingerprint()
	apptest.Write(t, dir, "self-signed.crt", "x")
	if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "self-signed.crt") {
		t.Errorf("error %v", err)
	}
	if c.Fingerprint() != was {
		t.Error("the certificate changed")
	}
}
