package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"sipxrest/event"
)

// tokens are those of users of the phone over WebSocket.
var tokens = map[string]PhoneUser{
	"alices-token": {Username: "alice", SIP: "202@sipx.test"},
	"bobs-token":   {Username: "bob"},
}

func withTokens(c *Config) {
	c.Phone = func(_ context.Context, token string) (PhoneUser, bool) {
		u, ok := tokens[token]
		return u, ok
	}
}

// withToken is how a client with a token asks: in a header, or where a page opens a
// WebSocket as a subprotocol.
func withToken(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }

// A user of the phone over WebSocket sees the calls in which his phone is, hangs up for
// himself, and does nothing else.
func TestAPhoneUserHangsUpForHimselfOnly(t *testing.T) {
	withCalls(t, setup{api: withTokens}, func(t *testing.T, cr *callRig) {
		alice, bob := withToken("alices-token"), withToken("bobs-token")
		if w := cr.ask("GET", "/v1/me", alice); w.Code != 200 || !strings.Contains(w.Body.String(), `"type":"phone","name":"alice"`) {
			t.Errorf("GET /v1/me: %d %s", w.Code, w.Body)
		}
		mine, others := cr.call(usual), cr.call(`{"calling":"201","called":"203"}`)
		cr.until(mine, event.Connected)
		cr.until(others, event.Connected)

		if ids, _ := listOf(t, cr.ask("GET", "/v1/calls", alice)); strings.Join(ids, " ") != mine {
			t.Errorf("her list has %v, want %s", ids, mine)
		}
		if ids, _ := listOf(t, cr.ask("GET", "/v1/calls", bob)); len(ids) > 0 {
			t.Errorf("the list of another one has %v", ids)
		}
		c := shownCall(t, cr.ask("GET", "/v1/calls/"+mine, alice))
		if strings.Join(c.Actions, " ") != "hangup" {
			t.Errorf("her actions are %v", c.Actions)
		}
		events := cr.ask("GET", "/v1/events?after=oldest&limit=1000", alice)
		if events.Code != 200 || !strings.Contains(events.Body.String(), mine) || strings.Contains(events.Body.String(), others) {
			t.Errorf("her events: %d %s", events.Code, events.Body)
		}

		of := "/v1/calls/" + mine
		for _, c := range []struct {
			method, target, text string
			code                 Code
		}{
			{"POST", "/v1/calls", usual, WrongAgent},
			{"PUT", "/v1/calls/one-of-alices-own", usual, WrongAgent},
			{"POST", "/v1/calls", `{"calling":"202","called":"203","agent":"202"}`, WrongAgent},
			{"GET", "/v1/me?agent=202", "", WrongAgent},
			{"POST", of + "/actions/hold", `{}`, NotYourLeg},
			{"POST", of + "/actions/mute", `{}`, NotYourLeg},
			{"POST", of + "/actions/dtmf", `{"digits":"1"}`, NotYourLeg},
			{"POST", of + "/actions/redirect", `{"to":"203"}`, NotYourLeg},
			{"POST", of + "/actions/hangup", `{"leg":"calling"}`, NotYourLeg},
			{"POST", of + "/transfers", `{"to":"203"}`, NotYourLeg},
			{"PATCH", of, `{"tags":{"a":"b"}}`, NotYourLeg},
			{"POST", "/v1/check", usual, MissingScope},
			{"GET", "/v1/cdrs", "", MissingScope},
			{"GET", "/v1/users", "", MissingScope},
			{"GET", "/v1/calls/" + others, "", CallNotFound},
			{"GET", "/v1/calls/" + others + "/events", "", CallNotFound},
			{"DELETE", "/v1/calls/" + others, "", CallNotFound},
			{"POST", "/v1/calls/" + others + "/actions/hangup", `{}`, CallNotFound},
		} {
			how := []func(*http.Request){alice}
			if c.text != "" {
				how = append(how, body(c.text))
			}
			w := cr.ask(c.method, c.target, how...)
			if w.Code < 300 {
				t.Errorf("%s %s %s: %d %s", c.method, c.target, c.text, w.Code, w.Body)
			} else if p := problemOf(t, w); p.Code != c.code {
				t.Errorf("%s %s %s: %s (%s), want %s", c.method, c.target, c.text, p.Code, p.Detail, c.code)
			}
		}
		if p := problemOf(t, cr.ask("DELETE", of, bob)); p.Code != CallNotFound {
			t.Errorf("another one's DELETE: %s", p.Code)
		}
		for _, id := range []string{mine, others} {
			if c, _ := cr.bus.Call(id); c.State != event.Connected {
				t.Fatalf("%s is %s: %s", id, c.State, inJSON(t, c.End))
			}
		}

		w := cr.ask("POST", of+"/actions/hangup", alice, body(`{"leg":"called"}`))
		if c, changed, _ := result(t, w); !changed || c.End == nil || c.End.By != "client" || c.End.Actor == nil ||
			c.End.Actor.Type != "phone" || c.End.Actor.Name != "alice" {
			t.Errorf("hangup: %d %s", w.Code, w.Body)
		}
		if c, _ := cr.bus.Call(others); c.State != event.Connected {
			t.Errorf("the call of others is %s", c.State)
		}
	})
}

