//go:build interop

package chaos

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

// relay is a bad network between real UDP sockets. Each party has a front, the
// address that the others know: what one sends to another's front arrives from
// its own.
type relay struct {
	t *testing.T

	mu      sync.Mutex
	random  *rand.Rand
	parties map[netip.AddrPort]*party // by the address that it listens on
	closed  bool
	sent    int
	lost    int

	readers sync.WaitGroup
	late    sync.WaitGroup
}

type party struct {
	at    netip.AddrPort
	front *net.UDPConn
}

const (
	lostOf1000  = 10
	twiceOf1000 = 10
	lateOf1000  = 100
)

func newRelay(t *testing.T, seed uint64) *relay {
	return &relay{t: t, random: rand.New(rand.NewPCG(seed, 0)), parties: map[netip.AddrPort]*party{}}
}

// join opens a front at a free port of host for who listens at the same port
// of 127.0.0.1: others are to find the port in what he says about himself.
func (r *relay) join(host string) (at, front netip.AddrPort) {
	r.t.Helper()
	f := listen(r.t, netip.AddrPortFrom(netip.MustParseAddr(host), 0))
	front = addrOf(f)
	at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), front.Port())
	r.carry(f, at)
	return at, front
}

// conn is a socket whose address is its front.
type conn struct {
	*net.UDPConn
	front net.Addr
}

func (c conn) LocalAddr() net.Addr { return c.front }

// socket opens a socket behind a front.
func (r *relay) socket() (siptest.Conn, netip.AddrPort) {
	r.t.Helper()
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	c, f := listen(r.t, loopback), listen(r.t, loopback)
	r.carry(f, addrOf(c))
	return conn{c, f.LocalAddr()}, addrOf(f)
}

func listen(t *testing.T, addr netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadBuffer(1 << 20) // what it gets is loss that no seed repeats
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// carry delivers what comes to a front.
func (r *relay) carry(front *net.UDPConn, at netip.AddrPort) {
	to := &party{at, front}
	r.mu.Lock()
	r.parties[at] = to
	r.mu.Unlock()
	r.readers.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := front.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.deliver(from, to, buf[:n])
		}
	})
}

// deliver decides what becomes of a datagram.
func (r *relay) deliver(from netip.AddrPort, to *party, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sender := r.parties[from]
	r.sent++
	if sender == nil || r.closed || r.random.IntN(1000) < lostOf1000 {
		r.lost++
		return
	}
	copies := 1
	if r.random.IntN(1000) < twiceOf1000 {
		copies = 2
	}
	for range copies {
		if r.random.IntN(1000) >= lateOf1000 {
			_, _ = sender.front.WriteToUDPAddrPort(data, to.at)
			continue
		}
		late := append([]byte(nil), data...)
		r.late.Add(1)
		time.AfterFunc(time.Duration(5+r.random.IntN(196))*time.Millisecond, func() {
			defer r.late.Done()
			_, _ = sender.front.WriteToUDPAddrPort(late, to.at) // may be closed
		})
	}
}

// close ends the network. It fails a test whose network was too good.
func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	for _, p := range r.parties {
		p.front.Close()
	}
	r.mu.Unlock()
	r.readers.Wait()
	r.late.Wait()
	r.t.Logf("the network lost %d of %d datagrams", r.lost, r.sent)
	if r.lost < r.sent/200 {
		r.t.Error("which are too few")
	}
}
