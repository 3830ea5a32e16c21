package event

import (
	"context"
	"errors"
	"time"
)

// CDRPage says which part of the records is wanted.
type CDRPage struct {
	Cursor string // that came with the page before; empty: the first
	Limit  int    // 1 to 1000
	Offset int    // so many are left out before the first page
}

// cdrKeeper is a log that has records.
type cdrKeeper interface{ records() cdrReader }

// records are those in memory as they are now.
func (m *memoryLog) records() cdrReader {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return cdrMemory(m.cdrs) // it is appended to, and replaced, but never changed
}

// records is where the Bus has its records.
func (b *Bus) records() cdrReader {
	if k, ok := b.store.(cdrKeeper); ok {
		return k.records()
	}
	return cdrMemory(nil)
}

// CDRs returns a page of records, those of the latest calls first. next is empty when
// there are no more. ErrCDRCursor means that the cursor is none.
func (b *Bus) CDRs(ctx context.Context, f CDRFilter, p CDRPage) (list []*CDR, next string, err error) {
	err = b.reading(ctx, func() error {
		list, next, err = b.records().list(ctx, &f, p.Cursor, p.Limit, p.Offset)
		return err
	})
	return list, next, err
}

// CDR returns the record of a call that is over, ErrNoCDR if there is none.
func (b *Bus) CDR(ctx context.Context, callID string) (r *CDR, err error) {
	err = b.reading(ctx, func() error {
		r, err = b.records().get(ctx, callID)
		return err
	})
	return r, err
}

// OldestCDR is when the first call began of which there is a record; zero without any.
func (b *Bus) OldestCDR(ctx context.Context) (at time.Time, err error) {
	err = b.reading(ctx, func() error {
		at, err = b.records().oldest(ctx)
		return err
	})
	return at, err
}

// reading runs read as one of those that read the log at the same time.
func (b *Bus) reading(ctx context.Context, read func() error) error {
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
		return read()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ErrNoStore says that records in memory are not copied: they have no order that outlives the
// process.
var ErrNoStore = errors.New("records are in memory only: events.store must be a file for them to be copied")

// CopyCDRs returns what copies the records to a PostgreSQL database.
func (b *Bus) CopyCDRs(dsn string) (*CDRCopy, error) {
	if b.memory {
		return nil, ErrNoStore
	}
	store := b.name
	if b.shared != nil {
		// Each node has all records, in an order of its own, and copies them: those that
		// another one has copied are there already.
		store += "/" + b.cfg.Node
	}
	return newPostgresCopy(dsn, store, b.records(), b.cfg.Now, b.log)
}
