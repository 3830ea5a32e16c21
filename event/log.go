package event

import (
	"crypto/rand"
	"errors"
	"time"
)

// A Log keeps events in their order, and what is found by them: calls, keys and
// records of ended calls. One goroutine appends; all others read, at the same time.
// Events that it returns have no call but where one was kept with them (Event.base).
type Log interface {
	// Name tells logs apart, for ever: six characters of [0-9a-z].
	Name() string
	// Append keeps all of a batch or nothing of it.
	Append(b *Batch) error
	// Read returns events after a number, in their order.
	Read(after int64, limit int) ([]*Event, error)
	// ReadCall returns events of one call after a number of its own.
	ReadCall(id string, after int64, limit int) ([]*Event, error)
	// First and Last are the numbers of the oldest event and the newest one; 0 for none.
	First() int64
	Last() int64
	// Runs are those of the process, in their order.
	Runs() []Run
	// Call returns what is kept of a call: all of it when it has ended.
	Call(id string) (*StoredCall, error)
	// Calls returns ended calls that may fit a filter, in its order.
	Calls(f *CallFilter, after *listMark, limit int) ([]*Call, error)
	// Open returns ids of calls that have not ended.
	Open() ([]string, error)
	// Key returns whose an idempotency key is, nil if it is nobody's.
	Key(principal, key string, now time.Time) (*KeyUse, error)
	// Trim lets go of what is too old or too much.
	Trim(t Trim) error
	Close() error
}

// Batch is what one transaction of a log takes.
type Batch struct {
	Events []*Event  // in their order; those of calls have the call after them
	Keys   []*KeyUse // of actions; that of a call is in its call.created
	Forget []string  // ids of calls whose keys are free again
	Run    *Run      // begins with it
	Node   string    // that had the calls, for their records
}

// Run is one life of the process: its events begin with the number First.
type Run struct{ N, First int64 }

// StoredCall is what a log keeps of a call.
type StoredCall struct {
	ID    string
	Ended *Call // nil while it has not ended
}

// Trim says what a log lets go of.
type Trim struct {
	Now      time.Time
	Events   time.Time // older events go
	Calls    time.Time // ended calls that are older go, as soon as their events have gone
	CDRs     time.Time // records of calls that ended before go; zero: none
	MaxBytes int64     // of the file; 0: no limit
}

// An IdempotencyKey makes sure that a repeated request is the same one.
type IdempotencyKey struct {
	Principal, Key string
	Hash           [32]byte // of the request's body
	Until          time.Time
}

// KeyUse is what a key was used for.
type KeyUse struct {
	IdempotencyKey
	CallID  string
	Answer  []byte // what the request got; nil for one that made a call
	Pending bool   // it is not kept yet
}

// ErrStore says that the log cannot keep what it was asked to.
var ErrStore = errors.New("the store of events cannot be written")

// StoreError is an ErrStore with its reason.
type StoreError struct {
	Store  string        // path of the file
	Behind time.Duration // age of the oldest event that is not kept
	Err    error         // what the store says; nil when it is only slow
}

func (e *StoreError) Error() string {
	switch {
	case e.Err != nil:
		return "cannot write " + e.Store + ": " + e.Err.Error()
	default:
		return e.Store + " is " + e.Behind.Round(time.Millisecond).String() + " behind"
	}
}

// Is reports whether the target is ErrStore.
func (e *StoreError) Is(target error) bool { return target == ErrStore }

func (e *StoreError) Unwrap() error { return e.Err }

const nameChars = "0123456789abcdefghjkmnpqrstvwxyz"

// newName makes the name of a log.
func newName() string {
	var b [6]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	for i := range b {
		b[i] = nameChars[b[i]%32]
	}
	return string(b[:])
}

const idChars = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewID makes an id for a call: "call_", ten characters of the time, so that ids sort
// by it, and ten random ones.
func NewID() string { return newID(time.Now()) }

func newID(at time.Time) string {
	var random [10]byte
	rand.Read(random[:]) //nolint:errcheck // it never fails
	b := append(make([]byte, 0, 25), "call_0000000000"...)
	for i, ms := 14, uint64(at.UnixMilli()); i > 4; i-- {
		b[i] = idChars[ms%32]
		ms /= 32
	}
	for _, r := range random {
		b = append(b, idChars[r%32])
	}
	return string(b)
}
