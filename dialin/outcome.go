package dialin

import (
	"errors"
)

// Outcome is what a call came to.
type Outcome uint8

// The outcomes.
const (
	Joined      Outcome = iota // the caller was in the conversation
	Left                       // he hung up before
	Wrong                      // what he entered was wrong, or came too late
	Guesses                    // 403: too much that was wrong before
	Busy                       // 480: too many are asked for digits, or there are no ports
	NoMedia                    // no codec in common
	NotFound                   // 404: nobody has the number that was called
	NoConsent                  // he did not agree to the recording, or nobody may
	Waited                     // nobody let him in, or the call did not begin
	Over                       // the conversation is no more, or cannot be called into any more
	Full                       // too many phones, or conversations with phones
	Encrypted                  // calls are encrypted from end to end
	Unavailable                // Nextcloud, its signaling server or its media server fails
	Stopped                    // the service ends
	numOutcomes
)

func (o Outcome) String() string {
	return [...]string{"joined", "left", "wrong", "guesses", "busy", "media", "not_found", "no_consent", "waited", "over", "full", "encrypted",
		"unavailable", "stopped"}[o]
}

// Stats is what has been counted.
type Stats struct {
	Calls [numOutcomes]uint64 // that are over
	// Asked is how many callers are being asked for digits, Active how many calls there
	// are.
	Asked, Active int
}

// ending says how a call ends: what the caller still hears, and why.
type ending struct {
	outcome Outcome
	say     []string
	why     error
}

// Why calls end, as logs and events have it.
var (
	errWrong       = errors.New("what the caller entered is wrong")
	errTime        = errors.New("the caller did not enter what is asked for in time")
	errGuesses     = errors.New("too much that was entered before is wrong")
	errBarred      = errors.New("our address is refused by Nextcloud, which is not asked for now")
	errEncrypted   = errors.New("calls are encrypted end to end: telephones cannot take part")
	errNoConsent   = errors.New("the caller did not agree to the recording")
	errNoRecorded  = errors.New("the conversation is recorded, and phones take part in none that is (dialin.consent)")
	errLobby       = errors.New("nobody let the caller in from the lobby")
	errNotBegun    = errors.New("the conversation's call did not begin")
	errAlone       = errors.New("nobody else is in the conversation")
	errEveryone    = errors.New("a moderator ended the call for everyone")
	errDeleted     = errors.New("the conversation is no more")
	errClosed      = errors.New("the conversation cannot be called into any more")
	errFull        = errors.New("too many phones are in the conversation")
	errModerator   = errors.New("a moderator hung up")
	errDisinvited  = errors.New("the participant was removed from the conversation")
	errLeft        = errors.New("the caller left by *9")
	errMediaFailed = errors.New("the media server cannot be reached")
	errSilent      = errors.New("the phone has sent no audio for a minute")
	errNotAdded    = errors.New("the caller is not let in by Nextcloud")
	errFault       = errors.New("internal fault, see the log")
	errNoRoom      = errors.New("the conversation of the rule cannot be called into")
)
