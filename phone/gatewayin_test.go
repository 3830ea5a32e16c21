package phone

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sipxrest/media"
	"sipxrest/sipflow/siptest"
)

// A user whom a SIP phone calls has his devices rung, not his SIP phone.
func TestSIPPhoneIsNotConnectedToAnother(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		other := siptest.NewPhone(x.net.Listen("10.0.0.5:5060"), siptest.Account{User: "203"}, siptest.Script{})
		defer other.Close()
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["sam"].ID, "sip:203@10.0.0.5"); err != nil {
			t.Fatal(err)
		}
		if err := <-x.fromDesk(x.t.Context(), "sam"); err == nil || !strings.Contains(err.Error(), "480") {
			t.Errorf("without a device: %v", err)
		}
		x.notified("sam")
		ctx, stop := context.WithCancel(x.t.Context())
		got := x.fromDesk(ctx, "sam")
		stop()
		<-got
		if n := len(other.Requests("INVITE")); n != 0 {
			t.Errorf("the other phone was rung %d times", n)
		}
	})
}

// Many may call by one number, that of a company.
func TestGuestsAreNotBusy(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["kim"].ID, ""); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(x.t.Context())
		defer stop()
		var calls []<-chan error
		for _, name := range []string{"sam", "eve"} {
			device := x.notified(name)
			calls = append(calls, x.fromDesk(ctx, name))
			if rung := device.heard(); len(rung) != 1 {
				t.Errorf("%s: %q", name, rung)
			}
		}
		stop()
		for _, got := range calls {
			<-got
		}
	})
}

func TestSIPPhoneCallsAUser(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		sam := x.notified("sam")
		got := x.fromDesk(x.t.Context(), "sam")
		rung := sam.heard()
		if len(rung) != 1 {
			t.Fatalf("%q", rung)
		}
		call, ok := strings.CutPrefix(rung[0], `{"type":{"incomingPhoneCall":{}},"info":"kim","contentID":"`)
		if !ok || !strings.HasSuffix(call, `","caller":{"userID":"`+x.id("kim")+`","username":"kim"}}`) {
			t.Fatalf("%s", rung[0])
		}
		to := x.open("sam", answerPath(call[:36]))
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		to.started("callee")
		sam.hears("the device", answeredText(call[:36]))
		answers := x.desk.Answers()
		x.far.Offer()
		if err := x.far.Accept(answers[len(answers)-1].Body()); err != nil {
			t.Fatal(err)
		}
		x.speak(to)
		_ = to.Close(websocket.StatusNormalClosure, "")
		sam.hears("the device", endedText(call[:36]))
		if n := len(x.desk.Requests("BYE")); n != 1 {
			t.Errorf("%d BYEs came", n)
		}
		x.outcome(Completed)
		if s := x.Stats(); s.FromPhones != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestGuestCallsAUser(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["kim"].ID, ""); err != nil {
			t.Fatal(err)
		}
		eve := x.notified("eve") // who favours nobody
		ctx, stop := context.WithCancel(x.t.Context())
		got := x.fromDesk(ctx, "eve")
		rung := eve.heard()
		if len(rung) != 1 || !strings.Contains(rung[0], `"info":"202"`) ||
			!strings.Contains(rung[0], `"caller":{"userID":"`+guestID("sip:202@10.0.0.3").String()+`","username":"202"`) {
			t.Fatalf("%q", rung)
		}
		stop()
		<-got
		if ended := eve.heard(); len(ended) != 1 || !strings.Contains(ended[0], "phoneCallEnded") {
			t.Errorf("%q", ended)
		}
		x.outcome(Cancelled)

		// A guest whose number is a user's name is not shown as that user.
		if _, err := x.cfg.Store.Add(x.t.Context(), User{Username: "202"}, "password of 202"); err != nil {
			t.Fatal(err)
		}
		ctx, stop = context.WithCancel(x.t.Context())
		got = x.fromDesk(ctx, "eve")
		if rung := eve.heard(); len(rung) != 1 || !strings.Contains(rung[0], `"info":"202@10.0.0.3"`) ||
			!strings.Contains(rung[0], `"username":"202@10.0.0.3"`) {
			t.Errorf("%q", rung)
		}
		stop()
		<-got
		eve.heard()

		x.cfg.Gateway.Guests = false
		if err := <-x.fromDesk(x.t.Context(), "eve"); err == nil || !strings.Contains(err.Error(), "603") {
			t.Errorf("a guest where there are none: %v", err)
		}
	})
}

