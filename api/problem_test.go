package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Every code has one row of the table, and its sentence stays as it is.
func TestEveryErrorAndItsSentence(t *testing.T) {
	const golden = "testdata/problems.golden"
	var text strings.Builder
	for _, f := range faults {
		p := refuse(f.Code, f.Sample...)
		if strings.Contains(p.Detail, "%!") {
			t.Errorf("%s: %s", f.Code, p.Detail)
		}
		w := httptest.NewRecorder()
		p.write(w, "/v1/calls", "req_1")
		if w.Code != f.Status || problemOf(t, w).Code != f.Code {
			t.Errorf("%s: %d %s", f.Code, w.Code, w.Body)
		}
		fmt.Fprintf(&text, "%d %s\n    %s: %s\n", p.Status, p.Code, p.Title, p.Detail)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != text.String() {
		t.Errorf("%v: %s is another: rewrite it by -update and read the difference\n%s", err, golden, text.String())
	}
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\t[A-Za-z]+ +Code = "([a-z_]+)"$`).FindAllStringSubmatch(string(source), -1)
	if len(declared) != len(faults) || len(faultOf) != len(faults) {
		t.Errorf("%d codes are declared, %d are in the table, %d of them different ones", len(declared), len(faults), len(faultOf))
	}
}

// A whole problem, as clients get it.
func TestAProblemInBytes(t *testing.T) {
	p := refuse(RateLimited, 50, "requests").after(1500 * time.Millisecond)
	w := httptest.NewRecorder()
	p.write(w, "/v1/calls", "req_1")
	const want = `{"type":"https://sipxrest.org/errors/rate_limited","title":"Rate limited","status":429,"code":"rate_limited",` +
		`"detail":"More than 50 requests a second. Retry-After says when. Nobody was called.","instance":"/v1/calls","request_id":"req_1",` +
		`"dialled":"no","retry_after_ms":1500,"errors":[]}` + "\n"
	if w.Body.String() != want || w.Header().Get("Retry-After") != "2" {
		t.Errorf("%v\n%s", w.Header(), w.Body)
	}
}

// Whatever is asked for, an error is a problem in JSON.
func TestNothingButProblemsIsAnsweredInPlaceOfADocument(t *testing.T) {
	st := newRig(t, nil)
	big := `{"types":["` + strings.Repeat("x", maxBody) + `"]}`
	for name, c := range map[string]struct {
		method, target string
		how            []func(*http.Request)
		want           Code
		header         string // which the answer has, too
	}{
		"no path":               {"GET", "/v1/nothing", nil, NotFound, ""},
		"the root":              {"GET", "/v1", nil, NotFound, ""},
		"a path behind one":     {"GET", "/v1/me/", nil, NotFound, ""},
		"a method":              {"DELETE", "/v1/me", nil, MethodNotAllowed, "Allow"},
		"a method that is none": {"BREW", "/v1/me", nil, MethodNotAllowed, "Allow"},
		"nobody":                {"GET", "/v1/me", nil, Unauthenticated, "Www-Authenticate"},
		"a type":                {"GET", "/v1/me", []func(*http.Request){asUser("201"), header("Accept", "text/html")}, NotAcceptable, ""},
		"a type of no quality": {"GET", "/v1/me", []func(*http.Request){asUser("201"), header("Accept", "*/*, application/json;q=0")},
			NotAcceptable, ""},
		"a parameter":          {"GET", "/v1/me?verbose=1", []func(*http.Request){asUser("201")}, UnknownParameter, ""},
		"a parameter twice":    {"GET", "/v1/users?limit=1&limit=2", []func(*http.Request){asUser("201")}, InvalidRequest, ""},
		"a parameter's value":  {"GET", "/v1/users?limit=0", []func(*http.Request){asUser("201")}, InvalidRequest, ""},
		"a parameter's escape": {"GET", "/v1/users?limit=%zz", []func(*http.Request){asUser("201")}, InvalidRequest, ""},
		"many parameters": {"GET", "/v1/events?" + strings.Repeat("type=call.*&", 65), []func(*http.Request){asUser("201")},
			InvalidRequest, ""},
		"a type of body": {"POST", "/v1/stream-tickets", []func(*http.Request){asUser("201"), body("{}"), header("Content-Type",
			"text/plain")}, UnsupportedMediaType, ""},
		"a character set": {"POST", "/v1/stream-tickets", []func(*http.Request){asUser("201"), body("{}"), header("Content-Type",
			"application/json; charset=latin1")}, UnsupportedMediaType, ""},
		"a body": {"POST", "/v1/stream-tickets", []func(*http.Request){asUser("201"), body(`{"types":["a",}`)}, InvalidJSON,
			""},
		"a body that is cut": {"POST", "/v1/stream-tickets", []func(*http.Request){asUser("201"), body(`{"types":`)}, InvalidJSON, ""},
		"two bodies":         {"POST", "/v1/stream-tickets", []func(*http.Request){asUser("201"), body(`{} {}`)}, InvalidJSON, ""},
		"a body that is no text": {"POST", "/v1/stream-tickets", []func(*http.Request){asUser("201"), body("{\"types\":[\"\xff\"]}")},
			InvalidJSON, ""},
		"a long body": {"POST", "/v1/stream-tickets", []func(*http.Request){asUser("201"), body(big)}, BodyTooLarge, ""},
		"members":     {"POST", "/v1/stream-tickets", []func(*http.Request){asUser("201"), body(`{"typ":1}`)}, InvalidRequest, ""},
		"a page of another site": {"POST", "/v1/stream-tickets", []func(*http.Request){asUser("201"), body("{}"), header("Origin",
			"https://evil.example")}, OriginNotAllowed, ""},
		"its WebSocket": {"GET", "/v1/events", []func(*http.Request){asUser("201"), header("Upgrade", "websocket"), header("Origin",
			"https://evil.example")}, OriginNotAllowed, ""},
		"a name that is not ours": {"GET", "/v1/me", []func(*http.Request){asUser("201"), header("Sec-Fetch-Mode", "cors"),
			func(r *http.Request) { r.Host = "evil.example" }}, WrongHost, ""},
		"a scheme that is unknown": {"GET", "/v1/me", []func(*http.Request){header("Authorization", "Negotiate x")}, Unauthenticated,
			"Www-Authenticate"},
		"an empty token": {"GET", "/v1/me", []func(*http.Request){header("Authorization", "Bearer ")}, Unauthenticated,
			"Www-Authenticate"},
	} {
		w := st.ask(c.method, c.target, c.how...)
		p := problemOf(t, w)
		if p.Code != c.want || p.Dialled != DialledNo || p.Title == "" || !strings.HasPrefix(c.target, p.Instance) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if c.header != "" && w.Header()[c.header] == nil {
			t.Errorf("%s: no %s in %v", name, c.header, w.Header())
		}
	}
}

func TestAnUpgradeThatIsNoneIsRefused(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		for want, how := range map[string][]func(*http.Request){
			"Connection":            {header("Sec-WebSocket-Version", "13"), header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")},
			"Sec-WebSocket-Version": {header("Connection", "keep-alive, Upgrade"), header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")},
			"Sec-WebSocket-Key":     {header("Connection", "Upgrade"), header("Sec-WebSocket-Version", "13"), header("Sec-WebSocket-Key", "short")},
		} {
			w := st.ask("GET", "/v1/events", append(how, asUser("201"), header("Upgrade", "websocket"))...)
			p := problemOf(t, w)
			if p.Code != InvalidRequest || len(p.Errors) != 1 || p.Errors[0].Parameter != want {
				t.Errorf("%s: %s", want, w.Body)
			}
		}
	})
}

// All that is wrong with a body is said at once, with where it is.
func TestEachMemberThatIsWrongHasItsPointer(t *testing.T) {
	type inner struct {
		Name string `json:"name"`
		N    int    `json:"n"`
	}
	var into struct {
		Text  string            `json:"text"`
		Truth bool              `json:"truth"`
		Count *int              `json:"count"`
		Inner *inner            `json:"inner"`
		List  []inner           `json:"list"`
		Tags  map[string]string `json:"tags"`
	}
	p := parse([]byte(`{"text":1,"truth":"yes","count":1.5,"Inner":{},"a/b~c":1,`+
		`"inner":{"name":[],"m":2},"list":[{"n":1},{"n":"x"}],"tags":{"a":1},"text":"again"}`), &into)
	got := map[string]string{}
	for _, e := range p.Errors {
		got[e.Pointer] = e.Code
	}
	want := map[string]string{"/text": memberTwice, "/truth": memberWrongType, "/count": memberWrongType, "/Inner": memberUnknown,
		"/a~1b~0c":    memberUnknown,
		"/inner/name": memberWrongType, "/inner/m": memberUnknown, "/list/1/n": memberWrongType, "/tags": memberWrongType}
	for pointer, code := range want {
		if got[pointer] != code {
			t.Errorf("%s: %q, want %s", pointer, got[pointer], code)
		}
	}
	if len(p.Errors) != len(want)+1 || !strings.HasPrefix(p.Detail, "10 members are wrong") { // text is wrong for two reasons
		data, _ := json.Marshal(p)
		t.Errorf("%s", data)
	}
	if why := parse([]byte(`{"text":"a","count":2,"inner":{"n":3},"list":[{"n":4}],"tags":{"a":"b"}}`), &into); why != nil ||
		into.Text != "a" || *into.Count != 2 || into.Inner.N != 3 || into.List[0].N != 4 || into.Tags["a"] != "b" {
		t.Errorf("%+v %+v", why, into)
	}
}

func TestARequestKeepsTheNameThatItsClientGivesIt(t *testing.T) {
	st := newRig(t, nil)
	for given, kept := range map[string]bool{"abc-1._Z": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a b": false,
		"ä": false, "": false} {
		w := st.ask("GET", "/v1/me", asUser("201"), header("X-Request-Id", given))
		if got := w.Header().Get("X-Request-Id"); got == "" || (got == given) != kept {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func TestOfPreferencesTheWaitIsRead(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"wait=10": 10 * time.Second, "respond-async, WAIT = 5": 5 * time.Second, `wait="7"; x=y`: 7 * time.Second, "wait=99": maxWait,
		"wait": 0, "wait=-1": 0, "wait=x": 0, "wait=99999999999999999999": 0, "waiting=3": 0,
	} {
		if got := preferredWait(http.Header{"Prefer": {text}}); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestWhatIsNoRequestAtAllIsWordedToo(t *testing.T) {
	for begin, want := range map[string]string{
		"GET /v1/me HTTP/1.1\r\n": "header_too_large", "GET /v1/%zz HTTP/1.1": "header_too_large", "GET /v1?x": "header_too_large",
		"GET /v10/me HTTP/1.1\r\n": "", "GET /callcontroller/1/2": "", "": "", "GET": "", "GET /v": "",
	} {
		fields, text := Words([]byte(begin), 431, "too much")
		if (text == "") != (want == "") || !strings.Contains(text, want) || (text != "") != strings.Contains(fields, "application/problem+json") {
			t.Errorf("%q: %q %q", begin, fields, text)
		}
	}
}
