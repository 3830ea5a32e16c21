package sipflow

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// Who watches is told of every message, whole, in the order of its times.
func TestEveryMessageIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		for _, p := range []*siptest.Phone{n.Phone("201", phoneAddr, siptest.Script{}), n.Phone("202", calledAddr, siptest.Script{})} {
			defer p.Close()
		}
		proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Open: true, Locations: map[string]string{
			"201": "sip:201@" + phoneAddr, "202": "sip:202@" + calledAddr}})
		defer proxy.Close()
		var mu sync.Mutex
		var got []string
		r := newRig(t, n, proxyAddr, func(c *Config) {
			c.Watch = func(m *OnWire) {
				mu.Lock()
				defer mu.Unlock()
				text := "in " + m.Remote.String() + " " + string(m.Data)
				if m.Out {
					text = "out " + m.Remote.String() + " " + string(m.Data)
				}
				if m.Transport != "udp" || m.Local != ourAddr || m.At.IsZero() {
					t.Errorf("%+v", m)
				}
				got = append(got, text)
			}
		})
		c, err := r.sw.Place(t.Context(), spec(func(s *Spec) { s.Method = MethodInvite }), Invite)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		c.HangUp(ErrHungUpByUser)
		<-c.Done()
		time.Sleep(time.Minute)
		var want []string
		for _, p := range n.Packets() {
			switch {
			case p.From.String() == ourAddr:
				want = append(want, "out "+p.To.String()+" "+string(p.Data))
			case p.To.String() == ourAddr:
				want = append(want, "in "+p.From.String()+" "+string(p.Data))
			}
		}
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(got)
		slices.Sort(want)
		if len(want) < 12 || !slices.Equal(got, want) {
			t.Errorf("%d messages are watched, %d were on the wire", len(got), len(want))
		}
		if err := r.shutdown(); err != nil {
			t.Error(err)
		}
	})
}
