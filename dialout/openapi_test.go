package dialout

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gorilla/mux"

	"sipxrest/cluster/clustertest"
	"sipxrest/docs/docstest"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

const openAPI = "../docs/openapi.yaml"

func TestEveryRouteIsDescribed(t *testing.T) {
	doc := docstest.Read(t, openAPI)
	described := map[string]bool{}
	for key := range doc.Operations {
		_, path, _ := strings.Cut(key, " ")
		described[path] = true
	}
	n := 0
	err := newStage(t, nil).Handler().(*mux.Router).Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := r.GetPathTemplate()
		if n++; !described[path] {
			t.Errorf("%s is not described", path)
		}
		return err
	})
	if err != nil || n < 3 {
		t.Error(n, err)
	}
	for key, want := range map[string]string{
		"POST /dialout": "query agent", "DELETE /dialout/{callid}": "path callid, query agent",
		"GET /dialout/{callid}": "path callid, query agent", "GET /dialout/{callid}/events": "header Last-Event-ID, path callid, query agent",
	} {
		if got := strings.Join(doc.Operations[key].Parameters, ", "); got != want {
			t.Errorf("%s: described are %q, want %q", key, got, want)
		}
	}
}

// keys notes the names of a JSON object, at any depth.
func keys(v any, into map[string]bool) {
	o, _ := v.(map[string]any)
	for name, below := range o {
		into[name] = true
		keys(below, into)
	}
}

// Each status that is described is one that is answered here, with a body of the
// type described, and none is answered that is not.
func TestEveryAnswerIsDescribed(t *testing.T) {
	const full = `{"type":"dialout","dialout":{"number":"+493055500200","options":{"target":"a@b.test","caller":"","anonymous":true}}}`
	doc := docstest.Read(t, openAPI)
	answers := doc.Watch()
	names := map[string]bool{}
	note := func(text string) {
		var v any
		if json.Unmarshal([]byte(text), &v) == nil {
			keys(v, names)
		}
	}
	note(full)
	paths := []string{Prefix, Prefix + "/{callid}", Prefix + "/{callid}/events"}
	for _, path := range paths {
		for _, method := range docstest.Methods {
			alone(t, func(st *stage) {
				id := st.call()
				st.one().ends(phone, nil) // or else its events do not end
				synctest.Wait()
				ask := func(query, body string, change ...func(*http.Request)) {
					t.Helper()
					w := st.ask(method, strings.Replace(path, "{callid}", id, 1)+query, body, change...)
					answers.Note(t, method, path, w.Code, w.Header())
					if w.Header().Get("Content-Type") == "application/json" {
						note(w.Body.String())
					}
					for s := bufio.NewScanner(w.Body); s.Scan(); {
						if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
							note(data)
						}
					}
				}
				ask("", full)
				ask("", strings.Repeat("x", maxBody+1))
				ask("", callJSON, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
				ask("", "{}")
				ask("", callJSON, asNobody)
				ask("?agent=nobody", callJSON, asTrusted)
				ask("", callJSON, func(r *http.Request) { r.Header.Set("Origin", "https://evil.test") })
				ask("", callJSON, func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "navigate"); r.Host = "evil.test" })
				for _, err := range []error{sipflow.ErrUnreachable, sipflow.ErrDraining, sipflow.ErrForbidden, errors.New("fault"),
					&sipflow.LimitError{Limit: sipflow.LimitCalls}, &sipflow.LimitError{Limit: sipflow.LimitCallsPerAgent}} {
					st.mu.Lock()
					st.fail = err
					st.mu.Unlock()
					ask("", callJSON)
				}
				st.Service.mu.Lock()
				st.subscribers = maxSubscribers
				st.Service.mu.Unlock()
				ask("", callJSON)
				there := id
				id = "another"
				ask("", callJSON)
				all := clustertest.New()
				all.Away = errors.New("no store")
				st.cfg.Elsewhere = all.Node("a")
				ask("", callJSON)
				st.cfg.Elsewhere = nil
				id = there
				for i := range 12 { // wrong PINs
					ask("", callJSON, func(r *http.Request) { r.SetBasicAuth("201", fmt.Sprint(i)) })
				}
				st.http = st.gate.Listener(restauth.TrustedOnly, false, st.Handler())
				ask("", callJSON)
				w := httptest.NewRecorder()
				if Fail(w, http.StatusRequestEntityTooLarge); doc.Operations[method+" "+path] != nil {
					answers.Note(t, method, path, w.Code, w.Header())
				}
			})
		}
		answers.Check(t, path)
	}
	for name := range names {
		if !doc.Names[name] {
			t.Errorf("the field %s is not described", name)
		}
	}
	if len(names) < 12 {
		t.Errorf("only the fields %v were seen", names)
	}
}
