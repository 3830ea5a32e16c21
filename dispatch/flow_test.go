package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	hook   func(*hookSaid) reply // what the webhook answers
	config func(*Config)
	during func(*hooked)
}

// hookSaid is one request to the webhook.
type hookSaid struct {
	event  string
	fields map[string]any
	ctx    context.Context
}

// reply is one answer of the webhook.
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
		n := siptest.NewNetwork()
		n.Name("10.0.0.2:5060", "201")
		h.caller = siptest.NewPhone(n.Listen("10.0.0.2:5060"), siptest.Account{User: "201", Password: "secret"}, f.script)
		defer h.caller.Close()
		h.room = n.Phone("room", "10.0.0.3:5060", f.room)
		defer h.room.Close()
		h.other = n.Phone("203", "10.0.0.4:5060", f.other)
		defer h.other.Close()
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
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		for _, p := range []*siptest.Phone{h.caller, h.room, h.other} {
			if !p.OnHook() {
				t.Errorf("a phone is not on hook: %v", p.Log())
			}
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
	cfg := Config{Rules: rules, Trunks: []Trunk{{Name: "t1", Sources: []string{"10.0.0.2"}}}, RoomTarget: "sip:{room}@10.0.0.3", Domain: "10.0.0.3"}
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
		r.client = &http.Client{Transport: hook}
	}
	sw, err := sipflow.New(sipflow.Config{Listen: []string{"udp:10.0.0.1:5060"}, Realm: "sipx.test", Resolver: res, Inbound: h.d.Inbound("sipx.test"),
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

const hookRule = `{id: r, url: "https://hooks.test/", events: [answered, ended, transfer_failed, target_failed]}`

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

func TestACallIsAnsweredByItsRoom(t *testing.T) {
	f := flow{rules: hookRule, script: siptest.Script{HangUpAfter: 20 * time.Second}, room: siptest.Script{Ring: 3 * time.Second},
		hook: says(`{"room_name":"support","metadata":"m","attributes":{"a":"b"},"room_preset":"p","room_config":{"x":1},"krisp_enabled":true}`)}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "answered", "ended")
	h.decided(OutcomeAnswer)
	invites := h.room.Requests("INVITE")
	if len(invites) != 1 || invites[0].Recipient.User != "support" {
		t.Fatalf("%v", invites)
	}
	answered, ended := h.of("answered"), h.of("ended")
	for _, m := range []map[string]any{answered, ended} {
		for k, want := range map[string]any{"metadata": "m", "attributes": map[string]any{"a": "b"}, "room_name": "support", "room_preset": "p", "room_config": map[string]any{"x": 1.0},
			"krisp_enabled": true, "dispatch_action": "answer", "rule_id": "r", "trunk_id": "t1", "from_user": "201", "call_id": h.said[0]["call_id"]} {
			if !cmp.Equal(m[k], want) {
				t.Errorf("%s: %s is %v, want %v", m["event"], k, m[k], want)
			}
		}
	}
	if !strings.HasPrefix(answered["answered_at"].(string), "2000-01-01T00:00:03.00") || answered["sip_code"] != 200.0 {
		t.Errorf("%v", answered)
	}
	if ended["ended_by"] != "caller" || !about(ended["duration"], 20) || ended["sip_code"] != 200.0 || !strings.HasPrefix(ended["ended_at"].(string), "2000-01-01T00:00:23.00") || ended["outcome"] != "connected" {
		t.Errorf("%v", ended)
	}
	if !strings.Contains(h.log.String(), "metadata=m") {
		t.Errorf("the log has not what was attached:\n%s", &h.log)
	}
}

// about says whether a number is so many seconds.
func about(v any, want float64) bool {
	got, ok := v.(float64)
	return ok && got > want-0.5 && got < want+0.5
}

func TestACallIsRefused(t *testing.T) {
	for answer, want := range map[string]string{
		`{"action":"hangup"}`: "603",
		`{"action":"reject","reject_status_code":486,"reject_reason":"On\r\nX-Evil: holiday"}`: "486 On X-Evil: holiday",
		`{"action":"reject","reject_status_code":503}`:                                         "503",
	} {
		f := flow{rules: hookRule, hook: says(answer)}
		h := f.run(t)
		h.callerGot(want)
		h.told("invite", "ended")
		h.decided(OutcomeHangup)
		if ended := h.of("ended"); ended["sip_code"] != float64(mustCode(t, want)) || ended["ended_by"] != "service" || ended["duration"] != 0.0 {
			t.Errorf("%v", ended)
		}
		for _, a := range h.caller.Answers() {
			if a.GetHeader("X-Evil") != nil {
				t.Error("a header came through the reason")
			}
		}
	}
}

func mustCode(t *testing.T, s string) int {
	code, err := parseCode(s[:3])
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestNoRuleIs404AtOnce(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", numbers: ["1"]}`, hook: says("")}
	h := f.run(t)
	h.callerGot("404")
	h.told()
	h.decided(OutcomeNoRule)
	if h.took > 100*time.Millisecond {
		t.Errorf("after %v", h.took)
	}
}

func TestATransferCallsItsTarget(t *testing.T) {
	f := flow{rules: hookRule, script: siptest.Script{HangUpAfter: 20 * time.Second}, other: siptest.Script{Ring: 3 * time.Second},
		hook: says(`{"action":"transfer","transfer_to":"sip:203@10.0.0.4","destination_name":"Sales"}`)}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "answered", "ended")
	h.decided(OutcomeTransfer)
	if to := h.other.Requests("INVITE")[0].To(); to.DisplayName != "Sales" {
		t.Errorf("To %s", to)
	}
}

func TestATransferRingsAsLongAsItSays(t *testing.T) {
	f := flow{rules: hookRule, other: siptest.Script{NeverAnswer: true},
		hook: says(`{"action":"transfer","transfer_to":"sip:203@10.0.0.4","transfer_ringing_timeout":"7s"}`)}
	h := f.run(t)
	h.callerGot("480")
	h.told("invite", "transfer_failed", "ended")
	if h.took < 7*time.Second || h.took > 8*time.Second {
		t.Errorf("after %v", h.took)
	}
	if m := h.of("transfer_failed"); m["sip_code"] != 408.0 || m["outcome"] != "no_answer" {
		t.Errorf("%v", m)
	}
	if len(h.other.Requests("CANCEL")) != 1 {
		t.Error("the target rings on")
	}
}

func TestTheTargetsFailureIsTheCallersFinalCode(t *testing.T) {
	f := flow{rules: hookRule, other: siptest.Script{Status: 486}, hook: says(`{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`)}
	h := f.run(t)
	h.callerGot("486")
	h.told("invite", "transfer_failed", "ended")
	if m := h.of("transfer_failed"); m["sip_code"] != 486.0 || m["target"] != "sip:203@10.0.0.4" {
		t.Errorf("%v", m)
	}
	f = flow{rules: hookRule, room: siptest.Script{Status: 404}, hook: says(`{"room_name":"nowhere"}`)}
	h = f.run(t)
	h.callerGot("404")
	h.told("invite", "target_failed", "ended")
}

func TestTheWebhookMayNameAnotherTargetWhenOneFails(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", decide: [transfer_failed], events: [transfer_failed, ended]}`, script: siptest.Script{HangUpAfter: 5 * time.Second},
		other: siptest.Script{Status: 486}, hook: func(s *hookSaid) reply {
			if s.event == "transfer_failed" {
				if s.fields["sip_code"] != 486.0 || s.fields["transfer_to"] != "sip:203@10.0.0.4" {
					return reply{code: 500}
				}
				return reply{body: `{"room_name":"box"}`}
			}
			return reply{body: `{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`}
		}}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "transfer_failed", "ended")
	if len(h.room.Requests("INVITE")) != 1 {
		t.Error("the room was not called")
	}

	// A webhook that always says the same does not go on for ever.
	f.hook = says(`{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`)
	h = f.run(t)
	h.callerGot("486")
	if n := len(h.other.Requests("INVITE")); n != maxAttempts {
		t.Errorf("the target was called %d times", n)
	}
}

