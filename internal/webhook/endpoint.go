package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"sipxrest/internal/limit"
	"sipxrest/resolve"
)

// Endpoint is how an HTTP server is asked, as an operator writes it. The keys
// beside the fields are those by which Check names them.
type Endpoint struct {
	Method     string        // method: POST, PUT or GET
	Timeout    time.Duration // for all of one request
	Headers    http.Header   // headers: added to the request
	HMACSecret Secret        // hmac_secret: signs by SignatureHeader; at least 16 characters
	JWT        JWT           // jwt: signs by a token in Authorization
	// AllowHTTP lets URLs be without TLS.
	AllowHTTP bool
	// AllowPrivate (allow_private) lists hosts of URLs that may have a private
	// address.
	AllowPrivate []string
	// CAFile (ca_file) has the authorities that the server's certificate is of;
	// empty: the system's. ClientCert and ClientKey are shown to it. PEM files.
	CAFile, ClientCert, ClientKey string
	// Proxy is the URL of an HTTP proxy. Never that of the environment.
	Proxy string
}

// JWT signs requests as LiveKit's webhooks are signed.
type JWT struct {
	Issuer string
	Keys   []Key // the first signs
}

// Key is a secret of JWT.
type Key struct {
	ID     string // "kid" of the token
	Secret Secret
}

// maxHeaderName bounds the name of a header, in bytes.
const maxHeaderName = 128

// Check tells fault everything that is wrong, each with its key; what is right
// it may tell with nil. URLs are for CheckURL.
func (e *Endpoint) Check(fault func(key string, err error)) {
	switch e.Method {
	case http.MethodPost, http.MethodPut, http.MethodGet:
	default:
		fault("method", fmt.Errorf("%.20q: write POST, PUT or GET", e.Method))
	}
	for name, values := range e.Headers {
		switch {
		case !httpguts.ValidHeaderFieldName(name) || len(name) > maxHeaderName || strings.ContainsFunc(values[0], unicode.IsControl):
			fault("headers", fmt.Errorf("%.64q is no header", name)) // without its value
		case slices.Contains([]string{"Connection", "Content-Length", "Content-Type", "Transfer-Encoding", "Upgrade", "Trailer", "X-Event-Id", SignatureHeader}, name):
			fault("headers", fmt.Errorf("%s is ours to set", name))
		case name == "Authorization" && len(e.JWT.Keys) > 0:
			fault("headers", errors.New("the token of jwt goes into Authorization: leave one of them out"))
		}
	}
	for _, k := range e.JWT.Keys {
		if len(k.Secret) < 16 {
			fault("jwt", fmt.Errorf("keys: the secret of key %.64q has less than 16 characters: such can be guessed from one token", k.ID))
		}
	}
	if e.HMACSecret != "" && len(e.HMACSecret) < 16 {
		fault("hmac_secret", errors.New("it has less than 16 characters: such can be guessed from one signature"))
	}
	for _, host := range e.AllowPrivate {
		if h := HostName(host); strings.ContainsAny(host, "/@ *") || h == "" || strings.Contains(h, ":") && !resolve.IsHost("["+h+"]") {
			fault("allow_private", fmt.Errorf("%.80q: write the host as the URL has it", host))
		}
	}
	if (e.ClientCert == "") != (e.ClientKey == "") {
		fault("client_cert", errors.New("client_cert and client_key go together"))
	} else if _, err := e.tls(); err != nil {
		fault("tls", err)
	}
	if e.Proxy != "" {
		fault("proxy", checkProxy(e.Proxy))
	}
}

// tls reads the certificates.
func (e *Endpoint) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(32)}
	if e.CAFile != "" {
		pem, err := limit.ReadPEM(e.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s has no certificate: write the authority's in PEM form", e.CAFile)
		}
	}
	if e.ClientCert != "" {
		pair, err := limit.LoadX509KeyPair(e.ClientCert, e.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client_cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// CheckURL says what is wrong with the URL of a server, as far as that can be said
// without a look-up. The error never quotes a password.
func (e *Endpoint) CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "":
		return errors.New("it is not a URL such as https://example.com/calls") // without what it says: that may be a password
	case u.Scheme == "http" && !e.AllowHTTP:
		return errors.New("calls and decisions would go in clear: write https://, or allow_http: true where the way to it is safe")
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("scheme %.20q: write https://", u.Scheme)
	case u.User != nil:
		return errors.New("a password in a URL ends up in logs: write headers: {Authorization: …}, or jwt")
	case u.Hostname() == "":
		return errors.New("it names no host: write https://example.com/calls")
	case u.Fragment != "":
		return errors.New("what follows # is not sent: leave it out")
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if !resolve.IsName(host) {
		return fmt.Errorf("%.80q is neither a host name nor an address", u.Hostname())
	}
	name := HostName(u.Hostname())
	if slices.ContainsFunc(e.AllowPrivate, func(s string) bool { return HostName(s) == name }) {
		return nil
	}
	if a, err := netip.ParseAddr(name); err == nil && !Public(a) || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return &PrivateError{host: name, address: name}
	}
	return nil
}

// checkProxy checks the URL of an HTTP proxy.
func checkProxy(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5":
		return errors.New("write http://host:port")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("write http://host:port and nothing behind it")
	}
	return nil
}

// Probe looks the host of a URL up and says what is wrong with what is found, as
// Send would, without asking it.
func (e *Endpoint) Probe(ctx context.Context, resolver *net.Resolver, host string) error {
	host = HostName(host)
	if _, err := netip.ParseAddr(host); err == nil {
		return nil // checked when it was read
	}
	list, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(e.AllowPrivate, func(h string) bool { return HostName(h) == host }) {
		return nil
	}
	for _, a := range list {
		if Public(a) {
			return nil
		}
	}
	return &PrivateError{host: host, address: list[0].Unmap().String()}
}
