//go:build !nostore

package store

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// server returns what the store speaks TLS with, towards nodes and towards its
// peers, nil for no TLS. The certificate is read anew for each connection: nodes
// stay connected for months, and one that was renewed must not wait for a restart.
func (t TLS) server() (*tls.Config, error) {
	if t.Cert == "" {
		return nil, nil
	}
	read := func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("store.tls: %w", err)
		}
		return &c, nil
	}
	first, err := read()
	if err != nil {
		return nil, err
	}
	latest := func() (*tls.Certificate, error) {
		if c, err := read(); err == nil {
			return c, nil
		}
		return first, nil // half written: the next connection has the new one
	}
	cfg := &tls.Config{
		MinVersion:           tls.VersionTLS12,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return latest() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return latest() },
	}
	if t.CA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("store.tls.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("store.tls.ca: %s holds no certificate", t.CA)
	}
	cfg.RootCAs, cfg.ClientCAs, cfg.ClientAuth = pool, pool, tls.RequireAndVerifyClientCert
	return cfg, nil
}
