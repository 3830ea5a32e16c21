// Package talk is the bridge's side of Nextcloud Talk's signaling server
// (nextcloud-spreed-signaling, the "high-performance backend"): it is asked to
// call a phone number out of a conversation, and says how the call fares. It
// shows the phone among the participants, and hears what moderators want of it.
// It knows nothing of SIP.
//
// Where to look:
//
//	config.go              signaling servers and Nextclouds, what the owner is told
//	client.go              all connections; Serve
//	session.go, status.go  one signaling server and one Nextcloud: what is sent
//	request.go, control.go what arrives: to call a number; from moderators
//	mask.go                what logs show of a token
//	room.go, people.go     one conversation seen from inside: who is there, who is heard
//	media.go               offers, answers and candidates of its media server
//	vigil.go               for how long nobody is there, and what of that is known
//	handlers.go            several users of one client
//	link.go, hello.go      one connection: kept up, resumed, given up
//	outbox.go              what waits to be sent
//	message.go             messages as JSON
//	backend.go, dialin.go  what Nextcloud itself is asked, for calls out and in
//	capabilities.go        what a Nextcloud and a signaling server can do
//	probe.go               what is wrong with a configuration, in words
//	talktest               signaling server and Nextcloud, for tests
//
// A Session has one connection (D) that never joins a conversation: joining
// takes it off the signaling server's list of bridges for good. Each
// conversation with calls has another (R) that does, from Session.Join to
// Room.Leave. Each connection has one goroutine that reads and one that writes;
// the functions of a Handler are called by the one that reads.
package talk
