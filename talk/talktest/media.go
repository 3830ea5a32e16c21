package talktest

import (
	"encoding/json"
	"slices"
	"time"
)

// Flags of a session in the call.
const (
	withAudio = 2
	withVideo = 4
)

// mediaMessage is what sessions send each other. Those about media the server
// takes for itself.
type mediaMessage struct {
	Recipient struct {
		Type      string `json:"type"`
		SessionID string `json:"sessionid"`
	} `json:"recipient"`
	Data struct {
		Type       string `json:"type"`
		SID        string `json:"sid"`
		RoomType   string `json:"roomType"`
		AudioCodec string `json:"audiocodec"`
		Payload    struct {
			SDP       string    `json:"sdp"`
			Candidate Candidate `json:"candidate"`
		} `json:"payload"`
	} `json:"data"`
}

// published is what a session publishes.
type published struct {
	MCUPublisher
	sid   string // the first offer's, for ever
	found bool   // by those who ask for it
}

// heard is what a session hears of another one.
type heard struct {
	MCUSubscriber
	sid      string
	answered bool
}

// message handles one. Errors and answers go to s. Those of one session are
// handled one after the other, but that asking does not hold up the rest.
func (l *Lab) message(s *session, id string, m *mediaMessage) {
	d := &m.Data
	if s.user == nil {
		l.mu.Lock()
		l.judge(s, m)
		l.mu.Unlock()
	}
	switch {
	case m.Recipient.Type != "session" || m.Recipient.SessionID == "" || d.RoomType != "video":
		l.refuse(s, id, "invalid_format", "Invalid data format.")
	case l.mcu() == nil:
		l.refuse(s, id, "client_not_found", "No MCU found to send message to.")
	case d.Type == "offer":
		l.offer(s, id, m)
	case d.Type == "requestoffer":
		l.wg.Go(func() { l.request(s, id, m.Recipient.SessionID) })
	case d.Type == "answer":
		l.mu.Lock()
		h := s.hears[m.Recipient.SessionID]
		if h != nil {
			h.answered = true
		}
		l.mu.Unlock()
		if h == nil || h.sid != d.SID || h.Answer(d.Payload.SDP) != nil {
			l.refuse(s, id, "processing_failed", "Processing of the message failed, please check server logs.")
		}
	case d.Type == "candidate":
		l.mu.Lock()
		p, h := s.publishes, s.hears[m.Recipient.SessionID]
		l.mu.Unlock()
		err := error(nil)
		switch {
		case m.Recipient.SessionID == s.id && p != nil && p.sid == d.SID:
			err = p.Candidate(d.Payload.Candidate)
		case h != nil && h.sid == d.SID:
			err = h.Candidate(d.Payload.Candidate)
		default:
			l.refuse(s, id, "processing_failed", "Processing of the message failed, please check server logs.")
		}
		if err != nil {
			l.refuse(s, id, "processing_failed", err.Error())
		}
	default:
		l.refuse(s, id, "invalid_format", "Invalid data format.")
	}
}

// mcu returns what carries the media; nil: nothing does.
func (l *Lab) mcu() MCU {
	if !slices.Contains(l.Features, "mcu") {
		return nil
	}
	return l.MCU
}

