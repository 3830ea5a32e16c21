package sipflow

import (
	"context"
	"errors"
	"time"

	"sipxrest/resolve"
)

// phoneTime is how long an action waits for a phone.
const phoneTime = 10 * time.Second

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

// Hold puts a phone of a bridged call on hold, or takes it back. The other one neither
// sends nor gets media meanwhile. It returns when both have agreed. A refusal is a
// *StatusError and leaves the call as it was. ErrNoCall means a call that is not
// bridged.
func (c *Call) Hold(ctx context.Context, who Party, on bool) error { return ErrNoCall }

// MuteParty is Mute for either party, and waits 10 s at most.
func (c *Call) MuteParty(ctx context.Context, who Party, m Mute) error { return ErrNoCall }

// BlindTransfer replaces the leaver's phone of a bridged call by target (user@host as it
// goes on the wire). The parties talk until that picks up. It returns the transfer's
// number when the INVITE is out; what comes of it is told as TransferChanged. trusted is
// as in Switchboard.Transfer, as are the errors.
func (c *Call) BlindTransfer(ctx context.Context, leaver Party, target string, trusted bool) (n int, err error) {
	return 0, ErrNoCall
}

// AttendedTransfer holds the phone that stays, calls target and joins it with the leaver
// once it picks up. It returns the transfer's number when the phone that stays is on
// hold and the INVITE is out. CompleteTransfer then joins target with who stays. The
// leaver's hang-up does the same. Errors are those of BlindTransfer and Hold.
func (c *Call) AttendedTransfer(ctx context.Context, leaver Party, target string, trusted bool) (n int, err error) {
	return 0, ErrNoCall
}

// CompleteTransfer joins the target of an attended transfer with who stays, and hangs the
// leaver up. It returns when both have agreed. A refusal is a *StatusError, and the
// leaver goes on talking to the target. ErrNotConsulting means that these do not talk.
func (c *Call) CompleteTransfer(ctx context.Context, n int) error { return ErrNoCall }

// CancelTransfer hangs the target of a transfer up. After an attended one the two first
// phones are joined again. ErrNoTransfer means that the transfer is over.
func (c *Call) CancelTransfer(ctx context.Context, n int) error { return ErrNoCall }

// Redirect calls target (user@host as it goes on the wire) in place of a phone that has
// not answered, which is cancelled. It returns when that is done. ErrAnswered means that
// the phone has answered; ErrForbidden, ErrUnreachable and *LimitError are as for Transfer.
func (c *Call) Redirect(ctx context.Context, who Party, target string, trusted bool) error {
	return ErrNoCall
}

// Join joins the far parties of two bridged calls of one agent. The leaver's phone of a
// is hung up, and the agent's of b; for Self the leaver is the agent, too. Call a goes on
// and b ends with ErrMerged. It returns the number of a's transfer when the far phones have
// agreed; after an error both calls are as they were.
func (sw *Switchboard) Join(ctx context.Context, a, b *Call, leaver Party) (n int, err error) {
	return 0, ErrNoCall
}

// ErrMerged ends a call whose far party goes on in another one.
var ErrMerged = errors.New("its far party goes on in another call")

// ProbeUser sends OPTIONS towards a user (user@host as it goes on the wire), by the way
// that an INVITE for him would go. hop is the server that was asked last. The credentials
// of as are for a challenge of Config.Realm by a server of that realm only.
func (sw *Switchboard) ProbeUser(ctx context.Context, user string, as Account) (found *Found, hop resolve.Hop, err error) {
	return nil, resolve.Hop{}, ErrUnreachable
}
