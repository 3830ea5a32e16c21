package sipflow

import (
	"bytes"
	"hash/maphash"
	"strconv"

	"sipxrest/sipflow/wire"
)

// joint is what a leg keeps when it is joined with another. A leg whose phone
// is referred has none. It belongs to the call's goroutine.
type joint struct {
	// What the phone and we said last of the session (RFC 3264): the next
	// offer or answer continues it.
	sent   uint64 // hash of our last description without its origin
	lines  int    // m= lines of the session; there may never be fewer (RFC 3264 §8)
	remote []byte // the phone's last description

	timer     sessionTimer
	deferred  []event     // came while another leg was busy
	byeHeader string      // header lines of our BYE: the reasons of the other phone
	early     *earlyOffer // joins the media before the phone answers
	muted     Mute        // what of the phone's audio is off
	inEarly   []byte      // the answer in a reliable provisional response
	forwards  uint16      // of the first INVITE, as outgoing has it
	talk      *talk       // whose media end here; nil for others
}

// joined is the leg's joint, made when it is first needed.
func (l *Leg) joined() *joint {
	if l.joint == nil {
		l.joint = &joint{}
		if l.peer.versionNow() > 0 {
			l.joint.lines = 1 // the placeholder's
		}
	}
	return l.joint
}

// isSDP reports whether a Content-Type is a session description.
func isSDP(contentType []byte) bool {
	if i := bytes.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	return bytes.EqualFold(bytes.TrimSpace(contentType), []byte(sdpType))
}

// bodyOf is the session description of a message, nil when it has none.
func bodyOf(m *wire.Message) []byte {
	if len(m.Body()) == 0 || !isSDP(m.Get(wire.ContentType)) {
		return nil
	}
	return m.Body()
}

// describe makes another party's session description our offer to this leg's
// phone: with our origin, whose version rises by one when something changed
// (RFC 3264 §8), and with as many m= lines as the session has, the ones too
// many refused. What is no SDP passes unchanged.
func (l *Leg) describe(body []byte) []byte {
	rest, media, ok := splitSDP(body)
	if !ok {
		return body
	}
	j := l.joined()
	for ; media < max(j.lines, l.peer.mediaLines()); media++ {
		rest = append(rest, refusedLine...)
	}
	return l.own(rest, media)
}

// answerTo makes another party's answer ours to the offer of this leg's phone.
func (l *Leg) answerTo(offer, answer []byte) []byte {
	rest, media, ok := splitSDP(fit(answer, offer))
	if !ok {
		return answer
	}
	return l.own(rest, media)
}

// own gives a description our origin. rest is all that follows it.
func (l *Leg) own(rest []byte, media int) []byte {
	j := l.joined()
	rest = j.muted.apply(rest)
	sum := maphash.Bytes(l.call.sw.seed, rest)
	version := l.peer.nextVersion(sum != j.sent)
	j.sent, j.lines = sum, max(j.lines, media)
	b := append(make([]byte, 0, len(rest)+80), "v=0\r\no=- "...)
	b = strconv.AppendUint(b, l.id>>1, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, version, 10)
	b = append(b, ' ')
	b = appendAddr(b, l.mediaHost())
	return append(b, rest...)
}

// refusedLine is a stream that is not used (RFC 3264 §6).
const refusedLine = "m=audio 0 RTP/AVP 0\r\n"

// splitSDP takes the version and the origin off a description and counts its
// m= lines. It keeps whatever the lines say, for phones write more than any
// grammar knows; only their ends become CRLF. ok is false when it is no SDP.
func splitSDP(body []byte) (rest []byte, media int, ok bool) {
	rest = make([]byte, 0, len(body)+2*len(refusedLine))
	for line := range bytes.Lines(body) {
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case !ok:
			if !bytes.HasPrefix(line, []byte("v=")) {
				return nil, 0, false
			}
			ok = true
			continue
		case len(line) == 0, bytes.HasPrefix(line, []byte("o=")):
			continue
		case bytes.HasPrefix(line, []byte("m=")):
			media++
		}
		rest = append(rest, line...)
		rest = append(rest, "\r\n"...)
	}
	return rest, media, ok
}

// fit gives an answer as many m= lines as the offer has: a leg that had more
// was offered some refused ones (see describe), and some phones forget the
// streams that they refuse.
func fit(answer, offer []byte) []byte {
	_, have, ok := splitSDP(answer)
	_, want, also := splitSDP(offer)
	if !ok || !also || have == want {
		return answer
	}
	if have > want {
		return answer[:mediaAt(answer, want)]
	}
	b := append(make([]byte, 0, len(answer)+(want-have)*len(refusedLine)), bytes.TrimRight(answer, "\r\n")...)
	b = append(b, "\r\n"...)
	for ; have < want; have++ {
		b = append(b, refusedLine...)
	}
	return b
}

// mediaAt is where the m= line with the index n begins.
func mediaAt(body []byte, n int) (at int) {
	for line := range bytes.Lines(body) {
		if bytes.HasPrefix(line, []byte("m=")) {
			if n == 0 {
				break
			}
			n--
		}
		at += len(line)
	}
	return at
}

// refuse answers an offer with every stream refused (RFC 3264 §6): what an
// offer in a 2xx gets when nothing can come of it.
func (l *Leg) refuse(offer []byte) []byte {
	rest, media, ok := splitSDP(offer)
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

// unheld takes a phone that was put on hold back for another party: what it
// only receives in its old call it is to send and receive in the next.
func unheld(body []byte) []byte {
	return bytes.ReplaceAll(body, []byte("\na=recvonly"), []byte("\na=sendrecv"))
}

// sameMedia reports whether two descriptions differ in their origin only.
func sameMedia(a, b []byte) bool {
	x, _, _ := splitSDP(a)
	y, _, _ := splitSDP(b)
	return bytes.Equal(x, y)
}

// heard keeps the phone's description for a transfer.
func (l *Leg) heard(body []byte) {
	if len(body) > 0 {
		l.joined().remote = append([]byte(nil), body...)
	}
}
