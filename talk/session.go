package talk

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// AnswerTime is how long the response to a dial-out request may take.
	// Nextcloud asks again after 30 s and does not say that it gave up.
	AnswerTime = 10 * time.Second
	// FlushTime bounds what Serve still does after its context is done.
	FlushTime = 3 * time.Second
	// maxRequests bounds the requests of a session that have no response yet.
	maxRequests = 256
	// maxID bounds the ids of messages that get a response, and of sessions that
	// are remembered, in bytes. Those of signaling servers are much shorter.
	maxID = 512
	// maxLines is how many lines of the log others can cause at once, and one a
	// second after that.
	maxLines = 20
)

// Session is what a signaling server and one of its Nextclouds know as one
// bridge. Its methods may be called from any goroutine and never wait
// (Request.Accept does): what cannot be sent now goes out in order once the
// connection is there again.
type Session struct {
	link    *link
	backend *Backend
	handler Handler
	log     *slog.Logger
	lines   *rate.Limiter // of the log that others can cause without end
	newRoom func(id string) *Room
	// needsAudio: phones are in the conversations themselves.
	needsAudio bool

	// live ends the rooms.
	live context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup // of the rooms

	mu       sync.Mutex // before outbox.mu and Room.mu
	up       bool
	err      error // of the last attempt
	down     bool  // Handler.Down was told
	closed   bool
	adds     int               // counts addsessions, for their ids
	phones   map[string]*added // by call ID
	added    map[string]*added // by the id of their addsession, for a while after their removal
	requests map[string]*Request
	rooms    map[string]*Room
	said     said
	stale    bool // the signaling server holds phones that it does not remove any more
	parted   bool // bye was said to begin another session

	// between is for tests: it is called when the lock is given up between what is
	// decided and what follows from it.
	between func()
}

func newSession(endpoint, secret string, backend *Backend, cfg Config, client *http.Client, log *slog.Logger) *Session {
	s := &Session{backend: backend, handler: cfg.Handler, lines: rate.NewLimiter(1, maxLines), log: log.With("signaling", endpoint, "nextcloud", backend.URL()),
		phones: map[string]*added{}, added: map[string]*added{}, needsAudio: cfg.Audio, requests: map[string]*Request{}, rooms: map[string]*Room{}, said: said{}, between: func() {}}
	s.live, s.end = context.WithCancel(context.Background())
	s.link = &link{url: endpoint, secret: secret, backend: backend.URL(), agent: cfg.agent(), client: client, log: s.log, out: newOutbox(),
		features: []string{"start-dialout"}, needs: []string{"dialout", "virtual-sessions"}, limit: maxMessage,
		up: s.onUp, down: s.onDown, receive: s.receive, wrote: s.wrote}
	s.newRoom = func(id string) *Room {
		r := &Room{session: s, id: id, members: map[string]*member{}, away: true, told: unknown}
		r.link = &link{url: endpoint, secret: secret, backend: backend.URL(), agent: cfg.agent(), client: client, log: s.log.With("room", Masked(id)), out: newOutbox(),
			features: []string{"internal-incall"}, limit: maxRoomMessage,
			up: r.onUp, down: r.onDown, receive: r.receive, wrote: func(*item) {}}
		return r
	}
	return s
}

// serve keeps the session connected, and its rooms until it ends.
func (s *Session) serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.endRooms)
	defer stop()
	s.link.run(ctx)
	s.mu.Lock()
	s.closed, s.up = true, false
	s.lose(ErrClosed)
	s.mu.Unlock()
	s.endRooms()
	s.wg.Wait()
}

// endRooms has the rooms' connections say what is left, and bye.
func (s *Session) endRooms() {
	s.mu.Lock()
	rooms := slices.Collect(maps.Values(s.rooms))
	s.mu.Unlock()
	for _, r := range rooms {
		r.hush()
	}
	s.end()
}

// Server is the address of the signaling server's WebSocket.
func (s *Session) Server() string { return s.link.url }

// Backend is the Nextcloud.
func (s *Session) Backend() *Backend { return s.backend }

// Connected reports whether there is a connection that has said hello, and
// otherwise why not: nil before the first attempt has failed.
func (s *Session) Connected() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up, s.err
}

