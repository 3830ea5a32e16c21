package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/event"
	"sipxrest/restauth"
)

// archive is an API whose calls end when the test says so.
type archive struct {
	*rig
	bus *event.Bus

	mu  sync.Mutex
	now time.Time // guarded by mu
}

var firstCall = time.Date(2026, 11, 30, 12, 0, 0, 1_000_000, time.UTC)

func newArchive(t *testing.T) *archive {
	t.Helper()
	a := &archive{now: firstCall}
	var err error
	a.bus, err = event.Open(event.Config{Store: "memory", Strict: true, Now: a.clock}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.bus.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		a.bus.Close()
	})
	a.rig = newRig(t, a.bus, func(c *Config) { c.Now = a.clock })
	return a
}

func (a *archive) clock() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

func (a *archive) pass(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = a.now.Add(d)
}

// call makes a call of 201's that talks, or is busy.
func (a *archive) call(id, calling, called string, change func(*event.Created), talk time.Duration) {
	a.t.Helper()
	c := event.Created{Kind: event.ClickToCall, Source: event.FromAPI, Agent: "201@" + testDomain, Flow: event.Flow{Requested: "auto",
		Used: "invite"},
		Legs: []event.Leg{{Role: event.RoleCalling, Address: calling}, {Role: event.RoleCalled, Address: called}}}
	if change != nil {
		change(&c)
	}
	if err := a.bus.Begin(event.Request{ID: id, Created: c}); err != nil {
		a.t.Fatal(err)
	}
	a.pass(120 * time.Millisecond)
	a.bus.Tell(id, event.LegPickedUp, "l1", event.Change{SIPCallID: "a84b@192.0.2.1"})
	a.bus.Tell(id, event.LegDialled, "l2", event.Change{})
	a.pass(time.Second)
	end := &event.End{Reason: "busy", Leg: "l2"}
	if talk > 0 {
		a.bus.Tell(id, event.LegPickedUp, "l2", event.Change{Contact: "sip:202@192.0.2.77"})
		a.bus.Tell(id, event.CallConnected, "", event.Change{})
		a.pass(talk)
		end = &event.End{Reason: "hung_up", Leg: "l2"}
	}
	a.bus.Tell(id, event.CallEnded, "", event.Change{End: end})
	for {
		if c, err := a.bus.WaitCall(a.t.Context(), id, 1); err == nil && c.State == event.Ended {
			break
		}
	}
	a.pass(time.Minute)
}

func user(name string) string { return name + "@" + testDomain }

// fill has calls of 201 with 202, one of them busy, one with a tag, one of 203's own.
func (a *archive) fill() {
	a.call("call_talk", user("201"), user("202"), func(c *event.Created) { c.Metadata = json.RawMessage(`{"note":"a \"b\""}`) },
		38600*time.Millisecond)
	a.call("call_busy", user("201"), user("202"), nil, 0)
	a.call("call_tags", user("201"), "+4930123@gw.example", func(c *event.Created) {
		c.Tags = map[string]string{"deal": "line\r\nbreak", "=cmd": "x"}
		c.RequestID = "r-1"
	}, time.Hour+time.Minute+2*time.Second)
	a.call("call_sums", user("203"), "=1+1@evil.example", func(c *event.Created) { c.Agent = user("203") }, 500*time.Millisecond)
}

// asIs compares an answer with a golden file.
func asIs(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; it is now\n%s", file, got)
	}
}

