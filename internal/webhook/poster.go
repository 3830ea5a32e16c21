package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/resolve"
)

const (
	// maxLife is how old the look-up of a name may be over whose connection a
	// request still goes.
	maxLife = 60 * time.Second
	// maxPosts bounds the connections of one Poster.
	maxPosts = 16
	// maxTaken bounds what is read of a response's body, in bytes.
	maxTaken = 1 << 10
	// maxBody is how long that is waited for.
	maxBody = time.Second
)

// A Poster posts bodies to a URL that others have chosen: a stranger's server, and
// maybe an enemy's. Connections are kept for a minute at most, so that each name
// is looked up again, and its addresses are judged again. Its methods may be
// called from any goroutine.
type Poster struct {
	agent    string // User-Agent
	resolver *net.Resolver
	private  func() []netip.Prefix
	roots    *tls.Config

	mu      sync.Mutex
	secure  *http.Transport // guarded by mu; of https
	clear   *http.Transport // guarded by mu; of http
	retires time.Time       // guarded by mu; when both are given up
}

// NewPoster makes a poster, which must be closed. agent says who we are; resolver
// looks names up, nil is the system's. private returns the networks that are not
// public and may be posted to, now; only to those it posts without TLS. secure
// has the authorities of servers' certificates; nil: the system's.
func NewPoster(agent string, resolver *net.Resolver, private func() []netip.Prefix, secure *tls.Config) *Poster {
	return &Poster{agent: agent, resolver: resolver, private: private, roots: secure}
}

// A Posted is the response to a post.
type Posted struct {
	Code       int
	Body       []byte        // its beginning
	RetryAfter time.Duration // 0 without; may be huge
}

// Post sends a body and returns what came back, whatever its status. It follows no
// redirect. The error is a *PrivateError, ctx's cause, or one of net/http. header
// becomes the request's own.
func (p *Poster) Post(ctx context.Context, address string, header http.Header, body []byte) (Posted, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return Posted{}, errors.New("its URL cannot be read")
	}
	q.Header = header
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("User-Agent", p.agent)
	// It is sent at least once in any case. So one whose connection was closed
	// meanwhile may go again at once: net/http takes this for a permission, and
	// sends nothing of it.
	q.Header["Idempotency-Key"] = []string{}
	answer, err := p.transport(q.URL.Scheme).RoundTrip(q)
	if err != nil {
		var private *PrivateError
		switch {
		case ctx.Err() != nil:
			return Posted{}, context.Cause(ctx)
		case errors.As(err, &private):
			return Posted{}, private
		}
		return Posted{}, err
	}
	defer answer.Body.Close()
	got := Posted{Code: answer.StatusCode, RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now())}
	// What comes late, breaks off or never ends changes nothing: the status has been
	// said. Closing an unread body closes its connection, too.
	late := time.AfterFunc(maxBody, cancel)
	defer late.Stop()
	got.Body, _ = io.ReadAll(io.LimitReader(answer.Body, maxTaken))
	return got, nil
}

// Connect opens a connection as Post would, TLS too, and closes it.
func (p *Poster) Connect(ctx context.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("its URL cannot be read")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	t := p.newTransport(u.Scheme == "http")
	conn, err := t.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		var private *PrivateError
		if errors.As(err, &private) {
			return private
		}
		return err
	}
	defer conn.Close()
	if u.Scheme != "https" {
		return nil
	}
	t.TLSClientConfig.ServerName = u.Hostname()
	return tls.Client(conn, t.TLSClientConfig).HandshakeContext(ctx)
}

// transport returns the one of a scheme.
func (p *Poster) transport(scheme string) *http.Transport {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.secure == nil || !now.Before(p.retires) {
		p.retire()
		p.secure, p.clear = p.newTransport(false), p.newTransport(true)
		p.retires = now.Add(maxLife)
	}
	if scheme == "http" {
		return p.clear
	}
	return p.secure
}

