package sipflow

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

// faulty is what should not be possible: a timer whose owner cannot go on.
type faulty struct {
	timer   timer
	aborted atomic.Bool
	worse   bool // its end fails, too
}

func (f *faulty) expire(*shard) func() { panic("no such state") }
func (f *faulty) abort(*shard) func() {
	f.aborted.Store(true)
	if f.worse {
		panic("no end either")
	}
	return func() { panic("nor after it") }
}

// intact checks that a switchboard serves calls and strangers, whatever has failed.
func intact(t *testing.T, r *rig) {
	t.Helper()
	for i := range r.sw.shards {
		if !r.sw.shards[i].mu.TryLock() {
			t.Fatalf("shard %d is locked", i)
		}
		r.sw.shards[i].mu.Unlock()
	}
	if !r.sw.mu.TryLock() {
		t.Fatal("a lock is held")
	}
	r.sw.mu.Unlock()
	r.sw.transport.Connections() // waits for ever when its lock is held
	p := rawUDP(t, r.net, "10.0.0.77:5060")
	p.wants(200, stranger("OPTIONS", ""))
	p.udp.Close()
}

func TestAFaultAtATimerEndsThatTransactionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		phone := n.Phone("201", phoneAddr, siptest.Script{Ring: 3 * time.Second})
		defer phone.Close()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		r.faulty = true
		lines := new(syncBuffer)
		r.log.b.Store(lines)
		c := r.place(spec())
		var all []*faulty
		for i := range r.sw.shards {
			s := &r.sw.shards[i]
			for j := range 3 {
				f := &faulty{worse: j == 1}
				s.mu.Lock()
				f.timer.set(s, t1, f)
				s.mu.Unlock()
				all = append(all, f)
			}
		}
		time.Sleep(time.Minute)
		<-c.Done()
		synctest.Wait() // orders what the timers' goroutines have written
		if c.Err() != nil {
			t.Errorf("the call ended with %v", c.Err())
		}
		for _, f := range all {
			if !f.aborted.Load() {
				t.Error("a transaction that cannot go on was not ended")
			}
		}
		if got := r.sw.Stats().Faults; got != uint64(2*len(all)) {
			t.Errorf("%d faults are counted, want %d", got, 2*len(all))
		}
		if log := lines.String(); strings.Count(log, "internal fault") != 5 || !strings.Contains(log, "no such state") ||
			!strings.Contains(log, "(*faulty).expire") {
			t.Errorf("log:\n%s", log)
		}
		intact(t, r)
		r.empty()
	})
}

// A refusal comes for an INVITE that is in no state for it.
func TestAFaultAtAResponseEndsThatCallOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		phone := n.Phone("201", phoneAddr, siptest.Script{Status: 486, Ring: 3 * time.Second})
		defer phone.Close()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		r.faulty = true
		broken, sound := r.place(spec()), r.place(other(1))
		time.Sleep(time.Second)
		for i := range r.sw.shards {
			s := &r.sw.shards[i]
			s.mu.Lock()
			for _, tx := range s.clients {
				if tx.leg.call == broken {
					tx.of = nil
				}
			}
			s.mu.Unlock()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		<-broken.Done()
		<-sound.Done()
		if err := broken.Err(); err == nil || !strings.Contains(err.Error(), transport.ErrFault.Error()) {
			t.Errorf("the call ended with %v", err)
		}
		if err := sound.Err(); err == nil || !strings.Contains(err.Error(), "486") {
			t.Errorf("the other call ended with %v", err)
		}
		intact(t, r)
		r.empty()
	})
}

