package sipflow

import "sync/atomic"

// traffic counts the messages of one transport.
type traffic struct {
	in, malformed atomic.Uint64
	_             [48]byte
	out, failed   atomic.Uint64
	_             [48]byte
}

// sent counts a message that was handed to the kernel, or was not.
func (t *traffic) sent(err error) {
	if err != nil {
		t.failed.Add(1)
		return
	}
	t.out.Add(1)
}

// Transport is a kind of SIP transport.
type Transport uint8

func (t Transport) String() string { return [...]string{"udp", "tcp", "tls", "ws", "wss"}[t] }

// The kinds of transports.
const (
	TransportUDP Transport = iota
	TransportTCP
	TransportTLS
	TransportWS
	TransportWSS
	numTransports
)

// kindOf is the transport that a link is of.
func kindOf(l link) Transport {
	switch name, _ := l.local(); name {
	case "UDP":
		return TransportUDP
	case "TLS":
		return TransportTLS
	case "WS":
		return TransportWS
	case "WSS":
		return TransportWSS
	}
	return TransportTCP
}
