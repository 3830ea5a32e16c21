package phone

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sipxrest/sipflow/siptest"
)

// told is a Calls that notes what it is told.
type told struct {
	mu    sync.Mutex
	ids   map[string]bool
	notes []string
}

func (c *told) note(id, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil {
		c.ids = map[string]bool{}
	}
	c.ids[id] = true
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

func (c *told) Name(id string) string { return id }
func (c *told) Begins(b Begun) {
	c.note(b.ID, "begins: %s calls %s, direct %v, inbound %v", b.Caller.Username, b.Callee.Username, b.Direct, b.Inbound)
}
func (c *told) Rings(id string, devices int, _ bool) { c.note(id, "rings: %d devices", devices) }
func (c *told) Answering(id string)                  { c.note(id, "answering") }
func (c *told) Answered(id string, _ bool)           { c.note(id, "answered") }
func (c *told) Joined(id string)                     { c.note(id, "joined") }
func (c *told) Ends(id string, e Ending) {
	err := ""
	if e.Err != nil {
		err = e.Err.Error()
	}
	c.note(id, "ends: %s by %d, inbound %v, stopped %v %s", e.Outcome, e.By, e.Inbound, e.Stopped, err)
}

func (c *told) was(t *testing.T, want ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.notes, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(c.notes, "\n"), strings.Join(want, "\n"))
	}
	if len(c.ids) > 1 {
		t.Errorf("by the ids %v", c.ids)
	}
}

func TestCallsAreToldBesideTheirUsers(t *testing.T) {
	const begins = "begins: sam calls kim, direct false, inbound false"
	for _, c := range []struct {
		name string
		do   func(h *house)
		want []string
	}{
		{"the caller hangs up", func(h *house) { _ = h.talking().from.Close(websocket.StatusNormalClosure, "") },
			[]string{begins, "rings: 2 devices", "answering", "answered", "joined", "ends: completed by 1, inbound false, stopped false "}},
		{"the callee hangs up", func(h *house) { _ = h.talking().to.Close(websocket.StatusNormalClosure, "") },
			[]string{begins, "rings: 2 devices", "answering", "answered", "joined", "ends: completed by 2, inbound false, stopped false "}},
		{"the caller gives up", func(h *house) { _ = h.ringing().from.Close(websocket.StatusNormalClosure, "") },
			[]string{begins, "rings: 2 devices", "ends: cancelled by 1, inbound false, stopped false "}},
		{"declined", func(h *house) { h.ringing(); h.wants("kim", "POST", "/api/v3/phone/decline/"+callA, "", 200, "") },
			[]string{begins, "rings: 2 devices", "ends: declined by 2, inbound false, stopped false "}},
		{"nobody answers", func(h *house) { h.ringing(); time.Sleep(time.Minute) },
			[]string{begins, "rings: 2 devices", "ends: no_answer by 0, inbound false, stopped false "}},
		{"too long", func(h *house) { h.talking(); time.Sleep(time.Hour) },
			[]string{begins, "rings: 2 devices", "answering", "answered", "joined", "ends: too_long by 0, inbound false, stopped false "}},
		{"shutdown", func(h *house) { h.talking(); h.Shutdown() },
			[]string{begins, "rings: 2 devices", "answering", "answered", "joined", "ends: ended by 0, inbound false, stopped true "}},
		{"refused", func(h *house) { h.wants("kim", "POST", "/api/v3/phone/decline/"+callA, "", 200, "") }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := &told{}
			at(t, func(h *house) {
				c.do(h)
				settle()
				calls.was(t, c.want...)
			}, func(cfg *Config) { cfg.Calls = calls })
		})
	}
}

func TestADirectCallIsTold(t *testing.T) {
	calls := &told{}
	at(t, func(h *house) {
		h.notified("kim")
		h.wants("sam", "POST", "/api/v3/phone/initiate/"+callA+"/to/"+h.id("kim"), `{"ipV4Addr":"192.0.2.7"}`, 200, "")
		h.wants("kim", "POST", "/api/v3/phone/answer/"+callA, "", 200, "")
		settle()
		calls.was(t, "begins: sam calls kim, direct true, inbound false", "rings: 1 devices",
			"ends: handed_over by 2, inbound false, stopped false ")
	}, func(cfg *Config) { cfg.Calls = calls })
}

// The end of a call is told after that of its SIP phone's side, whoever ends it.
func TestACallToASIPPhoneIsToldAsOne(t *testing.T) {
	const begins = "begins: sam calls kim, direct false, inbound false"
	for _, c := range []struct {
		name   string
		script siptest.Script
		do     func(x *exchange, from *client)
		want   []string
	}{
		{"the phone hangs up", siptest.Script{}, func(x *exchange, from *client) { time.Sleep(time.Second); x.desk.HangUp() },
			[]string{begins, "answering", "joined", "ends: completed by 2, inbound false, stopped false "}},
		{"the caller hangs up", siptest.Script{}, func(x *exchange, from *client) {
			time.Sleep(time.Second)
			_ = from.Close(websocket.StatusNormalClosure, "")
		},
			[]string{begins, "answering", "joined", "ends: completed by 1, inbound false, stopped false "}},
		{"busy", siptest.Script{Status: 486}, func(*exchange, *client) {},
			[]string{begins, "ends: declined by 2, inbound false, stopped false INVITE: 486 Busy Here"}},
		{"nobody answers", siptest.Script{NeverAnswer: true}, func(*exchange, *client) { time.Sleep(70 * time.Second) },
			[]string{begins, "ends: no_answer by 0, inbound false, stopped false "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := &told{}
			withDesk(t, c.script, func(x *exchange) {
				c.do(x, x.calls())
				time.Sleep(time.Minute)
				calls.was(t, c.want...)
			}, func(cfg *Config) { cfg.Calls = calls })
		})
	}
}

// The call of a SIP phone is known by its own id: only the devices are news.
func TestACallOfASIPPhoneIsToldAsOne(t *testing.T) {
	calls := &told{}
	withDesk(t, siptest.Script{}, func(x *exchange) {
		sam := x.notified("sam")
		got := x.fromDesk(x.t.Context(), "sam")
		rung := sam.heard()
		to := x.open("sam", answerPath(strings.TrimPrefix(rung[0], `{"type":{"incomingPhoneCall":{}},"info":"kim","contentID":"`)[:36]))
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		settle()
		_ = to.Close(websocket.StatusNormalClosure, "")
		settle()
		calls.was(t, "begins: kim calls sam, direct false, inbound true", "rings: 1 devices", "answered",
			"ends: completed by 2, inbound true, stopped false ")
	}, func(cfg *Config) { cfg.Calls = calls })
}
