package transport

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"sipxrest/resolve"
)

// boundTo is a socket at an address, which sends nothing beyond loopback.
type boundTo struct{ at netip.AddrPort }

func (b boundTo) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) {
	return 0, netip.AddrPort{}, net.ErrClosed
}
func (b boundTo) WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error) {
	return 0, &net.OpError{Op: "write", Err: syscall.EINVAL}
}
func (b boundTo) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(b.at) }
func (b boundTo) Close() error        { return nil }

func loopbackAnd(t *testing.T, listen ...string) *Sockets {
	t.Helper()
	tr := &Sockets{Network: Network{ListenUDP: func(a string) (PacketConn, error) { return boundTo{netip.MustParseAddrPort(a)}, nil }}}
	for _, a := range listen {
		if err := tr.openUDP(a, ""); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// "invalid argument" is what the kernel says of a proxy beyond a socket on loopback.
func TestASocketOnLoopbackSaysWhyItDoesNotReachAProxy(t *testing.T) {
	tr := loopbackAnd(t, "127.0.0.1:6050")
	p, err := tr.Path(t.Context(), resolve.Hop{Transport: "udp", Addr: netip.MustParseAddrPort("192.0.2.1:5060")})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Link.Send([]byte("x"), p.To)
	if want := "192.0.2.1:5060 cannot be reached from udp:127.0.0.1:6050, for loopback leads to this machine only: add an address of the " +
		"network to sip.listen"; err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, syscall.EINVAL) {
		t.Errorf("%v, want %s", err, want)
	}
	if err := p.Link.Send([]byte("x"), netip.MustParseAddrPort("127.0.0.1:1")); err == nil || strings.Contains(err.Error(), "sip.listen") {
		t.Errorf("on this machine: %v", err)
	}
}

func TestEachHopHasTheSocketThatReachesIt(t *testing.T) {
	tr := loopbackAnd(t, "127.0.0.1:6050", "192.0.2.10:6050", "[::1]:6050", "[2001:db8::10]:6050")
	for hop, want := range map[string]string{
		"192.0.2.1:5060": "192.0.2.10:6050", "127.0.0.1:5060": "127.0.0.1:6050", "[::1]:5060": "[::1]:6050",
		"[2001:db8::1]:5060": "[2001:db8::10]:6050",
	} {
		p, err := tr.Path(t.Context(), resolve.Hop{Transport: "udp", Addr: netip.MustParseAddrPort(hop)})
		if err != nil || p.Link.(*udpSocket).host != want {
			t.Errorf("%s: %v, %v", hop, p.Link, err)
		}
	}
}
