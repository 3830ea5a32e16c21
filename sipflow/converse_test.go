package sipflow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
	"sipxrest/sipflow/wire"
)

// audio is the media end of a conversation.
type audio struct {
	mu       sync.Mutex
	early    int
	answers  int
	offers   []string // directions of the phone's
	digits   string
	reject   error // of Answered
	offended error // of Reoffer
}

const ourSDP = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 9 8 0\r\na=sendrecv\r\n"

func (a *audio) conversation() *Conversation {
	return &Conversation{
		Offer: func() []byte { return []byte(ourSDP) },
		Answered: func(_ []byte, early bool) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			if early {
				a.early++
				return nil
			}
			a.answers++
			return a.reject
		},
		Reoffer: func(offer []byte) ([]byte, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			direction, answer := "sendrecv", ourSDP
			if strings.Contains(string(offer), "a=sendonly") || strings.Contains(string(offer), "a=inactive") {
				direction, answer = "held", strings.Replace(ourSDP, "sendrecv", "recvonly", 1)
			}
			a.offers = append(a.offers, direction)
			return []byte(answer), a.offended
		},
		Digit: func(d byte) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.digits += string(d)
		},
	}
}

func (a *audio) said() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprintf("%d early, %d answers, offers %v, digits %s", a.early, a.answers, a.offers, a.digits)
}

// talkCase is a conversation with 201, who is called or calls.
type talkCase struct {
	name   string
	phone  siptest.Script
	hangUp time.Duration // by us, after Place
	why    error         // with which; ErrHungUpByUser
	audio  audio
	said   string // of audio; "" for any
	err    string // what comes of the call
	events string // "" for any
	loose  bool
	during func(t *testing.T, phone *siptest.Phone)
	dial   *Dialling // of a number, which 201 stands for

	// Of those that 201 calls.
	inbound bool
	how     siptest.Calling
	giveUp  time.Duration
	call    string // what the phone gets; "" when it is answered
	take    func(ctx context.Context, in *Incoming, end *Conversation) error
}

var errClosed = fmt.Errorf("the socket was closed: %w", ErrHungUpByUser)

func (tc *talkCase) run(t *testing.T, n *siptest.Network, strict bool) {
	end := audio{reject: tc.audio.reject, offended: tc.audio.offended}
	n.Name(phoneAddr, "201")
	phone := siptest.NewPhone(n.Listen(phoneAddr), siptest.Account{User: "201", Domain: "sipx.test", Password: "secret"}, tc.phone)
	defer phone.Close()
	k := &taken{}
	var err error
	var over <-chan struct{}
	came := func() error { return err }
	r := newRig(t, n, "", func(cfg *Config) {
		if tc.inbound {
			ended := make(chan struct{})
			over = ended
			cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: func(ctx context.Context, in *Incoming) error {
				defer close(ended)
				in.Observe(k.observe)
				take := tc.take
				if take == nil {
					take = ringThenTalk
				}
				if tc.hangUp > 0 {
					var stop context.CancelFunc
					ctx, stop = context.WithTimeoutCause(ctx, tc.hangUp, errClosed)
					defer stop()
				}
				err = take(ctx, in, end.conversation())
				return err
			}}
		} else {
			cfg.OutboundProxies = []string{"sip:" + phoneAddr}
		}
	})
	defer r.stop()
	if tc.inbound {
		ctx := t.Context()
		if tc.giveUp > 0 {
			var stop context.CancelFunc
			ctx, stop = context.WithTimeout(ctx, tc.giveUp)
			defer stop()
		}
		got := phone.CallAs(ctx, tc.how, "sip:sam@10.0.0.1:5060")
		if strict && ((got == nil) != (tc.call == "") || got != nil && !strings.Contains(got.Error(), tc.call)) {
			t.Errorf("the caller got %v, want %q", got, tc.call)
		}
	} else {
		spec := Spec{Key: Key{Agent: "sam@sipx.test", Calling: "talk-1", Called: "201@sipx.test"}, Method: MethodInvite,
			AgentName: "Sam", CalledUser: "201@sipx.test", Timeout: 20 * time.Second, Credentials: Credentials{Username: "sam", Password: "secret"},
			Converse: end.conversation(), Observe: k.observe}
		if tc.dial != nil {
			spec.Dial, spec.AgentName, spec.Credentials = tc.dial, "", Credentials{Username: "sam", Password: "not for gateways"}
		}
		c, placed := r.sw.Place(t.Context(), spec, Converse)
		if placed != nil {
			t.Fatal(placed)
		}
		over = c.Done()
		if tc.hangUp > 0 {
			why := tc.why
			if why == nil {
				why = ErrHungUpByUser
			}
			time.AfterFunc(tc.hangUp, func() { c.HangUp(why) })
		}
		came = c.Err
	}
	if tc.during != nil {
		tc.during(t, phone)
	}
	time.Sleep(4 * time.Minute)
	synctest.Wait()
	select {
	case <-over:
	default:
		t.Fatalf("the call is not over: %v", phone.Log())
	}
	if !phone.OnHook() {
		t.Errorf("the phone is not on hook: %v", phone.Log())
	}
	if said := end.said(); strict && tc.said != "" && said != tc.said {
		t.Errorf("the media end was told %s, want %s", said, tc.said)
	}
	k.mu.Lock()
	if got := strings.Join(k.events, ", "); strict && tc.events != "" && got != tc.events {
		t.Errorf("observed %s, want %s", got, tc.events)
	}
	k.mu.Unlock()
	r.empty()
	if !strict {
		return
	}
	if err := came(); (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
		t.Errorf("the call came to %v, want %q", err, tc.err)
	}
}