func TestWhoHasProvedHisNameIsNobodyElse(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		sam := x.notified("sam")
		x.cfg.Gateway.User = func(username string) string {
			return map[string]string{"202": "202", "desk": "202", "300": "300"}[username]
		}
		// From is kim's address, and it is not she who calls: 300 is a guest.
		x.proved = "300"
		ctx, stop := context.WithCancel(x.t.Context())
		got := x.fromDesk(ctx, "sam")
		if rung := sam.heard(); len(rung) != 1 || !strings.Contains(rung[0], `"caller":{"userID":"`+guestID("sip:300@10.0.0.1").String()+
			`","username":"202"`) {
			t.Errorf("%q", rung)
		}
		stop()
		<-got
		sam.heard()

		// It is kim who calls, by another of her names and from another host.
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["kim"].ID, "sip:202@10.0.0.1"); err != nil {
			t.Fatal(err)
		}
		x.relate(Block, "sam", "kim")
		for _, x.proved = range []string{"202", "desk"} {
			if err := <-x.fromDesk(x.t.Context(), "sam"); err == nil || !strings.Contains(err.Error(), "603") {
				t.Errorf("who is blocked calls as %s: %v", x.proved, err)
			}
		}
		sam.hears("of who is blocked")
		// What a trunk writes is believed.
		x.proved = "carrier"
		ctx, stop = context.WithCancel(x.t.Context())
		got = x.fromDesk(ctx, "sam")
		if rung := sam.heard(); len(rung) != 1 || !strings.Contains(rung[0], guestID("sip:202@10.0.0.3").String()) {
			t.Errorf("%q", rung)
		}
		stop()
		<-got
	})
}

func TestSIPPhoneIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(x *exchange)
		to      string
		during  func(x *exchange, call string)
		want    string
		outcome Outcome
	}{
		"nobody of that name": {to: "nobody", want: "404"},
		"offline":             {to: "sam", want: "480"},
		"calls are off":       {to: "sam", want: "480", prepare: func(x *exchange) { x.notified("sam"); x.SetCalls(false) }},
		"blocked":             {to: "sam", want: "603", prepare: func(x *exchange) { x.notified("sam"); x.relate(Block, "sam", "kim") }},
		"muted":               {to: "sam", want: "603", prepare: func(x *exchange) { x.notified("sam"); x.relate(Mute, "sam", "kim") }},
		"of too low a level": {to: "sam", want: "603", prepare: func(x *exchange) {
			x.notified("sam")
			kim := x.users["kim"]
			kim.Level = "banned"
			if err := x.cfg.Store.Update(x.t.Context(), kim); err != nil {
				x.t.Fatal(err)
			}
		}},
		"no favourite": {to: "eve", want: "603", prepare: func(x *exchange) { x.notified("eve") }},
		"oneself":      {to: "kim", want: "603", prepare: func(x *exchange) { x.notified("kim") }},
		"busy": {to: "sam", want: "486", prepare: func(x *exchange) {
			x.notified("sam")
			x.relate(Favorite, "eve", "sam")
			x.notified("eve")
			x.open("sam", initiatePath(callB, x.id("eve")))
		}},
		"busy, and no port is free": {to: "sam", want: "486", prepare: func(x *exchange) {
			x.notified("sam")
			x.relate(Favorite, "eve", "sam")
			x.notified("eve")
			x.open("sam", initiatePath(callB, x.id("eve")))
			for {
				session, err := x.ports.Open(media.Options{})
				if err != nil {
					break
				}
				time.AfterFunc(time.Minute, session.Close)
			}
		}},
		"declined": {to: "sam", want: "603", prepare: func(x *exchange) { x.notified("sam") }, during: func(x *exchange, call string) {
			x.wants("sam", "POST", "/api/v3/phone/decline/"+call, "", 200, "")
		}},
		"no answer": {to: "sam", want: "480", prepare: func(x *exchange) { x.notified("sam") }, during: func(*exchange, string) {
			time.Sleep(time.Minute)
		}},
		"logged out": {to: "sam", want: "480", prepare: func(x *exchange) { x.notified("sam") }, during: func(x *exchange, call string) {
			x.wants("sam", "POST", "/api/v3/auth/logout", "", 204, "")
			time.Sleep(time.Minute)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			withDesk(t, siptest.Script{}, func(x *exchange) {
				if c.prepare != nil {
					c.prepare(x)
				}
				began := time.Now()
				got := x.fromDesk(x.t.Context(), c.to)
				if c.during != nil {
					c.during(x, x.onlyCall())
				}
				select {
				case err := <-got:
					if err == nil || !strings.Contains(err.Error(), c.want) {
						t.Errorf("the phone got %v, want %s", err, c.want)
					}
					if took := time.Since(began); c.during == nil && took > 2*time.Second {
						t.Errorf("after %v", took)
					}
				case <-time.After(2 * time.Minute):
					t.Error("the phone got no answer")
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}
