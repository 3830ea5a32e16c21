package event

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// copyBatch is how many records go to a copy in one transaction.
	copyBatch = 500
	// copyLook is how often it is looked whether there are more: nothing wakes the copier.
	copyLook = time.Second
	// The pauses after failures double from firstCopyPause to lastCopyPause.
	firstCopyPause = time.Second
	lastCopyPause  = time.Minute
	// copyTime bounds one transaction, with connecting.
	copyTime = 30 * time.Second
)

// cdrTarget is where records are copied to. It keeps the cursor, in the same
// transaction as the records: one that is restored from a backup gets what it lacks.
type cdrTarget interface {
	// cursor is the number of the last record that was written; 0 without any.
	cursor(ctx context.Context) (int64, error)
	// write stores records and the cursor behind them: all or nothing. Those that are
	// there already stay. lost are records that could not be stored, ever.
	write(ctx context.Context, list []*CDR, cursor int64) (lost []lostCDR, err error)
	close()
}

// lostCDR is a record that a target does not take, and why.
type lostCDR struct {
	callID string
	why    error
}

// cdrSource is where records are copied from.
type cdrSource interface {
	after(ctx context.Context, n int64, limit int) ([]*CDR, []int64, error)
}

// CDRCopy copies records to another database, in the order in which they came. When
// that is away they wait where they are. Create it with NewCDRCopy, run it with Run.
type CDRCopy struct {
	from cdrSource
	to   cdrTarget
	log  *slog.Logger
	now  func() time.Time

	mu     sync.Mutex
	known  bool  // the cursor was read
	at     int64 // the cursor
	copied uint64
	lost   uint64
	away   bool // the last attempt failed
}

// CopyStats is what a CDRCopy has done.
type CopyStats struct {
	Copied, Lost uint64
	Up           bool
	// Lag is how long ago the first call ended whose record waits; 0: none waits.
	Lag time.Duration
}

// Run copies until ctx ends.
func (c *CDRCopy) Run(ctx context.Context) error {
	defer c.to.close()
	failures := 0
	for {
		more, err := c.step(ctx)
		pause := copyLook
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			c.failed(err, failures == 0)
			pause = min(firstCopyPause<<min(failures, 10), lastCopyPause)
			pause += time.Duration(rand.Int64N(int64(pause)/4 + 1))
			failures++
		default:
			if failures > 0 {
				c.log.Info("call records are copied again")
			}
			c.succeeded()
			failures = 0
			if more {
				continue
			}
		}
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
	}
}

// step copies what one transaction takes, and reports whether there is more.
func (c *CDRCopy) step(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, copyTime)
	defer cancel()
	// It is read each time after a failure: a commit may have come through whose
	// answer was lost, and the database may be another one now.
	at, known := c.cursor()
	if !known {
		if at, err = c.to.cursor(ctx); err != nil {
			return false, err
		}
		c.moved(at, 0, 0)
	}
	list, ns, err := c.from.after(ctx, at, copyBatch)
	if err != nil || len(list) == 0 {
		return false, err
	}
	last := ns[len(ns)-1]
	lost, err := c.to.write(ctx, list, last)
	if err != nil {
		return false, err
	}
	for _, l := range lost {
		c.log.Error("a call record cannot be copied and is left out", "call", l.callID, "error", l.why)
	}
	c.moved(last, len(list)-len(lost), len(lost))
	return len(list) == copyBatch, nil
}

func (c *CDRCopy) cursor() (at int64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at, c.known
}

func (c *CDRCopy) moved(at int64, copied, lost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.known = at, true
	c.copied += uint64(copied)
	c.lost += uint64(lost)
}

func (c *CDRCopy) succeeded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = false
}

// failed notes a failure, and logs the first of a row.
func (c *CDRCopy) failed(err error, first bool) {
	c.mu.Lock()
	c.away, c.known = true, false
	c.mu.Unlock()
	if first {
		c.log.Warn("call records cannot be copied and wait: it is tried again until it works", "error", err)
	}
}

// Stats says what was done, and what waits.
func (c *CDRCopy) Stats() CopyStats {
	c.mu.Lock()
	s := CopyStats{Copied: c.copied, Lost: c.lost, Up: c.known && !c.away}
	at := c.at
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// Before the cursor was ever read it is 0: then the lag is that of the first
	// record of all, which is too long rather than too short.
	if list, _, err := c.from.after(ctx, at, 1); err == nil && len(list) > 0 {
		s.Lag = max(c.now().Sub(list[0].EndTime.Time), time.Millisecond)
	}
	return s
}
