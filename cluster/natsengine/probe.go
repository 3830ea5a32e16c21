package natsengine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"sipxrest/cluster"
)

// A Probed is what Probe has found of one server.
type Probed struct {
	URL, Name, Version string
	RoundTrip          time.Duration
	Err                error // nil: it answers, and takes our account
}

// A Tried is what Probe has found of the store as a whole.
type Tried struct {
	Servers  []Probed
	Replicas int           // that a stream can have, of those wanted
	Commit   time.Duration // a write with a condition, until it was acknowledged
	// Storage and MaxStorage are the bytes that streams take, and may take; below 0:
	// without limit.
	Storage, MaxStorage int64
	Err                 error // why the whole cannot be used; nil: it can
}

// OldestVersion of NATS is the first with atomic batches.
const OldestVersion = "2.12"

// Probe asks each server, then has the store keep a stream for a moment, as a node
// would: with conditions, times to live and so many replicas (0: as many as usual).
func Probe(ctx context.Context, cfg Config, prefix string, replicas int) Tried {
	var t Tried
	o, err := cfg.options()
	if err != nil {
		t.Err = err
		return t
	}
	var e *Engine
	refused := false // a server is there, but not for us
	for _, server := range cfg.Servers {
		p := Probed{URL: server}
		nc, err := nats.Connect(server, append(o[:len(o):len(o)], nats.RetryOnFailedConnect(false), nats.NoReconnect())...)
		if err != nil {
			p.Err = cfg.advice(reason(ctx, server, err))
			refused = refused || !dialled(p.Err)
			t.Servers = append(t.Servers, p)
			continue
		}
		p.Name, p.Version = nc.ConnectedServerName(), nc.ConnectedServerVersion()
		p.RoundTrip, p.Err = nc.RTT()
		if p.Err == nil && older(p.Version, OldestVersion) {
			p.Err = fmt.Errorf("NATS %s: version %s or later is needed", p.Version, OldestVersion)
		}
		refused = refused || p.Err != nil
		t.Servers = append(t.Servers, p)
		if e == nil && p.Err == nil {
			e = &Engine{cfg: cfg, nc: nc, log: slog.New(slog.DiscardHandler)}
			defer nc.Close()
			continue
		}
		nc.Close()
	}
	if e == nil {
		if t.Err = ErrAway; refused {
			t.Err = ErrRefused
		}
		return t
	}
	t.Err = e.try(ctx, prefix+"_CHECK", replicas, &t)
	return t
}

// ErrRefused says that servers are there, and none of them can be used.
var ErrRefused = errors.New("cluster.nats: no server can be used")

// dialled reports whether there was not even a connection by TCP.
func dialled(err error) bool {
	op := (*net.OpError)(nil)
	return errors.As(err, &op) && op.Op == "dial"
}

// noMajority says what is to be done when JetStream does not answer, or has no place for a stream.
func noMajority(servers int, err error) error {
	switch code := refusal(err); {
	case errors.Is(err, context.DeadlineExceeded), code == codeUnavailable:
		return fmt.Errorf("%w: most of the stores must run and reach each other by store.peers; after a start, or an end, wait some seconds", err)
	case code == codeNoPeers, code == codeNoReplicas:
		return fmt.Errorf("%w: so many stores must run and have found each other by store.peers; cluster.nats names %d", err, servers)
	}
	return err
}

// reason finds out why there is no connection, which the client library does not
// say.
func reason(ctx context.Context, server string, err error) error {
	u, parseErr := url.Parse(server)
	if !errors.Is(err, nats.ErrNoServers) || parseErr != nil {
		return err
	}
	at := u.Host
	if u.Port() == "" {
		at = net.JoinHostPort(u.Hostname(), strconv.Itoa(nats.DefaultPort))
	}
	d := net.Dialer{Timeout: dialWait}
	c, dialErr := d.DialContext(ctx, "tcp", at)
	if dialErr != nil {
		return dialErr
	}
	c.Close()
	return fmt.Errorf("%w: is it a NATS server, and does it want TLS?", err)
}

// account is what JetStream says of us.
type account struct {
	refusable
	Storage int64 `json:"storage"`
	Limits  struct {
		MaxStorage int64 `json:"max_storage"`
	} `json:"limits"`
}

// try makes a stream, writes to it, reads it, and removes it.
func (e *Engine) try(ctx context.Context, stream string, replicas int, t *Tried) error {
	var have account
	if err := e.ask(ctx, "$JS.API.INFO", nil, &have); errors.Is(err, nats.ErrNoResponders) {
		return errors.New("JetStream is not switched on, or not for our account")
	} else if err != nil {
		return fmt.Errorf("JetStream: %w", noMajority(len(e.cfg.Servers), err))
	}
	t.Storage, t.MaxStorage = have.Storage, have.Limits.MaxStorage
	if replicas == 0 {
		replicas = e.replicas()
	}
	s := cluster.Stream{Name: stream, Subjects: []string{stream + ".>"}, MaxAge: time.Minute, Replicas: replicas}
	if err := e.Delete(ctx, stream); err != nil { // of a check that was cut off
		return noMajority(len(e.cfg.Servers), err)
	}
	err := e.Ensure(ctx, s)
	if err != nil {
		return fmt.Errorf("a stream with %d replicas cannot be made: %w", replicas, noMajority(len(e.cfg.Servers), err))
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialWait)
		defer cancel()
		_ = e.Delete(clean, stream)
	}()
	t.Replicas = replicas
	subject := stream + ".x"
	began := time.Now()
	write := []cluster.Write{{Subject: subject, Data: []byte("x"), TTL: time.Minute}, {Subject: subject + ".y", Data: []byte("y")}}
	// The stream's servers may be choosing their leader yet.
	err = again(ctx, inProcess, func() (bool, error) {
		began = time.Now()
		_, err := e.Commit(ctx, stream, write, cluster.Cond{Subject: subject})
		return err != nil && !errors.Is(err, cluster.ErrConflict), err
	})
	if err != nil {
		return fmt.Errorf("a write with a condition fails: %w", err)
	}
	t.Commit = time.Since(began)
	if _, err := e.Commit(ctx, stream, write, cluster.Cond{Subject: subject}); !errors.Is(err, cluster.ErrConflict) {
		return fmt.Errorf("the store does not mind conditions: %v", err)
	}
	if entry, err := e.Last(ctx, stream, subject); err != nil || string(entry.Data) != "x" {
		return fmt.Errorf("what was written cannot be read: %w", err)
	}
	return nil
}

// older reports whether a version is before another one, both as "2.12.3".
func older(version, than string) bool {
	a, b := numbers(version), numbers(than)
	for i := range b {
		switch {
		case a[i] < b[i]:
			return true
		case a[i] > b[i]:
			return false
		}
	}
	return false
}

func numbers(version string) (out [3]int) {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	for i, s := range strings.SplitN(version, ".", 3) {
		out[i], _ = strconv.Atoi(s)
	}
	return out
}
