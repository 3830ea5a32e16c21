package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestEachPrincipalIsToldWhoHeIs(t *testing.T) {
	st := newRig(t, nil)
	bad := func(r *http.Request) { r.SetBasicAuth("201", "wrong") }
	stranger := func(r *http.Request) { r.Header.Set("Authorization", "Bearer sxk_none") }
	loopback := func(r *http.Request) { r.RemoteAddr = "127.0.0.1:1" }
	for name, c := range map[string]struct {
		on     http.Handler
		target string
		who    []func(*http.Request)
		want   string // type, name and agent, or the code
	}{
		"a user":                         {st.pin, "/v1/me", []func(*http.Request){asUser("201")}, "user 201 201"},
		"a user who says so":             {st.pin, "/v1/me?agent=bob", []func(*http.Request){asUser("201")}, "user 201 201"},
		"a user for another":             {st.pin, "/v1/me?agent=202", []func(*http.Request){asUser("201")}, "wrong_agent"},
		"a user for nobody":              {st.pin, "/v1/me?agent=299", []func(*http.Request){asUser("201")}, "wrong_agent"},
		"a wrong PIN":                    {st.pin, "/v1/me", []func(*http.Request){bad}, "unauthenticated"},
		"nobody":                         {st.pin, "/v1/me", nil, "unauthenticated"},
		"a trusted peer":                 {st.trusting, "/v1/me?agent=202", []func(*http.Request){asTrusted}, "peer 192.0.2.9 202"},
		"a trusted peer for no user":     {st.trusting, "/v1/me?agent=299", []func(*http.Request){asTrusted}, "unknown_user"},
		"a trusted peer that says none":  {st.trusting, "/v1/users", []func(*http.Request){asTrusted}, "agent_required"},
		"a trusted peer where it is not": {st.pin, "/v1/me?agent=202", []func(*http.Request){asTrusted}, "unauthenticated"},
		"a stranger among the trusted":   {st.strict, "/v1/me?agent=202", []func(*http.Request){asUser("202")}, "not_trusted"},
		"a key":                          {st.pin, "/v1/me", []func(*http.Request){st.withKey("crm")}, "key crm "},
		"a key for its agent":            {st.pin, "/v1/me?agent=bob", []func(*http.Request){st.withKey("crm")}, "key crm 201"},
		"a key for another":              {st.pin, "/v1/me?agent=202", []func(*http.Request){st.withKey("crm")}, "wrong_agent"},
		"a key for nobody":               {st.pin, "/v1/me?agent=299", []func(*http.Request){st.withKey("crm")}, "wrong_agent"},
		"a key for all for nobody":       {st.pin, "/v1/me?agent=299", []func(*http.Request){st.withKey("all")}, "unknown_user"},
		"a key that is none":             {st.pin, "/v1/me", []func(*http.Request){stranger}, "unauthenticated"},
		"a key that has expired":         {st.pin, "/v1/me", []func(*http.Request){st.withKey("old")}, "unauthenticated"},
		"a key from elsewhere":           {st.pin, "/v1/me", []func(*http.Request){st.withKey("office")}, "unauthenticated"},
		"a key in the clear":             {st.plain, "/v1/me", []func(*http.Request){st.withKey("crm")}, "tls_required"},
		"a key on this machine":          {st.plain, "/v1/me", []func(*http.Request){st.withKey("crm"), loopback}, "key crm "},
		"a key through a proxy in the clear": {st.plain, "/v1/me",
			[]func(*http.Request){st.withKey("crm"), loopback, header("X-Forwarded-Proto", "http")}, "tls_required"},
		"a key on a listener for others": {st.strict, "/v1/me", []func(*http.Request){st.withKey("crm")}, "not_trusted"},
	} {
		w := st.askAt(c.on, "GET", c.target, c.who...)
		got := ""
		if w.Code == 200 {
			var d meDocument
			if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
				t.Fatal(err)
			}
			got = string(d.Type) + " " + d.Name + " "
			if d.Agent != nil {
				got += d.Agent.User
			}
		} else {
			p := problemOf(t, w)
			got = string(p.Code)
			challenged := len(w.Header()["Www-Authenticate"]) > 0
			if challenged != (w.Code == 401) {
				t.Errorf("%s: %d with the challenges %q", name, w.Code, w.Header()["Www-Authenticate"])
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q: %s", name, got, c.want, w.Body)
		}
	}
}

