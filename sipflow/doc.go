// Package sipflow places SIP calls between two phones and stays in control of
// them: the Switchboard, its Calls, their Legs and the flows that read like
// the message ladders they produce.
//
// Below it are its leaves: transport (sockets), sdp (session descriptions), uri
// (addresses), wire (messages as bytes), and siptest (the other side, for tests:
// network, phones, proxy). The files of this package stand in layers, the lowest
// first. A file may use what stands above it in this list; layers_test.go counts
// where one does not.
//
//	errors.go             why a call ends, or is not placed
//	event.go              what observers are told
//	spec.go               what is asked for
//	keeper.go             who keeps the states of calls for other nodes
//	state_hooks.go        what a call tells of itself for other nodes
//	names.go              what of the sockets a Config names
//	callid.go             ids that clients know calls by
//	record.go             what observers have been told of a call's legs
//	stats.go              what is counted
//
// Transactions (RFC 3261 §17, RFC 6026):
//
//	tx_timer.go           one list of timers for each delay
//	tx_inbox.go           what reaches the call's goroutine, in order
//	tx_table.go           where transactions and legs are found
//	tx_request.go         the dialog that a request of ours is made of, and its bytes
//	tx_via.go             requests in the name of another node
//	tx_response.go        our responses, and how requests are told apart
//	tx_client.go          requests of ours
//	tx_lead.go            requests that go out a while after they were made
//	tx_server.go          requests of phones, and our responses
//	tx_invite.go          an INVITE that came in
//	tx_ended.go           what is remembered of dialogs that are over
//
// A leg, our side of one dialog (RFC 3261 §12):
//
//	leg_notification.go   its NOTIFYs of a REFER (RFC 3515)
//	leg_cause.go          why a leg ended, and by whom
//	leg_end.go            on which leg the end of a call falls
//	leg_told.go           what is told of holds, muting and transfers
//	leg_callee.go         whom a leg is with, and by what right
//	leg_taken.go          what is known of the node that had it before
//	leg.go                the leg, from its first request to its end
//	leg_session.go        session timers of a leg (RFC 4028)
//	leg_header.go         the header fields of our first INVITE
//	leg_reason.go         why we hang up (RFC 3326)
//	leg_autoanswer.go     how a phone is asked to pick up by itself
//	leg_relayed.go        what of a message another phone may be told
//	leg_digest.go         challenges of servers and phones
//	leg_earlypeer.go      phones that ring, as far as their requests go
//	leg_media.go          descriptions that were offered and answered
//	leg_mute.go           directions that are off
//	leg_guard.go          where a phone may not send us
//	leg_route.go          where a request goes
//	leg_nat.go            addresses behind NATs
//	leg_remote.go         what the phone asks in its dialog
//	leg_failover.go       hops that failed
//	leg_large.go          requests too long for UDP (RFC 3261 §18.1.1)
//	leg_redirect.go       302 and its kind
//	leg_request.go        one request with its challenges, hops and redirections
//	leg_errand.go         requests that nobody waits for
//	leg_refresh.go        what a dialog owes whatever the call waits for
//	leg_early.go          what is agreed on before the phone picks up
//	leg_divert.go         phones that are given up for another one
//	leg_invite.go         the INVITE and its 2xx
//	leg_fork.go           further phones that pick up
//	leg_phones.go         phones that refuse REFER
//
// Two legs joined:
//
//	bridge.go             what passes between two phones
//	bridge_hold.go        phones on hold
//	bridge_referto.go     whom a REFER of a phone is about
//	bridge_digit.go       digits in INFOs
//	bridge_referid.go     REFERs that a phone numbers (RFC 3515 §2.4.6)
//	bridge_control.go     what clients want: digits, muting, hold
//	bridge_list.go        the bridges there are
//	bridge_relay.go       requests that one phone asks of the other
//	bridge_attended.go    a phone talks to the target before it makes room
//	bridge_transfer.go    one phone makes room for another
//	bridge_join.go        the far phones of two calls are joined
//	bridge_replaces.go    a phone calls us to take another one's place (RFC 3891)
//
// What a call does, each a ladder:
//
//	flow_refer.go         REFER: the calling phone calls the other itself
//	flow_referred.go      REFERs that were accepted a moment ago
//	flow_join.go          two phones come to one description, whichever offers
//	flow_dial.go          a phone is joined with a conversation or a gateway
//	flow_invite.go        INVITE: we call both phones and stay
//	flow_converse.go      media end here
//	flow_connect.go       a caller is joined with a target
//
// Calls that others place to us:
//
//	inbound_admit.go      who may
//	inbound_auth.go       who they are (RFC 3261 §22)
//	inbound_loop.go       those that went in a circle
//	inbound_reliable.go   provisional responses that are acknowledged (RFC 3262)
//	inbound.go            what the caller is told
//	inbound_converse.go   those whose media end here, for a while or to the end
//	inbound_replaces.go   those that take another one's place
//
// The whole:
//
//	onwire.go             messages as they came or went, for who watches
//	state.go              what another node needs of a call
//	state_encode.go       that as bytes
//	state_decode.go       and read again
//	call.go               one call and its goroutine
//	calllog.go            its line in the log
//	control.go            what clients want of a call in progress
//	limits.go             what others can have us do
//	indialog.go           requests in a dialog, by their method and what the leg is at
//	receive.go            messages to transactions, dialogs and strangers' requests
//	probe.go              requests outside of dialogs that change nothing
//	health.go             servers that answer OPTIONS
//	stats_read.go         the counters, read
//	switchboard.go        all of it
//	state_of.go           what another node needs, of a call as it is
//	state_keep.go         when that is written, and who waits for it
//	giveway.go            a call ends for a new one at another node
//
// Calls that another node had:
//
//	adopt_takeover.go     one of them and its legs
//	adopt_record.go       what observers are told of them once more
//	adopt_caller.go       those that others had placed to it
//	adopt_restore.go      the call and its legs, made of what is kept
//	adopt_hangup.go       they are hung up, as far as they are
//	adopt_refresh.go      their phones hear where they go on
//	adopt_bridged.go      two phones stay joined
//	adopt_refer.go        a phone goes on reporting what becomes of a REFER
//	adopt_media.go        a phone hears that its audio is here now
//	adopt.go              all of it
//	handover.go           calls that this node gives away, or that others have taken
//
// Three kinds of goroutine touch a call. The sockets' readers parse, match and
// respond, and never wait; they put what a call should know into its legs'
// inboxes. The call's own goroutine runs its flow. Timers fire in goroutines of
// the runtime. They meet at a shard's lock, then a leg's (peer.mu), then an
// inbox's; sw.mu is taken before any of them.
package sipflow
