package app

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/dialout"
	"sipxrest/sipflow/siptest"
	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

const telephone = "+493055500200"

// telephones is a service with a gateway that challenges for credentials of its
// own, and a conference that does for those of the agent.
type telephones struct {
	*service
	gateway, conference *siptest.Phone
	url                 string
}

// gatewayPhone is a phone behind a gateway with an account of its own.
func gatewayPhone(t *testing.T, s siptest.Script) (*siptest.Phone, string) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := siptest.NewPhone(c, siptest.Account{User: telephone}, s)
	t.Cleanup(p.Close)
	return p, c.LocalAddr().String()
}

func newTelephones(t *testing.T, script siptest.Script, change func(*config.Config)) *telephones {
	t.Helper()
	script.Challenge = siptest.Challenge{Methods: []sip.RequestMethod{"INVITE"}, Realm: "gateway.test", User: "trunk",
		Password: "gateway-secret"}
	s := &telephones{}
	var proxy, gateway string
	s.conference, proxy = apptest.Phone(t, siptest.Script{Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"INVITE"},
		Realm: "sipx.test", User: "201", Password: "123"}})
	s.gateway, gateway = gatewayPhone(t, script)
	cfg := watched(t, proxy)
	cfg.Trusted = nil
	cfg.Dialout.Gateway = dialout.Gateway{URI: "sip:" + gateway, User: "trunk", Secret: "gateway-secret", DefaultNumber: "+4930123456"}
	cfg.Dialout.Target = "conference"
	if change != nil {
		change(&cfg)
	}
	s.service = start(t, cfg)
	s.url = s.Addrs()[0]
	return s
}

// ask sends a request of user 201, unless change makes it another's.
func (s *telephones) ask(method, path, body string, change ...func(*http.Request)) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth("201", "123")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, f := range change {
		f(r)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(text)
}

// both waits until it is so of both phones.
func (s *telephones) both(is func(*siptest.Phone) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	for _, p := range []*siptest.Phone{s.gateway, s.conference} {
		if err := p.Wait(ctx, func() bool { return is(p) }); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *telephones) onHook() {
	s.t.Helper()
	s.both((*siptest.Phone).OnHook)
}

// joined waits until both are in a call.
func (s *telephones) joined() {
	s.t.Helper()
	s.both(func(p *siptest.Phone) bool { return p.Dialogs() == 1 && p.Acked() })
}

const orderJSON = `{"type":"dialout","dialout":{"number":"` + telephone + `"}}`

func TestAClientCallsATelephone(t *testing.T) {
	s := newTelephones(t, siptest.Script{}, nil)
	resp, body := s.ask("POST", "/dialout", orderJSON)
	path := resp.Header.Get("Location")
	if resp.StatusCode != 200 || !strings.HasPrefix(path, "/dialout/") {
		t.Fatalf("%s %s", resp.Status, body)
	}
	events, err := http.NewRequest("GET", s.url+path+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	events.SetBasicAuth("201", "123")
	stream, err := s.client.Do(events)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if got := stream.Header.Get("Content-Type"); stream.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("events: %s, %s", stream.Status, got)
	}
	var states []string
	for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var status talk.Status
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			t.Fatal(err)
		}
		if states = append(states, string(status.State)); status.State != talk.Connected {
			continue
		}
		s.joined()
		if resp, body := s.ask("GET", path, ""); resp.StatusCode != 200 || !strings.Contains(body, `"status":"connected"`) {
			t.Errorf("GET: %s %s", resp.Status, body)
		}
		if got := s.metric("sipxrest_dialout_calls_active"); got != 1 {
			t.Errorf("active: %v", got)
		}
		if resp, body := s.ask("DELETE", path, ""); resp.StatusCode != 200 {
			t.Errorf("DELETE: %s %s", resp.Status, body)
		}
	}
	if want := []string{"accepted", "ringing", "connected", "cleared"}; !slices.Equal(states, want) {
		t.Errorf("states %q, want %q", states, want)
	}
	s.onHook()
	if got := s.metric(`sipxrest_dialout_calls_total{outcome="connected",source="rest"}`); got != 1 {
		t.Errorf("connected: %v", got)
	}
	for _, invite := range s.gateway.Requests("INVITE") {
		if from := invite.From().Value(); !strings.Contains(from, "sip:+4930123456@") {
			t.Errorf("From %s", from)
		}
		if h := invite.GetHeader("Proxy-Authorization"); h != nil && !strings.Contains(h.Value(), `username="trunk"`) {
			t.Errorf("the gateway was told %s", h.Value())
		}
	}
}

