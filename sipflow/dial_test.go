package sipflow

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// dialling makes a case's call one by Dial: 201 stands for the number behind
// the gateway, 202 for the conference.
func dialling(change func(*Dialling)) func(*Spec) {
	return func(s *Spec) {
		s.Key.Called = "call-1"
		s.Timeout = 30 * time.Second
		s.Dial = &Dialling{Gateway: "sip:sipx.test;maddr=10.0.0.9", Number: "201", Caller: "+493012345", Target: "sip:202@sipx.test",
			Credentials: Credentials{Username: "200", Password: "secret"}}
		if change != nil {
			change(s.Dial)
		}
	}
}

// asked has the client do something with the call; its error must be want.
func asked(t *testing.T, want string, do func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if err := do(ctx); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

var dialCases = []bridgeCase{
	{name: "dial-phone-hangs-up", calling: siptest.Script{Ring: 3 * time.Second, HangUpAfter: 20 * time.Second}},
	{name: "dial-conference-hangs-up", called: siptest.Script{Ringing: -1, HangUpAfter: 20 * time.Second}},
	{name: "dial-client-hangs-up", called: siptest.Script{Ringing: -1}, err: "a moderator",
		during: after(10*time.Second, func(_ *testing.T, _ *rig, _ *phones, c *Call) { c.HangUp(errors.New("a moderator")) })},
	{name: "dial-client-gives-up", calling: siptest.Script{NeverAnswer: true}, err: "a moderator",
		during: after(10*time.Second, func(_ *testing.T, _ *rig, _ *phones, c *Call) { c.HangUp(errors.New("a moderator")) })},
	{name: "dial-busy", calling: siptest.Script{Status: 486}, err: "486"},
	{name: "dial-no-answer", calling: siptest.Script{NeverAnswer: true}, err: ErrNoAnswer.Error()},
	{name: "dial-silent-phone", calling: siptest.Script{Silent: true}, err: ErrNoAnswer.Error()},
	{name: "dial-target-rings", called: siptest.Script{Ring: 8 * time.Second}, calling: siptest.Script{HangUpAfter: 30 * time.Second}},
	{name: "dial-target-takes-its-time", called: siptest.Script{Ringing: -1, Ring: 6 * time.Second},
		calling: siptest.Script{HangUpAfter: 30 * time.Second}},
	{name: "dial-target-never-answers", called: siptest.Script{NeverAnswer: true}, err: ErrNoAnswer.Error()},
	{name: "dial-target-refuses", called: siptest.Script{Status: 503, Ringing: -1}, err: "503"},
	{name: "dial-target-wants-an-offer-of-its-own", called: siptest.Script{Status: 488, Ringing: -1}, err: "488"},
	{name: "dial-target-answers-without-sdp", called: siptest.Script{NoSDP: true}, err: errNoSDP.Error()},
	{name: "dial-phone-answers-without-sdp", calling: siptest.Script{NoSDP: true}, err: errNoSDP.Error()},
	{name: "dial-phone-hangs-up-while-target-rings", calling: siptest.Script{HangUpAfter: 5 * time.Second},
		called: siptest.Script{NeverAnswer: true}, err: ErrHungUp.Error()},
	{name: "dial-gateway-challenges", challenge: true, calling: siptest.Script{HangUpAfter: 20 * time.Second}},
	{name: "dial-anonymous", spec: dialling(func(d *Dialling) { d.Anonymous = true }), calling: siptest.Script{HangUpAfter: 20 * time.Second}},
	{name: "dial-line-break-in-caller", spec: dialling(func(d *Dialling) { d.Caller = "+49\r\nX-Evil: 1\r\n" }),
		calling: siptest.Script{HangUpAfter: 20 * time.Second}},
	{name: "dial-client-hangs-up-for-a-reason", called: siptest.Script{Ringing: -1}, err: "603",
		during: after(10*time.Second, func(t *testing.T, _ *rig, p *phones, c *Call) {
			c.HangUp(&StatusError{"BYE", 603, "The call was ended for everyone"})
			<-c.Done()
			if got := p.calling.ByeReason(); got != `SIP;cause=603;text="The call was ended for everyone"` {
				t.Errorf("the phone's BYE has the Reason %q", got)
			}
		})},
	{name: "dial-client-hangs-up-while-target-is-silent", called: siptest.Script{Silent: true}, err: "a moderator",
		during: after(5*time.Second, func(_ *testing.T, _ *rig, _ *phones, c *Call) { c.HangUp(errors.New("a moderator")) })},
	{name: "dial-client-hangs-up-while-target-rings", called: siptest.Script{NeverAnswer: true}, err: "a moderator",
		during: after(5*time.Second, func(_ *testing.T, _ *rig, _ *phones, c *Call) { c.HangUp(errors.New("a moderator")) })},
	{name: "dial-both-hang-up-at-once", calling: siptest.Script{HangUpAfter: 10 * time.Second},
		called: siptest.Script{Ringing: -1, HangUpAfter: 10 * time.Second}},
	{name: "dial-phone-needs-an-offer", calling: siptest.Script{NeedOffer: true, HangUpAfter: 20 * time.Second}},
	{name: "dial-phone-needs-an-offer-and-does-not-answer", calling: siptest.Script{NeedOffer: true, NeverAnswer: true},
		err: ErrNoAnswer.Error()},
	{name: "dial-target-refuses-an-offer", called: siptest.Script{RefuseOffer: true, Ring: 2 * time.Second},
		calling: siptest.Script{HangUpAfter: 20 * time.Second}},
	{name: "dial-target-refuses-an-offer-and-does-not-answer", spec: dialling(func(d *Dialling) { d.TargetTime = 12 * time.Second }),
		called: siptest.Script{RefuseOffer: true, NeverAnswer: true}, err: ErrNoAnswer.Error()},
	{name: "dial-phone-ignores-reinvite", calling: siptest.Script{Reinvite: siptest.Reinvite{Silent: true}},
		called: siptest.Script{Ring: 3 * time.Second}, err: "408"},
	{name: "dial-phone-refuses-reinvite", calling: siptest.Script{Reinvite: siptest.Reinvite{Status: 488}},
		called: siptest.Script{Ring: 3 * time.Second}, err: "488"},
	{name: "dial-gateway-challenges-and-forks", challenge: true, calling: siptest.Script{Forks: 1, HangUpAfter: 20 * time.Second}},
	{name: "dial-hold-and-resume", calling: siptest.Script{HangUpAfter: 30 * time.Second},
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			do(t, p.calling, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.2")})
			time.Sleep(5 * time.Second)
			do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
		})},
	{name: "dial-digits", calling: siptest.Script{HangUpAfter: 30 * time.Second},
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, c *Call) {
			asked(t, "", func(ctx context.Context) error { return c.SendDTMF(ctx, '5', DTMFRelay) })
			asked(t, "", func(ctx context.Context) error { return c.SendDTMF(ctx, '#', DTMFPlain) })
			asked(t, "", func(ctx context.Context) error { return c.SendDTMFTo(ctx, CalledParty, '7', DTMFRelay) })
			asked(t, "no DTMF", func(ctx context.Context) error { return c.SendDTMF(ctx, '\r', DTMFRelay) })
			p.calling.SetScript(siptest.Script{Answers: map[sip.RequestMethod]int{"INFO": 415}})
			asked(t, "415", func(ctx context.Context) error { return c.SendDTMF(ctx, '1', DTMFRelay) })
		})},
	{name: "dial-mute", calling: siptest.Script{HangUpAfter: time.Minute},
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, c *Call) {
			for _, m := range []Mute{MuteSpeaking, MuteSpeaking, MuteListening, MuteSpeaking | MuteListening} {
				asked(t, "", func(ctx context.Context) error { return c.Mute(ctx, m) })
			}
			// The phone's own hold and the conference's leave it muted.
			do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
			do(t, p.called, 200, siptest.Action{Method: "INVITE"})
			asked(t, "", func(ctx context.Context) error { return c.Mute(ctx, 0) })
		})},
	{name: "dial-digit-unanswered", calling: siptest.Script{HangUpAfter: time.Minute, Answers: map[sip.RequestMethod]int{"INFO": -1}},
		during: after(5*time.Second, func(t *testing.T, _ *rig, _ *phones, c *Call) {
			asked(t, errTimeout.Error(), func(ctx context.Context) error { return c.SendDTMF(ctx, '5', DTMFRelay) })
			asked(t, "", func(ctx context.Context) error { return c.Mute(ctx, MuteSpeaking) }) // the call goes on
		})},
	{name: "dial-mute-unanswered", calling: siptest.Script{Reinvite: siptest.Reinvite{Silent: true}}, err: "408",
		called: siptest.Script{Ringing: -1},
		during: after(5*time.Second, func(t *testing.T, _ *rig, _ *phones, c *Call) {
			asked(t, errTimeout.Error(), func(ctx context.Context) error { return c.Mute(ctx, MuteSpeaking) })
		})},
	{name: "dial-mute-refused", calling: siptest.Script{HangUpAfter: time.Minute},
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, c *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{Status: 488}})
			asked(t, "488", func(ctx context.Context) error { return c.Mute(ctx, MuteSpeaking) })
			p.calling.SetScript(siptest.Script{})
			asked(t, "", func(ctx context.Context) error { return c.Mute(ctx, 0) }) // nothing to take back
		})},
	{name: "dial-mute-crosses-a-reinvite", calling: siptest.Script{HangUpAfter: time.Minute},
		called: siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}},
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, c *Call) {
			go do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
			time.Sleep(time.Second)
			asked(t, "", func(ctx context.Context) error { return c.Mute(ctx, MuteSpeaking) })
		})},
}

