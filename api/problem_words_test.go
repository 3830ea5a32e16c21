package api

import (
	"net/http"
	"strings"
	"testing"
)

// Whoever begins meets these errors first: each says what to do.
func TestErrorsSayWhatToDo(t *testing.T) {
	st := newRig(t, nil)
	form := []func(*http.Request){asUser("201"), header("Content-Type", "application/x-www-form-urlencoded")}
	for name, c := range map[string]struct {
		method, target, body string
		how                  []func(*http.Request)
		want                 string
	}{
		"curl -d without a header": {"POST", "/v1/stream-tickets", `{}`, form,
			"Send the header Content-Type: application/json; this request has application/x-www-form-urlencoded."},
		"no header at all": {"POST", "/v1/stream-tickets", `{}`, []func(*http.Request){asUser("201"), header("Content-Type", "")},
			"Send the header Content-Type: application/json; this request has none."},
		"a member without quotes": {"POST", "/v1/stream-tickets", `{call_id:1}`, []func(*http.Request){asUser("201"),
			header("Content-Type", "application/json")}, "The body is not JSON: at byte 2 there is 'c' looking for beginning of object key string."},
		"a key that may not": {"GET", "/v1/users", "", []func(*http.Request){st.withKey("reader")},
			"The key reader lacks the scope users:read. Scopes are given when a key is made: sipxrest key add --scopes."},
		"a key as a user name": {"GET", "/v1/me", "", []func(*http.Request){func(r *http.Request) { r.SetBasicAuth("sxk_abc", "") }},
			"Give the agent's PIN (Digest or Basic) or an API key (Authorization: Bearer sxk_…). " +
				"An API key is no user name: send it as Authorization: Bearer."},
	} {
		if c.body != "" {
			c.how = append([]func(*http.Request){body(c.body)}, c.how...)
		}
		if got := problemOf(t, st.ask(c.method, c.target, c.how...)).Detail; got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
	user := &Principal{Type: PrincipalUser, Name: "201", Scopes: userScopes}
	if got := user.lacks(WebhooksManage).Detail; got != "201 lacks the scope webhooks:manage. Users cannot have it; ask with an API key "+
		"(sipxrest key add --scopes webhooks:manage)." {
		t.Error(got)
	}
	if got := refuse(AgentRequired).Detail; !strings.Contains(got, "add agent=USER to the query") {
		t.Error(got)
	}
}