// What is refused is refused by the listener that the service has, not only by
// the handler.
func TestWhatTheListenerRefusesOfTelephoneCalls(t *testing.T) {
	s := newTelephones(t, siptest.Script{NeverAnswer: true}, func(c *config.Config) { c.Dialout.Limits.User = 1 })
	for name, tt := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		status             int
		header, value      string
	}{
		"method":       {"GET", "/dialout", "", nil, 405, "Allow", "POST"},
		"method below": {"PUT", "/dialout/x", "", nil, 405, "Allow", "GET, HEAD, DELETE"},
		"media type": {"POST", "/dialout", orderJSON, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "Content-Type",
			"application/json"},
		"large":  {"POST", "/dialout", strings.Repeat(" ", 20<<10) + orderJSON, nil, 413, "Content-Type", "application/json"},
		"larger": {"POST", "/dialout", strings.Repeat(" ", 100<<10) + orderJSON, nil, 413, "Content-Type", "application/json"},
		"large, of unknown length": {"POST", "/dialout", strings.Repeat(" ", 100<<10) + orderJSON, func(r *http.Request) { r.ContentLength = -1 },
			413, "Content-Type", "application/json"},
		"nobody": {"POST", "/dialout", orderJSON, func(r *http.Request) { r.Header.Del("Authorization") }, 401, "Content-Type",
			"text/plain; charset=utf-8"},
		"wrong PIN": {"POST", "/dialout", orderJSON, func(r *http.Request) { r.SetBasicAuth("201", "1") }, 401, "Content-Type",
			"text/plain; charset=utf-8"},
		"other site": {"POST", "/dialout", orderJSON, func(r *http.Request) { r.Header.Set("Origin", "https://evil.test") }, 403, "Content-Type",
			"text/plain; charset=utf-8"},
		"unknown": {"GET", "/dialout/x", "", nil, 404, "Content-Type", "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			var change []func(*http.Request)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			resp, body := s.ask(tt.method, tt.path, tt.body, change...)
			if resp.StatusCode != tt.status || resp.Header.Get(tt.header) != tt.value {
				t.Errorf("%s, %s %q: %s", resp.Status, tt.header, resp.Header.Get(tt.header), body)
			}
		})
	}
	resp, body := s.ask("POST", "/dialout", orderJSON)
	if resp.StatusCode != 200 {
		t.Fatalf("%s %s", resp.Status, body)
	}
	if resp, body := s.ask("POST", "/dialout", orderJSON); resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("too many: %s %s", resp.Status, body)
	}
	s.ask("DELETE", resp.Header.Get("Location"), "")
	s.onHook()
}

// overTalk makes cfg that of Talk's bridge.
func overTalk(t *testing.T) (lab *talktest.Lab, change func(*config.Config)) {
	t.Helper()
	lab = talktest.New(t)
	server := httptest.NewServer(lab)
	t.Cleanup(server.Close)
	lab.Cloud.Listen(server.URL + "/nextcloud/")
	return lab, func(c *config.Config) {
		c.Dialout.Servers = []talk.Server{{URL: server.URL, Secret: talktest.Secret,
			Backends: []talk.BackendConfig{{URL: server.URL + "/nextcloud", SIPSecret: talktest.SIPSecret}}}}
		c.Dialout.RoomTarget = "sip:{token}@sipx.test"
		c.Dialout.Agent = "201"
		c.Drain = 0
	}
}

func TestTalkCallsATelephone(t *testing.T) {
	lab, change := overTalk(t)
	s := newTelephones(t, siptest.Script{}, change)
	s.log.WaitFor(t, "connected to the signaling server")
	const token = "4271953862"
	user := lab.Cloud.Join(token, "moderator")
	user.Moderator = true
	sees := func(id string, want ...string) {
		t.Helper()
		lab.Until(strings.Join(want, ", "), 10*time.Second, func() bool { return slices.Equal(user.Calls(id), want) })
	}
	dial := func() string {
		t.Helper()
		id, err := lab.Cloud.Dialout(token, telephone, talktest.Options(101))
		if err != nil {
			t.Fatalf("%v\n%s", err, s.log)
		}
		return id
	}

	id := dial()
	sees(id, "accepted", "ringing", "connected")
	s.joined()
	if to := s.conference.Requests("INVITE")[0].Recipient.String(); !strings.HasPrefix(to, "sip:"+token+"@sipx.test") {
		t.Errorf("joined with %s", to)
	}
	user.Control(id, `{"type":"dtmf","digit":"#"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.gateway.Wait(ctx, func() bool { return len(s.gateway.Requests("INFO")) == 1 }); err != nil {
		t.Fatal(err)
	}
	if body := string(s.gateway.Requests("INFO")[0].Body()); !strings.HasPrefix(body, "Signal=#\r\n") {
		t.Errorf("INFO %q", body)
	}
	user.Control(id, `{"type":"hangup"}`)
	sees(id, "accepted", "ringing", "connected", "cleared")
	s.onHook()

	id = dial()
	sees(id, "accepted", "ringing", "connected")
	s.gateway.HangUp()
	sees(id, "accepted", "ringing", "connected", "cleared")
	s.onHook()

	id = dial()
	sees(id, "accepted", "ringing", "connected")
	s.signals <- syscall.SIGTERM
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	sees(id, "accepted", "ringing", "connected", "cleared")
	if n := lab.Bridges(); n != 0 {
		t.Errorf("%d bridges stay", n)
	}
	s.onHook()
}

// A gateway that refuses, and a policy that does.
func TestTalkIsToldWhyATelephoneIsNotCalled(t *testing.T) {
	lab, change := overTalk(t)
	s := newTelephones(t, siptest.Script{Status: 486}, func(c *config.Config) {
		change(c)
		c.Policy = "no-premium"
		c.Dial.Country = "DE"
	})
	s.log.WaitFor(t, "connected to the signaling server")
	user := lab.Cloud.Join("1", "moderator")
	id, err := lab.Cloud.Dialout("1", telephone, talktest.Options(101))
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	lab.Until("rejected", 10*time.Second, func() bool { return slices.Equal(user.Calls(id), []string{"accepted", "ringing", "rejected"}) })
	if got := lab.Cloud.Statuses("1")[id]; got.Code != 486 || got.Cause != "EndedByBusy" {
		t.Errorf("%+v", got)
	}
	lab.Until("rejected at Nextcloud", 10*time.Second, func() bool { return slices.Contains(lab.Cloud.Rejected(), id) })
	if _, err := lab.Cloud.Dialout("1", "+499001234567", talktest.Options(102)); err == nil || !strings.Contains(err.Error(), "not_allowed") ||
		!strings.Contains(err.Error(), "premium") {
		t.Errorf("premium: %v", err)
	}
}
