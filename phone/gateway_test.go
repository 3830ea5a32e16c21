package phone

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo/sip"

	"sipxrest/media"
	"sipxrest/sipflow/siptest"
)

const (
	boardAddr = "10.0.0.1:5060"
	deskAddr  = "10.0.0.3:5060" // kim's SIP phone
	deskSIP   = "sip:202@10.0.0.3"
)

func TestUserCallsASIPPhone(t *testing.T) {
	withDesk(t, siptest.Script{Ring: 3 * time.Second}, func(x *exchange) {
		from := x.calls()
		from.hears("before the answer")
		time.Sleep(3 * time.Second)
		from.started("caller")
		if err := x.far.Accept(x.offered()); err != nil {
			t.Fatal(err)
		}
		invite := x.desk.Requests("INVITE")[0]
		if f := invite.From(); f.Address.User != "sam" || f.Address.Host != "10.0.0.1" || f.DisplayName != "Sam <Iam>" {
			t.Errorf("From: %v", f)
		}
		if x.far.Codec() != "G722" {
			t.Errorf("the codec is %s", x.far.Codec())
		}
		x.speak(from)
		do := func(want int, a siptest.Action) {
			t.Helper()
			res, err := x.desk.Do(x.t.Context(), a)
			if err != nil || res.StatusCode != want {
				t.Errorf("%s: %v, %v", a.Method, res, err)
			}
		}
		sdp := string(x.far.Offer())
		do(200, siptest.Action{Method: "INVITE", Body: strings.Replace(sdp, "sendrecv", "sendonly", 1)}) // held
		from.stays("while it is held")
		do(200, siptest.Action{Method: "INVITE", Body: sdp})
		do(488, siptest.Action{Method: "INVITE", Body: strings.Replace(sdp, "10.0.0.3", "224.0.0.1", -1)})
		do(405, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:9@10.0.0.3>")}})
		x.speak(from)
		x.desk.HangUp()
		from.ends("caller", websocket.StatusGoingAway)
		x.outcome(Completed)
		if s := x.Stats(); s.ToPhones != 1 || s.RTP.Received < 180 || s.RTP.Sent < 180 {
			t.Errorf("%+v", s)
		}
	})
}

func TestUserHangsUpOnASIPPhone(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		from := x.calls()
		from.started("caller")
		_ = from.Close(websocket.StatusNormalClosure, "")
		settle()
		if n := len(x.desk.Requests("BYE")); n != 1 {
			t.Errorf("%d BYEs came", n)
		}
		x.outcome(Completed)
	})
}

func TestSIPPhoneIsNotReached(t *testing.T) {
	for name, c := range map[string]struct {
		script siptest.Script
		giveUp bool // the caller
		allow  error
		after  time.Duration
		want   Outcome
		cancel bool
	}{
		"busy":            {script: siptest.Script{Status: 486}, want: Declined},
		"declined":        {script: siptest.Script{Status: 603, Ring: 2 * time.Second}, after: 3 * time.Second, want: Declined},
		"no answer":       {script: siptest.Script{NeverAnswer: true}, after: 61 * time.Second, want: NoAnswer, cancel: true},
		"unavailable":     {script: siptest.Script{Status: 480}, want: NoAnswer},
		"the caller goes": {script: siptest.Script{NeverAnswer: true}, giveUp: true, want: Cancelled, cancel: true},
		"no common codec": {script: siptest.Script{SDP: "v=0\r\no=- 1 1 IN IP4 10.0.0.3\r\ns=-\r\nc=IN IP4 10.0.0.3\r\nt=0 0\r\nm=audio " +
			"40000 RTP/AVP 18\r\n"}, want: Declined},
		"policy": {allow: errors.New("not that number"), want: Declined},
		"a reflector": {script: siptest.Script{SDP: "v=0\r\no=- 1 1 IN IP4 10.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio " +
			"22000 RTP/AVP 0\r\n"}, want: Declined},
		"without a answer": {script: siptest.Script{NoSDP: true}, want: NoAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			withDesk(t, c.script, func(x *exchange) {
				if c.allow != nil {
					x.allowed = func(string) error { return c.allow }
				}
				from := x.calls()
				settle()
				if c.giveUp {
					_ = from.Close(websocket.StatusNormalClosure, "")
				} else {
					time.Sleep(c.after)
					from.ends("caller", websocket.StatusGoingAway)
				}
				x.outcome(c.want)
				if got := len(x.desk.Requests("CANCEL")) > 0; got != c.cancel {
					t.Errorf("CANCEL: %v", got)
				}
				if c.allow != nil && len(x.desk.Requests("INVITE")) > 0 {
					t.Error("the phone was rung")
				}
			})
		})
	}
}

