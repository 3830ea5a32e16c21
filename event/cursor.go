package event

import (
	"errors"
	"regexp"
	"sort"
	"strconv"
)

// Cursor is a place in the stream of events: behind the event of that name. It is
// shown as the id of the event, "evt_<store>_<run>_<seq>".
type Cursor struct {
	Store string
	Run   int64
	Seq   int64
}

func (c Cursor) String() string { return string(c.append(nil)) }

func (c Cursor) append(b []byte) []byte {
	b = append(append(append(b, "evt_"...), c.Store...), '_')
	b = append(strconv.AppendInt(b, c.Run, 10), '_')
	return strconv.AppendInt(b, c.Seq, 10)
}

// IsZero reports whether it is no place.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// Errors of cursors.
var (
	ErrBadCursor     = errors.New("this cursor was not given out here")
	ErrOtherStore    = errors.New("this cursor is of another store of events")
	ErrCursorExpired = errors.New("the events behind this cursor are gone")
)

// CursorExpiredError is ErrCursorExpired with the oldest cursor that there is.
type CursorExpiredError struct {
	Oldest Cursor
	At     Time // of the oldest event; zero when that is not known
}

func (e *CursorExpiredError) Error() string {
	return ErrCursorExpired.Error() + ": the oldest one is " + e.Oldest.String()
}

// Is reports whether the target is ErrCursorExpired.
func (e *CursorExpiredError) Is(target error) bool { return target == ErrCursorExpired }

// Runs and numbers have no leading zeros, so that a place has one name.
var cursorForm = regexp.MustCompile(`^evt_([0-9a-z]{6})_([1-9][0-9]{0,17})_(0|[1-9][0-9]{0,17})$`)

// ParseCursor reads what Cursor.String wrote.
func ParseCursor(text string) (Cursor, error) {
	if len(text) > 64 {
		return Cursor{}, ErrBadCursor
	}
	m := cursorForm.FindStringSubmatch(text)
	if m == nil {
		return Cursor{}, ErrBadCursor
	}
	run, err1 := strconv.ParseInt(m[2], 10, 64)
	seq, err2 := strconv.ParseInt(m[3], 10, 64)
	if err1 != nil || err2 != nil {
		return Cursor{}, ErrBadCursor
	}
	return Cursor{Store: m[1], Run: run, Seq: seq}, nil
}

// Numbers go on from run to run. A run may have told more than was kept of it: what
// follows such a cursor is the first event of the next run.

// place is the number behind which a reader goes on.
func (b *Bus) place(c Cursor) (int64, error) {
	if c.IsZero() {
		return 0, ErrBadCursor
	}
	if c.Store != b.name {
		return 0, ErrOtherStore
	}
	runs := *b.runs.Load()
	i := sort.Search(len(runs), func(i int) bool { return runs[i].N >= c.Run })
	switch {
	case i == len(runs):
		return 0, ErrOtherStore // a backup came back that knows nothing of this run
	case runs[i].N != c.Run:
		return 0, ErrOtherStore
	}
	if i+1 < len(runs) {
		if s := b.shared; s != nil && c.Seq >= s.endOf(c.Run) {
			return runs[i+1].First - 1, nil // which follows at once, though numbers are left out
		}
		return min(c.Seq, runs[i+1].First-1), nil
	}
	if c.Seq > b.sequenced.Load()+b.ahead() {
		return 0, ErrOtherStore
	}
	return c.Seq, nil
}

// cursor is the place behind a number.
func (b *Bus) cursor(seq int64) Cursor {
	runs := *b.runs.Load()
	i := sort.Search(len(runs), func(i int) bool { return runs[i].First > seq }) - 1
	return Cursor{Store: b.name, Run: runs[max(i, 0)].N, Seq: seq}
}
