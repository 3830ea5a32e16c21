package sipflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

const thirdAddr = "10.0.0.4:5060"

// bridgeCase is one call by INVITE of 201 and 202.
type bridgeCase struct {
	name            string
	calling, called siptest.Script
	third           *siptest.Script // the phone 203
	fork            *siptest.Script // a second phone of the called user
	challenge       bool            // the proxy asks for credentials
	direct          bool            // phones' own calls do not go through the proxy
	spec            func(*Spec)
	cfg             func(*Config)
	flow            Flow
	during          func(t *testing.T, r *rig, p *phones, c *Call)
	hangUp          time.Duration // the client ends the call then; 0: not
	lasts           time.Duration

	dialogs string // states in the order of their report, "201 Early Dialog"
	status  string // status lines, of calls by REFER
	told    string // of holds, muting and transfers
	err     string
	offHook bool // a phone's own fault keeps it off-hook
	stuck   bool // a phone that says nothing keeps Serve for its 10 s
}

// phones are the phones of a bridgeCase.
type phones struct{ calling, called, third, fork *siptest.Phone }

const up = "201 null, 201 Early Dialog, 201 Confirmed Dialog, 202 null, 202 Early Dialog, 202 Confirmed Dialog"

func (bc *bridgeCase) run(t *testing.T, n *siptest.Network, strict bool) {
	users, called := map[string]string{"200": "secret", "201": "x", "202": "x", "203": "x"}, "sip:202@"+calledAddr
	if bc.fork != nil {
		called += ", sip:202@" + forkAddr
	}
	proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Users: users, Open: !bc.challenge,
		Locations: map[string]string{"201": "sip:201@" + phoneAddr, "202": called, "203": "sip:203@" + thirdAddr}})
	defer proxy.Close()
	phone := func(user, addr string, script siptest.Script) *siptest.Phone {
		n.Name(addr, user)
		account := siptest.Account{User: user, Domain: "sipx.test", Password: "x", Proxy: proxy.Addr()}
		if bc.direct {
			account = siptest.Account{User: user}
		}
		return siptest.NewPhone(n.Listen(addr), account, script)
	}
	p := &phones{calling: phone("201", phoneAddr, bc.calling), called: phone("202", calledAddr, bc.called)}
	defer p.calling.Close()
	defer p.called.Close()
	if bc.third != nil {
		p.third = phone("203", thirdAddr, *bc.third)
		defer p.third.Close()
	}
	if bc.fork != nil {
		p.fork = n.Phone("202b", forkAddr, *bc.fork)
		defer p.fork.Close()
	}
	r := newRig(t, n, proxyAddr, func(c *Config) {
		if bc.cfg != nil {
			bc.cfg(c)
		}
	})
	defer func() {
		if err := r.shutdown(); err != nil && strict && !bc.stuck {
			t.Errorf("Serve: %v", err)
		}
	}()
	flow := bc.flow
	if flow == nil {
		flow = Invite
	}
	c, err := r.sw.Place(t.Context(), spec(func(s *Spec) {
		s.Method = MethodInvite
		if bc.spec != nil {
			bc.spec(s)
		}
	}), flow)
	if err != nil {
		t.Fatalf("Place: %v", err)
	}
	if bc.during != nil {
		bc.during(t, r, p, c)
	}
	if bc.hangUp > 0 {
		time.Sleep(bc.hangUp)
		if now := r.sw.Find(c.Key); now != nil {
			c = now // one that took the key
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := r.sw.HangUp(ctx, c.Holds()); err != nil && strict {
			t.Errorf("HangUp: %v", err)
		}
		cancel()
	}
	time.Sleep(max(bc.lasts, 5*time.Minute))
	synctest.Wait()
	if !strict { // a phone whose first ACK was lost does not hang up by itself
		c.stop(ErrHungUpByUser)
		time.Sleep(time.Minute)
	}
	select {
	case <-c.Done():
	default:
		t.Error("the call is not over")
		c.stop(errors.New("test over"))
		<-c.Done()
	}
	for _, ph := range []*siptest.Phone{p.calling, p.called, p.third, p.fork} {
		if ph != nil && !ph.OnHook() && !bc.offHook {
			t.Errorf("a phone is off-hook; it saw\n%s", strings.Join(ph.Log(), "\n"))
		}
	}
	if strict {
		if got := r.dialogs(); got != bc.dialogs && bc.dialogs != "" {
			t.Errorf("dialogs:\n got %s\nwant %s", got, bc.dialogs)
		}
		if got := r.events(); bc.told != "" && got != bc.told {
			t.Errorf("told:\n got %s\nwant %s", got, bc.told)
		}
		if bc.status != "" && r.status() != bc.status {
			t.Errorf("status lines:\n got %s\nwant %s", r.status(), bc.status)
		}
		if err := c.Err(); (bc.err == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), bc.err)) {
			t.Errorf("call ended with %v, want %q", err, bc.err)
		}
	}
	r.empty()
}

