// Package dialout calls phone numbers and joins them to a conference: the SIP
// bridge of Nextcloud Talk, and a JSON resource for clients without Nextcloud.
//
//	Talk ── signaling server ── talk ─┐
//	                                          ├─ Service ── sipflow ── gateway, phone, conference
//	HTTP client ──────────── POST /dialout ───┘
//
// Where to look:
//
//	config.go       what there is to set
//	service.go      who runs calls, how many there may be; start and end
//	call.go         one call from the acceptance to its last status
//	sip.go          the call's phone and conference, by way of sipflow
//	audio.go        the phone's audio, when it is in the conversation itself
//	outcome.go      how a call ended, in the words of its statuses
//	number.go       phone numbers, callers and targets, checked
//	refusal.go      why a call is not made, for programs and for people
//	nextcloud.go    requests of Talk: verified, accepted, seen in the room
//	control.go      what moderators want of a phone
//	journal.go      calls that a crash must not leave behind
//	rest.go, sse.go the JSON resource
//
// Each call has one goroutine that waits for what happens to it; it reports all
// statuses of the call. A connected call has another that obeys DTMF and mute,
// which wait for the phone. Whatever arrives from the signaling server or from
// SIP, its reader puts into the call's channels; readers never wait.
package dialout
