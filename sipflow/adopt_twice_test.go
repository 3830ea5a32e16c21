package sipflow

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

// bridgedPair is a call of 201 and 202 that is up at the first node.
func (c *cluster) bridgedPair(calling, called siptest.Script) (p, q *siptest.Phone, call *Call) {
	c.t.Helper()
	p, q = c.phone("201", phoneAddr, calling), c.phone("202", calledAddr, called)
	call, err := c.first.sw.Place(c.t.Context(), spec(func(s *Spec) { s.Method = MethodInvite }), Invite)
	if err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	return p, q, call
}

// A node that stood still, and has lost its calls to another one, hangs them all up when it
// goes on. The phones know better.
func TestPhonesRefuseANodeThatComesBack(t *testing.T) {
	for _, allow := range []string{"", onlyInvite} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, siptest.NewNetwork())
			p, q, call := c.bridgedPair(siptest.Script{Allow: allow}, siptest.Script{Allow: allow})
			c.takeOver(true) // the first node does not know
			time.Sleep(5 * time.Second)
			call.HangUp(ErrHungUpByUser)
			<-call.Done()
			byes := 0
			for _, ph := range []*siptest.Phone{p, q} {
				for _, line := range ph.Log() {
					if strings.HasPrefix(line, "BYE has CSeq") {
						byes++
					}
				}
				if ph.Dialogs() != 1 {
					t.Errorf("a phone obeyed; it saw\n%s", strings.Join(ph.Log(), "\n"))
				}
			}
			if byes != 2 {
				t.Errorf("%d BYEs were refused, want 2", byes)
			}
			do(t, p, 200, siptest.Action{Method: "INVITE"}) // the phones are joined by the heir
			c.crash()
			q.HangUp()
			time.Sleep(5 * time.Minute)
			c.close()
		})
	}
}

// The heir dies, too, and a third node goes on: with calls as the heir has kept them.
func TestCallsOutliveTwoNodes(t *testing.T) {
	for _, allow := range []string{"", onlyInvite} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			c := newCluster(t, n)
			p, q, call := c.bridgedPair(siptest.Script{Allow: allow}, siptest.Script{Allow: allow})
			c.crash()
			c.takeOver(true)
			time.Sleep(5 * time.Second)
			do(t, p, 200, siptest.Action{Method: "INVITE"})
			time.Sleep(5 * time.Second)
			second := c.keeps.all()[call.ID()]
			heard := q.Heard()

			third := newShelf()
			r := newRigAt(t, n, "third", "10.0.0.7:5060", proxyAddr, func(cfg *Config) { cfg.Keeper = third })
			c.keeps.mu.Lock()
			c.keeps.cut = true
			c.keeps.mu.Unlock()
			n.Unplug("10.0.0.8")
			result := ""
			err := r.sw.Adopt(t.Context(), Adopted{ID: call.ID(), State: second, Epoch: 2, Keep: true}, func(r string,
				_ error) {
				result = r
			})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			for _, ph := range []*siptest.Phone{p, q} {
				got := ph.Requests(sip.INVITE, sip.UPDATE)
				last := got[len(got)-1]
				if last.Contact().Address.Host != "10.0.0.7" || last.CSeq().SeqNo < 3000 {
					t.Errorf("the last request is %s", last.String())
				}
			}
			if result != TakenKept || q.Heard() != heard {
				t.Errorf("%s, 202 was told\n%s\nand before\n%s", result, q.Heard(), heard)
			}
			do(t, q, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.3")})
			q.HangUp()
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if !p.OnHook() || !q.OnHook() || len(third.all()) != 0 {
				t.Errorf("201 saw\n%s", strings.Join(p.Log(), "\n"))
			}
			r.empty()
			c.first.shutdown() //nolint:errcheck // it is dead
			c.heir.shutdown()  //nolint:errcheck // likewise
			r.stop()
			p.Close()
			q.Close()
			c.proxy.Close()
		})
	}
}

// What phones ask while they are told where their call goes on is not lost: it waits.
func TestRequestsWaitForTheirCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		c := newCluster(t, n)
		slow := siptest.Reinvite{After: 3 * time.Second}
		p, q, call := c.bridgedPair(siptest.Script{Reinvite: slow, Allow: onlyInvite}, siptest.Script{Allow: onlyInvite})
		c.crash()
		c.takeOver(true)
		time.Sleep(time.Second) // 201 thinks about its refresh
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		if taken := c.heir.sw.ByID(call.ID()); taken == nil || taken.isUp.Load() {
			t.Fatal("the heir has no call that is not joined yet")
		}
		// It knows the new address already.
		at := time.Now()
		if res, err := p.Do(ctx, siptest.Action{Method: "INFO", Body: "Signal=5\r\n",
			ContentType: "application/dtmf-relay"}); err != nil ||
			res.StatusCode != 200 {
			t.Errorf("INFO: %v %v", res, err)
		}
		if waited := time.Since(at); waited < time.Second || len(q.Requests(sip.INFO)) != 1 {
			t.Errorf("it waited for %v, and 202 got %d INFOs", waited, len(q.Requests(sip.INFO)))
		}
		q.HangUp()
		time.Sleep(5 * time.Minute)
		c.close()
	})
}

// A client ends a call at its heir before that has reached the phones.
func TestClientEndsACallThatIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, siptest.NewNetwork())
		p, _, call := c.bridgedPair(siptest.Script{Allow: onlyInvite}, siptest.Script{})
		p.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 20 * time.Second}})
		c.crash()
		c.takeOver(true)
		time.Sleep(time.Second)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if err := c.heir.sw.HangUp(ctx, call.Key); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := c.results(); !strings.HasPrefix(got, TakenHungUp) {
			t.Errorf("taken over: %s", got)
		}
		c.close()
	})
}
