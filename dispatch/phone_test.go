package dispatch

import (
	"context"
	"testing"
	"time"

	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// withUsers gives a flow users of calls over WebSocket: sam answers after 2 s,
// others are not there.
func withUsers(t *testing.T, rang *[]string) func(*Config) {
	const sdp = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\n"
	return func(cfg *Config) {
		cfg.HasUsers = true
		cfg.Phone = func(ctx context.Context, in *sipflow.Incoming, name string, ring time.Duration) error {
			*rang = append(*rang, name+" "+ring.String())
			if name != "sam" {
				return &sipflow.StatusError{Method: "INVITE", Code: 480}
			}
			if err := in.Ring(); err != nil {
				return err
			}
			time.Sleep(2 * time.Second)
			return in.Converse(ctx, &sipflow.Conversation{Offer: func() []byte { return []byte(sdp) },
				Answered: func([]byte, bool) error { return nil }, Reoffer: func([]byte) ([]byte, error) { return []byte(sdp), nil }})
		}
	}
}

func TestATransferReachesAUserOverWebSocket(t *testing.T) {
	var rang []string
	f := flow{rules: hookRule, script: siptest.Script{HangUpAfter: 20 * time.Second}, config: withUsers(t, &rang),
		hook: says(`{"action":"transfer","transfer_to":"phone:sam","transfer_ringing_timeout":"7s"}`)}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "answered", "ended")
	h.decided(OutcomeTransfer)
	if len(rang) != 1 || rang[0] != "sam 7s" {
		t.Errorf("%q", rang)
	}
	if m := h.of("ended"); m["ended_by"] != "caller" || !about(m["duration"], 20) || m["outcome"] != "connected" {
		t.Errorf("%v", m)
	}
}

func TestARoomMayBeAUserOverWebSocket(t *testing.T) {
	var rang []string
	users := withUsers(t, &rang)
	f := flow{rules: hookRule, script: siptest.Script{HangUpAfter: 20 * time.Second}, hook: says(`{"room_name":"sam"}`),
		config: func(cfg *Config) { users(cfg); cfg.RoomTarget = "phone:{room}" }}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "answered", "ended")
	if len(rang) != 1 || rang[0] != "sam 30s" {
		t.Errorf("%q", rang)
	}
}

// A caller who has entered a PIN is answered already, and invited again.
func TestAPINOpensTheWayToAUserOverWebSocket(t *testing.T) {
	var rang []string
	users := withUsers(t, &rang)
	f := flow{rules: hookRule, script: siptest.Script{Do: keys("12#"), HangUpAfter: 30 * time.Second},
		hook:   says(`{"room_name":"sam","pin":"12"}`),
		config: func(cfg *Config) { users(cfg); cfg.RoomTarget = "phone:{room}" }}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "answered", "ended")
	if n := len(h.caller.Requests("INVITE")); n != 1 {
		t.Errorf("the caller was invited again %d times", n)
	}
}

func TestAUserOverWebSocketWhoIsNotThere(t *testing.T) {
	var rang []string
	f := flow{rules: hookRule, config: withUsers(t, &rang), hook: says(`{"action":"transfer","transfer_to":"phone:kim"}`)}
	h := f.run(t)
	h.callerGot("480")
	h.told("invite", "transfer_failed", "ended")
}

func TestThereMayBeNoUsersOverWebSocket(t *testing.T) {
	f := flow{rules: hookRule, hook: says(`{"action":"transfer","transfer_to":"phone:sam"}`)}
	h := f.run(t)
	h.callerGot("480") // the fallback
	h.decided(OutcomeFallback)
	rules, err := ParseRules([]byte(`{id: r, numbers: ["1"], action: transfer, transfer_to: "phone:sam"}`), "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Check(Config{Rules: rules}); err == nil {
		t.Error("a rule that leads to users that there are not is taken")
	}
	var rang []string
	cfg := Config{Rules: rules}
	withUsers(t, &rang)(&cfg)
	if _, err := Check(cfg); err != nil {
		t.Error(err)
	}
	rules[0].Redirect = true
	if _, err := Check(cfg); err == nil {
		t.Error("a rule that redirects to a user over WebSocket is taken")
	}
}
