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
	ErrTimeLimit    = errors.New("the call has lasted as long as it may")
	ErrIDInUse      = errors.New("another call has this id")
	ErrUnreported   = errors.New("the phone did not say what became of the REFER")
	ErrTransferred  = errors.New("another phone has its place")
	ErrInternal     = errors.New("internal fault")
)

// A ClientHangUp is ErrHungUpByUser for a reason that the phones are told, a cause of
// the telephone network (ITU-T Q.850, RFC 3326).
type ClientHangUp struct {
	Cause int    // 16
	Text  string // "Normal call clearing"
}

func (e *ClientHangUp) Error() string { return ErrHungUpByUser.Error() }

// Is reports whether the target is ErrHungUpByUser.
func (e *ClientHangUp) Is(target error) bool { return target == ErrHungUpByUser }

// unreported is an ErrUnreported with the way in which it was.
type unreported string

func (e unreported) Error() string        { return string(e) }
func (e unreported) Is(target error) bool { return target == ErrUnreported }

// InProgressError is ErrInProgress of a call that is known: the one that holds the key.
type InProgressError struct {
	ID string // Call.ID of the holder; empty where it has none
}

func (e *InProgressError) Error() string { return ErrInProgress.Error() }

// Is reports whether the target is ErrInProgress.
func (e *InProgressError) Is(target error) bool { return target == ErrInProgress }

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
	var refused *StatusError
	if errors.As(err, &refused) && refused.Method == method {
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

// hungUpError is ErrHungUp of a phone that said why.
type hungUpError struct{ reasons string }

// hungUpFor is ErrHungUp of a phone that gave those reasons: Reason header lines, or "".
func hungUpFor(reasons string) error {
	if reasons == "" {
		return ErrHungUp
	}
	return &hungUpError{reasons}
}

func (e *hungUpError) Error() string        { return ErrHungUp.Error() }
func (e *hungUpError) Is(target error) bool { return target == ErrHungUp }

// sentError is a refusal that a phone or server has sent, unlike one of our timers.
type sentError struct {
	*StatusError
	cause string // why in the words of the telephone network: a Reason header line, or ""
}

func (e *sentError) Unwrap() error { return e.StatusError }
