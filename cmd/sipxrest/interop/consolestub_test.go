//go:build interop

package interop

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/console"
)

// markup is what somebody may call himself who wants to run code in the page of who
// looks at his call.
const markup = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><svg onload="window.hacked=1"></svg>`

// apiStub is an API whose every text is markup, behind the real console.
type apiStub struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // method, path and body of what changes something
}

func startAPIStub(t *testing.T) *apiStub {
	const end = `{"outcome":"busy","by":"called","actor":null,"stage":"connected","reason":"$M","sip":null,"q850":null,
		"dialled":"yes","message":"$M"}`
	const leg = `{"id":"$L","role":"$M","address":"$M","display":"$M","state":"answered","held":true,"muted":true,"early_media":false,
		"sip":{"call_id":"$M","hop":"$M"},"end":{"by":"called","reason":"$M","sip":{"code":486,"reason":"$M","synthesized":false}}}`
	legs := "[" + strings.Replace(leg, "$L", "l1", 1) + "," + strings.Replace(leg, "$L", "l2", 1) + "]"
	call := func(state, end string) string {
		return `{"id":"c1","object":"call","kind":"$M","source":"$M","direction":"outbound","state":"` + state + `","agent":"$M","subject":"$M",
			"tags":{"$M":"$M"},"version":3,
			"flow":{"requested":"auto","used":"invite","fallback":"$M"},"legs":` + legs + `,
			"actions":["hangup","hold","transfer","dtmf"],
			"created_at":"2026-11-30T12:00:00Z","connected_at":null,"talk_ms":null,
			"transfers":[{"id":"t1","mode":"$M","to":"$M","with_call":null,"state":"$M",
			"end":{"reason":"$M","sip":null,"message":"$M"}}],"end":` + end + `}`
	}
	running, over := call("connected", "null"), call("ended", end)
	event := func(kind, change, call string, final bool) string {
		return fmt.Sprintf(`{"id":"evt_aaaaaa_1_1","type":%q,"timestamp":"2026-11-30T12:00:01Z","seq":1,"call_seq":1,"final":%t,
			"data":{"call_id":"c1","leg":"$M","change":%s,"call":%s}}`, kind, final, change, call)
	}
	const change = `{"hop":"$M","to":"$M","rule":"$M","decision":"$M","sip":{"code":302,"reason":"$M","synthesized":false},
		"transfer":{"to":"$M","end":{"message":"$M"}}}`
	pages := map[string]string{
		"/v1/me": `{"object":"principal","type":"key","name":"$M","agent":{"user":"$M","display_name":"$M"},"scopes":["admin","$M"],
			"agents":["$M"],"expires_at":null,"limits":{"requests_left":1,"requests_at_once":2,"calls":null,"streams":1,"streams_left":1},
			"events":{"store":"$M"}}`,
		"/v1/users": `{"data":[{"user":"$M","display_name":"$M","address":"$M"}],"has_more":false,"next":null}`,
		"/v1/check": `{"object":"check","verdict":"will_fail","flow":{"requested":"","used":""},
			"steps":[{"step":"$M","ok":false,"detail":"$M"}]}`,
		"/v1/cdrs": `{"data":[{"call_id":"$M","kind":"$M","caller_aor":"$M","callee_aor":"$M","outcome":"$M","reason":"$M","message":"$M",
			"start_time":"2026-11-30T12:00:00Z","talk_ms":1}],"has_more":true,"next":"x"}`,
		"/v1/calls/c1": running,
		"/v1/calls/c2": over,
		"/v1/calls/c1/messages": `{"object":"list","dropped":1,"data":[{"at":"2026-11-30T12:00:00Z","direction":"out","leg":"l1",
			"transport":"$M","local":"$M","remote":"$M","start_line":"$M","message":"$M"},
			{"at":"2026-11-30T12:00:00Z","direction":"in","leg":"","transport":"$M","local":"$M","remote":"$M",
			"start_line":"SIP/2.0 486 $M","message":"$M"}]}`,
		"/v1/webhooks": `{"data":[{"id":"$M","name":"$M","url":"$M","status":{"state":"disabled","waiting":1,"dead":2,"last_error":"$M"}}],
			"has_more":false,"next":null}`,
		"/v1/inbound/rules": `{"object":"inbound","enabled":true,"rules":[{"id":"$M","name":"$M","where":"$M","trunks":["$M"],"numbers":["$M"],
			"inbound_numbers":["$M"],"mode":"dial","url":"$M","events":["$M"],"decide":["$M"],"decision":null,
			"fallback":{"action":"hangup","sip_code":480,"sip_reason":"$M","pin_required":true}}],
			"trunks":[{"name":"$M","sources":["$M"],"from_hosts":["$M"],"digest":true,"max_calls":0}]}`,
		"/v1/inbound/try": `{"object":"inbound_trial","result":"$M","must_authenticate":true,"rules":[{"id":"$M","name":"$M","where":"$M",
			"taken":false,"why":"$M"}],"request":"$M","answer":"$M","took_ms":1,"error":"$M","decision":null,"outcome":"$M"}`,
		"/v1/health": `{"object":"health","status":"$M","version":"$M","proxies":[{"proxy":"$M","transport":"$M","address":"$M","up":false,
			"since":null,"checked_at":null,"round_trip_ms":null,"failure":"$M"}],"certificates":[{"subject":"$M","names":["$M"],"issuer":"$M",
			"self_signed":false,"uses":["$M"],"not_after":null,"left_ms":-1}],"limits":[{"name":"$M","used":1,"most":null}],
			"talk_servers":[{"server":"$M","nextcloud":"$M","connected":false,"error":"$M"}]}`,
	}
	streams := map[string][]string{
		"/v1/events":          {`{"type":"stream.snapshot","data":{"part":1,"parts":1,"calls":[` + running + `]}}`},
		"/v1/calls/c1/events": {event("leg.redirected", change, running, false)},
		"/v1/calls/c2/events": {event("call.ended", change, over, true)},
	}
	quoted, _ := json.Marshal(markup)
	fill := strings.NewReplacer("$M", strings.Trim(string(quoted), `"`), "\n", " ", "\t", "")
	page := console.New()
	s := &apiStub{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if console.Owns(r) {
			page.ServeHTTP(&lax{ResponseWriter: w}, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodGet {
			s.mu.Lock()
			s.asked = append(s.asked, r.Method+" "+r.URL.Path+" "+string(body))
			s.mu.Unlock()
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/deliveries"):
			io.WriteString(w, fill.Replace(`{"data":[{"event_id":"$M","type":"$M","call_id":null,"state":"dead","since":null,
				"attempts":[{"error":"$M"}]}],"has_more":false,"next":null}`))
		case strings.HasSuffix(r.URL.Path, "/replay"):
			io.WriteString(w, `{"queued":2,"next":null}`)
		case streams[r.URL.Path] != nil:
			w.Header().Set("Content-Type", "text/event-stream")
			for _, e := range streams[r.URL.Path] {
				fmt.Fprintf(w, "id: evt_aaaaaa_1_1\ndata: %s\n\n", fill.Replace(e))
			}
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case pages[r.URL.Path] != "":
			io.WriteString(w, fill.Replace(pages[r.URL.Path]))
		default:
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, fill.Replace(`{"code":"$M","detail":"$M","errors":[{"pointer":"/called"}]}`))
		}
	}))
	s.TLS = &tls.Config{}
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections() // streams
		s.Close()
	})
	return s
}