func TestRecordsAsCSV(t *testing.T) {
	a := newArchive(t)
	a.fill()
	w := a.ask("GET", "/v1/cdrs.csv", a.withKey("all"))
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/csv; charset=utf-8; header=present" {
		t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	asIs(t, "cdrs.csv", w.Body.String())
	rows, err := csv.NewReader(strings.NewReader(w.Body.String())).ReadAll()
	if err != nil || len(rows) != 5 || !slices.Equal(rows[0], event.ColumnNames()) {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if got := strings.Count(w.Body.String(), "\n"); got != strings.Count(w.Body.String(), "\r\n") {
		t.Error("a line does not end in CRLF")
	}
	w = a.ask("GET", "/v1/cdrs.csv?fields=callee_aor,talk_ms,tags&safe=1&order=asc", a.withKey("all"))
	asIs(t, "cdrs-safe.csv", w.Body.String())
	if w := a.ask("GET", "/v1/cdrs.csv?fields=call_id&limit=2",
		a.withKey("all")); w.Body.String() != "call_id\r\ncall_sums\r\ncall_tags\r\n" {
		t.Errorf("%q", w.Body)
	}
	if w := a.ask("GET", "/v1/cdrs.csv?kind=inbound&fields=call_id", a.withKey("all")); w.Body.String() != "call_id\r\n" {
		t.Errorf("nothing: %q", w.Body)
	}
	a.pass(40 * 24 * time.Hour)
	for target, want := range map[string]int{"": 400, "?start_after=2026-11-01T00:00:00Z": 200, "?limit=1": 200,
		"?start_before=2026-12-02T00:00:00Z": 200,
		"?fields=call_id,nothing":            400, "?fields=call_id,call_id": 400, "?safe=perhaps": 400, "?limit=0": 400,
		"?start_after=yesterday": 400} {
		if w := a.ask("GET", "/v1/cdrs.csv"+target, a.withKey("all")); w.Code != want {
			t.Errorf("%s: %d %s, want %d", target, w.Code, w.Body, want)
		}
	}
}

func TestFieldsOfCSVAreQuotedAsRFC4180Says(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a b": "a b", `a"b`: `"a""b"`, "a,b": `"a,b"`, "a\nb": "\"a\nb\"", "a\rb": "\"a\rb\"",
		"=cmd|' /C calc'!A0": "=cmd|' /C calc'!A0",
	} {
		if got := string(appendCSV(nil, text, false)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"": "", "=cmd": "'=cmd", "+49": "'+49", "-1": "'-1", "@x": "'@x", "\tx": "'\tx",
		"\rx": "\"'\rx\"", "a=b": "a=b", "=a,b": `"'=a,b"`} {
		if got := string(appendCSV(nil, text, true)); got != want {
			t.Errorf("safe %q: %q, want %q", text, got, want)
		}
	}
}

// ids are those of a page.
func ids(t *testing.T, w *httptest.ResponseRecorder) (list []string, next string) {
	t.Helper()
	var page struct {
		Data []struct {
			CallID string `json:"call_id"`
		}
		Next *string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	for _, r := range page.Data {
		list = append(list, strings.TrimPrefix(r.CallID, "call_"))
	}
	if page.Next != nil {
		next = *page.Next
	}
	return list, next
}

func TestRecordsArePagesAndFiltered(t *testing.T) {
	a := newArchive(t)
	a.fill()
	for target, want := range map[string]string{
		"": "sums tags busy talk", "order=asc": "talk busy tags sums", "outcome=busy": "busy", "termination=C&min_talk_ms=1000": "tags talk",
		"user=202": "busy talk", "caller=203": "sums", "callee=%2B4930123": "tags", "callee=%2B4930123@gw.example": "tags",
		"callee=%25": "", "user=bob": "tags busy talk",
		"tag.deal=line%0D%0Abreak": "tags", "agent=203": "sums", "source=api&kind=click_to_call": "sums tags busy talk", "flow=refer": "",
		"start_after=2026-11-30T12:00:00.001Z&start_before=2026-11-30T12:02:00Z": "busy", "created_before=2026-11-30T12:01:00Z": "talk",
		"updated_after=2026-11-30T13:00:00Z": "sums tags", "outcome=busy&outcome=completed&reason=busy": "busy",
	} {
		if got, _ := ids(t, a.ask("GET", "/v1/cdrs?"+target, a.withKey("all"))); strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	first, next := ids(t, a.ask("GET", "/v1/cdrs?limit=3", a.withKey("all")))
	second, end := ids(t, a.ask("GET", "/v1/cdrs?limit=3&cursor="+next, a.withKey("all")))
	if got := append(first, second...); strings.Join(got, " ") != "sums tags busy talk" || end != "" {
		t.Errorf("pages: %q, then %q", got, end)
	}
	for target, want := range map[string]Code{
		"outcome=fine": InvalidRequest, "nothing=1": UnknownParameter, "sip_code=x": InvalidRequest, "sip_code=99": InvalidRequest,
		"min_talk_ms=-1": InvalidRequest,
		"start_after=2026-11-30T00:00:00Z&created_after=2026-11-30T00:00:00Z": InvalidRequest, "cursor=x": InvalidCursor,
		"order=up": InvalidRequest, "limit=101": InvalidRequest,
	} {
		if p := problemOf(t, a.ask("GET", "/v1/cdrs?"+target, a.withKey("all"))); p.Code != want {
			t.Errorf("%s: %s, want %s", target, p.Code, want)
		}
	}
}

func TestRecordsAreOfOnesOwnCalls(t *testing.T) {
	a := newArchive(t)
	a.fill()
	peer := func(r *http.Request) { asTrusted(r) }
	for _, c := range []struct {
		who    string
		at     http.Handler
		as     func(*http.Request)
		target string
		want   string // ids, or the code of a problem
	}{
		{"the agent", a.pin, asUser("201"), "", "tags busy talk"},
		{"the called one", a.pin, asUser("202"), "", "busy talk"},
		{"another", a.pin, asUser("203"), "", "sums"},
		{"a peer", a.trusting, peer, "?agent=202", "busy talk"},
		{"a peer for nobody", a.trusting, peer, "", string(AgentRequired)},
		{"a key of 201", a.pin, a.withKey("crm"), "", "tags busy talk"},
		{"a key of all", a.pin, a.withKey("all"), "", "sums tags busy talk"},
		{"a key without the scope", a.pin, a.withKey("reader"), "", string(MissingScope)},
		{"nobody", a.pin, asNobody, "", string(Unauthenticated)},
	} {
		w := a.askAt(c.at, "GET", "/v1/cdrs"+c.target, c.as)
		if w.Code != 200 {
			if p := problemOf(t, w); string(p.Code) != c.want {
				t.Errorf("%s: %s, want %s", c.who, p.Code, c.want)
			}
			continue
		}
		if got, _ := ids(t, w); strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.who, got, c.want)
		}
		for _, id := range []string{"talk", "busy", "tags", "sums", "none"} {
			w := a.askAt(c.at, "GET", "/v1/cdrs/call_"+id+c.target, c.as)
			switch sees := slices.Contains(strings.Fields(c.want), id); {
			case sees && (w.Code != 200 || !strings.Contains(w.Body.String(), `"call_id":"call_`+id+`"`)):
				t.Errorf("%s, %s: %d %s", c.who, id, w.Code, w.Body)
			case !sees && (w.Code != 404 || problemOf(t, w).Code != CDRNotFound):
				t.Errorf("%s, %s: %d %s", c.who, id, w.Code, w.Body)
			}
		}
	}
	w := a.ask("GET", "/v1/cdrs/call_tags", a.withKey("all"))
	var document any
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	text, _ := json.MarshalIndent(document, "", " ")
	asIs(t, "cdr.json", string(text)+"\n")
}

// sipx asks sipXrest's resource.
func (a *archive) sipx(p restauth.Policy, method, target string, how ...func(*http.Request)) *httptest.ResponseRecorder {
	return a.askAt(a.gate.Listener(p, true, a.CDRHandler()), method, target, how...)
}

func TestRecordsAsSipXrestGaveThem(t *testing.T) {
	was := time.Local
	time.Local = time.UTC                  // fromdate is the server's
	t.Cleanup(func() { time.Local = was }) // when the bus, which reads the clock, has ended
	a := newArchive(t)
	if w := a.sipx(restauth.PIN, "GET", "/cdr/201",
		asUser("201")); w.Body.String() != `<?xml version="1.0" encoding="UTF-8" standalone="no"?><Results/>` {
		t.Errorf("none: %s", w.Body)
	}
	a.fill()
	a.call("call_none", user("201"), "a&b<c>@x.example", nil, 0)
	var got strings.Builder
	for _, target := range []string{"/cdr/201", "/cdr/bob", "/cdr/201?limit=1&offset=1", "/cdr/201?limit=2&offset=3",
		"/cdr/201?offset=9", "/cdr/201?limit=0",
		"/cdr/201?fromdate=20261130", "/cdr/201?fromdate=20261201", "/sipxconfig/rest/my/redirect/cdr/201/?limit=1", "/cdr/202?unknown=1"} {
		as := asUser("201")
		if strings.HasPrefix(target, "/cdr/202") {
			as = asUser("202")
		}
		if strings.Contains(target, "bob") {
			as = func(r *http.Request) { r.SetBasicAuth("bob", "123") }
		}
		w := a.sipx(restauth.PIN, "GET", target, as)
		if w.Code != 200 || w.Header().Get("Content-Type") != "text/xml; charset=UTF-8" {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
		fmt.Fprintf(&got, "GET %s\n%s\n\n", target, strings.ReplaceAll(w.Body.String(), "<Row>", "\n<Row>"))
	}
	asIs(t, "cdr-sipx.txt", got.String())
	for _, c := range []struct {
		method, target string
		policy         restauth.Policy
		as             func(*http.Request)
		want           int
	}{
		{"POST", "/cdr/201", restauth.PIN, asUser("201"), 405}, {"DELETE", "/cdr/201", restauth.PIN, asUser("201"), 405}, {"HEAD",
			"/cdr/201", restauth.PIN, asUser("201"), 200},
		{"GET", "/cdr/201?limit=x", restauth.PIN, asUser("201"), 400}, {"GET", "/cdr/201?offset=-1", restauth.PIN, asUser("201"), 400},
		{"GET", "/cdr/201?fromdate=2026-11-30", restauth.PIN, asUser("201"), 400}, {"GET", "/cdr/201?fromdate=20261345", restauth.PIN,
			asUser("201"), 400},
		{"GET", "/cdr/201?limit=99999999999", restauth.PIN, asUser("201"), 400},
		{"GET", "/cdr/201", restauth.PIN, asNobody, 401}, {"GET", "/cdr/201", restauth.PIN, asUser("202"), 401}, {"GET", "/cdr/%25",
			restauth.PIN, asUser("201"), 401},
		{"GET", "/cdr/201", restauth.TrustedOrPIN, asTrusted, 200}, {"GET", "/cdr/299", restauth.TrustedOrPIN, asTrusted, 403},
		{"GET", "/cdr/201", restauth.TrustedOnly, asTrusted, 200}, {"GET", "/cdr/201", restauth.TrustedOnly, asUser("201"), 403},
		{"GET", "/sipxconfig/rest/my/redirect/cdr/201", restauth.TrustedOrPIN, asTrusted, 401},
	} {
		w := a.sipx(c.policy, c.method, c.target, c.as)
		if w.Code != c.want {
			t.Errorf("%s %s by %v: %d %s, want %d", c.method, c.target, c.policy, w.Code, w.Body, c.want)
		}
		if c.method == "HEAD" && w.Body.Len() > 0 {
			t.Errorf("HEAD has a body: %s", w.Body)
		}
	}
}

func TestWordsOfSipXecs(t *testing.T) {
	at := event.At(firstCall)
	for ms, want := range map[int64]string{
		0: "0 years 0 mons 0 days 0 hours 0 mins 0.0 secs", 38600: "0 years 0 mons 0 days 0 hours 0 mins 38.6 secs",
		59999:     "0 years 0 mons 0 days 0 hours 0 mins 59.999 secs",
		3_661_000: "0 years 0 mons 0 days 1 hours 1 mins 1.0 secs", 90_000_000: "0 years 0 mons 1 days 1 hours 0 mins 0.0 secs",
		-5: "0 years 0 mons 0 days 0 hours 0 mins 0.0 secs",
	} {
		r := &event.CDR{ConnectTime: at, EndTime: event.At(at.Add(time.Duration(ms) * time.Millisecond))}
		if got := sipxDuration(r); got != want {
			t.Errorf("%d: %q, want %q", ms, got, want)
		}
	}
	for ns, want := range map[int]string{0: "2026-11-30 12:00:00.0", 500_000_000: "2026-11-30 12:00:00.5",
		120_000_000: "2026-11-30 12:00:00.12", 1_000_000: "2026-11-30 12:00:00.001"} {
		if got := sipxTime(event.At(time.Date(2026, 11, 30, 12, 0, 0, ns, time.UTC))); got != want {
			t.Errorf("%d: %q, want %q", ns, got, want)
		}
	}
	for path, want := range map[string]string{
		"/cdr/201": "/cdr/{user}", "/cdr/201/": "/cdr/{user}", "/cdr/": "", "/cdr": "", "/cdr/201/x": "", "/cdrs/201": "",
		"/cdr/a%2Fb":                           "/cdr/{user}",
		"/sipxconfig/rest/my/redirect/cdr/201": "/sipxconfig/rest/my/redirect/cdr/{user}",
	} {
		if got := CDRRoute(httptest.NewRequest("GET", path, nil)); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
