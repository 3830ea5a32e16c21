package phone

import (
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sipxrest/media"
	"sipxrest/sipflow/siptest"
)

// A SIP phone whose audio is encrypted, or is not, calls a user, where that is
// required or off, or as the phone wants it.
func TestSIPPhoneWithSRTPCallsAUser(t *testing.T) {
	const usual = "AES_CM_128_HMAC_SHA1_80"
	for _, tt := range []struct {
		name       string
		desk, here media.Security
		suite      string // by which they speak
		refused    bool   // 488
	}{
		{"SRTP", media.SRTPRequired, media.SRTPOffered, usual, false},
		{"SRTP is required", media.SRTPRequired, media.SRTPRequired, usual, false},
		{"SRTP is off", media.SRTPRequired, media.SRTPOff, "", true},
		{"plain RTP", media.SRTPOff, media.SRTPOffered, "", false},
		{"plain RTP, where SRTP is required", media.SRTPOff, media.SRTPRequired, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withSecuredDesk(t, siptest.Script{}, tt.desk, func(x *exchange) {
				x.cfg.Gateway.Security = tt.here
				sam := x.notified("sam")
				got := make(chan error, 1)
				go func() {
					got <- x.desk.CallAs(x.t.Context(), siptest.Calling{SDP: string(x.far.Offer())}, "sip:sam@"+boardAddr)
				}()
				rung := sam.heard()
				if len(rung) != 1 {
					x.t.Fatalf("%q", rung)
				}
				call, _ := strings.CutPrefix(rung[0], `{"type":{"incomingPhoneCall":{}},"info":"kim","contentID":"`)
				to := x.open("sam", answerPath(call[:36]))
				err := <-got
				if tt.refused {
					if err == nil || !strings.Contains(err.Error(), "488") {
						t.Errorf("the phone got %v", err)
					}
					return
				}
				if err != nil {
					x.t.Fatal(err)
				}
				to.started("callee")
				answers := x.desk.Answers()
				if err := x.far.Accept(answers[len(answers)-1].Body()); err != nil {
					x.t.Fatal(err)
				}
				if x.far.Suite() != tt.suite {
					t.Errorf("they speak by %q", x.far.Suite())
				}
				x.speak(to)
				_ = to.Close(websocket.StatusNormalClosure, "")
				x.outcome(Completed)
				if s := x.Stats(); s.RTP.Forged != 0 || s.RTP.Received < 90 {
					t.Errorf("%+v", s.RTP)
				}
			})
		})
	}
}

// Where SRTP is required the phone is offered nothing else.
func TestUserCallsASIPPhoneWithSRTP(t *testing.T) {
	withSecuredDesk(t, siptest.Script{Ring: time.Second}, media.SRTPRequired, func(x *exchange) {
		x.cfg.Gateway.Security = media.SRTPRequired
		from := x.calls()
		time.Sleep(time.Second)
		from.started("caller")
		if offer := string(x.offered()); !strings.Contains(offer, " RTP/SAVP ") || strings.Contains(offer, " RTP/AVP ") ||
			!strings.Contains(offer, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:") {
			t.Errorf("we offered\n%s", offer)
		}
		if err := x.far.Accept(x.offered()); err != nil {
			x.t.Fatal(err)
		}
		x.speak(from)
		x.desk.HangUp()
		from.ends("caller", websocket.StatusGoingAway)
		x.outcome(Completed)
	})
	withSecuredDesk(t, siptest.Script{Ring: time.Second}, media.SRTPOff, func(x *exchange) {
		x.cfg.Gateway.Security = media.SRTPRequired
		x.calls()
		time.Sleep(time.Minute)
		if s := x.Stats(); s.Outcomes[Completed] != 0 || s.RTP.Sent != 0 {
			t.Errorf("a phone that answers in the clear: %+v", s)
		}
	})
}