// lax leaves the policy out, so that the page's own care is seen, not the browser's.
type lax struct{ http.ResponseWriter }

func (w *lax) WriteHeader(status int) {
	w.Header().Del("Content-Security-Policy")
	w.ResponseWriter.WriteHeader(status)
}

// Whatever calls itself markup is shown as it is written, in every view, though the
// browser would run it.
func TestConsoleShowsNamesAsText(t *testing.T) {
	t.Parallel()
	l := lab.Bare(t)
	stub := startAPIStub(t)
	tab := l.OpenTab(stub.URL + "/console/")
	signInByKey(tab, "sxk_any")
	for _, view := range []struct{ hash, ready string }{
		{"#/call/c1", `document.querySelectorAll(".leg").length == 2 && document.querySelector("#people option") !== null`},
		{"#/live", `document.querySelectorAll("#live tbody tr").length == 1`},
		{"#/calls/c1", `document.querySelectorAll(".arrow").length == 2 && document.querySelector("[data-event]") !== null`},
		{"#/calls/c2", `document.querySelector("#end")?.textContent.includes("<img")`},
		{"#/history", `document.querySelectorAll("tbody tr").length == 1`},
		{"#/inbound", `document.querySelectorAll("[data-rule]").length == 1 && document.querySelectorAll("#trunks tbody tr").length == 1`},
		{"#/health", `document.querySelectorAll("[data-hook]").length == 1 && document.querySelectorAll("#service tbody tr").length == 4`},
	} {
		tab.Eval(`location.hash = "` + view.hash + `"`)
		tab.Until(view.ready, "true")
		if view.hash == "#/inbound" {
			tab.Eval(`(form => (form.from.value = form.to.value = "1", form.requestSubmit()))(document.querySelector("#try"))`)
			tab.Until(`document.querySelectorAll("#tried tbody tr").length`, "1")
		}
		if view.hash == "#/health" {
			tab.Eval(`document.querySelector("button.deliveries").click()`)
			tab.Until(`document.querySelectorAll("#letters tbody tr").length`, "1")
			tab.Eval(`document.querySelector("button.replay").click()`)
			l.Until("the replay", func() bool {
				stub.mu.Lock()
				defer stub.mu.Unlock()
				return len(stub.asked) > 0 && strings.HasSuffix(stub.asked[len(stub.asked)-1], `/replay {"dead":true}`)
			})
		}
		tab.Eval(`(form => form && (form.called.value = "1", form.requestSubmit()))(document.querySelector("#dial"))`)
		if view.hash == "#/call/c1" {
			tab.Until(`document.querySelector("#refused").textContent.includes("<img")`, "true")
		}
		if got := tab.Eval(`document.body.textContent.includes("<img src=x")`); got != "true" {
			t.Errorf("%s does not show the name", view.hash)
		}
		made := tab.Eval(`[...document.querySelectorAll("body img, body script, main svg[onload], [onerror]")].map(e => e.outerHTML).join()`)
		if made != "" {
			t.Errorf("%s has the elements %s", view.hash, made)
		}
		if got := tab.Eval(`typeof window.hacked`); got != "undefined" {
			t.Fatalf("%s has run code of a name", view.hash)
		}
	}
}

// signInByKey signs in to the console that a tab shows.
func signInByKey(tab *lab.Tab, key string) {
	tab.Until(`document.querySelector("form input[value=key]") !== null`, "true")
	tab.Eval(`document.querySelector("form input[value=key]").click()`)
	tab.Eval(`(document.querySelector("input[name=key]").value = "` + key + `", document.querySelector("form").requestSubmit())`)
	tab.Until(`document.querySelector("#signout") !== null`, "true")
}

// A page of which a file was lost on the way says so, instead of staying empty.
func TestConsoleSaysThatItIsNotWhole(t *testing.T) {
	t.Parallel()
	l := lab.Bare(t)
	page := console.New()
	for _, name := range []string{"main.js", "view_inbound.js", "texts.json"} {
		var lost atomic.Bool
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/"+name) && !lost.Swap(true) {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			page.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		tab := l.OpenTab(server.URL + "/console/")
		tab.Until(`document.querySelector("#main [role=alert]")?.textContent`, "A part of this page could not be loaded.")
		tab.Eval(`document.querySelector("#reload").click()`)
		tab.Until(`document.querySelector("form input[name=user]") !== null`, "true")
		tab.Until(`document.querySelector("#reload") === null`, "true")
	}
}
