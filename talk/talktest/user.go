package talktest

import (
	"encoding/json"
	"slices"
	"time"
)

// User is a Talk client in a room.
type User struct {
	Name string
	// Moderator has permission to control phones.
	Moderator bool

	cloud   *Cloud
	token   string
	session *session
	joins   int // the flags it comes into the call with; 0: audio and video
	inCall  int
	events  []string
}

// Join puts a user into a conversation, in the call with audio and video.
func (c *Cloud) Join(token, name string) *User {
	l := c.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	u := &User{Name: name, Moderator: true, cloud: c, token: token}
	u.enter()
	return u
}

// enter begins a session in the conversation and its call. The caller holds
// Lab.mu.
func (u *User) enter() {
	l := u.cloud.lab
	u.inCall = u.joins
	if u.inCall == 0 {
		u.inCall = inCall | withAudio | withVideo
	}
	u.session = &session{lab: l, id: l.next("U"), cloud: u.cloud, user: u}
	l.sessions[u.session.id] = u.session
	l.join(u.session, u.token, "")
}

// Return has the user come back by another session, as a client does that the
// signaling server has forgotten.
func (u *User) Return() {
	l := u.cloud.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(u.session)
	u.enter()
}

// Lose has the user's connection be lost: the signaling server ends the session
// when nobody resumes it. Return comes back by another one.
func (u *User) Lose() {
	l := u.cloud.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	s := u.session
	s.stop()
	s.expire = time.AfterFunc(resumeWindow, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.remove(s)
	})
}

// take is called with Lab.mu held.
func (u *User) take(data []byte) {
	u.events = append(u.events, string(data))
	u.session.lab.note("")
}

// ID is the public session id.
func (u *User) ID() string { return u.session.id }

// Events are the messages that the user got.
func (u *User) Events() []string {
	u.session.lab.mu.Lock()
	defer u.session.lab.mu.Unlock()
	return slices.Clone(u.events)
}

// Calls are the statuses of a call that the user was told of, in order, with
// "removed" at the end once the last one was taken away.
func (u *User) Calls(callID string) []string {
	var states []string
	for _, e := range u.Events() {
		var v struct {
			Transient struct {
				Type  string     `json:"type"`
				Key   string     `json:"key"`
				Value CallStatus `json:"value"`
			} `json:"transient"`
		}
		if json.Unmarshal([]byte(e), &v) != nil || v.Transient.Key != "callstatus_"+callID {
			continue
		}
		if v.Transient.Type == "remove" {
			states = append(states, "removed")
		} else {
			states = append(states, v.Transient.Value.Status)
		}
	}
	return states
}

// Leave takes the user out of the room.
func (u *User) Leave() {
	l := u.session.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(u.session)
}

// Speak takes part in the call with audio, or without.
func (u *User) Speak(audible bool) {
	l := u.session.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	u.inCall = inCall
	if audible {
		u.inCall |= withAudio
	}
	if u.session.room != nil {
		u.session.room.publishPeople()
	}
	l.note("")
}

// Call takes part in the call or no more.
func (u *User) Call(in bool) {
	l := u.session.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	u.inCall = 0
	if in {
		u.inCall = inCall | withAudio | withVideo
	} else {
		u.session.closeMedia()
	}
	if u.session.room != nil {
		u.session.room.publishPeople()
	}
	l.note("")
}

// Control sends data, any JSON, to the phone of a call, wherever it is: the
// signaling server does not ask in which room the sender is. It reports whether
// that was delivered.
func (u *User) Control(callID, data string) bool {
	l := u.session.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	if !u.Moderator {
		return false
	}
	for _, s := range l.sessions {
		if s.virtual != nil && s.virtual.name == callID && s.cloud == u.session.cloud {
			s.virtual.bridge.deliver(object{"type": "control", "control": object{
				"sender":    object{"type": "session", "sessionid": u.session.id, "userid": u.Name},
				"recipient": object{"type": "session", "sessionid": callID}, "data": json.RawMessage(data)}})
			return true
		}
	}
	return false
}
