package sipflow

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

// wish is a test of what clients may ask for beyond the usual: a proxy, and the
// phones 201 and 202 behind it.
func wish(t *testing.T, calling, called siptest.Script, test func(t *testing.T, r *rig, p *phones)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		proxy := n.Proxy(
			proxyAddr,
			siptest.ProxyConfig{Domain: "sipx.test", Open: true, Users: map[string]string{"200": "x", "201": "x", "202": "x"},
				Locations: map[string]string{"201": "sip:201@" + phoneAddr, "202": "sip:202@" + calledAddr}},
		)
		defer proxy.Close()
		p := &phones{calling: n.Phone("201", phoneAddr, calling), called: n.Phone("202", calledAddr, called)}
		defer p.calling.Close()
		defer p.called.Close()
		r := newRig(t, n, proxyAddr, fallback)
		defer r.stop()
		test(t, r, p)
		r.empty()
	})
}

// inviting is a spec for the flow Invite.
func inviting(s *Spec) { s.Method = MethodInvite }

func TestAClientHangsUpForACauseOfTheTelephoneNetwork(t *testing.T) {
	const want = `Q.850;cause=17;text="User busy"`
	why := &ClientHangUp{Cause: 17, Text: "User busy"}
	t.Run("in talk", func(t *testing.T) {
		wish(t, siptest.Script{}, siptest.Script{}, func(t *testing.T, r *rig, p *phones) {
			c, err := r.sw.Place(t.Context(), spec(inviting), Invite)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			c.HangUp(why)
			<-c.Done()
			if got := p.calling.ByeReason(); got != want {
				t.Errorf("201 was told %q, want %q", got, want)
			}
			if got := p.called.ByeReason(); got != want {
				t.Errorf("202 was told %q, want %q", got, want)
			}
			if !errors.Is(c.Err(), ErrHungUpByUser) {
				t.Errorf("the call ended by %v", c.Err())
			}
		})
	})
	t.Run("while it rings", func(t *testing.T) {
		wish(t, siptest.Script{NeverAnswer: true}, siptest.Script{}, func(t *testing.T, r *rig, p *phones) {
			c, err := r.sw.Place(t.Context(), spec(inviting), Invite)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			c.HangUp(why)
			<-c.Done()
			cancel := p.calling.Requests(sip.CANCEL)
			if len(cancel) != 1 || cancel[0].GetHeader("Reason") == nil || cancel[0].GetHeader("Reason").Value() != want {
				t.Errorf("the CANCEL is %v, want the reason %q", cancel, want)
			}
		})
	})
}

// A client that wants no fallback gets none, though others do.
func TestAPhoneThatRefusesREFERIsNotBridgedForAClientThatWantsNoFallback(t *testing.T) {
	for _, no := range []bool{false, true} {
		wish(
			t,
			siptest.Script{Refer: siptest.Refer{Status: 501}},
			siptest.Script{HangUpAfter: 5 * time.Second},
			func(t *testing.T, r *rig, p *phones) {
				c := r.place(spec(func(s *Spec) { s.NoFallback = no }))
				<-c.Done()
				if called := len(p.called.Requests(sip.INVITE)) > 0; called == no {
					t.Errorf("NoFallback %v: 202 was called %v", no, called)
				}
				if refused := refusedBy(c.Err(), "REFER"); (refused == 501) != no {
					t.Errorf("NoFallback %v: ended by %v", no, c.Err())
				}
			},
		)
	}
}

// A call by INVITE is replaced by another only where that one wants it.
func TestAClientMayReplaceACallByInvite(t *testing.T) {
	for conflict, replaced := range map[Conflict]bool{ConflictReplace: false, ConflictReject: false, ConflictReplaceAny: true} {
		wish(t, siptest.Script{}, siptest.Script{}, func(t *testing.T, r *rig, p *phones) {
			place := func(c Conflict) (*Call, error) {
				return r.sw.Place(t.Context(), spec(inviting, func(s *Spec) { s.Conflict = c }), Invite)
			}
			first, err := place(ConflictReject)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			second, err := place(conflict)
			synctest.Wait()
			time.Sleep(5 * time.Second)
			switch {
			case replaced && err != nil:
				t.Fatal(err)
			case replaced:
				<-first.Done()
				if !errors.Is(first.Err(), ErrReplaced) {
					t.Errorf("the first call ended by %v", first.Err())
				}
				second.HangUp(ErrHungUpByUser)
			case !errors.Is(err, ErrInProgress):
				t.Errorf("conflict %d: %v, want ErrInProgress", conflict, err)
			}
			first.HangUp(ErrHungUpByUser)
		})
	}
}

// A call to a number may ring its agent's phone first: the gateway is asked for the
// number once that has answered.
func TestANumberIsCalledOnceThePhoneHasAnswered(t *testing.T) {
	wish(t, siptest.Script{Ring: 2 * time.Second}, siptest.Script{HangUpAfter: 20 * time.Second}, func(t *testing.T, r *rig, p *phones) {
		s := spec(inviting, func(s *Spec) {
			s.Key.Called, s.CalledUser = "+202", "+202"
			s.Dial = &Dialling{Gateway: "sip:sipx.test;maddr=" + "10.0.0.9", Number: "202", Caller: "+493012345", Last: true}
		})
		c, err := r.sw.Place(t.Context(), s, Invite)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := len(p.called.Requests(sip.INVITE)); n != 0 {
			t.Errorf("the number was called %d times before the phone answered", n)
		}
		<-c.Done()
		if c.Err() != nil {
			t.Fatal(c.Err())
		}
		first, then := p.calling.Requests(sip.INVITE)[0], p.called.Requests(sip.INVITE)
		if got := first.From().Address.User; got != "200" {
			t.Errorf("the phone was called by %q", got)
		}
		if len(then) == 0 || then[0].From().Address.User != "+493012345" {
			t.Errorf("the number was called by %v", then)
		}
	})
}
