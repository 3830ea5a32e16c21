package api

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/mux"
)

// Who may do what, of a call of 201 to 202: principal by principal, route by route.
func TestWhoMayDoWhat(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		call := st.create("201", "202")
		st.settle()
		principals := []struct {
			name string
			how  func(*http.Request)
			at   http.Handler
			ask  string // added to the query
		}{
			{"the agent", asUser("201"), st.pin, ""},
			{"the other party", asUser("202"), st.pin, ""},
			{"another user", asUser("203"), st.pin, ""},
			{"a trusted peer for the agent", asTrusted, st.trusting, "agent=201"},
			{"a trusted peer for another", asTrusted, st.trusting, "agent=203"},
			{"a trusted peer for nobody", asTrusted, st.trusting, ""},
			{"a key for the agent", st.withKey("crm"), st.pin, ""},
			{"a key for all that reads", st.withKey("reader"), st.pin, ""},
			{"a key for webhooks", st.withKey("hooks"), st.pin, ""},
			{"a key for everything", st.withKey("all"), st.pin, ""},
			{"a key that has expired", st.withKey("old"), st.pin, ""},
			{"nobody", asNobody, st.pin, ""},
		}
		const ok, no = "200", "unauthenticated"
		table := []struct {
			method, target string
			want           []string // in the order of principals
		}{
			{"GET", "/v1/me", []string{ok, ok, ok, ok, ok, ok, ok, ok, ok, ok, no, no}},
			{"GET", "/v1/users", []string{ok, ok, ok, ok, ok, "agent_required", ok, "missing_scope", "missing_scope", ok, no, no}},
			{"GET", "/v1/users/201", []string{ok, "user_not_found", "user_not_found", ok, "user_not_found", "agent_required", ok, "missing_scope",
				"missing_scope", ok, no, no}},
			{"GET", "/v1/users/203", []string{"user_not_found", "user_not_found", ok, "user_not_found", ok, "agent_required", "user_not_found",
				"missing_scope", "missing_scope",
				ok, no, no}},
			{"GET", "/v1/events", []string{ok, ok, ok, ok, ok, "agent_required", ok, ok, "missing_scope", ok, no, no}},
			{"GET", "/v1/calls/" + call + "/events", []string{ok, ok, "call_not_found", ok, "call_not_found", "agent_required", ok, ok,
				"missing_scope", ok, no, no}},
			{"POST", "/v1/stream-tickets", []string{"201", "201", "201", "201", "201", "agent_required", "201", "201", "missing_scope", "201", no,
				no}},
		}
		for _, row := range table {
			for i, p := range principals {
				target := row.target
				if p.ask != "" {
					target += "?" + p.ask
				}
				how := []func(*http.Request){p.how}
				if row.method == "POST" {
					how = append(how, body("{}"))
				}
				w := st.askAt(p.at, row.method, target, how...)
				got := strconv.Itoa(w.Code)
				if w.Code >= 300 {
					got = string(problemOf(t, w).Code)
				}
				if got != row.want[i] {
					t.Errorf("%s %s by %s: %s, want %s", row.method, row.target, p.name, got, row.want[i])
				}
			}
		}
	})
}

// What belongs to somebody else's call looks as if there were no such call, in every
// byte, whatever resource below it is asked for.
func TestAnothersCallIsAsUnknownAsOneThatThereIsNot(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		call := st.create("201", "202")
		st.settle()
		const unknown = "call-999999999999"
		seen := 0
		variable := regexp.MustCompile(`\{[a-z]+\}`)
		err := st.handler.(*mux.Router).Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
			path, err := r.GetPathTemplate()
			if err != nil || !strings.HasPrefix(path, Prefix+"/calls/{id}") {
				return nil
			}
			for _, method := range []string{"GET", "HEAD", "POST", "PATCH", "DELETE"} {
				for _, doc := range []string{"", "{}", `{"to":"203"}`} {
					get := func(id string) string {
						target := variable.ReplaceAllString(strings.Replace(path, "{id}", id, 1), "t1")
						if strings.Contains(path, "{action}") {
							target = strings.Replace(target, "/t1", "/hangup", 1)
						}
						how := []func(*http.Request){asUser("203"), header("X-Request-Id", "x")}
						if doc != "" && method != "GET" && method != "HEAD" {
							how = append(how, body(doc))
						}
						w := st.ask(method, target, how...)
						// Messages are for another scope, whosever call it is.
						if method == "GET" && w.Code != 404 && w.Code != 405 && !(w.Code == 403 && strings.HasSuffix(path, "/messages")) {
							t.Errorf("%s %s: %d", method, target, w.Code)
						}
						var text strings.Builder
						_ = w.Header().Write(&text)
						return strings.ReplaceAll(text.String()+w.Body.String(), id, "ID")
					}
					if others, none := get(call), get(unknown); others != none {
						t.Errorf("%s %s %s:\n%s\n%s", method, path, doc, others, none)
					}
					seen++
				}
			}
			return nil
		})
		if err != nil || seen == 0 {
			t.Error(seen, err)
		}
	})
}

// A request for another flow than one's own is answered without telling of others.
func TestCORSLetsAllowedPagesUseAllMethods(t *testing.T) {
	st := newRig(t, nil)
	w := st.ask("OPTIONS", "/v1/calls", header("Origin", "https://portal.example"), header("Access-Control-Request-Method", "PATCH"))
	if w.Code != 204 || !strings.Contains(w.Header().Get("Access-Control-Allow-Methods"), "PATCH") ||
		!strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "Idempotency-Key") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	w = st.ask("OPTIONS", "/callcontroller/1/2", header("Origin", "https://portal.example"), header("Access-Control-Request-Method", "PUT"))
	if got := w.Header().Get("Access-Control-Allow-Methods"); got != "GET, HEAD, POST, PUT, DELETE" {
		t.Errorf("elsewhere: %q", got)
	}
}
