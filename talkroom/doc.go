// Package talkroom has telephones take part in conversations of Nextcloud Talk
// with their audio: they hear everybody, and everybody hears them.
//
//	phones ── media.Session ─┐
//	                         ├─ mix.Mixer ── sfu.Publisher ──────── Janus ── browsers
//	phones ── media.Session ─┘        └───── sfu.Subscription × n ──┘
//
// Where to look:
//
//	rooms.go         what there is to set; all conversations; start and end
//	room.go          what the owner of a phone does, and what he is told
//	phone.go         one phone: mute, hand, prompts
//	conversation.go  one conversation: its goroutine, and what reaches it
//
// Each conversation has a goroutine that owns its connections. All that happens
// to it comes by one bounded channel: callbacks of connections and of the
// signaling client only send to that, and never wait. Beside it runs the clock of
// the conversation's mixer, while it has phones.
package talkroom
