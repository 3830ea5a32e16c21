package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sipxrest/event"
)

// hookRig is an API with webhooks, and a receiver of these.
type hookRig struct {
	*rig
	bus    *event.Bus
	outbox *event.Outbox
	url    string // of the receiver
	got    chan hooked
}

// hooked is what a receiver has got.
type hooked struct {
	id, kind string
	header   http.Header
	body     string
}

func newHookRig(t *testing.T, configured ...event.ConfiguredWebhook) *hookRig {
	t.Helper()
	bus, err := event.Open(event.Config{Store: "memory", Strict: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	st := &hookRig{bus: bus, got: make(chan hooked, 100)}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		var e struct{ ID, Type string }
		_ = json.Unmarshal(data, &e)
		st.got <- hooked{e.ID, e.Type, r.Header, string(data)}
		switch r.URL.Path {
		case "/fail":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "no table orders")
		case "/gone":
			w.WriteHeader(http.StatusGone)
		}
	}))
	t.Cleanup(receiver.Close)
	st.url = receiver.URL
	log := slog.New(slog.DiscardHandler)
	st.outbox, err = event.NewOutbox(event.OutboxConfig{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Webhooks: configured,
		Wait:     10 * time.Millisecond}, bus, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = bus.Run(ctx) })
	running.Go(func() { st.outbox.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); bus.Close() })
	st.rig = newRig(t, bus, func(c *Config) { c.Webhooks = st.outbox })
	return st
}

// call begins a call of an agent.
func (st *hookRig) call(id, agent string) {
	st.t.Helper()
	err := st.bus.Begin(event.Request{ID: id, Created: event.Created{Kind: event.ClickToCall, Source: event.FromAPI,
		Agent: agent + "@" + testDomain,
		State: event.Calling, Legs: []event.Leg{{ID: "l1", Role: event.RoleCalling, Address: agent + "@" + testDomain,
			State: event.LegPending}}}})
	if err != nil {
		st.t.Fatal(err)
	}
}

// next is the next request of a webhook.
func (st *hookRig) next() hooked {
	st.t.Helper()
	select {
	case h := <-st.got:
		return h
	case <-time.After(10 * time.Second):
		st.t.Fatal("no webhook was told")
		return hooked{}
	}
}

// decode reads an answer.
func decode[T any](t *testing.T, w *httptest.ResponseRecorder, status int) (v T) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("%d %s, want %d", w.Code, w.Body, status)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (st *hookRig) make(text string) withSecret {
	st.t.Helper()
	return decode[withSecret](st.t, st.ask("POST", "/v1/webhooks", st.withKey("hooks"), body(text)), http.StatusCreated)
}

