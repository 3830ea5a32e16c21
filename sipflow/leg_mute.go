package sipflow

import "sipxrest/sipflow/sdp"

// Mute says which directions of a phone's audio are off.
type Mute uint8

// Directions, as the phone's user sees them.
const (
	MuteSpeaking  = Mute(sdp.SendOnly) // he is not heard
	MuteListening = Mute(sdp.RecvOnly) // he hears nothing
)

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
	if l.media == nil || l.media.muted == 0 || len(body) == 0 {
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
		if streams[i] |= before & sdp.Direction(j.muted); i < len(offered) {
			streams[i] &= offered[i].Reverse()
		}
	}
	return sdp.Directed(body, streams)
}
