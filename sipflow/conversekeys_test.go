package sipflow

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

const keyLine = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk\r\n"

// securedAudio is a media end that speaks SRTP where the phone wants it.
type securedAudio struct{ expected string }

func (a *securedAudio) conversation() *Conversation {
	secured := strings.Replace(ourSDP, "RTP/AVP", "RTP/SAVP", 1) + keyLine
	return &Conversation{
		Offer: func() []byte {
			if strings.Contains(a.expected, "RTP/SAVP") {
				return []byte(secured)
			}
			return []byte(ourSDP)
		},
		Answered: func([]byte, bool) error { return nil },
		Reoffer: func(offer []byte) ([]byte, error) {
			if strings.Contains(string(offer), "RTP/SAVP") {
				return []byte(secured), nil
			}
			return []byte(ourSDP), nil
		},
		Expect: func(description []byte) { a.expected = string(description) },
	}
}

// A phone that takes SRTP alone talks with media of ours that speak it: answered
// at once, and after it was answered on hold. That its keys can be read on the way is
// said once, and only of calls with keys.
func TestPhonesWithSRTPTalk(t *testing.T) {
	for _, tt := range []struct {
		name  string
		media siptest.Media
		hold  bool
		calls int
		said  int
	}{
		{"plain RTP", siptest.Media{}, false, 1, 0},
		{"plain RTP, held first", siptest.Media{}, true, 1, 0},
		{"SRTP", siptest.SRTPOnly(), false, 2, 1},
		{"SRTP, held first", siptest.SRTPOnly(), true, 2, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				phone := siptest.NewPhone(n.Listen(phoneAddr), siptest.Account{User: "201", Password: "secret"},
					siptest.Script{Media: tt.media, HangUpAfter: 10 * time.Second})
				defer phone.Close()
				var came atomic.Pointer[error]
				r := newRig(t, n, "", func(cfg *Config) {
					cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: func(ctx context.Context, in *Incoming) error {
						if tt.hold {
							if err := in.AnswerHeld(ctx); err != nil {
								came.Store(&err)
								return err
							}
						}
						err := in.Converse(ctx, (&securedAudio{}).conversation())
						if err != nil {
							came.Store(&err)
						}
						return err
					}}
				})
				defer r.stop()
				lines := new(syncBuffer)
				r.log.b.Store(lines)
				for range tt.calls {
					if err := phone.CallAs(t.Context(), siptest.Calling{}, "sip:sam@10.0.0.1:5060"); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
					if err := came.Load(); err != nil {
						t.Fatalf("the call came to %v: %v", *err, phone.Log())
					}
				}
				synctest.Wait()
				log := lines.String()
				if got := strings.Count(log, "keys go over SIP in the clear"); got != tt.said {
					t.Errorf("said %d times, want %d:\n%s", got, tt.said, log)
				}
				if strings.Contains(log, "inline") {
					t.Errorf("the log has a key:\n%s", log)
				}
				r.empty()
			})
		})
	}
}

// Over TLS nobody can read them.
func TestKeysOverTLSAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), "")
		defer r.stop()
		lines := new(syncBuffer)
		r.log.b.Store(lines)
		for _, secure := range []bool{true, false} {
			e := &endpoint{call: &Call{sw: r.sw}, leg: &Leg{dialogState: dialogState{secure: secure}}}
			e.disclosed([]byte(strings.Replace(ourSDP, "RTP/AVP", "RTP/SAVP", 1) + keyLine))
			if got := strings.Contains(lines.String(), "in the clear"); got == secure {
				t.Errorf("over TLS: %v, said: %v", secure, got)
			}
		}
	})
}
