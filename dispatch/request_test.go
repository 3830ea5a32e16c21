package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sipxrest/internal/webhook"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// hook serves one webhook and returns a rule for it.
func hook(t *testing.T, yaml string, h http.HandlerFunc) (*Dispatcher, *rule) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return hookAt(t, server.URL, yaml, nil)
}

func hookAt(t *testing.T, at, yaml string, set func(*Config)) (*Dispatcher, *rule) {
	t.Helper()
	u, _ := url.Parse(at)
	d, err := newDispatcher(t, fmt.Sprintf("id: r\nurl: %s/call\nallow_http: true\nallow_private: [%s]\n", at, u.Hostname())+yaml, set)
	if err != nil {
		t.Fatal(err)
	}
	return d, d.now.Load().table.rules[0]
}

func testCall() *Call {
	return &Call{ID: "c1", SIPCallID: "abc@phone", Trunk: "t1", Source: netip.MustParseAddrPort("[::ffff:192.0.2.1]:5060"),
		FromUser: "+49301", FromHost: "carrier.example", ToUser: "200", ToHost: "home.example",
		Header: func(name string) []string { return map[string][]string{"X-Customer": {"7", "8"}}[name] }}
}

func (r *rule) try(t *testing.T) (Decision, error) {
	t.Helper()
	return r.decide(t.Context(), r.message(testCall(), eventInvite))
}

const busyAnswer = `{"action":"reject","reject_status_code":486}`