func TestRedirectAnswers302(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", mode: redirect}`, hook: says(`{"action":"transfer","transfer_to":"tel:+49-301"}`)}
	h := f.run(t)
	h.callerGot("302")
	h.decided(OutcomeRedirect)
	answers := h.caller.Answers()
	if c := answers[len(answers)-1].Contact(); c == nil || c.Address.User != "+49301" || c.Address.Host != "10.0.0.3" {
		t.Errorf("Contact %v", c)
	}
}

func TestTheFallbackIsTaken(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name  string
		hook  func(*hookSaid) reply
		after time.Duration
	}{
		{"status", func(*hookSaid) reply { return reply{code: 500} }, 0},
		{"no connection", func(*hookSaid) reply { return reply{err: boom} }, 0},
		{"no JSON", says("hello"), 0},
		{"unknown action", says(`{"action":"dance"}`), 0},
		{"too late", func(*hookSaid) reply { return reply{after: time.Minute, body: busyAnswer} }, webhookTime},
		{"room that cannot be", says(`{"room_name":"a@evil"}`), 0},
		{"target outside the policy", says(`{"action":"transfer","transfer_to":"sip:0900@10.0.0.4"}`), 0},
		{"header in the target", says(`{"action":"transfer","transfer_to":"sip:1@10.0.0.4\r\nX: y"}`), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flow{rules: `{id: r, url: "https://hooks.test/", fallback: 486, events: [ended]}`, hook: c.hook, config: func(cfg *Config) {
				cfg.Allow = func(_, uri string) error {
					if strings.Contains(uri, "0900") {
						return boom
					}
					return nil
				}
			}}
			h := f.run(t)
			h.callerGot("486")
			h.decided(OutcomeFallback)
			if !strings.Contains(h.log.String(), "the fallback is taken") {
				t.Errorf("the log does not say so:\n%s", &h.log)
			}
			if h.took < c.after || h.took > c.after+time.Second {
				t.Errorf("after %v", h.took)
			}
			if len(h.room.Requests())+len(h.other.Requests()) != 0 {
				t.Error("somebody was called")
			}
		})
	}
	t.Run("default", func(t *testing.T) {
		f := flow{rules: `{id: r, url: "https://hooks.test/"}`, hook: func(*hookSaid) reply { return reply{code: 500} }}
		f.run(t).callerGot("480")
	})
	t.Run("a target", func(t *testing.T) {
		f := flow{rules: `{id: r, url: "https://hooks.test/", fallback: {action: transfer, transfer_to: "sip:203@10.0.0.4"}}`, script: siptest.Script{HangUpAfter: time.Second},
			hook: func(*hookSaid) reply { return reply{code: 500} }}
		h := f.run(t)
		h.callerGot("")
		if len(h.other.Requests("INVITE")) != 1 {
			t.Error("it was not called")
		}
	})
	t.Run("no such room", func(t *testing.T) {
		f := flow{rules: hookRule, hook: says(`{"room_name":"x"}`), config: func(c *Config) { c.RoomTarget, c.Rooms = "", map[string]string{"y": "sip:y@10.0.0.3"} }}
		h := f.run(t)
		h.callerGot("480")
		if !strings.Contains(h.log.String(), "there is no room") {
			t.Errorf("%s", &h.log)
		}
	})
}

