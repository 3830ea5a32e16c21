package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/resolve"
)

// TLS says how connections are secured. Zero values are replaced by the
// defaults given.
type TLS struct {
	// Certificate is ours, for peers that connect and for servers that ask for
	// one. It is asked for with each connection, so that new ones have a new
	// one. Required where Config.Listen has tls or wss.
	Certificate func() *tls.Certificate
	// Authorities are those that the certificates of servers and clients are
	// verified with; likewise. Default, and where it returns nil: the system's.
	Authorities func() *x509.CertPool
	// ClientAuth sets whether peers that connect are asked for a certificate:
	// tls.NoClientCert (default), tls.RequestClientCert or
	// tls.RequireAnyClientCert. One that is given is verified.
	ClientAuth tls.ClientAuthType
	// Unverified takes every certificate. It is for labs only.
	Unverified bool
	// MinVersion is the oldest version spoken, default TLS 1.2.
	MinVersion uint16
}

const (
	// HandshakeTime bounds what TLS and WebSocket agree on when a peer connects.
	HandshakeTime = 5 * time.Second
	// maxHandshakes bounds the peers that are at that, and those of one address.
	maxHandshakes      = 512
	MaxHandshakesOfOne = maxHandshakes / 8
	maxNamesInErrors   = 4
	maxName            = 80 // bytes of a name that a stranger wrote, in an error
)

// handshakes counts the peers whose handshake is not over yet. Guarded by
// transport.mu.
type handshakes struct {
	all int
	of  map[netip.Addr]int
}

func (h *handshakes) begin(a netip.Addr, most int) bool {
	a = limit.Network(a)
	if h.all >= most || h.of[a] >= MaxHandshakesOfOne {
		return false
	}
	h.all++
	h.of[a]++
	return true
}

func (h *handshakes) end(a netip.Addr) {
	a = limit.Network(a)
	h.all--
	if h.of[a]--; h.of[a] <= 0 {
		delete(h.of, a)
	}
}

// acceptHandshake agrees with a peer that has connected on what its listener speaks.
func (t *Sockets) acceptHandshake(s *Stream) error {
	s.conn.SetDeadline(time.Now().Add(HandshakeTime)) //nolint:errcheck // the handshake tells
	if Encrypted(s.Hop.Transport) {
		c := tls.Server(s.conn, t.TLS.server())
		if err := c.HandshakeContext(t.ctx); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		s.conn = c
	}
	if overWebSocket(s.Hop.Transport) {
		if err := s.upgrade(); err != nil {
			return fmt.Errorf("WebSocket: %w", err)
		}
	}
	return s.conn.SetDeadline(time.Time{})
}

// connectHandshake does likewise with a server that we have connected to.
func (t *Sockets) connectHandshake(s *Stream) error {
	if s.Hop.Transport == "tcp" {
		return nil
	}
	by := time.Now().Add(dialTime)
	s.conn.SetDeadline(by) //nolint:errcheck // the handshake tells
	ctx, stop := context.WithDeadline(t.ctx, by)
	defer stop()
	if Encrypted(s.Hop.Transport) {
		c := tls.Client(s.conn, t.TLS.Client(s.Hop))
		if err := c.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("TLS: %w", ExplainHandshake(err))
		}
		s.conn = c
	}
	if overWebSocket(s.Hop.Transport) {
		if err := s.askForUpgrade(ctx); err != nil {
			return fmt.Errorf("WebSocket: %w", err)
		}
	}
	return s.conn.SetDeadline(time.Time{})
}

func (c *TLS) minVersion() uint16 {
	if c.MinVersion == 0 {
		return tls.VersionTLS12
	}
	return c.MinVersion
}

func (c *TLS) authorities() *x509.CertPool {
	if c.Authorities == nil {
		return nil
	}
	return c.Authorities()
}

// server is the configuration for one peer that has connected. There are no
// session tickets: connections last, and each is to be verified.
func (c *TLS) server() *tls.Config {
	return &tls.Config{
		MinVersion:             c.minVersion(),
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.Certificate(), nil },
		ClientAuth:             c.ClientAuth,
		ClientCAs:              c.authorities(),
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || c.Unverified {
				return nil
			}
			return c.verifyChain(state.PeerCertificates)
		},
	}
}

// A CertificateError says what is wrong with the certificate of a SIP server,
// and what to do about it. Errors of Place and Transfer may have it within.
type CertificateError struct{ Err error }

// Error implements error.
func (e *CertificateError) Error() string { return e.Err.Error() }

// Unwrap is for errors.Is and errors.As.
func (e *CertificateError) Unwrap() error { return e.Err }

// Client is the configuration for a connection to a hop. The peer must prove to
// be the host that the URI names, not the one DNS named (RFC 5922 §4, §7.3).
func (c *TLS) Client(hop resolve.Hop) *tls.Config {
	config := &tls.Config{
		MinVersion:         c.minVersion(),
		InsecureSkipVerify: true, // VerifyConnection does it by the rules of SIP
		VerifyConnection: func(state tls.ConnectionState) error {
			if c.Unverified {
				return nil
			}
			err := c.verifyChain(state.PeerCertificates)
			if err == nil {
				err = verifyName(state.PeerCertificates[0], hop.Name)
			}
			if err != nil {
				return &CertificateError{err}
			}
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c.Certificate != nil {
				if own := c.Certificate(); own != nil {
					return own, nil
				}
			}
			return new(tls.Certificate), nil // none
		},
	}
	if _, err := netip.ParseAddr(strings.Trim(hop.Name, "[]")); err != nil {
		config.ServerName = hop.Name // RFC 6066 §3: names only
	}
	return config
}

