package natsengine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Config says how the servers are reached.
type Config struct {
	Servers []string // nats://host:port, tls://host:port
	// Name is what the servers show of this client.
	Name string
	// Credentials is a file: NATS creds, or a line user:password. Empty: none.
	Credentials string
	TLS         TLS
	// Local reports whether a server of that name is on this machine. It should not
	// lead what this node writes: both may die at once. nil: none is known to be.
	Local func(server string) bool
}

// TLS names PEM files, read anew for each connection. Any of them has connections
// be encrypted, as tls:// does.
type TLS struct{ Cert, Key, CA string }

const (
	// dialWait bounds a connection's start.
	dialWait = 2 * time.Second
	// againWait is between two rounds of tries.
	againWait = 250 * time.Millisecond
	// pingEach and pingsOut notice a server that is gone without a word in 3 s:
	// before a lease of 4 s has lapsed another server is asked.
	pingEach = time.Second
	pingsOut = 2
	// leaderWait is how long writes may come to nothing until another server is asked:
	// a renewal takes 2 s to fail, and others take a node for dead after 5 s. While the
	// servers choose leaders, which takes longer, going from one to the other is no harm.
	leaderWait = 2 * time.Second
	// maxPending bounds what is read and not yet handled, of each subscription.
	maxPending      = 64 << 10
	maxPendingBytes = 64 << 20
	// maxFile bounds a file of credentials or certificates, in bytes.
	maxFile = 1 << 20
)

// options are those of the connection.
func (c *Config) options() ([]nats.Option, error) {
	o := []nats.Option{
		nats.Name(c.Name), nats.Timeout(dialWait), nats.MaxReconnects(-1), nats.ReconnectWait(againWait), nats.ReconnectJitter(againWait/2, againWait/2),
		nats.PingInterval(pingEach), nats.MaxPingsOutstanding(pingsOut),
		// What could not be written now must not be written later, when it is not
		// true any more: it fails at once, and the node writes all again.
		nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.NoCallbacksAfterClientClose(),
	}
	if c.Credentials != "" {
		auth, err := c.credentials()
		if err != nil {
			return nil, err
		}
		o = append(o, auth)
	}
	if c.TLS != (TLS{}) {
		secure, err := c.TLS.client()
		if err != nil {
			return nil, err
		}
		o = append(o, nats.Secure(secure))
	}
	return o, nil
}

// credentials has each connection read the file, which may have been renewed.
func (c *Config) credentials() (nats.Option, error) {
	text, err := readFile("cluster.credentials", c.Credentials)
	if err != nil {
		return nil, err
	}
	if strings.Contains(text, "-----BEGIN NATS USER JWT-----") {
		return nats.UserCredentials(c.Credentials), nil
	}
	if _, _, err := userPassword(text); err != nil {
		return nil, fmt.Errorf("cluster.credentials: %s: %w", c.Credentials, err)
	}
	return nats.UserInfoHandler(func() (string, string) {
		text, err := readFile("cluster.credentials", c.Credentials)
		if err != nil {
			return "", ""
		}
		user, password, _ := userPassword(text)
		return user, password
	}), nil
}

// advice says what is to be done about a refused connection, where the client library does not.
func (c *Config) advice(err error) error {
	text := strings.ToLower(err.Error())
	switch is := func(known error) bool { return errors.Is(err, known) || strings.Contains(text, known.Error()) }; {
	case is(nats.ErrAuthorization) && c.Credentials == "":
		return fmt.Errorf("%w: it wants a password: name the file with it in cluster.credentials", err)
	case is(nats.ErrAuthorization):
		return fmt.Errorf("%w: the user or the password in cluster.credentials is not the server's, which are those of store.credentials", err)
	case is(nats.ErrSecureConnWanted):
		return fmt.Errorf("%w: the server has no TLS: set store.tls there, or leave out cluster.tls and write nats://", err)
	case is(nats.ErrSecureConnRequired):
		return fmt.Errorf("%w: the server wants TLS: write tls://", err)
	case strings.Contains(text, "route port"):
		return fmt.Errorf("%w: other stores connect there (store.route-port): write the port of store.listen", err)
	}
	return err
}

// userPassword reads the first line that is no comment. Its error does not quote
// the text.
func userPassword(text string) (user, password string, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if user, password, ok := strings.Cut(line, ":"); ok && user != "" && password != "" {
			return user, password, nil
		}
		break
	}
	return "", "", errors.New("a line user:password is expected, or the text of a NATS creds file")
}

func readFile(key, name string) (string, error) {
	info, err := os.Stat(name)
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("%s has %d bytes, more than %d", name, info.Size(), maxFile)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return string(text), nil
}

func (t TLS) client() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		text, err := readFile("cluster.tls.ca", t.CA)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(text)) {
			return nil, fmt.Errorf("cluster.tls.ca: %s holds no certificate", t.CA)
		}
	}
	if t.Cert == "" {
		return cfg, nil
	}
	first, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("cluster.tls: %w", err)
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if c, err := tls.LoadX509KeyPair(t.Cert, t.Key); err == nil {
			return &c, nil
		}
		return &first, nil // half written: the next connection has the new one
	}
	return cfg, nil
}