// ringThenTalk rings for 3 s and answers.
func ringThenTalk(ctx context.Context, in *Incoming, end *Conversation) error {
	if err := in.Ring(); err != nil {
		return err
	}
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return in.Converse(ctx, end)
}

// inTalk is what the phone does in each conversation that is about that.
func inTalk(t *testing.T, phone *siptest.Phone) {
	time.Sleep(10 * time.Second)
	do(t, phone, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.2")})
	time.Sleep(3 * time.Second)
	do(t, phone, 200, siptest.Action{Method: "INVITE"})
	time.Sleep(3 * time.Second)
	do(t, phone, 200, siptest.Action{Method: "UPDATE"})
	do(t, phone, 200, siptest.Action{Method: "INFO", Body: "Signal=5\r\n", ContentType: "application/dtmf-relay"})
	do(t, phone, 200, siptest.Action{Method: "OPTIONS"})
	do(t, phone, 405, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:203@sipx.test>")}})
	do(t, phone, 405, siptest.Action{Method: "MESSAGE", Body: "hello", ContentType: "text/plain"})
	do(t, phone, 481, siptest.Action{Method: "NOTIFY", Header: []sip.Header{sip.NewHeader("Event", "refer")}})
	do(t, phone, 422, siptest.Action{Method: "UPDATE", Header: session("60")})
	do(t, phone, 420, siptest.Action{Method: "INVITE", Header: []sip.Header{sip.NewHeader("Require", "timer, telepathy")}})
	do(t, phone, 415, siptest.Action{Method: "INVITE", Body: "hello", ContentType: "text/plain"})
	time.Sleep(time.Second)
	phone.HangUp()
}

const saidInTalk = "0 early, 1 answers, offers [held sendrecv sendrecv], digits 5"

// dialsNumber is a number whose way is a gateway with a secret of its own.
func dialsNumber(anonymous bool) *Dialling {
	return &Dialling{Gateway: "sip:" + phoneAddr, Number: "201", Caller: "+493012345", Anonymous: anonymous,
		Credentials: Credentials{Username: "trunk", Password: "trunk secret"}}
}

var talkCases = []*talkCase{
	{name: "talk-called-hangs-up", phone: siptest.Script{Ring: 3 * time.Second, HangUpAfter: 20 * time.Second},
		said:   "0 early, 1 answers, offers [], digits ",
		events: "alerted, answered, joined, ended by 2, 0"},
	{name: "talk-we-hang-up", hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(), events: "alerted, answered, joined, ended by 0, 0"},
	{name: "talk-early-media", phone: siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true, HangUpAfter: 20 * time.Second},
		said: "1 early, 1 answers, offers [], digits "},
	{name: "talk-early-media-reliable", phone: siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true, Header: reliable183(),
		HangUpAfter: 20 * time.Second},
		said: "1 early, 1 answers, offers [], digits "},
	{name: "talk-busy", phone: siptest.Script{Status: 486}, err: "486", said: "0 early, 0 answers, offers [], digits ",
		events: "alerted, ended by 2, 0"},
	{name: "talk-declined", phone: siptest.Script{Status: 603, Ring: 4 * time.Second}, err: "603"},
	{name: "talk-no-answer", phone: siptest.Script{NeverAnswer: true}, err: ErrNoAnswer.Error(), events: "alerted, ended by 2, 0"},
	{name: "talk-silent", phone: siptest.Script{Silent: true}, err: ErrNoAnswer.Error()},
	{name: "talk-cancelled", phone: siptest.Script{NeverAnswer: true}, hangUp: 5 * time.Second, err: ErrHungUpByUser.Error(),
		events: "alerted, ended by 0, 0"},
	{name: "talk-answered-elsewhere", phone: siptest.Script{NeverAnswer: true}, hangUp: 5 * time.Second, why: AnsweredElsewhere(),
		err: "elsewhere"},
	{name: "talk-answer-crosses-cancel", phone: siptest.Script{NeverAnswer: true, AnswerOnCancel: true}, hangUp: 5 * time.Second,
		err: ErrHungUpByUser.Error()},
	{name: "talk-answer-without-sdp", phone: siptest.Script{NoSDP: true}, err: errNoSDP.Error()},
	{name: "talk-answer-refused", audio: audio{reject: errors.New("no common codec")}, err: "no common codec",
		events: "alerted, answered, ended by 0, 0"},
	{name: "talk-forks", phone: siptest.Script{Ring: 3 * time.Second, EarlyForks: 2, Forks: 2, HangUpAfter: 20 * time.Second}},
	{name: "talk-challenged", phone: siptest.Script{HangUpAfter: 20 * time.Second,
		Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"INVITE"}, Realm: "sipx.test", User: "sam", Password: "secret"}}},
	{name: "talk-hold-and-more", during: inTalk, said: saidInTalk, phone: siptest.Script{Ring: time.Second}},
	{name: "talk-hold-refused", audio: audio{offended: &StatusError{"INVITE", 488, "No Codec"}},
		phone: siptest.Script{HangUpAfter: 20 * time.Second},
		during: func(t *testing.T, phone *siptest.Phone) {
			time.Sleep(5 * time.Second)
			do(t, phone, 488, siptest.Action{Method: "INVITE"})
			do(t, phone, 488, siptest.Action{Method: "UPDATE"})
		}},
	{name: "talk-session-refreshed-by-us",
		phone: siptest.Script{Header: append(session("90;refresher=uac"), sip.NewHeader("Allow", "INVITE, ACK, BYE"))}, hangUp: 2 * time.Minute,
		err: ErrHungUpByUser.Error()},
	{name: "talk-session-refreshed-by-update",
		phone:  siptest.Script{Header: append(session("90;refresher=uac"), sip.NewHeader("Allow", "INVITE, ACK, BYE, UPDATE"))},
		hangUp: 2 * time.Minute, err: ErrHungUpByUser.Error()},
	{name: "talk-session-not-refreshed", phone: siptest.Script{Header: session("90;refresher=uas")}, err: errExpired.Error()},
	{name: "talk-session-phone-vanished", phone: siptest.Script{Header: session("90;refresher=uac"), Reinvite: siptest.Reinvite{Silent: true}},
		err: errExpired.Error()},
	{name: "talk-dials", dial: dialsNumber(false), phone: siptest.Script{Ring: 3 * time.Second, HangUpAfter: 20 * time.Second,
		Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"INVITE"}, Realm: "sipx.test", User: "trunk", Password: "trunk secret"}},
		said: "0 early, 1 answers, offers [], digits ", events: "alerted, answered, joined, ended by 1, 0"},
	{name: "talk-dials-anonymously", dial: dialsNumber(true), hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		events: "alerted, answered, joined, ended by 0, 0"},
	{name: "talk-dials-busy", dial: dialsNumber(false), phone: siptest.Script{Status: 486}, err: "486", events: "alerted, ended by 1, 0"},
	{name: "talk-dials-hold-and-more", dial: dialsNumber(false), during: inTalk, said: saidInTalk},

	{name: "talk-inbound-hangs-up", inbound: true, phone: siptest.Script{HangUpAfter: 20 * time.Second},
		said:   "0 early, 0 answers, offers [sendrecv], digits ",
		events: "answered, joined, ended by 1, 200"},
	{name: "talk-inbound-we-hang-up", inbound: true, hangUp: 20 * time.Second, err: errClosed.Error(),
		events: "answered, joined, ended by 0, 200"},
	{name: "talk-inbound-delayed-offer", inbound: true, how: siptest.Calling{NoOffer: true},
		phone: siptest.Script{HangUpAfter: 20 * time.Second}, said: "0 early, 1 answers, offers [], digits "},
	{name: "talk-inbound-delayed-offer-without-answer", inbound: true, how: siptest.Calling{NoOffer: true, NoAnswer: true},
		err: errNoSDP.Error()},
	{name: "talk-inbound-reliable", inbound: true, how: siptest.Calling{Reliable: true}, phone: siptest.Script{HangUpAfter: 20 * time.Second}},
	{name: "talk-inbound-reliable-answered-at-once", inbound: true, how: siptest.Calling{Reliable: true},
		phone: siptest.Script{HangUpAfter: 20 * time.Second},
		take: func(ctx context.Context, in *Incoming, end *Conversation) error {
			return errors.Join(in.Ring(), in.Converse(ctx, end))
		}},
	{name: "talk-inbound-never-acked", inbound: true, how: siptest.Calling{LoseACKs: 1000}, err: errNoAck.Error()},
	{name: "talk-inbound-cancelled", inbound: true, giveUp: 2 * time.Second, call: "deadline", err: ErrCancelled.Error(),
		events: "ended by 1, 487"},
	{name: "talk-inbound-declined", inbound: true, call: "603", take: func(_ context.Context, in *Incoming, _ *Conversation) error {
		return errors.Join(in.Ring(), in.Refuse(603, ""))
	}, events: "ended by 0, 603"},
	{name: "talk-inbound-no-codec", inbound: true, call: "488", audio: audio{offended: errors.New("no common codec")}, err: "no common codec",
		events: "ended by 0, 488"},
	{name: "talk-inbound-hold-and-more", inbound: true, during: inTalk,
		said: "0 early, 0 answers, offers [sendrecv held sendrecv sendrecv], digits 5"},
	{name: "talk-inbound-held-first", inbound: true, phone: siptest.Script{HangUpAfter: 20 * time.Second},
		said: "0 early, 1 answers, offers [], digits ",
		take: func(ctx context.Context, in *Incoming, end *Conversation) error {
			if err := in.AnswerHeld(ctx); err != nil {
				return err
			}
			return in.Converse(ctx, end)
		}},
	{name: "talk-inbound-session", inbound: true, hangUp: 2 * time.Minute, err: errClosed.Error(), phone: siptest.Script{Do: []siptest.Action{
		{After: 20 * time.Second, Method: "UPDATE", Header: session("90;refresher=uas")},
		{After: 40 * time.Second, Method: "INVITE", Header: session("120;refresher=uac")}}}},
}