// The rules of who may call whom are those of all calls.
func TestSIPPhoneIsCalledByWhoMay(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		x.relate(Block, "kim", "sam")
		_, res, text := x.dial("sam", initiatePath(callA, x.id("kim")))
		x.compare("blocked", res, text, 400, "Cannot call this user.")
		if n := len(x.desk.Requests("INVITE")); n != 0 {
			t.Error("the phone was rung")
		}
	})
}

func TestDeviceAndSIPPhoneRing(t *testing.T) {
	t.Run("the device is first", func(t *testing.T) {
		withDesk(t, siptest.Script{NeverAnswer: true}, func(x *exchange) {
			kim := x.notified("kim")
			from := x.calls()
			if got := kim.heard(); len(got) != 1 {
				t.Fatalf("%q", got)
			}
			to := x.open("kim", answerPath(callA))
			from.started("caller")
			to.started("callee")
			cancels := x.desk.Requests("CANCEL")
			if len(cancels) != 1 || !strings.Contains(cancels[0].String(), `cause=200;text="Call completed elsewhere"`) {
				t.Errorf("%v", cancels)
			}
			to.say(audio(320, 5))
			from.hears("caller", audio(320, 5))
			_ = to.Close(websocket.StatusNormalClosure, "")
			from.ends("caller", websocket.StatusGoingAway)
			x.outcome(Completed)
		})
	})
	t.Run("the SIP phone is first", func(t *testing.T) {
		withDesk(t, siptest.Script{Ring: 2 * time.Second}, func(x *exchange) {
			kim := x.notified("kim")
			from := x.calls()
			if got := kim.heard(); len(got) != 1 {
				t.Fatalf("%q", got)
			}
			time.Sleep(2 * time.Second)
			from.started("caller")
			kim.hears("the device", answeredText(callA))
			_, res, text := x.dial("kim", answerPath(callA))
			x.compare("answered late", res, text, 404, "Couldn't find phone call.")
			x.desk.HangUp()
			from.ends("caller", websocket.StatusGoingAway)
			kim.hears("the device", endedText(callA))
			x.outcome(Completed)
		})
	})
	t.Run("the SIP phone is busy, the device rings on", func(t *testing.T) {
		withDesk(t, siptest.Script{Status: 486}, func(x *exchange) {
			kim := x.notified("kim")
			from := x.calls()
			kim.heard()
			from.stays("caller")
			to := x.open("kim", answerPath(callA))
			to.started("callee")
			_ = to.Close(websocket.StatusNormalClosure, "")
			from.ends("caller", websocket.StatusGoingAway)
		})
	})
	t.Run("declined on the SIP phone", func(t *testing.T) {
		withDesk(t, siptest.Script{Status: 603}, func(x *exchange) {
			kim := x.notified("kim")
			from := x.calls()
			from.ends("caller", websocket.StatusGoingAway)
			if got := kim.heard(); len(got) != 2 || got[1] != endedText(callA) {
				t.Errorf("%q", got)
			}
			x.outcome(Declined)
		})
	})
	t.Run("declined on the device", func(t *testing.T) {
		withDesk(t, siptest.Script{NeverAnswer: true}, func(x *exchange) {
			x.notified("kim")
			from := x.calls()
			settle()
			x.wants("kim", "POST", "/api/v3/phone/decline/"+callA, "", 200, "")
			from.ends("caller", websocket.StatusGoingAway)
			if n := len(x.desk.Requests("CANCEL")); n != 1 {
				t.Errorf("%d CANCELs came", n)
			}
			x.outcome(Declined)
		})
	})
}

