package dialin

import (
	"context"
	"time"

	"sipxrest/media/attendant"
	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talkroom"
)

// Incoming is the call of a caller: a *sipflow.Incoming.
type Incoming interface {
	Converse(ctx context.Context, end *sipflow.Conversation) error
	Refuse(code int, reason string, header ...string) error
}

// Cloud is a Nextcloud: a *talk.Backend.
type Cloud interface {
	URL() string
	// Encrypted reports whether calls are encrypted from end to end.
	Encrypted(ctx context.Context) (bool, error)
	Room(ctx context.Context, token string) (talk.RoomInfo, error)
	VerifyDialin(ctx context.Context, token, pin string) (talk.Caller, error)
	OpenDialin(ctx context.Context, token string) (talk.Caller, error)
	DirectDialin(ctx context.Context, called, caller string) (talk.Caller, error)
}

// Session is a connection to a signaling server of a Nextcloud: a *talk.Session.
type Session interface {
	AddSession(talk.Phone) error
	RemoveSession(callID string) (told bool, err error)
}

// Audio is a phone's sound: a *media.Session.
type Audio interface {
	talkroom.Audio
	SendDigit(key byte, d time.Duration) error
	Directions() (send, receive bool)
}

// Ears are what a caller is asked by: an *attendant.Attendant.
type Ears interface {
	Conversation() *sipflow.Conversation
	Start(names ...string)
	Play(ctx context.Context, names ...string) error
	Loop(pcm []int16)
	Stop()
	Entry(ctx context.Context, o attendant.EntryOptions) (string, error)
	Digit(ctx context.Context) (byte, error)
	// Release gives the sound to a conversation, Resume takes it back.
	Release() Audio
	Resume()
	Close()
}

// Room is a conversation that was entered: a *talkroom.Room.
type Room interface {
	AddPhone(callID string, audio Audio, o talkroom.PhoneOptions) Phone
	InCall() bool
	Inside() bool
	Phones() int
	Foreign() int
	Leave()
}

// Phone is a caller in a conversation: a *talkroom.Phone.
type Phone interface {
	Shown()
	Mute(talk.Flags)
	Muted() talk.Flags
	Held(bool)
	Raise(bool)
	Raised() bool
	Play(pcm []int16)
	Remove()
}

// Parts are what calls need of other packages. Tests have others than New.
type Parts struct {
	// Open makes the ears of a call: clip returns a prompt. silent is told that the
	// phone has sent nothing for a minute.
	Open func(clip func(name string) []int16, silent func()) (Ears, error)
	// Clip returns a prompt in a language.
	Clip func(language, name string) []int16
	// Enter joins a conversation.
	Enter func(s Session, token string, events func(talkroom.Event)) (Room, error)
	// Sessions returns the connections to a Nextcloud's signaling servers by which
	// phones can be heard, best first, or says why there is none.
	Sessions func(c Cloud) ([]Session, error)
	// Ends is told what a call came to, before it is hung up. It may be nil.
	Ends func(id string, o Outcome)
}
