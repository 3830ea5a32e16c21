// Package natslog is the stream of events of a cluster over NATS JetStream, and the
// store of its webhooks.
package natslog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/natsengine"
	"sipxrest/event"
)

// Config is what the streams are made with. Once they are there it is of no effect.
type Config struct {
	Cluster  string        // prefix of streams and subjects
	Keep     time.Duration // how long events stay; 0: for ever
	MaxBytes int64         // of events; 0: no limit
	Replicas int           // 0: as many as the engine finds right
}

// A Log is an event.Stream.
type Log struct {
	engine *natsengine.Engine
	cfg    Config
	stream string
	prefix string // of subjects, with a point
	name   string

	mu     sync.Mutex
	behind time.Time // since when the stream has had less than this node has read of it
}

var _ event.Stream = (*Log)(nil)

// New returns the events of a cluster. Nothing is asked of the store yet.
func New(e *natsengine.Engine, cfg Config) *Log {
	return &Log{engine: e, cfg: cfg, stream: cfg.Cluster + "_EVENTS", prefix: cfg.Cluster + ".ev.", name: nameOf(cfg.Cluster)}
}

// nameOf is what cursors call the events of a cluster. It must not change.
func nameOf(name string) string {
	const chars = "0123456789abcdefghjkmnpqrstvwxyz"
	sum := sha256.Sum256([]byte("sipxrest events\n" + name))
	b := sum[:6]
	for i := range b {
		b[i] = chars[b[i]%32]
	}
	return string(b)
}

// Name is event.Stream's.
func (l *Log) Name() string { return l.name }

// The number of a run is when its stream was made, in seconds since firstRun, and its
// first event has that times 2^18: a stream that is made anew begins behind all that the
// one before has had, unless that had more than 262,144 events in each second.
var firstRun = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	runShift = 18
	metaRun  = "sipxrest-run"
)

// lostTime is how long the stream must have less than was read of it until it is made
// anew: after an election a server may not have applied yet what it has.
const lostTime = 15 * time.Second

// Attach is event.Stream's. A stream that has lost what this node has read of it already
// is made anew, since its numbers would come twice.
func (l *Log) Attach(ctx context.Context, last int64) (event.StreamState, error) {
	s, err := l.attach(ctx, last)
	if err != nil {
		return s, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.Last >= last || s.Run.First > last:
		l.behind = time.Time{}
	case l.behind.IsZero():
		l.behind = time.Now()
	case time.Since(l.behind) >= lostTime:
		l.behind = time.Time{}
		if err := l.engine.Delete(ctx, l.stream); err != nil {
			return s, err
		}
		return l.attach(ctx, max(last, s.Run.N<<runShift))
	}
	return s, nil
}

func (l *Log) attach(ctx context.Context, last int64) (event.StreamState, error) {
	run := max(int64(time.Since(firstRun)/time.Second), last>>runShift+1, 1)
	have, err := l.engine.EnsureLog(ctx, natsengine.Log{Name: l.stream, Subjects: []string{l.prefix + ">"}, MaxAge: l.cfg.Keep, MaxBytes: l.cfg.MaxBytes,
		Replicas: l.cfg.Replicas, First: uint64(run) << runShift, Metadata: map[string]string{metaRun: strconv.FormatInt(run, 10)}})
	if err != nil {
		return event.StreamState{}, words(err)
	}
	n, err := strconv.ParseInt(have.Metadata[metaRun], 10, 64)
	if err != nil || n < 1 || n > 1<<40 {
		return event.StreamState{}, fmt.Errorf("stream %s was not made by sipxrest: delete it", l.stream)
	}
	return event.StreamState{Run: event.Run{N: n, First: n << runShift}, First: int64(have.First), Last: int64(have.Last)}, nil
}

// words puts the engine's errors into the words of event.
func words(err error) error {
	switch {
	case errors.Is(err, cluster.ErrConflict):
		return event.ErrTaken
	case errors.Is(err, cluster.ErrNoStream):
		return event.ErrNoStream
	}
	return err
}

// Publish is event.Stream's.
func (l *Log) Publish(ctx context.Context, list []event.StreamRecord) error {
	batch := make([]cluster.Write, len(list))
	conds := make([]cluster.Cond, len(list))
	for i, r := range list {
		batch[i] = cluster.Write{Subject: l.prefix + r.Name, Data: r.Data}
		conds[i] = cluster.Cond{Subject: batch[i].Subject}
	}
	_, err := l.engine.Commit(ctx, l.stream, batch, conds...)
	return words(err)
}

// Follow is event.Stream's.
func (l *Log) Follow(ctx context.Context, after int64, take func(seq int64, r event.StreamRecord)) error {
	return words(l.engine.Follow(ctx, l.stream, uint64(max(after, 0)), func(e cluster.Entry) {
		take(int64(e.Seq), event.StreamRecord{Name: strings.TrimPrefix(e.Subject, l.prefix), Data: e.Data})
	}))
}
