package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/internal/watch"
	"sipxrest/resolve"
	"sipxrest/sipflow"
)

// SIPTLS is the section "sip.tls".
type SIPTLS struct {
	// Cert and Key are PEM files. Empty: a self-signed certificate that is made
	// once and kept in the data directory.
	Cert, Key string
	// CA is a PEM file of the authorities that servers and clients are verified
	// with. Empty: those of the system.
	CA string
	// ClientAuth says whether who connects must show a certificate: "none",
	// "request" or "require". One that is shown is verified.
	ClientAuth string
	// Verify is false for labs only: every certificate is taken.
	Verify bool
	// MinVersion is the oldest TLS version spoken, "1.0" to "1.3". Empty: "1.2".
	MinVersion string
}

var clientAuth = map[string]tls.ClientAuthType{
	"none": tls.NoClientCert, "request": tls.RequestClientCert, "require": tls.RequireAnyClientCert,
}

// sipTransports are what sip.listen may begin with.
var sipTransports = []string{"udp", "tcp", "tls", "ws", "wss"}

// encryptedSIP says whether the service has a SIP socket with TLS.
func encryptedSIP(cfg *Config) bool {
	return slices.ContainsFunc(sipListen(cfg), func(l string) bool {
		return strings.HasPrefix(l, "tls:") || strings.HasPrefix(l, "wss:")
	})
}

// listensFor says whether a SIP socket can be had for a proxy's URI: peers must
// be able to connect to us, too.
func listensFor(cfg *Config, t resolve.Target) (transport string, ok bool) {
	transport = t.Transport
	switch {
	case t.Secure && (transport == "ws" || transport == "wss"):
		transport = "wss"
	case t.Secure:
		transport = "tls"
	}
	if transport == "" {
		return "", true
	}
	return transport, slices.ContainsFunc(sipListen(cfg), func(l string) bool { return strings.HasPrefix(l, transport+":") })
}

// sipTLS checks the section.
func (v *checks) sipTLS() {
	t := &v.c.SIP.TLS
	if (t.Cert == "") != (t.Key == "") {
		v.check("sip.tls.cert", errors.New("write both sip.tls.cert and sip.tls.key, or neither for a self-signed certificate"))
	}
	v.word("sip.tls.client-auth", t.ClientAuth, "none", "request", "require")
	if _, ok := tlsVersions[t.MinVersion]; !ok {
		v.check("sip.tls.min-version", fmt.Errorf(`%q is unknown: write "1.2" or "1.3"`, t.MinVersion))
	}
	if p := v.c.SIP.WSPath; !strings.HasPrefix(p, "/") || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
		v.check("sip.ws-path", fmt.Errorf("%q: write the path of the servers' URL, such as / or /ws", p))
	}
}

// newSIPTLS says how SIP connections are secured. cert is ours, which may be
// nil where no socket has TLS, and roots the authorities.
func newSIPTLS(cfg *Config, cert *certificate, roots *authorities) sipflow.TLS {
	t := sipflow.TLS{
		Authorities: roots.pool,
		ClientAuth:  clientAuth[cfg.SIP.TLS.ClientAuth],
		Unverified:  !cfg.SIP.TLS.Verify,
		MinVersion:  tlsVersions[cfg.SIP.TLS.MinVersion],
	}
	if cert != nil {
		t.Certificate = cert.current.Load
	}
	return t
}

// openSIPTLS reads what SIP over TLS needs.
func (a *App) openSIPTLS() (sipflow.TLS, error) {
	a.roots = &authorities{file: a.cfg.SIP.TLS.CA}
	if err := a.roots.reload(); err != nil {
		return sipflow.TLS{}, a.cfg.at("sip.tls.ca", fmt.Errorf("sip.tls.ca: %w", err))
	}
	var cert *certificate
	if encryptedSIP(&a.cfg) {
		var err error
		if cert, err = a.certificateFor(TLS{Cert: a.cfg.SIP.TLS.Cert, Key: a.cfg.SIP.TLS.Key}); err != nil {
			return sipflow.TLS{}, a.cfg.at("sip.tls.cert", fmt.Errorf("sip.tls.cert: %w", err))
		}
	}
	return newSIPTLS(&a.cfg, cert, a.roots), nil
}

// authorities are the certificates that others' are verified with, read anew
// by reload.
type authorities struct {
	file    string // "": those of the system
	current atomic.Pointer[x509.CertPool]
}

func (r *authorities) pool() *x509.CertPool { return r.current.Load() }

// reload reads the file again. A fault leaves the authorities as they were.
func (r *authorities) reload() error {
	if r.file == "" {
		return nil
	}
	text, err := limit.ReadPEM(r.file)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	found := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: certificate %d: %w", r.file, found+1, err)
		}
		pool.AddCert(cert)
		found++
	}
	if found == 0 {
		return fmt.Errorf("%s holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)", r.file)
	}
	r.current.Store(pool)
	return nil
}

// certificateFiles are the files that a.reloadCertificates reads.
func (a *App) certificateFiles() []string {
	var files []string
	for _, c := range a.certificates {
		files = append(files, c.cert, c.key)
	}
	if a.roots.file != "" {
		files = append(files, a.roots.file)
	}
	return files
}

// reloadCertificates reads the certificates and authorities again. What cannot
// be read stays as it was.
func (a *App) reloadCertificates() error {
	errs := []error{a.roots.reload()}
	for _, c := range a.certificates {
		errs = append(errs, c.reload())
	}
	return errors.Join(errs...)
}

// certificateSettle is how long after the first sign of a change the files are
// read: a certificate and its key are two files.
const certificateSettle = time.Second

// watchCertificates reloads the certificates when their files change, until
// ctx ends. It watches the folders, for renewed certificates are new files, or
// links that lead elsewhere.
func (a *App) watchCertificates(ctx context.Context, log *slog.Logger) error {
	files := a.certificateFiles()
	if len(files) == 0 {
		return nil
	}
	last := a.certificateStates
	err := watch.Folders(ctx, watch.FoldersOf(files), certificateSettle, log, func() (again bool) {
		states := fileStates(files)
		if slices.Equal(states, last) {
			return false
		}
		last = states
		if err := a.reloadCertificates(); err != nil {
			log.Error("certificates not reloaded, the old ones stay", "error", err)
			return false
		}
		log.Info("certificates reloaded", "files", files)
		return false
	})
	if err != nil {
		return fmt.Errorf("watch certificates: %w", err)
	}
	return nil
}

// fileStates tells whether files have changed.
func fileStates(files []string) []string {
	states := make([]string, len(files))
	for i, f := range files {
		if info, err := os.Stat(f); err == nil {
			states[i] = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
		}
	}
	return states
}
