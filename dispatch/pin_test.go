package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

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
			f := flow{rules: hookRule, hook: says(answer), script: siptest.Script{Do: keys(c.digits)},
				room: siptest.Script{HangUpAfter: 10 * time.Second}}
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
			f := flow{rules: rules, hook: hook, script: siptest.Script{Do: keys(c.digits)}, room: siptest.Script{HangUpAfter: 10 * time.Second},
				other: siptest.Script{HangUpAfter: 10 * time.Second}}
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

// The webhook that would check PINs has failed: that of the fallback is checked
// here.
func TestThePINOfTheFallbackIsCheckedHere(t *testing.T) {
	for digits, in := range map[string]bool{"55#42#": true, "55#41#43#44#": false, "55#": false} {
		t.Run(digits, func(t *testing.T) {
			f := flow{rules: `{id: r, url: "https://hooks.test/", pin_check: webhook, fallback: {action: answer, room_name: b, pin: "42"}}`,
				hook: func(s *hookSaid) reply {
					if s.event == "pin_entered" {
						return reply{code: 500}
					}
					return reply{body: `{"room_name":"a","pin":"*"}`}
				}, script: siptest.Script{Do: keys(digits)}, room: siptest.Script{HangUpAfter: 10 * time.Second}}
			h := f.run(t)
			h.callerGot("")
			h.told("invite", "pin_entered")
			if got := len(h.room.Requests("INVITE")) > 0; got != in {
				t.Errorf("in the room: %v", got)
			}
		})
	}
}
