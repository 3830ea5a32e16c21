package talktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// bridgeTime is how long a bridge may take to respond.
	bridgeTime = 45 * time.Second
	// acceptTime is how long one may take before Nextcloud might ask again.
	acceptTime = 10 * time.Second
)

// DialoutError is what Nextcloud is told if a number is not called.
type DialoutError struct {
	Status        int // of HTTP
	Code, Message string
}

func (e *DialoutError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }

// request is one to a bridge.
type request struct {
	bridge *session
	cloud  *Cloud
	token  string
	number string
	attend string // the attendee's id, as JSON
	from   time.Time
	answer chan answer
}

type answer struct {
	callID string
	err    *DialoutError
}

var (
	numbers = regexp.MustCompile(`^\+\d{2,}$`)
	tokens  = regexp.MustCompile(`^[0-9]+$`)
)

// Options are those of a request for an attendee.
func Options(attendeeID int, more ...string) string {
	o := fmt.Sprintf(`{"attendeeId":%d,"actorType":"phones","actorId":"actor-%d"`, attendeeID, attendeeID)
	for i := 0; i+1 < len(more); i += 2 {
		key, _ := json.Marshal(more[i])
		o += fmt.Sprintf(",%s:%s", key, more[i+1])
	}
	return o + "}"
}

// Dialout asks for a number to be called out of a conversation, as a user who
// clicks does, and returns the id of the call. It takes as long as the bridges
// do, all of which are asked until one accepts. options are JSON.
func (c *Cloud) Dialout(token, number, options string) (string, error) {
	switch {
	case number == "":
		return "", &DialoutError{400, "number_missing", "No number provided."}
	case !numbers.MatchString(number):
		return "", &DialoutError{400, "invalid_number", "Expected E.164 number."}
	case !tokens.MatchString(token):
		return "", &DialoutError{400, "invalid_roomid", "The room id must be numeric."}
	}
	l := c.lab
	l.mu.Lock()
	c.expect(token, number, options)
	bridges := slices.DeleteFunc(slices.Clone(l.bridges), func(s *session) bool { return !s.dialout || s.link == nil || s.cloud != c })
	l.mu.Unlock()
	first := &DialoutError{404, "no_client_available", "No available client found to trigger dialout."}
	for i, s := range bridges {
		callID, err := c.ask(s, token, number, options)
		if err == nil {
			return callID, nil
		}
		if i == 0 {
			first = err
		}
	}
	return "", first
}

func (c *Cloud) ask(s *session, token, number, options string) (string, *DialoutError) {
	l := c.lab
	l.mu.Lock()
	id := strings.ToUpper(l.next("Q"))
	r := &request{bridge: s, cloud: c, token: token, number: number, attend: attendee(options), from: time.Now(), answer: make(chan answer, 1)}
	l.pending[id] = r
	body := object{"number": number}
	if options != "" {
		body["options"] = json.RawMessage(options)
	}
	s.deliver(object{"id": id, "type": "internal", "internal": object{"type": "dialout", "dialout": object{
		"roomid": token, "backend": c.URL, "request": body}}})
	l.mu.Unlock()
	timer := time.NewTimer(bridgeTime)
	defer timer.Stop()
	select {
	case a := <-r.answer:
		return a.callID, a.err
	case <-timer.C:
	case <-l.closed:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, id)
	return "", &DialoutError{http.StatusBadGateway, "timeout", "Timeout while waiting for response."}
}

func attendee(options string) string {
	var v struct {
		AttendeeID json.RawMessage `json:"attendeeId"`
	}
	_ = json.Unmarshal([]byte(options), &v)
	return string(v.AttendeeID)
}

// dialoutMessage takes a response or a status. The caller holds l.mu.
func (l *Lab) dialoutMessage(s *session, m *message) {
	d := m.Internal.Dialout
	r := l.pending[m.ID]
	if m.ID == "" {
		r = nil
	}
	if d.RoomID == "" || r != nil && d.RoomID != r.token {
		l.fault(NoRoom, "%q instead of its room, type %s", d.RoomID, d.Type)
	}
	if r != nil {
		delete(l.pending, m.ID)
		l.answered[m.ID] = true
		r.answer <- l.answerOf(r, m)
	}
	if d.Type != "status" || d.Status == nil || d.RoomID == "" {
		l.note("")
		return
	}
	k := l.calls[d.Status.CallID]
	switch {
	case k == nil && d.Status.Status == "accepted":
		k = &call{id: d.Status.CallID, token: d.RoomID}
		l.calls[k.id] = k
		if r == nil {
			l.fault(LateAccept, "call %s of room %s: nobody waits for it", k.id, d.RoomID)
		}
	case k == nil:
		k = &call{id: d.Status.CallID, token: d.RoomID}
		l.calls[k.id] = k
	case k.over && !d.Status.over():
		l.fault(AfterEnd, "call %s is %s after it was %s", k.id, d.Status.Status, k.state)
	case k.over && k.state != d.Status.Status:
		l.fault(AfterEnd, "call %s is %s after it was %s", k.id, d.Status.Status, k.state)
	}
	if k.token != d.RoomID {
		l.fault(NoRoom, "call %s is of room %s, not of %s", k.id, k.token, d.RoomID)
	}
	k.state, k.over = d.Status.Status, k.over || d.Status.over()
	if room := l.rooms[s.cloud.URL+d.RoomID]; room != nil {
		room.setStatus(*d.Status)
	}
	l.note("")
}

// answerOf is what Nextcloud is told.
func (l *Lab) answerOf(r *request, m *message) answer {
	d := m.Internal.Dialout
	switch {
	case d.Type == "status" && d.Status != nil && d.Status.Status == "accepted":
		if took := time.Since(r.from); took > acceptTime {
			l.fault(LateAccept, "call %s after %v", d.Status.CallID, took)
		}
		if !r.cloud.verified[r.token+" "+r.number+" "+r.attend] {
			l.fault(NotVerified, "%s out of room %s", r.number, r.token)
		}
		r.cloud.accepted(r.token, r.attend, d.Status.CallID)
		return answer{callID: d.Status.CallID}
	case d.Type == "status":
		return answer{err: &DialoutError{502, "unsupported_status", "Unsupported status received."}}
	case d.Type == "error":
		var v struct{ Code, Message string }
		_ = json.Unmarshal(d.Error, &v)
		return answer{err: &DialoutError{502, v.Code, v.Message}}
	}
	return answer{err: &DialoutError{502, "unsupported_type", "Unsupported type received."}}
}