func TestGuessingKeysEndsButAKeyIsStillTaken(t *testing.T) {
	st := newRig(t, nil)
	for range maxWrongTokens {
		if w := st.ask("GET", "/v1/me", header("Authorization", "Bearer sxk_guess")); w.Code != 401 {
			t.Fatal(w.Code)
		}
	}
	w := st.ask("GET", "/v1/me", header("Authorization", "Bearer sxk_guess"))
	if p := problemOf(t, w); p.Code != TooManyWrongPINs || w.Header().Get("Retry-After") == "" || p.RetryAfterMS == nil {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := st.ask("GET", "/v1/me", st.withKey("crm")); w.Code != 200 {
		t.Errorf("the key of a neighbour: %d %s", w.Code, w.Body)
	}
}

func TestRequestsOfOneUserAreLimited(t *testing.T) {
	st := newRig(t, nil, func(c *Config) { c.RequestsPerUser = 1 })
	codes := map[int]int{}
	for range 5 {
		codes[st.ask("GET", "/v1/me", asUser("201")).Code]++
	}
	if codes[200] < 2 || codes[429] < 1 {
		t.Errorf("%v", codes)
	}
	if w := st.ask("GET", "/v1/me", asUser("202")); w.Code != 200 {
		t.Errorf("another user: %d", w.Code)
	}
	for range 5 {
		if w := st.askAt(st.trusting, "GET", "/v1/me?agent=203", asTrusted); w.Code != 200 {
			t.Errorf("a trusted peer: %d", w.Code)
		}
	}
}

func TestAUserSeesHimselfAndAKeyItsAgents(t *testing.T) {
	st := newRig(t, nil)
	users := func(how func(*http.Request), query string) (names []string, next string) {
		w := st.ask("GET", "/v1/users"+query, how)
		var l list[userDocument]
		if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil || w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for _, u := range l.Data {
			names = append(names, u.User)
		}
		if l.Next != nil {
			next = *l.Next
			if want := `rel="next"`; !strings.Contains(w.Header().Get("Link"), want) {
				t.Errorf("Link: %q", w.Header().Get("Link"))
			}
		}
		return names, next
	}
	for _, c := range []struct {
		how  func(*http.Request)
		want string
	}{{asUser("202"), "202"}, {st.withKey("crm"), "201"}, {st.withKey("all"), "201 202 203"}} {
		if got, _ := users(c.how, ""); strings.Join(got, " ") != c.want {
			t.Errorf("%q, want %s", got, c.want)
		}
	}
	first, next := users(st.withKey("all"), "?limit=2")
	rest, end := users(st.withKey("all"), "?limit=2&cursor="+next)
	if len(first) != 2 || strings.Join(rest, " ") != "203" || end != "" {
		t.Errorf("pages: %q, %q, %q", first, rest, end)
	}
	for _, cursor := range []string{"x", "!!", next[1:], ""} {
		if p := problemOf(t, st.ask("GET", "/v1/users?cursor="+cursor, st.withKey("all"))); p.Code != InvalidCursor {
			t.Errorf("cursor %q: %s", cursor, p.Code)
		}
	}
	if p := problemOf(t, st.ask("GET", "/v1/users?cursor="+next, asUser("201"))); p.Code != InvalidCursor {
		t.Errorf("another's cursor: %s", p.Code)
	}
	if p := problemOf(t, st.ask("GET", "/v1/users", st.withKey("reader"))); p.Code != MissingScope {
		t.Errorf("without the scope: %s", p.Code)
	}
	other, unknown := st.ask("GET", "/v1/users/202", asUser("201"), header("X-Request-Id", "x")), st.ask("GET", "/v1/users/299",
		asUser("201"), header("X-Request-Id", "x"))
	if other.Code != 404 || strings.ReplaceAll(other.Body.String(), "202", "299") != unknown.Body.String() {
		t.Errorf("another user: %s\nan unknown one: %s", other.Body, unknown.Body)
	}
	if w := st.ask("GET", "/v1/users/bob", asUser("201")); w.Code != 200 || strings.Contains(w.Body.String(), "123") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
