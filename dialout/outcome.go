package dialout

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"sipxrest/sipflow"
	"sipxrest/talk"
)

// party is the one that ended a call, numbered as sipflow's.
type party uint8

const (
	us party = iota
	phone
	room
)

// Why we end calls ourselves. The texts stand in the calls' last statuses.
var (
	errModerator   = errors.New("hung up by a moderator")
	errDisinvited  = errors.New("removed from the conversation")
	errEveryone    = errors.New("ended for everyone")
	errRoomDeleted = errors.New("the conversation was deleted")
	errRoomEmpty   = errors.New("nobody is left in the call")
	errClient      = errors.New("hung up by its client")
	errSilent      = errors.New("no audio has come from the phone for a minute")
	errUnheard     = errors.New("the phone could not be heard in the conversation")
)

// Outcome is what a call came to.
type Outcome uint8

// Outcomes of calls.
const (
	Connected   Outcome = iota // both parties were joined
	Rejected                   // the phone or its network refused
	Unanswered                 // it rang for too long
	Cancelled                  // given up while it rang
	Failed                     // the gateway or the room could not be reached
	Refused                    // never begun
	numOutcomes int     = iota
)

func (o Outcome) String() string {
	return [...]string{"connected", "rejected", "unanswered", "cancelled", "failed", "refused"}[o]
}

// ending is how a call's SIP side ended.
type ending struct {
	by  party
	err error // nil: as calls end
	// sip is what the log says of the SIP side; nil if it is not over, or has not
	// begun.
	sip *sipflow.End
}

// lastStatus is what is said of a call that has ended, wasConnected or not, and
// what it came to. why is our own reason for hanging up, nil if we did not.
func lastStatus(e ending, wasConnected bool, why error) (talk.Status, Outcome) {
	if wasConnected {
		switch {
		case why == nil && errors.Is(e.err, sipflow.ErrNodeLost):
			return interrupted(), Connected
		case why != nil:
			return cleared("EndedByLocal", 200, sentence(why)), Connected
		case e.by == phone:
			return cleared("EndedByRemote", 200, "Bye"), Connected
		}
		return cleared("EndedByLocal", 200, "Bye"), Connected
	}
	var status *sipflow.StatusError
	switch {
	case why != nil:
		return cleared("EndedByLocal", 487, sentence(why)), Cancelled
	case errors.Is(e.err, sipflow.ErrDraining):
		return cleared("EndedByLocal", 487, sentence(e.err)), Cancelled
	case errors.Is(e.err, sipflow.ErrNodeLost):
		return interrupted(), Failed
	case e.by == room:
		return rejected("EndedByRoom", 502, "The conference cannot be reached"), Failed
	case errors.Is(e.err, sipflow.ErrNoAnswer):
		return cleared("EndedByTimeout", 408, "No answer"), Unanswered
	case errors.As(e.err, &status):
		outcome := Rejected
		if status.Code >= 500 && status.Code < 600 {
			outcome = Failed
		}
		return rejected(causeOf(status.Code), status.Code, status.Reason), outcome
	case errors.Is(e.err, sipflow.ErrForbidden):
		return rejected("EndedByLocal", 403, "Calling this number is not allowed"), Rejected
	case errors.Is(e.err, sipflow.ErrTooManyCalls):
		return rejected("EndedByServiceUnavailable", 503, "Too many calls at once"), Failed
	case errors.Is(e.err, sipflow.ErrUnreachable):
		return rejected("EndedByServiceUnavailable", 503, "The telephone network cannot be reached"), Failed
	case errors.Is(e.err, sipflow.ErrHungUp), e.by == phone:
		return cleared("EndedByRemote", 200, "Bye"), Cancelled
	}
	return rejected("EndedByServerError", 500, "Internal error"), Failed
}

// interrupted is said of a call whose process has ended, by whoever ends it in its place.
func interrupted() talk.Status {
	return cleared("EndedByLocal", 500, "The phone service was interrupted")
}

func cleared(cause string, code int, message string) talk.Status {
	return talk.Status{State: talk.Cleared, Cause: cause, Code: code, Message: message}
}

// maxText bounds what others say that goes into messages to Talk, in bytes: the
// signaling server takes no message that is too long.
const maxText = 200

// shortened is what of a text of others may be passed on.
func shortened(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return -1
	}, text[:min(len(text), 4*maxText)])
	for i := range text {
		if i > maxText-utf8.UTFMax {
			return text[:i]
		}
	}
	return text
}

func rejected(cause string, code int, message string) talk.Status {
	if message = shortened(message); message == "" {
		message = fmt.Sprintf("SIP status %d", code)
	}
	return talk.Status{State: talk.Rejected, Cause: cause, Code: code, Message: message}
}

// sentence is why as a status says it.
func sentence(why error) string {
	if errors.Is(why, sipflow.ErrDraining) {
		return "The phone service is being restarted"
	}
	text := why.Error()
	return string(text[0]-'a'+'A') + text[1:]
}

// causeOf names the reason of a SIP status (RFC 3261 §21).
func causeOf(code int) string {
	switch code {
	case 404, 410, 484, 485, 604:
		return "EndedByNotFound"
	case 408:
		return "EndedByTimeout"
	case 480:
		return "EndedByTemporarilyUnavailable"
	case 486, 600:
		return "EndedByBusy"
	case 403, 603, 607, 608:
		return "EndedByDeclined"
	case 401, 407:
		return "EndedByUnauthorized"
	}
	switch code / 100 {
	case 3:
		return "EndedByRedirect"
	case 5:
		return "EndedByServiceUnavailable"
	}
	return "EndedByRemote"
}
