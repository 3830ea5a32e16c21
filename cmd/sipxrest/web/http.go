package web

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

	"sipxrest/cmd/sipxrest/config"
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

// A Listener is one that HTTP is served on: an item of "http", phone.listen or
// metrics.listen.
type Listener struct {
	server *http.Server
	socket *limitListener
	tls    *tls.Config // nil: none
	early  Early       // nil: none
	words  Words       // nil: net/http's
	URL    string
}

// NewListener serves h on socket, by TLS as secure says, if it is not nil, within
// the limits of an exchange and of r.
func NewListener(socket net.Listener, secure *tls.Config, r Room, h http.Handler, log *slog.Logger) *Listener {
	l := &Listener{
		server: newServer(h, log),
		socket: newLimitListener(socket, r, log),
		tls:    secure,
		URL:    "http://" + socket.Addr().String(),
	}
	l.server.Protocols = new(http.Protocols)
	l.server.Protocols.SetHTTP1(true)
	if secure != nil {
		l.URL = "https://" + socket.Addr().String()
		// HTTP/2 ends connections of older TLS (RFC 9113 §9.2), but clients may offer both.
		spoken := secure.MinVersion >= tls.VersionTLS12
		secure.NextProtos = alpn(spoken)
		l.server.Protocols.SetUnencryptedHTTP2(spoken) // see clientListener
		l.server.Handler = aware(h)
	}
	return l
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
		// net/http's own waits for a body that nobody needs: see listening.
		DisableGeneralOptionsHandler: true,
		ConnState:                    followState,
		ConnContext:                  inContext,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// ExplainBind adds to a bind error what to do about it.
func ExplainBind(err error) error {
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
		return fmt.Errorf("%w: this machine has the addresses %v", err, config.OwnAddresses())
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%w: this machine has no IPv6, or it is switched off: write an IPv4 address", err)
	case errors.Is(err, os.ErrPermission) && port > 0 && port < 1024:
		return fmt.Errorf("%w: ports below 1024 need a privilege: choose a higher one", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: the system forbids it, such as SELinux, AppArmor or the sandbox of the unit: its log says which", err)
	}
	return err
}

// Guard answers 500 for a handler that panics: the client gets an answer, the
// operator the stack. It has h answer complete requests only. routes say what h
// answers, and in which words.
func Guard(routes Routes, h http.Handler, log *slog.Logger) http.Handler {
	h = listening(routes, h)
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
			routes.fail(w, r, http.StatusInternalServerError, "Internal error")
		}()
		h.ServeHTTP(w, r)
	})
}

// Slow gives a listener a name for messages, and its handlers so long until they
// have answered.
func (l *Listener) Slow(name string, answers time.Duration) {
	l.URL, l.server.WriteTimeout = name, answers+readTimeout
}

// Addr is the address that the listener is bound to.
func (l *Listener) Addr() net.Addr { return l.socket.Addr() }

// Stats returns how many connections are open, how many were closed at once, and
// how many because another needed the place.
func (l *Listener) Stats() (open int, refused, displaced uint64) {
	open, counts := l.socket.stats()
	return open, counts.refused, counts.displaced
}

// GiveUp closes a connection that is of no use, of a known peer or of a stranger,
// and reports whether there was one.
func (l *Listener) GiveUp(known bool) bool { return l.socket.giveUp(known) }

// Shutdown lets requests in progress finish until ctx ends. close ends what is
// left.
func (l *Listener) Shutdown(ctx context.Context) { _ = l.server.Shutdown(ctx) }

// Close ends everything at once.
func (l *Listener) Close() {
	_ = l.server.Close()
	_ = l.socket.Close() // a socket that was never served is unknown to its server
}

// Serve answers requests until the listener is closed.
func (l *Listener) Serve() error {
	err := l.server.Serve(&clientListener{Listener: l.socket, tls: l.tls, early: l.early, words: l.words, log: l.socket.log})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", l.URL, err)
}
