package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/restauth"
)

// newListener serves h on socket, by TLS as secure says, if it is not nil, within
// the limits of an exchange and of r.
func (a *App) newListener(socket net.Listener, secure *tls.Config, r web.Room, h http.Handler) *web.Listener {
	r.Relieve = a.relieve
	return web.NewListener(socket, secure, r, h, a.log)
}

// clientRoom is the room for the clients of a listener.
func (a *App) clientRoom() web.Room {
	return web.Room{Total: a.cfg.Limits.Connections, PerAddress: a.cfg.Limits.ConnectionsPerAddress,
		Exempt: config.Prefixes(a.cfg.ReverseProxies), Knows: a.trusts()}
}

// trusts says who is in "trusted"; nil when nobody is.
func (a *App) trusts() func(netip.Addr) bool {
	if len(a.cfg.Trusted) == 0 {
		return nil
	}
	return a.peers.known(config.Prefixes(a.cfg.Trusted))
}

// relieve closes a connection that is of no use, of a stranger if there is one,
// and reports whether it has.
func (a *App) relieve() bool {
	for _, known := range []bool{false, true} {
		for _, l := range a.allListeners() {
			if l.GiveUp(known) {
				return true
			}
		}
	}
	return false
}

// openListeners opens every HTTP listener. After a fault none is open.
func (a *App) openListeners() (err error) {
	defer func() {
		if err != nil {
			a.closeHTTP()
		}
	}()
	a.routes = a.routesOf(web.Route{Handler: a.controller.Handler(), Fail: failWithStatus})
	if err := a.bindMetrics(); err != nil {
		return err
	}
	for i := range a.cfg.HTTP {
		if err := a.bindHTTP(&a.cfg.HTTP[i]); err != nil {
			return fmt.Errorf("%s: listener %d: %w", a.cfg.Origin("http"), i+1, err)
		}
	}
	for _, f := range a.features {
		if f.bind != nil {
			if err := f.bind(); err != nil {
				return err
			}
		}
	}
	for _, l := range a.listeners {
		a.add(feature{name: "HTTP", stage: stageListeners, run: func(context.Context) error { <-a.accept; return l.Serve() }})
	}
	a.openControl()
	a.add(feature{name: "listeners", stage: stageListeners, stop: a.shutdownHTTP})
	a.certificateStates = fileStates(a.certificateFiles())
	return nil
}

// bindHTTP opens a listener of "http".
func (a *App) bindHTTP(l *config.HTTPListener) error {
	policy, err := restauth.ParsePolicy(l.Auth)
	if err != nil {
		return err
	}
	var secure *tls.Config
	if l.TLS != nil {
		cert, err := a.certificateFor("http", *l.TLS)
		if err != nil {
			return err
		}
		secure = cert.Config(l.TLS.MinVersion)
	}
	socket, err := net.Listen("tcp", l.Listen)
	if err != nil {
		return web.ExplainBind(err)
	}
	gated := a.observed(web.Guard(a.routes, a.gate.Listener(policy, secure != nil, a.routes), a.log))
	listener := a.newListener(socket, secure, a.clientRoom(), a.routes.Ungated(secure != nil, gated))
	if a.overload != nil {
		listener.AnswerEarly(a.controller.Early)
	}
	if a.api != nil {
		listener.Word(api.Words)
	}
	a.listeners = append(a.listeners, listener)
	return nil
}

// shutdownHTTP lets requests in progress finish, for a moment.
func (a *App) shutdownHTTP() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, l := range a.allListeners() {
		l.Shutdown(ctx)
	}
	a.closeHTTP()
}

func (a *App) closeHTTP() {
	all := a.allListeners()
	if a.control != nil {
		all = append(all[:len(all):len(all)], a.control)
	}
	for _, l := range all {
		l.Close()
	}
}

// certificateFor returns a certificate for a use, "http" or "sip", the same for the
// same files.
func (a *App) certificateFor(use string, t config.TLS) (c *web.Certificate, err error) {
	if c, err = a.certificateOf(t); err == nil && !slices.Contains(a.certificateUses[c], use) {
		if a.certificateUses == nil {
			a.certificateUses = map[*web.Certificate][]string{}
		}
		a.certificateUses[c] = append(a.certificateUses[c], use)
	}
	return c, err
}

func (a *App) certificateOf(t config.TLS) (*web.Certificate, error) {
	for _, c := range a.certificates {
		if t.Cert != "" && c.Is(t.Cert, t.Key) || t.Cert == "" && c == a.ownCert {
			return c, nil
		}
	}
	c, made, err := web.OpenCertificate(t, a.cfg.DataDir, a.cfg.CertificateNames())
	if err != nil {
		return nil, err
	}
	if made {
		a.log.Info("self-signed certificate made: clients must accept it (curl -k), or configure your own by tls.cert and tls.key",
			"file", c.Files()[0], "sha256", c.Fingerprint())
	}
	if t.Cert == "" {
		a.ownCert = c
	}
	a.certificates = append(a.certificates, c)
	return c, nil
}
