package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sipxrest/internal/limit"
)

// tlsVersions are the values of "min-version". Versions below 1.2 are there
// for clients that cannot be updated (Java 6 and 7); RFC 8996 forbids them.
var tlsVersions = map[string]uint16{
	"": tls.VersionTLS12, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11,
	"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13,
}

// A certificate is a listener's certificate, read anew by reload.
type certificate struct {
	cert, key string
	current   atomic.Pointer[tls.Certificate]
}

// openCertificate reads a listener's certificate; with empty names it makes
// or reads the self-signed one in dataDir.
func openCertificate(t TLS, dataDir string, names []string) (c *certificate, made bool, err error) {
	c = &certificate{cert: t.Cert, key: t.Key}
	if t.Cert == "" {
		if c.cert, c.key, made, err = selfSigned(dataDir, names, time.Now()); err != nil {
			return nil, false, fmt.Errorf("self-signed certificate: %w", err)
		}
	}
	return c, made, c.reload()
}

// reload reads the files again. A fault leaves the certificate as it was.
func (c *certificate) reload() error {
	pair, err := limit.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.current.Store(&pair)
	return nil
}

func (c *certificate) config(minVersion string) *tls.Config {
	return &tls.Config{
		MinVersion:     tlsVersions[minVersion],
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

// leaf answers the certificate that is presented to clients.
func (c *certificate) leaf() *x509.Certificate { return c.current.Load().Leaf }

func (c *certificate) expires() time.Time { return c.leaf().NotAfter }

// fingerprint answers the SHA-256 hash as openssl and curl's --pinnedpubkey
// users know it: colon-separated hex of the whole certificate.
func (c *certificate) fingerprint() string {
	sum := sha256.Sum256(c.leaf().Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// selfSignedLife is how long a self-signed certificate lasts: clients take it
// without checking, so nobody looks after it.
const selfSignedLife = 10 * 365 * 24 * time.Hour

func selfSignedFiles(dir string) (cert, key string) {
	return filepath.Join(dir, "self-signed.crt"), filepath.Join(dir, "self-signed.key")
}

// selfSigned answers the files of the certificate kept in dir. It makes them
// when they are missing or expire within a month.
func selfSigned(dir string, names []string, now time.Time) (cert, key string, made bool, err error) {
	cert, key = selfSignedFiles(dir)
	pair, err := limit.LoadX509KeyPair(cert, key)
	var unreadable *fs.PathError
	switch {
	case errors.As(err, &unreadable) && !errors.Is(err, fs.ErrNotExist):
		return "", "", false, fmt.Errorf("data-dir: %w: give the folder to the service's user (chown -R), or set another", err)
	case err == nil && pair.Leaf.NotAfter.After(now.AddDate(0, 1, 0)):
		return cert, key, false, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", false, fmt.Errorf("%w: remove %s and %s to have new ones made", err, cert, key)
	}
	certPEM, keyPEM, err := makeSelfSigned(names, now)
	if err != nil {
		return "", "", false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", false, fmt.Errorf("data-dir: %w: set it to a folder that the service can write to and that has room", err)
	}
	if err := errors.Join(writeFile(key, keyPEM, 0o600), writeFile(cert, certPEM, 0o644)); err != nil {
		return "", "", false, fmt.Errorf("data-dir: %w: set it to a folder that the service can write to and that has room", err)
	}
	return cert, key, true, nil
}

func makeSelfSigned(names []string, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "sipxrest"},
		// Clients whose clock is behind must be able to connect, too.
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.Add(selfSignedLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, // SIP servers connect to each other
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// writeFile writes a file whole or not at all.
func writeFile(name string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// certificateNames lists the names and addresses under which clients may
// reach the listeners: the domain, the host's name and its addresses.
func certificateNames(cfg *Config) []string {
	names := []string{"localhost", "127.0.0.1", "::1", cfg.Domain}
	if h, err := os.Hostname(); err == nil && isHost(h) {
		names = append(names, h)
	}
	names = append(names, ownAddresses()...)
	for _, l := range cfg.HTTP {
		if host, _, err := net.SplitHostPort(l.Listen); err == nil && host != "" && host != "0.0.0.0" && host != "::" {
			names = append(names, host)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ourNames are the hosts by which browsers may call, beside the domain's.
func ourNames(cfg *Config) []string {
	names := append(certificateNames(cfg), cfg.HTTPNames...)
	if host, _, err := net.SplitHostPort(cfg.Metrics.Listen); err == nil && host != "" {
		names = append(names, host)
	}
	if host := cfg.SIP.ExternalAddress; host != "" && host != "auto" {
		names = append(names, host) // by which pages connect to sockets ws: and wss:
	}
	return names
}
