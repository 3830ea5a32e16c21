package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"sipxrest/dialout"
	webphone "sipxrest/phone"
	"sipxrest/restauth"
	"sipxrest/schema"
)

// Limits of one HTTP exchange. A request is one line and a few header fields,
// hardly any has a body that is used, so all of them are short. A handler that
// answers for longer (an event stream) lifts them with http.ResponseController.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 16 << 10
	maxStreams        = 100 // requests at a time on one HTTP/2 connection
)

// A listener is one that HTTP is served on: an item of "http", phone.listen or
// metrics.listen.
type listener struct {
	server *http.Server
	socket *limitListener
	tls    *tls.Config // nil: none
	url    string
}

// newListener serves h on socket, by TLS as secure says, if it is not nil, within
// the limits of an exchange and of r.
func (a *App) newListener(socket net.Listener, secure *tls.Config, r room, h http.Handler) *listener {
	l := newListener(socket, secure, r, h, a.log)
	l.socket.relieve = a.relieve
	return l
}

func newListener(socket net.Listener, secure *tls.Config, r room, h http.Handler, log *slog.Logger) *listener {
	l := &listener{
		server: newServer(h, log),
		socket: newLimitListener(socket, r, log),
		tls:    secure,
		url:    "http://" + socket.Addr().String(),
	}
	l.server.Protocols = new(http.Protocols)
	l.server.Protocols.SetHTTP1(true)
	if secure != nil {
		l.url = "https://" + socket.Addr().String()
		// HTTP/2 ends connections of older TLS (RFC 9113 §9.2), but clients may offer both.
		spoken := secure.MinVersion >= tls.VersionTLS12
		secure.NextProtos = alpn(spoken)
		l.server.Protocols.SetUnencryptedHTTP2(spoken) // see clientListener
		l.server.Handler = aware(h)
	}
	return l
}

// clientRoom is the room for the clients of a listener.
func (a *App) clientRoom() room {
	return room{total: a.cfg.Limits.Connections, perAddress: a.cfg.Limits.ConnectionsPerAddress,
		exempt: prefixes(a.cfg.ReverseProxies), knows: a.trusts()}
}

// trusts says who is in "trusted"; nil when nobody is.
func (a *App) trusts() func(netip.Addr) bool {
	if len(a.cfg.Trusted) == 0 {
		return nil
	}
	return a.peers.known(prefixes(a.cfg.Trusted))
}

// relieve closes a connection that is of no use, of a stranger if there is one,
// and says whether it has.
func (a *App) relieve() bool {
	for _, known := range []bool{false, true} {
		for _, l := range a.allListeners() {
			if l.socket.giveUp(known) {
				return true
			}
		}
	}
	return false
}

// bindHTTP opens every HTTP listener. After a fault none is open.
func (a *App) bindHTTP(gate *restauth.Gate, h http.Handler) (err error) {
	defer func() {
		if err != nil {
			a.closeHTTP()
		}
	}()
	for i, l := range a.cfg.HTTP {
		policy, err := restauth.ParsePolicy(l.Auth)
		if err != nil {
			return fmt.Errorf("%s: listener %d: %w", a.cfg.Origin("http"), i+1, err)
		}
		var secure *tls.Config
		if l.TLS != nil {
			cert, err := a.certificateFor(*l.TLS)
			if err != nil {
				return fmt.Errorf("%s: listener %d: %w", a.cfg.Origin("http"), i+1, err)
			}
			secure = cert.config(l.TLS.MinVersion)
		}
		socket, err := net.Listen("tcp", l.Listen)
		if err != nil {
			return fmt.Errorf("%s: listener %d: %w", a.cfg.Origin("http"), i+1, explainBind(err))
		}
		a.listeners = append(a.listeners, a.newListener(socket, secure, a.clientRoom(),
			a.withPhone(a.observed(guarded(gate.Listener(policy, secure != nil, h), a.log)), secure != nil)))
	}
	return a.bindPhone()
}

// newServer answers requests within the limits of an exchange.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ConnState:         followState,
		ConnContext:       inContext,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// explainBind adds to a bind error what to do about it.
func explainBind(err error) error {
	port := 0
	var at *net.OpError
	if errors.As(err, &at) && at.Addr != nil {
		if a, err := netip.ParseAddrPort(at.Addr.String()); err == nil {
			port = int(a.Port())
		}
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program (another sipxrest?) has this port: stop it or choose another", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine has the addresses %v", err, ownAddresses())
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%w: this machine has no IPv6, or it is switched off: write an IPv4 address", err)
	case errors.Is(err, os.ErrPermission) && port > 0 && port < 1024:
		return fmt.Errorf("%w: ports below 1024 need a privilege: choose a higher one", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: the system forbids it, such as SELinux, AppArmor or the sandbox of the unit: its log says which", err)
	}
	return err
}

// guarded answers 500 for a handler that panics: the client gets an answer, the
// operator the stack. It has h answer complete requests only.
func guarded(h http.Handler, log *slog.Logger) http.Handler {
	h = listening(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			if fault == http.ErrAbortHandler { // how a handler cuts its connection
				panic(fault)
			}
			log.Error("panic while answering", "method", r.Method, "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
			answerFault(w, r, http.StatusInternalServerError, "Internal error")
		}()
		h.ServeHTTP(w, r)
	})
}

// answerFault answers with the document that clients of the resource know.
func answerFault(w http.ResponseWriter, r *http.Request, status int, text string) {
	switch {
	case dialout.Owns(r):
		dialout.Fail(w, status)
		return
	case webphone.Owns(r):
		webphone.Fail(w, status)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(schema.AppendProcessingStatus(nil, status, text))
}

// serve answers requests until the listener is closed.
func (l *listener) serve() error {
	err := l.server.Serve(&clientListener{Listener: l.socket, tls: l.tls, log: l.socket.log})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", l.url, err)
}

// shutdownHTTP lets requests in progress finish, for a moment.
func (a *App) shutdownHTTP() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, l := range a.allListeners() {
		_ = l.server.Shutdown(ctx) // closeHTTP ends what is left
	}
	a.closeHTTP()
}

func (a *App) closeHTTP() {
	all := a.allListeners()
	if a.control != nil {
		all = append(all[:len(all):len(all)], a.control)
	}
	for _, l := range all {
		_ = l.server.Close()
		_ = l.socket.Close() // a socket that was never served is unknown to its server
	}
}

// certificateFor answers a certificate, the same for the same files.
func (a *App) certificateFor(t TLS) (*certificate, error) {
	for _, c := range a.certificates {
		if t.Cert != "" && c.cert == t.Cert && c.key == t.Key || t.Cert == "" && c == a.ownCert {
			return c, nil
		}
	}
	c, made, err := openCertificate(t, a.cfg.DataDir, certificateNames(&a.cfg))
	if err != nil {
		return nil, err
	}
	if made {
		a.log.Info("self-signed certificate made: clients must accept it (curl -k), or configure your own by tls.cert and tls.key",
			"file", c.cert, "sha256", c.fingerprint())
	}
	if t.Cert == "" {
		a.ownCert = c
	}
	a.certificates = append(a.certificates, c)
	return c, nil
}

func prefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := parsePrefix(s); err == nil { // Validate has refused the others
			out = append(out, p)
		}
	}
	return out
}
