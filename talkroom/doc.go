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
//	phone.go         one phone: mute, hand, prompts, what is shown of it
//	conversation.go  one conversation: its goroutine, its phones
//	inbox.go         what waits for that goroutine
//	publish.go       how phones are heard, and are again after a failure
//	subscribe.go     how participants are heard
//	load.go          fewer participants are decoded when there is too much to do
//	server.go        signaling and media servers, as conversations see them
//	stats.go         what is counted
//
// Each conversation has a goroutine that owns its connections. All that happens
// to it comes by one bounded channel: callbacks of connections and of the
// signaling client only send to that, and never wait. Beside it runs the clock of
// the conversation's mixer, while it has phones.
package talkroom
