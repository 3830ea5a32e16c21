package sipflow

import "sipxrest/sipflow/sdp"

// Mute says which directions of a phone's audio are off.
type Mute uint8

// Directions, as the phone's user sees them.
const (
	MuteSpeaking  = Mute(sdp.SendOnly) // he is not heard
	MuteListening = Mute(sdp.RecvOnly) // he hears nothing
)

// muteAll is both directions.
const muteAll = MuteSpeaking | MuteListening

// holding is what a client has done to a leg by hold.
type holding uint8

const (
	isHeld  holding = 1 << iota // its phone is on hold
	hasHeld                     // the other one is: this one waits for it
)

// off is what of the phone's audio is off in what it is told. One on hold is told so by
// sendonly, as phones do it, and shows it to its user (RFC 5359 §2.1). Who waits must
// not send, for the media do not come by way of us.
func (j *mediaState) off() Mute {
	switch {
	case j.holding&hasHeld != 0:
		return muteAll
	case j.holding&isHeld != 0:
		return j.muted | MuteSpeaking
	}
	return j.muted
}

// unsaid is what of the phone's directions is not its own word: it follows from off, and
// on hold there are phones that answer inactive.
func (j *mediaState) unsaid() Mute {
	if j.holding != 0 {
		return muteAll
	}
	return j.muted
}

// apply takes what is muted from a description that the phone gets, whose
// directions are the other phone's (RFC 3264 §5.1).
func (m Mute) apply(body []byte) []byte {
	if m == 0 {
		return body
	}
	streams := sdp.Directions(body)
	for i := range streams {
		streams[i] &^= sdp.Direction(m).Reverse()
	}
	return sdp.Directed(body, streams)
}

// unmuted is a description of the leg's phone as the other one is to have it:
// what only our muting keeps the phone from is as it was before, for the other
// phone goes on as if nothing were muted. offer is what it answers, nil for an
// offer of its own.
func (l *Leg) unmuted(body, offer []byte) []byte {
	if l.media == nil || l.media.unsaid() == 0 || len(body) == 0 {
		return body
	}
	return l.media.unmute(body, offer)
}

func (j *mediaState) unmute(body, offer []byte) []byte {
	streams, known, offered := sdp.Directions(body), sdp.Directions(j.remote), sdp.Directions(offer)
	for i := range streams {
		before := sdp.SendRecv
		if i < len(known) {
			before = known[i]
		}
		if streams[i] |= before & sdp.Direction(j.unsaid()); i < len(offered) {
			streams[i] &= offered[i].Reverse()
		}
	}
	return sdp.Directed(body, streams)
}
