package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/event"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// Whatever a body says, and whatever key it comes with, the answer is one that is
// documented, and no member of it goes on the wire as something else.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		usual, `{}`, `[]`, `null`, `"x"`, `{"calling":"201","called":{"number":"+49"}}`,
		`{"calling":{"number":1},"called":{"number":null},"caller":{"number":{}}}`,
		`{"calling":"201","called":"202","flow":"refer_only","on_conflict":"replace","timeout_ms":1000,"max_duration_ms":1e3,` +
			`"subject":"\u0000","conf_pin":"\r\n"}`,
		`{"calling":"sip:a@b;c","called":"tel:+1;ext=2","agent":"sip:201","id":"0123456789012345","tags":{"a":"b","":null},` +
			`"metadata":[[[[1e400]]]]}`,
		`{"digits":"12#","leg":"l1","as":"plain","gap_ms":0}`, `{"reason":17,"leg":"called"}`, `{"to":"203","leg":null}`,
		`{"mode":"attended","to":"203","leaver":"called"}`,
		`{"with_call":"x"}`, `{"tags":null,"metadata":null}`, `{"tags":{"a":null},"metadata":{"a":{"b":null}}}`,
		`{"webhook":{"url":"https://x","events":["*"]},"probe":true}`,
		strings.Repeat(`{"metadata":`, 500) + "1" + strings.Repeat("}", 500), "\xff", `{"a":"\ud800"}`,
	} {
		f.Add(s, `"key"`)
		f.Add(s, "")
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	bus, err := event.Open(event.Config{Store: "memory", Strict: true}, nil)
	if err != nil {
		f.Fatal(err)
	}
	n := siptest.NewNetwork()
	proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: testDomain, Open: true}) // it knows nobody
	resolver, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
	if err != nil {
		f.Fatal(err)
	}
	sw, err := sipflow.New(sipflow.Config{Listen: []string{"udp:" + ourAddr}, OutboundProxies: []string{"sip:" + proxyAddr},
		Resolver: resolver, MaxCalls: 50,
		Network: sipflow.Network{
			ListenUDP: func(a string) (sipflow.PacketConn, error) { return n.Listen(a), nil },
			ListenTCP: func(a string) (net.Listener, error) { return n.ListenTCP(a), nil },
			DialTCP:   func(ctx context.Context, a string) (net.Conn, error) { return n.DialContext(ctx, "tcp", a) },
		}}, log, bus.Observe)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = bus.Run(ctx) })
	running.Go(func() { _ = sw.Serve(ctx) })
	f.Cleanup(func() { cancel(); running.Wait(); proxy.Close(); resolver.Close(); bus.Close() })
	const id = "call-of-the-fuzzer"
	if err := bus.Begin(event.Request{ID: id, Created: event.Created{Kind: event.ClickToCall, Source: event.FromAPI, Agent: "201@" +
		testDomain, Flow: event.Flow{Used: "invite"},
		Legs: []event.Leg{{Role: event.RoleCalling, Address: "201@" + testDomain}, {Role: event.RoleCalled, Address: "202@" +
			testDomain}}}}); err != nil {
		f.Fatal(err)
	}
	if err := bus.Committed(ctx, id); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		st := newRig(t, bus)
		st.API.sw = sw
		for _, target := range []string{"POST /v1/calls", "PUT /v1/calls/id-of-the-fuzzer-1", "PATCH /v1/calls/" + id, "POST /v1/check",
			"POST /v1/calls/" + id + "/transfers",
			"POST /v1/calls/" + id + "/actions/dtmf", "POST /v1/calls/" + id + "/actions/hold", "POST /v1/calls/" + id + "/actions/redirect"} {
			method, path, _ := strings.Cut(target, " ")
			if strings.Contains(text, "probe") && path == "/v1/check" {
				continue // it waits for an answer
			}
			r := httptest.NewRequest(method, path, strings.NewReader(text))
			r.Host, r.RemoteAddr = testDomain, "198.51.100.7:1"
			r.Header["Content-Type"], r.Header["Idempotency-Key"] = []string{"application/json"}, []string{key}
			if key == "" {
				delete(r.Header, "Idempotency-Key")
			}
			st.withKey("all")(r)
			w := httptest.NewRecorder()
			began := time.Now()
			st.pin.ServeHTTP(w, r)
			kind := w.Header().Get("Content-Type")
			switch {
			case w.Code == http.StatusInternalServerError, !json.Valid(w.Body.Bytes()), w.Code > 299 && kind != "application/problem+json":
				t.Errorf("%s %q: %d %s %s", target, text, w.Code, kind, w.Body)
			case time.Since(began) > 20*time.Second:
				t.Errorf("%s %q took %v", target, text, time.Since(began))
			}
		}
		for _, p := range n.Packets() {
			if strings.Contains(string(p.Data), "\r\nX-Evil") {
				t.Errorf("a header field was made up: %s", p.Data)
			}
		}
	})
}
