package sipflow

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Keeper keeps the states of this node's calls where other nodes find them, should
// this one die. A single node has none: Config.Keeper is nil, and nothing is called.
// The methods are called from any goroutine. All but Claim return at once.
type Keeper interface {
	// Claim commits the key, the id and the first state of a call before anything of it
	// is sent, and returns once that is done. A *HeldError names the call of another
	// node that has the key. What a call of this node has the switchboard has decided
	// about: the key is the new one's then. ErrNotOwner: the lease has lapsed, or the
	// store is away.
	Claim(ctx context.Context, key Key, id string, state []byte) error
	// Keep notes the newest state, which it may hold on to. The channel is closed once
	// that is committed, for those who wait; it is never nil. While the store is away it
	// is closed after at most 5 s.
	Keep(id string, state []byte) (committed <-chan struct{})
	// Move is Keep for a call that has another key from now on.
	Move(id string, from, to Key, state []byte)
	// Drop ends the state of a call of which nothing follows, and its keys. record is
	// what is read of it later, for that time. It may come again with a newer record.
	Drop(id string, record []byte, keep time.Duration)
	// Holds reports whether this node is surely still the owner of its calls.
	Holds() bool
}

// A HeldError is ErrInProgress of a call at another node.
type HeldError struct {
	Key  Key
	Node string
	ID   string // of the call that has the key
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%v: %s has it at node %s", ErrInProgress, e.ID, e.Node)
}

// Is reports whether the target is ErrInProgress.
func (e *HeldError) Is(target error) bool { return target == ErrInProgress }

var (
	// ErrNotOwner means that this node does not surely own its calls at present, so that
	// it begins none: its lease has lapsed, or the store of the cluster is away.
	ErrNotOwner = errors.New("this node cannot reach the store of its cluster")
	// ErrForgotten ends a call that other nodes have taken over: see Switchboard.Forget.
	ErrForgotten = error(forgotten{})
)

// forgotten is ErrForgotten. Whoever wants a call placed hears that this node owns none.
type forgotten struct{}

func (forgotten) Error() string        { return "the call goes on at another node" }
func (forgotten) Is(target error) bool { return target == ErrNotOwner }

// callStep is how far a call is, as far as a taker acts on that. The numbers are part of
// the encoding: new ones go to the end.
type callStep uint8

const (
	stepFirst        callStep = iota // the INVITE of the first phone is out, or about to be
	stepReferNext                    // it has answered; whether it has had its REFER is not known
	stepReferred                     // it has accepted the REFER, and is to report of it
	stepSecond                       // the other phone is called
	stepJoining                      // both have answered, and are told of each other
	stepBridged                      // they are joined
	stepTransferring                 // they are, and a phone is called to take the place of one
	stepCaller                       // an inbound call that has had no final response
	stepHeld                         // a caller that was answered, and is joined with nobody yet
	stepMedia                        // the media end here
	stepEnding                       // what is left to do is to hang up
	numSteps
)

func (s callStep) String() string {
	if s >= numSteps {
		return "unknown"
	}
	return [...]string{"first", "refer_next", "referred", "second", "joining", "bridged", "transferring", "caller", "held", "media", "ending"}[s]
}
