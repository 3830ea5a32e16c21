package transport

import (
	"net/netip"
	"time"
)

// OnWire is a message as it came, or was handed to the kernel.
type OnWire struct {
	At        time.Time
	Out       bool   // we sent it
	Transport string // "udp", "tcp", "tls", "ws", "wss"
	Local     string // host:port of ours, as Via says it
	Remote    netip.AddrPort
	Data      []byte
}

// watch tells of a message. It was handed to the kernel, which need not mean that it
// arrives.
func (t *Sockets) watch(l Link, data []byte, remote netip.AddrPort, out bool) {
	_, local := l.Local()
	t.Watch(&OnWire{At: time.Now(), Out: out, Transport: Of(l), Local: local, Remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()), Data: data})
}
