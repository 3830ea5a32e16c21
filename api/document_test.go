package api

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"

	"sipxrest/docs/docstest"
)

const (
	openAPIFile  = "openapi.yaml"
	asyncAPIFile = "asyncapi.yaml"
)

// described are the documents, which all tests share.
var described = sync.OnceValues(func() (*docstest.Document, *docstest.Schemas) {
	t := &fatal{}
	return docstest.Read(t, openAPIFile), docstest.ReadSchemas(t, openAPIFile, asyncAPIFile)
})

// sipx is the document of all that is not at /v1.
var sipx = sync.OnceValue(func() *docstest.Document { return docstest.Read(&fatal{}, "../docs/openapi.yaml") })

// fatal is a test that reads the documents for all others.
type fatal struct{ testing.TB }

func (*fatal) Helper()                      {}
func (*fatal) Errorf(form string, a ...any) { panic(fmt.Sprintf(form, a...)) }
func (*fatal) Fatalf(form string, a ...any) { panic(fmt.Sprintf(form, a...)) }
func (*fatal) Fatal(a ...any)               { panic(fmt.Sprint(a...)) }

func TestDocumentsAreValid(t *testing.T) {
	docstest.Valid(t, "../docs/openapi.yaml")
	docstest.Valid(t, openAPIFile)
	docstest.Valid(t, asyncAPIFile)
	docstest.Read(t, openAPIFile)
	s := docstest.ReadSchemas(t, openAPIFile, asyncAPIFile)
	if n := s.Examples(t, openAPIFile); n < 80 {
		t.Errorf("%d examples", n)
	}
	s.Examples(t, asyncAPIFile)
}

func TestDocumentsAreServedToEverybody(t *testing.T) {
	st := newRig(t, nil)
	for _, file := range []string{openAPIFile, asyncAPIFile} {
		for name, h := range map[string]http.Handler{"PIN": st.pin, "plain": st.plain, "trusted only": st.strict} {
			w := st.askAt(h, "GET", "/v1/"+file)
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/yaml" ||
				!strings.Contains(w.Header().Get("Cache-Control"), "max-age=") ||
				!strings.Contains(w.Body.String(), "info:") {
				t.Fatalf("%s by %s: %d %v", file, name, w.Code, w.Header())
			}
			again := st.askAt(h, "GET", "/v1/"+file, header("If-None-Match", w.Header().Get("ETag")))
			if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
				t.Errorf("%s again: %d, %d bytes", file, again.Code, again.Body.Len())
			}
		}
	}
	if w := st.ask("GET", "/v1/openapi.yaml", header("Accept", "image/png")); problemOf(t, w).Code != NotAcceptable {
		t.Errorf("%d", w.Code)
	}
	if w := st.ask("GET", "/v1/openapi.yaml?version=2"); problemOf(t, w).Code != UnknownParameter {
		t.Errorf("%d", w.Code)
	}
}

