package sipflow

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// give is how the first node gives a call to the heir.
func (c *cluster) give(ctx context.Context, id string, state []byte) error {
	return c.heir.sw.Adopt(ctx, Adopted{ID: id, State: state, Epoch: 1, Keep: true}, func(result string, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			result += ": " + err.Error()
		}
		c.taken = append(c.taken, result)
	})
}

// talking starts two nodes, and a call of 201 and 202 at the first.
func talking(t *testing.T, n *siptest.Network, calling, called siptest.Script) (c *cluster, p, q *siptest.Phone, call *Call) {
	t.Helper()
	c = newCluster(t, n)
	p, q = c.phone("201", phoneAddr, calling), c.phone("202", calledAddr, called)
	call, err := c.first.sw.Place(t.Context(), spec(func(s *Spec) { s.Method = MethodInvite }), Invite)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	return c, p, q, call
}

// A call that is handed over goes on at the other node: each phone hears of it once, and
// nothing from the node that ends.
func TestACallIsHandedOverWhileThePhonesTalk(t *testing.T) {
	for name, allow := range map[string]string{"by UPDATE": "", "by INVITE": onlyInvite} {
		t.Run(name, func(t *testing.T) {
			flowtest.Ladder(t, "", func(t *testing.T, n *siptest.Network) {
				script := siptest.Script{Allow: allow}
				c, p, q, call := talking(t, n, script, script)
				was := len(p.Requests()) + len(q.Requests())
				if moved := c.first.sw.HandOver(t.Context(), c.give); moved != 1 {
					t.Errorf("%d calls were handed over", moved)
				}
				<-call.Done()
				if err := call.Err(); !errors.Is(err, ErrForgotten) {
					t.Errorf("at the first node it ends by %v", err)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if got := c.results(); got != TakenKept {
					t.Errorf("taken over: %s", got)
				}
				refreshes := 0
				for _, r := range append(p.Requests(), q.Requests()...) {
					if r.Contact() != nil && r.Contact().Address.Host == "10.0.0.8" && r.Method != sip.ACK {
						refreshes++
					}
					if r.Method == sip.BYE {
						t.Error("a phone was hung up")
					}
				}
				if refreshes != 2 || was == 0 {
					t.Errorf("the phones got %d refreshes", refreshes)
				}
				taken := c.heir.sw.ByID(call.ID())
				if taken == nil {
					t.Fatal("the heir has no call")
				}
				do(t, p, 200, siptest.Action{Method: "INFO", Body: "Signal=1\r\n", ContentType: "application/dtmf-relay"})
				q.HangUp()
				<-taken.Done()
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := c.kept.over[call.ID()]; n != 0 {
					t.Errorf("the first node has ended the state %d times, which is the heir's", n)
				}
				c.kept.cut = true
				c.close()
			})
		})
	}
}

// While a phone changes its session the call stays, and goes afterwards.
func TestACallThatChangesIsHandedOverLater(t *testing.T) {
	flowtest.Ladder(t, "", func(t *testing.T, n *siptest.Network) {
		c, p, q, call := talking(t, n, siptest.Script{}, siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}})
		done := make(chan struct{})
		go func() {
			defer close(done)
			do(t, p, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.2")})
		}()
		time.Sleep(time.Second)
		began := time.Now()
		var asked atomic.Int32
		moved := c.first.sw.HandOver(t.Context(), func(ctx context.Context, id string, state []byte) error {
			asked.Add(1)
			return c.give(ctx, id, state)
		})
		<-done
		if took := time.Since(began); moved != 1 || asked.Load() != 1 || took < 2*time.Second || took > 5*time.Second {
			t.Errorf("%d moved after %v, asked %d times", moved, took, asked.Load())
		}
		time.Sleep(2 * time.Second)
		taken := c.heir.sw.ByID(call.ID())
		if taken == nil {
			t.Fatalf("the heir has no call: %s", c.results())
		}
		p.HangUp()
		<-taken.Done()
		time.Sleep(time.Minute)
		synctest.Wait()
		c.kept.cut = true
		_ = q
		c.close()
	})
}

// Where nobody takes the call it goes on, and is offered again.
func TestACallThatNobodyTakesGoesOn(t *testing.T) {
	flowtest.Ladder(t, "", func(t *testing.T, n *siptest.Network) {
		c, p, q, call := talking(t, n, siptest.Script{}, siptest.Script{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var asked atomic.Int32 // by the call, also when the time of the hand-over is up
		if moved := c.first.sw.HandOver(ctx, func(context.Context, string,
			[]byte) error {
			asked.Add(1)
			return errors.New("no other node")
		}); moved != 0 || asked.Load() < 3 {
			t.Errorf("%d moved, asked %d times", moved, asked.Load())
		}
		do(t, p, 200, siptest.Action{Method: "INFO", Body: "Signal=1\r\n", ContentType: "application/dtmf-relay"})
		q.HangUp()
		<-call.Done()
		if err := call.Err(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		c.close()
	})
}

// A node that was fenced says nothing more to anybody: others have its calls. What phones
// still send it gets no response, for a 481 would end the call that goes on elsewhere.
func TestAFencedNodeForgetsWithoutAWord(t *testing.T) {
	flowtest.Ladder(t, "", func(t *testing.T, n *siptest.Network) {
		c, p, q, call := talking(t, n, siptest.Script{}, siptest.Script{})
		ringing := c.phone("203", thirdAddr, siptest.Script{NeverAnswer: true})
		second, err := c.first.sw.Place(t.Context(), spec(func(s *Spec) {
			s.Method, s.Key.Calling, s.CallingUser, s.CalledUser = MethodInvite, "203", "203@sipx.test", "202@sipx.test"
		}), Invite)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		c.kept.mu.Lock()
		c.kept.cut = true
		c.kept.mu.Unlock()
		was := []int{len(p.Log()), len(q.Log()), len(ringing.Log())}
		c.first.sw.Forget()
		<-call.Done()
		<-second.Done()
		for _, call := range []*Call{call, second} {
			if err := call.Err(); !errors.Is(err, ErrForgotten) || !errors.Is(err, ErrNotOwner) {
				t.Errorf("it ended by %v", err)
			}
		}
		if n := c.first.sw.Active(); n != 0 {
			t.Errorf("%d calls are left", n)
		}
		// No response: the request times out at the phone after 32 s.
		answered := make(chan int, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			code := 0
			if res, _ := p.Do(ctx, siptest.Action{Method: "INFO", Body: "Signal=1\r\n", ContentType: "application/dtmf-relay"}); res != nil {
				code = res.StatusCode
			}
			answered <- code
		}()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for i, ph := range []*siptest.Phone{p, q, ringing} {
			for _, line := range ph.Log()[was[i]:] {
				if strings.HasPrefix(line, "->") || ph == ringing && line == "<- CANCEL" { // which others send as well
					continue
				}
				t.Errorf("a phone saw %s", line)
			}
		}
		if code := <-answered; code != 0 && code != 408 {
			t.Errorf("a request for a call that others have got %d", code)
		}
		c.takeOver(true)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := c.results(); !strings.Contains(got, TakenKept) || !strings.Contains(got, TakenHungUp) {
			t.Errorf("taken over: %s", got)
		}
		q.HangUp()
		time.Sleep(time.Minute)
		synctest.Wait()
		c.close()
	})
}
