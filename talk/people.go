package talk

import (
	"encoding/json"
	"time"
)

// maxMembers bounds the sessions that are remembered of a room.
const maxMembers = 20000

// member is a session in a room.
type member struct {
	machine bool // a phone, or a bridge
	inCall  bool
}

// inCall counts the humans who take part in the room's call, -1 while that is
// not known. The caller holds r.mu.
func (r *Room) inCall() (n int) {
	if r.away || !r.inside || !r.listed {
		return -1
	}
	for _, m := range r.members {
		if m.inCall && !m.machine {
			n++
		}
	}
	return n
}

// judge sees whether anybody takes part in the call. Without anybody the list of
// participants is asked for once more after a while, and then it counts. The
// caller holds r.mu.
func (r *Room) judge() {
	switch n := r.inCall(); {
	case n > 0:
		r.wait(0)
		r.looking, r.returning = false, false
	case n < 0 && (r.away || !r.looking):
		r.wait(0)
		r.looking = false
	case n == 0 && r.alone == nil && r.returning:
		r.wait(ReturnTime - listTime)
	case n == 0 && r.alone == nil:
		r.wait(EmptyTime - listTime)
	}
}

// wait has what comes after a time without anybody come in d; 0: not at all. The
// caller holds r.mu.
func (r *Room) wait(d time.Duration) {
	if r.alone != nil {
		r.alone.Stop()
		r.alone = nil
	}
	if d == 0 || r.over {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		r.mu.Lock()
		empty := false
		if r.alone == t { // or somebody has come meanwhile
			empty = r.waited()
		}
		r.mu.Unlock()
		if empty {
			r.tell(Empty)
		}
	})
	r.alone = t
}

// waited is the end of a time without anybody. It reports whether nobody is
// there. The caller holds r.mu.
func (r *Room) waited() (empty bool) {
	r.alone = nil
	if !r.looking {
		r.looking = true
		r.look()
		return false
	}
	r.looking = false
	empty = r.inCall() == 0
	r.judge()
	return empty
}

// has reports whether a session is in the room. While the connection is being
// resumed that is what was known last.
func (r *Room) has(sessionID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[sessionID] != nil
}

// came adds sessions: a participant who has just joined is told of everyone
// present.
func (r *Room) came(raw json.RawMessage) {
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
			m := r.list[s.SessionID]
			m.machine = m.machine || user.Type == "phone" || s.SessionID == r.link.sessionID
			r.members[s.SessionID] = &m
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
			r.list = nil
		})
		r.tell(EndedForEveryone)
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
		r.list = map[string]member{}
		for _, u := range users[:min(len(users), maxMembers)] {
			if n, _ := flags(u.InCall); len(u.SessionID) <= maxID {
				r.list[u.SessionID] = member{u.Internal || u.Virtual, n&inCall != 0}
			}
		}
		for id, m := range r.members {
			listed := r.list[id]
			m.machine, m.inCall = m.machine || listed.machine, listed.inCall
		}
		r.listed = r.inside // or it is of the time before we have asked to join
	})
}

// flags are those of a participant's call. Nextcloud says false for 0.
func flags(raw json.RawMessage) (n int, ok bool) {
	if string(raw) == "false" {
		return 0, true
	}
	return n, len(raw) > 0 && json.Unmarshal(raw, &n) == nil
}

// change makes a change to the members.
func (r *Room) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.judge()
}
