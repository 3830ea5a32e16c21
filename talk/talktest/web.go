package talktest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// Web is a Talk client that comes by WebSocket, such as a page in a browser.
type Web struct {
	// UserID and Ticket are what it says hello with.
	UserID, Ticket string
	moderator      bool
}

// Invite lets a client in: as a moderator it may control phones.
func (c *Cloud) Invite(userID string, moderator bool) Web {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	w := Web{UserID: userID, Ticket: c.lab.next("ticket"), moderator: moderator}
	if c.invited == nil {
		c.invited = map[string]Web{}
	}
	c.invited[userID] = w
	return w
}

// helloWeb begins the session of a Talk client, which names its Nextcloud by the
// address of its own back end.
func (k *link) helloWeb(m *message) {
	l := k.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	p := m.Hello.Auth.Params
	i := slices.IndexFunc(l.clouds, func(c *Cloud) bool {
		return strings.HasPrefix(m.Hello.Auth.URL, c.URL) && p.Ticket != "" && c.invited[p.UserID].Ticket == p.Ticket
	})
	if i < 0 {
		k.error(m.ID, "invalid_ticket", "The passed ticket is invalid.")
		return
	}
	c := l.clouds[i]
	u := &User{Name: p.UserID, Moderator: c.invited[p.UserID].moderator, cloud: c}
	s := &session{lab: l, id: l.next("U"), resume: l.next("R"), cloud: c, features: m.Hello.Features, link: k, user: u}
	u.session, k.session = s, s
	l.sessions[s.id], l.resumes[s.resume] = s, s
	k.welcome(m.ID, s)
	l.note("")
}

// controls is what a client sends to the session of a phone.
type controls struct {
	Recipient struct {
		SessionID string `json:"sessionid"`
	} `json:"recipient"`
	Data json.RawMessage `json:"data"`
}

// control passes it on to the phone's bridge, if the client may. The caller holds
// Lab.mu.
func (l *Lab) control(s *session, c *controls) {
	p := l.sessions[c.Recipient.SessionID]
	if s.user == nil || !s.user.Moderator || p == nil || p.virtual == nil {
		return
	}
	p.virtual.bridge.deliver(object{"type": "control", "control": object{
		"sender":    object{"type": "session", "sessionid": s.id, "userid": s.user.Name},
		"recipient": object{"type": "session", "sessionid": p.virtual.name}, "data": c.Data}})
}

// webCall is Nextcloud's resource by which clients enter and leave the call. A
// browser would be known by its cookie; here it says its ticket.
func (c *Cloud) webCall(r *http.Request, token string, body []byte) int {
	userID, ticket, _ := r.BasicAuth()
	var v struct {
		Flags int `json:"flags"`
	}
	if r.Method != http.MethodDelete && (json.Unmarshal(body, &v) != nil || v.Flags&inCall == 0) {
		return http.StatusBadRequest
	}
	l := c.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	if ticket == "" || c.invited[userID].Ticket != ticket {
		return http.StatusForbidden
	}
	room := l.rooms[c.URL+token]
	if room == nil {
		return http.StatusNotFound
	}
	for s := range room.sessions {
		if s.user != nil && s.link != nil && s.user.Name == userID {
			s.user.inCall = v.Flags
			if v.Flags == 0 {
				s.closeMedia()
			}
		}
	}
	room.publishPeople()
	l.note("")
	return http.StatusOK
}
