package sipflow

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// lostCaller is a call of 201 to a node that dies after a while.
type lostCaller struct {
	name           string
	how            siptest.Calling
	caller, target siptest.Script
	take           func(ctx context.Context, in *Incoming) error
	at             time.Duration
	refused        string // what the caller gets, when it is not answered
	after          func(t *testing.T, c *cluster, call *Call)
}

func (lc *lostCaller) run(t *testing.T, n *siptest.Network, keep bool) {
	c := newCluster(t, n, func(cfg *Config) {
		cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Trunk: func(*Incoming) (string,
			int) {
			return "t", 9
		},
			NewID: func() string { return "call_1" }, Take: lc.take}
	})
	caller := c.phone("201", phoneAddr, lc.caller)
	c.phone("202", calledAddr, lc.target)
	came := make(chan error, 1)
	go func() { came <- caller.CallAs(t.Context(), lc.how, "sip:room@10.0.0.1:5060") }()
	time.Sleep(lc.at)
	synctest.Wait()
	c.crash()
	time.Sleep(5 * time.Second)
	c.takeOver(keep)
	if keep {
		synctest.Wait()
		if calls, _ := trunkCalls(c.heir.sw, "t"); calls != 1 && lc.after != nil {
			t.Errorf("%d calls of the trunk", calls)
		}
	}
	if lc.after != nil && keep {
		time.Sleep(5 * time.Second)
		if taken := c.heir.sw.ByID("call_1"); taken == nil {
			t.Error("the heir does not have the call")
		} else {
			lc.after(t, c, taken)
		}
	}
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	if err := <-came; lc.refused == "" && err != nil || lc.refused != "" && (err == nil || !strings.Contains(err.Error(), lc.refused)) {
		t.Errorf("the caller got %v, want %q", err, lc.refused)
	}
	c.close()
	if calls, _ := trunkCalls(c.heir.sw, "t"); calls != 0 {
		t.Errorf("%d calls of the trunk are left", calls)
	}
	if !t.Failed() {
		goldenText(t, t.Name()[strings.IndexByte(t.Name(), '/')+1:], c.results()+"\n"+c.heir.stories.text())
	}
}

// waitsForever is a Take that waits for somebody who decides.
func waitsForever(ctx context.Context, in *Incoming) error { <-ctx.Done(); return context.Cause(ctx) }

// holdsFirst is one that waits for a PIN.
func holdsFirst(ctx context.Context, in *Incoming) error {
	if err := in.AnswerHeld(ctx); err != nil {
		return err
	}
	_, err := in.Digit(ctx)
	return err
}

var lostCallers = []lostCaller{
	{name: "undecided", take: waitsForever, at: time.Second, refused: "503"},
	{name: "target-rings", take: connectTo202, target: siptest.Script{Ring: time.Hour}, at: 2 * time.Second, refused: "503"},
	{name: "on-hold", take: holdsFirst, at: 2 * time.Second},
	{name: "joined", take: connectTo202, caller: siptest.Script{HangUpAfter: minute}, at: 2 * time.Second, after: func(*testing.T,
		*cluster, *Call) {
	}},
	{name: "joined-target-hangs-up", take: connectTo202, target: siptest.Script{HangUpAfter: minute}, at: 2 * time.Second},
	{name: "joined-after-hold", take: onHoldFirst, caller: siptest.Script{Do: digitsAt(time.Second, "4#")}, at: 5 * time.Second,
		after: clientEnds},
	{name: "joined-no-offer", how: siptest.Calling{NoOffer: true}, take: connectTo202, at: 2 * time.Second, after: clientEnds},
	{name: "not-acked", take: connectTo202, how: siptest.Calling{LoseACKs: 8}, at: 2 * time.Second, after: clientEnds},
	{name: "caller-gone", take: connectTo202, caller: siptest.Script{HangUpAfter: 4 * time.Second}, at: 2 * time.Second},
}

func TestCallersOfALostNode(t *testing.T) {
	for _, lc := range lostCallers {
		for _, keep := range []bool{false, true} {
			name := fmt.Sprintf("lost-caller-%s-%s", lc.name, map[bool]string{false: "hangup", true: "keep"}[keep])
			t.Run(name, func(t *testing.T) {
				flowtest.Ladder(t, name, func(t *testing.T, n *siptest.Network) { lc.run(t, n, keep) })
			})
		}
	}
}