func TestTheWebhookIsToldOfTheCall(t *testing.T) {
	want := map[string]any{
		"event": "invite", "project_id": "p", "rule_id": "r", "trunk_id": "t1", "call_id": "c1", "sip_call_id": "abc@phone",
		"from_user": "+49301", "from_host": "carrier.example", "to_user": "200", "to_host": "home.example", "source_ip": "192.0.2.1",
		"headers": map[string]any{"X-Customer": "7, 8"},
	}
	for _, method := range []string{"POST", "PUT", "GET"} {
		t.Run(method, func(t *testing.T) {
			_, r := hook(t, "method: "+method+"\nproject_id: p\nsip_headers: [x-customer, X-Other]\nheaders: {X-Tenant: acme, Host: "+
				"other.example}\n", func(w http.ResponseWriter, q *http.Request) {
				got := map[string]any{}
				if method == "GET" {
					for name, values := range q.URL.Query() {
						got[name] = values[0]
					}
					var headers any
					_ = json.Unmarshal([]byte(got["headers"].(string)), &headers)
					got["headers"] = headers
				} else {
					if err := json.NewDecoder(q.Body).Decode(&got); err != nil {
						t.Error(err)
					}
					if ct := q.Header.Get("Content-Type"); ct != "application/json" {
						t.Error(ct)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if q.Method != method || q.URL.Path != "/call" || q.Host != "other.example" || q.Header.Get("X-Tenant") != "acme" ||
					q.Header.Get("User-Agent") != "sipxrest" || q.Header.Get("X-Event-Id") == "" {
					t.Errorf("%s %s %s %v", q.Method, q.URL, q.Host, q.Header)
				}
				io.WriteString(w, busyAnswer)
			})
			if d, err := r.try(t); err != nil || d.Code != 486 {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

func TestWebhooksThatFail(t *testing.T) {
	t.Run("redirect", func(t *testing.T) {
		var led atomic.Int32
		inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { led.Add(1); io.WriteString(w, busyAnswer) }))
		defer inside.Close()
		_, r := hook(t, "", func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, inside.URL, http.StatusTemporaryRedirect)
		})
		if _, err := r.try(t); err == nil || !strings.Contains(err.Error(), "redirects are not followed") || led.Load() != 0 {
			t.Errorf("%v, %d", err, led.Load())
		}
	})
	for code, want := range map[int]string{204: "204 No Content instead of 200", 201: "201 Created", 404: "404 Not Found", 500: "500",
		503: "503"} {
		var asked atomic.Int32
		_, r := hook(t, "", func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); w.WriteHeader(code) })
		if _, err := r.try(t); err == nil || !strings.Contains(err.Error(), want) || asked.Load() != 1 {
			t.Errorf("%d: %v, asked %d times", code, err, asked.Load())
		}
	}
	t.Run("endless body", func(t *testing.T) {
		_, r := hook(t, "", func(w http.ResponseWriter, q *http.Request) {
			for q.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 16<<10)); err != nil {
					return
				}
			}
		})
		if _, err := r.try(t); err == nil || !strings.Contains(err.Error(), "longer than 65536 bytes") {
			t.Error(err)
		}
	})
	t.Run("endless header", func(t *testing.T) {
		_, r := hook(t, "", func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
			io.WriteString(w, busyAnswer)
		})
		if _, err := r.try(t); err == nil {
			t.Error("taken")
		}
	})
	t.Run("slow answer", func(t *testing.T) {
		release := make(chan struct{})
		_, r := hook(t, "timeout: 150ms", func(w http.ResponseWriter, q *http.Request) {
			w.WriteHeader(200)
			io.WriteString(w, "{")
			w.(http.Flusher).Flush()
			<-release
		})
		defer close(release)
		if _, err := r.try(t); !errors.Is(err, webhook.ErrSlow) {
			t.Error(err)
		}
	})
	t.Run("broken answer", func(t *testing.T) {
		_, r := hook(t, "", func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"room_name":"r"}`)
		})
		if _, err := r.try(t); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
			t.Error(err)
		}
	})
	t.Run("the caller gives up", func(t *testing.T) {
		aborted := make(chan struct{})
		_, r := hook(t, "", func(w http.ResponseWriter, q *http.Request) {
			io.Copy(io.Discard, q.Body)
			<-q.Context().Done()
			close(aborted)
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		time.AfterFunc(50*time.Millisecond, func() { cancel(gone) })
		if _, err := r.decide(ctx, r.message(testCall(), eventInvite)); !errors.Is(err, gone) {
			t.Error(err)
		}
		select {
		case <-aborted:
		case <-time.After(10 * time.Second):
			t.Error("the request goes on")
		}
	})
	t.Run("too many at once", func(t *testing.T) {
		d, r := hook(t, "", func(http.ResponseWriter, *http.Request) {})
		for range cap(d.asking) {
			d.asking <- struct{}{}
		}
		if _, err := r.try(t); !errors.Is(err, errBusy) {
			t.Error(err)
		}
	})
}

// A name that leads to a public address when it is looked at, and to a private
// one when it is connected to.
func TestANameThatLeadsInsideIsRefusedWhenTheConnectionIsMade(t *testing.T) {
	var asked atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		io.WriteString(w, busyAnswer)
	}))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	var queries atomic.Int32
	resolver := nameServer(t, func(name string) string {
		if queries.Add(1) == 1 {
			return "1.1.1.1"
		}
		return "127.0.0.1"
	})
	set := func(c *Config) { c.Resolver = resolver }
	if _, err := resolver.LookupHost(t.Context(), "rebind.test"); err != nil { // the innocent look
		t.Fatal(err)
	}
	for _, host := range []string{"rebind.test"} {
		d, err := newDispatcher(t, fmt.Sprintf("{id: r, url: 'http://%s:%s/', allow_http: true}", host, port), set)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.now.Load().table.rules[0].try(t)
		if err == nil || !strings.Contains(err.Error(), "rebind.test leads to the private address 127.0.0.1: if that is meant, list "+
			"rebind.test in allow_private") {
			t.Error(err)
		}
	}
	if asked.Load() != 0 {
		t.Error("the service inside was reached")
	}
	d, err := newDispatcher(t, fmt.Sprintf("{id: r, url: 'http://Rebind.test:%s/', allow_http: true, allow_private: [rebind.TEST.]}", port),
		set)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.now.Load().table.rules[0].try(t); err != nil || asked.Load() != 1 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}

// nameServer returns a resolver that asks a name server in this process.
func nameServer(t *testing.T, answer func(name string) string) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A: net.ParseIP(answer(q.Question[0].Name))}}
		}
		_ = w.WriteMsg(m)
	})}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown(); <-ended })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Host == "hooks.example" {
			proxied.Add(1)
		}
		io.WriteString(w, busyAnswer)
	}))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	set := func(c *Config) { c.Resolver = nameServer(t, func(string) string { return "127.0.0.1" }) }
	d, err := newDispatcher(t, "{id: r, url: 'http://hooks.example/', allow_http: true, allow_private: [127.0.0.1, hooks.example]}", set)
	if err != nil {
		t.Fatal(err)
	}
	r := d.now.Load().table.rules[0]
	// net/http reads the environment once only
	if _, err := r.try(t); err == nil || proxied.Load() != 0 || r.client.HTTP.Transport.(*http.Transport).Proxy != nil {
		t.Errorf("%v, %d", err, proxied.Load())
	}
	d, err = newDispatcher(t, "{id: r, url: 'http://hooks.example/', allow_http: true, proxy: '"+proxy.URL+"'}", set)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.now.Load().table.rules[0].try(t); err != nil || proxied.Load() != 1 {
		t.Errorf("%v, %d", err, proxied.Load())
	}
}

func TestTryTellsWhatWouldBecomeOfACall(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"room_name":"support","pin":"1234"}`)
	}))
	defer server.Close()
	d, err := newDispatcher(t, fmt.Sprintf(`
- {id: hook, url: "%[1]s/calls?token=geheim", allow_http: true, allow_private: [127.0.0.1], numbers: ["1"],
   hmac_secret: 0123456789abcdef, headers: {X-Key: geheim}}
- {id: get, url: "%[1]s/calls?token=geheim", method: GET, allow_http: true, allow_private: [127.0.0.1], numbers: ["5"]}
- {id: down, url: "http://127.0.0.1:1", allow_http: true, allow_private: [127.0.0.1], numbers: ["2"], fallback: 486}
- {id: static, action: transfer, transfer_to: "sip:a@b.example", numbers: ["3"], trunks: [t2]}
- {id: denied, action: transfer, transfer_to: "sip:0900@b.example", numbers: ["4"]}
`, server.URL), func(c *Config) {
		c.Allow = func(_, uri string) error {
			if strings.Contains(uri, "0900") {
				return errors.New("0900 is premium")
			}
			return nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	try := func(c Call, ask bool) *Trial {
		t.Helper()
		trial, err := d.Try(t.Context(), c, ask)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(trial.Request, "geheim") {
			t.Error("the request shows a secret")
		}
		if strings.Contains(trial.Answer, "1234") {
			t.Errorf("the answer shows the PIN: %s", trial.Answer)
		}
		return trial
	}
	got := try(Call{ToUser: "1"}, true)
	if got.Decision == nil || got.Decision.Room != "support" || got.URI != "sip:support@conf.example" || got.Err != nil ||
		!strings.Contains(got.Request, `"to_user":"1"`) {
		t.Errorf("%+v", got)
	}
	if !got.Considered[0].Taken || got.Considered[1].Taken || got.Considered[1].Why != "1 is none of its numbers" {
		t.Errorf("%+v", got.Considered)
	}
	if got = try(Call{ToUser: "1"}, false); got.Decision != nil || got.Request == "" {
		t.Errorf("%+v", got)
	}
	if got = try(Call{ToUser: "5"}, true); !strings.HasPrefix(got.Request, "GET "+server.URL+"/calls?[redacted]&") ||
		!strings.Contains(got.Request, "&to_user=5") || got.Answer != `{"room_name":"support","pin":"[redacted]"}` {
		t.Errorf("%+v", got)
	}
	if got = try(Call{ToUser: "2"}, true); got.Decision.Code != 486 || got.Err == nil {
		t.Errorf("%+v", got)
	}
	if got = try(Call{ToUser: "3", Source: netip.MustParseAddrPort("192.0.2.2:5060")}, true); got.Call.Trunk != "t2" || got.Prove ||
		got.URI != "sip:a@b.example" {
		t.Errorf("%+v", got)
	}
	if got = try(Call{ToUser: "3", Source: netip.MustParseAddrPort("192.0.2.9:5060")}, true); got.Decision != nil || !got.Prove {
		t.Errorf("%+v", got)
	}
	if got = try(Call{ToUser: "4"}, true); got.Decision.Code != codeFallback || got.Err == nil || !strings.Contains(got.Err.Error(),
		"premium") {
		t.Errorf("%+v", got)
	}
	if _, err := d.Try(t.Context(), Call{Trunk: "t9"}, true); err == nil {
		t.Error("an unknown trunk is taken")
	}
}
