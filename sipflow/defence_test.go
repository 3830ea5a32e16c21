package sipflow

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// is kept for its ACK and its answer repeated.
func TestRefusedINVITEsWithoutAckAreBounded(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.net.Forget = true
		p.up()
		for i := range 1000 {
			p.a.send(p.a.inDialog("INVITE", 1+i, "Session-Expires: 1\r\n"+sdpHeader, sdpOf(4002)))
			for p.a.read(2*time.Millisecond) != nil {
			}
		}
		l := p.call.legs[0]
		l.peer.mu.Lock()
		if n := len(l.peer.open); n > 2*maxOpen {
			t.Errorf("%d transactions are open", n)
		}
		l.peer.mu.Unlock()
		p.call.stop(ErrHungUpByUser)
		time.Sleep(time.Minute)
		for p.a.read(0) != nil || p.b.read(0) != nil {
		}
		<-p.call.Done()
	})
}

// after the other gets so many and no more.
func TestReliableProvisionalResponsesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.invite = p.expect("INVITE")
		for i := range 1000 {
			p.send(p.response(p.invite, 183, fmt.Sprintf("Require: 100rel\r\nRSeq: %d\r\n%s", 1+i, p.contact()), ""))
			for p.read(2*time.Millisecond) != nil {
			}
		}
		open := 0
		for i := range r.sw.shards {
			s := &r.sw.shards[i]
			s.mu.Lock()
			open += len(s.clients)
			s.mu.Unlock()
		}
		if open > maxPracks+1 {
			t.Errorf("%d transactions are open", open)
		}
		p.send(p.response(p.invite, 486, "", ""))
		<-c.Done()
		time.Sleep(time.Minute)
		for p.read(0) != nil {
		}
		r.empty()
	})
}
