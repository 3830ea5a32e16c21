package talk

import "errors"

const (
	// MaxAudible bounds the sessions of a room that Room.Audible returns.
	MaxAudible = 100
	// maxSDP bounds a session description that is passed on, in bytes.
	maxSDP = 48 << 10
)

// ErrAway: there is no connection to the room. RoomEvents Entered and Returned
// tell when there is.
var ErrAway = errors.New("the connection to the conversation is lost")

// MediaKind says which fields of a MediaMessage count.
type MediaKind int

const (
	// MediaOffer is an offer of From, asked for or not: SID, SDP, Update.
	MediaOffer MediaKind = iota + 1
	// MediaAnswer is the answer to our own offer: SID, SDP.
	MediaAnswer
	// MediaCandidate is one of the other side's: SID, Candidate.
	MediaCandidate
	// MediaError says that what Offer or Ask has sent came to nothing: ID, Err.
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

// SessionID is our public session id in the room, "" before there is one.
func (r *Room) SessionID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessionID
}

// Offer publishes what sdp offers, with this audio codec only ("g722", "pcmu",
// "pcma", "opus"). sid is new with each connection. The answer comes to
// Handler.Media, an error with the id. Errors: ErrAway, ErrTooLong, ErrBacklog,
// ErrClosed.
func (r *Room) Offer(sid, sdp, codec string) (id string, err error) {
	return "", ErrAway
}

// Answer answers a session's offer. Errors as Offer's.
func (r *Room) Answer(session, sid, sdp string) error { return ErrAway }

// Candidate sends one of our candidates: session is the publisher of the
// connection. Errors as Offer's.
func (r *Room) Candidate(session, sid string, c Candidate) error { return ErrAway }

// Ask asks for a session's audio. Its offer comes to Handler.Media, an error
// with the id. Errors as Offer's.
func (r *Room) Ask(session string) (id string, err error) { return "", ErrAway }

// InCall says whether we take part in the room's call: 3 once what we publish is
// connected, 0 when nothing is published any more. Errors as Offer's.
func (r *Room) InCall(flags int) error { return ErrAway }

// Audible are the sessions in the call that are to be heard, moderators first,
// at most MaxAudible: with audio, neither phones nor ourselves.
func (r *Room) Audible() []string { return nil }

// Humans counts the humans who take part in the room's call, -1 while that is
// not known.
func (r *Room) Humans() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inCall()
}

// Others counts all who take part in the room's call but ourselves and the phones
// of our Session, -1 while that is not known.
func (r *Room) Others() int { return -1 }
