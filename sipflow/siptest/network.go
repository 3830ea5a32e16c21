package siptest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultDelay is how long a packet travels: long enough that a ladder has an
// order, short enough that no timer of RFC 3261 notices.
const DefaultDelay = time.Millisecond

// A Packet is one datagram, or one piece of a TCP stream, on its way.
type Packet struct {
	N         int // 1 for the first packet that arrived
	Transport string
	From, To  netip.AddrPort
	Sent      time.Time
	Data      []byte
	Lost      bool // dropped, or nobody listened
	Copy      bool // made by Network.Duplicate
}

// Method is the SIP method of the packet, taken from CSeq for a response, or
// empty. With Status it makes hooks short: p.Status() == 200 && p.Method() == "INVITE".
func (p Packet) Method() string {
	start, rest, _ := strings.Cut(string(p.Data), "\r\n")
	if !strings.HasPrefix(start, "SIP/2.0 ") {
		method, tail, _ := strings.Cut(start, " ")
		if strings.HasSuffix(tail, " SIP/2.0") {
			return method
		}
		return ""
	}
	for line := range strings.SplitSeq(rest, "\r\n") {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(strings.TrimSpace(name), "CSeq") {
			if f := strings.Fields(value); len(f) == 2 {
				return f[1]
			}
		}
	}
	return ""
}

// Status is the status code of a response, 0 for anything else.
func (p Packet) Status() int {
	var code int
	if _, err := fmt.Sscanf(string(p.Data[:min(len(p.Data), 16)]), "SIP/2.0 %d", &code); err != nil {
		return 0
	}
	return code
}

// Network carries UDP and TCP in memory. Packets of one instant are delivered
// in a fixed order, a microsecond apart, so that inside a testing/synctest
// bubble each is dealt with before the next arrives.
//
// The hooks are asked when a packet arrives, one at a time. Set them, and the
// delay, before the first packet is sent. They do not apply to TCP, but for
// Observe.
type Network struct {
	Delay     time.Duration              // of every packet, [DefaultDelay] if 0
	Late      func(Packet) time.Duration // additional delay, asked when the packet is sent: reordering
	Drop      func(Packet) bool          // reports whether the packet is lost
	Duplicate func(Packet) bool          // reports whether the packet arrives twice
	Observe   func(Packet)               // sees every packet after its fate is known
	Forget    bool                       // keep no record: there is no Ladder then

	queue timers

	mu        sync.Mutex
	start     time.Time
	conns     map[netip.AddrPort]*PacketConn
	listeners map[netip.AddrPort]*listener
	names     map[netip.AddrPort]string
	arrived   int
	packets   []Packet
	notes     []note
	lastPort  uint16
	streams   map[*tcpConn]struct{} // open ends of connections
	unplugged map[netip.Addr]bool
}

// NewNetwork returns a network on which nobody listens yet. It needs no
// closing: it has no goroutine of its own.
func NewNetwork() *Network {
	return &Network{
		queue:     timers{gap: time.Microsecond},
		start:     time.Now(),
		conns:     map[netip.AddrPort]*PacketConn{},
		listeners: map[netip.AddrPort]*listener{},
		names:     map[netip.AddrPort]string{},
		lastPort:  49151,
		streams:   map[*tcpConn]struct{}{},
		unplugged: map[netip.Addr]bool{},
	}
}

// Unplug takes a host ("10.0.0.1") off the network, as the end of its process or a pulled
// cable does: its connections break, what comes for it is lost, and what it still sends is
// not even recorded.
func (n *Network) Unplug(host string) {
	a := netip.MustParseAddr(host)
	n.mu.Lock()
	n.unplugged[a] = true
	var broken []*tcpConn
	for c := range n.streams {
		if c.local.Addr() == a {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	slices.SortFunc(broken, func(x, y *tcpConn) int { return x.local.Compare(y.local) })
	for _, c := range broken {
		c.Close()
	}
}

// Shut closes every socket that is still open: those of a scenario that was cut off.
func (n *Network) Shut() {
	n.mu.Lock()
	conns := slices.Collect(maps.Values(n.conns))
	n.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// isUnplugged reports whether a host is off the network.
func (n *Network) isUnplugged(a netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unplugged[a]
}

// Name gives addr ("10.0.0.1:5060") a name in the ladder.
func (n *Network) Name(addr, name string) {
	a := mustAddr(addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[a] = name
}

// Note puts a line of the test's own into the ladder, at this moment.
func (n *Network) Note(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes = append(n.notes, note{time.Now(), text})
}

type note struct {
	at   time.Time
	text string
}

// Packets returns every packet that arrived or was lost so far, in that order.
func (n *Network) Packets() []Packet {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.packets)
}

// Arrived counts the packets that arrived or were lost so far.
func (n *Network) Arrived() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.arrived
}

// carry takes one datagram from a socket.
func (n *Network) carry(p Packet) {
	if n.isUnplugged(p.From.Addr()) {
		return
	}
	d := n.delay()
	if n.Late != nil {
		d += n.Late(p)
	}
	n.queue.after(d, p.From.String(), func() { n.arrive(p) })
}

func (n *Network) delay() time.Duration {
	if n.Delay > 0 {
		return n.Delay
	}
	return DefaultDelay
}

func (n *Network) arrive(p Packet) {
	n.mu.Lock()
	n.arrived++
	p.N = n.arrived
	dst := n.conns[p.To]
	if n.unplugged[p.To.Addr()] {
		dst = nil
	}
	n.mu.Unlock()
	p.Lost = dst == nil || (n.Drop != nil && n.Drop(p)) || dst.full()
	n.record(p) // first: a reader of the packet finds it in the record
	if !p.Lost {
		dst.in <- p // never waits: only we write, and it was not full
	}
	if n.Duplicate != nil && !p.Copy && !p.Lost && n.Duplicate(p) {
		p.Copy = true
		n.queue.after(0, p.From.String(), func() { n.arrive(p) })
	}
}

func (n *Network) record(p Packet) {
	if n.Observe != nil {
		n.Observe(p)
	}
	if n.Forget {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.packets = append(n.packets, p)
}

func mustAddr(addr string) netip.AddrPort {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		panic(fmt.Sprintf("siptest: address %q is not ip:port: %v", addr, err))
	}
	return a
}
