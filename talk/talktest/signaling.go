package talktest

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/coder/websocket"
)

const (
	helloTimeout = 2 * time.Second
	pingEvery    = 54 * time.Second
	pongTimeout  = 60 * time.Second
	resumeWindow = 30 * time.Second
	maxMessage   = 64 << 10
	maxWrong     = 10 // within wrongTime
	wrongTime    = 30 * time.Minute
)

type object map[string]any

// message is what clients send.
type message struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Hello *struct {
		Version  string   `json:"version"`
		ResumeID string   `json:"resumeid"`
		Features []string `json:"features"`
		Auth     struct {
			Type   string `json:"type"`
			URL    string `json:"url"` // of Talk clients
			Params struct {
				UserID  string `json:"userid"`
				Ticket  string `json:"ticket"`
				Random  string `json:"random"`
				Token   string `json:"token"`
				Backend string `json:"backend"`
			} `json:"params"`
		} `json:"auth"`
	} `json:"hello"`
	Room *struct {
		RoomID string `json:"roomid"`
	} `json:"room"`
	Internal *internalMessage `json:"internal"`
	Message  json.RawMessage  `json:"message"`
	Control  *controls        `json:"control"`
}

// session is a client's, of a bridge, a Talk user or (virtual) a phone. Its
// fields are guarded by Lab.mu.
type session struct {
	lab      *Lab
	id       string // public
	resume   string
	cloud    *Cloud
	features []string
	link     *link // nil while the connection is lost
	waiting  [][]byte
	expire   *time.Timer
	dialout  bool // is asked to call numbers
	room     *room
	user     *User
	virtual  *virtual
	phones   map[string]*session // of a bridge, by its own session id

	inCall    int // of a bridge
	publishes *published
	hears     map[string]*heard // by the id of the session that is heard
}

func (s *session) stop() {
	if s.expire != nil {
		s.expire.Stop()
	}
}

// link is one WebSocket.
type link struct {
	lab     *Lab
	socket  *websocket.Conn
	ctx     context.Context
	end     context.CancelFunc
	out     chan []byte
	session *session // guarded by Lab.mu
	greeted bool     // some hello came; likewise
}

func (l *Lab) serveSignaling(w http.ResponseWriter, r *http.Request) {
	l.wg.Add(1)
	defer l.wg.Done()
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer socket.CloseNow()
	socket.SetReadLimit(maxMessage)
	k := &link{lab: l, socket: socket, out: make(chan []byte, 4096)}
	k.ctx, k.end = context.WithCancel(context.Background())
	defer k.end()
	l.mu.Lock()
	l.links[k] = true
	l.mu.Unlock()
	defer k.lost()
	go k.write()
	go k.ping()
	k.send(object{"type": "welcome", "welcome": object{"version": "2.1.1~lab", "features": l.Features}})
	late := time.AfterFunc(helloTimeout, func() {
		l.mu.Lock()
		silent := k.session == nil && !k.greeted
		l.mu.Unlock()
		if silent {
			k.bye("hello_timeout")
		}
	})
	defer late.Stop()
	// What holds up the handling of messages does not hold up the network.
	taken := make(chan []byte, 1024)
	go func() {
		defer close(taken)
		for {
			_, data, err := socket.Read(k.ctx)
			if err != nil {
				k.end()
				return
			}
			select {
			case taken <- data:
			case <-k.ctx.Done():
				return
			}
		}
	}()
	for {
		var data []byte
		select {
		case data = <-taken:
		case <-k.ctx.Done():
		}
		if k.ctx.Err() != nil || data == nil {
			return
		}
		if l.cuts(false, data) {
			return
		}
		l.mu.Lock()
		l.note("<- " + string(data))
		l.mu.Unlock()
		var m message
		if err := json.Unmarshal(data, &m); err != nil {
			k.error("", "invalid_format", "Invalid data format.")
			continue
		}
		if !k.take(&m) {
			return
		}
	}
}

// take handles a message and reports whether the connection goes on.
func (k *link) take(m *message) bool {
	l := k.lab
	l.mu.Lock()
	s := k.session
	l.mu.Unlock()
	switch {
	case m.Type == "hello" && m.Hello != nil:
		k.hello(m)
	case s == nil:
		k.error(m.ID, "hello_expected", "The first request must be \"hello\".")
	case m.Type == "bye":
		l.mu.Lock()
		s.judgeLeaving()
		l.remove(s)
		l.mu.Unlock()
		k.send(object{"id": m.ID, "type": "bye", "bye": object{}})
		k.flush()
		return false
	case m.Type == "room" && m.Room != nil:
		l.mu.Lock()
		if slices.Contains(s.features, "start-dialout") {
			l.fault(BridgeInRoom, "room %s", m.Room.RoomID)
			s.dialout = false
		}
		if s.room != nil && s.room.token != m.Room.RoomID {
			s.judgeLeaving()
		}
		l.join(s, m.Room.RoomID, m.ID)
		l.mu.Unlock()
	case m.Type == "internal" && m.Internal != nil && s.user == nil:
		k.internal(s, m)
	case m.Type == "message" && m.Message != nil:
		media, ok := decodeMessage(m.Message)
		if !ok {
			k.error(m.ID, "invalid_format", "Invalid data format.")
			break
		}
		l.message(s, m.ID, media)
	case m.Type == "control" && m.Control != nil:
		l.mu.Lock()
		l.control(s, m.Control)
		l.mu.Unlock()
	default:
		k.error(m.ID, "invalid_format", "Invalid data format.")
	}
	return true
}

