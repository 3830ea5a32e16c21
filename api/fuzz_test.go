package api

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"sipxrest/event"
)

// Whatever the query, Last-Event-ID, Prefer and Accept say, the answer is one that is
// documented.
func FuzzEvents(f *testing.F) {
	for _, s := range [][4]string{
		{"after=oldest&type=leg.*&limit=3", "", "", ""},
		{"after=evt_aaaaaa_1_1", "evt_aaaaaa_9_9", "wait=1", "text/event-stream"},
		{"tag.a=b&user=%2B49&agent=+4930&kind=inbound", "", "wait=0", "application/json;q=0.5, */*;q=0"},
		{"snapshot=1&coalesce=call&include=change&format=cloudevents", "evt_", "wait=99999999999", "text/*"},
		{"&&=&%=%zz&type=&call_id=%00", "\x00", "wait=\"", ",;q=,"},
		{"type=*&type=.&type=call.", "-1", "wait=1, wait=2", "text/event-stream;q=nan"},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	bus, err := event.Open(event.Config{Store: "memory", Strict: true}, nil)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = bus.Run(ctx) })
	f.Cleanup(func() { cancel(); running.Wait(); bus.Close() })
	if err := bus.Begin(event.Request{ID: "call-of-the-fuzzer", Created: event.Created{Kind: event.ClickToCall, Source: event.FromAPI,
		Agent: "201@" + testDomain}}); err != nil {
		f.Fatal(err)
	}
	if err := bus.Committed(ctx, "call-of-the-fuzzer"); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query, last, prefer, accept string) {
		st := newRig(t, bus)
		over, end := context.WithCancel(context.Background())
		end() // streams and waits end at once
		for _, path := range []string{"/v1/events", "/v1/calls/call-of-the-fuzzer/events", "/v1/users"} {
			r := httptest.NewRequest("GET", path, nil).WithContext(over)
			r.URL = &url.URL{Path: path, RawQuery: query}
			r.Host, r.RemoteAddr = testDomain, "198.51.100.7:1"
			r.Header["Last-Event-Id"], r.Header["Prefer"], r.Header["Accept"] = []string{last}, []string{prefer}, []string{accept}
			st.withKey("all")(r)
			w := httptest.NewRecorder()
			st.pin.ServeHTTP(w, r)
			switch kind := w.Header().Get("Content-Type"); {
			case w.Code >= 500 || w.Code < 200 || w.Code > 299 && kind != "application/problem+json":
				t.Errorf("%s?%s: %d %s %s", path, query, w.Code, kind, w.Body)
			case kind == eventStream:
				for block := range strings.SplitSeq(w.Body.String(), "\n\n") {
					for line := range strings.SplitSeq(block, "\n") {
						if data, ok := strings.CutPrefix(line, "data: "); ok && !json.Valid([]byte(data)) {
							t.Errorf("%s?%s: %q", path, query, line)
						}
					}
				}
			case w.Code != 204 && !json.Valid(w.Body.Bytes()):
				t.Errorf("%s?%s: %d %q", path, query, w.Code, w.Body)
			}
		}
	})
}

// Whatever a body is, it is read or refused in words, and says which member is wrong.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{}`, `{"types":["call.*"],"tags":{"a":"b"}}`, `{"types":1,"typ":2,"call_id":null}`, `[`, `{"a":`, "\xff",
		`{"types":[{}]}`, `{"":{"":""}}`,
		strings.Repeat("[", 20000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var q ticketRequest
		why := parse(data, &q)
		if why == nil {
			why = q.check()
		}
		if why != nil && (why.Status != 400 || why.Detail == "" || why.Code == InvalidRequest && len(why.Errors) == 0) {
			t.Errorf("%q: %+v", data, why)
		}
		if _, err := json.Marshal(why); err != nil {
			t.Error(err)
		}
	})
}

func FuzzPrefer(f *testing.F) {
	for _, s := range []string{"wait=1", `wait="2"`, "respond-async; wait", "=,;", "wait=1e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d := preferredWait(map[string][]string{"Prefer": {text}}); d < 0 || d > maxWait {
			t.Errorf("%q: %v", text, d)
		}
	})
}
