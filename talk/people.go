package talk

import (
	"encoding/json"
	"slices"
)

const (
	// maxMembers bounds the sessions that are remembered of a room.
	maxMembers = 20000
	// MaxAudible bounds the sessions of a room that Room.Audible returns: the server
	// does not say who speaks, and each one costs.
	MaxAudible = 100
)

// member is a session in a room.
type member struct {
	machine   bool // a phone, or a bridge
	virtual   bool // a phone: it has no audio of its own
	ours      bool // we ourselves, or a phone of our Session
	moderator bool
	flags     int // of the call
	seq       int // in the order in which they came
}

func (m *member) inCall() bool { return m.flags&inCall != 0 }

// audible reports whether there is audio of the member to be had.
func (m *member) audible() bool { return m.flags&inCall != 0 && m.flags&withAudio != 0 && !m.virtual }

// people are what is known of who takes part in a room's call.
type people struct{ humans, others int }

// unknown are the people of a room whose members are not known.
var unknown = people{-1, -1}

// people counts who takes part in the call. While people have to come back, that
// there is nobody is not known. The caller holds r.mu.
func (r *Room) people() people {
	if r.away || !r.inside || !r.listed {
		return unknown
	}
	var p people
	for _, m := range r.members {
		switch {
		case !m.inCall():
		case !m.machine:
			p.humans++
			p.others++
		case !m.ours:
			p.others++
		}
	}
	return p
}

// inCall counts the humans who take part in the room's call, -1 while that is
// not known. The caller holds r.mu.
func (r *Room) inCall() int { return r.people().humans }

// Humans counts the humans who take part in the room's call, -1 while that is not
// known: while the connection is lost, and without anybody after it was, until
// somebody has come back or nobody did within ReturnTime.
func (r *Room) Humans() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown().humans
}

// Inside reports whether we are in the room, as far as is known: a phone that is added
// before is lost, for the signaling server may not know the room yet.
func (r *Room) Inside() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inside && !r.away
}

// Others counts all who take part in the room's call but ourselves and the phones
// of our Session, -1 while that is not known.
func (r *Room) Others() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown().others
}

// Foreign counts the phones of other bridges that take part in the room's call, as far
// as is known.
func (r *Room) Foreign() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		if m.virtual && !m.ours && m.inCall() {
			n++
		}
	}
	return n
}

// shown is people for others than judge. The caller holds r.mu.
func (r *Room) shown() people {
	p := r.people()
	if p.humans == 0 && r.vigil.returning {
		return unknown
	}
	return p
}

// Audible are the sessions in the call that are to be heard, moderators first,
// then in the order in which they came, at most MaxAudible: those with audio that
// are neither phones nor ourselves. While the connection is lost they are as they
// were.
func (r *Room) Audible() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.audible)
}

// listen finds who is to be heard. The caller holds r.mu.
func (r *Room) listen() []string {
	var ids []string
	for id, m := range r.members {
		if m.audible() && id != r.sessionID {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		m, n := r.members[a], r.members[b]
		if m.moderator != n.moderator {
			if m.moderator {
				return -1
			}
			return 1
		}
		return m.seq - n.seq
	})
	if len(ids) > MaxAudible {
		if !r.tooMany {
			r.link.log.Warn("more participants than are heard by phones: some are not", "participants", len(ids), "limit", MaxAudible)
		}
		r.tooMany = true
		ids = ids[:MaxAudible]
	}
	return ids
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
		Features  json.RawMessage `json:"features"`
	}
	if json.Unmarshal(raw, &sessions) != nil {
		return
	}
	seen := make([]seen, 0, min(len(sessions), maxMembers))
	for _, s := range sessions[:min(len(sessions), maxMembers)] {
		if s.SessionID == "" || len(s.SessionID) > maxID {
			continue
		}
		var user struct {
			Type   string `json:"type"`
			CallID string `json:"callid"`
		}
		read(s.User, &user)
		var features []string
		_ = json.Unmarshal(s.Features, &features)
		one := seenAs(s.SessionID, user.Type, features)
		if one.virtual && r.session.sees(user.CallID, r.id) {
			one.ours, one.callID = true, user.CallID
		}
		seen = append(seen, one)
	}
	r.change(func() {
		for i := range seen {
			r.enter(&seen[i])
		}
	})
	for _, one := range seen {
		if one.ours && r.session.handler.Added != nil {
			r.session.handler.Added(r.session, one.callID)
		}
	}
}

// seen is a session as a join names it.
type seen struct {
	member
	id, callID string
}

// seenAs tells phones and bridges from people. Of a bridge without such features
// only the list of participants tells.
func seenAs(id, userType string, features []string) seen {
	s := seen{id: id}
	s.virtual = userType == "phone"
	s.machine = s.virtual || slices.Contains(features, "internal-incall") || slices.Contains(features, "start-dialout")
	return s
}