func eachDialCase(t *testing.T, f func(t *testing.T, bc bridgeCase)) {
	for _, bc := range dialCases {
		bc.flow = Dial
		if bc.spec == nil {
			bc.spec = dialling(nil)
		}
		t.Run(bc.name, func(t *testing.T) { f(t, bc) })
	}
}

func TestDial(t *testing.T) {
	eachDialCase(t, func(t *testing.T, bc bridgeCase) {
		name := bc.name
		if name == "dial-mute-crosses-a-reinvite" { // it waits for a random time
			name = ""
		}
		flowtest.Ladder(t, name, func(t *testing.T, n *siptest.Network) { bc.run(t, n, true) })
	})
}

// Each again with each of its messages lost once.
func TestDialSurvivesLoss(t *testing.T) {
	eachDialCase(t, func(t *testing.T, bc bridgeCase) {
		t.Parallel()
		flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { bc.run(t, n, false) })
	})
}

// What a client is told, in order.
func TestDialTellsHowItFares(t *testing.T) {
	for _, tt := range []struct {
		name string
		bridgeCase
		want []EventKind
		by   Party
	}{
		{"phone hangs up", bridgeCase{calling: siptest.Script{Ring: time.Second, HangUpAfter: 10 * time.Second}},
			[]EventKind{Alerted, Answered, Joined, Ended}, CallingParty},
		{"conference hangs up", bridgeCase{called: siptest.Script{HangUpAfter: 10 * time.Second}}, []EventKind{Alerted, Answered, Joined, Ended},
			CalledParty},
		{"client hangs up", bridgeCase{hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()}, []EventKind{Alerted, Answered, Joined, Ended},
			Self},
		{"busy", bridgeCase{calling: siptest.Script{Status: 486}, err: "486"}, []EventKind{Alerted, Ended}, CallingParty},
		{"given up", bridgeCase{calling: siptest.Script{NeverAnswer: true}, hangUp: 5 * time.Second, err: ErrHungUpByUser.Error()},
			[]EventKind{Alerted, Ended}, Self},
		{"no conference", bridgeCase{called: siptest.Script{Status: 404, Ringing: -1}, err: "404"}, []EventKind{Alerted, Answered, Ended},
			CalledParty},
		{"client hangs up while the conference rings", bridgeCase{called: siptest.Script{NeverAnswer: true}, hangUp: 5 * time.Second,
			err: ErrHungUpByUser.Error()},
			[]EventKind{Alerted, Answered, Ended}, Self},
		{"client hangs up while they are joined", bridgeCase{calling: siptest.Script{Reinvite: siptest.Reinvite{After: 10 * time.Second}},
			called: siptest.Script{Ring: time.Second},
			hangUp: 5 * time.Second, err: ErrHungUpByUser.Error()}, []EventKind{Alerted, Answered, Ended}, Self},
		{"phone cannot be joined", bridgeCase{calling: siptest.Script{Reinvite: siptest.Reinvite{Status: 488}},
			called: siptest.Script{Ring: time.Second}, err: "488"},
			[]EventKind{Alerted, Answered, Ended}, CallingParty},
		{"conference describes nothing", bridgeCase{called: siptest.Script{NoSDP: true}, err: errNoSDP.Error()},
			[]EventKind{Alerted, Answered, Ended}, CalledParty},
		{"conference does not answer", bridgeCase{called: siptest.Script{NeverAnswer: true}, err: ErrNoAnswer.Error()},
			[]EventKind{Alerted, Answered, Ended}, CalledParty},
		{"stopped", bridgeCase{called: siptest.Script{Ringing: -1}, during: serveEnds(20 * time.Second), err: ErrStopped.Error()},
			[]EventKind{Alerted, Answered, Joined, Ended}, Self},
		{"phone is impatient", bridgeCase{calling: siptest.Script{HangUpAfter: 5 * time.Second}, called: siptest.Script{NeverAnswer: true},
			err: ErrHungUp.Error()},
			[]EventKind{Alerted, Answered, Ended}, CallingParty},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				var got []EventKind
				var by Party
				bc := tt.bridgeCase
				bc.flow = Dial
				bc.spec = func(s *Spec) {
					dialling(nil)(s)
					s.Observe = func(e *Event) {
						switch e.Kind {
						case Alerted, Answered, Joined, Ended:
							if !slices.Contains(got, e.Kind) {
								got = append(got, e.Kind)
							}
							by = e.By
						}
					}
				}
				bc.run(t, n, true)
				if !slices.Equal(got, tt.want) || by != tt.by {
					t.Errorf("told %v, ended by %v, want %v, %v", got, by, tt.want, tt.by)
				}
			})
		})
	}
}

func TestMuteSaysTheDirectionOfEachStream(t *testing.T) {
	const two = "v=0\r\na=sendonly\r\nm=audio 1 RTP/AVP 0\r\na=sendrecv\r\na=ptime:20\r\nm=video 2 RTP/AVP 9\r\n"
	for _, tt := range []struct {
		mute Mute
		want string
	}{
		{0, two},
		{MuteSpeaking, "v=0\r\nm=audio 1 RTP/AVP 0\r\na=ptime:20\r\na=sendonly\r\nm=video 2 RTP/AVP 9\r\na=sendonly\r\n"},
		{MuteListening, "v=0\r\nm=audio 1 RTP/AVP 0\r\na=ptime:20\r\na=recvonly\r\nm=video 2 RTP/AVP 9\r\na=inactive\r\n"},
		{MuteSpeaking | MuteListening, "v=0\r\nm=audio 1 RTP/AVP 0\r\na=ptime:20\r\na=inactive\r\nm=video 2 RTP/AVP 9\r\na=inactive\r\n"},
	} {
		if got := string(tt.mute.apply([]byte(two))); got != tt.want {
			t.Errorf("%d:\n got %q\nwant %q", tt.mute, got, tt.want)
		}
	}
}
