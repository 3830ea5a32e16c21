package talk

import (
	"encoding/json"
	"errors"
	"strconv"
)

const (
	// maxSDP bounds a session description that is passed on, in bytes.
	maxSDP = 48 << 10
	// maxCandidate bounds a candidate that is passed on, in bytes.
	maxCandidate = 1 << 10
	// maxSID bounds the id of a media connection, in bytes.
	maxSID = 256
	// maxAsked bounds the messages whose errors are told with whom they were for.
	maxAsked = 512
	// nick is what browsers would show beside what we publish: they hide it.
	nick = "Phones"
)

// ErrAway: there is no connection to the conversation. RoomEvents Entered and
// Returned tell when there is.
var ErrAway = errors.New("the connection to the conversation is lost")

// MediaKind says which fields of a MediaMessage count.
type MediaKind int

const (
	// MediaOffer is an offer of From, asked for or not: SID, SDP, Update.
	MediaOffer MediaKind = iota + 1
	// MediaAnswer is the answer to our own offer: SID, SDP.
	MediaAnswer
	// MediaCandidate is one of the other side's: SID, Candidate. It may come before
	// the answer.
	MediaCandidate
	// MediaError says that a message of ours came to nothing: ID, Err, and From,
	// whom it was for.
	MediaError
)

// MediaMessage is what the signaling server's media server says to us.
type MediaMessage struct {
	Kind MediaKind
	// From is the public session id of the publisher: our own (Room.SessionID) for
	// what is said of what we publish.
	From string
	// SID tells apart the connections with one publisher.
	SID string
	SDP string
	// Update: the offer changes the connection that there is.
	Update    bool
	Candidate Candidate
	ID        string // of our message
	Err       *ServerError
}

// Candidate is one of ICE, as browsers write it. The last one may be empty.
type Candidate struct {
	SDPMid        string `json:"sdpMid"`
	SDPMLineIndex uint16 `json:"sdpMLineIndex"`
	Candidate     string `json:"candidate"`
}

// media is what we have sent of media. Guarded by Room.mu.
type media struct {
	used  bool              // something is published or heard, or was to be
	flags int               // of the call
	sent  int               // messages, for their ids
	asked map[string]string // whom those were for, by id
	order []string          // of those
}

// reset forgets what has ended with a session, or with its being in the room.
func (m *media) reset() { *m = media{sent: m.sent} }

// note notes a message that is for a session, and returns its id.
func (m *media) note(kind, session string) string {
	if m.asked == nil {
		m.asked = map[string]string{}
	}
	m.sent++
	id := kind + "-" + strconv.Itoa(m.sent)
	m.asked[id] = session
	if m.order = append(m.order, id); len(m.order) > maxAsked {
		delete(m.asked, m.order[0])
		m.order = m.order[1:]
	}
	return id
}

// SessionID is our public session id in the room, "" before there is one.
func (r *Room) SessionID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessionID
}

// Offer publishes what sdp offers, with this audio codec only ("g722", "pcmu",
// "pcma", "opus"). sid is new with each connection: the server keeps the first
// one until InCall(0). The answer comes to Handler.Media, an error with the id.
// Errors: ErrAway, ErrTooLong, ErrBacklog, ErrClosed.
func (r *Room) Offer(sid, sdp, codec string) (id string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.send("offer", r.sessionID, object{"to": r.sessionID, "sid": sid, "roomType": "video", "type": "offer", "audiocodec": codec,
		"payload": object{"type": "offer", "nick": nick, "sdp": sdp}})
}

// Answer answers a session's offer. Errors as Offer's.
func (r *Room) Answer(session, sid, sdp string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.send("answer", session, object{"to": session, "sid": sid, "roomType": "video", "type": "answer",
		"payload": object{"type": "answer", "nick": nick, "sdp": sdp}})
	return err
}

// Candidate sends one of our candidates: session is the publisher of the
// connection. Errors as Offer's.
func (r *Room) Candidate(session, sid string, c Candidate) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.send("candidate", session, object{"to": session, "sid": sid, "roomType": "video", "type": "candidate",
		"payload": object{"candidate": c}})
	return err
}

// Ask asks for a session's audio. Its offer comes to Handler.Media, an error
// with the id. Errors as Offer's.
func (r *Room) Ask(session string) (id string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.send("ask", session, object{"roomType": "video", "type": "requestoffer"})
}

