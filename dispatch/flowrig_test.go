package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"sipxrest/media"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// flow is a call of 201 to us that is dispatched: rooms are at 202, other
// targets at 203, every request by way of the one who is called.
type flow struct {
	rules  string                // that has the URL https://hooks.test/ for its webhook
	script siptest.Script        // of the caller
	how    siptest.Calling       // how it calls
	header []sip.Header          // of its INVITE
	room   siptest.Script        // of 202
	other  siptest.Script        // of 203
	giveUp time.Duration         // when the caller cancels
	hook   func(*hookSaid) reply // what the webhook returns
	config func(*Config)
	during func(*hooked)
	audio  *Audio // of the service, whose Ports the flow makes; nil: there is none
}

// hookSaid is one request to the webhook.
type hookSaid struct {
	event  string
	fields map[string]any
	ctx    context.Context
}

// reply is one response of the webhook.
type reply struct {
	after time.Duration
	code  int // 200
	body  string
	err   error
}

func says(body string) func(*hookSaid) reply {
	return func(*hookSaid) reply { return reply{body: body} }
}

// hooked is what came of a flow.
type hooked struct {
	t           *testing.T
	d           *Dispatcher
	err         error         // for the caller
	took        time.Duration // until that
	asked       []string      // events that the webhook was told, and what was asked
	said        []map[string]any
	log         bytes.Buffer
	caller      *siptest.Phone
	room, other *siptest.Phone
	far         *callerAudio // nil where the service has no audio
	ports       *media.Ports

	mu sync.Mutex
}

func (h *hooked) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(p)
}

// of is the first request with an event.
func (h *hooked) of(event string) map[string]any {
	h.t.Helper()
	for i, name := range h.asked {
		if name == event {
			return h.said[i]
		}
	}
	h.t.Errorf("the webhook was not told of %s: %v", event, h.asked)
	return map[string]any{}
}

func (f *flow) run(t *testing.T) (h *hooked) {
	h = &hooked{t: t}
	synctest.Test(t, func(t *testing.T) {
		defer func(outer *testing.T) { h.t = outer }(h.t)
		h.t = t
		n := siptest.NewNetwork()
		n.Name("10.0.0.2:5060", "201")
		h.caller = siptest.NewPhone(n.Listen("10.0.0.2:5060"), siptest.Account{User: "201", Password: "secret"}, f.script)
		defer h.caller.Close()
		h.room = n.Phone("room", "10.0.0.3:5060", f.room)
		defer h.room.Close()
		h.other = n.Phone("203", "10.0.0.4:5060", f.other)
		defer h.other.Close()
		if f.audio != nil {
			h.far = newCallerAudio(t, n)
			defer h.far.Close()
		}
		sw, stop := f.start(t, n, h)
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if f.giveUp > 0 {
			ctx, cancel = context.WithTimeout(ctx, f.giveUp)
		}
		start := time.Now()
		h.err = h.caller.CallAs(ctx, f.how, "sip:5000@10.0.0.1:5060", f.header...)
		h.took = time.Since(start)
		cancel()
		if f.during != nil {
			f.during(h)
		}
		if h.far != nil {
			h.far.Close()
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		for _, p := range []*siptest.Phone{h.caller, h.room, h.other} {
			if !p.OnHook() {
				t.Errorf("a phone is not on hook: %v", p.Log())
			}
		}
		if h.ports != nil && h.ports.InUse() != 0 {
			t.Error("audio is left open")
		}
		if sw.Active() != 0 || h.d.Stats().Running != 0 || h.d.Stats().Queued != 0 || h.d.Stats().Asking != 0 {
			t.Errorf("something is left: %+v", h.d.Stats())
		}
		stop()
		if t.Failed() {
			t.Logf("%s\n%s", n.Ladder(), &h.log)
		}
	})
	return h
}

// start starts a switchboard with a dispatcher on it.
func (f *flow) start(t *testing.T, n *siptest.Network, h *hooked) (*sipflow.Switchboard, func()) {
	res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := ParseRules([]byte(f.rules), "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Rules: rules, Trunks: []Trunk{{Name: "t1", Sources: []string{"10.0.0.2"}}}, RoomTarget: "sip:{room}@10.0.0.3",
		Domain: "10.0.0.3"}
	if f.audio != nil {
		audio := *f.audio
		h.ports = mediaPorts(t, n, "10.0.0.1:20000")
		audio.Ports = h.ports
		cfg.Audio = &audio
	}
	if f.config != nil {
		f.config(&cfg)
	}
	log := slog.New(slog.NewTextHandler(h, nil))
	if h.d, err = New(cfg, log); err != nil {
		t.Fatal(err)
	}
	hook := web(func(q *http.Request) (int, string, error) {
		said := &hookSaid{ctx: q.Context(), fields: map[string]any{}}
		data, _ := io.ReadAll(q.Body)
		if err := json.Unmarshal(data, &said.fields); err != nil {
			t.Errorf("%s: %v", data, err)
		}
		said.event, _ = said.fields["event"].(string)
		describes(t, said.fields)
		h.mu.Lock()
		h.asked, h.said = append(h.asked, said.event), append(h.said, said.fields)
		h.mu.Unlock()
		r := f.hook(said)
		if r.after > 0 {
			select {
			case <-time.After(r.after):
			case <-q.Context().Done():
				return 0, "", q.Context().Err()
			}
		}
		if r.code == 0 {
			r.code = 200
		}
		return r.code, r.body, r.err
	})
	for _, r := range h.d.now.Load().table.rules {
		r.client.HTTP = &http.Client{Transport: hook}
	}
	sw, err := sipflow.New(sipflow.Config{Listen: []string{"udp:10.0.0.1:5060"}, Realm: "sipx.test", Resolver: res,
		Inbound: h.d.Inbound("sipx.test"),
		Network: sipflow.Network{
			ListenUDP: func(a string) (sipflow.PacketConn, error) { return n.Listen(a), nil },
			ListenTCP: func(a string) (net.Listener, error) { return n.ListenTCP(a), nil },
			DialTCP:   func(ctx context.Context, addr string) (net.Conn, error) { return n.DialContext(ctx, "tcp", addr) },
		}}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- sw.Serve(ctx) }()
	synctest.Wait()
	return sw, func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		h.d.Close(end)
		res.Close()
	}
}

func (h *hooked) callerGot(code string) {
	h.t.Helper()
	if code == "" && h.err != nil || code != "" && (h.err == nil || !strings.Contains(h.err.Error(), code)) {
		h.t.Errorf("the caller got %v, want %q\n%s", h.err, code, &h.log)
	}
}

func (h *hooked) told(events ...string) {
	h.t.Helper()
	if diff := cmp.Diff(events, h.asked); diff != "" {
		h.t.Error(diff)
	}
}

func (h *hooked) decided(o Outcome) {
	h.t.Helper()
	s := h.d.Stats()
	for i, n := range s.Decided {
		if want := uint64(0); n != want && i != int(o) || i == int(o) && n != 1 {
			h.t.Errorf("%d calls counted as %s", n, Outcome(i))
		}
	}
}

// about reports whether a number is so many seconds.
func about(v any, want float64) bool {
	got, ok := v.(float64)
	return ok && got > want-0.5 && got < want+0.5
}

func mustCode(t *testing.T, s string) int {
	code, err := parseCode(s[:3])
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// web is the other side of HTTP requests in fake time.
type web func(*http.Request) (int, string, error)

func (w web) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.Context().Err() != nil {
		return nil, q.Context().Err()
	}
	code, body, err := w(q)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Status: fmt.Sprint(code, " ", http.StatusText(code)), Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)), Request: q}, nil
}
