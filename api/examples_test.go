package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"sipxrest/sipflow/siptest"
)

// An example is a request of docs/api.md, and what is said of its answer.
type example struct {
	page                 string
	line                 int
	wait                 time.Duration // before it
	method, target, body string
	header               [][2]string
	status               int
	want                 string // JSON
}

var (
	exampleWait   = regexp.MustCompile(`^<!-- after (\S+) -->$`)
	exampleAnswer = regexp.MustCompile(`^Answer (\d+):$`)
)

// examples reads the examples of a page.
func examples(t *testing.T, text string) (all []example) {
	t.Helper()
	var next example
	lines := strings.Split(text, "\n")
	block := func(i int) (string, int) {
		end := i + 1
		for lines[end] != "```" {
			end++
		}
		return strings.Join(lines[i+1:end], "\n"), end
	}
	for i := 0; i < len(lines); i++ {
		switch m := exampleWait.FindStringSubmatch(lines[i]); {
		case m != nil:
			wait, err := time.ParseDuration(m[1])
			if err != nil {
				t.Fatal(err)
			}
			next.wait = wait
		case lines[i] == "```http":
			var request string
			next.line = i + 1
			request, i = block(i)
			head, body, _ := strings.Cut(request, "\n\n")
			next.body = body
			for n, line := range strings.Split(head, "\n") {
				if n == 0 {
					next.method, next.target, _ = strings.Cut(line, " ")
					continue
				}
				name, value, _ := strings.Cut(line, ": ")
				next.header = append(next.header, [2]string{name, value})
			}
		case exampleAnswer.MatchString(lines[i]):
			fmt.Sscan(exampleAnswer.FindStringSubmatch(lines[i])[1], &next.status)
		case lines[i] == "```json" && next.status != 0:
			next.want, i = block(i)
			all = append(all, next)
			next = example{}
		}
	}
	return all
}

// says reports where an answer is not what a document says of it. Objects may have more
// members, and lists more items; "…" stands for any text.
func says(want, got any, at string) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %v", at, got)
		}
		for name, value := range want {
			is, there := object[name]
			if !there {
				return at + "/" + name + " is missing"
			}
			if why := says(value, is, at+"/"+name); why != "" {
				return why
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		more := len(want) > 0 && want[len(want)-1] == "…"
		if more {
			want = want[:len(want)-1]
		}
		if !ok || len(list) < len(want) || len(want) == 0 && len(list) > 0 && !more {
			return fmt.Sprintf("%s is %v", at, got)
		}
		for i := range want {
			if why := says(want[i], list[i], fmt.Sprintf("%s/%d", at, i)); why != "" {
				return why
			}
		}
		return ""
	case string:
		text, ok := got.(string)
		if before, _, any := strings.Cut(want, "…"); ok && any && strings.HasPrefix(text, before) {
			return ""
		}
	}
	if want != got {
		return fmt.Sprintf("%s is %v, not %v", at, got, want)
	}
	return ""
}

// Every example of the API reference works, one after the other, and every route has one.
func TestTheExamplesOfTheReferenceWork(t *testing.T) {
	var list []example
	for _, page := range []string{"docs/api.md", "docs/api-actions.md"} {
		text, err := os.ReadFile("../" + page)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range examples(t, string(text)) {
			e.page = page
			list = append(list, e)
		}
	}
	withCalls(t, setup{phones: map[string]siptest.Script{"201": {Ring: time.Second}, "202": {Ring: time.Second}}}, func(t *testing.T,
		cr *callRig) {
		for _, e := range list {
			after(e.wait)
			how := []func(*http.Request){as201}
			if e.body != "" {
				how = append(how, body(e.body))
			}
			for _, h := range e.header {
				how = append(how, header(h[0], h[1]))
			}
			w := cr.ask(e.method, e.target, how...)
			if w.Code != e.status {
				t.Errorf("%s:%d: %s %s: %d %s", e.page, e.line, e.method, e.target, w.Code, w.Body)
				continue
			}
			var want, got any
			if err := json.Unmarshal([]byte(e.want), &want); err != nil {
				t.Fatalf("%s:%d: %v", e.page, e.line, err)
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%s:%d: %s: %v", e.page, e.line, w.Body, err)
			}
			if why := says(want, got, ""); why != "" {
				t.Errorf("%s:%d: %s %s: %s", e.page, e.line, e.method, e.target, why)
			}
		}
		covered := map[string]bool{}
		for _, e := range list {
			covered[routeOf(t, cr.API, e.target)] = true
		}
		for _, route := range routesOf(t, cr.API) {
			if !covered[route] && !slices.ContainsFunc(elsewhere, func(part string) bool { return strings.Contains(route, part) }) {
				t.Errorf("neither page has an example of %s", route)
			}
		}
	})
	if len(list) < 20 {
		t.Errorf("only %d examples were found", len(list))
	}
}