func (r *rig) dialogs() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.states, ", ")
}

// do has a phone send a request in its call; the final response must be want.
func do(t *testing.T, ph *siptest.Phone, want int, a siptest.Action) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	res, err := ph.Do(ctx, a)
	if err != nil {
		t.Logf("%s: %v", a.Method, err)
		return
	}
	if res.StatusCode != want && want != 0 {
		t.Errorf("%s was answered %d, want %d", a.Method, res.StatusCode, want)
	}
}

func transferTo(t *testing.T, r *rig, user string, want error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	from := spec().Key
	to := from
	to.Calling = user + "@sipx.test"
	if err := r.sw.Transfer(ctx, from, to, user+"@sipx.test", false); !errors.Is(err, want) {
		t.Errorf("Transfer: %v, want %v", err, want)
	}
}

var bridgeCases = []bridgeCase{
	{name: "bridged-client-hangs-up", calling: siptest.Script{Ring: time.Second}, called: siptest.Script{Ring: time.Second},
		hangUp:  time.Minute,
		dialogs: up + ", 202 Terminated Dialog, 201 Terminated Dialog", err: ErrHungUpByUser.Error()},
	{name: "bridged-calling-hangs-up", calling: siptest.Script{HangUpAfter: 10 * time.Second,
		HangUp: siptest.Action{Header: []sip.Header{sip.NewHeader("Reason", `Q.850;cause=16`)}}},
		dialogs: up + ", 201 Terminated Dialog, 202 Terminated Dialog"},
	{name: "bridged-called-hangs-up", called: siptest.Script{HangUpAfter: 10 * time.Second},
		dialogs: up + ", 202 Terminated Dialog, 201 Terminated Dialog"},
	{name: "bridged-through-challenging-proxy", challenge: true, hangUp: time.Minute, err: ErrHungUpByUser.Error()},
	{name: "bridged-subject-and-pin", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), spec: func(s *Spec) {
		s.Subject, s.ConfPIN, s.ForwardingAllowed = "Conference", "1234", true
	}},
	{name: "bridge-calling-busy", calling: siptest.Script{Status: 486, Ringing: -1}, dialogs: "201 null, 201 Terminated Dialog", err: "486"},
	{name: "bridge-calling-does-not-answer", calling: siptest.Script{NeverAnswer: true}, err: ErrNoAnswer.Error()},
	{name: "bridge-called-busy", called: siptest.Script{Status: 486},
		dialogs: "201 null, 201 Early Dialog, 201 Confirmed Dialog, 202 null, 202 Early Dialog, 201 Terminated Dialog, 202 Terminated Dialog",
		err:     "486"},
	{name: "bridge-called-unknown", called: siptest.Script{Status: 404, Ringing: -1}, err: "404"},
	{name: "bridge-called-does-not-answer", called: siptest.Script{NeverAnswer: true}, err: ErrNoAnswer.Error()},
	{name: "bridge-calling-hangs-up-while-called-rings", calling: siptest.Script{HangUpAfter: 5 * time.Second},
		called: siptest.Script{NeverAnswer: true}, err: ErrHungUp.Error()},
	{name: "bridge-calling-hangs-up-before-called-rings", calling: siptest.Script{HangUpAfter: 3 * time.Second},
		called: siptest.Script{Silent: true}, err: ErrHungUp.Error()},
	{name: "bridge-called-answers-without-sdp", called: siptest.Script{NoSDP: true}, err: errNoSDP.Error()},
	{name: "bridge-calling-answers-without-sdp", calling: siptest.Script{NoSDP: true}, err: errNoSDP.Error()},
	{name: "bridge-calling-refuses-reinvite", calling: siptest.Script{Reinvite: siptest.Reinvite{Status: 488}}, err: "488"},
	{name: "bridge-calling-ignores-reinvite", calling: siptest.Script{Reinvite: siptest.Reinvite{Silent: true}}, err: "408"},
	{name: "bridge-calling-slow-reinvite-called-repeats-200", calling: siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "bridge-calling-refuses-placeholder", calling: siptest.Script{Status: 488}, err: "488"},
	{name: "bridge-forked-calling", calling: siptest.Script{Forks: 1}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "bridge-forked-called", called: siptest.Script{Forks: 1}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "bridge-calling-repeats-200", calling: siptest.Script{LoseACKs: 2}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},

	{name: "bridged-hold-and-resume", hangUp: 30 * time.Second, err: ErrHungUpByUser.Error(), during: func(t *testing.T, r *rig, p *phones,
		c *Call) {
		time.Sleep(5 * time.Second)
		do(t, p.calling, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.2")})
		time.Sleep(5 * time.Second)
		do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
		time.Sleep(5 * time.Second)
		do(t, p.called, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.3")})
	}},
	{name: "bridged-reinvite-refused-by-the-other", called: siptest.Script{Reinvite: siptest.Reinvite{Status: 488}}, hangUp: 30 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: func(t *testing.T, r *rig, p *phones, c *Call) {
			time.Sleep(5 * time.Second)
			do(t, p.calling, 488, siptest.Action{Method: "INVITE"})
		}},
	{name: "bridged-other-requests", hangUp: 30 * time.Second, err: ErrHungUpByUser.Error(), during: func(t *testing.T, r *rig, p *phones,
		c *Call) {
		time.Sleep(5 * time.Second)
		for _, m := range []sip.RequestMethod{"INFO", "MESSAGE", "OPTIONS", "UPDATE", "SUBSCRIBE"} {
			a, want := siptest.Action{Method: m}, 200
			if m == "SUBSCRIBE" {
				a.Header, want = []sip.Header{sip.NewHeader("Event", "dialog")}, 489 // which these phones do not know
			}
			if m == "INFO" {
				a.Body, a.ContentType = "Signal=5\r\nDuration=160\r\n", "application/dtmf-relay"
			}
			do(t, p.calling, want, a)
			do(t, p.called, want, a)
		}
	}},
	{name: "bridged-glare", hangUp: 30 * time.Second, err: ErrHungUpByUser.Error(),
		calling: siptest.Script{Reinvite: siptest.Reinvite{After: 100 * time.Millisecond}},
		called:  siptest.Script{Reinvite: siptest.Reinvite{After: 100 * time.Millisecond}},
		during: func(t *testing.T, r *rig, p *phones, c *Call) {
			time.Sleep(5 * time.Second)
			done := make(chan bool)
			go func() { do(t, p.called, 0, siptest.Action{Method: "INVITE"}); done <- true }()
			do(t, p.calling, 0, siptest.Action{Method: "INVITE"})
			<-done
		}},

	{name: "transferred", third: &siptest.Script{Ring: 2 * time.Second}, during: func(t *testing.T, r *rig, p *phones, c *Call) {
		time.Sleep(5 * time.Second)
		transferTo(t, r, "203", nil)
		time.Sleep(10 * time.Second)
		if !p.calling.OnHook() || p.third.OnHook() || p.called.OnHook() {
			t.Log("after the transfer 201 is to be on-hook, 202 and 203 in the call")
		}
		p.called.HangUp()
	}, dialogs: up + ", 203 null, 203 Early Dialog, 203 Confirmed Dialog, 201 Terminated Dialog, 202 Terminated Dialog, 203 " +
		"Terminated Dialog"},
	{name: "transfer-target-busy", third: &siptest.Script{Status: 486}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: func(t *testing.T, r *rig, p *phones, c *Call) {
			time.Sleep(5 * time.Second)
			transferTo(t, r, "203", nil)
		}, dialogs: up + ", 203 null, 203 Early Dialog, 203 Terminated Dialog, 202 Terminated Dialog, 201 Terminated Dialog"},
	{name: "transfer-target-does-not-answer", third: &siptest.Script{NeverAnswer: true}, hangUp: time.Minute, err: ErrHungUpByUser.Error(),
		during: func(t *testing.T, r *rig, p *phones, c *Call) {
			time.Sleep(5 * time.Second)
			transferTo(t, r, "203", nil)
		}},
	{name: "transfer-challenged", challenge: true, third: &siptest.Script{}, during: func(t *testing.T, r *rig, p *phones, c *Call) {
		time.Sleep(5 * time.Second)
		transferTo(t, r, "203", nil)
		time.Sleep(10 * time.Second)
		p.called.HangUp()
	}},
	{name: "transfer-calling-hangs-up-while-target-rings", third: &siptest.Script{Ring: 5 * time.Second},
		during: func(t *testing.T, r *rig, p *phones, c *Call) {
			time.Sleep(5 * time.Second)
			transferTo(t, r, "203", nil)
			time.Sleep(2 * time.Second)
			p.calling.HangUp()
			time.Sleep(10 * time.Second)
			p.called.HangUp()
		}},
	{name: "transfer-called-hangs-up-while-target-rings", third: &siptest.Script{Ring: 5 * time.Second},
		during: func(t *testing.T, r *rig, p *phones, c *Call) {
			time.Sleep(5 * time.Second)
			transferTo(t, r, "203", nil)
			time.Sleep(2 * time.Second)
			p.called.HangUp()
		}},
	{name: "transfer-called-refuses-reinvite", called: siptest.Script{Reinvite: siptest.Reinvite{Status: 488}}, third: &siptest.Script{},
		hangUp: 30 * time.Second, err: ErrHungUpByUser.Error(),
		during: func(t *testing.T, r *rig, p *phones, c *Call) {
			time.Sleep(5 * time.Second)
			transferTo(t, r, "203", nil)
		}},
	{name: "transfer-while-ringing", calling: siptest.Script{Ring: 10 * time.Second}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: func(t *testing.T, r *rig, p *phones, c *Call) {
			time.Sleep(5 * time.Second)
			transferTo(t, r, "203", ErrNoCall)
		}},
	{name: "refer-refused-phones-are-bridged", flow: Refer, spec: byRefer, cfg: fallback, hangUp: 20 * time.Second,
		err:     ErrHungUpByUser.Error(),
		calling: siptest.Script{Refer: siptest.Refer{Status: 405}}, called: siptest.Script{Ring: time.Second},
		status: "INVITE 180 Ringing, INVITE 200 OK, REFER 405 Method Not Allowed, INVITE 180 Ringing, INVITE 200 OK"},
	{name: "asterisk-invites-again-while-called-rings", calling: siptest.AsteriskDirectMedia(), called: siptest.Script{Ring: 3 * time.Second},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "asterisk-invites-again-at-both-ends", calling: siptest.AsteriskDirectMedia(), called: siptest.AsteriskDirectMedia(),
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "asterisk-is-never-ready-phones-are-bridged", flow: Refer, spec: byRefer, cfg: fallback, hangUp: 20 * time.Second,
		err:     ErrHungUpByUser.Error(),
		calling: siptest.AsteriskNotReady(time.Hour, "SIP/2.0 400 Bad Request"),
		status:  "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 400 Bad Request, NOTIFY 400 Bad Request, INVITE 180 Ringing, INVITE 200 OK"},
	{name: "bridged-transfer-declined-and-left-active", calling: siptest.LinphoneDeclined(), hangUp: 30 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			do(t, p.called, 202, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:203@sipx.test>"),
				sip.NewHeader("Contact", "<sip:202@"+calledAddr+">")}})
		})},
	{name: "bridged-bye-is-overtaken-by-info", called: siptest.Script{
		Do: []siptest.Action{{After: 5 * time.Second, Method: "INFO", Body: "Signal=1\r\n", ContentType: "application/dtmf-relay",
			LeaveOut: true}},
		HangUpAfter: 5*time.Second + 50*time.Millisecond, HangUp: siptest.Action{Overtaken: true}}},
	{name: "bridged-transfer-reported-after-the-bye", calling: siptest.OutOfOrder(), called: siptest.Script{},
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			do(t, p.called, 202, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:203@sipx.test>"),
				sip.NewHeader("Contact", "<sip:202@"+calledAddr+">")}})
		})},
	{name: "refer-unanswered-phones-are-bridged", flow: Refer, spec: byRefer, cfg: fallback, hangUp: time.Minute, err: ErrHungUpByUser.Error(),
		calling: siptest.Script{Refer: siptest.Refer{Silent: true}},
		status:  "INVITE 180 Ringing, INVITE 200 OK, REFER 408 Request Timeout, INVITE 180 Ringing, INVITE 200 OK"},
	{name: "refer-refused-before-is-not-tried-again", flow: Refer, spec: byRefer, cfg: fallback, hangUp: 20 * time.Second,
		err:     ErrHungUpByUser.Error(),
		calling: siptest.Script{Refer: siptest.Refer{Status: 603}},
		during: func(t *testing.T, r *rig, p *phones, c *Call) {
			time.Sleep(5 * time.Second)
			if _, err := r.sw.Place(t.Context(), spec(byRefer), Refer); err != nil {
				t.Error(err)
			}
		}},
	{name: "client-hangs-up-while-called-rings", called: siptest.Script{NeverAnswer: true}, hangUp: 5 * time.Second,
		err: ErrHungUpByUser.Error()},
}

func byRefer(s *Spec) { s.Method = MethodRefer }

func fallback(c *Config) { c.Fallback = true }

func held(host string) string {
	return fmt.Sprintf("v=0\r\no=- 7 8 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=sendonly\r\n", host, host)
}

// Each way a bridged call can go, message by message.
func TestBridgedCalls(t *testing.T) {
	for _, bc := range slices.Concat(bridgeCases, inCallCases, transferCases, redirectCases, replacesCases, holdCases, blindCases,
		attendedCases, divertCases) {
		t.Run(bc.name, func(t *testing.T) {
			flowtest.Ladder(t, bc.name, func(t *testing.T, n *siptest.Network) { bc.run(t, n, true) })
		})
	}
}

// Each again with each of its messages lost once.
func TestBridgedCallsSurviveLoss(t *testing.T) {
	for _, bc := range slices.Concat(bridgeCases, inCallCases, transferCases, redirectCases, replacesCases, holdCases, blindCases,
		attendedCases, divertCases) {
		t.Run(bc.name, func(t *testing.T) {
			t.Parallel()
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { bc.run(t, n, false) })
		})
	}
}