func TestCancelAbortsTheWebhook(t *testing.T) {
	var aborted error
	f := flow{rules: hookRule, giveUp: 2 * time.Second, hook: func(s *hookSaid) reply {
		if s.event != "invite" {
			return reply{}
		}
		<-s.ctx.Done()
		aborted = context.Cause(s.ctx)
		return reply{err: aborted}
	}}
	h := f.run(t)
	h.callerGot("deadline")
	h.told("invite", "ended")
	h.decided(OutcomeCancelled)
	if !errors.Is(aborted, sipflow.ErrCancelled) {
		t.Errorf("the request was ended by %v", aborted)
	}
	answers := h.caller.Answers()
	last := 0
	for _, a := range answers {
		if a.CSeq().MethodName == sip.INVITE {
			last = a.StatusCode
		}
	}
	if ended := h.of("ended"); last != 487 || ended["sip_code"] != 487.0 || ended["ended_by"] != "caller" {
		t.Errorf("%d %v", last, ended)
	}
}

func TestARetransmittedInviteIsDecidedOnOnce(t *testing.T) {
	f := flow{rules: hookRule, hook: func(s *hookSaid) reply { return reply{after: 4 * time.Second, body: busyAnswer} }}
	h := f.run(t)
	h.callerGot("486")
	h.told("invite", "ended")
}

func TestMediaThatIsNotOfferedIs488(t *testing.T) {
	f := flow{rules: hookRule, hook: says(`{"room_name":"x","media_encryption":"SRTP"}`)}
	h := f.run(t)
	h.callerGot("488")
	h.decided(OutcomeMedia)
}

func TestAStaticRuleAsksNobody(t *testing.T) {
	f := flow{rules: `- {id: any, action: hangup, reject_status_code: 486}
- {id: r, numbers: ["5000"], room_name: here, events: [ended], events_url: "https://hooks.test/e"}`, script: siptest.Script{HangUpAfter: time.Second}, hook: says("")}
	h := f.run(t)
	h.callerGot("")
	h.told("ended")
	if s := h.d.Stats(); s.AskedSum != 0 {
		t.Error("the webhook was asked")
	}
}

