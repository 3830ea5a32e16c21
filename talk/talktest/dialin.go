package talktest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Conversation is what Nextcloud knows of one. The zero value takes no phones.
type Conversation struct {
	Name string
	// SIP is 1 for participants with a PIN, 2 for everybody.
	SIP   int
	Lobby bool
	// Recording is Talk's callRecording: 1 and 2 are recordings, 3 and 4 such that
	// begin, 5 is one that has failed.
	Recording int
	Consent   bool // to recordings is asked of everybody
	// PINs are the participants who may dial in.
	PINs map[string]Person
	// MembersStart: a guest may not begin a call.
	MembersStart bool

	guests map[string]Person // by actor id
}

// Person is a participant as Nextcloud knows him.
type Person struct {
	// ActorType is users, emails or guests. Default users.
	ActorType, ActorID string
	// Type is Talk's participantType: 1 owner, 2 moderator, 3 user, 4 guest, 6 guest
	// who is moderator. Default 3.
	Type int
	// Permissions default to what everybody has, 246, and moderators to 254.
	Permissions int
}

const (
	mayStart       = 2
	mayIgnoreLobby = 8
	// usual are to start and join calls, to be heard, seen and read.
	usual = 246
)

func (p Person) moderator() bool { return p.Type == 1 || p.Type == 2 || p.Type == 6 }

// filled is p with its defaults.
func (p Person) filled() Person {
	if p.ActorType == "" {
		p.ActorType = "users"
	}
	if p.Type == 0 {
		p.Type = 3
	}
	if p.Permissions == 0 {
		p.Permissions = usual
		if p.moderator() {
			p.Permissions |= mayIgnoreLobby
		}
	}
	return p
}

// Set sets what Nextcloud knows of a conversation, or changes it.
func (c *Cloud) Set(token string, change func(*Conversation)) {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	if c.conversations == nil {
		c.conversations = map[string]*Conversation{}
	}
	v := c.conversations[token]
	if v == nil {
		v = &Conversation{Name: "Conversation", guests: map[string]Person{}}
		c.conversations[token] = v
	}
	change(v)
	c.lab.note("")
}

// Number gives a user a telephone number, written as Talk keeps it: without +.
func (c *Cloud) Number(number, userID string) {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	if c.numbers == nil {
		c.numbers = map[string]string{}
	}
	c.numbers[number] = userID
}

// Guests counts the guests that were made for phones in a conversation.
func (c *Cloud) Guests(token string) int {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	if v := c.conversations[token]; v != nil {
		return len(v.guests)
	}
	return 0
}

const (
	// maxGuesses is how many wrong conversations and checksums Nextcloud takes of an
	// address in guessTime.
	maxGuesses = 10
	guessTime  = 30 * time.Minute
	// noRoute is the OCS status of a question that there is not.
	noRoute = 998
)

// wrong counts what Nextcloud holds against the bridge's address. The caller holds
// Lab.mu.
func (c *Cloud) wrong(status int) (int, json.RawMessage) {
	c.guesses = append(c.guesses, time.Now())
	return status, nil
}

// refuses reports whether Nextcloud answers the bridge nothing for now. The caller
// holds Lab.mu.
func (c *Cloud) refuses() bool {
	c.guesses = slices.DeleteFunc(c.guesses, func(at time.Time) bool { return time.Since(at) > guessTime })
	return len(c.guesses) >= maxGuesses
}

// dialin responds to what Talk has for bridges that take calls. It reports whether
// that is asked.
func (c *Cloud) dialin(r *http.Request, path string, body []byte) (status int, data json.RawMessage, is bool) {
	rest, ok := strings.CutPrefix(path, "ocs/v2.php/apps/spreed/api/v4/room/")
	token, op, found := strings.Cut(rest, "/")
	op, pin, _ := strings.Cut(op, "/")
	direct := ok && rest == "direct-dial-in"
	switch {
	case !ok || !direct && found && op != "verify-dialin" && op != "pin" && op != "open-dial-in":
		return 0, nil, false
	case r.Header.Get("OCS-APIRequest") != "true":
		return http.StatusPreconditionFailed, nil, true
	}
	var v struct {
		PIN    string `json:"pin"`
		Number string `json:"phoneNumber"`
		Caller string `json:"caller"`
	}
	if len(body) > 0 && json.Unmarshal(body, &v) != nil {
		return http.StatusBadRequest, nil, true
	}
	signed := token
	if direct {
		signed = v.Number
	}
	random := r.Header.Get("Talk-SIPBridge-Random")
	l := c.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.DialinStatus != 0:
		return c.DialinStatus, nil, true
	case op == "verify-dialin" && c.OldPIN:
		return http.StatusNotFound, json.RawMessage(fmt.Sprint(noRoute)), true
	case c.refuses():
		return http.StatusTooManyRequests, nil, true
	case len(random) < 32 || r.Header.Get("Talk-SIPBridge-Checksum") != sign(SIPSecret, random+signed):
		status, data = c.wrong(http.StatusUnauthorized)
		return status, data, true
	}
	if direct {
		status, data = c.direct(r.Method, v.Number, v.Caller)
		return status, data, true
	}
	room := c.conversations[token]
	if room == nil {
		status, data = c.wrong(http.StatusNotFound)
		return status, data, true
	}
	switch {
	case !found && r.Method == http.MethodGet:
		return http.StatusOK, c.describe(token, room, nil, ""), true
	case op == "verify-dialin" && r.Method == http.MethodPost, op == "pin" && r.Method == http.MethodGet:
		if op == "verify-dialin" {
			pin = v.PIN
		}
		who, known := room.PINs[pin]
		if !known {
			return http.StatusNotFound, nil, true
		}
		who = who.filled()
		return http.StatusOK, c.describe(token, room, &who, pin), true
	case op == "open-dial-in" && r.Method == http.MethodPost:
		if room.SIP != 2 {
			return http.StatusBadRequest, nil, true
		}
		who := c.guest(room)
		return http.StatusOK, c.describe(token, room, &who, ""), true
	}
	return http.StatusMethodNotAllowed, nil, true
}

