package web

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
	"strings"
	"sync/atomic"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/internal/limit"
)

// A Certificate is a listener's certificate, read anew by reload.
type Certificate struct {
	cert, key string
	current   atomic.Pointer[tls.Certificate]
}

// OpenCertificate reads a listener's certificate; with empty names it makes
// or reads the self-signed one in dataDir.
func OpenCertificate(t config.TLS, dataDir string, names []string) (c *Certificate, made bool, err error) {
	c = &Certificate{cert: t.Cert, key: t.Key}
	if t.Cert == "" {
		if c.cert, c.key, made, err = selfSigned(dataDir, names, time.Now()); err != nil {
			return nil, false, fmt.Errorf("self-signed certificate: %w", err)
		}
	}
	return c, made, c.Reload()
}

// ReadCertificate reads the files of a certificate and of its key.
func ReadCertificate(cert, key string) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key}
	return c, c.Reload()
}

// TemporaryCertificate makes a self-signed certificate that is kept nowhere.
func TemporaryCertificate(names []string) (*Certificate, error) {
	certPEM, keyPEM, err := MakeSelfSigned(names, time.Now())
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	c := &Certificate{}
	c.current.Store(&pair)
	return c, nil
}

// Is reports whether it is the certificate of these files.
func (c *Certificate) Is(cert, key string) bool { return c.cert == cert && c.key == key }

// Files are those that reload reads: the certificate and its key.
func (c *Certificate) Files() []string { return []string{c.cert, c.key} }

// Pair is the certificate that is presented now, with its key.
func (c *Certificate) Pair() *tls.Certificate { return c.current.Load() }

// Reload reads the files again. A fault leaves the certificate as it was.
func (c *Certificate) Reload() error {
	pair, err := limit.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.current.Store(&pair)
	return nil
}

// Config presents the certificate to clients of at least a TLS version, a word of
// "min-version".
func (c *Certificate) Config(minVersion string) *tls.Config {
	return &tls.Config{
		MinVersion:     config.TLSVersion(minVersion),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.Pair(), nil },
	}
}

// Leaf returns the certificate that is presented to clients.
func (c *Certificate) Leaf() *x509.Certificate { return c.Pair().Leaf }

// Expires is when the certificate is not valid any more.
func (c *Certificate) Expires() time.Time { return c.Leaf().NotAfter }

// Fingerprint returns the SHA-256 hash as openssl and curl's --pinnedpubkey
// users know it: colon-separated hex of the whole certificate.
func (c *Certificate) Fingerprint() string {
	sum := sha256.Sum256(c.Leaf().Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// selfSignedLife is how long a self-signed certificate lasts: clients take it
// without checking, so nobody looks after it.
const selfSignedLife = 10 * 365 * 24 * time.Hour

// SelfSignedFiles names the files of the self-signed certificate in dir.
func SelfSignedFiles(dir string) (cert, key string) {
	return filepath.Join(dir, "self-signed.crt"), filepath.Join(dir, "self-signed.key")
}

// selfSigned returns the files of the certificate kept in dir. It makes them
// when they are missing or expire within a month.
func selfSigned(dir string, names []string, now time.Time) (cert, key string, made bool, err error) {
	cert, key = SelfSignedFiles(dir)
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
	certPEM, keyPEM, err := MakeSelfSigned(names, now)
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

// MakeSelfSigned makes a certificate for names and addresses that is valid from now
// for selfSignedLife, in PEM.
func MakeSelfSigned(names []string, now time.Time) (certPEM, keyPEM []byte, err error) {
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

// Authorities are the certificates that others' are verified with, read anew
// by reload.
type Authorities struct {
	file    string // "": those of the system
	current atomic.Pointer[x509.CertPool]
}

// ReadAuthorities reads a PEM file of authorities; "": those of the system.
func ReadAuthorities(file string) (*Authorities, error) {
	r := &Authorities{file: file}
	return r, r.Reload()
}

// Files are those that reload reads.
func (r *Authorities) Files() []string {
	if r.file == "" {
		return nil
	}
	return []string{r.file}
}

// Pool are the authorities now; nil for those of the system.
func (r *Authorities) Pool() *x509.CertPool { return r.current.Load() }

// Reload reads the file again. A fault leaves the authorities as they were.
func (r *Authorities) Reload() error {
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
