// Package sipflow places SIP calls between two phones and stays in control of
// them: the Switchboard, its Calls, their Legs and the flows that read like
// the message ladders they produce.
//
// Where to look:
//
//	spec.go, switchboard.go, call.go   what is asked for, who runs it, one call
//	refer.go, invite.go, dial.go       the flows
//	inbound.go, inboundtx.go           calls that others place to us: who may, their INVITE's transaction
//	incoming.go, connect.go            what is said to the caller, whom it is connected to
//	reliable.go, challenge.go, loop.go reliable provisional responses, our own challenges, loops
//	converse.go                        calls whose media end here
//	bridge.go, relay.go, transfer.go   between two phones: what passes, who is replaced
//	control.go, mute.go                what clients want of them: digits, muting
//	refresh.go, session.go, sdp.go     session timers, session descriptions
//	leg.go, attempt.go, answer.go      one phone: its dialog, a request's way to it, its INVITE
//	header.go, dialog.go, reason.go    what our requests say
//	urichars.go                        what may stand in a URI made of a client's words
//	autoanswer.go                      how a phone is asked to pick up by itself
//	peer.go, server.go, receive.go     what phones and strangers ask
//	client.go, timers.go, shard.go     transactions and their timers (RFC 3261 §17, RFC 6026)
//	ended.go                           what is kept of dialogs that are over
//	stats.go, snapshot.go              what is counted, and how it is read
//	transport.go, udp.go, stream.go    the sockets
//	failover.go, health.go, large.go   hops that failed, that do not answer OPTIONS; requests too long for UDP
//	guard.go, nat.go                   where phones may not send us; addresses behind NATs
//	digest.go, phones.go, replaces.go  challenges; phones that refuse REFER; attended transfer
//	wire                               messages as bytes
//	siptest                            the other side, for tests: network, phones, proxy
//
// Three kinds of goroutine touch a call. The sockets' readers parse, match and
// answer, and never wait; they put what a call should know into its legs'
// inboxes. The call's own goroutine runs its flow. Timers fire in goroutines of
// the runtime. They meet at a shard's lock, then a leg's (peer.mu), then an
// inbox's; sw.mu is taken before any of them.
package sipflow
