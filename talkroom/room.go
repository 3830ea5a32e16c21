package talkroom

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
	// the prompt "unavailable" and to be hung up.
	MediaFailed
	// Begun: somebody is in the conversation's call, as is told once after Enter
	// or when the first one comes.
	Begun
	// Ended: nobody is in the call any more.
	Ended
)

func (e Event) String() string {
	return [...]string{"", "ended for everyone", "deleted", "empty", "media failed", "begun", "ended"}[e]
}

// Room is a conversation that was entered. Its methods may be called from any
// goroutine, do not wait, and do nothing after Leave.
type Room struct {
	conversation *conversation
	events       func(Event)
}

// Token is that of the conversation.
func (r *Room) Token() string { return r.conversation.token }

// Leave ends one Enter. Its phones are removed before.
func (r *Room) Leave() { r.conversation.rooms.leave(r) }

// InCall reports whether somebody takes part in the conversation's call: humans,
// phones and those of other bridges. Begun and Ended tell of changes.
func (r *Room) InCall() bool { return false }

// Phones is how many phones are in the conversation, of all owners.
func (r *Room) Phones() int { return r.conversation.phones() }
