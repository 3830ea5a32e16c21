package sipflow

import (
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"hash/maphash"

	"sipxrest/sipflow/sdp"
)

// mediaState is what a leg keeps when it is joined with another. A leg whose phone
// is referred has none. It belongs to the call's goroutine.
type mediaState struct {
	// What the phone and we said last of the session (RFC 3264): the next
	// offer or answer continues it.
	lines   int    // m= lines of the session; there may never be fewer (RFC 3264 §8)
	remote  []byte // the phone's last description
	reached []byte // its last one with addresses, where that is another one

	joint     joint       // nil: the leg is alone
	deferred  []event     // came while another leg was busy
	byeHeader string      // header lines of our BYE: the reasons of the other phone
	early     *earlyOffer // joins the media before the phone answers
	agreed    bool        // it has answered an offer of ours in a PRACK
	onLate    func()      // told when the phone takes its time to answer
	muted     Mute        // what of the phone's audio is off
	holding   holding     // likewise, by hold
	parks     bool        // the phone has put the other one on hold by itself
	forwards  uint16      // of the first INVITE, as outgoing has it
}

// earlyOffer joins the media before the called phone answers, when it insists
// on reliable provisional responses (RFC 3262 §5: the first of them carries
// the offer, and its PRACK our answer).
type earlyOffer struct {
	calling *Leg                    // nil: it is held until there is one
	joined  bool                    // calling has answered the offer of one phone: those of others are held
	refused error                   // how calling has refused the latest that it could not do
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
	rest = j.off().apply(rest)
	j.lines = max(j.lines, media)
	return sdp.From(l.id>>1, l.peer.nextVersion(maphash.Bytes(l.call.sw.seed, rest)), l.mediaHost(), rest)
}

// refuse answers an offer with every stream refused (RFC 3264 §6): what an
// offer in a 2xx gets when nothing can come of it.
func (l *Leg) refuse(offer []byte) []byte {
	rest, lines := sdp.Refused(offer)
	if rest == nil {
		return nil
	}
	return l.own(rest, lines)
}

// refusesStreams reports whether an answer leaves nothing of what was offered.
func refusesStreams(answer, offer []byte) bool { return sdp.Used(offer) && !sdp.Used(answer) }

// answerHeld answers the phone's offer with every stream inactive. A *StatusError says
// that none of them can be held.
func (l *Leg) answerHeld(offer []byte) ([]byte, error) {
	rest, lines, err := sdp.Hold(offer, l.mediaHost(), l.mediaKey)
	if err != nil {
		return nil, &StatusError{"INVITE", 488, "The Call Cannot Be Held, " + err.Error()}
	}
	return l.ownUnmuted(rest, lines), nil
}

// onHold is answerHeld for an offer that can be answered only: where no stream can be
// held all are refused.
func (l *Leg) onHold(offer []byte) []byte {
	if answer, err := l.answerHeld(offer); err == nil {
		return answer
	}
	rest, lines := sdp.Refused(offer)
	if rest == nil {
		return nil
	}
	return l.ownUnmuted(rest, lines)
}

// firstOffer is own for an offer to a phone that has accepted none yet.
func (l *Leg) firstOffer(rest []byte, lines int) []byte {
	return sdp.From(l.id>>1, l.peer.firstVersion(maphash.Bytes(l.call.sw.seed, rest), lines), l.mediaHost(), rest)
}

// ownUnmuted is own where there may be no mediaState: nothing is muted then.
func (l *Leg) ownUnmuted(rest []byte, lines int) []byte {
	return sdp.From(l.id>>1, l.peer.versionWith(maphash.Bytes(l.call.sw.seed, rest), lines), l.mediaHost(), rest)
}

// mediaKey is ours for an encrypted stream that is held (see sdp.Hold): the same one
// whenever the phone asks, so that our description does not change, and another for
// each leg and stream.
func (l *Leg) mediaKey(stream, size int) []byte {
	h := hmac.New(sha512.New, l.call.sw.keys[:])
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, l.id), uint64(stream)))
	return h.Sum(nil)[:size]
}

// heard keeps the phone's description, and its last one with addresses: for a phone
// that is on hold may have none.
func (l *Leg) heard(body []byte) {
	if len(body) == 0 {
		return
	}
	j := l.joinedMedia()
	if was := l.saidLast(); sdp.Reached(body) {
		j.reached = nil
	} else if sdp.Reached(was) {
		j.reached = was
	}
	j.remote = append([]byte(nil), body...)
}

// saidLast is the phone's last description, one in a re-INVITE that the reader
// answered included.
func (l *Leg) saidLast() []byte {
	j := l.joinedMedia()
	if said := l.peer.lastSaid(); said != nil {
		l.heard(said)
	}
	return j.remote
}

// forAnother is what the phone can be offered to another party with, nil when that
// is not known (see sdp.ForAnother).
func (l *Leg) forAnother() []byte {
	return sdp.ForAnother(l.saidLast(), l.joinedMedia().reached)
}
