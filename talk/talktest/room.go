package talktest

import (
	"maps"
	"slices"
	"time"
)

// statusTime is how long the last status of a call is shown.
const statusTime = 5 * time.Second

// CallStatus is how a call fares.
type CallStatus struct {
	CallID  string `json:"callid"`
	Status  string `json:"status"`
	Cause   string `json:"cause,omitempty"`
	Code    int    `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

func (s CallStatus) over() bool { return s.Status == "rejected" || s.Status == "cleared" }

// room is a conversation that somebody is in: it is forgotten once it is empty.
// Guarded by Lab.mu.
type room struct {
	lab      *Lab
	cloud    *Cloud
	token    string
	sessions map[*session]bool
	status   map[string]CallStatus // by call id
	removals map[string]*time.Timer
	deleted  bool
	stale    []object // those of whom lists do not say that they have left
}

func (r *room) stop() {
	for _, t := range r.removals {
		t.Stop()
	}
}

// call is what the lab knows of a call that a bridge has accepted.
type call struct {
	id, token, state string
	over             bool
	gone             bool // with its room: nobody is left to see
}

// join puts a session into a room.
func (l *Lab) join(s *session, token, id string) {
	if token == "" {
		l.leave(s)
		s.deliver(object{"id": id, "type": "room", "room": object{"roomid": ""}})
		return
	}
	key := s.cloud.URL + token
	r := l.rooms[key]
	if s.room != nil && s.room == r {
		s.deliver(object{"id": id, "type": "error", "error": object{"code": "already_joined", "message": "Already joined this room."}})
		return
	}
	l.leave(s)
	if r == nil {
		r = &room{lab: l, cloud: s.cloud, token: token, sessions: map[*session]bool{}, status: map[string]CallStatus{}, removals: map[string]*time.Timer{}}
		l.rooms[key] = r
	}
	s.deliver(object{"id": id, "type": "room", "room": object{"roomid": token, "properties": object{}}})
	r.enter(s)
	// It is told of itself first, then of all who are there, then of what they do
	// in the call.
	s.deliver(object{"type": "event", "event": object{"target": "room", "type": "join", "join": []object{s.entry()}}})
	var there []object
	for other := range r.sessions {
		if other != s {
			there = append(there, other.entry())
		}
	}
	if len(there) > 0 {
		s.deliver(object{"type": "event", "event": object{"target": "room", "type": "join", "join": there}})
	}
	if len(r.status) > 0 {
		data := object{}
		for id, status := range r.status {
			data["callstatus_"+id] = status
		}
		s.deliver(object{"type": "transient", "transient": object{"type": "initial", "data": data}})
	}
	r.publishPeople()
	l.note("")
}

// enter adds a session and tells the others.
func (r *room) enter(s *session) {
	r.publish(s, object{"type": "event", "event": object{"target": "room", "type": "join", "join": []object{s.entry()}}})
	r.sessions[s] = true
	s.room = r
}

// entry is a session as joins name it.
func (s *session) entry() object {
	switch {
	case s.virtual != nil:
		return object{"sessionid": s.id, "userid": "", "user": s.virtual.user}
	case s.user != nil:
		return object{"sessionid": s.id, "userid": s.user.Name, "user": object{"displayname": s.user.Name}}
	}
	return object{"sessionid": s.id, "userid": "", "features": s.features}
}

// leave takes a session out of its room.
func (l *Lab) leave(s *session) {
	r := s.room
	if r == nil {
		return
	}
	s.room = nil
	s.closeMedia()
	delete(r.sessions, s)
	if s.user != nil && r.cloud.StaleLists {
		r.stale = append(r.stale, s.listed())
	}
	if s.virtual != nil {
		r.cloud.left(r.token, s.virtual.actor)
	}
	r.publish(nil, object{"type": "event", "event": object{"target": "room", "type": "leave", "leave": []string{s.id}}})
	if len(r.sessions) == 0 {
		r.stop()
		delete(l.rooms, r.cloud.URL+r.token)
		return
	}
	r.publishPeople()
}

// publish sends to all in the room but one.
func (r *room) publish(but *session, o any) {
	for _, s := range slices.SortedFunc(maps.Keys(r.sessions), func(a, b *session) int { return compare(a.id, b.id) }) {
		if s != but && s.virtual == nil {
			s.deliver(o)
		}
	}
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// publishPeople sends the list of participants.
func (r *room) publishPeople() { r.publish(nil, r.list()) }

// list is the list of participants.
func (r *room) list() object {
	var users []object
	for s := range r.sessions {
		users = append(users, s.listed())
	}
	if r.cloud.StaleLists {
		users = append(users, r.stale...)
	}
	return object{"type": "event", "event": object{"target": "participants", "type": "update", "update": object{"roomid": r.token, "users": users}}}
}

// listed is a session as lists have it.
func (s *session) listed() object {
	flags := s.flags()
	u := object{"sessionId": s.id, "lastPing": time.Now().Unix(), "inCall": flags}
	switch {
	case s.virtual != nil:
		u["virtual"] = true
	case s.user == nil:
		u["internal"] = true
		if len(s.features) > 0 {
			u["features"] = s.features
		}
	default:
		u["actorType"], u["actorId"], u["userId"] = "users", s.user.Name, s.user.Name
		u["nextcloudSessionId"], u["participantType"], u["participantPermissions"] = "nextcloud-"+s.id, 3, usual
		if s.user.Moderator {
			u["participantType"] = 2
		}
	}
	if s.cloud.LooseLists && flags == 0 {
		delete(u, "inCall")
		if s.user != nil {
			u["inCall"] = false
		}
	}
	return u
}

// setStatus shows how a call fares: an equal status is not told again, the last
// one is taken away after a while.
func (r *room) setStatus(status CallStatus) {
	old, had := r.status[status.CallID]
	key := "callstatus_" + status.CallID
	if t := r.removals[status.CallID]; t != nil && (old == status || status.over()) {
		t.Stop()
		delete(r.removals, status.CallID)
	}
	if !had || old != status {
		r.status[status.CallID] = status
		o := object{"type": "set", "key": key, "value": status}
		if had {
			o["oldvalue"] = old
		}
		r.publish(nil, object{"type": "transient", "transient": o})
	}
	if status.over() {
		r.removals[status.CallID] = time.AfterFunc(statusTime, func() {
			r.lab.mu.Lock()
			defer r.lab.mu.Unlock()
			if r.status[status.CallID] == status {
				delete(r.status, status.CallID)
				r.publish(nil, object{"type": "transient", "transient": object{"type": "remove", "key": key, "oldvalue": status}})
				r.lab.note("")
			}
		})
	}
}

// Statuses are the statuses shown in a room, by call id.
func (c *Cloud) Statuses(token string) map[string]CallStatus {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	if r := c.lab.rooms[c.URL+token]; r != nil {
		return maps.Clone(r.status)
	}
	return nil
}

// Phones are the names that bridges gave the phones in a room.
func (c *Cloud) Phones(token string) []string {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	var names []string
	if r := c.lab.rooms[c.URL+token]; r != nil {
		for s := range r.sessions {
			if s.virtual != nil {
				names = append(names, s.virtual.name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Flags are those that the phone of a call is shown with, -1 without one.
func (c *Cloud) Flags(token, callID string) int {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	if r := c.lab.rooms[c.URL+token]; r != nil {
		for s := range r.sessions {
			if s.virtual != nil && s.virtual.name == callID {
				return s.virtual.flags
			}
		}
	}
	return -1
}

// BridgesIn counts the bridges in a room.
func (c *Cloud) BridgesIn(token string) int {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	n := 0
	if r := c.lab.rooms[c.URL+token]; r != nil {
		for s := range r.sessions {
			if s.virtual == nil && s.user == nil {
				n++
			}
		}
	}
	return n
}

// EndForEveryone ends the call in a room as a moderator may.
func (c *Cloud) EndForEveryone(token string) {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	r := c.lab.rooms[c.URL+token]
	if r == nil {
		return
	}
	for s := range r.sessions {
		if s.user != nil {
			s.user.inCall = 0
		}
		s.inCall = 0
		s.closeMedia()
	}
	r.publish(nil, object{"type": "event", "event": object{"target": "participants", "type": "update",
		"update": object{"roomid": token, "incall": 0, "all": true}}})
	c.lab.note("")
}

// DeleteRoom deletes a conversation. Its phones stay until their bridge's
// session ends.
func (c *Cloud) DeleteRoom(token string) {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	r := c.lab.rooms[c.URL+token]
	if r == nil {
		return
	}
	r.publish(nil, object{"type": "event", "event": object{"target": "room", "type": "delete"}})
	r.publish(nil, object{"type": "room", "room": object{"roomid": ""}})
	r.deleted = true
	r.stop()
	delete(c.lab.rooms, c.URL+token)
	for s := range r.sessions {
		s.room, s.inCall = nil, 0
		s.closeMedia()
	}
	for _, k := range c.lab.calls {
		if k.token == token {
			k.gone = true
		}
	}
	c.lab.note("")
}

// Disinvite removes the phone of an actor from a conversation.
func (c *Cloud) Disinvite(token, actorID string) {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	r := c.lab.rooms[c.URL+token]
	if r == nil {
		return
	}
	for s := range r.sessions {
		if s.virtual != nil && s.virtual.actor == actorID {
			s.virtual.bridge.deliver(object{"type": "control", "control": object{"sender": nil,
				"recipient": object{"type": "session", "sessionid": s.virtual.name},
				"data":      object{"hangup": object{"reason": "disinvited"}, "type": "hangup"}}})
		}
	}
}