// offer takes what a session publishes, whoever it is addressed to. An offer that
// follows another one is answered with the first one's sid. If the MCU has ended
// meanwhile, nobody finds what is published with it, until the session has left
// the call: the real server forgets then, and only then.
func (l *Lab) offer(s *session, id string, m *mediaMessage) {
	l.mu.Lock()
	old := s.publishes
	l.mu.Unlock()
	sid, found := m.Data.SID, true
	if old != nil {
		sid, found = old.sid, old.found && !old.Lost()
		old.Close()
	}
	trickle := &trickling{lab: l, to: s, from: s.id, sid: sid}
	codec := m.Data.AudioCodec
	if !slices.Contains(l.Features, "offer-codecs") {
		codec = "" // as servers before 2.0.2, which do not know it
	}
	p, answer, err := l.mcu().Publish(m.Data.Payload.SDP, codec, trickle.candidate)
	if err != nil {
		l.refuse(s, id, "client_not_found", err.Error())
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions[s.id] != s { // it has ended meanwhile
		l.wg.Go(p.Close)
		return
	}
	s.publishes = &published{MCUPublisher: p, sid: sid, found: found}
	s.deliver(mediaFrom(s.id, s.id, sid, "answer", object{"type": "answer", "sdp": answer}))
	trickle.begin()
	l.note("")
}

// request makes the offer for a session that wants to hear another one, once that
// publishes.
func (l *Lab) request(s *session, id, whom string) {
	wait := l.PublisherWait
	if wait == 0 {
		wait = 10 * time.Second
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var p *published
	for p == nil {
		l.mu.Lock()
		other, changed := l.sessions[whom], l.changed
		if l.sessions[s.id] != s {
			l.mu.Unlock()
			return
		}
		if other != nil && (other.room != s.room || !other.inTheCall() || !s.inTheCall() && s.user != nil) {
			l.mu.Unlock()
			l.refuse(s, id, "not_allowed", "Not allowed to request offer.")
			return
		}
		if other != nil && other.publishes != nil && other.publishes.found {
			p = other.publishes
		}
		l.mu.Unlock()
		if p != nil {
			break
		}
		select {
		case <-changed:
		case <-l.closed:
			return
		case <-timer.C:
			l.refuse(s, id, "client_not_found", "No MCU client found to send message to.")
			return
		}
	}
	l.mu.Lock()
	trickle := &trickling{lab: l, to: s, from: whom, sid: l.next("")}
	l.mu.Unlock()
	h, offer, err := p.Subscribe(trickle.candidate)
	if err != nil {
		l.refuse(s, id, "client_not_found", err.Error())
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions[s.id] != s {
		l.wg.Go(h.Close)
		return
	}
	if old := s.hears[whom]; old != nil {
		l.wg.Go(old.Close)
	}
	if s.hears == nil {
		s.hears = map[string]*heard{}
	}
	s.hears[whom] = &heard{MCUSubscriber: h, sid: trickle.sid}
	s.deliver(mediaFrom(whom, s.id, trickle.sid, "offer", object{"type": "offer", "sdp": offer}))
	trickle.begin()
	l.note("")
}

// trickling sends a session the MCU's candidates, those that come early after the
// description that they belong to. Guarded by Lab.mu.
type trickling struct {
	lab       *Lab
	to        *session
	from, sid string
	begun     bool
	early     []Candidate
}

// candidate is called by the MCU.
func (t *trickling) candidate(c Candidate) {
	t.lab.mu.Lock()
	defer t.lab.mu.Unlock()
	if t.begun {
		t.send(c)
	} else {
		t.early = append(t.early, c)
	}
}

func (t *trickling) begin() {
	t.begun = true
	for _, c := range t.early {
		t.send(c)
	}
}

func (t *trickling) send(c Candidate) {
	t.to.deliver(mediaFrom(t.from, t.to.id, t.sid, "candidate", object{"candidate": c}))
}

// mediaFrom is a message about media as sessions get it.
func mediaFrom(from, to, sid, kind string, payload object) object {
	return object{"type": "message", "message": object{"sender": object{"type": "session", "sessionid": from},
		"data": object{"from": from, "to": to, "type": kind, "roomType": "video", "sid": sid, "payload": payload}}}
}

func (l *Lab) refuse(s *session, id, code, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.deliver(object{"id": id, "type": "error", "error": object{"code": code, "message": text}})
}

// flags are the session's in the call. The caller holds Lab.mu.
func (s *session) flags() int {
	switch {
	case s.virtual != nil:
		return s.virtual.inCall
	case s.user != nil:
		return s.user.inCall
	case slices.Contains(s.features, "internal-incall"):
		return s.inCall
	}
	return inCall | withAudio
}

func (s *session) inTheCall() bool { return s.flags()&inCall != 0 }

// setInCall is what a bridge says of itself. The caller holds Lab.mu.
func (s *session) setInCall(flags int) {
	if s.inCall == flags {
		return
	}
	s.judgeInCall(flags)
	s.inCall = flags
	if flags&inCall == 0 {
		s.closeMedia()
	}
	if s.room != nil {
		s.room.publishPeople()
	}
}

// closeMedia ends what a session publishes and hears. The caller holds Lab.mu.
func (s *session) closeMedia() {
	if p := s.publishes; p != nil {
		s.publishes = nil
		s.lab.wg.Go(p.Close)
		for _, other := range s.lab.sessions { // nobody hears what is published no more
			if h := other.hears[s.id]; h != nil {
				delete(other.hears, s.id)
				s.lab.wg.Go(h.Close)
			}
		}
	}
	for whom, h := range s.hears {
		delete(s.hears, whom)
		s.lab.wg.Go(h.Close)
	}
}

// Published counts the sessions of a conversation that publish, and what they
// hear of each other.
func (c *Cloud) Published(token string) (publishers, heard int) {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	if r := c.lab.rooms[c.URL+token]; r != nil {
		for s := range r.sessions {
			if s.publishes != nil {
				publishers++
			}
			heard += len(s.hears)
		}
	}
	return publishers, heard
}

// decodeMessage is a "message" of a client.
func decodeMessage(raw json.RawMessage) (*mediaMessage, bool) {
	var m mediaMessage
	err := json.Unmarshal(raw, &m)
	return &m, err == nil
}
