package talktest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Cloud is a Nextcloud. Its exported fields are set before it is asked.
type Cloud struct {
	// URL is the base address, with a slash at the end.
	URL string
	// VerifyStatus, RejectStatus are sent instead of the right status.
	VerifyStatus, RejectStatus int
	// VerifyDelay is how long verify-dialout takes.
	VerifyDelay time.Duration
	// VerifyAnswer is sent instead of the participant.
	VerifyAnswer string
	// NoteDelay is how long Nextcloud takes to note the id of a call.
	NoteDelay time.Duration
	// DialinStatus is sent to all that is asked for dial-in. OldPIN: Talk knows its
	// older way of PINs only, and no direct dial-in. Encrypted: browsers encrypt
	// calls end to end.
	DialinStatus      int
	OldPIN, Encrypted bool
	// NoCapabilities has strangers be told none of the capabilities.
	NoCapabilities bool
	// Away has the whole Nextcloud be away: its proxy says 502.
	Away bool
	// Maintenance has it be updated. StatusDelay is how long status.php takes.
	Maintenance bool
	StatusDelay time.Duration
	// StaleLists: those who have left stay in the lists of participants as they
	// were. LooseLists: who is not in the call is in them with false, or without a
	// word of it.
	StaleLists, LooseLists bool
	// RefusePhones has phones not be invited, PhoneDelay is how long their
	// joining takes.
	RefusePhones bool
	PhoneDelay   time.Duration

	lab        *Lab
	host, path string
	// Guarded by Lab.mu.
	asked         map[string]question // by token and attendee
	verified      map[string]bool     // by token, number and attendee
	noted         map[string]string   // call ids, by token and attendee
	invited       map[string]Web      // by user id
	rejected      []string            // call ids
	requests      []string
	body          string
	conversations map[string]*Conversation
	numbers       map[string]string // users, by number
	guesses       []time.Time
}

// question is a dial-out that Nextcloud has asked for.
type question struct{ number, options string }