// InCall says whether we take part in the room's call: 3 once what we publish is
// connected, 0 when nothing is published any more. While the connection is lost it
// is said once the session is resumed. Errors: ErrAway before the room was joined,
// ErrBacklog, ErrClosed.
func (r *Room) InCall(flags int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
		return ErrClosed
	case !r.inside:
		return ErrAway
	}
	return r.putInCall(flags)
}

// putInCall sends our flags. The caller holds r.mu.
func (r *Room) putInCall(flags int) error {
	err := r.link.out.put(&item{data: internal("", "incall", object{"incall": flags})})
	if err == nil {
		r.media.flags, r.media.used = flags, flags != 0
	}
	return err
}

// sayAgain repeats our flags: they may have been lost with the connection. The
// server leaves out what it knows. The caller holds r.mu.
func (r *Room) sayAgain() {
	if r.media.flags != 0 {
		_ = r.putInCall(r.media.flags)
	}
}

// send sends a message to a session, or to the media server in its place. The
// caller holds r.mu.
func (r *Room) send(kind, session string, data object) (id string, err error) {
	switch {
	case r.over:
		return "", ErrClosed
	case r.away || !r.inside:
		return "", ErrAway
	}
	id = r.media.note(kind, session)
	err = r.link.out.put(&item{data: encode(object{"id": id, "type": "message", "message": object{
		"recipient": object{"type": "session", "sessionid": session}, "data": data}})})
	if err != nil {
		return "", err
	}
	r.media.used = true
	return id, nil
}

// mediaError tells that a message of ours came to nothing.
func (r *Room) mediaError(id string, err *ServerError) {
	r.mu.Lock()
	session, known := r.media.asked[id]
	delete(r.media.asked, id)
	r.mu.Unlock()
	if known {
		r.handMedia(MediaMessage{Kind: MediaError, From: session, ID: id, Err: err})
	}
}

// receiveMedia passes on what the media server says. It says that in the names of
// sessions, which could say the same themselves: only those of the room are heard.
func (r *Room) receiveMedia(raw json.RawMessage) {
	var v struct {
		Sender struct {
			Type      string `json:"type"`
			SessionID string `json:"sessionid"`
		} `json:"sender"`
		Data json.RawMessage `json:"data"`
	}
	if !read(raw, &v) || v.Sender.Type != "session" || v.Sender.SessionID == "" {
		return
	}
	m, ok := readMedia(v.Data)
	if !ok {
		return
	}
	m.From = v.Sender.SessionID
	r.mu.Lock()
	ours := m.From == r.sessionID
	known := r.inside && (ours || r.members[m.From] != nil)
	r.mu.Unlock()
	switch {
	case !known, m.Kind == MediaAnswer && !ours, m.Kind == MediaOffer && ours:
		r.link.log.Debug("a media message was refused: its sender is not in the room, or cannot send it")
		return
	}
	r.handMedia(m)
}

func (r *Room) handMedia(m MediaMessage) {
	s := r.session
	s.mu.Lock()
	current := s.rooms[r.id] == r
	s.mu.Unlock()
	if current && s.handler.Media != nil {
		s.handler.Media(r, m)
	}
}

// readMedia reads the data of a message, which may be any JSON. Screens are not for
// us.
func readMedia(data json.RawMessage) (m MediaMessage, ok bool) {
	var v struct {
		Type     string          `json:"type"`
		RoomType string          `json:"roomType"`
		SID      string          `json:"sid"`
		Update   json.RawMessage `json:"update"`
		Payload  json.RawMessage `json:"payload"`
	}
	if !read(data, &v) || v.RoomType != "video" || len(v.SID) > maxSID {
		return m, false
	}
	var payload struct {
		SDP       string          `json:"sdp"`
		Update    json.RawMessage `json:"update"`
		Candidate json.RawMessage `json:"candidate"`
	}
	if !read(v.Payload, &payload) {
		return m, false
	}
	m.SID = v.SID
	switch v.Type {
	case "offer", "answer":
		m.Kind, m.SDP = MediaOffer, payload.SDP
		if v.Type == "answer" {
			m.Kind = MediaAnswer
		}
		m.Update = string(payload.Update) == "true" || string(v.Update) == "true"
		return m, m.SDP != "" && len(m.SDP) <= maxSDP
	case "candidate":
		m.Kind = MediaCandidate
		if !read(payload.Candidate, &m.Candidate) {
			return m, false
		}
		c := &m.Candidate
		return m, len(c.SDPMid) <= 64 && len(c.Candidate) <= maxCandidate
	}
	return m, false
}
