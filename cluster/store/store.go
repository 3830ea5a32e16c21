//go:build !nostore

package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// startWait is how long the server has to open its sockets and files.
	startWait = 30 * time.Second
	// currentWait is how long the start waits until all streams are current. A
	// first store has no peers yet, and must not keep systemd waiting for them.
	currentWait = 20 * time.Second
	// handOver is how long the end takes to give its clients to other stores, once
	// those lead its streams.
	handOver = 500 * time.Millisecond
	// look is how often the start looks whether all is current.
	look = 100 * time.Millisecond
	// maxPayload bounds a message, in bytes. A call's state has some 2 KB.
	maxPayload = 1 << 20
	// batches bounds the atomic writes that are open at a time, of all nodes.
	batches = 1000
)

// Built reports whether this program can run a store.
const Built = true

// A Server is a store that runs.
type Server struct {
	cfg    Config
	log    *slog.Logger
	nats   *server.Server
	fatal  chan error // what ends the server from within
	health *health    // nil without
	at     string     // where nodes connect
}

// Run runs a store until ctx ends. Others lead its streams before it returns.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	s, err := Start(cfg, log)
	if err != nil {
		return err
	}
	s.tell(ctx)
	var failed error
	select {
	case <-ctx.Done():
		log.Info("the store ends: other stores take its streams")
	case failed = <-s.fatal:
	}
	s.notify("STOPPING=1")
	s.End()
	if failed != nil {
		return failed
	}
	log.Info("the store has ended")
	return nil
}

// Start opens a store: its sockets listen once it returns. Its streams may not be
// current yet.
func Start(cfg Config, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, log: log, fatal: make(chan error, 1)}
	opts, err := s.options()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store.dir: %w", err)
	}
	if s.nats, err = server.NewServer(opts); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s.nats.SetLoggerV2(&logger{log: log, fatal: s.fatal}, log.Enabled(context.Background(), slog.LevelDebug), false, false)
	if cfg.Health != "" {
		if s.health, err = listenHealth(cfg.Health, s.Current, log); err != nil {
			return nil, err
		}
	}
	s.nats.Start()
	if err := s.started(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// started waits until the sockets listen.
func (s *Server) started() error {
	for limit := time.Now().Add(startWait); time.Now().Before(limit); {
		if s.nats.ReadyForConnections(look) {
			s.at = s.nats.Addr().String()
			return nil
		}
		select {
		case err := <-s.fatal:
			return err
		default:
		}
	}
	return fmt.Errorf("store: it does not listen within %v: its log says why", startWait)
}

// tell tells the log and systemd that the store serves, once its streams are
// current: who restarts one after the other waits for that.
func (s *Server) tell(ctx context.Context) {
	wait, cancel := context.WithTimeout(ctx, currentWait)
	defer cancel()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	why := s.Current()
	for why != nil {
		select {
		case <-wait.Done():
			if ctx.Err() == nil {
				s.log.Warn("the store serves, but is not current yet", "error", why, "peers", s.cfg.Peers)
				s.notify("READY=1\nSTATUS=Waits for its peers: " + why.Error())
			}
			return
		case err := <-s.fatal:
			s.fatal <- err // Run reads it
			return
		case <-ticker.C:
			why = s.Current()
		}
	}
	s.log.Info("the store serves", "listen", s.Addr(), "name", s.nats.Name(), "peers", s.cfg.Peers, "dir", s.cfg.Dir, "nats", server.VERSION)
	s.notify("READY=1\nSTATUS=Serves at " + s.Addr())
}

func (s *Server) notify(state string) {
	if s.cfg.Notify != nil {
		s.cfg.Notify(state)
	}
}

// Current returns what its streams lack to be as those of its peers, nil for
// nothing.
func (s *Server) Current() error {
	h := s.nats.Healthz(&server.HealthzOptions{})
	if h.Status == "ok" {
		return nil
	}
	if h.Error == "" {
		return errors.New(h.Status)
	}
	return errors.New(h.Error)
}

// Addr is where nodes connect.
func (s *Server) Addr() string { return s.at }

// Name is what it is called among the stores.
func (s *Server) Name() string { return s.nats.Name() }

// RouteAddr is where other stores connect, "" for a store that is alone.
func (s *Server) RouteAddr() string {
	if a := s.nats.ClusterAddr(); a != nil {
		return a.String()
	}
	return ""
}

// HealthAddr is where /healthz is, "" for nowhere.
func (s *Server) HealthAddr() string {
	if s.health == nil {
		return ""
	}
	return s.health.addr()
}

// End has other stores lead its streams, then ends it.
func (s *Server) End() {
	s.nats.LameDuckShutdown()
	s.stop()
}

// Kill ends it without waiting for its clients. It is for tests.
func (s *Server) Kill() { s.stop() }

func (s *Server) stop() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	if s.health != nil {
		s.health.close()
	}
}

// options are those of the server.
func (s *Server) options() (*server.Options, error) {
	c := &s.cfg
	host, port, err := c.bind()
	if err != nil {
		return nil, err
	}
	secure, err := c.TLS.server()
	if err != nil {
		return nil, err
	}
	leave := cmp.Or(c.handOver, handOver)
	o := &server.Options{
		ServerName: c.name(),
		Host:       host, Port: port,
		Username: c.User, Password: c.Password,
		TLSConfig: secure, TLSVerify: secure != nil && c.TLS.CA != "", TLSTimeout: 5,
		JetStream: true, StoreDir: c.Dir, JetStreamMaxMemory: c.MaxMemory, JetStreamMaxStore: c.MaxDisk,
		SyncInterval: c.Sync, SyncAlways: c.Sync == 0,
		MaxPayload: maxPayload, NoSigs: true, DisableJetStreamBanner: true,
		LameDuckDuration: leave, LameDuckGracePeriod: leave / 5,
		JetStreamLimits: server.JSLimitOpts{MaxBatchInflightPerStream: batches, MaxBatchInflightTotal: 10 * batches},
		// A node that is gone must not hold up the others: its pings end it.
		PingInterval: 10 * time.Second, MaxPingsOut: 2,
	}
	if o.SyncAlways {
		o.SyncInterval = 0
	}
	if len(c.Peers) == 0 {
		return o, nil
	}
	o.Cluster = server.ClusterOpts{
		Name: c.clusterName(), Host: host, Port: c.routePort(), Username: c.User, Password: c.Password,
		TLSConfig: secure, TLSTimeout: 5, PingInterval: 5 * time.Second, MaxPingsOut: 2,
		Advertise: c.Advertise,
		// What clients must know is in their own configuration.
		NoAdvertise: true,
	}
	own := net.JoinHostPort(host, strconv.Itoa(c.routePort()))
	for _, p := range c.Peers {
		at := c.route(p)
		if at == own {
			continue
		}
		u := &url.URL{Scheme: "nats-route", Host: at}
		if c.User != "" {
			u.User = url.UserPassword(c.User, c.Password)
		}
		if !slices.ContainsFunc(o.Routes, func(r *url.URL) bool { return r.Host == at }) {
			o.Routes = append(o.Routes, u)
		}
	}
	return o, nil
}
