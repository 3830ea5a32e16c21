package talk

import (
	"context"
	"encoding/json"
	"regexp"
	"time"
)

// Request is the signaling server's request to call a number.
type Request struct {
	Session *Session
	// RoomID is the token of the conversation: 1 to 32 digits.
	RoomID string
	// Number is as it came: not checked.
	Number  string
	Options Options

	id     string
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	// Guarded by Session.mu.
	answered   bool
	acceptance *acceptance
}

// Options are the called party, and on whose behalf it is called.
type Options struct {
	AttendeeID int64
	ActorType  string // phones
	ActorID    string
	// Caller is the number that is to be shown, as it came: it may hold
	// anything, CR and LF too. Anonymous: none is to be shown.
	Caller    string
	Anonymous bool
	// Raw are the options as they came, which Nextcloud wants back unchanged.
	Raw json.RawMessage
}

// ReadOptions reads options as requests have them, to know them again from Raw
// that was stored. It says false if raw is not an object of that shape; without
// options all are zero.
func ReadOptions(raw json.RawMessage) (Options, bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return Options{}, true
	}
	var v struct {
		AttendeeID int64  `json:"attendeeId"`
		ActorType  string `json:"actorType"`
		ActorID    string `json:"actorId"`
		Caller     string `json:"caller"`
		Anonymous  bool   `json:"anonymous"`
	}
	if !read(raw, &v) {
		return Options{}, false
	}
	return Options{AttendeeID: v.AttendeeID, ActorType: v.ActorType, ActorID: v.ActorID, Caller: v.Caller, Anonymous: v.Anonymous, Raw: raw}, true
}

// roomToken is what a room's token looks like, here: it becomes part of a URL.
var roomToken = regexp.MustCompile(`^[0-9]{1,32}$`)

// receiveInternal takes a request to call a number. What cannot be understood
// is refused if a response is possible.
func (s *Session) receiveInternal(m *message) {
	var v struct {
		Type    string `json:"type"`
		Dialout struct {
			RoomID  string          `json:"roomid"`
			Backend string          `json:"backend"`
			Request json.RawMessage `json:"request"`
		} `json:"dialout"`
	}
	understood := read(m.Internal, &v)
	if m.ID == "" || len(m.ID) > maxID || understood && v.Type != "dialout" {
		return
	}
	r := &Request{Session: s, RoomID: v.Dialout.RoomID, id: m.ID}
	if len(r.RoomID) > maxID {
		r.RoomID = "" // which it gets back
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	var request struct {
		Number  string          `json:"number"`
		Options json.RawMessage `json:"options"`
	}
	code, message := "", ""
	switch {
	case !understood || !read(v.Dialout.Request, &request):
		code, message = "invalid_request", "The request to call a number could not be understood."
	case !roomToken.MatchString(r.RoomID):
		code, message = "invalid_roomid", "The conversation has no valid token."
	case !s.backend.is(v.Dialout.Backend):
		code, message = "invalid_backend", "The request is for another Nextcloud than this connection."
	default:
		ok := false
		if r.Options, ok = ReadOptions(request.Options); !ok {
			code, message = "invalid_options", "The options of the request could not be understood."
		}
		r.Number = request.Number
	}
	s.mu.Lock()
	switch {
	case s.requests[r.id] != nil:
		s.mu.Unlock()
		return // its response is being made
	case code == "" && len(s.requests) >= maxRequests:
		code, message = "too_many_requests", "Too many calls are being started. Try again later."
	case code == "" && s.handler.Dialout == nil:
		code, message = "not_supported", "Calls to phone numbers are not possible here."
	}
	s.requests[r.id] = r
	r.timer = time.AfterFunc(AnswerTime, r.expire)
	s.mu.Unlock()
	if code != "" {
		s.warn("a request to call a number was refused", "code", code)
		if err := r.Refuse(code, message); err != nil { // nothing is kept of what can get no response
			s.mu.Lock()
			delete(s.requests, r.id)
			r.lose(err)
			s.mu.Unlock()
		}
		return
	}
	s.handler.Dialout(r)
}

// Context is done once the request can no longer be accepted: it has its
// response (ErrAnswered), AnswerTime is over (ErrLate) or the signaling server
// forgot it (ErrGone). It is the one to verify the request with.
func (r *Request) Context() context.Context { return r.ctx }

// Accept says that the call is being made and how it is called: callID is
// unguessable, unique and at most 255 characters long. It returns once that was
// sent: only then may the phone be called. ErrLate and ErrGone: it must not be.
// Other errors: ErrAnswered, ErrBacklog, ErrTooLong, ErrClosed.
func (r *Request) Accept(callID string) error {
	a := &acceptance{refusal: r.refusal("timeout", "The call could not be started in time. Try again."), result: make(chan error, 1)}
	it := &item{accepts: a, data: r.dialout("status", Status{CallID: callID, State: Accepted})}
	if err := r.answer(it); err != nil {
		return err
	}
	defer r.timer.Stop()
	return <-a.result
}

// Refuse says that the call is not made. code is for programs (not_allowed),
// message for the user. It does not wait. Errors as Accept's.
func (r *Request) Refuse(code, message string) error {
	err := r.answer(&item{data: r.refusal(code, message)})
	r.timer.Stop()
	return err
}

// answer queues the one response.
func (r *Request) answer(it *item) error {
	s := r.Session
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.answered {
		return context.Cause(r.ctx)
	}
	if err := s.link.out.put(it); err != nil {
		return err
	}
	r.answered, r.acceptance = true, it.accepts
	r.cancel(ErrAnswered)
	delete(s.requests, r.id)
	s.refresh()
	return nil
}

// expire refuses what got no response in time, also if the acceptance was not
// sent in time. Nextcloud may ask again, and a late acceptance would be shown
// as a call that nobody can end.
func (r *Request) expire() {
	s := r.Session
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.answered {
		if r.acceptance != nil {
			s.link.out.expire(r.acceptance)
		}
		return
	}
	r.answered = true
	r.cancel(ErrLate)
	delete(s.requests, r.id)
	if err := s.link.out.put(&item{data: r.refusal("timeout", "The call could not be started in time. Try again.")}); err != nil {
		s.log.Warn("a request to call a number was not answered", "error", err)
	}
	s.refresh()
}

// lose ends a request that nobody waits for any more. The caller holds
// Session.mu.
func (r *Request) lose(why error) {
	r.timer.Stop()
	if !r.answered {
		r.answered = true
		r.cancel(why)
	}
}

func (r *Request) refusal(code, message string) []byte {
	return r.dialout("error", object{"code": code, "message": message})
}

// dialout is a response: the only message with the request's id.
func (r *Request) dialout(kind string, body any) []byte {
	return internal(r.id, "dialout", object{"roomid": r.RoomID, "type": kind, kind: body})
}
