// Package dialin takes callers into conversations of Nextcloud Talk: it answers,
// asks for the conversation's number and a PIN, and has the phone take part with
// its audio.
//
//	caller              here                Nextcloud      signaling server
//	  │ INVITE           │                      │                 │
//	  │─────────────────▶│                      │                 │
//	  │ 200, ACK         │                      │                 │
//	  │◀────────────────▶│                      │                 │
//	  │ prompts, digits  │ GET room             │                 │
//	  │◀════════════════▶│─────────────────────▶│                 │
//	  │                  │ verify-dialin        │                 │
//	  │                  │─────────────────────▶│                 │
//	  │                  │ addsession           │                 │
//	  │                  │────────────────────────────────────────▶
//	  │◀═════════════════╪═══ the conversation, by talkroom ══════▶
//	  │ BYE              │ removesession        │                 │
//	  │─────────────────▶│────────────────────────────────────────▶
//
// Where to look:
//
//	config.go   what there is to set
//	service.go  all calls: who may call, limits, start and end
//	call.go     one call, from its answer to its end
//	enter.go    what the caller enters: the conversation's number, the PIN
//	admit.go    consent to a recording, lobby, a call that has not begun
//	talk.go     in the conversation: keys, moderators, the ends
//	guess.go    how often may be guessed, and when nobody is asked
//	name.go     what others see of a caller
//	parts.go    what a call needs of other packages
//	wire.go     those packages
//	handler.go  what the signaling servers tell
//
// A call has two goroutines: that of sipflow, in which the dialog lives, and one that
// walks through the states. A third one reads the caller's keys once he is known.
// What is said of the call elsewhere, by moderators and in its conversation, reaches it
// by bounded channels.
package dialin