func TestHeadersThatTheRuleNamesAreTold(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", sip_headers: [X-Customer, x-none]}`, hook: says(busyAnswer),
		header: []sip.Header{sip.NewHeader("X-Customer", "7"), sip.NewHeader("X-Other", "8")}}
	h := f.run(t)
	h.callerGot("486")
	if got := h.said[0]["headers"]; !cmp.Equal(got, map[string]any{"X-Customer": "7"}) {
		t.Errorf("%v", got)
	}
}

// keys are digits by INFO, the first after a second, the others 200 ms apart.
func keys(digits string) (list []siptest.Action) {
	for i, d := range digits {
		if d == ' ' {
			continue
		}
		list = append(list, siptest.Action{After: time.Second + time.Duration(i)*200*time.Millisecond, Method: "INFO",
			Body: fmt.Sprintf("Signal=%c\r\nDuration=160\r\n", d), ContentType: "application/dtmf-relay"})
	}
	return list
}

func TestAPINIsAskedFor(t *testing.T) {
	const answer = `{"room_name":"secret","pin":"12*4"}`
	for _, c := range []struct {
		name, digits string
		right        bool
		after        time.Duration // when the caller is hung up
	}{
		{"right", "12*4#", true, 0},
		{"right, without #", "12*4", true, 0},
		{"right at the third time", "1#12*#12*4#", true, 0},
		{"wrong", "12*5#1#2#", false, 2600 * time.Millisecond},
		{"right at the fourth time", "1#2#3#12*4#", false, 2 * time.Second},
		{"too long", "12*412*412*412*412*412*412*412*412*4#1#1#", false, 9 * time.Second},
		{"empty", "###", false, 1400 * time.Millisecond},
		{"none", "", false, 30 * time.Second},
		{"a start", "1", false, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flow{rules: hookRule, hook: says(answer), script: siptest.Script{Do: keys(c.digits)}, room: siptest.Script{HangUpAfter: 10 * time.Second}}
			h := f.run(t)
			h.callerGot("") // it is answered either way
			called := len(h.room.Requests("INVITE")) > 0
			if called != c.right {
				t.Errorf("the room was called: %v", called)
			}
			if c.right {
				h.told("invite", "answered", "ended")
				h.decided(OutcomeAnswer)
				return
			}
			h.told("invite", "ended")
			h.decided(OutcomePIN)
			ended := h.of("ended")
			if !about(ended["duration"], c.after.Seconds()) || ended["ended_by"] != "service" {
				t.Errorf("%v", ended)
			}
			if strings.Contains(h.log.String(), "12*4") {
				t.Error("the log has the PIN")
			}
		})
	}
}

func TestTheWebhookMayCheckThePIN(t *testing.T) {
	rules := `{id: r, url: "https://hooks.test/", pin_check: webhook, events: [ended]}`
	hook := func(s *hookSaid) reply {
		switch {
		case s.event == "pin_entered" && s.fields["pin"] == "77":
			return reply{body: `{"room_name":"b"}`}
		case s.event == "pin_entered" && s.fields["pin"] == "99":
			return reply{body: `{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`}
		case s.event == "pin_entered" && s.fields["no_pin"] == true:
			return reply{body: `{"action":"reject","reject_status_code":486}`}
		case s.event == "pin_entered" && s.fields["pin"] == "55":
			return reply{code: 500}
		}
		return reply{body: `{"room_name":"a","pin":"*"}`}
	}
	for _, c := range []struct {
		name, digits string
		events       string
		room, other  bool
	}{
		{"right", "77#", "invite pin_entered ended", true, false},
		{"right at the second time", "1#77#", "invite pin_entered pin_entered ended", true, false},
		{"another decision", "99#", "invite pin_entered ended", false, true},
		{"wrong", "1#2#3#77#", "invite pin_entered pin_entered pin_entered ended", false, false},
		{"none", "#", "invite pin_entered ended", false, false},
		{"silence", "", "invite pin_entered ended", false, false},
		{"the webhook fails", "55#", "invite pin_entered ended", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flow{rules: rules, hook: hook, script: siptest.Script{Do: keys(c.digits)}, room: siptest.Script{HangUpAfter: 10 * time.Second}, other: siptest.Script{HangUpAfter: 10 * time.Second}}
			h := f.run(t)
			h.callerGot("")
			h.told(strings.Fields(c.events)...)
			if room, other := len(h.room.Requests("INVITE")) > 0, len(h.other.Requests("INVITE")) > 0; room != c.room || other != c.other {
				t.Errorf("room %v, target %v", room, other)
			}
		})
	}
}