// newTransport makes one whose connections are all younger than itself.
func (p *Poster) newTransport(clear bool) *http.Transport {
	d := &dialer{resolver: p.resolver, networks: p.private, named: clear}
	config := &tls.Config{}
	if p.roots != nil {
		config = p.roots.Clone()
	}
	config.MinVersion = tls.VersionTLS12
	return &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: config, TLSHandshakeTimeout: maxConnect,
		DisableCompression: true, MaxResponseHeaderBytes: 32 << 10,
		MaxConnsPerHost: maxPosts, MaxIdleConnsPerHost: maxPosts, IdleConnTimeout: maxLife,
	}
}

// retire gives all connections up: idle ones now, others after their response. It
// runs under p.mu.
func (p *Poster) retire() {
	for _, t := range []*http.Transport{p.secure, p.clear} {
		if t != nil {
			t.CloseIdleConnections()
		}
	}
	p.secure, p.clear = nil, nil
}

// Renew gives up connections, as what may be reached has changed.
func (p *Poster) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retire()
}

// Close gives up connections. Posts must have ended.
func (p *Poster) Close() { p.Renew() }

// retryAfter reads seconds or a date (RFC 9110 §10.2.3); 0 for neither.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// CheckPostURL says what is wrong with the URL of a webhook, as far as that can be
// said without a look-up. private are the networks that Poster may post to. The
// error is a *PrivateError where the address is what is wrong, and quotes no
// password.
func CheckPostURL(text string, private []netip.Prefix) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "":
		return errors.New("it is not a URL such as https://example.com/hooks") // without what it says: that may be a password
	case len(text) > maxURL:
		return fmt.Errorf("it has %d bytes: %d are the most", len(text), maxURL)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("scheme %.20q: write https://", u.Scheme)
	case u.User != nil:
		return errors.New("a password in a URL ends up in logs: send it by headers, or verify the signature")
	case u.Hostname() == "":
		return errors.New("it names no host: write https://example.com/hooks")
	case u.Fragment != "" || strings.HasSuffix(text, "#"):
		return errors.New("what follows # is not sent: leave it out")
	}
	if text := u.Port(); text != "" || strings.HasSuffix(u.Host, ":") {
		if port, err := strconv.ParseUint(text, 10, 16); err != nil || port == 0 {
			return fmt.Errorf("port %.10q: write 1 to 65535", text)
		}
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if !resolve.IsName(host) {
		return fmt.Errorf("%.80q is neither a host name nor an address", u.Hostname())
	}
	name := HostName(u.Hostname())
	if a, err := netip.ParseAddr(name); err == nil {
		return judge(name, a, private, u.Scheme == "http")
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		for _, a := range []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})} {
			if err = judge(name, a, private, u.Scheme == "http"); err == nil {
				return nil
			}
		}
		return err
	}
	if u.Scheme == "http" && len(private) == 0 {
		return errors.New("what happens to calls would go in clear: write https://")
	}
	return nil
}

// maxURL bounds a URL, in bytes.
const maxURL = 2048

// judge reports why a webhook that is named host may not have an address; named:
// it has no TLS, and must be in a network that the operator has named.
func judge(host string, a netip.Addr, private []netip.Prefix, named bool) error {
	a = a.Unmap()
	if limit.Within(private, a.WithZone("")) || !named && Public(a) {
		return nil
	}
	e := &PrivateError{host: host, address: a.String(), key: "events.allow-private"}
	e.clear = named && Public(a)
	return e
}

// ProbePost looks the host of a URL up and says what is wrong with what is found,
// as Post would, without asking it.
func ProbePost(ctx context.Context, resolver *net.Resolver, text string, private []netip.Prefix) error {
	if err := CheckPostURL(text, private); err != nil {
		return err
	}
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	host := HostName(u.Hostname())
	if _, err := netip.ParseAddr(host); err == nil {
		return nil // checked already
	}
	list, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	for _, a := range list {
		if err = judge(host, a, private, u.Scheme == "http"); err == nil {
			return nil
		}
	}
	return err
}
