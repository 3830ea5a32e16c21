package dispatch

import (
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

	"sipxrest/internal/limit"
	"sipxrest/resolve"
)

// newClient makes the HTTP client of a rule. It follows no redirect: that could
// lead anywhere. It keeps no connection: one that has just been closed by the
// other side would cost the call its decision.
func newClient(w *Webhook, resolver *net.Resolver) (*http.Client, error) {
	secure, err := w.tls()
	if err != nil {
		return nil, err
	}
	d := &dialer{resolver: resolver}
	for _, host := range w.AllowPrivate {
		d.private = append(d.private, hostName(host))
	}
	t := &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: secure, TLSHandshakeTimeout: maxConnect,
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 32 << 10,
		ExpectContinueTimeout: time.Second,
	}
	if w.Proxy != "" { // never that of the environment
		proxy, err := url.Parse(w.Proxy)
		if err != nil {
			return nil, errors.New("proxy: not a URL")
		}
		t.Proxy = http.ProxyURL(proxy)
		d.private = append(d.private, hostName(proxy.Hostname())) // the operator has named it
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// tls reads the rule's certificates.
func (w *Webhook) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(32)}
	if w.CAFile != "" {
		pem, err := limit.ReadPEM(w.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s has no certificate: write the authority's in PEM form", w.CAFile)
		}
	}
	if w.ClientCert != "" {
		pair, err := limit.LoadX509KeyPair(w.ClientCert, w.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client_cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// checkURL checks the URL of a webhook as far as it can be without a look-up.
func (w *Webhook) checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return errors.New("dynamic dispatch rule URL cannot be empty")
	case err != nil || u.Opaque != "":
		return errors.New("it is not a URL such as https://example.com/calls") // without what it says: that may be a password
	case u.Scheme == "http" && !w.AllowHTTP:
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
	if !resolve.IsHost(host) && !underscored(host) {
		return fmt.Errorf("%.80q is neither a host name nor an address", u.Hostname())
	}
	name := hostName(u.Hostname())
	if slices.ContainsFunc(w.AllowPrivate, func(s string) bool { return hostName(s) == name }) {
		return nil
	}
	if a, err := netip.ParseAddr(name); err == nil && !public(a) || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return &errPrivate{name, name}
	}
	return nil
}

// underscored lets the names of containers be (RFC 952 does not): they have
// underscores, and letters in their last label.
func underscored(host string) bool {
	return strings.Contains(host, "_") && resolve.IsHost(strings.ReplaceAll(host, "_", "x"))
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