// elsewhere are parts of routes that have pages of their own, or are such pages.
var elsewhere = []string{"webhooks", "/cdr", "sipxconfig", ".yaml", "/messages", "/inbound", "/health"}

// routesOf are the paths that the API has.
func routesOf(t *testing.T, a *API) (all []string) {
	t.Helper()
	err := a.handler.(*mux.Router).Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err == nil && !slices.Contains(all, path) {
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// routeOf is the path that a target belongs to.
func routeOf(t *testing.T, a *API, target string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	var m mux.RouteMatch
	if !a.handler.(*mux.Router).Match(r, &m) || m.Route == nil {
		return ""
	}
	path, _ := m.Route.GetPathTemplate()
	return path
}

// The page of docs/click-to-call.md asks only for what there is, and waits for events
// that come.
func TestTheClickToCallPageFitsTheAPI(t *testing.T) {
	data, err := os.ReadFile("../examples/click-to-call.html")
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(data), "<script>")
	script, _, ok := strings.Cut(script, "</script>")
	if lines := strings.Count(script, "\n"); !ok || lines < 30 || lines > 55 {
		t.Errorf("its script has %d lines", lines)
	}
	withCalls(t, setup{phones: map[string]siptest.Script{"202": {HangUpAfter: 5 * time.Second}}}, func(t *testing.T, cr *callRig) {
		// What the page sends, in its order.
		form := map[string]string{}
		for _, m := range regexp.MustCompile(`<input name="(\w+)"`).FindAllStringSubmatch(string(data), -1) {
			form[m[1]] = map[string]string{"calling": "201", "called": "202"}[m[1]]
		}
		if len(form) != 2 {
			t.Fatalf("the form has %v", form)
		}
		id := cr.call(inJSON(t, form), header("Idempotency-Key", "36b8f84d-df4e-4d49-b662-bcde71a8764f"))
		var ticket struct{ Ticket string }
		w := cr.do(201, "POST", "/v1/stream-tickets", inJSON(t, map[string]string{"call_id": id}))
		if err := json.Unmarshal(w.Body.Bytes(), &ticket); err != nil || ticket.Ticket == "" {
			t.Fatalf("%s: %v", w.Body, err)
		}
		stream := cr.ask("GET", "/v1/calls/"+id+"/events?ticket="+ticket.Ticket, header("Accept", "text/event-stream"))
		if stream.Code != 200 {
			t.Fatalf("%d %s", stream.Code, stream.Body)
		}
		types := regexp.MustCompile(`for \(const type of \[([^\]]+)\]`).FindStringSubmatch(script)
		if types == nil {
			t.Fatal("the page waits for no events")
		}
		for name := range strings.SplitSeq(types[1], ", ") {
			name = strings.Trim(name, `"`)
			if name != "call.released" && !strings.Contains(stream.Body.String(), "\nevent: "+name+"\n") {
				t.Errorf("no %s came: %s", name, stream.Body)
			}
		}
		if !strings.Contains(stream.Body.String(), `"final":true`) || !strings.Contains(stream.Body.String(), `"message":"`) {
			t.Errorf("the end has no message: %s", stream.Body)
		}
	})
	for _, used := range []string{`api("POST", "/v1/stream-tickets", {call_id: call})`,
		`api("POST", "/v1/calls", Object.fromEntries(new FormData(form))`,
		"api(\"DELETE\", `/v1/calls/${id}`)", "${base}/v1/calls/${call}/events?", "event.data.call.end.message", "event.final"} {
		if !strings.Contains(script, used) {
			t.Errorf("the page has no %s any more: this test is about another page", used)
		}
	}
}