// AddCloud adds a Nextcloud. Without a host in address it serves any.
func (l *Lab) AddCloud(address string) *Cloud {
	u, err := url.Parse(address)
	if err != nil {
		l.t.Fatal(err)
	}
	c := &Cloud{URL: strings.TrimSuffix(address, "/") + "/", lab: l, host: u.Host, path: strings.TrimSuffix(u.Path, "/") + "/",
		asked: map[string]question{}, verified: map[string]bool{}, noted: map[string]string{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clouds = append(l.clouds, c)
	return c
}

// Listen gives the Nextcloud the address that it is reached at outside a
// bubble, like that of an httptest.Server.
func (c *Cloud) Listen(address string) {
	u, err := url.Parse(address)
	if err != nil {
		c.lab.t.Fatal(err)
	}
	c.URL, c.host, c.path = strings.TrimSuffix(address, "/")+"/", u.Host, strings.TrimSuffix(u.Path, "/")+"/"
}

// Change changes exported fields while the Nextcloud may be asked.
func (c *Cloud) Change(f func(*Cloud)) {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	f(c)
}

// expect notes a dial-out. The caller holds Lab.mu.
func (c *Cloud) expect(token, number, options string) {
	c.asked[token+" "+attendee(options)] = question{number, options}
}

// accepted notes the id of a call after a while. The caller holds Lab.mu.
func (c *Cloud) accepted(token, attendee, callID string) {
	if c.NoteDelay == 0 {
		c.noted[token+" "+attendee] = callID
		return
	}
	time.AfterFunc(c.NoteDelay, func() {
		c.lab.mu.Lock()
		defer c.lab.mu.Unlock()
		c.noted[token+" "+attendee] = callID
	})
}

// left forgets the call of a phone that left. The caller holds Lab.mu.
func (c *Cloud) left(token, actor string) {
	for key, q := range c.asked {
		var v struct {
			ActorID string `json:"actorId"`
		}
		_ = json.Unmarshal([]byte(q.options), &v)
		if strings.HasPrefix(key, token+" ") && v.ActorID == actor {
			delete(c.noted, key)
		}
	}
}

// Knows reports whether Nextcloud has a call for one that is not over.
func (c *Cloud) Knows(callID string) bool {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	for _, id := range c.noted {
		if id == callID {
			return true
		}
	}
	return false
}

// Rejected are the ids of calls that were said never to have been established.
func (c *Cloud) Rejected() []string {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	return append([]string(nil), c.rejected...)
}

// Requests are method, path and status of what was asked.
func (c *Cloud) Requests() []string {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	return append([]string(nil), c.requests...)
}

// LastBody is the body of the last of them.
func (c *Cloud) LastBody() string {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	return c.body
}

func (c *Cloud) serve(w http.ResponseWriter, r *http.Request, path string) {
	c.lab.mu.Lock()
	away, maintenance, delay := c.Away, c.Maintenance, c.StatusDelay
	c.lab.mu.Unlock()
	switch {
	case away:
		http.Error(w, "Bad Gateway", http.StatusBadGateway)
		return
	case path == "status.php":
		waitFor(r.Context(), delay)
		_, _ = fmt.Fprintf(w, `{"installed":true,"maintenance":%t,"versionstring":"31.0.0"}`, maintenance)
		return
	case maintenance:
		http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
		return
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	var status int
	var data json.RawMessage
	code := 0 // of OCS
	if token, ok := strings.CutPrefix(path, "ocs/v2.php/apps/spreed/api/v4/call/"); ok {
		status = c.webCall(r, token, body)
	} else if path == "ocs/v2.php/cloud/capabilities" && !c.NoCapabilities {
		c.lab.mu.Lock()
		status, data = http.StatusOK, c.capabilities()
		c.lab.mu.Unlock()
	} else if st, d, is := c.dialin(r, path, body); is {
		if status, data = st, d; st == http.StatusNotFound && len(d) > 0 {
			code, data = noRoute, nil
		}
	} else {
		status, data = c.answer(r, path, body)
	}
	if code == 0 {
		code = status
	}
	c.lab.mu.Lock()
	c.body = string(body)
	c.requests = append(c.requests, r.Method+" "+path+" "+http.StatusText(status))
	c.lab.note("")
	c.lab.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if status >= 300 && status < 400 {
		w.Header().Set("Location", "http://elsewhere.example/")
	}
	w.WriteHeader(status)
	meta := "ok"
	if status != http.StatusOK {
		meta = "failure"
	}
	if len(data) == 0 {
		data = json.RawMessage("[]")
	}
	out, err := json.Marshal(object{"ocs": object{"meta": object{"status": meta, "statuscode": code, "message": ""}, "data": data}})
	if err != nil {
		out = data // what is no JSON is sent as it is
	}
	_, _ = w.Write(out)
}

// waitFor waits for d, or until nobody does any more.
func waitFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// answer responds to Talk's two questions for SIP bridges.
func (c *Cloud) answer(r *http.Request, path string, body []byte) (int, json.RawMessage) {
	rest, ok := strings.CutPrefix(path, "ocs/v2.php/apps/spreed/api/v4/room/")
	token, op, found := strings.Cut(rest, "/")
	random := r.Header.Get("Talk-SIPBridge-Random")
	switch {
	case !ok || !found:
		return http.StatusNotFound, nil
	case r.Header.Get("OCS-APIRequest") != "true":
		return http.StatusPreconditionFailed, nil
	case len(random) < 32 || r.Header.Get("Talk-SIPBridge-Checksum") != sign(SIPSecret, random+token):
		return http.StatusUnauthorized, nil
	}
	var v struct {
		Number  string `json:"number"`
		CallID  string `json:"callId"`
		Options struct {
			AttendeeID json.RawMessage `json:"attendeeId"`
			ActorType  string          `json:"actorType"`
			ActorID    string          `json:"actorId"`
		} `json:"options"`
	}
	if json.Unmarshal(body, &v) != nil || len(v.Options.AttendeeID) == 0 {
		return http.StatusBadRequest, nil
	}
	key := token + " " + string(v.Options.AttendeeID)
	switch {
	case op == "verify-dialout" && r.Method == http.MethodPost:
		waitFor(r.Context(), c.VerifyDelay)
		c.lab.mu.Lock()
		defer c.lab.mu.Unlock()
		q, known := c.asked[key]
		switch {
		case c.VerifyStatus != 0:
			return c.VerifyStatus, nil
		case !known:
			return http.StatusNotFound, nil
		case v.Options.ActorType != "phones" || v.Number != q.number:
			return http.StatusBadRequest, nil
		}
		c.verified[token+" "+v.Number+" "+string(v.Options.AttendeeID)] = true
		if c.VerifyAnswer != "" {
			return http.StatusOK, json.RawMessage(c.VerifyAnswer)
		}
		data, _ := json.Marshal(object{"token": token, "attendeeId": v.Options.AttendeeID, "actorType": v.Options.ActorType, "actorId": v.Options.ActorID,
			"displayName": "Phone", "lobbyState": 0, "readOnly": 0, "sipEnabled": 1, "hasCall": true})
		return http.StatusOK, data
	case op == "rejected-dialout" && r.Method == http.MethodDelete:
		c.lab.mu.Lock()
		defer c.lab.mu.Unlock()
		switch {
		case c.RejectStatus != 0:
			return c.RejectStatus, nil
		case v.CallID == "" || c.noted[key] != v.CallID:
			return http.StatusBadRequest, nil
		}
		delete(c.noted, key)
		c.rejected = append(c.rejected, v.CallID)
		return http.StatusOK, nil
	}
	return http.StatusNotFound, nil
}
