package talk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// Probed is what Probe found out about a Nextcloud at a signaling server.
type Probed struct {
	Server, Backend string // addresses
	Version         string // of the signaling server, if it said so
	Err             error  // what is wrong and what to do, nil if nothing is
	// Audio is what keeps phones from hearing and being heard in Talk itself, and
	// what to do, nil if nothing does or Err says why it is not known.
	Audio error
	// DirectDialin: users may have numbers of their own.
	DirectDialin bool
}

// Probe tries each signaling server and Nextcloud of cfg, all at once: the
// signaling server as far as hello, without becoming a candidate for dial-outs,
// Nextcloud for its status.php. Wrong secrets are counted by signaling servers:
// it is not to be repeated soon. cfg must pass Check.
func Probe(ctx context.Context, cfg Config) []Probed {
	var found []Probed
	var wg sync.WaitGroup
	client := cfg.httpClient(true)
	for _, server := range cfg.Servers {
		for range server.Backends {
			found = append(found, Probed{})
		}
	}
	i := 0
	for _, server := range cfg.Servers {
		for _, b := range server.Backends {
			at := &found[i]
			i++
			wg.Go(func() { *at = probe(ctx, server, b, cfg, client) })
		}
	}
	wg.Wait()
	return found
}

func probe(ctx context.Context, server Server, b BackendConfig, cfg Config, client *http.Client) Probed {
	endpoint, err := serverURL(server.URL)
	base, err2 := backendURL(b.URL)
	p := Probed{Server: endpoint, Backend: base}
	if err := errors.Join(err, err2); err != nil {
		p.Err = err
		return p
	}
	l := &link{url: endpoint, secret: server.Secret, backend: base, agent: cfg.agent(), client: client, log: slog.New(slog.DiscardHandler),
		features: []string{}, needs: []string{"dialout", "virtual-sessions"}, limit: maxMessage}
	w, err := l.connect(ctx, func() {})
	if err == nil {
		p.Version = w.version
		p.Audio = audioError(w.features, w.version)
		if _, err = l.hello(w); err == nil {
			l.depart(w)
		}
		w.close(context.Canceled)
	}
	if err != nil {
		p.Err = explain(err)
		return p
	}
	backend := newBackend(b, cfg)
	if p.Err = backend.alive(ctx); p.Err != nil {
		return p
	}
	// An old Nextcloud may say nothing of Talk to strangers.
	if c, err := backend.Capabilities(ctx); err == nil {
		p.DirectDialin = c.DirectDialin
		if c.Encrypted {
			p.Audio = errors.Join(p.Audio, ErrEncrypted)
		}
	}
	return p
}

// depart says bye and waits for its response.
func (l *link) depart(w *wire) {
	defer w.within(byeTime, errNoBye).Stop()
	if w.write(byeMessage) != nil {
		return
	}
	for {
		if m, err := w.read(); err != nil || m.Type == "bye" {
			return
		}
	}
}

// alive asks for what every Nextcloud serves at its base address. A signaling
// server takes an address that is longer than the right one.
func (b *Backend) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, VerifyTime, fmt.Errorf("nextcloud: status.php: no answer within %v", VerifyTime))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+"status.php", nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", b.agent)
	answer, err := b.do(request, "status.php")
	var refused *BackendError
	var v struct {
		Installed   bool `json:"installed"`
		Maintenance bool `json:"maintenance"`
	}
	switch {
	case errors.As(err, &refused) && (refused.Code >= 500 || refused.Code == http.StatusTooManyRequests):
		return fmt.Errorf("the Nextcloud has a problem: %sstatus.php answers %d: see its log, or its proxy's", b.base, refused.Code)
	case errors.As(err, &refused) && refused.Code >= 300 && refused.Code < 400:
		return err // says that it redirects
	case errors.As(err, &refused):
		return fmt.Errorf("the backend's url is not that of a Nextcloud: %sstatus.php answers %d", b.base, refused.Code)
	case err != nil:
		return explain(err)
	case !read(answer, &v) || !v.Installed:
		return fmt.Errorf("the backend's url is not that of a Nextcloud: %sstatus.php does not say that it is installed", b.base)
	case v.Maintenance:
		return errors.New("the Nextcloud is in maintenance mode")
	}
	return nil
}

// explain says what to do about an error of a connection.
func explain(err error) error {
	var refused *ServerError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "invalid_token":
			return fmt.Errorf("the secret is wrong: it must be internalsecret in [clients] of the signaling server's configuration (%w)", err)
		case "invalid_backend", "invalid_format":
			return fmt.Errorf("the signaling server does not serve that Nextcloud: the backend's url must be as in its [backend] section, with the subfolder (%w)", err)
		case "too_many_requests":
			return fmt.Errorf("the signaling server refuses our address for some time, after too many wrong secrets or addresses: put them right and wait half an hour (%w)", err)
		case "invalid_hello_version":
			return fmt.Errorf("the signaling server speaks another version of the protocol (%w)", err)
		}
		return err
	}
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		noTLS    tls.RecordHeaderError
		noName   *net.DNSError
		noAnswer *net.OpError
	)
	switch {
	case errors.Is(err, ErrNotSignaling):
		return fmt.Errorf("there is no signaling server at that address: give the one of Talk's settings (%w)", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("TLS: the certificate is of an authority that is not known here: give its certificate as ca (%w)", err)
	case errors.As(err, &name):
		return fmt.Errorf("TLS: the certificate is for another name (%w)", err)
	case errors.As(err, &invalid):
		return fmt.Errorf("TLS: the certificate is not valid (%w)", err)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		return fmt.Errorf("TLS: the server does not speak TLS at that port: give its address as http:// if that is meant (%w)", err)
	case errors.As(err, &noName):
		return fmt.Errorf("the host's name cannot be resolved (%w)", err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &noAnswer):
		return fmt.Errorf("the host cannot be reached (%w)", err)
	}
	return err
}