// send queues a message for the connection.
func (k *link) send(o any) {
	data, _ := json.Marshal(o)
	k.sendRaw(data)
}

func (k *link) sendRaw(data []byte) {
	select {
	case k.out <- data:
	case <-k.ctx.Done():
	}
}

func (k *link) error(id, code, text string) {
	k.send(object{"id": id, "type": "error", "error": object{"code": code, "message": text}})
}

// write writes what is queued; nil ends the connection after all else.
func (k *link) write() {
	defer k.end()
	for {
		select {
		case data := <-k.out:
			if data == nil {
				return
			}
			if k.lab.cuts(true, data) {
				return
			}
			k.lab.mu.Lock()
			k.lab.note("-> " + string(data))
			k.lab.mu.Unlock()
			if k.socket.Write(k.ctx, websocket.MessageText, data) != nil {
				return
			}
		case <-k.ctx.Done():
			return
		}
	}
}

// flush ends the connection once all was written.
func (k *link) flush() {
	k.sendRaw(nil)
	<-k.ctx.Done()
}

func (k *link) bye(reason string) {
	k.send(object{"type": "bye", "bye": object{"reason": reason}})
	k.sendRaw(nil)
}

// ping pings at once and then again and again. A client without a pong is cut
// off.
func (k *link) ping() {
	for {
		ctx, cancel := context.WithTimeout(k.ctx, pongTimeout)
		err := k.socket.Ping(ctx)
		cancel()
		if err != nil {
			k.end()
			return
		}
		timer := time.NewTimer(pingEvery)
		select {
		case <-timer.C:
		case <-k.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// lost keeps the session for a while.
func (k *link) lost() {
	l := k.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.links, k)
	s := k.session
	if s == nil || s.link != k {
		return
	}
	s.link = nil
	if l.sessions[s.id] == s {
		s.expire = time.AfterFunc(resumeWindow, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if s.link == nil {
				l.remove(s)
			}
		})
	}
	l.note("")
}

// remove ends a session for good. The caller holds l.mu.
func (l *Lab) remove(s *session) {
	if l.sessions[s.id] != s {
		return
	}
	s.stop()
	s.closeMedia()
	for _, p := range s.phones {
		l.remove(p)
	}
	delete(l.sessions, s.id)
	delete(l.resumes, s.resume)
	l.bridges = slices.DeleteFunc(l.bridges, func(b *session) bool { return b == s })
	l.leave(s)
	l.note("")
}

// deliver sends to the session, now or when it resumes. The caller holds l.mu.
func (s *session) deliver(o any) {
	data, _ := json.Marshal(o)
	if s.user != nil {
		s.user.take(data)
	}
	switch {
	case s.link != nil:
		s.link.sendRaw(data)
	case s.resume != "": // neither a phone nor a user in this process
		s.waiting = append(s.waiting, data)
	}
}

// DropRooms loses the connections of bridges that are in a room.
func (l *Lab) DropRooms() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.links {
		if k.session != nil && k.session.room != nil {
			k.end()
		}
	}
}

// ForgetDialout ends the sessions of bridges that are asked to call numbers, as
// when their connection alone was lost for too long.
func (l *Lab) ForgetDialout() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.links {
		if s := k.session; s != nil && slices.Contains(s.features, "start-dialout") {
			l.remove(s)
			k.end()
		}
	}
}

// Bridges counts the sessions that are asked to call numbers.
func (l *Lab) Bridges() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.bridges {
		if s.dialout && s.link != nil {
			n++
		}
	}
	return n
}

// Sessions counts all sessions: of bridges, users and phones.
func (l *Lab) Sessions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sessions)
}

// Bye ends the sessions of all bridges with a reason.
func (l *Lab) Bye(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.links {
		if s := k.session; s != nil {
			k.bye(reason)
			l.remove(s)
		}
	}
}

// Say sends text to all bridges, whatever it is.
func (l *Lab) Say(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.links {
		k.sendRaw([]byte(text))
	}
}

// Wrong has n hellos been refused just now.
func (l *Lab) Wrong(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.wrong = append(l.wrong, time.Now())
	}
}