func TestAWebhookFromItsFirstToItsLastRequest(t *testing.T) {
	st := newHookRig(t)
	w := st.ask("POST", "/v1/webhooks", st.withKey("hooks"),
		body(fmt.Sprintf(`{"name":"crm","url":%q,"events":["call.created"],"headers":{"X-Tenant":"acme"}}`, st.url+"/hooks")))
	made := decode[withSecret](t, w, http.StatusCreated)
	if loc := w.Header().Get("Location"); loc != "/v1/webhooks/"+made.ID || !strings.HasPrefix(made.Secret, "whsec_") ||
		made.Origin != "api" || !made.Enabled ||
		made.Headers["X-Tenant"] != "[redacted]" {
		t.Errorf("%s %+v", loc, made)
	}
	st.call("call-000000000001", "201")
	got := st.next()
	lib, err := standardwebhooks.NewWebhook(made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := lib.Verify([]byte(got.body), got.header); err != nil {
		t.Error(err)
	}
	if got.kind != "call.created" || got.header.Get("Webhook-Id") != got.id || got.header.Get("X-Tenant") != "acme" ||
		got.header.Get("Sipxrest-Attempt") != "1" ||
		got.header.Get("Content-Type") != "application/json" || strings.Contains(got.body, "\n") {
		t.Errorf("%+v", got)
	}
	path := "/v1/webhooks/" + made.ID
	shown := decode[event.Webhook](t, st.ask("GET", path, st.withKey("hooks")), http.StatusOK)
	if strings.Contains(fmt.Sprintf("%+v", shown), made.Secret) || len(shown.Secrets) != 1 {
		t.Errorf("%+v", shown)
	}
	// Another secret: both sign.
	rotated := decode[withSecret](t, st.ask("POST", path+"/rotate-secret", st.withKey("hooks"), body(`{"overlap_ms":60000}`)), http.StatusOK)
	if len(rotated.Secrets) != 2 || rotated.Secret == made.Secret || rotated.Secrets[1].RetiresAt.IsZero() {
		t.Errorf("%+v", rotated)
	}
	test := decode[event.TestResult](t, st.ask("POST", path+"/test", st.withKey("hooks")), http.StatusAccepted)
	if got = st.next(); got.kind != "webhook.test" || got.id != test.EventID || !test.Taken ||
		strings.Count(got.header.Get("Webhook-Signature"), "v1,") != 2 {
		t.Errorf("%+v %+v", got, test)
	}
	decode[event.TestResult](t, st.ask("POST", path+"/test", st.withKey("hooks"), body(`{"newest_secret":true}`)), http.StatusAccepted)
	if got = st.next(); strings.Count(got.header.Get("Webhook-Signature"), "v1,") != 1 {
		t.Errorf("%+v", got)
	}
	retired := decode[event.Webhook](t, st.ask("POST", path+"/rotate-secret", st.withKey("hooks"), body(`{"retire":"s1"}`)), http.StatusOK)
	if len(retired.Secrets) != 1 {
		t.Errorf("%+v", retired)
	}
	// It fails, and what it has not taken is listed.
	changed := decode[event.Webhook](t, st.ask("PATCH", path, st.withKey("hooks"), body(fmt.Sprintf(`{"url":%q}`, st.url+"/fail"))),
		http.StatusOK)
	if changed.Name != "crm" || len(changed.Events) != 1 {
		t.Errorf("%+v", changed)
	}
	st.call("call-000000000002", "201")
	failed := st.next()
	if failed.header.Get("X-Tenant") != "acme" {
		t.Errorf("a header was lost: %v", failed.header)
	}
	for {
		page := decode[list[event.Delivery]](t, st.ask("GET", path+"/deliveries?state=failed", st.withKey("hooks")), http.StatusOK)
		if len(page.Data) == 0 {
			time.Sleep(5 * time.Millisecond) // its row is kept within 50 ms
			continue
		}
		if d := page.Data[0]; len(page.Data) != 1 || d.EventID != failed.id || d.Attempts[0].Status != 500 ||
			d.Attempts[0].Answer != "no table orders" {
			t.Errorf("%+v", page)
		}
		break
	}
	queued := decode[struct{ Queued int }](t, st.ask("POST", path+"/replay", st.withKey("hooks"),
		body(`{"call_id":"call-000000000001"}`)), http.StatusAccepted)
	if got = st.next(); queued.Queued != 1 || got.header.Get("Sipxrest-Replay") != "1" || !strings.Contains(got.body, "call-000000000001") {
		t.Errorf("%+v %+v", queued, got)
	}
	if w := st.ask("DELETE", path, st.withKey("hooks")); w.Code != http.StatusNoContent {
		t.Error(w.Code, w.Body)
	}
	if w := st.ask("GET", path, st.withKey("hooks")); w.Code != http.StatusNotFound || problemOf(t, w).Code != WebhookNotFound {
		t.Error(w.Code, w.Body)
	}
}

func TestRequestsAboutWebhooksThatAreRefused(t *testing.T) {
	fixed := event.ConfiguredWebhook{WebhookSpec: event.WebhookSpec{Name: "fixed", URL: "https://hooks.example/"},
		Secrets: []string{"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}
	fixed.Complete()
	st := newHookRig(t, fixed)
	config := "/v1/webhooks/" + st.outbox.Webhooks()[0].ID
	own := "/v1/webhooks/" + st.make(fmt.Sprintf(`{"name":"crm","url":%q}`, st.url)).ID
	for _, tt := range []struct {
		method, path, body string
		code               Code
		pointer            string
	}{
		{"POST", "/v1/webhooks", `{`, InvalidJSON, ""},
		{"POST", "/v1/webhooks", `{"name":"crm"}`, InvalidRequest, "/url"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"https://hooks.example/","urll":1}`, InvalidRequest, "/urll"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"https://hooks.example/","events":["call.ringing"]}`, InvalidRequest, "/events/0"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"https://hooks.example/","timeout_ms":31000}`, InvalidRequest, "/timeout_ms"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"https://hooks.example/","timeout_ms":"1s"}`, InvalidRequest, "/timeout_ms"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"https://hooks.example/","headers":{"Host":"x"}}`, InvalidRequest, "/headers"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"https://10.0.0.5/"}`, WebhookURLRefused, "/url"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"http://1.1.1.1/"}`, WebhookURLRefused, "/url"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"https://[::ffff:10.0.0.5]/"}`, WebhookURLRefused, "/url"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"https://u:p@hooks.example/"}`, InvalidRequest, "/url"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"` + st.url + `","secret":"whsec_x"}`, InvalidRequest, "/secret"},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"` + st.url + `","after":"yesterday"}`, InvalidCursor, ""},
		{"POST", "/v1/webhooks", `{"name":"crm","url":"` + st.url + `","after":"evt_zzzzzz_1_1"}`, CursorExpired, ""},
		{"GET", "/v1/webhooks/wh_none", ``, WebhookNotFound, ""},
		{"GET", "/v1/webhooks?state=ok", ``, UnknownParameter, ""},
		{"PUT", "/v1/webhooks", `{}`, MethodNotAllowed, ""},
		{"PATCH", config, `{"name":"x"}`, ReadOnly, ""},
		{"DELETE", config, ``, ReadOnly, ""},
		{"POST", config + "/rotate-secret", `{}`, ReadOnly, ""},
		{"PATCH", own, `{"secret":"x"}`, InvalidRequest, "/secret"},
		{"PATCH", own, `{"order":"fifo"}`, InvalidRequest, "/order"},
		{"POST", own + "/rotate-secret", `{"overlap_ms":604800001}`, InvalidRequest, "/overlap_ms"},
		{"POST", own + "/rotate-secret", `{"overlap_ms":-1}`, InvalidRequest, "/overlap_ms"},
		{"POST", own + "/rotate-secret", `{"retire":"s1"}`, InvalidRequest, "/retire"},
		{"POST", own + "/rotate-secret", `{"retire":"s1","overlap_ms":1}`, InvalidRequest, "/retire"},
		{"POST", own + "/test", `{"secret":1}`, InvalidRequest, "/secret"},
		{"POST", own + "/enable", `{"enabled":true}`, InvalidRequest, "/enabled"},
		{"GET", own + "/deliveries?state=taken", ``, InvalidRequest, ""},
		{"GET", own + "/deliveries?cursor=x", ``, InvalidCursor, ""},
		{"POST", own + "/replay", `{}`, InvalidRequest, ""},
		{"POST", own + "/replay", `{"dead":true,"call_id":"x"}`, InvalidRequest, ""},
		{"POST", own + "/replay", `{"event_ids":["evt_abc123_1_99"]}`, InvalidRequest, "/event_ids"},
		{"POST", own + "/replay", `{"event_ids":["x"]}`, InvalidCursor, ""},
		{"POST", own + "/replay", `{"after":"x"}`, InvalidCursor, ""},
		{"POST", own + "/replay", `{"after":"evt_zzzzzz_1_1"}`, CursorExpired, ""},
	} {
		how := []func(*http.Request){st.withKey("hooks")}
		if tt.body != "" {
			how = append(how, body(tt.body))
		}
		p := problemOf(t, st.ask(tt.method, tt.path, how...))
		if p.Code != tt.code || tt.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != tt.pointer) {
			t.Errorf("%s %s %s: %s %+v", tt.method, tt.path, tt.body, p.Code, p.Errors)
		}
	}
	// What is allowed of one that is in the configuration.
	if w := st.ask("POST", config+"/enable", st.withKey("hooks")); w.Code != http.StatusOK {
		t.Error(w.Code, w.Body)
	}
	// A third secret that signs is the last one.
	for range 2 {
		st.ask("POST", own+"/rotate-secret", st.withKey("hooks"))
	}
	if p := problemOf(t, st.ask("POST", own+"/rotate-secret", st.withKey("hooks"))); p.Code != TooManySecrets {
		t.Errorf("%+v", p)
	}
}

func TestWhoMayManageWebhooks(t *testing.T) {
	st := newHookRig(t)
	all := st.make(fmt.Sprintf(`{"name":"all","url":%q}`, st.url))
	mine := st.make(fmt.Sprintf(`{"name":"mine","url":%q,"agents":["201"]}`, st.url))
	for name, how := range map[string]func(*http.Request){"a key without the scope": st.withKey("crm"), "a user": asUser("201")} {
		if w := st.ask("GET", "/v1/webhooks", how); problemOf(t, w).Code != MissingScope {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
	// A key that is bound to agents sees webhooks of these alone.
	if err := st.cfg.Keys.SetFixed([]Key{bound(st.keys["hooks"])}); err != nil {
		t.Fatal(err)
	}
	page := decode[list[event.Webhook]](t, st.ask("GET", "/v1/webhooks", st.withKey("hooks")), http.StatusOK)
	if len(page.Data) != 1 || page.Data[0].ID != mine.ID {
		t.Errorf("%+v", page)
	}
	for _, method := range []string{"GET", "DELETE"} {
		other := st.ask(method, "/v1/webhooks/"+all.ID, st.withKey("hooks"), header("X-Request-Id", "r"))
		none := st.ask(method, "/v1/webhooks/wh_none", st.withKey("hooks"), header("X-Request-Id", "r"))
		if other.Code != http.StatusNotFound || strings.ReplaceAll(other.Body.String(), all.ID, "wh_none") != none.Body.String() {
			t.Errorf("%s: %s, but %s", method, other.Body, none.Body)
		}
	}
	made := st.make(fmt.Sprintf(`{"name":"bound","url":%q}`, st.url))
	if len(made.Agents) != 1 || made.Agents[0] != "201" {
		t.Errorf("%v", made.Agents)
	}
	for _, agents := range []string{`["*"]`, `["202"]`, `["201","202"]`, `["201@elsewhere.example"]`} {
		w := st.ask("POST", "/v1/webhooks", st.withKey("hooks"), body(fmt.Sprintf(`{"name":"x","url":%q,"agents":%s}`, st.url, agents)))
		if problemOf(t, w).Code != WrongAgent {
			t.Errorf("%s: %s", agents, w.Body)
		}
	}
	// A key may name whom the domain does not have: then that is what is wrong.
	stray := bound(st.keys["hooks"])
	stray.Agents = []string{"201", "299"}
	if err := st.cfg.Keys.SetFixed([]Key{stray}); err != nil {
		t.Fatal(err)
	}
	w := st.ask("POST", "/v1/webhooks", st.withKey("hooks"), body(fmt.Sprintf(`{"name":"stray","url":%q}`, st.url)))
	if p := problemOf(t, w); p.Code != UnknownUser || p.Detail != "The domain has no user 299." {
		t.Errorf("%+v", p)
	}
}

// bound is the key "hooks", for one agent.
func bound(text string) Key {
	sum := sha256.Sum256([]byte(text))
	return Key{Name: "hooks", SHA256: hex.EncodeToString(sum[:]), Scopes: []Scope{WebhooksManage}, Agents: []string{"201"}}
}

func TestWebhooksAreListedInPages(t *testing.T) {
	st := newHookRig(t)
	for i := range 7 {
		st.make(fmt.Sprintf(`{"name":"hook%d","url":%q}`, i, st.url))
	}
	seen := map[string]bool{}
	path := "/v1/webhooks?limit=3"
	for pages := 1; ; pages++ {
		page := decode[list[event.Webhook]](t, st.ask("GET", path, st.withKey("hooks")), http.StatusOK)
		for _, w := range page.Data {
			if seen[w.ID] {
				t.Errorf("%s is there twice", w.Name)
			}
			seen[w.ID] = true
		}
		if !page.HasMore {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
		path = "/v1/webhooks?limit=3&cursor=" + *page.Next
	}
	if len(seen) != 7 {
		t.Errorf("%d webhooks", len(seen))
	}
}

// A place in the list is a text, in which .12 s must not come behind .123 s.
func TestTimesCompareAsTheirTextsDo(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for ms := range 1000 {
		before, after := event.At(at.Add(time.Duration(ms)*time.Millisecond)), event.At(at.Add(time.Duration(ms+1)*time.Millisecond))
		if stamp(before) >= stamp(after) {
			t.Fatalf("%s and %s", stamp(before), stamp(after))
		}
	}
}

func TestAWebhookThatIsGoneIsDisabledAndEnabled(t *testing.T) {
	st := newHookRig(t)
	made := st.make(fmt.Sprintf(`{"name":"crm","url":%q}`, st.url+"/gone"))
	path := "/v1/webhooks/" + made.ID
	st.call("call-000000000001", "201")
	first := st.next()
	for decode[event.Webhook](t, st.ask("GET", path, st.withKey("hooks")), http.StatusOK).Enabled {
		time.Sleep(5 * time.Millisecond)
	}
	decode[event.Webhook](t, st.ask("PATCH", path, st.withKey("hooks"), body(fmt.Sprintf(`{"url":%q}`, st.url))), http.StatusOK)
	if w := decode[event.Webhook](t, st.ask("POST", path+"/enable", st.withKey("hooks")), http.StatusOK); !w.Enabled {
		t.Errorf("%+v", w)
	}
	if got := st.next(); got.id != first.id || got.header.Get("Sipxrest-Attempt") != "2" {
		t.Errorf("%+v", got)
	}
}