// Of a device and a phone that answer in the same moment one gets the call, and
// the other is let go.
func TestDeviceAndSIPPhoneAnswerAtOnce(t *testing.T) {
	for early := range 6 {
		withDesk(t, siptest.Script{Ring: 2*time.Second + time.Duration(early-3)*500*time.Microsecond}, func(x *exchange) {
			x.notified("kim")
			from := x.calls()
			synctest.Wait()
			time.Sleep(2 * time.Second)
			to, res, _ := x.dial("kim", answerPath(callA))
			if to == nil && res.StatusCode != 404 {
				t.Errorf("the device got %d", res.StatusCode)
			}
			from.started("caller")
			if phone := x.desk.Dialogs() == 1; phone == (to != nil) {
				t.Errorf("the phone has %d dialogs, the device answered: %v", x.desk.Dialogs(), to != nil)
			}
			if to != nil {
				_ = to.CloseNow()
			}
			_ = from.CloseNow()
			settle()
		})
	}
}

// While a device is about to answer, the phone comes too late.
func TestSIPPhoneAnswersWhileADeviceDoes(t *testing.T) {
	withDesk(t, siptest.Script{Ring: 3 * time.Second}, func(x *exchange) {
		x.notified("kim")
		from := x.calls()
		id, _ := ParseID(callA)
		c, refused := x.claim(id, x.users["kim"].ID)
		if refused != nil {
			t.Fatal(refused)
		}
		time.Sleep(5 * time.Second)
		from.hears("the caller")
		if byes := x.desk.Requests("BYE"); len(byes) != 1 || !strings.Contains(byes[0].String(), "Call completed elsewhere") {
			t.Errorf("%v", byes)
		}
		x.unclaim(c) // it has failed: others may answer
		to := x.open("kim", answerPath(callA))
		to.started("another device")
		_ = to.CloseNow()
		from.ends("caller", websocket.StatusGoingAway)
	})
}

// What a phone plays before it answers does not answer the call.
func TestEarlyMediaIsNoAnswer(t *testing.T) {
	withDesk(t, siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true, HangUpAfter: 10 * time.Second}, func(x *exchange) {
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["sam"].ID, "sip:299@10.0.0.9"); err != nil {
			t.Fatal(err)
		}
		from := x.calls()
		from.hears("while it rings")
		time.Sleep(3 * time.Second)
		from.started("caller")
		if f := x.desk.Requests("INVITE")[0].From(); f.Address.User != "299" || f.Address.Host != "10.0.0.1" {
			t.Errorf("From: %v", f)
		}
	})
}

func TestGatewayCallsEnd(t *testing.T) {
	t.Run("the longest time", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			from := x.calls()
			from.started("caller")
			x.sounds(t, 61*time.Second)
			from.ends("caller", websocket.StatusGoingAway)
			x.outcome(TooLong)
		}, func(c *Config) { c.MaxCall = time.Minute })
	})
	t.Run("a phone that says nothing", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			from := x.calls()
			from.started("caller")
			time.Sleep(50 * time.Second)
			from.stays("caller")
			time.Sleep(12 * time.Second)
			from.ends("caller", websocket.StatusGoingAway)
			x.outcome(Completed)
		})
	})
	t.Run("logged out", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			from := x.calls()
			from.started("caller")
			x.wants("sam", "POST", "/api/v3/auth/logout", "", 204, "")
			from.ends("caller", websocket.StatusGoingAway)
			if n := len(x.desk.Requests("BYE")); n != 1 {
				t.Errorf("%d BYEs came", n)
			}
		})
	})
	t.Run("hung up while it is answered", func(t *testing.T) {
		for early := range 6 {
			withDesk(t, siptest.Script{Ring: time.Second}, func(x *exchange) {
				from := x.calls()
				time.Sleep(time.Second + time.Duration(early-2)*500*time.Microsecond)
				_ = from.CloseNow()
				settle()
			})
		}
	})
	t.Run("the service ends", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			from := x.calls()
			from.started("caller")
			x.Shutdown()
			from.ends("caller", websocket.StatusGoingAway)
			if n := len(x.desk.Requests("BYE")); n != 1 {
				t.Errorf("%d BYEs came", n)
			}
		})
	})
	t.Run("no ports are left", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			var taken []*media.Session
			for range 4 {
				s, err := x.ports.Open(media.Options{})
				if err != nil {
					t.Fatal(err)
				}
				taken = append(taken, s)
			}
			from := x.calls()
			from.ends("caller", websocket.StatusGoingAway)
			x.outcome(NoAnswer)
			for _, s := range taken {
				s.Close()
			}
		})
	})
}
