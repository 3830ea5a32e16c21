package restauth

import (
	"net/netip"
	"time"

	"sipxrest/internal/limit"
)

const (
	// guessWindow is the time over which failures are counted.
	guessWindow = time.Minute
	// maxUserFailures is how many failures an address may have for one user
	// within guessWindow, maxAddrFailures for all users together.
	maxUserFailures = 10
	maxAddrFailures = 100
)

// NewGuesses counts failed attempts to prove who one is, for Suspects.
func NewGuesses() *limit.Failures { return limit.NewFailures(guessWindow) }

// Suspects are those that an attempt of addr as user is counted for: 10 failures
// a minute of an address for one user, and 100 for all.
func Suspects(addr netip.Addr, user string) []limit.Suspect {
	return []limit.Suspect{
		{Addr: addr, Most: maxAddrFailures},
		{Addr: addr, Name: "as " + user, Most: maxUserFailures}, // nobody's name is empty here
	}
}
