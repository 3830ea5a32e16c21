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

// Limits of one HTTP exchange. A request is one line and a few header fields
// and its body is ignored, so all of them are short. A handler that answers
// for longer (an event stream) lifts them with http.ResponseController.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 16 << 10
	maxBodyBytes      = 64 << 10
	maxStreams        = 100 // requests at a time on one HTTP/2 connection
)

// A listener is one bound item of "http".
type listener struct {
	server *http.Server
	socket net.Listener
	url    string
}

// bindHTTP opens every HTTP listener. After a fault none is open.
func (a *App) bindHTTP(gate *restauth.Gate, h http.Handler) (err error) {
	defer func() {
		if err != nil {
			a.closeHTTP()
		}
	}()
	exempt := prefixes(a.cfg.ReverseProxies)
	for i, l := range a.cfg.HTTP {
		policy, err := restauth.ParsePolicy(l.Auth)
		if err != nil {
			return fmt.Errorf("%s: listener %d: %w", a.cfg.Origin("http"), i+1, err)
		}
		var tlsConfig *tls.Config
		scheme := "http://"
		var protocols http.Protocols
		protocols.SetHTTP1(true)
		if l.TLS != nil {
			cert, err := a.certificateFor(*l.TLS)
			if err != nil {
				return fmt.Errorf("%s: listener %d: %w", a.cfg.Origin("http"), i+1, err)
			}
			tlsConfig = cert.config(l.TLS.MinVersion)
			scheme = "https://"
			// HTTP/2 ends connections of older TLS (RFC 9113 §9.2), but clients may offer both.
			protocols.SetHTTP2(tlsVersions[l.TLS.MinVersion] >= tls.VersionTLS12)
		}
		socket, err := net.Listen("tcp", l.Listen)
		if err != nil {
			return fmt.Errorf("%s: listener %d: %w", a.cfg.Origin("http"), i+1, explainBind(err))
		}
		server := newServer(a.withPhone(a.observed(guarded(gate.Listener(policy, l.TLS != nil, h), a.log)), l.TLS != nil), a.log)
		server.TLSConfig, server.Protocols = tlsConfig, &protocols
		a.listeners = append(a.listeners, &listener{
			server: server,
			socket: newLimitListener(socket, a.cfg.Limits.Connections, a.cfg.Limits.ConnectionsPerAddress, exempt, a.log),
			url:    scheme + socket.Addr().String(),
		})
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

// guarded bounds a request's body, which no handler of the call resource
// reads: who announces more gets 413, before any of it is read. It answers 500 for a handler that panics: the client gets an answer,
// the operator the stack.
func guarded(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBodyBytes {
			w.Header().Set("Connection", "close") // nothing can follow a body that is not read
			answerFault(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has more than %d bytes, and none is needed", maxBodyBytes))
			return
		}
		if r.ContentLength != 0 {
			r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		}
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
	var err error
	if l.server.TLSConfig != nil {
		err = l.server.ServeTLS(l.socket, "", "")
	} else {
		err = l.server.Serve(l.socket)
	}
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
