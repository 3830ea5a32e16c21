package app

import (
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

func TestTheSelfSignedCertificateIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, made, err := openCertificate(TLS{}, dir, []string{"pbx.example", "192.0.2.1"})
	if err != nil || !made {
		t.Fatalf("made %v, error %v", made, err)
	}
	leaf := first.leaf()
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
	again, made, err := openCertificate(TLS{}, dir, nil)
	if err != nil || made || again.fingerprint() != first.fingerprint() {
		t.Errorf("the second start made another certificate (made %v, error %v)", made, err)
	}
	if got := len(first.fingerprint()); got != 32*3-1 {
		t.Errorf("fingerprint %q", first.fingerprint())
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

func TestADataDirThatCannotBeWrittenToIsNamed(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	for name, dir := range map[string]func(cfg *Config) string{
		"is a file":    func(cfg *Config) string { return cfg.Users[0] },
		"below a file": func(cfg *Config) string { return filepath.Join(cfg.Users[0], "data") },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, addr)
			cfg.DataDir = dir(&cfg)
			a, err := New(cfg, slog.New(slog.DiscardHandler))
			if err == nil {
				a.Close()
				t.Fatal("it starts")
			}
			for _, want := range []string{"data-dir", cfg.DataDir, "http: listener 1"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %s", err, want)
				}
			}
		})
	}
}

func TestABrokenSelfSignedCertificateIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "self-signed.crt", "x")
	write(t, dir, "self-signed.key", "x")
	_, _, err := openCertificate(TLS{}, dir, nil)
	if err == nil || !strings.Contains(err.Error(), "remove") {
		t.Errorf("error %v", err)
	}
}

func TestABrokenNewCertificateLeavesTheOldOne(t *testing.T) {
	dir := t.TempDir()
	c, _, err := openCertificate(TLS{}, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	was := c.fingerprint()
	write(t, dir, "self-signed.crt", "x")
	if err := c.reload(); err == nil || !strings.Contains(err.Error(), "self-signed.crt") {
		t.Errorf("error %v", err)
	}
	if c.fingerprint() != was {
		t.Error("the certificate changed")
	}
}

func TestAFaultyKernelLimitIsExplained(t *testing.T) {
	dir := t.TempDir()
	if got := receiveBufferWarning(write(t, dir, "small", "212992\n")); !strings.Contains(got, "sysctl -w net.core.rmem_max=4194304") {
		t.Errorf("got %q", got)
	}
	for _, name := range []string{write(t, dir, "large", "4194304\n"), write(t, dir, "odd", "?"), filepath.Join(dir, "missing")} {
		if got := receiveBufferWarning(name); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
