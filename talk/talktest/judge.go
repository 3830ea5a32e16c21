package talktest

import (
	"slices"

	"github.com/pion/sdp/v3"
)

// judge looks for what a bridge does wrong by a message about media. The caller
// holds Lab.mu.
func (l *Lab) judge(s *session, m *mediaMessage) {
	d, whom := &m.Data, m.Recipient.SessionID
	switch d.Type {
	case "offer":
		l.judgeOffer(s, m)
	case "requestoffer":
		other := l.sessions[whom]
		switch {
		case whom == s.id:
			l.fault(AskedItself, "session %s", s.id)
		case other == nil || other.room != s.room:
			l.fault(AskedGone, "session %s asks for %s", s.id, whom)
		case other.virtual != nil:
			l.fault(AskedPhone, "session %s asks for %s, the phone of call %s", s.id, whom, other.virtual.name)
		}
	case "answer":
		if h := s.hears[whom]; h != nil && h.sid != d.SID {
			l.fault(WrongSID, "session %s answers %q instead of %q", s.id, d.SID, h.sid)
		}
	case "candidate":
		h := s.hears[whom]
		if whom == s.id && s.publishes == nil || whom != s.id && (h == nil || !h.answered) {
			l.fault(EarlyCandidate, "session %s for %s", s.id, whom)
		}
	}
}

func (l *Lab) judgeOffer(s *session, m *mediaMessage) {
	if s.publishes != nil && s.inCall&inCall != 0 {
		l.fault(SecondOffer, "session %s", s.id)
	}
	d := &sdp.SessionDescription{}
	if d.UnmarshalString(m.Data.Payload.SDP) != nil {
		return
	}
	codecs := 0
	for _, media := range d.MediaDescriptions {
		switch media.MediaName.Media {
		case "application":
			l.fault(OfferData, "session %s", s.id)
		case "audio":
			codecs += len(media.MediaName.Formats)
		}
	}
	if named := audioCodecs(d); codecs != 1 || m.Data.AudioCodec != "" && !slices.Contains(named, m.Data.AudioCodec) {
		l.fault(OfferCodecs, "session %s names %q and offers %v, %d in all", s.id, m.Data.AudioCodec, named, codecs)
	}
}

// judgeInCall looks at the flags that a bridge is about to have. The caller holds
// Lab.mu.
func (s *session) judgeInCall(flags int) {
	l := s.lab
	switch {
	case flags&inCall == 0:
	case flags&withAudio == 0:
		l.fault(InTwoSteps, "session %s: incall %d", s.id, flags)
	case s.publishes == nil:
		l.fault(NotConnected, "session %s publishes nothing", s.id)
	default:
		if c, ok := s.publishes.MCUPublisher.(interface{ Connected() bool }); ok && !c.Connected() {
			l.fault(NotConnected, "session %s", s.id)
		}
	}
}

// judgeLeaving looks at a bridge that is about to leave its room or to say bye. The
// caller holds Lab.mu.
func (s *session) judgeLeaving() {
	if s.user == nil && s.inCall&inCall != 0 {
		s.lab.fault(NotLeft, "session %s: incall %d", s.id, s.inCall)
	}
}
