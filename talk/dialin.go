package talk

import (
	"context"
	"errors"
)

// Errors of what Nextcloud is asked for dial-in, beside ErrNextcloud's kin. Each
// is in the chain of a *BackendError.
var (
	// ErrNotFound: there is no such conversation, no such PIN, or nobody has the
	// number.
	ErrNotFound = errors.New("nextcloud: not found")
	// ErrChecksum: the secret is another one.
	ErrChecksum = errors.New("nextcloud: wrong checksum")
	// ErrGuesses: too many wrong PINs or checksums came from our address.
	ErrGuesses = errors.New("nextcloud: refuses our address for now")
	// ErrNoSIP: SIP is switched off in Talk, or for the conversation.
	ErrNoSIP = errors.New("nextcloud: SIP is off")
	// ErrUnavailable: Nextcloud has a problem, or cannot be reached.
	ErrUnavailable = errors.New("nextcloud: unavailable")
)

// RoomInfo is a conversation as Nextcloud describes it to a bridge.
type RoomInfo struct {
	Token string
	Name  string
	Type  int
	// SIP says whether phones may dial in, and whether without a PIN.
	SIP SIPAccess
	// Lobby: only who IgnoresLobby gets in.
	Lobby   bool
	HasCall bool
	// Recording: the call is being recorded, or about to be. Consent: whoever joins
	// has to agree to that.
	Recording, Consent bool
}

// SIPAccess says who may dial in to a conversation.
type SIPAccess int

const (
	SIPOff   SIPAccess = iota
	SIPByPIN           // participants, by their PINs
	SIPOpen            // everybody
)

// Caller is a participant who dials in.
type Caller struct {
	Room       RoomInfo
	AttendeeID int64
	// ActorType and ActorID are for Phone.Options.
	ActorType, ActorID string
	// Name is the display name, "" if there is none.
	Name string
	// Member: it is a participant of its own, who has a PIN. Otherwise it is a guest
	// that Nextcloud made for the call.
	Member       bool
	Moderator    bool
	IgnoresLobby bool
	MayPublish   bool // be heard
	MayStart     bool // begin a call
}

// Room returns what a conversation is. It takes at most VerifyTime. A refusal is
// a *BackendError, ErrNotFound if there is no such conversation.
func (b *Backend) Room(ctx context.Context, token string) (RoomInfo, error) {
	return RoomInfo{}, ErrUnavailable
}

// VerifyDialin returns the participant of a conversation who has a PIN.
// ErrNotFound if nobody has it.
func (b *Backend) VerifyDialin(ctx context.Context, token, pin string) (Caller, error) {
	return Caller{}, ErrUnavailable
}

// OpenDialin makes a guest of a caller without a PIN, where SIP is SIPOpen.
func (b *Backend) OpenDialin(ctx context.Context, token string) (Caller, error) {
	return Caller{}, ErrUnavailable
}

// DirectDialin makes a conversation with the user whose number was called.
// ErrNotFound if nobody has it. Numbers are E.164, with + or without.
func (b *Backend) DirectDialin(ctx context.Context, called, caller string) (Caller, error) {
	return Caller{}, ErrUnavailable
}