func TestConversations(t *testing.T) {
	for _, tc := range talkCases {
		t.Run(tc.name, func(t *testing.T) {
			name := tc.name
			if tc.loose {
				name = ""
			}
			flowtest.Ladder(t, name, func(t *testing.T, n *siptest.Network) { tc.run(t, n, true) })
		})
	}
}

// TestConversationsSurviveLoss loses each message of each case once: whatever
// comes of the call, the phone is not left off hook and nothing is left behind.
func TestConversationsSurviveLoss(t *testing.T) {
	for _, tc := range talkCases {
		t.Run(tc.name, func(t *testing.T) {
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { tc.run(t, n, false) })
		})
	}
}

// What phones ask within a conversation, byte by byte.
func TestConversationByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := rawUDP(t, n, phoneAddr)
		moved := rawUDP(t, n, calledAddr)
		r := newRig(t, n, "")
		defer r.stop()
		var end audio
		c, err := r.sw.Place(t.Context(), Spec{Key: Key{Agent: "sam@10.0.0.2", Calling: "talk-1", Called: "201@10.0.0.2"}, Method: MethodInvite,
			CalledUser: "201@10.0.0.2", Converse: end.conversation()}, Converse)
		if err != nil {
			t.Fatal(err)
		}
		p.invite = p.expect("INVITE")
		const described = "Content-Type: application/sdp\r\n"
		p.send(p.response(p.invite, 200, p.contact()+described, sdpOf(4000)))
		p.expect("ACK")

		// invite wants the final response to an INVITE.
		invite := func(code int, msg string) *wire.Message {
			m := p.wants(100, msg)
			for m != nil && m.Code() < 200 {
				m = p.read(time.Second)
			}
			if m == nil || m.Code() != code {
				t.Errorf("the INVITE was answered %s, want %d", show(m), code)
			}
			return m
		}
		// Without an offer ours is in the 200, and its answer in the ACK. Until then
		// there is no room for another.
		if res := invite(200, p.inDialog("INVITE", 1, "", "")); res == nil || bodyOf(res) == nil {
			t.Error("no offer in the 200")
		}
		p.wants(491, p.inDialog("UPDATE", 2, described, sdpOf(4002)))
		p.send(p.inDialog("ACK", 1, described, sdpOf(4002)))
		synctest.Wait()
		time.Sleep(time.Second)
		if said := end.said(); said != "0 early, 2 answers, offers [], digits " {
			t.Errorf("%s", said)
		}
		invite(482, p.inDialog("INVITE", 3, described, sdpOf(4002), "sip:201@"+phoneAddr, "sip:x@"+ourAddr))
		p.send(p.inDialog("ACK", 3, "", ""))
		p.wants(501, p.inDialog("X", 4, "", ""))

		// It has moved: what is for it goes there.
		p.wants(200, p.inDialog("UPDATE", 5, described, sdpOf(4002), "sip:201@"+phoneAddr, "sip:201@"+calledAddr))
		c.HangUp(ErrHungUpByUser)
		bye := moved.expect("BYE")
		moved.send(moved.response(bye, 200, "", ""))
		<-c.Done()
		r.empty()
	})
}