// onUp sorts what is left of the session.
func (s *Session) onUp(hello Hello) {
	var doubtful []Phone
	s.mu.Lock()
	s.up, s.down, s.err = true, false, nil
	since := s.link.heardAt.Add(-doubtTime)
	again := s.said.since(since)
	switch hello {
	case Resumed:
		doubtful = s.perhapsNotAdded(since)
		s.link.out.resume(append(s.perhapsNotRemoved(since), again...))
	case Renewed:
		doubtful = s.perhapsForgotten(since)
		s.link.out.renew(slices.DeleteFunc(again, func(it *item) bool { return !it.terminal }))
		// Under the same lock: in between one could be accepted that nobody waits
		// for.
		s.lose(ErrGone)
		clear(s.phones)
		clear(s.added)
		s.stale = false
		for _, r := range s.rooms {
			r.lost, r.named = true, false
		}
	}
	s.parted = false
	s.mu.Unlock()
	s.between()
	s.log.Info("connected to the signaling server", "session", hello.String())
	if err := s.Audio(); s.needsAudio && err != nil {
		s.log.Warn("telephones are not heard in Talk, and hear nobody", "error", err)
	}
	for _, p := range doubtful {
		if s.handler.InDoubt != nil {
			s.handler.InDoubt(s, p)
		}
	}
	if s.handler.Up != nil {
		s.handler.Up(s, hello)
	}
	if hello == Renewed {
		s.lookAgain()
	}
}

// lookAgain joins the rooms anew, which tells whether there are any. The owner
// knows that the session was begun again, and then sends everything once more.
func (s *Session) lookAgain() {
	s.mu.Lock()
	rooms := slices.Collect(maps.Values(s.rooms))
	for _, r := range rooms {
		r.named = true
	}
	s.mu.Unlock()
	for _, r := range rooms {
		r.forgotten()
	}
}

// lose ends the requests that nobody waits for any more. The caller holds s.mu.
func (s *Session) lose(why error) {
	for _, r := range s.requests {
		r.lose(why)
	}
	clear(s.requests)
}

func (s *Session) onDown(err error) {
	s.mu.Lock()
	told := s.down
	s.up, s.down, s.err = false, true, err
	s.mu.Unlock()
	if !told && s.handler.Down != nil {
		s.handler.Down(s, err)
	}
}

func (s *Session) wrote(it *item) {
	if then := s.note(it); then != nil {
		then()
	}
}

// note notes that a message was written, and returns what is to follow.
func (s *Session) note(it *item) (then func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case it.callID != "":
		s.said.note(it, time.Now())
		then, it.then = it.then, nil
	case it.adds != nil:
		it.adds.addedAt = time.Now()
	case it.removes != nil:
		it.removes.removedAt = time.Now()
		s.forgetLater(it.removes)
	case it.bye:
		s.parted = true
	}
	return then
}

// receive sorts what came. Of what is not for us nothing is said: newer servers
// may send more.
func (s *Session) receive(m *message) error {
	switch m.Type {
	case "internal":
		s.receiveInternal(m)
	case "control":
		s.receiveControl(m)
	case "error":
		s.receiveError(m)
	}
	return nil
}

// warn is for lines that others can cause without end: some are left out then.
func (s *Session) warn(text string, args ...any) {
	if s.lines.Allow() {
		s.log.Warn(text, args...)
	}
}

func (s *Session) receiveError(m *message) {
	err := m.serverError()
	s.mu.Lock()
	p := s.added[m.ID]
	if p != nil {
		delete(s.added, m.ID)
		if s.phones[p.phone.CallID] == p {
			delete(s.phones, p.phone.CallID)
		}
	}
	s.mu.Unlock()
	if p == nil {
		s.warn("the signaling server answered an error", "error", err)
		return
	}
	s.log.Warn("the phone is not shown in the room", "call", p.phone.CallID, "error", err)
	if s.handler.AddFailed != nil {
		s.handler.AddFailed(s, p.phone.CallID, err)
	}
}