// sipDomain is the extended key usage of SIP domain certificates (RFC 5924).
const sipDomain = "1.3.6.1.5.5.7.3.20"

// verifyChain verifies that a known authority has signed a peer's certificate.
// Either usage of TLS will do for either side: servers connect to each other
// with the one certificate that they have.
func (c *TLS) verifyChain(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the peer has no certificate")
	}
	leaf := chain[0]
	options := x509.VerifyOptions{
		Roots:         c.authorities(),
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, o := range leaf.UnknownExtKeyUsage {
		if o.String() == sipDomain {
			options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}
	}
	for _, other := range chain[1:] {
		options.Intermediates.AddCert(other)
	}
	_, err := leaf.Verify(options)
	return explainCertificate(leaf, err)
}

// explainCertificate says what is wrong with a certificate, and what to do.
func explainCertificate(leaf *x509.Certificate, err error) error {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		now, c := time.Now(), invalid.Cert
		if now.Before(c.NotBefore) {
			return fmt.Errorf("the certificate of %s is not valid before %s: is the clock right? %w", subjectOf(c), c.NotBefore.Format(time.DateTime), err)
		}
		return fmt.Errorf("the certificate of %s has expired on %s: %w", subjectOf(c), c.NotAfter.Format(time.DateTime), err)
	case errors.As(err, &unknown) && leaf.Subject.String() == leaf.Issuer.String():
		return fmt.Errorf("the certificate of %s is self-signed: put it into sip.tls.ca to trust it: %w", subjectOf(leaf), err)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of %s is signed by %s, which is not a known authority: put the authority's certificate into sip.tls.ca: %w",
			subjectOf(leaf), limit.Clip(leaf.Issuer.String(), maxName), err)
	}
	return err
}

// ExplainHandshake explains the replies of peers that speak no TLS.
func ExplainHandshake(err error) error {
	var header tls.RecordHeaderError
	var late net.Error // the context's deadline, or the connection's
	switch {
	case errors.As(err, &header):
		return fmt.Errorf("the server does not speak TLS there: is the port right? %w", err)
	case isAlert(err):
		return fmt.Errorf("the server refuses us; if it wants a certificate it must be able to verify that of sip.tls.cert: %w", err)
	case errors.As(err, &late) && late.Timeout():
		return fmt.Errorf("the server says nothing in time: does it speak TLS on this port (usual is 5061)? %w", err)
	}
	return err
}

// Refused is the alert by which the peer has ended a connection, nil for every
// other end: since TLS 1.3 it verifies our certificate after the handshake.
//
//go:noinline
func (s *Stream) Refused() error {
	if why := s.ended.Load(); why != nil && isAlert(*why) {
		return ExplainHandshake(*why)
	}
	return nil
}

// isAlert reports whether an error is the peer's TLS alert, for which
// crypto/tls has no type of its own.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// verifyName verifies that a certificate is that of a SIP domain or host: by a
// URI sip:domain or a DNS name, exactly and without wildcards (RFC 5922 §7.1,
// §7.2), or by an address.
func verifyName(leaf *x509.Certificate, name string) error {
	host := strings.Trim(name, "[]")
	var names []string
	for _, u := range leaf.URIs {
		domain := u.Host
		if domain == "" {
			domain = u.Opaque // sip:example.com has no //
		}
		if !strings.EqualFold(u.Scheme, "sip") || u.User != nil || strings.Contains(domain, "@") {
			continue // another protocol's, or a user's
		}
		if sameDomain(domain, host) {
			return nil
		}
		names = append(names, "sip:"+domain)
	}
	for _, n := range leaf.DNSNames {
		if sameDomain(n, host) {
			return nil
		}
		names = append(names, n)
	}
	for _, ip := range leaf.IPAddresses {
		if a, err := netip.ParseAddr(host); err == nil && ip.Equal(net.IP(a.AsSlice())) {
			return nil
		}
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return fmt.Errorf("the certificate of %s names no domain: it is not for %q", subjectOf(leaf), name)
	}
	hint := ""
	if slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "*") }) {
		hint = " (SIP takes no wildcards, RFC 5922 §7.2)"
	}
	if more := len(names) - maxNamesInErrors; more > 0 {
		names = append(names[:maxNamesInErrors], fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("the certificate is for %s, not for %q%s", limit.Clip(strings.Join(names, ", "), maxName), name, hint)
}

func sameDomain(a, b string) bool {
	return a != "" && strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// subjectOf names a certificate in an error. Whoever sent it chose the words.
func subjectOf(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return limit.Clip(s, maxName)
	}
	if len(c.DNSNames) > 0 {
		return limit.Clip(c.DNSNames[0], maxName)
	}
	return "the peer"
}
