package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"sipxrest/talk/talktest"
)

const (
	// janusPatience is how long a response of Janus may take.
	janusPatience = 5 * time.Second
	// connectPatience is how long a publisher may take to connect.
	connectPatience = 10 * time.Second
	// After a connection to Janus was lost or refused, the real signaling server
	// waits before it tries again: so much, and twice as much each time.
	firstReconnect, lastReconnect = time.Second, 16 * time.Second
	// keepAlive is less than the minute after which Janus forgets a session.
	keepAlive = 20 * time.Second
)

// errJanusGone is what all requests get once the connection is lost.
var errJanusGone = errors.New("the connection to janus is lost")

// janusMCU has Janus carry the media of a talktest.Lab. It speaks Janus' JSON
// over WebSocket as the real signaling server does: a room for each publisher,
// with the codec that he named, and a handle for each side of a peer connection.
type janusMCU struct {
	url string

	mu    sync.Mutex
	conn  *janusConn // the newest, which may be lost
	again time.Time  // when a new one may be tried
	wait  time.Duration
	ended bool
}

// MCU returns what connects t's signaling server to this Janus until the test is over.
func (j *Janus) MCU() talktest.MCU {
	m := &janusMCU{url: j.URL}
	j.lab.tb.Cleanup(m.close)
	return m
}

// connection returns the one there is, or a new one if it may be tried.
func (m *janusMCU) connection() (*janusConn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return nil, errJanusGone
	}
	if m.conn != nil {
		select {
		case <-m.conn.lost:
			if m.wait == 0 { // just lost
				m.wait = firstReconnect
				m.again = time.Now().Add(m.wait)
			}
		default:
			return m.conn, nil
		}
	}
	if time.Now().Before(m.again) {
		return nil, errJanusGone
	}
	conn, err := dialJanus(m.url)
	if err != nil {
		m.wait = min(max(2*m.wait, firstReconnect), lastReconnect)
		m.again = time.Now().Add(m.wait)
		return nil, err
	}
	m.conn, m.wait, m.again = conn, 0, time.Time{}
	return conn, nil
}

func (m *janusMCU) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	if m.conn != nil {
		m.conn.close()
	}
}

// janusPublisher is a room with one publisher in it.
type janusPublisher struct {
	*janusHandle
	room uint64
}

// noSuchFeed is Janus' code for a publisher who is not there, or not connected.
const noSuchFeed = 428

// publisherID is the only publisher's of each room.
const publisherID = 1

func (m *janusMCU) Publish(offer, codec string, trickle func(talktest.Candidate)) (talktest.MCUPublisher, string, error) {
	c, err := m.connection()
	if err != nil {
		return nil, "", err
	}
	h, err := c.attach(trickle)
	if err != nil {
		return nil, "", err
	}
	create := jsonObject{"request": "create", "description": "a session's audio", "publishers": 1, "fir_freq": 10}
	if codec != "" {
		create["audiocodec"] = codec
	}
	made, err := h.ask(create, "")
	if err == nil && made.Data.Room == 0 {
		err = fmt.Errorf("janus made no room: %+v", made.Data)
	}
	if err != nil {
		h.detach()
		return nil, "", err
	}
	p := &janusPublisher{janusHandle: h, room: made.Data.Room}
	if _, err = h.ask(jsonObject{"request": "join", "ptype": "publisher", "room": p.room, "id": publisherID}, ""); err != nil {
		p.Close()
		return nil, "", err
	}
	answered, err := h.ask(jsonObject{"request": "configure", "audio": true, "video": true, "data": true}, offer)
	if err != nil {
		p.Close()
		return nil, "", err
	}
	return p, answered.SDP, nil
}

