package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/internal/watch"
	"sipxrest/sipflow"
)

// NewSIPTLS says how SIP connections are secured. cert is ours, which may be
// nil where no socket has TLS, and roots the authorities.
func NewSIPTLS(cfg *config.Config, cert *web.Certificate, roots *web.Authorities) sipflow.TLS {
	t := sipflow.TLS{
		Authorities: roots.Pool,
		ClientAuth:  cfg.SIP.TLS.ClientAuthType(),
		Unverified:  !cfg.SIP.TLS.Verify,
		MinVersion:  config.TLSVersion(cfg.SIP.TLS.MinVersion),
	}
	if cert != nil {
		t.Certificate = cert.Pair
	}
	return t
}

// openCertificates reads the authorities that SIP peers are verified with. Whoever
// needs a certificate of ours asks certificateFor.
func (a *App) openCertificates() (err error) {
	if a.roots, err = web.ReadAuthorities(a.cfg.SIP.TLS.CA); err != nil {
		return a.cfg.At("sip.tls.ca", fmt.Errorf("sip.tls.ca: %w", err))
	}
	a.add(feature{name: "certificates", stage: stageBase, reads: true, metrics: a.addCertificateMetrics,
		reload: func(*config.Config) error { return a.reloadCertificates() },
		run: func(ctx context.Context) error {
			if err := a.watchCertificates(ctx, a.log); err != nil {
				a.log.Warn("changed certificates are read only on SIGHUP", "error", err)
			}
			return nil
		}})
	return nil
}

// sipTLS is how this service secures SIP.
func (a *App) sipTLS() (sipflow.TLS, error) {
	var cert *web.Certificate
	if a.cfg.EncryptedSIP() {
		var err error
		if cert, err = a.certificateFor("sip", config.TLS{Cert: a.cfg.SIP.TLS.Cert, Key: a.cfg.SIP.TLS.Key}); err != nil {
			return sipflow.TLS{}, a.cfg.At("sip.tls.cert", fmt.Errorf("sip.tls.cert: %w", err))
		}
	}
	return NewSIPTLS(&a.cfg, cert, a.roots), nil
}

// certificateFiles are the files that a.reloadCertificates reads.
func (a *App) certificateFiles() []string {
	var files []string
	for _, c := range a.certificates {
		files = append(files, c.Files()...)
	}
	return append(files, a.roots.Files()...)
}

// reloadCertificates reads the certificates and authorities again. What cannot
// be read stays as it was.
func (a *App) reloadCertificates() error {
	errs := []error{a.roots.Reload()}
	for _, c := range a.certificates {
		errs = append(errs, c.Reload())
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
