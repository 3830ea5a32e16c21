package phone

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"

	"github.com/coder/websocket"
)

// maxBody is the bytes of a request's body at most: two addresses.
const maxBody = 4096

// mayCall looks up the callee, and says why the caller may not call him.
func (s *Service) mayCall(q *request, id ID) (User, error) {
	c, err := s.cfg.Store.callee(q.Context(), q.user.ID, id)
	switch {
	case errors.Is(err, ErrNoUser):
		return User{}, errCallee
	case err != nil:
		return User{}, err
	case c.refuses, id == q.user.ID:
		return User{}, errRefused
	case !c.favorite:
		return User{}, errNoFavorite
	}
	return c.User, nil
}

// answerError writes a refusal, or 500.
func (s *Service) answerError(w http.ResponseWriter, q *request, err error) {
	var r *refusal
	if errors.As(err, &r) {
		s.refuse(w, r)
	} else {
		s.fail(w, q.Request, err)
	}
}

// initiate calls a user on the direct path: he is told where the caller's phone
// can be reached.
func (s *Service) initiate(w http.ResponseWriter, q *request) {
	callID, ok := ParseID(q.args[0])
	calleeID, ok2 := ParseID(q.args[1])
	if !ok || !ok2 {
		s.refuse(w, errParameter)
		return
	}
	to, err := s.mayCall(q, calleeID)
	if err != nil {
		s.answerError(w, q, err)
		return
	}
	if !s.online(calleeID) { // before the body, as clients know it
		s.refuse(w, errOfflineDirect)
		return
	}
	from, refusal := readAddress(w, q.Request)
	if refusal != nil {
		s.refuse(w, refusal)
		return
	}
	c := &call{id: callID, caller: q.user, callee: to, direct: true, address: from, tokens: [2]tokenHash{q.token}, peer: s.cfg.Address(q.Request)}
	if refusal := s.begin(c, errOfflineDirect); refusal != nil {
		s.refuse(w, refusal)
		return
	}
	if s.outlived(q) {
		s.refuseToken(w)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// online reports whether a user has a notification socket.
func (s *Service) online(user ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.devices[user]) > 0
}

// readAddress reads the body of initiate.
func readAddress(w http.ResponseWriter, r *http.Request) (*address, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, errTooLarge
	}
	if len(body) == 0 {
		return nil, errUnprocessable
	}
	var a address
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, errBody
	}
	if a == (address{}) {
		return nil, errRefused
	}
	// The callee's phone will connect there: it must be an address, no name.
	v4, err4 := netip.ParseAddr(a.V4)
	v6, err6 := netip.ParseAddr(a.V6)
	if a.V4 != "" && (err4 != nil || !v4.Is4()) || a.V6 != "" && (err6 != nil || !v6.Is6() || len(a.V6) > 64) {
		return nil, errBody
	}
	return &a, nil
}

// answerPost tells the callee's devices that one has answered, and ends a call
// on the direct path.
func (s *Service) answerPost(w http.ResponseWriter, q *request) { s.onCall(w, q, s.answer) }

// declinePost ends a call of the user's. Clients post it after every call: a
// call that is gone, or not his, is no error.
func (s *Service) declinePost(w http.ResponseWriter, q *request) { s.onCall(w, q, s.decline) }

// onCall serves the requests that change a call by its ID.
func (s *Service) onCall(w http.ResponseWriter, q *request, change func(call, user ID)) {
	id, ok := ParseID(q.args[0])
	if !ok {
		s.refuse(w, errCallID)
		return
	}
	change(id, q.user.ID)
	w.WriteHeader(http.StatusOK)
}

// initiateSocket calls a user and is the caller's side of the call:
//
//	caller             here             callee
//	   │ socket/initiate │                 │
//	   │────────────────▶│ incoming        │
//	   │◀──────101───────│────────────────▶│ every device
//	   │                 │  socket/answer  │
//	   │                 │◀────────────────│ one device
//	   │                 │──────101───────▶│
//	   │◀──start frame───│───start frame──▶│
//	   │◀═══════════════audio═════════════▶│
//	   │ close           │ 1001            │
//	   │────────────────▶│────────────────▶│
func (s *Service) initiateSocket(w http.ResponseWriter, q *request) {
	calleeID, ok := ParseID(q.args[1])
	if !ok {
		s.refuse(w, errUserID)
		return
	}
	callID, ok := ParseID(q.args[0])
	if !ok {
		s.refuse(w, errCallID)
		return
	}
	to, err := s.mayCall(q, calleeID)
	if err != nil {
		s.answerError(w, q, err)
		return
	}
	if refusal := s.enter(); refusal != nil {
		s.refuse(w, refusal)
		return
	}
	defer s.leave()
	c := &call{id: callID, caller: q.user, callee: to, tokens: [2]tokenHash{q.token}, peer: s.cfg.Address(q.Request)}
	l := newLeg(&s.stats.frames)
	c.legs[0] = l // from the beginning: it is a call once its client reads 101
	if refusal := s.begin(c, errOffline); refusal != nil {
		s.refuse(w, refusal)
		return
	}
	if s.outlived(q) {
		s.refuseToken(w)
		return
	}
	socket, err := s.accept(w, q.Request, l, websocket.MessageBinary)
	if err != nil {
		s.hangUp(c, 0)
		return
	}
	if !s.ring(c, l) {
		l.end()
	}
	socket.serve(func() { s.hangUp(c, 0) })
}

// answerSocket picks up a call and is the callee's side of it.
func (s *Service) answerSocket(w http.ResponseWriter, q *request) {
	id, ok := ParseID(q.args[0])
	if !ok {
		s.refuse(w, errCallID)
		return
	}
	if refusal := s.enter(); refusal != nil {
		s.refuse(w, refusal)
		return
	}
	defer s.leave()
	c, refusal := s.claim(id, q.user.ID)
	if refusal != nil {
		s.refuse(w, refusal)
		return
	}
	l := newLeg(&s.stats.frames)
	socket, err := s.accept(w, q.Request, l, websocket.MessageBinary)
	if err != nil {
		s.unclaim(c)
		return
	}
	if !s.join(c, l, q.token) {
		l.end()
	}
	s.outlived(q)
	socket.serve(func() { s.hangUp(c, 1) })
}

// notificationSocket tells a device of the user's about calls until it closes.
func (s *Service) notificationSocket(w http.ResponseWriter, q *request) {
	if refusal := s.enter(); refusal != nil {
		s.refuse(w, refusal)
		return
	}
	defer s.leave()
	d := &device{leg: newLeg(&s.stats.frames), token: q.token}
	if refusal := s.connect(q.user.ID, d); refusal != nil {
		s.refuse(w, refusal)
		return
	}
	if s.outlived(q) {
		s.disconnect(q.user.ID, d)
		s.refuseToken(w)
		return
	}
	socket, err := s.accept(w, q.Request, d.leg, websocket.MessageText)
	if err != nil {
		s.disconnect(q.user.ID, d)
		return
	}
	socket.serve(func() { s.disconnect(q.user.ID, d) })
}
