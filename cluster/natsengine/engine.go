package natsengine

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"sipxrest/cluster"
)

// An Engine is a connection to the servers, which comes back by itself.
type Engine struct {
	cfg Config
	log *slog.Logger
	nc  *nats.Conn

	// reached is set at the first connection, and stays.
	reached atomic.Bool
	batch   atomic.Uint64 // number of the last atomic batch
	base    time.Time     // monotonic: clocks may be set
	leader  atomic.Int64  // when one has answered a write, or the connection began: ns after base
	prefix  string        // of the batches' ids; random

	ctx    context.Context // of all goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	own  map[string]bool // streams that should be led elsewhere
	said map[string]bool // failures that were logged since the last connection
}

var _ cluster.Engine = (*Engine)(nil)

// ErrAway says that there is no connection to any server now.
var ErrAway = errors.New("cluster.nats: no server answers")

// New returns an engine, whose servers may not be there yet: it goes on trying. Its
// error names the key that is wrong.
func New(cfg Config, log *slog.Logger) (*Engine, error) {
	o, err := cfg.options()
	if err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, log: log, prefix: rand.Text()[:8], base: time.Now(), own: map[string]bool{}, said: map[string]bool{}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	o = append(o,
		nats.ConnectHandler(e.connected), nats.ReconnectHandler(e.connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { e.lost(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { e.lost(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			log.Warn("the store's connection has a fault", "error", err, "subject", subject)
		}))
	if e.nc, err = nats.Connect(strings.Join(cfg.Servers, ","), o...); err != nil {
		e.cancel()
		return nil, err
	}
	e.wg.Add(1)
	go e.leadElsewhere()
	return e, nil
}

func (e *Engine) connected(nc *nats.Conn) {
	e.reached.Store(true)
	e.answered()
	e.mu.Lock()
	clear(e.said)
	e.mu.Unlock()
	e.log.Info("connected with the store", "server", nc.ConnectedServerName(), "url", nc.ConnectedUrlRedacted(), "version", nc.ConnectedServerVersion())
}

// mostSaid bounds how many failures are logged until there is a connection again.
const mostSaid = 20

// lost says why there is no connection, once for each reason: several servers are tried in turn, four times a second.
func (e *Engine) lost(err error) {
	if err == nil || e.ctx.Err() != nil {
		return
	}
	err = e.cfg.advice(err)
	e.mu.Lock()
	silent := e.said[err.Error()] || len(e.said) >= mostSaid
	if !silent {
		e.said[err.Error()] = true
	}
	e.mu.Unlock()
	if !silent {
		e.log.Warn("the store does not answer, trying on", "error", err)
	}
}

// Reached reports whether there has ever been a connection.
func (e *Engine) Reached() bool { return e.reached.Load() }

// answered notes that the server reaches those that lead streams.
func (e *Engine) answered() { e.leader.Store(int64(time.Since(e.base))) }

// unanswered notes that a write came to nothing. A server that is cut off from the others
// answers pings, so the library stays with it: after leaderWait another one is asked.
func (e *Engine) unanswered() {
	since := e.leader.Load()
	now := time.Since(e.base)
	silent := now - time.Duration(since)
	server := e.Connected()
	if silent < leaderWait || server == "" || !e.leader.CompareAndSwap(since, int64(now)) {
		return
	}
	e.log.Warn("the store's server reaches no leader, asking another one", "server", server, "for", silent.Round(100*time.Millisecond))
	if err := e.nc.ForceReconnect(); err != nil {
		e.log.Debug("the connection with the store is not left", "error", err)
	}
}

// Connected names the server that this engine is connected with. Empty: none.
func (e *Engine) Connected() string {
	if !e.nc.IsConnected() {
		return ""
	}
	return e.nc.ConnectedServerName()
}

// Close ends the connection. What was given to Watch and Answer is not called any
// more once it has returned.
func (e *Engine) Close() error {
	e.cancel()
	if e.nc.IsConnected() { // what was told last is told
		_ = e.nc.FlushTimeout(againWait)
	}
	e.nc.Close()
	e.wg.Wait()
	return nil
}

// again calls try until it returns no error of the kind that passes by itself, with
// growing pauses between.
func again(ctx context.Context, most int, try func() (passes bool, err error)) error {
	pause := 2 * time.Millisecond
	for i := 0; ; i++ {
		passes, err := try()
		if !passes || i == most {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return errors.Join(ctx.Err(), err)
		case <-t.C:
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}
