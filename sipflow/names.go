package sipflow

import "sipxrest/sipflow/transport"

// What of the sockets those who make a Switchboard have to name.
type (
	// TLS is what a Config says of connections by TLS and WSS.
	TLS = transport.TLS
	// WebSocket is what a Config says of connections by WS and WSS (RFC 7118).
	WebSocket = transport.WebSocket
	// Network opens the sockets; the zero value is the kernel's.
	Network = transport.Network
	// PacketConn is a UDP socket.
	PacketConn = transport.PacketConn
	// CertificateError is a peer's certificate that is not accepted.
	CertificateError = transport.CertificateError
	// Transport is a kind of SIP transport: "udp", "tcp", "tls", "ws" or "wss".
	Transport = transport.Kind
)
