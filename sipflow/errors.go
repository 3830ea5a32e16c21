package sipflow

import (
	"errors"
	"fmt"
)

// Reasons for which a call ends or is not placed.
var (
	ErrNoAnswer     = errors.New("no answer in time")
	ErrHungUp       = errors.New("the phone hung up")
	ErrReplaced     = errors.New("replaced by a new call with the same parties")
	ErrDraining     = errors.New("shutting down, no new calls are taken")
	ErrStopped      = error(stopped{}) // an ErrDraining for a call that was in progress
	ErrTooManyCalls = errors.New("too many calls at once")
	ErrUnreachable  = errors.New("no SIP next hop can be reached")
	ErrNoCall       = errors.New("no such call")
	ErrInProgress   = errors.New("a call of these parties is in progress")
	ErrReferred     = errors.New("the calling phone is calling the other one at this moment")
	ErrTransferring = errors.New("the call is being transferred already")
	ErrHungUpByUser = errors.New("hung up by its client")
)

// stopped is ErrDraining in words for a call that is cut off.
type stopped struct{}

func (stopped) Error() string        { return "cut off by the shutdown of the service" }
func (stopped) Is(target error) bool { return target == ErrDraining }

// StatusError is a final response other than 2xx, or the report of one.
type StatusError struct {
	Method string // that was refused; NOTIFY when the calling phone reports what its own INVITE got
	Code   int
	Reason string
}

func (e *StatusError) Error() string { return fmt.Sprintf("%s: %d %s", e.Method, e.Code, e.Reason) }

// refusedBy is the code by which a request of that method was refused, 0 for
// any other error.
func refusedBy(err error, method string) int {
	if refused, ok := errors.AsType[*StatusError](err); ok && refused.Method == method {
		return refused.Code
	}
	return 0
}

// refusesOffer reports whether a refusal is about the session description.
func refusesOffer(err error) bool {
	switch refusedBy(err, "INVITE") {
	case 400, 415, 488, 606:
		return true
	}
	return false
}

// ErrForbidden means that Config.Allow refuses a target; its error is wrapped,
// too.
var ErrForbidden = errors.New("not allowed")

// errExpired ends a call whose phone did not refresh its session in time.
var errExpired = errors.New("the phone did not refresh its session")

var errNoSDP = errors.New("the phone answered without a session description")

// errRefusesStreams is an answer that refuses every stream: it is a 488 in other
// words.
var errRefusesStreams = &StatusError{"INVITE", 488, "Not Acceptable Here"}

// tookInVain reports whether a phone has accepted a re-INVITE of which nothing comes: its
// session is not as before.
func tookInVain(err error) bool { return errors.Is(err, errNoSDP) || errors.Is(err, errRefusesStreams) }

// ErrCancelled ends a call whose caller gave up before it was answered.
var ErrCancelled = errors.New("the caller gave up")
