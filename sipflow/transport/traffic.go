package transport

import "sync/atomic"

// Counters are the messages of one kind of transport.
type Counters struct {
	In, Malformed atomic.Uint64
	_             [48]byte
	Out, Failed   atomic.Uint64
	_             [48]byte
}

// sent counts a message that was handed to the kernel, or was not.
func (t *Counters) sent(err error) {
	if err != nil {
		t.Failed.Add(1)
		return
	}
	t.Out.Add(1)
}

// Kind is a kind of SIP transport.
type Kind uint8

// String is the name in metrics: "udp", "tcp", "tls", "ws" or "wss".
func (t Kind) String() string { return [...]string{"udp", "tcp", "tls", "ws", "wss"}[t] }

// The kinds of transports.
const (
	KindUDP Kind = iota
	KindTCP
	KindTLS
	KindWS
	KindWSS
	NumKinds
)

// kindOf is the transport that a link is of.
func kindOf(l Link) Kind {
	switch name, _ := l.Local(); name {
	case "UDP":
		return KindUDP
	case "TLS":
		return KindTLS
	case "WS":
		return KindWS
	case "WSS":
		return KindWSS
	}
	return KindTCP
}
