package dispatch

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"sipxrest/internal/limit"
)

const (
	// maxCallerGuesses bounds the wrong PINs of one caller, three calls of them,
	// and maxRoomGuesses those for one room that come by one trunk or from one
	// address, whoever says to call: a caller can say to be anybody.
	maxCallerGuesses = 3 * pinTries
	maxRoomGuesses   = 60
	// guessTime is how long they count.
	guessTime = 10 * time.Minute
	// maxGuessers bounds the callers, and the rooms, that are remembered.
	maxGuessers = 4096
)

// errGuesses ends a call in which a PIN may not be tried.
var errGuesses = errors.New("too many wrong PINs")

// guesses counts wrong PINs. Its methods may be called from any goroutine.
type guesses struct {
	callers, rooms tally
}

// tally counts by name for a while.
type tally struct {
	mu    sync.Mutex
	by    map[digest]int // guarded by mu
	since time.Time      // the count began; guarded by mu
}

// digest stands for a name, which callers make as long as they like.
type digest [sha256.Size]byte

// add counts n of a name and answers how many there were before.
func (t *tally) add(name digest, n int, now time.Time) (before int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.since) >= guessTime || n > 0 && len(t.by) >= maxGuessers && t.by[name] == 0 {
		t.by, t.since = map[digest]int{}, now
	}
	before = t.by[name]
	if after := before + n; after > 0 {
		t.by[name] = after
	} else {
		delete(t.by, name)
	}
	return before
}

// A guess is one entry of a PIN.
type guess struct {
	of           *guesses
	caller, room digest
}

func (c *call) guess(room string) guess {
	source := "trunk " + c.Trunk
	if c.Trunk == "" {
		source = limit.Network(c.Source.Addr()).String()
	}
	source += "\x00" + c.rule.ID + "\x00"
	return guess{&c.d.guesses, sha256.Sum256([]byte(source + c.FromUser)), sha256.Sum256([]byte(source + room))}
}

// allowed says whether a PIN may be tried.
func (g guess) allowed() bool {
	now := time.Now()
	return g.of.callers.add(g.caller, 0, now) < maxCallerGuesses && g.of.rooms.add(g.room, 0, now) < maxRoomGuesses
}

// take counts an entry before it is looked at, so that many calls at once get
// no more than one after another. It is false when there were too many.
func (g guess) take() bool {
	now := time.Now()
	caller, room := g.of.callers.add(g.caller, 1, now), g.of.rooms.add(g.room, 1, now)
	return caller < maxCallerGuesses && room < maxRoomGuesses
}

// right takes an entry off the count.
func (g guess) right() {
	now := time.Now()
	g.of.callers.add(g.caller, -1, now)
	g.of.rooms.add(g.room, -1, now)
}