// enter adds a session. The caller holds r.mu.
func (r *Room) enter(s *seen) {
	if r.members[s.id] != nil || len(r.members) >= maxMembers {
		return
	}
	m, self := r.list[s.id], s.id == r.sessionID
	m.virtual = m.virtual || s.virtual
	m.machine = m.machine || s.machine || self
	m.ours = s.ours || self
	r.seq++
	m.seq = r.seq
	r.members[s.id] = &m
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

// listed is a participant as lists and changes have it. Older servers and
// Nextclouds write some names in lower case.
type listed struct {
	SessionID string          `json:"sessionId"` // "sessionid" is read as well
	InCall    json.RawMessage `json:"inCall"`
	Type      json.RawMessage `json:"participantType"`
	Internal  json.RawMessage `json:"internal"`
	Virtual   json.RawMessage `json:"virtual"`
}

// member is what a list says of a participant.
func (l *listed) member() member {
	var internal, virtual bool
	_ = json.Unmarshal(l.Internal, &internal)
	_ = json.Unmarshal(l.Virtual, &virtual)
	m := member{machine: internal || virtual, virtual: virtual}
	m.flags, _ = flags(l.InCall)
	if kind, ok := flags(l.Type); ok {
		m.moderator = moderator(kind)
	}
	return m
}

// readList reads the participants of a list, of which each may be anything.
func readList(raw json.RawMessage) (list []listed, ok bool) {
	if json.Unmarshal(raw, &list) != nil { // one by one, without those that are none
		var users []json.RawMessage
		if json.Unmarshal(raw, &users) != nil {
			return nil, false
		}
		list = make([]listed, len(users))
		for i, u := range users {
			if !read(u, &list[i]) {
				list[i] = listed{}
			}
		}
	}
	if list == nil {
		return nil, false
	}
	list = list[:min(len(list), maxMembers)]
	return slices.DeleteFunc(list, func(l listed) bool { return l.SessionID == "" || len(l.SessionID) > maxID }), true
}

// updated takes what is said of the participants: that the call has ended for
// all, a list of them, or what has changed. Who is in the room is told by joins
// and leaves: the list may hold sessions that have left.
func (r *Room) updated(raw json.RawMessage) {
	var v struct {
		RoomID  string          `json:"roomid"`
		InCall  json.RawMessage `json:"incall"`
		All     bool            `json:"all"`
		Users   json.RawMessage `json:"users"`
		Changed json.RawMessage `json:"changed"`
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
				m.flags = 0
			}
			r.list = nil
		})
		r.tell(EndedForEveryone)
		return
	}
	if users, ok := readList(v.Users); ok {
		r.change(func() {
			r.list = map[string]member{}
			for i := range users {
				r.list[users[i].SessionID] = users[i].member()
			}
			for id, m := range r.members {
				r.members[id] = m.as(r.list[id])
			}
			r.listed = r.inside // or it is of the time before we have asked to join
		})
		return
	}
	changed, _ := readList(v.Changed)
	r.change(func() {
		for i := range changed {
			id := changed[i].SessionID
			if m := r.members[id]; m != nil {
				r.members[id] = m.as(changed[i].member())
			}
		}
	})
}

// as is a member as a list has it.
func (m *member) as(l member) *member {
	return &member{machine: m.machine || l.machine, virtual: m.virtual || l.virtual, ours: m.ours,
		moderator: l.moderator, flags: l.flags, seq: m.seq}
}

// flags are those of a participant's call, or another small number. Nextcloud
// says false for 0; true is a call with audio, as it was said before there were
// flags.
func flags(raw json.RawMessage) (n int, ok bool) {
	switch string(raw) {
	case "false":
		return 0, true
	case "true":
		return inCall | withAudio, true
	}
	return n, len(raw) > 0 && json.Unmarshal(raw, &n) == nil
}

// change makes a change to the members, and tells what is thereby otherwise.
func (r *Room) change(f func()) {
	for _, k := range r.changing(f) {
		r.tell(k)
	}
}

func (r *Room) changing(f func()) []RoomEventKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.judge()
	return r.changed()
}

// changed finds what of the people is otherwise than was told. What is not known
// is as it was. The caller holds r.mu.
func (r *Room) changed() (kinds []RoomEventKind) {
	if r.away || !r.inside || !r.listed {
		return nil
	}
	if now := r.listen(); !slices.Equal(now, r.audible) {
		r.audible = now
		kinds = append(kinds, AudioChanged)
	}
	if now := r.shown(); now != unknown && now != r.told {
		r.told = now
		kinds = append(kinds, PeopleChanged)
	}
	return kinds
}
