package talktest

import (
	"encoding/json"
	"slices"
	"time"
)

// internalMessage is what bridges send.
type internalMessage struct {
	Type    string `json:"type"`
	Dialout *struct {
		RoomID string          `json:"roomid"`
		Type   string          `json:"type"`
		Status *CallStatus     `json:"status"`
		Error  json.RawMessage `json:"error"`
	} `json:"dialout"`
	Add    *addSession `json:"addsession"`
	Update *struct {
		SessionID string `json:"sessionid"`
		RoomID    string `json:"roomid"`
		Flags     *int   `json:"flags"`
		InCall    *int   `json:"incall"`
	} `json:"updatesession"`
	InCall *struct {
		InCall int `json:"incall"`
	} `json:"incall"`
	Remove *struct {
		SessionID string `json:"sessionid"`
		RoomID    string `json:"roomid"`
	} `json:"removesession"`
}

type addSession struct {
	SessionID string          `json:"sessionid"`
	RoomID    string          `json:"roomid"`
	InCall    *int            `json:"incall"`
	User      json.RawMessage `json:"user"`
	Options   *struct {
		ActorID   string `json:"actorId"`
		ActorType string `json:"actorType"`
	} `json:"options"`
}

// virtual is what a phone's session has of its own.
type virtual struct {
	name   string // the bridge's
	bridge *session
	user   json.RawMessage
	inCall int
	flags  int
	actor  string
}

// internal handles what only bridges may send.
func (k *link) internal(s *session, m *message) {
	l := k.lab
	in := m.Internal
	l.mu.Lock()
	if m.ID != "" && (l.answered[m.ID] || l.pending[m.ID] != nil && (in.Type != "dialout" || in.Dialout == nil)) {
		l.fault(ReusedID, "%s with id %s: the real server would crash", in.Type, m.ID)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	switch {
	case in.Type == "dialout" && in.Dialout != nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.dialoutMessage(s, m)
	case in.Type == "addsession" && in.Add != nil && in.Add.SessionID != "" && in.Add.RoomID != "":
		k.add(s, m.ID, in.Add)
	case in.Type == "updatesession" && in.Update != nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		p := s.phones[in.Update.SessionID]
		if p == nil || p.room == nil || p.room.token != in.Update.RoomID {
			return
		}
		if f := in.Update.Flags; f != nil && *f != p.virtual.flags {
			p.virtual.flags = *f
			p.room.publish(nil, object{"type": "event", "event": object{"target": "participants", "type": "flags",
				"flags": object{"roomid": p.room.token, "sessionid": p.id, "flags": *f}}})
		}
		if i := in.Update.InCall; i != nil && *i != p.virtual.inCall {
			p.virtual.inCall = *i
			p.room.publishPeople()
		}
		l.note("")
	case in.Type == "incall" && in.InCall != nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		s.setInCall(in.InCall.InCall)
		l.note("")
	case in.Type == "removesession" && in.Remove != nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		if p := s.phones[in.Remove.SessionID]; p != nil && p.room != nil && p.room.token == in.Remove.RoomID {
			delete(s.phones, in.Remove.SessionID)
			l.remove(p)
		}
	default:
		k.error(m.ID, "invalid_format", "Invalid data format.")
	}
}

// add adds a phone. It holds up the connection for as long as Nextcloud takes.
func (k *link) add(s *session, id string, a *addSession) {
	l := k.lab
	l.mu.Lock()
	r := l.rooms[s.cloud.URL+a.RoomID]
	if a.Options == nil || a.Options.ActorID == "" || !slices.Contains([]string{"phones", "users", "emails", "guests"}, a.Options.ActorType) {
		l.fault(NoActor, "session %s in room %s", a.SessionID, a.RoomID)
	}
	if s.phones[a.SessionID] != nil {
		l.fault(AddedTwice, "session %s in room %s", a.SessionID, a.RoomID)
	}
	refuse, delay := s.cloud.RefusePhones || s.cloud.Away, s.cloud.PhoneDelay
	if o := a.Options; o != nil {
		refuse = refuse || !s.cloud.letsIn(a.RoomID, o.ActorType, o.ActorID)
	}
	l.mu.Unlock()
	if r == nil {
		return // silently
	}
	if delay > 0 {
		timer := time.NewTimer(min(delay, 10*time.Second))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-k.ctx.Done():
		}
	}
	if delay > 10*time.Second {
		k.error(id, "add_failed", "Could not join virtual session.")
		return
	}
	if refuse {
		k.error(id, "add_failed", "The user is not invited to this room.")
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions[s.id] != s || r.deleted {
		return
	}
	v := &virtual{name: a.SessionID, bridge: s, user: a.User, inCall: inCall | withPhone}
	if a.InCall != nil {
		v.inCall = *a.InCall
	}
	if a.Options != nil {
		v.actor = a.Options.ActorID
	}
	p := &session{lab: l, id: l.next("P"), cloud: s.cloud, virtual: v}
	l.sessions[p.id] = p
	s.phones[a.SessionID] = p
	r.enter(p)
	r.publishPeople()
	l.note("")
}

const (
	inCall    = 1
	withPhone = 8
)
