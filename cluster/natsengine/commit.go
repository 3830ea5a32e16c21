package natsengine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"sipxrest/cluster"
)

// Header fields of JetStream (ADR-50 for batches).
const (
	headerLast        = "Nats-Expected-Last-Subject-Sequence"
	headerLastSubject = "Nats-Expected-Last-Subject-Sequence-Subject"
	headerTTL         = "Nats-TTL"
	headerBatch       = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

const (
	// inProcess is how often a write is tried again while another one, of the same
	// subject, is under way: that takes the servers' round trip.
	inProcess = 60
	// incomplete is how often a batch is sent again that did not arrive whole.
	incomplete = 3
)

// Put is cluster.Engine's.
func (e *Engine) Put(_, subject string, data []byte) error {
	if len(data) > 0 {
		return e.sent(e.nc.Publish(subject, data))
	}
	m := &nats.Msg{Subject: subject, Header: nats.Header{}}
	setTTL(m.Header, cluster.EmptyLife)
	return e.sent(e.nc.PublishMsg(m))
}

func (e *Engine) sent(err error) error {
	if err != nil {
		return e.failure(err)
	}
	return nil
}

// published is the answer to a write.
type published struct {
	refusable
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
}

// Commit is cluster.Engine's.
func (e *Engine) Commit(ctx context.Context, stream string, batch []cluster.Write, conds ...cluster.Cond) (uint64, error) {
	if len(batch) == 0 || len(batch) > cluster.MaxBatch || len(conds) > len(batch) {
		return 0, fmt.Errorf("a batch of %d writes with %d conditions cannot be committed", len(batch), len(conds))
	}
	var seq uint64
	tries := 0
	err := again(ctx, inProcess, func() (passes bool, err error) {
		seq, err = e.commit(ctx, stream, batch, conds)
		switch refusal(err) {
		case codeInProcess:
			return true, err
		case codeIncompleteBatch, codeManyBatches:
			tries++
			return tries <= incomplete, err
		}
		return false, err
	})
	// A write that is still under way is no conflict: while most stores are away that may be the one of before, which was never
	// acknowledged. Whoever took it for a fence would forget his calls.
	switch code := refusal(err); {
	case err == nil, code != 0 && code != codeInProcess, errors.Is(err, cluster.ErrNoStream): // somebody has decided
		e.answered()
	default:
		e.unanswered()
	}
	if refusal(err) == codeWrongLast {
		return 0, cluster.ErrConflict
	}
	return seq, err
}

// commit sends a batch once.
func (e *Engine) commit(ctx context.Context, stream string, batch []cluster.Write, conds []cluster.Cond) (uint64, error) {
	messages, err := compose(batch, conds)
	if err != nil {
		return 0, err
	}
	last := messages[len(messages)-1]
	if len(messages) > 1 {
		id := e.prefix + strconv.FormatUint(e.batch.Add(1), 36)
		for i, m := range messages {
			m.Header[headerBatch] = []string{id}
			m.Header[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
		}
		last.Header[headerBatchCommit] = []string{"1"}
		for _, m := range messages[:len(messages)-1] {
			if err := e.sent(e.nc.PublishMsg(m)); err != nil {
				return 0, err
			}
		}
	}
	m, err := e.nc.RequestMsgWithContext(ctx, last)
	switch {
	case errors.Is(err, nats.ErrNoResponders): // no stream, or no leader at present
		if _, err := e.info(ctx, stream, nil); errors.Is(err, cluster.ErrNoStream) {
			return 0, err
		}
		return 0, fmt.Errorf("stream %s has no leader", stream)
	case err != nil:
		return 0, e.failure(err)
	}
	var p published
	if err := json.Unmarshal(m.Data, &p); err != nil {
		return 0, fmt.Errorf("the store's answer to a write: %w", err)
	}
	switch {
	case p.Refusal != nil && p.Refusal.ErrCode == codeStreamNotFound:
		return 0, cluster.ErrNoStream
	case p.Refusal != nil:
		return 0, p.Refusal
	case p.Stream != stream:
		return 0, fmt.Errorf("the store wrote to stream %s, not to %s: two clusters have the same subjects", p.Stream, stream)
	}
	return p.Seq, nil
}

// compose makes the messages of a batch. Each carries at most one condition: the
// one on its own subject, if there is one. The others go where there is room.
func compose(batch []cluster.Write, conds []cluster.Cond) ([]*nats.Msg, error) {
	messages := make([]*nats.Msg, len(batch))
	free := make([]bool, len(batch))
	for i, w := range batch {
		messages[i] = &nats.Msg{Subject: w.Subject, Data: w.Data, Header: nats.Header{}}
		free[i] = true
		switch {
		case w.TTL > 0:
			setTTL(messages[i].Header, w.TTL)
		case len(w.Data) == 0:
			setTTL(messages[i].Header, cluster.EmptyLife)
		}
	}
	var elsewhere []cluster.Cond
	for _, c := range conds {
		at := -1
		for i := range batch {
			if batch[i].Subject == c.Subject {
				at = i
				break
			}
		}
		if at < 0 {
			elsewhere = append(elsewhere, c)
			continue
		}
		if !free[at] {
			return nil, fmt.Errorf("two conditions on %s", c.Subject)
		}
		messages[at].Header[headerLast] = []string{strconv.FormatUint(c.Last, 10)}
		free[at] = false
	}
	next := 0
	for _, c := range elsewhere {
		for next < len(free) && !free[next] {
			next++
		}
		if next == len(free) {
			return nil, errors.New("more conditions than writes")
		}
		messages[next].Header[headerLast] = []string{strconv.FormatUint(c.Last, 10)}
		messages[next].Header[headerLastSubject] = []string{c.Subject}
		free[next] = false
	}
	return messages, nil
}

// setTTL has the store remove the message after that time, in whole seconds.
func setTTL(h nats.Header, ttl time.Duration) {
	seconds := max(1, int64((ttl+time.Second-1)/time.Second))
	h[headerTTL] = []string{strconv.FormatInt(seconds, 10) + "s"}
}
