package sipflow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// circle is a back-to-back user agent that sends each call back where it came
// from. It passes on nothing but From and To.
type circle struct {
	conn  *siptest.PacketConn
	peer  *rawPhone // renders
	calls map[string]*wire.Message
	taken int
}

// run ends with the socket.
func (c *circle) run() {
	b := make([]byte, wire.MaxMessage)
	for {
		n, from, err := c.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		m, err := wire.Parse([]byte(string(b[:n])))
		if err != nil {
			continue
		}
		say := func(s string) { c.conn.WriteToUDPAddrPort([]byte(s), from) }
		id := string(m.Get(wire.CallID))
		switch {
		case m.IsRequest() && m.Method() == "INVITE":
			if c.calls[id] != nil {
				continue
			}
			c.taken++
			next := fmt.Sprint("round", c.taken)
			c.calls[id], c.calls[next] = m, m
			say(rawInvite(phoneAddr, calledAddr, "10.0.0.2:5060", calledAddr, "b1", next, "raw1", next))
		case m.IsRequest() && m.Method() != "ACK":
			say(c.peer.response(m, 200, "", ""))
		case !m.IsRequest() && m.Method() == "INVITE" && m.Code() >= 300:
			next := id
			say(rawOf("ACK", 1, next, "", phoneAddr, calledAddr, "raw1", next, "To: <sip:room@10.0.0.1>", "To: "+string(m.Get(wire.To))))
			say(c.peer.response(c.calls[id], m.Code(), "", ""))
		}
	}
}

// A server sends a call back to us that drops every mark that the INVITE had: it
// comes to its end after some rounds all the same.
func TestACallInACircleThatKeepsNoMarksEnds(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.target.Close()
		c := &circle{conn: p.rig.net.Listen(calledAddr), peer: &rawPhone{t: t}, calls: map[string]*wire.Message{}}
		over := make(chan struct{})
		go func() { defer close(over); c.run() }()
		began := time.Now()
		p.rawPhone.send(rawInvite())
		p.rawPhone.send(refusalACK(p.final("INVITE", 480)))
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Minute)
		c.conn.Close()
		<-over
		if c.taken != 20 {
			t.Errorf("the call went round %d times", c.taken)
		}
		if got := p.sw.Stats().Limited[LimitCallRatePerPair]; got != 1 {
			t.Errorf("%d are counted", got)
		}
	}, func(cfg *Config) { cfg.Limits.PairRate = 20 })
}

// The bound is that of one caller and one callee. Others have their own.
func TestCallsOfOneCallerForOneCalleeAreBounded(t *testing.T) {
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) {
		log := logOf(p.rig)
		call := func(i int, replace ...string) int {
			id := fmt.Sprint("n", i)
			m := p.ask(rawInvite(append([]string{"b1", id, "raw1", id}, replace...)...))
			if m == nil {
				return 0
			}
			if m.Code() >= 300 {
				if m.Code() == 480 && string(m.Get(wire.RetryAfter)) != "1" {
					t.Errorf("480 with Retry-After %q", m.Get(wire.RetryAfter))
				}
				p.rawPhone.send(rawOf("ACK", 1, id, "", "raw1", id, "To: <sip:room@10.0.0.1>", "To: "+string(m.Get(wire.To))))
			}
			return m.Code()
		}
		codes := map[int]int{}
		for i := range 10 {
			codes[call(i, "sip:201@sipx.test", strings.Replace("sip:201@sipx.test", "sipx", []string{"sipx", "SIPX"}[i%2], 1))]++
		}
		if codes[100] != 5 || codes[480] != 5 {
			t.Errorf("got %v", codes)
		}
		if code := call(20, "sip:201@sipx.test", "sip:203@sipx.test"); code != 100 {
			t.Errorf("another caller got %d", code)
		}
		if code := call(21, "INVITE sip:room@", "INVITE sip:other@"); code != 100 {
			t.Errorf("the call for another got %d", code)
		}
		time.Sleep(3 * time.Second)
		if code := call(22); code != 100 {
			t.Errorf("later it gets %d", code)
		}
		if got := linesWith(log, "limit=call_rate_per_pair"); len(got) != 1 || !strings.Contains(got[0], "201@sipx.test→room") {
			t.Errorf("logged %q", got)
		}
		p.sw.stopCalls()
		time.Sleep(40 * time.Second)
		p.queue = nil
	}, func(cfg *Config) { cfg.Limits.PairRate = 5 })
}