// A request whose handling fails is refused, and its socket is read on.
func TestAFaultAtARequestIsAnsweredWith500(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) {
			c.Inbound = &Inbound{Admit: func(*Incoming) Admission { panic("nobody thought of that") }, Take: waits}
		})
		defer r.stop()
		r.faulty = true
		p := rawUDP(t, n, phoneAddr)
		p.wants(500, rawInvite())
		p.wants(200, stranger("OPTIONS", ""))
		conn, err := n.DialFrom("10.0.0.66")(t.Context(), "tcp", ourAddr)
		if err != nil {
			t.Fatal(err)
		}
		s := &rawPhone{t: t, via: "SIP/2.0/TCP " + phoneAddr, port: phoneAddr}
		s.use(conn)
		s.wants(500, rawInvite("SIP/2.0/UDP", "SIP/2.0/TCP", "raw1", "raw2"))
		s.wants(200, stranger("OPTIONS", "", "UDP phone", "TCP phone"))
		intact(t, r)
		conn.Close()
		r.empty()
	})
}

// failingConn is a socket that fails as none should, once.
type failingConn struct {
	transport.PacketConn
	failed atomic.Bool
}

func (c *failingConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	if !c.failed.Swap(true) {
		panic("no such datagram")
	}
	return c.PacketConn.ReadFromUDPAddrPort(b)
}

type failingListener struct {
	net.Listener
	failed atomic.Bool
}

func (l *failingListener) Accept() (net.Conn, error) {
	if !l.failed.Swap(true) {
		panic("no such connection")
	}
	return l.Listener.Accept()
}

func TestAFaultOfASocketDoesNotStopItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) {
			udp, tcp := c.Network.ListenUDP, c.Network.ListenTCP
			c.Network.ListenUDP = func(a string) (transport.PacketConn, error) {
				conn, err := udp(a)
				return &failingConn{PacketConn: conn}, err
			}
			c.Network.ListenTCP = func(a string) (net.Listener, error) {
				l, err := tcp(a)
				return &failingListener{Listener: l}, err
			}
		})
		defer r.stop()
		r.faulty = true
		time.Sleep(time.Second)
		if got := r.sw.Stats().Faults; got != 2 {
			t.Errorf("%d faults are counted, want 2", got)
		}
		intact(t, r)
		conn, err := n.DialFrom("10.0.0.66")(t.Context(), "tcp", ourAddr)
		if err != nil {
			t.Fatal(err)
		}
		s := &rawPhone{t: t}
		s.use(conn)
		s.wants(200, stranger("OPTIONS", "", "UDP phone", "TCP phone"))
		conn.Close()
		r.empty()
	})
}

// A connection that cannot be opened for a fault is one to a server that fails.
func TestAFaultAtAConnectionFailsThatServerOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		phone := n.Phone("201", phoneAddr, siptest.Script{})
		defer phone.Close()
		r := newRig(t, n, "10.0.1.1:5060;transport=tcp", func(c *Config) {
			c.OutboundProxies = append(c.OutboundProxies, "sip:"+phoneAddr)
			c.Network.DialTCP = func(context.Context, string) (net.Conn, error) { panic("no such network") }
		})
		defer r.stop()
		r.faulty = true
		c := r.place(spec())
		<-c.Done()
		if c.Err() != nil {
			t.Errorf("the call ended with %v", c.Err())
		}
		intact(t, r)
		r.empty()
	})
}

// Whoever observes calls may fail at each event: the tables are left in order.
func TestAFaultOfAnObserverLeavesNothingBehind(t *testing.T) {
	for _, kind := range []EventKind{Progress, DialogChanged, Answered, Joined, Ended} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			phone := n.Phone("201", phoneAddr, siptest.Script{HangUpAfter: 5 * time.Second})
			defer phone.Close()
			r := newRig(t, n, phoneAddr)
			defer r.stop()
			r.faulty = true
			for _, flow := range []Flow{Refer, Invite} {
				c, err := r.sw.Place(t.Context(), spec(func(s *Spec) {
					s.Observe = func(e *Event) {
						if e.Kind == kind {
							panic("an observer fails")
						}
					}
				}), flow)
				if err == nil {
					<-c.Done()
				}
				time.Sleep(2 * time.Minute)
			}
			intact(t, r)
			r.mu.Lock()
			r.ended = r.placed // they are told after the one that fails
			r.mu.Unlock()
			r.empty()
		})
	}
}