// The router has the resources, methods and parameters that are described, and no others.
func TestRoutesAreDescribed(t *testing.T) {
	doc, _ := described()
	st := newHookRig(t)             // all that is only sometimes there
	routes := map[string][]string{} // "METHOD /path" → parameters of the query
	err := st.handler.(*mux.Router).Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		target := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "x")
		w := st.ask("TRACE", target, st.withKey("all"))
		if problemOf(t, w).Code != MethodNotAllowed {
			t.Errorf("TRACE %s: %d", path, w.Code)
		}
		for method := range strings.SplitSeq(w.Header().Get("Allow"), ", ") {
			if method != http.MethodHead { // it is GET without the body
				routes[method+" "+path] = problemOf(t, st.ask(method, target+"?nonsense=1", st.withKey("all"))).Supported
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	operations := map[string][]string{}
	for key, op := range doc.Operations {
		query := []string{}
		for _, p := range op.Parameters {
			if name, ok := strings.CutPrefix(p, "query "); ok {
				query = append(query, strings.Replace(name, "tag.*", "tag.KEY", 1))
			}
		}
		slices.Sort(query)
		operations[key] = query
	}
	if diff := cmp.Diff(operations, routes); diff != "" {
		t.Errorf("described and routed:\n%s", diff)
	}
}

// Every code has a row in the document, with the problem that the code makes of it.
func TestCodesAreDescribed(t *testing.T) {
	_, s := described()
	var codes []string
	for _, f := range Faults() {
		codes = append(codes, string(f.Code))
		p := refuse(f.Code, f.Sample...)
		p.Instance, p.RequestID = "/v1/calls", "req_3VXZ7QW2"
		data, _ := json.Marshal(p)
		var want any
		_ = json.Unmarshal(data, &want)
		name := responseOf(f.Status)
		got := jsonOf(s.At(openAPIFile, "components", "responses", name, "content", "application/problem+json", "examples",
			string(f.Code), "value"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("components/responses/%s has not\n            %s: {value: %s}\n%s", name, f.Code, data, diff)
		}
	}
	slices.Sort(codes)
	if diff := cmp.Diff(codes, s.Enum("openapi.yaml#/components/schemas/Code")); diff != "" {
		t.Errorf("codes of the table and of the schema:\n%s", diff)
	}
	responses, _ := s.At(openAPIFile, "components", "responses").(map[string]any)
	for name := range responses {
		examples, _ := s.At(openAPIFile, "components", "responses", name, "content", "application/problem+json", "examples").(map[string]any)
		for code := range examples {
			if f := faultOf[Code(code)]; f == nil || responseOf(f.Status) != name {
				t.Errorf("components/responses/%s has %s", name, code)
			}
		}
	}
}

// jsonOf is v with numbers as encoding/json reads them.
func jsonOf(v any) (plain any) {
	data, _ := json.Marshal(v)
	_ = json.Unmarshal(data, &plain)
	return plain
}

// responseOf names the response of a status of a problem.
func responseOf(status int) string {
	return map[int]string{400: "BadRequest", 401: "Unauthenticated", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed",
		406: "NotAcceptable", 409: "Conflict", 410: "Gone", 412: "PreconditionFailed", 413: "TooLarge", 415: "UnsupportedMediaType",
		421: "Misdirected", 422: "Unprocessable",
		429: "TooMany", 431: "HeaderTooLarge", 500: "Failed", 502: "BadGateway", 503: "Unavailable", 504: "Timeout"}[status]
}

// codesOf are the codes that an operation can answer, as it says.
func codesOf(s *docstest.Schemas, doc *docstest.Document, key string) []string {
	method, path, _ := strings.Cut(key, " ")
	list := stringsOf(s.At(openAPIFile, "x-codes", "every"))
	if security := doc.Operations[key].Security; len(security) > 1 || len(security) == 1 && len(security[0]) > 0 {
		list = append(list, stringsOf(s.At(openAPIFile, "x-codes", "identified"))...)
	}
	return append(list, stringsOf(s.At(openAPIFile, "paths", path, strings.ToLower(method), "x-codes"))...)
}

func stringsOf(v any) (all []string) {
	list, _ := v.([]any)
	for _, each := range list {
		text, _ := each.(string)
		all = append(all, text)
	}
	return all
}

// An operation has the statuses of its codes, and no code twice.
func TestStatusesFollowFromCodes(t *testing.T) {
	doc, s := described()
	used := map[string]bool{string(MethodNotAllowed): true} // of no operation
	for key, op := range doc.Operations {
		want := map[int]bool{}
		seen := map[string]bool{}
		for _, code := range codesOf(s, doc, key) {
			f := faultOf[Code(code)]
			if f == nil || seen[code] {
				t.Errorf("%s: code %s is none, or is there twice", key, code)
				continue
			}
			seen[code], used[code], want[f.Status] = true, true, true
		}
		got := map[int]bool{}
		for status := range op.Responses {
			if status >= 400 {
				got[status] = true
			}
		}
		if !maps.Equal(want, got) {
			t.Errorf("%s: statuses of the codes %v, of the responses %v", key, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
		}
	}
	for _, f := range Faults() {
		if !used[string(f.Code)] {
			t.Errorf("no operation answers %s", f.Code)
		}
	}
}

// A body's members are those that a request may have: one that is unknown is answered
// by the list of them.
func TestBodiesAreDescribed(t *testing.T) {
	st := newHookRig(t)
	_, s := described()
	for schema, into := range map[string]any{
		"CreateCall": &postBody{}, "PutCall": &createBody{}, "CheckCall": &checkBody{}, "PatchCall": &patchBody{}, "HangUp": &hangUpBody{},
		"ActionOnLeg": &legBody{}, "SendDTMF": &dtmfBody{}, "Redirect": &redirectBody{},
		"CreateTransfer": &transferBody{}, "Number": &numberBody{},
		"CreateStreamTicket": &ticketRequest{}, "TryInbound": &tryBody{},
	} {
		names, _ := members(reflect.ValueOf(into).Elem())
		want := s.Members("openapi.yaml#/components/schemas/" + schema)
		if !slices.Equal(slices.Sorted(slices.Values(names)), want) {
			t.Errorf("%s has %v, described are %v", schema, names, want)
		}
	}
	made := st.ask("POST", "/v1/webhooks", st.withKey("all"), body(`{"name":"one","url":"`+st.url+`"}`))
	hook := " " + made.Header().Get("Location")
	for request, schema := range map[string]string{"POST /v1/webhooks": "CreateWebhook", "PATCH" + hook: "PatchWebhook",
		"POST" + hook + "/rotate-secret": "RotateSecret", "POST" + hook + "/test": "TestWebhook", "POST" + hook + "/replay": "ReplayWebhook"} {
		method, path, _ := strings.Cut(request, " ")
		p := problemOf(t, st.ask(method, path, st.withKey("all"), body(`{"nonsense":1}`)))
		list := ""
		if len(p.Errors) > 0 {
			list = strings.TrimPrefix(p.Errors[0].Detail, "There are: ")
		}
		want := s.Members("openapi.yaml#/components/schemas/" + schema)
		if got := slices.Sorted(strings.SplitSeq(list, ", ")); !slices.Equal(got, want) {
			t.Errorf("%s takes %v, described are %v", request, got, want)
		}
	}
}

// What is answered has the members that are described.
func TestDocumentsOfAnswersAreDescribed(t *testing.T) {
	_, s := described()
	for schema, typ := range map[string]reflect.Type{
		"Problem": reflect.TypeFor[Problem](), "MemberFault": reflect.TypeFor[MemberFault](), "Principal": reflect.TypeFor[meDocument](),
		"User": reflect.TypeFor[userDocument](), "Transfer": reflect.TypeFor[transferDocument](), "CheckResult": reflect.TypeFor[checkResult](),
		"ActionResult": reflect.TypeFor[actionResult](), "Inbound": reflect.TypeFor[inboundPage](),
		"InboundTrial": reflect.TypeFor[InboundTrial](), "Health": reflect.TypeFor[healthDocument](),
	} {
		s.Struct(t, "openapi.yaml#/components/schemas/"+schema, typ)
	}
	s.Struct(t, "openapi.yaml#/components/schemas/CloudEvent", reflect.TypeFor[cloudEvent](),
		"api.cloudEvent.skipped", "api.cloudEvent.truncated", "event.Change.state", "event.Change.end")
	s.Struct(t, "asyncapi.yaml#/components/schemas/note", reflect.TypeFor[note]())
	for schema, words := range map[string][]string{"Scope": wordsOf(Scopes), "EventType": wordsOf(eventTypes)} {
		slices.Sort(words)
		if diff := cmp.Diff(words, s.Enum("openapi.yaml#/components/schemas/"+schema)); diff != "" {
			t.Errorf("%s:\n%s", schema, diff)
		}
	}
}

func wordsOf[T ~string](list []T) (all []string) {
	for _, each := range list {
		all = append(all, string(each))
	}
	return all
}

// noted are the statuses and codes that all tests have seen of each operation.
var noted struct {
	sync.Mutex
	operations map[string]map[string]bool // "METHOD /path" → "200", "call_ended"
}

func noteSeen(key string, what ...string) {
	noted.Lock()
	defer noted.Unlock()
	if noted.operations == nil {
		noted.operations = map[string]map[string]bool{}
	}
	if noted.operations[key] == nil {
		noted.operations[key] = map[string]bool{}
	}
	for _, w := range what {
		noted.operations[key][w] = true
	}
}

// suite is all tests of the package. What is described and was never answered to any of
// them may not be true.
type suite struct{ *testing.M }

// Run runs the tests.
func (s suite) Run() int {
	code := s.M.Run()
	for _, name := range []string{"test.run", "test.skip", "test.fuzz", "test.list"} {
		if code != 0 || flag.Lookup(name).Value.String() != "" {
			return code // it is not all of them
		}
	}
	for _, text := range unseen() {
		fmt.Fprintln(os.Stderr, text)
		code = 1
	}
	return code
}

// seenElsewhere is what these tests do not ask for: what listeners answer, what is said
// of a fault or of a store that fails, and what needs sipflow's transfers and redirects,
// which have tests there.
var seenElsewhere = []string{string(HeaderTooLarge), string(InternalError), string(StoreUnavailable), string(TooManyWebhooks),
	"POST /v1/calls/{id}/transfers 202", "POST /v1/calls/{id}/actions/{action} 202"}

// unseen are successes of operations, and codes, that are described and no test has seen.
func unseen() (all []string) {
	doc, _ := described()
	noted.Lock()
	defer noted.Unlock()
	codes := map[string]bool{}
	for _, code := range seenElsewhere {
		codes[code] = true
	}
	for _, seen := range noted.operations {
		maps.Copy(codes, seen)
	}
	for key, op := range doc.Operations {
		for status := range op.Responses {
			what := strconv.Itoa(status)
			if status < 400 && status != http.StatusSwitchingProtocols && !noted.operations[key][what] &&
				!slices.Contains(seenElsewhere, key+" "+what) {
				all = append(all, key+": "+what+" is described, but no test sees it")
			}
		}
	}
	for _, f := range Faults() {
		if !codes[string(f.Code)] {
			all = append(all, string(f.Code)+" is described, but no test sees it")
		}
	}
	slices.Sort(all)
	return all
}

// note holds an answer against the documents: whatever test asks, all of it must be
// described.
func (st *rig) note(r *http.Request, w *httptest.ResponseRecorder) {
	st.t.Helper()
	if !Owns(r) {
		if OwnsCDR(r) { // sipXrest's records
			sipx().Watch().Note(st.t, r.Method, CDRRoute(r), w.Code, w.Header())
		}
		return
	}
	media, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
	doc, s := described()
	key := ""
	var match mux.RouteMatch
	if st.handler.(*mux.Router).Match(r, &match) && match.Route != nil {
		path, _ := match.Route.GetPathTemplate()
		key = strings.Replace(r.Method, http.MethodHead, http.MethodGet, 1) + " " + path
	}
	op := doc.Operations[key]
	if media == "application/problem+json" {
		if err := s.Validate("openapi.yaml#/components/schemas/Problem", w.Body.Bytes()); err != nil && r.Method != http.MethodHead {
			st.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		var p Problem
		_ = json.Unmarshal(w.Body.Bytes(), &p) // it was looked at
		noteSeen(key, string(p.Code))
		if op != nil && p.Code != MethodNotAllowed && !slices.Contains(codesOf(s, doc, key), string(p.Code)) {
			st.t.Errorf("%s is answered %s, which is not described", key, p.Code)
		}
		return
	}
	if op == nil {
		if w.Code != http.StatusNoContent || r.Method != http.MethodOptions { // of CORS
			st.t.Errorf("%s %s is answered %d %s", r.Method, r.URL, w.Code, media)
		}
		return
	}
	noteSeen(key, strconv.Itoa(w.Code))
	types, ok := op.Responses[w.Code]
	if !ok || media == "" != (len(types) == 0) || media != "" && !slices.Contains(types, media) {
		st.t.Errorf("%s is answered %d with %q, described are %v", key, w.Code, media, op.Responses)
	} else if media == "application/json" && r.Method != http.MethodHead {
		if err := s.Body(openAPIFile, key, w.Code, media, w.Body.Bytes()); err != nil {
			st.t.Errorf("%s %d %s: %v", key, w.Code, w.Body, err)
		}
	}
}
