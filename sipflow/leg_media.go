package sipflow

import (
	"bytes"
	"context"
	"hash/maphash"
	"strconv"

	"sipxrest/sipflow/sdp"
)

// mediaState is what a leg keeps when it is joined with another. A leg whose phone
// is referred has none. It belongs to the call's goroutine.
type mediaState struct {
	// What the phone and we said last of the session (RFC 3264): the next
	// offer or answer continues it.
	sent   uint64 // hash of our last description without its origin
	lines  int    // m= lines of the session; there may never be fewer (RFC 3264 §8)
	remote []byte // the phone's last description

	joint     joint       // nil: the leg is alone
	deferred  []event     // came while another leg was busy
	byeHeader string      // header lines of our BYE: the reasons of the other phone
	early     *earlyOffer // joins the media before the phone answers
	agreed    bool        // it has answered an offer of ours in a PRACK
	muted     Mute        // what of the phone's audio is off
	forwards  uint16      // of the first INVITE, as outgoing has it
}

// earlyOffer joins the media before the called phone answers, when it insists
// on reliable provisional responses (RFC 3262 §5: the first of them carries
// the offer, and its PRACK our answer).
type earlyOffer struct {
	calling *Leg                    // nil: it is held until there is one
	joined  bool                    // calling has answered the offer of one phone: those of others are held
	fail    context.CancelCauseFunc // ends the call: the calling phone cannot do what is offered
}

// joint is what a leg's media are joined with: another phone, or an end of ours. A leg
// without one is alone, and has nothing to tell but what it told before.
type joint interface {
	// told is our description as the leg's phone knows it; nil when there is none.
	told(l *Leg) []byte
	// retold takes what the phone answers when it is told the same again.
	retold(l *Leg, answer []byte) error
}

// joinedMedia is the leg's media state, made when it is first needed.
func (l *Leg) joinedMedia() *mediaState {
	if l.media == nil {
		l.media = &mediaState{}
		if l.peer.versionNow() > 0 {
			l.media.lines = 1 // the placeholder's
		}
	}
	return l.media
}

// describe makes another party's session description our offer to this leg's
// phone: with our origin, whose version rises by one when something changed
// (RFC 3264 §8), and with as many m= lines as the session has, the ones too
// many refused. What is no SDP passes unchanged.
func (l *Leg) describe(body []byte) []byte {
	rest, media, ok := sdp.Split(body)
	if !ok {
		return body
	}
	j := l.joinedMedia()
	for ; media < max(j.lines, l.peer.mediaLines()); media++ {
		rest = append(rest, sdp.RefusedLine...)
	}
	return l.own(rest, media)
}

// answerTo makes another party's answer ours to the offer of this leg's phone.
func (l *Leg) answerTo(offer, answer []byte) []byte {
	rest, media, ok := sdp.Split(sdp.Fit(answer, offer))
	if !ok {
		return answer
	}
	return l.own(rest, media)
}

// own gives a description our origin. rest is all that follows it.
func (l *Leg) own(rest []byte, media int) []byte {
	j := l.joinedMedia()
	rest = j.muted.apply(rest)
	sum := maphash.Bytes(l.call.sw.seed, rest)
	version := l.peer.nextVersion(sum != j.sent)
	j.sent, j.lines = sum, max(j.lines, media)
	b := append(make([]byte, 0, len(rest)+80), "v=0\r\no=- "...)
	b = strconv.AppendUint(b, l.id>>1, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, version, 10)
	b = append(b, ' ')
	b = sdp.AppendAddress(b, l.mediaHost())
	return append(b, rest...)
}

// onHold answers the phone's offer with every stream inactive.
func (l *Leg) onHold(offer []byte) []byte {
	return l.answerTo(offer, sdp.HeldAnswer(offer, l.id, l.peer.versionNow(), l.mediaHost()))
}

// refuse answers an offer with every stream refused (RFC 3264 §6): what an
// offer in a 2xx gets when nothing can come of it.
func (l *Leg) refuse(offer []byte) []byte {
	rest, media, ok := sdp.Split(offer)
	if !ok {
		return nil
	}
	b := make([]byte, 0, len(rest))
	for line := range bytes.Lines(rest) {
		switch line[0] {
		case 's', 'c', 't':
			b = append(b, line...)
		case 'm':
			f := bytes.Fields(line)
			for i, w := range f {
				switch i {
				case 0:
				case 1:
					b = append(b, " 0"...)
					continue
				default:
					b = append(b, ' ')
				}
				b = append(b, w...)
			}
			b = append(b, "\r\n"...)
		}
	}
	return l.own(b, media)
}

// heard keeps the phone's description for a transfer.
func (l *Leg) heard(body []byte) {
	if len(body) > 0 {
		l.joinedMedia().remote = append([]byte(nil), body...)
	}
}
