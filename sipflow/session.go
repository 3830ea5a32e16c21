package sipflow

import (
	"bytes"
	"strings"

	"github.com/pion/sdp/v3"

	"sipxrest/sipflow/wire"
)

// joint is what a leg keeps when it is joined with another. A leg whose phone
// is referred has none. It belongs to the call's goroutine.
type joint struct {
	// What the phone and we said last of the session (RFC 3264): the next
	// offer or answer continues it.
	sent   string // our last description without its o= line
	lines  int    // m= lines of it; there may never be fewer (RFC 3264 §8)
	remote []byte // the phone's last description

	timer     sessionTimer
	deferred  []event     // came while another leg was busy
	byeHeader string      // header lines of our BYE: the reasons of the other phone
	early     *earlyOffer // joins the media before the phone answers
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

// describe makes another party's session description ours towards this leg's
// phone: with our origin, whose version rises by one when something changed
// (RFC 3264 §8), and with as many m= lines as we had, the ones too many
// refused. What cannot be read as SDP passes unchanged.
func (l *Leg) describe(body []byte) []byte {
	var d sdp.SessionDescription
	if err := d.Unmarshal(body); err != nil {
		return body
	}
	md := l.joined()
	for i := len(d.MediaDescriptions); i < md.lines; i++ {
		d.MediaDescriptions = append(d.MediaDescriptions, &sdp.MediaDescription{
			MediaName: sdp.MediaName{Media: "audio", Protos: []string{"RTP", "AVP"}, Formats: []string{"0"}},
		})
	}
	host := l.call.sw.host
	d.Origin = sdp.Origin{Username: "-", SessionID: l.id >> 1, NetworkType: "IN", AddressType: "IP4", UnicastAddress: host}
	if strings.Contains(host, ":") {
		d.Origin.AddressType = "IP6"
	}
	b, err := d.Marshal()
	if err != nil {
		return body
	}
	rest := withoutOrigin(b)
	d.Origin.SessionVersion = l.peer.nextVersion(rest != md.sent)
	md.sent, md.lines = rest, len(d.MediaDescriptions)
	if b, err = d.Marshal(); err != nil {
		return body
	}
	return b
}

// fit cuts an answer to the m= lines of the offer that it answers: a leg that
// had more was offered some refused ones (see describe).
func fit(answer, offer []byte) []byte {
	var a, o sdp.SessionDescription
	if a.Unmarshal(answer) != nil || o.Unmarshal(offer) != nil || len(a.MediaDescriptions) <= len(o.MediaDescriptions) {
		return answer
	}
	a.MediaDescriptions = a.MediaDescriptions[:len(o.MediaDescriptions)]
	if b, err := a.Marshal(); err == nil {
		return b
	}
	return answer
}

// refuse answers an offer with every stream refused (RFC 3264 §6): what an
// offer in a 2xx gets when nothing can come of it.
func (l *Leg) refuse(offer []byte) []byte {
	var d sdp.SessionDescription
	if d.Unmarshal(offer) != nil {
		return nil
	}
	for _, m := range d.MediaDescriptions {
		m.MediaName.Port = sdp.RangedPort{}
		m.Attributes = nil
	}
	b, err := d.Marshal()
	if err != nil {
		return nil
	}
	return l.describe(b)
}

// sameMedia reports whether two descriptions differ in their origin only.
func sameMedia(a, b []byte) bool { return withoutOrigin(a) == withoutOrigin(b) }

func withoutOrigin(b []byte) string {
	i := bytes.Index(b, []byte("o="))
	if i < 0 {
		return string(b)
	}
	end := bytes.IndexByte(b[i:], '\n')
	if end < 0 {
		return string(b[:i])
	}
	return string(b[:i]) + string(b[i+end+1:])
}

// heard keeps the phone's description for a transfer.
func (l *Leg) heard(body []byte) {
	if len(body) > 0 {
		l.joined().remote = append([]byte(nil), body...)
	}
}
