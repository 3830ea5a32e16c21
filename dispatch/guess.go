package dispatch

import (
	"errors"
	"time"

	"sipxrest/internal/limit"
)

const (
	// maxCallerGuesses bounds the wrong PINs of one caller: those of three calls.
	// maxRoomGuesses bounds those for one room by one trunk or from one address,
	// whatever From says: a caller can claim any name.
	maxCallerGuesses = 3 * pinTries
	maxRoomGuesses   = 60
	// guessTime is how long they count.
	guessTime = 10 * time.Minute
)

// errGuesses ends a call in which a PIN may not be tried.
var errGuesses = errors.New("too many wrong PINs")

// A guess is one entry of a PIN.
type guess struct {
	of           *limit.Failures
	caller, room limit.Suspect
}

func (c *call) guess(room string) guess {
	source := "trunk " + c.Trunk
	if c.Trunk == "" {
		source = limit.Network(c.Source.Addr()).String()
	}
	source += "\x00" + c.rule.ID + "\x00"
	return guess{c.d.guesses,
		limit.Suspect{Name: source + "caller " + c.FromUser, Most: maxCallerGuesses},
		limit.Suspect{Name: source + "room " + room, Most: maxRoomGuesses}}
}

// allowed reports whether a PIN may be tried.
func (g guess) allowed() bool { return g.of.Wait(time.Now(), g.caller, g.room) == 0 }

// take counts an entry before it is looked at, so that many calls at once get
// no more than one after another. It is false when there were too many.
func (g guess) take() bool { return g.of.Take(time.Now(), g.caller, g.room) }

// right takes an entry off the count.
func (g guess) right() { g.of.Forgive(time.Now(), g.caller, g.room) }
