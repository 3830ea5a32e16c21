package talkroom

import (
	"sipxrest/media/mix"
	"sipxrest/talk"
)

// Event is something that happens to a conversation.
type Event int

const (
	// EndedForEveryone: a moderator has ended the call. Its phones are to be hung
	// up.
	EndedForEveryone Event = iota + 1
	// Deleted: the conversation is no more.
	Deleted
	// Empty: nobody but phones has taken part in the call for a while
	// (talk.Empty). It is told again as long as it is so.
	Empty
	// MediaFailed: for a minute the phones could not be heard. They are to hear
	// the prompt "unavailable" and to be hung up. It is told once, until they were
	// heard again.
	MediaFailed
	// Begun: somebody is in the conversation's call. It is told after Enter if it is
	// so.
	Begun
	// Ended: nobody is in the call any more.
	Ended
)

func (e Event) String() string {
	return [...]string{"none", "ended for everyone", "deleted", "empty", "media failed", "begun", "ended"}[e]
}

// Room is a conversation that was entered. Its methods may be called from any
// goroutine and do not wait. After Leave they do nothing.
type Room struct {
	conversation *conversation
	events       func(Event)
	begun        bool // Begun was told; owned by the conversation's goroutine
}

// Token is that of the conversation.
func (r *Room) Token() string { return r.conversation.token }

// Leave ends one Enter, and takes the phones out that were added by it.
func (r *Room) Leave() { r.conversation.rooms.leave(r) }

// InCall reports whether somebody takes part in the conversation's call: people,
// our phones and those of others. Begun and Ended tell of changes.
func (r *Room) InCall() bool { return r.conversation.inCall() }

// Inside reports whether we are in the conversation: before that, and while the
// connection is lost, phones need not be added to it.
func (r *Room) Inside() bool { return r.conversation.signal.Inside() }

// Phones is how many phones are in the conversation, of all owners.
func (r *Room) Phones() int { return r.conversation.phones() }

// Foreign is how many phones of other bridges are in the conversation's call, as far as
// is known.
func (r *Room) Foreign() int { return r.conversation.signal.Foreign() }

// Audio is a phone's sound: a *media.Session that is Stepped. Remove waits for a
// call of it that goes on, so what those call back must not wait for whoever
// removes the phone.
type Audio = mix.Phone

// PhoneOptions are how a phone takes part.
type PhoneOptions struct {
	// MayNotSpeak: Nextcloud has not given the permission to publish audio. The
	// phone is muted for ever, and shown so.
	MayNotSpeak bool
	// Flags are those that it begins with: talk.MutedSpeaking and MutedListening.
	Flags talk.Flags
	// Clip returns a prompt in the phone's language, as 16 kHz mono: alone,
	// reconnecting. nil for one that there is none of. Clip may be nil.
	Clip func(name string) []int16
	// Music is played again and again while the phone is alone. Without it there
	// is silence.
	Music []int16
}

// AddPhone has a phone take part from now on: it hears the others and is heard.
// callID is that of talk.Session.AddSession, which its owner calls, and says so by
// Phone.Shown. The audio is the mixer's until Phone.Remove has returned.
func (r *Room) AddPhone(callID string, audio Audio, o PhoneOptions) *Phone {
	p := &Phone{room: r, callID: callID, port: port{audio: audio}, opt: o, flags: o.Flags & muteFlags, sent: unknown}
	r.conversation.add(p)
	return p
}