// AddSession shows a phone among the participants of its room. It is sent once
// the phone has answered, before the status Connected. Errors: ErrAdded,
// ErrNoRoom, ErrBacklog, ErrTooLong, ErrClosed; the signaling server's come to
// Handler.AddFailed.
func (s *Session) AddSession(p Phone) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phones[p.CallID] != nil:
		return ErrAdded // two of one name, and one stays for ever
	case s.lost(p.RoomID):
		return ErrNoRoom
	}
	s.adds++
	// Not the id of a request: such a response ends the whole signaling server.
	id := "add-" + strconv.Itoa(s.adds)
	a := &added{id: id, phone: p}
	err := s.link.out.put(&item{adds: a, data: internal(id, "addsession", object{
		"sessionid": p.CallID, "roomid": p.RoomID, "incall": inCall | withPhone,
		"user":    object{"type": "phone", "callid": p.CallID, "number": p.Number, "displayname": p.DisplayName},
		"options": object{"actorId": p.Options.ActorID, "actorType": p.Options.ActorType},
	})})
	if err == nil {
		s.phones[p.CallID], s.added[id] = a, a
	}
	return err
}

// What a session does in a call. A phone has no audio of its own as signaling
// servers see it.
const (
	inCall    = 1
	withAudio = 2
	withPhone = 8
)

// UpdateSession shows flags with a phone. ErrNotAdded if there is none.
func (s *Session) UpdateSession(callID string, flags Flags) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.phones[callID]
	if p == nil {
		return ErrNotAdded
	}
	return s.link.out.put(&item{data: internal("", "updatesession", object{"sessionid": callID, "roomid": p.phone.RoomID, "flags": flags})})
}

// RemoveSession takes a phone out of its room. told reports whether Nextcloud
// thereby learns that its call is over, unless Handler.InDoubt or AddFailed is
// told of the phone. It does not without a phone session of that call, nor of
// one in doubt.
func (s *Session) RemoveSession(callID string) (told bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.phones[callID]
	if p == nil {
		return false, nil
	}
	delete(s.phones, callID)
	p.removal = &item{removes: p, data: internal("", "removesession", object{"sessionid": callID, "roomid": p.phone.RoomID})}
	err = s.link.out.put(p.removal)
	if err != nil {
		s.forgetLater(p)
	}
	s.refresh()
	return err == nil && !p.doubt, err
}

// sees notes that a phone was seen in a room. It reports whether that is ours.
func (s *Session) sees(callID, roomID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.phones[callID]
	if p == nil || p.phone.RoomID != roomID {
		return false
	}
	p.seen = true
	return true
}

// Callers counts the phones of a room that have dialled in: they are of people who
// are not called.
func (s *Session) Callers(roomID string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.phones {
		if p.phone.RoomID == roomID && p.phone.Options.ActorType != calledActor {
			n++
		}
	}
	return n
}

// calledActor is the type of participants who are called.
const calledActor = "phones"

// lost reports whether the signaling server may not know of a joined room yet.
// The caller holds s.mu.
func (s *Session) lost(roomID string) bool {
	r := s.rooms[roomID]
	return r != nil && r.lost
}

// Status says in the room how a call fares. Whether it arrives is not known:
// nobody confirms it. One that is not terminal is left out while the signaling
// server may not know of the room: Handler.Again asks for it.
func (s *Session) Status(roomID string, status Status) error {
	return s.StatusThen(roomID, status, nil)
}

// StatusThen is Status, and calls then once the status was written to a
// connection, however long that takes; never if the session ends before. then
// must return soon.
func (s *Session) StatusThen(roomID string, status Status, then func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !status.State.Terminal() && s.lost(roomID) {
		return nil
	}
	return s.link.out.put(&item{
		data:   internal("", "dialout", object{"roomid": roomID, "type": "status", "status": status}),
		callID: status.CallID, terminal: status.State.Terminal(), then: then,
	})
}

// refresh begins another session if this one holds phones of rooms that were
// deleted, once nobody else needs it: only with their session do they leave.
// The caller holds s.mu.
func (s *Session) refresh() {
	if s.stale && len(s.phones) == 0 && len(s.requests) == 0 && s.link.out.put(&item{data: byeMessage, bye: true}) == nil {
		s.stale = false
	}
}

// Join enters a room by a connection of its own, so that its events reach
// Handler.Room and its participants may control phones: without it all control
// messages are refused. Call it once a request is accepted, not before. Each
// Join is ended by one Leave; the last one leaves the room.
func (s *Session) Join(roomID string) *Room {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[roomID]
	if r == nil {
		r = s.newRoom(roomID)
		ctx, cancel := context.WithCancel(s.live)
		r.ctx, r.leave = ctx, cancel
		if !s.closed {
			s.rooms[roomID] = r
			s.wg.Go(func() { r.link.run(ctx) })
		}
	}
	r.users++
	return r
}
