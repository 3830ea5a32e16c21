//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// hook is a webhook: what it is asked and told, and what it answers.
type hook struct {
	*httptest.Server
	mu      sync.Mutex
	answer  string
	wait    bool // until the request is ended
	said    []map[string]any
	aborted int
}

func startHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m map[string]any
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		h.said = append(h.said, m)
		answer, wait := h.answer, h.wait && m["event"] == "invite"
		h.mu.Unlock()
		if wait {
			<-r.Context().Done()
			h.mu.Lock()
			h.aborted++
			h.mu.Unlock()
			return
		}
		io.WriteString(w, answer)
	}))
	t.Cleanup(h.Close)
	return h
}

// answers sets what the webhook answers from now on, and forgets what was said.
func (h *hook) answers(answer string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer, h.said, h.wait = answer, nil, answer == ""
}

// of is the first that was said of an event, nil for nothing.
func (h *hook) of(event string) map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.said {
		if m["event"] == event {
			return m
		}
	}
	return nil
}

func (h *hook) await(l *lab.Lab, event string) map[string]any {
	l.Until("the webhook is told of "+event, func() bool { return h.of(event) != nil })
	return h.of(event)
}

func TestCallsThatComeInAreDispatched(t *testing.T) {
	t.Parallel()
	sip := net.JoinHostPort("127.0.0.1", strconv.Itoa(lab.Ports(t, 1)))
	l := lab.Start(t, map[string]string{"5000": sip, "5001": sip, "5002": sip})
	h := startHook(t)
	caller := l.Phone("201", lab.PhoneConfig{})
	room := l.Phone("202", lab.PhoneConfig{AnswerDelay: 500 * time.Millisecond})
	other := l.Phone("203", lab.PhoneConfig{Manual: true})
	l.ServiceAt(sip, fmt.Sprintf(`dispatch:
  trunks: [{name: kamailio, sources: [127.0.0.1]}]
  rooms: {support: "sip:202@sipx.test"}
  agent: "209"
  rules:
  - {id: hook, numbers: ["5000"], url: %[1]q, allow_http: true, allow_private: [127.0.0.1], timeout: 20s, events: [answered, ended, `+
		`transfer_failed]}
  - {id: down, numbers: ["5001"], url: "http://127.0.0.1:1/", allow_http: true, allow_private: [127.0.0.1], fallback: 486}`, h.URL))
	closed := func(number, why string) {
		t.Helper()
		call := caller.Await("its call to "+number+" is over", func(c lab.Call) bool {
			return c.Outgoing && c.State == "closed" && strings.Contains(c.Peer, number) && strings.Contains(c.Reason, why)
		})
		if !strings.Contains(call.Reason, why) {
			t.Errorf("the call to %s ended with %q, want %s", number, call.Reason, why)
		}
		caller.AwaitOnHook()
	}

	l.Run(t, "answer", func(t *testing.T) {
		h.answers(`{"dispatch_action":"answer","room_name":"support","metadata":"m1"}`)
		caller.Dial("5000")
		call := caller.AwaitInCallWith("5000")
		invite := h.await(l, "invite")
		if invite["from_user"] != "201" || invite["to_user"] != "5000" || invite["trunk_id"] != "kamailio" || invite["sip_call_id"] != call.ID {
			t.Errorf("%v", invite)
		}
		inCall(caller, room)
		if m := h.await(l, "answered"); m["metadata"] != "m1" {
			t.Errorf("%v", m)
		}
		caller.HangUp()
		caller.AwaitOnHook()
		room.AwaitOnHook()
		if m := h.await(l, "ended"); m["ended_by"] != "caller" || m["sip_code"] != 200.0 {
			t.Errorf("%v", m)
		}
	})
	l.Run(t, "the room hangs up", func(t *testing.T) {
		h.answers(`{"dispatch_action":"answer","room_name":"support"}`)
		caller.Dial("5000")
		h.await(l, "answered")
		room.AwaitInCallWith("201")
		room.HangUp()
		caller.AwaitOnHook()
		if m := h.await(l, "ended"); m["ended_by"] != "target" {
			t.Errorf("%v", m)
		}
	})
	l.Run(t, "hang up", func(t *testing.T) {
		h.answers(`{"action":"hangup","reject_status_code":606,"reject_reason":"Not today"}`)
		caller.Dial("5000")
		closed("5000", "606")
		if m := h.await(l, "ended"); m["sip_code"] != 606.0 {
			t.Errorf("%v", m)
		}
	})
	l.Run(t, "transfer", func(t *testing.T) {
		h.answers(`{"action":"transfer","transfer_to":"sip:203@sipx.test","transfer_ringing_timeout":15}`)
		caller.Dial("5000")
		other.AwaitRinging()
		other.Answer()
		inCall(caller, other)
		other.HangUp()
		caller.AwaitOnHook()
		h.await(l, "ended")
	})
	l.Run(t, "transfer refused", func(t *testing.T) {
		h.answers(`{"action":"transfer","transfer_to":"sip:203@sipx.test"}`)
		caller.Dial("5000")
		other.AwaitRinging()
		other.HangUp()
		closed("5000", "486")
		if m := h.await(l, "transfer_failed"); m["sip_code"] != 486.0 {
			t.Errorf("%v", m)
		}
	})
	l.Run(t, "webhook down", func(t *testing.T) {
		caller.Dial("5001")
		closed("5001", "486")
	})
	l.Run(t, "no rule", func(t *testing.T) {
		caller.Dial("5002")
		closed("5002", "404")
	})
	l.Run(t, "cancelled meanwhile", func(t *testing.T) {
		h.answers("")
		caller.Dial("5000")
		h.await(l, "invite")
		caller.HangUp()
		caller.AwaitOnHook()
		l.Until("the request is ended", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.aborted == 1
		})
		if m := h.await(l, "ended"); m["sip_code"] != 487.0 || m["ended_by"] != "caller" {
			t.Errorf("%v", m)
		}
	})
}
