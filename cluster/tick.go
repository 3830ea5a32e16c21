package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// perTick is how many states one tick message vouches for.
	perTick = 500
	// commitTime is how long a commit may take. What is not acknowledged by then is put again.
	commitTime = time.Second
	// maxPause is the longest pause between two ticks that fail.
	maxPause = 250 * time.Millisecond
	// renewStates is how often each state is written again, so that it does not become too old for its stream.
	renewStates = 8 * time.Hour
)

// errFenced ends an incarnation: another node has fenced it.
var errFenced = errors.New("cluster: this node was fenced")

// errTick says why a tick is done again.
type errTick struct {
	why string
	err error
}

func (e *errTick) Error() string { return fmt.Sprintf("%s: %v", e.why, e.err) }
func (e *errTick) Unwrap() error { return e.err }

// A ticker writes the states of this incarnation. Its goroutine is the only writer of the stream, but for fences.
type ticker struct {
	n      *Node
	l      *life
	base   uint64 // sequence of the last tick; 0: not known
	batch  []*call
	buf    []byte
	failed int // in a row
	good   time.Time
}

// run writes what is dirty, at most each Flush, and a tick at least each quarter of the lease, until ctx ends. It returns errFenced if
// this incarnation is fenced.
func (t *ticker) run(ctx context.Context, _ *life) error {
	n := t.n
	n.calls.setTicking(true)
	defer n.calls.setTicking(false)
	idle := time.NewTimer(0)
	defer idle.Stop()
	renewed, began := time.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.calls.wake:
		case <-idle.C:
		}
		pause := n.cfg.Flush << min(t.failed, 8)
		if t.failed > 0 {
			pause = min(pause, maxPause)
		}
		if !sleep(ctx, pause-time.Since(began)) {
			return nil
		}
		began = time.Now()
		if began.Sub(renewed) > renewStates {
			renewed = began
			n.calls.putAgain()
			n.restoreKeys(false)
		}
		if err := t.tick(ctx); err != nil {
			if !errors.Is(err, errFenced) {
				err = t.failure(ctx, err)
			}
			if errors.Is(err, errFenced) {
				n.lapse(t.l) // before who waits for a state goes on
				return errFenced
			}
		} else {
			t.failed, t.good = 0, time.Now()
		}
		n.calls.release(false, false)
		idle.Reset(n.cfg.Lease / 4)
	}
}

// tick puts what is dirty and commits it.
func (t *ticker) tick(ctx context.Context) error {
	t.n.writing.Store(true)
	defer t.n.writing.Store(false)
	t.batch = t.n.calls.take(t.batch[:0])
	defer func() { clear(t.batch) }()
	for rest := t.batch; ; {
		some := rest[:min(len(rest), perTick)]
		if err := t.commit(ctx, some); err != nil {
			t.n.calls.giveBack(rest)
			return err
		}
		if rest = rest[len(some):]; len(rest) == 0 {
			break
		}
	}
	t.n.calls.release(true, true)
	return nil
}

// commit puts states and then the message that proves their arrival: its sequence is the last one and the number of messages since,
// for nobody else writes to the stream.
func (t *ticker) commit(ctx context.Context, states []*call) error {
	began := time.Now()
	if t.base == 0 && len(states) > 0 {
		seq, err := t.commitTick(ctx)
		if err != nil {
			return err
		}
		t.base = seq
	}
	bytes := 0
	for _, c := range states {
		data := t.encode(c)
		bytes += len(data)
		if err := t.n.e.Put(t.l.stream, c.subject, data); err != nil {
			t.base = 0
			return &errTick{"error", err}
		}
	}
	seq, err := t.commitTick(ctx)
	last := t.base
	t.base = 0
	switch {
	case err != nil:
		return err
	case seq < max(last, t.l.seen):
		return &errTick{"lost", fmt.Errorf("the stream is at %d, and was at %d", seq, t.l.seen)}
	case len(states) > 0 && seq != last+uint64(len(states))+1:
		return &errTick{"gap", fmt.Errorf("the stream is at %d, not at %d", seq, last+uint64(len(states))+1)}
	}
	t.base, t.l.seen = seq, seq
	t.n.lease.ticked(began)
	if len(states) > 0 {
		t.n.count.ticks.add(time.Since(began))
		t.n.count.writes.Add(uint64(len(states)))
		t.n.count.writeBytes.Add(uint64(bytes))
	}
	return nil
}

// encode returns the message of a call's state, which is good until the next one.
func (t *ticker) encode(c *call) []byte {
	if c.subject == "" {
		c.subject = t.n.names.state(t.l.who, c.id)
	}
	t.n.calls.mu.Lock()
	defer t.n.calls.mu.Unlock()
	if len(c.state) == 0 {
		return nil
	}
	t.buf = appendStored(t.buf[:0], c.epoch, c.keys, c.state)
	return t.buf
}

// commitTick commits the tick message, on the condition that there is no fence.
func (t *ticker) commitTick(ctx context.Context) (uint64, error) {
	n := t.n
	tctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	t.l.tick[0] = Write{Subject: t.l.tickSubject, Data: tickData}
	seq, err := n.e.Commit(tctx, t.l.stream, t.l.tick[:], Cond{Subject: t.l.fence})
	switch {
	case err == nil:
		return seq, nil
	case errors.Is(err, ErrConflict):
		n.count.tickFailures.add("fence")
		return 0, errFenced
	case errors.Is(err, ErrNoStream):
		return 0, &errTick{"lost", err}
	}
	return 0, &errTick{"error", err}
}

// failure counts a tick that is done again, and mends what it can. errFenced: there is no incarnation to mend.
func (t *ticker) failure(ctx context.Context, err error) error {
	t.base = 0
	var why *errTick
	if !errors.As(err, &why) || ctx.Err() != nil {
		return nil
	}
	t.n.count.tickFailures.add(why.why)
	if t.failed++; t.failed == 1 && why.why != "error" {
		t.n.log.Info("cluster: states are put again", "reason", why.why, "error", why.err)
	}
	if why.why == "lost" {
		if err := t.n.storeLost(ctx, t.l); errors.Is(err, errFenced) {
			return err
		} else if err != nil {
			t.n.log.Warn("cluster: the store has lost data, and is not ready", "error", err)
		} else {
			t.l.seen = 0
		}
		return nil
	}
	if since := time.Since(t.good); since > maxWait { // the watchdog: a stream that is stuck, or gone, may be made anew
		t.good = time.Now()
		t.n.log.Warn("cluster: no state was committed", "for", since.Round(time.Second), "error", why.err)
	}
	return nil
}

// last writes what is dirty when the node ends.
func (t *ticker) last() {
	ctx, cancel := context.WithTimeout(context.Background(), commitTime)
	defer cancel()
	if err := t.tick(ctx); err != nil && !errors.Is(err, errFenced) {
		t.n.log.Warn("cluster: the last states are not written", "error", err)
	}
}

// sleep waits, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
