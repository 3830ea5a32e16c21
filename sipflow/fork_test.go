package sipflow

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

// What is hung up on the side may fail like a flow: the process goes on, the call
// ends, and nothing is left of it.
func TestAFaultOnTheSideEndsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		phone := n.Phone("201", phoneAddr, siptest.Script{})
		defer phone.Close()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		r.faulty = true
		lines := new(syncBuffer)
		r.log.b.Store(lines)
		c, err := r.sw.Place(t.Context(), spec(), func(ctx context.Context, c *Call) error {
			l := c.newLeg("sip:201@sipx.test", c.CallingUser)
			c.placed(nil)
			c.aside(l, func() { panic("a fault of the leg") })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r.sw.hangUpFork(nil, transport.Path{}, nil, nil, right{})
		time.Sleep(time.Second)
		synctest.Wait()
		<-c.Done()
		if log := lines.String(); strings.Count(log, "internal fault: hanging up a phone") != 2 || !strings.Contains(log, "a fault of the leg") ||
			!strings.Contains(log, "hangUpFork") {
			t.Errorf("log:\n%s", log)
		}
		r.empty()
	})
}
