package sipflow

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// rawPhone is a peer that does what the test writes, byte for byte: it has no
// transactions, no manners and no mercy. It belongs to the test's goroutine.
type rawPhone struct {
	t    *testing.T
	via  string // sent-protocol and sent-by
	port string // host:port
	bare bool   // its Contact names no transport
	peer netip.AddrPort

	udp      *siptest.PacketConn
	listener net.Listener
	conn     net.Conn // TCP, the connection in use
	in       *bufio.Reader

	invite *wire.Message // what rings it
	queue  []*wire.Message
}

func rawUDP(t *testing.T, n *siptest.Network, addr string) *rawPhone {
	p := &rawPhone{t: t, via: "SIP/2.0/UDP " + addr, port: addr, udp: n.Listen(addr), peer: netip.MustParseAddrPort(ourAddr)}
	t.Cleanup(func() { p.udp.Close() })
	return p
}

func rawTCP(t *testing.T, n *siptest.Network, addr string) *rawPhone {
	p := &rawPhone{t: t, via: "SIP/2.0/TCP " + addr, port: addr, listener: n.ListenTCP(addr)}
	t.Cleanup(func() { p.listener.Close() })
	return p
}

// accept waits for the next connection.
func (p *rawPhone) accept() {
	p.t.Helper()
	c, err := p.listener.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.use(c)
}

func (p *rawPhone) use(c net.Conn) {
	p.conn, p.in = c, bufio.NewReader(c)
	p.t.Cleanup(func() { c.Close() })
}

func (p *rawPhone) send(msg string) {
	p.t.Helper()
	var err error
	if p.udp != nil {
		_, err = p.udp.WriteToUDPAddrPort([]byte(msg), p.peer)
	} else {
		_, err = p.conn.Write([]byte(msg))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// read returns the next message, nil when none comes within d.
func (p *rawPhone) read(d time.Duration) *wire.Message {
	p.t.Helper()
	var m *wire.Message
	var err error
	if p.udp != nil {
		b := make([]byte, wire.MaxMessage)
		p.udp.SetReadDeadline(time.Now().Add(d))
		n, _, rerr := p.udp.ReadFromUDPAddrPort(b)
		if rerr != nil {
			return nil
		}
		m, err = wire.Parse(b[:n])
	} else {
		p.conn.SetReadDeadline(time.Now().Add(d))
		m, err = wire.ReadMessage(p.in, func() error { return nil })
		if m == nil {
			return nil
		}
	}
	if err != nil {
		p.t.Fatalf("what came cannot be read: %v\n%s", err, m.Raw())
	}
	return m
}

// expect returns the next request, which must be of that method.
func (p *rawPhone) expect(method string) *wire.Message {
	p.t.Helper()
	m := p.expect1()
	if m == nil || m.Method() != method {
		p.t.Fatalf("got %s, want %s", show(m), method)
	}
	return m
}

func (p *rawPhone) expect1() *wire.Message {
	if len(p.queue) > 0 {
		m := p.queue[0]
		p.queue = p.queue[1:]
		return m
	}
	for {
		m := p.read(10 * time.Minute)
		if m == nil || m.IsRequest() {
			return m
		}
	}
}

func show(m *wire.Message) string {
	if m == nil {
		return "nothing"
	}
	if m.IsRequest() {
		return m.Method()
	}
	return m.StatusLine()
}

const phoneTag = "phone"

// response renders a response to one of our requests.
func (p *rawPhone) response(m *wire.Message, code int, header, body string) string {
	to := string(m.Get(wire.To))
	if len(wire.Tag([]byte(to))) == 0 && code > 100 {
		to += ";tag=" + phoneTag
	}
	return fmt.Sprintf("SIP/2.0 %d %s\r\nVia: %s\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n%sContent-Length: %d\r\n\r\n%s", code,
		wire.Phrase(code),
		m.Get(wire.Via), m.Get(wire.From), to, m.Get(wire.CallID), m.Get(wire.CSeq), header, len(body), body)
}

func (p *rawPhone) contact() string {
	if p.udp != nil {
		return "Contact: <sip:201@" + p.port + ">\r\n"
	}
	if p.bare {
		return "Contact: <sip:201@" + p.port + ">\r\n"
	}
	return "Contact: <sip:201@" + p.port + ";transport=" + strings.ToLower(p.via[8:11]) + ">\r\n"
}

// answer responds to the INVITE with 200 and waits for the ACK.
func (p *rawPhone) answer() {
	p.t.Helper()
	p.invite = p.expect("INVITE")
	p.send(p.response(p.invite, 180, "", ""))
	p.send(p.response(p.invite, 200, p.contact(), ""))
	p.expect("ACK")
}

// answerAndAccept answers the INVITE and accepts the REFER.
func (p *rawPhone) answerAndAccept() {
	p.t.Helper()
	p.answer()
	p.send(p.response(p.expect("REFER"), 202, p.contact(), ""))
}

// inDialog renders a request of the phone's in the dialog. replace are pairs
// of what is put for what.
func (p *rawPhone) inDialog(method string, seq int, header, body string, replace ...string) string {
	return strings.NewReplacer(replace...).Replace(fmt.Sprintf(
		"%s sip:callcontroller@10.0.0.1:5060 SIP/2.0\r\nVia: %s;branch=z9hG4bK%s%d;rport\r\nFrom: %s;tag=%s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: "+
			"%d %s\r\n%s%sContent-Length: %d\r\n\r\n%s",
		method, p.via, method, seq, p.invite.Get(wire.To), phoneTag, p.invite.Get(wire.From), p.invite.Get(wire.CallID), seq, method, p.contact(),
		header, len(body), body))
}

// notify renders a NOTIFY of the REFER's subscription.
func (p *rawPhone) notify(seq int, line, state string, replace ...string) string {
	return p.inDialog("NOTIFY", seq, "Event: refer\r\nSubscription-State: "+state+"\r\nContent-Type: message/sipfrag\r\n",
		"SIP/2.0 "+line+"\r\n", replace...)
}

// ask sends a request and returns its response, nil when none comes. Requests
// that come meanwhile are kept for expect, other responses are not.
func (p *rawPhone) ask(msg string) *wire.Message {
	p.t.Helper()
	p.send(msg)
	for by := time.Now().Add(3 * time.Second); ; {
		m := p.read(time.Until(by))
		if m == nil || (!m.IsRequest() && strings.Contains(msg, "CSeq: "+string(m.Get(wire.CSeq))+"\r\n")) {
			return m
		}
		if m.IsRequest() {
			p.queue = append(p.queue, m)
		}
	}
}

// wants sends a request whose response must have the code, 0 for none.
func (p *rawPhone) wants(code int, msg string) *wire.Message {
	p.t.Helper()
	m := p.ask(msg)
	got := 0
	if m != nil {
		got = m.Code()
	}
	if got != code {
		first, _, _ := strings.Cut(msg, "\r\n")
		p.t.Errorf("%s was answered %s, want %d", first, show(m), code)
	}
	return m
}

// hungUp returns our BYE.
func (p *rawPhone) hungUp() *wire.Message {
	p.t.Helper()
	m := p.expect("BYE")
	p.send(p.response(m, 200, "", ""))
	return m
}