func (p *janusPublisher) Subscribe(trickle func(talktest.Candidate)) (talktest.MCUSubscriber, string, error) {
	h, err := p.conn.attach(trickle)
	if err != nil {
		return nil, "", err
	}
	join := jsonObject{"request": "join", "ptype": "subscriber", "room": p.room, "streams": []jsonObject{{"feed": publisherID}}}
	offered, err := h.ask(join, "")
	if offered.Data.Code == noSuchFeed { // he has offered, but is not connected yet
		select {
		case <-p.up:
			offered, err = h.ask(join, "")
		case <-p.conn.lost:
		case <-time.After(connectPatience):
		}
	}
	if err == nil && offered.SDP == "" {
		err = fmt.Errorf("janus offers nothing: %+v", offered.Data)
	}
	if err != nil {
		h.detach()
		return nil, "", err
	}
	return &janusSubscriber{janusHandle: h, room: p.room}, offered.SDP, nil
}

// Lost reports whether Janus, or the connection to it, has ended since.
func (p *janusPublisher) Lost() bool {
	select {
	case <-p.conn.lost:
		return true
	default:
		return false
	}
}

func (p *janusPublisher) Close() {
	_, _ = p.ask(jsonObject{"request": "destroy", "room": p.room}, "")
	p.detach()
}

// janusSubscriber hears a room's publisher.
type janusSubscriber struct {
	*janusHandle
	room uint64
}

func (s *janusSubscriber) Answer(sdp string) error {
	_, err := s.ask(jsonObject{"request": "start", "room": s.room}, sdp)
	return err
}

func (s *janusSubscriber) Close() { s.detach() }

// janusConn is a connection to Janus with its session there.
type janusConn struct {
	socket  *websocket.Conn
	ctx     context.Context // until close
	cancel  context.CancelFunc
	lost    chan struct{} // closed when the connection is
	ended   sync.WaitGroup
	session uint64

	mu      sync.Mutex
	count   int
	waiting map[string]chan janusMessage // by transaction
	handles map[uint64]*janusHandle
}

type jsonObject map[string]any

// janusMessage is what Janus sends.
type janusMessage struct {
	Janus       string `json:"janus"`
	Transaction string `json:"transaction"`
	Sender      uint64 `json:"sender"`
	Data        struct {
		ID uint64 `json:"id"`
	} `json:"data"`
	Error *struct {
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	} `json:"error"`
	Plugin struct {
		Data janusData `json:"data"`
	} `json:"plugindata"`
	JSEP *struct {
		SDP string `json:"sdp"`
	} `json:"jsep"`
	Candidate *struct {
		talktest.Candidate
		Completed bool `json:"completed"`
	} `json:"candidate"`
}

// janusData is what its plugin says.
type janusData struct {
	Event string `json:"videoroom"`
	Room  uint64 `json:"room"`
	Code  int    `json:"error_code"`
	Error string `json:"error"`
}

// janusResult is what a request to the plugin brought.
type janusResult struct {
	Data janusData
	SDP  string
}

func dialJanus(url string) (*janusConn, error) {
	c := &janusConn{lost: make(chan struct{}), waiting: map[string]chan janusMessage{}, handles: map[uint64]*janusHandle{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	ctx, cancel := context.WithTimeout(c.ctx, janusPatience)
	defer cancel()
	var err error
	if c.socket, _, err = websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"janus-protocol"}}); err != nil {
		c.cancel()
		return nil, err
	}
	c.socket.SetReadLimit(1 << 20)
	c.ended.Go(c.read)
	made, err := c.request(jsonObject{"janus": "create"}, false)
	if err != nil {
		c.close()
		return nil, err
	}
	c.session = made.Data.ID
	c.ended.Go(c.keepAlive)
	return c, nil
}

// close ends the connection, and what Janus has of it.
func (c *janusConn) close() {
	c.cancel()
	c.socket.CloseNow()
	c.ended.Wait()
}

// read hands out what Janus says.
func (c *janusConn) read() {
	defer close(c.lost)
	for {
		_, data, err := c.socket.Read(c.ctx)
		if err != nil {
			return
		}
		var m janusMessage
		if json.Unmarshal(data, &m) != nil {
			continue
		}
		c.mu.Lock()
		waiting, handle := c.waiting[m.Transaction], c.handles[m.Sender]
		c.mu.Unlock()
		switch {
		case waiting != nil:
			select {
			case waiting <- m:
			default: // more than the two that a request has
			}
		case handle == nil:
		case m.Janus == "webrtcup":
			handle.once.Do(func() { close(handle.up) })
		case m.Janus == "trickle" && m.Candidate != nil && !m.Candidate.Completed:
			handle.trickle(m.Candidate.Candidate)
		}
	}
}

