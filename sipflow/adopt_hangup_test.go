package sipflow

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// lostCase is a call whose node dies after a while.
type lostCase struct {
	name            string
	flow            Flow
	method          string
	calling, called siptest.Script
	third           *siptest.Script
	cfg             func(*Config)
	during          func(t *testing.T, c *cluster, call *Call) // before the node dies
	at              time.Duration                              // it dies then
	after           func(t *testing.T, c *cluster, call *Call) // once the heir has the call
	keep            bool
	dial            *Dialling
	loose           bool // waits that differ each time
}

func (lc *lostCase) run(t *testing.T, n *siptest.Network) {
	c := newCluster(t, n, func(cfg *Config) {
		if lc.cfg != nil {
			lc.cfg(cfg)
		}
	})
	c.phone("201", phoneAddr, lc.calling)
	c.phone("202", calledAddr, lc.called)
	if lc.third != nil {
		c.phone("203", thirdAddr, *lc.third)
	}
	call, err := c.first.sw.Place(t.Context(), spec(func(s *Spec) { s.Method, s.Dial = lc.method, lc.dial }), lc.flow)
	if err != nil {
		t.Fatal(err)
	}
	if lc.during != nil {
		lc.during(t, c, call)
	}
	time.Sleep(lc.at)
	synctest.Wait()
	c.crash()
	time.Sleep(5 * time.Second)
	c.takeOver(lc.keep)
	if lc.after != nil && lc.keep {
		time.Sleep(5 * time.Second)
		taken := c.heir.sw.ByID(call.ID())
		if taken == nil {
			t.Error("the heir does not have the call")
		} else {
			lc.after(t, c, taken)
		}
	}
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	c.close()
	if name := t.Name()[strings.IndexByte(t.Name(), '/')+1:]; !t.Failed() {
		goldenText(t, name, c.results()+"\n"+c.heir.stories.text())
	}
}

func TestCallsOfALostNode(t *testing.T) {
	for _, lc := range lostCases {
		if lc.method = MethodInvite; strings.HasPrefix(lc.name, "refer") || lc.name == "inviting" {
			lc.method = MethodRefer
		}
		for _, keep := range []bool{false, true} {
			lc.keep = keep
			t.Run(fmt.Sprintf("lost-%s-%s", lc.name, map[bool]string{false: "hangup", true: "keep"}[keep]), func(t *testing.T) {
				name := t.Name()[len("TestCallsOfALostNode/"):]
				if lc.loose {
					name = ""
				}
				flowtest.Ladder(t, name, lc.run)
			})
		}
	}
}
