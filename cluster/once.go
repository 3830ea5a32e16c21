package cluster

import (
	"bytes"
	"context"
	"errors"
	"time"
)

const (
	// onceTries bounds how often a write is tried that another one came before.
	onceTries = 4
	// onceTime is how long one may take before it is looked what is there: its answer may
	// be lost.
	onceTime = time.Second
)

// Once stores a value under a name of a kind, for so long, if there is none. old is the
// value that there is; nil: this one is stored. An error: nobody knows. Where the store has
// no room for more it is kept for ten minutes.
func (n *Node) Once(ctx context.Context, kind, name string, value []byte, keep time.Duration) (old []byte, err error) {
	stream, subject := n.once(kind, name)
	if !n.room.take(onceBytes+len(value), keep) {
		keep = min(keep, onceKeep)
	}
	w := Write{Subject: subject, Data: value, TTL: max(keep, time.Second)}
	last := uint64(0)
	for range onceTries {
		err = n.onceCommit(ctx, stream, w, last)
		switch {
		case err == nil:
			return nil, nil
		case errors.Is(err, ErrNoStream):
			if err := n.e.Ensure(ctx, n.onceStream()); err != nil {
				return nil, err
			}
			continue
		}
		// Also when it is not known whether it was written: what is there says it.
		e, lastErr := n.e.Last(ctx, stream, subject)
		switch {
		case errors.Is(lastErr, ErrNone):
			last = 0
		case lastErr != nil:
			return nil, errors.Join(err, lastErr)
		case bytes.Equal(e.Data, value):
			return nil, nil
		case len(e.Data) > 0:
			return e.Data, nil
		default:
			last = e.Seq
		}
	}
	return nil, err
}

// Unonce takes the value of a name away, if it still is this one. ErrConflict: it is another.
func (n *Node) Unonce(ctx context.Context, kind, name string, value []byte) error {
	stream, subject := n.once(kind, name)
	e, err := n.e.Last(ctx, stream, subject)
	switch {
	case errors.Is(err, ErrNone), errors.Is(err, ErrNoStream), err == nil && len(e.Data) == 0:
		return nil
	case err != nil:
		return err
	case !bytes.Equal(e.Data, value):
		return ErrConflict
	}
	return n.onceCommit(ctx, stream, Write{Subject: subject}, e.Seq)
}

func (n *Node) onceCommit(ctx context.Context, stream string, w Write, last uint64) error {
	ctx, stop := context.WithTimeout(ctx, onceTime)
	defer stop()
	_, err := n.e.Commit(ctx, stream, []Write{w}, Cond{Subject: w.Subject, Last: last})
	return err
}

// once is where a name is: the kinds are ours, the names are anybody's.
func (n *Node) once(kind, name string) (stream, subject string) {
	return n.Stream("ONCE"), n.Subject("once." + token(kind) + "." + keyToken(name))
}

// onceStream has what Once stores. How long each stays its writer says.
func (n *Node) onceStream() Stream {
	return Stream{Name: n.Stream("ONCE"), Subjects: []string{n.Subject("once.>")}, Replicas: n.cfg.Replicas}
}