// keepAlive lets Janus know that the session goes on.
func (c *janusConn) keepAlive() {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_, _ = c.request(jsonObject{"janus": "keepalive"}, false)
		case <-c.lost:
			return
		}
	}
}

// request sends a message and waits for its response: after "ack" for the event
// that follows, if there is to be one.
func (c *janusConn) request(message jsonObject, event bool) (janusMessage, error) {
	answers := make(chan janusMessage, 2)
	c.mu.Lock()
	c.count++
	name := fmt.Sprint(c.count)
	c.waiting[name] = answers
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, name)
		c.mu.Unlock()
	}()
	message["transaction"] = name
	if c.session != 0 {
		message["session_id"] = c.session
	}
	data, err := json.Marshal(message)
	if err != nil {
		return janusMessage{}, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, janusPatience)
	defer cancel()
	if err := c.socket.Write(ctx, websocket.MessageText, data); err != nil {
		return janusMessage{}, errors.Join(errJanusGone, err)
	}
	for {
		select {
		case m := <-answers:
			switch {
			case m.Error != nil:
				return m, fmt.Errorf("janus: %d %s", m.Error.Code, m.Error.Reason)
			case m.Plugin.Data.Code != 0:
				return m, fmt.Errorf("janus: %d %s", m.Plugin.Data.Code, m.Plugin.Data.Error)
			case m.Janus != "ack" || !event:
				return m, nil
			}
		case <-c.lost:
			return janusMessage{}, errJanusGone
		case <-ctx.Done():
			return janusMessage{}, fmt.Errorf("janus did not answer %v: %w", message["body"], ctx.Err())
		}
	}
}

// janusHandle is one side of a peer connection at Janus.
type janusHandle struct {
	conn    *janusConn
	id      uint64
	trickle func(talktest.Candidate)
	up      chan struct{} // closed once the peer connection is up
	once    sync.Once     // closes it
}

// attach makes one. trickle is told of the candidates of Janus.
func (c *janusConn) attach(trickle func(talktest.Candidate)) (*janusHandle, error) {
	m, err := c.request(jsonObject{"janus": "attach", "plugin": "janus.plugin.videoroom"}, false)
	if err != nil {
		return nil, err
	}
	h := &janusHandle{conn: c, id: m.Data.ID, trickle: trickle, up: make(chan struct{})}
	c.mu.Lock()
	c.handles[h.id] = h
	c.mu.Unlock()
	return h, nil
}

// ask sends a request to the plugin, with a session description if there is one:
// Janus knows by the request which kind it is.
func (h *janusHandle) ask(body jsonObject, sdp string) (janusResult, error) {
	message := jsonObject{"janus": "message", "handle_id": h.id, "body": body}
	if sdp != "" {
		kind := "offer"
		if body["request"] == "start" {
			kind = "answer"
		}
		message["jsep"] = jsonObject{"type": kind, "sdp": sdp}
	}
	m, err := h.conn.request(message, true)
	r := janusResult{Data: m.Plugin.Data}
	if m.JSEP != nil {
		r.SDP = m.JSEP.SDP
	}
	return r, err
}

// Candidate tells Janus one of the other side's.
func (h *janusHandle) Candidate(c talktest.Candidate) error {
	_, err := h.conn.request(jsonObject{"janus": "trickle", "handle_id": h.id, "candidate": c}, false)
	return err
}

// detach ends the peer connection.
func (h *janusHandle) detach() {
	h.conn.mu.Lock()
	delete(h.conn.handles, h.id)
	h.conn.mu.Unlock()
	_, _ = h.conn.request(jsonObject{"janus": "detach", "handle_id": h.id}, false)
}