func TestACallerWhoHangsUpWhileEnteringThePINIsLetGo(t *testing.T) {
	f := flow{rules: hookRule, hook: says(`{"room_name":"a","pin":"1"}`), script: siptest.Script{HangUpAfter: 3 * time.Second}}
	h := f.run(t)
	h.callerGot("")
	if ended := h.of("ended"); ended["ended_by"] != "caller" || !about(ended["duration"], 3) {
		t.Errorf("%v", ended)
	}
}

func TestUsersCallInTheirOwnNameOnly(t *testing.T) {
	secrets := func(c *Config) {
		c.Trunks = []Trunk{{Name: "branch", Username: "201", Credentials: sipflow.Credentials{Username: "201", Password: "secret"}}}
	}
	f := flow{rules: `{id: r, url: "https://hooks.test/"}`, hook: says(busyAnswer), config: secrets}
	h := f.run(t)
	h.callerGot("486")
	if h.said[0]["trunk_id"] != "branch" {
		t.Errorf("%v", h.said[0])
	}
	f.config = func(c *Config) {
		c.Trunks = nil
		c.Secrets = func(user string) (sipflow.Credentials, bool) {
			return sipflow.Credentials{Username: user, Password: "secret"}, true
		}
		c.Owns = func(user, name string) bool { return user == name }
	}
	h = f.run(t)
	h.callerGot("486")
	if h.said[0]["trunk_id"] != "" {
		t.Errorf("%v", h.said[0])
	}
	f.config = func(c *Config) {
		c.Trunks = nil
		c.Secrets = func(user string) (sipflow.Credentials, bool) {
			return sipflow.Credentials{Username: user, Password: "secret"}, true
		}
		c.Owns = func(user, name string) bool { return false }
	}
	h = f.run(t)
	h.callerGot("403")
	h.told()
	h.decided(OutcomeForged)
	f.config = func(c *Config) {
		c.Trunks = nil
		c.Secrets = func(string) (sipflow.Credentials, bool) { return sipflow.Credentials{}, false }
	}
	h = f.run(t)
	h.callerGot("40")
	h.told()
}

func TestShuttingDownWhileTheWebhookThinks(t *testing.T) {
	f := flow{rules: hookRule, hook: func(s *hookSaid) reply { return reply{after: 4 * time.Second, body: busyAnswer} }}
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		h := &hooked{t: t}
		caller := n.Phone("201", "10.0.0.2:5060", siptest.Script{})
		defer caller.Close()
		_, stop := f.start(t, n, h)
		got := make(chan error, 1)
		go func() { got <- caller.Call(t.Context(), "sip:5000@10.0.0.1:5060") }()
		time.Sleep(time.Second)
		stop()
		if err := <-got; err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Minute)
	})
}

// Five hundred calls whose webhook takes its time do not make another one wait.
func TestCallsDoNotWaitForTheWebhooksOfOthers(t *testing.T) {
	const calls = 500
	slow := 3 * time.Second
	f := flow{rules: `[{id: slow, url: "https://hooks.test/", numbers: [slow]}, {id: static, action: hangup, reject_status_code: 486}]`,
		hook: func(s *hookSaid) reply {
			return reply{after: slow, body: `{"action":"hangup","reject_status_code":606}`}
		}}
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		h := &hooked{t: t}
		_, stop := f.start(t, n, h)
		caller := n.Phone("201", "10.0.0.2:5060", siptest.Script{})
		defer caller.Close()
		start := time.Now()
		got := make(chan error, calls)
		for range calls {
			go func() { got <- caller.Call(t.Context(), "sip:slow@10.0.0.1:5060") }()
		}
		time.Sleep(time.Second)
		if asking := h.d.Stats().Asking; asking != calls {
			t.Errorf("%d webhooks are being asked", asking)
		}
		before := time.Now()
		if err := caller.Call(t.Context(), "sip:fast@10.0.0.1:5060"); err == nil || !strings.Contains(err.Error(), "486") {
			t.Errorf("%v", err)
		}
		if d := time.Since(before); d > 50*time.Millisecond {
			t.Errorf("a call waited for %v", d)
		}
		for range calls {
			if err := <-got; err == nil || !strings.Contains(err.Error(), "606") {
				t.Fatalf("%v", err)
			}
		}
		if d := time.Since(start); d > slow+time.Second {
			t.Errorf("all together they took %v", d)
		}
		time.Sleep(time.Minute)
		stop()
	})
}
