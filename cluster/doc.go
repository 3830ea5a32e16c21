// Package cluster lets several nodes keep each other's calls: when one of them dies, the others go on with what it had.
//
// It knows no SIP and no NATS. A call is an id, a key, and bytes that its owner makes; the store is an [Engine].
//
// # What is promised
//
// A call has one owner: the incarnation of the node in whose stream its state is. Only a fence of that incarnation, or a hand-over by
// the owner itself, changes that. After a fence is committed, nothing of the fenced incarnation is. Each live call of a node that died
// is adopted by exactly one other: whoever changes the entry of its id, on the condition that it still names the dead one.
//
// # States
//
// The first byte of a state is its class, which says in which order calls of a dead node are taken over: [ClassTalking] first, then
// [ClassWaiting], then [ClassOther]. This package reads nothing else of it.
//
// # Files
//
//	engine.go     what a store must be able to do
//	identity.go   names of streams and subjects, incarnations, which heir has a call
//	entry.go      what is written at those subjects
//	config.go     what the wiring gives
//	node.go       the Node: its start and end
//	register.go   joining: one process of each name, the node's number
//	calls.go      calls of this node, and what of them is not committed yet
//	tick.go       writing states, some milliseconds' worth at a time
//	lease.go      renewals, and whether this node surely owns its calls
//	member.go     the other nodes, and how long nobody has heard of them
//	fence.go      the end of an incarnation
//	heir.go       which calls of a fenced incarnation are ours
//	adopt.go      taking over one call
//	forget.go     what a node does that finds itself fenced
//	again.go      a store that has lost data
//	claim.go      keys and ids of calls: claims
//	key.go        the same: moves and ends
//	find.go       where a call is
//	ask.go        questions between nodes
//	gossip.go     what nodes tell each other, counts that they share
//	handover.go   giving a call to another node
//	secret.go     what signs nonces at all nodes
//	stats.go      what metrics show
package cluster