// guest makes one for a phone. The caller holds Lab.mu.
func (c *Cloud) guest(room *Conversation) Person {
	who := Person{ActorType: "guests", ActorID: c.lab.next("guest"), Type: 4}.filled()
	room.guests[who.ActorID] = who
	return who
}

// direct makes a conversation of the user who has the number. The caller holds
// Lab.mu.
func (c *Cloud) direct(method, number, caller string) (int, json.RawMessage) {
	owner := c.numbers[number]
	switch {
	case method != http.MethodPost:
		return http.StatusMethodNotAllowed, nil
	case owner == "":
		return http.StatusNotFound, nil
	}
	if c.conversations == nil {
		c.conversations = map[string]*Conversation{}
	}
	c.lab.count++
	token := fmt.Sprintf("7%09d", c.lab.count)
	room := &Conversation{Name: caller, SIP: 2, guests: map[string]Person{}}
	c.conversations[token] = room
	who := c.guest(room)
	return http.StatusOK, c.describe(token, room, &who, "")
}

// describe is a conversation as Nextcloud describes it to a bridge, with a
// participant if there is one. The caller holds Lab.mu.
func (c *Cloud) describe(token string, v *Conversation, who *Person, pin string) json.RawMessage {
	lobby, consent := 0, 0
	if v.Lobby {
		lobby = 1
	}
	if v.Consent {
		consent = 1
	}
	o := object{"token": token, "type": 2, "name": v.Name, "displayName": v.Name, "participantType": 4, "hasCall": c.hasCall(token),
		"callRecording": v.Recording, "recordingConsent": consent, "canStartCall": false, "lobbyState": lobby, "lobbyTimer": 0,
		"sipEnabled": v.SIP, "actorType": "", "actorId": "", "attendeeId": 0, "permissions": 1, "attendeePin": "", "sessionId": "0"}
	if who != nil {
		o["actorType"], o["actorId"], o["attendeeId"] = who.ActorType, who.ActorID, 7
		o["participantType"], o["permissions"], o["attendeePin"] = who.Type, who.Permissions, pin
		if v.Lobby && !who.moderator() && who.Permissions&mayIgnoreLobby == 0 {
			o["hasCall"] = false
		} else {
			o["canStartCall"] = v.mayStart(*who)
		}
	}
	data, _ := json.Marshal(o)
	return data
}

// mayStart reports whether somebody may begin the call.
func (v *Conversation) mayStart(who Person) bool {
	return who.Permissions&mayStart != 0 && (!v.MembersStart || who.ActorType != "guests")
}

// hasCall reports whether somebody is in a conversation's call. The caller holds
// Lab.mu.
func (c *Cloud) hasCall(token string) bool {
	if r := c.lab.rooms[c.URL+token]; r != nil {
		for s := range r.sessions {
			if (s.user != nil || s.virtual != nil) && s.inTheCall() {
				return true
			}
		}
	}
	return false
}

// invited reports whether Nextcloud lets a phone of an actor into a conversation.
// What was not Set takes all. The caller holds Lab.mu.
func (c *Cloud) letsIn(token, actorType, actorID string) bool {
	v := c.conversations[token]
	if v == nil || actorType == "phones" {
		return true
	}
	who, ok := v.guests[actorID]
	for _, p := range v.PINs {
		if p = p.filled(); p.ActorType == actorType && p.ActorID == actorID {
			who, ok = p, true
		}
	}
	return ok && (c.hasCall(token) || v.mayStart(who))
}

// capabilities are what Nextcloud says of Talk to everybody. The caller holds
// Lab.mu.
func (c *Cloud) capabilities() json.RawMessage {
	features := []string{"audio", "video", "sip-support", "sip-support-nopin", "sip-support-dialout"}
	if !c.OldPIN {
		features = append(features, "sip-direct-dialin")
	}
	data, _ := json.Marshal(object{"version": object{"major": 31}, "capabilities": object{"spreed": object{"version": "21.1.0", "features": features,
		"config": object{"call": object{"enabled": true, "sip-enabled": true, "end-to-end-encryption": c.Encrypted}}}}})
	return data
}

// Conversations are the tokens of those that were Set, or made for a call to a user's
// number.
func (c *Cloud) Conversations() []string {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	return slices.Sorted(maps.Keys(c.conversations))
}
