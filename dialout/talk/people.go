package talk

import "encoding/json"

// maxMembers bounds the sessions that are remembered of a room.
const maxMembers = 20000

// People counts the humans in a room.
type People struct {
	Present int
	// InCall are those who take part in the call, -1 if that is not known yet.
	InCall int
}

// member is a session in a room.
type member struct {
	machine bool // a phone, or a bridge
	inCall  bool
}

// People counts the humans in the room as far as is known.
func (r *Room) People() People {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count()
}

func (r *Room) count() People {
	p := People{}
	for _, m := range r.members {
		if m.machine {
			continue
		}
		p.Present++
		if m.inCall {
			p.InCall++
		}
	}
	if !r.known {
		p.InCall = -1
	}
	return p
}

// has says whether a session is in the room. While the connection is being
// resumed that is what was known last.
func (r *Room) has(sessionID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[sessionID] != nil
}

// joined adds sessions: to whom has just joined all who are there are named.
func (r *Room) joined(raw json.RawMessage) {
	var sessions []struct {
		SessionID string          `json:"sessionid"`
		User      json.RawMessage `json:"user"`
	}
	if json.Unmarshal(raw, &sessions) != nil {
		return
	}
	r.change(func() {
		for _, s := range sessions {
			if s.SessionID == "" || len(s.SessionID) > maxID || r.members[s.SessionID] != nil || len(r.members) >= maxMembers {
				continue
			}
			var user struct {
				Type string `json:"type"`
			}
			read(s.User, &user)
			// Of other bridges only the list of participants tells.
			r.members[s.SessionID] = &member{machine: user.Type == "phone" || s.SessionID == r.link.sessionID}
		}
	})
}

func (r *Room) left(raw json.RawMessage) {
	var sessions []string
	if json.Unmarshal(raw, &sessions) != nil {
		return
	}
	r.change(func() {
		for _, id := range sessions {
			delete(r.members, id)
		}
	})
}

// updated takes what is said of the participants: that the call has ended for
// all, or a list of them. Who is in the room is told by joins and leaves: the
// list may hold sessions that have left.
func (r *Room) updated(raw json.RawMessage) {
	var v struct {
		RoomID string          `json:"roomid"`
		InCall json.RawMessage `json:"incall"`
		All    bool            `json:"all"`
		Users  json.RawMessage `json:"users"`
	}
	if !read(raw, &v) || v.RoomID != r.id {
		return
	}
	if v.All {
		if n, ok := flags(v.InCall); !ok || n != 0 {
			return
		}
		r.change(func() {
			for _, m := range r.members {
				m.inCall = false
			}
			r.known = true
		})
		r.tell(RoomEvent{RoomID: r.id, Kind: EndedForEveryone, People: r.People()})
		return
	}
	var users []struct {
		SessionID string          `json:"sessionId"`
		InCall    json.RawMessage `json:"inCall"`
		Internal  bool            `json:"internal"`
		Virtual   bool            `json:"virtual"`
	}
	if json.Unmarshal(v.Users, &users) != nil {
		return
	}
	r.change(func() {
		for _, m := range r.members {
			m.inCall = false
		}
		for _, u := range users {
			if m := r.members[u.SessionID]; m != nil {
				n, _ := flags(u.InCall)
				m.machine, m.inCall = m.machine || u.Internal || u.Virtual, n&inCall != 0
			}
		}
		r.known = true
	})
}

// flags are those of a participant's call. Nextcloud says false for 0.
func flags(raw json.RawMessage) (n int, ok bool) {
	if string(raw) == "false" {
		return 0, true
	}
	return n, len(raw) > 0 && json.Unmarshal(raw, &n) == nil
}

// change makes a change to the members and tells of it if the count of people
// is another one.
func (r *Room) change(f func()) {
	r.mu.Lock()
	f()
	now := r.count()
	changed := now != r.told
	r.told = now
	r.mu.Unlock()
	if changed {
		r.tell(RoomEvent{RoomID: r.id, Kind: PeopleChanged, People: now})
	}
}