// A call of a phone over WebSocket is its user's by his name, at either end of it; a
// SIP user of the same name is somebody else.
func TestAPhoneUserIsKnownByHisName(t *testing.T) {
	ends := &doorCalls{}
	withCalls(t, setup{api: func(c *Config) {
		withTokens(c)
		c.Calls.Controls = map[event.Source]Controls{event.FromPhone: ends}
	}}, func(t *testing.T, cr *callRig) {
		ends.bus = cr.bus
		for id, legs := range map[string][]event.Leg{
			"websocket-call-by-bob": {{Role: event.RoleCalling, Address: "bob"}, {Role: event.RoleDevice, Address: "alice"}},
			"websocket-call-of-sip": {{Role: event.RoleCalling, Address: "bob@sipx.test"}, {Role: event.RoleDevice, Address: "carol"}},
		} {
			err := cr.bus.Begin(event.Request{ID: id, Created: event.Created{Kind: event.WebSocket, Source: event.FromPhone, State: event.Calling,
				Legs: legs}})
			if err != nil {
				t.Fatal(err)
			}
		}
		after(1)
		for _, token := range []string{"alices-token", "bobs-token"} {
			if ids, _ := listOf(t, cr.ask("GET", "/v1/calls", withToken(token))); strings.Join(ids, " ") != "websocket-call-by-bob" {
				t.Errorf("%s: the list has %v", token, ids)
			}
		}
		w := cr.ask("DELETE", "/v1/calls/websocket-call-by-bob", withToken("alices-token"))
		if c, changed, _ := result(t, w); !changed || c.State != event.Ended {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func TestTokensOfPhonesAreTakenAsKeysAre(t *testing.T) {
	st := newRig(t, nil, withTokens)
	subprotocol := func(r *http.Request) {
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-WebSocket-Protocol", "sipxrest.events.v1, bearer.alices-token")
	}
	for name, c := range map[string]struct {
		on   http.Handler
		how  func(*http.Request)
		want string
	}{
		"over TLS":           {st.pin, withToken("alices-token"), ""},
		"as a subprotocol":   {st.pin, subprotocol, ""},
		"in the clear":       {st.plain, withToken("alices-token"), "tls_required"},
		"one that is none":   {st.pin, withToken("mallorys-token"), "unauthenticated"},
		"where none is told": {newRig(t, nil).pin, withToken("alices-token"), "unauthenticated"},
	} {
		w, got := st.askAt(c.on, "GET", "/v1/me", c.how), ""
		if w.Code != 200 {
			got = string(problemOf(t, w).Code)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q: %s", name, got, c.want, w.Body)
		}
	}
}
