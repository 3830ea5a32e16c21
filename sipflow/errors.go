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
	ErrRedirected   = errors.New("a client has another phone called in its place")
	ErrMerged       = errors.New("the far party goes on in another call")
	ErrUnreported   = errors.New("the phone did not say what became of the REFER")
	ErrTransferred  = errors.New("another phone has its place")
	ErrInternal     = errors.New("internal fault")
	ErrNodeLost     = errors.New("the node that had the call is lost, and no other one could go on with it")
)

// What an action of a client's may come to, beside ErrNoCall and what a phone says.
var (
	// ErrPhoneTimeout means that a phone did not respond within 10 s. What it does
	// later is told as an event.
	ErrPhoneTimeout = errors.New("the phone did not respond within 10 s")
	// ErrAnswered means that the phone has answered, so that its call cannot be sent
	// elsewhere any more.
	ErrAnswered = errors.New("the phone has answered already")
	// ErrNoTransfer means that no transfer of that number is under way.
	ErrNoTransfer = errors.New("no such transfer is under way")
	// ErrNotConsulting means that the leaver is not joined with the target: the
	// transfer is no attended one, or its target has not answered yet.
	ErrNotConsulting = errors.New("the leaver does not talk to the target of the transfer")
	// ErrCannotJoin means that calls of these kinds, or of two agents, cannot be joined.
	ErrCannotJoin = errors.New("only two calls by INVITE of the same agent can be joined")
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

// diversion is an ErrRedirected for the target that is called instead.
type diversion struct {
	target string     // user@host as it goes on the wire
	reply  chan error // to who wants it; holds one
}

func (d *diversion) Error() string { return ErrRedirected.Error() }

// Is reports whether the target is ErrRedirected.
func (d *diversion) Is(target error) bool { return target == ErrRedirected }

// diversionOf is the diversion that an error is of, nil for none.
func diversionOf(err error) *diversion {
	var d *diversion
	errors.As(err, &d)
	return d
}

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
