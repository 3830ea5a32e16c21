//go:build !nostore

package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// health answers GET /healthz: 200 once all streams are current, else 503 with the
// reason.
type health struct {
	server *http.Server
	socket net.Listener
	ended  chan struct{}
}

// healthWait bounds a request, and maxHealthHeader its header, in bytes.
const (
	healthWait      = 5 * time.Second
	maxHealthHeader = 4 << 10
)

func listenHealth(at string, current func() error, log *slog.Logger) (*health, error) {
	socket, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("store.health: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		if err := current(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, err.Error()+"\n")
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	h := &health{socket: socket, ended: make(chan struct{}), server: &http.Server{
		Handler: mux, ReadTimeout: healthWait, WriteTimeout: healthWait, IdleTimeout: healthWait, MaxHeaderBytes: maxHealthHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}}
	go func() {
		defer close(h.ended)
		if err := h.server.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
			log.Error("store.health has ended", "error", err)
		}
	}()
	return h, nil
}

func (h *health) addr() string { return h.socket.Addr().String() }

func (h *health) close() {
	_ = h.server.Close()
	<-h.ended
}
