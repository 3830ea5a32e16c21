package talk

// Control is what is wanted of a phone.
type Control struct {
	CallID string
	Kind   ControlKind
	// Sender is the public session id of the moderator; "" for Nextcloud itself
	// (the participant was removed: Reason is "disinvited").
	Sender string
	Reason string
	Digit  byte  // DTMF: 0 to 9, * or #
	Mute   Flags // Mute: MutedSpeaking | MutedListening
}

// ControlKind says which fields of a Control count.
type ControlKind int

const (
	HangUp ControlKind = iota + 1
	DTMF
	Mute
)
