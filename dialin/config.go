package dialin

import (
	"errors"
	"fmt"
	"time"

	"sipxrest/internal/fault"
)

// StartCalls says who may begin a conversation's call by phone.
type StartCalls string

// Who may.
const (
	StartAll     StartCalls = "all"
	StartMembers StartCalls = "members" // who has a PIN
	StartNone    StartCalls = "none"
)

// Consent says what becomes of callers to a conversation that is recorded, or in which
// whoever joins has to agree to that.
type Consent string

// What may become of them.
const (
	ConsentAsk    Consent = "ask"
	ConsentRefuse Consent = "refuse"
)

// Config says how callers get into conversations.
type Config struct {
	// Language is in what language they are spoken to where the rule names none.
	Language string
	// Music is played to whoever waits: 16 kHz, mono. Empty: silence.
	Music []int16
	// Tries is how often may be entered what is asked for, Time how long that may take
	// altogether, and Pause ends an entry.
	Tries       int
	Time, Pause time.Duration
	// Wait is how long one may be in the lobby, wait for the call to begin, or be alone
	// in it.
	Wait       time.Duration
	StartCalls StartCalls
	Consent    Consent
	// AllowUnmute lets whom a moderator has muted speak again by *6.
	AllowUnmute bool
	// Calls is how many callers may be asked for digits at once.
	Calls int
	// RoomPhones is how many phones may be in one conversation.
	RoomPhones int
}

// Check says everything that is wrong, as one *fault.Fault for each key.
func (c *Config) Check() error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, &fault.Fault{Key: key, Err: fmt.Errorf(format, args...)})
	}
	if c.Language == "" {
		wrong("language", "missing: write en, de, or the name of a folder of prompts")
	}
	if c.Tries < 1 || c.Tries > 10 {
		wrong("tries", "%d is not between 1 and 10", c.Tries)
	}
	for _, d := range []struct {
		key         string
		is          time.Duration
		least, most time.Duration
	}{
		{"time", c.Time, 10 * time.Second, 10 * time.Minute}, {"pause", c.Pause, time.Second, 30 * time.Second},
		{"wait", c.Wait, time.Minute, 24 * time.Hour},
	} {
		if d.is < d.least || d.is > d.most {
			wrong(d.key, "%v is not between %v and %v", d.is, d.least, d.most)
		}
	}
	switch c.StartCalls {
	case StartAll, StartMembers, StartNone:
	default:
		wrong("start-calls", "%.20q is unknown: write all, members or none", string(c.StartCalls))
	}
	if c.Consent != ConsentAsk && c.Consent != ConsentRefuse {
		wrong("consent", "%.20q is unknown: write ask or refuse", string(c.Consent))
	}
	if c.Calls < 1 || c.Calls > 100_000 {
		wrong("calls", "%d is not between 1 and 100000", c.Calls)
	}
	return errors.Join(errs...)
}
