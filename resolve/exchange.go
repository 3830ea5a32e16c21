package resolve

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// exchangeUDPThenTCP sends q by UDP and, if the answer does not fit, by TCP
// (RFC 7766 §5). Every query has its own socket, hence a source port that the
// system chooses at random (RFC 5452 §9.2).
func exchangeUDPThenTCP(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	m, truncated, err := exchangeUDP(ctx, q, server)
	if err != nil || !truncated {
		return m, err
	}
	return exchangeTCP(ctx, q, server)
}

// exchangeUDP skips datagrams that do not answer q: forged ones, or garbage.
func exchangeUDP(ctx context.Context, q *dns.Msg, server string) (m *dns.Msg, truncated bool, err error) {
	conn, stop, err := dial(ctx, "udp", server)
	if err != nil {
		return nil, false, err
	}
	defer stop()
	packed, err := q.Pack()
	if err != nil {
		return nil, false, fmt.Errorf("question cannot be written: %w", err)
	}
	if _, err := conn.Write(packed); err != nil {
		return nil, false, err
	}
	buf := make([]byte, 4096) // some servers send more than udpSize
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, false, err
		}
		m := new(dns.Msg)
		err = m.Unpack(buf[:n])
		if err != nil && !m.Truncated || !answers(m, q) {
			continue
		}
		return m, m.Truncated, nil
	}
}

func exchangeTCP(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	conn, stop, err := dial(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer stop()
	packed, err := q.Pack()
	if err != nil {
		return nil, fmt.Errorf("question cannot be written: %w", err)
	}
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(packed)), uint16(len(packed)))
	if _, err := conn.Write(append(framed, packed...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(buf); err != nil {
		return nil, fmt.Errorf("answer cannot be read: %w", err)
	}
	return m, nil
}

// dial connects and sees to it that the end of ctx ends every read and write.
func dial(ctx context.Context, network, server string) (net.Conn, func(), error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, nil, err
	}
	unwatch := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() { unwatch(); conn.Close() }, nil
}

// answers reports whether m is a response to q (RFC 5452 §9.1).
func answers(m, q *dns.Msg) bool {
	if m.Id != q.Id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 {
		// Servers that do not understand the question may leave it out.
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	a, b := m.Question[0], q.Question[0]
	return len(m.Question) == 1 && a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}
