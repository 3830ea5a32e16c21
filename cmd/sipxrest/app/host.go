package app

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"sipxrest/internal/limit"
)

// ownAddresses lists this machine's addresses that phones may reach, loopback
// only if there is no other.
func ownAddresses() []string {
	var out []string
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().IsGlobalUnicast() {
			out = append(out, p.Addr().String())
		}
	}
	if out == nil {
		out = []string{"127.0.0.1"}
	}
	return out
}

// sameSocket says whether a program cannot listen on both, "host:port" each: the
// address is the same, or one of them is every address.
func sameSocket(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && (hostA == hostB || everyAddress(hostA) || everyAddress(hostB))
}

func everyAddress(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

// addressTowards answers the address from which this machine sends to host,
// or its first own address. Nothing is sent.
func addressTowards(host string) netip.Addr {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		if c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 5060))); err == nil {
			defer c.Close()
			if u, ok := c.LocalAddr().(*net.UDPAddr); ok {
				return u.AddrPort().Addr().Unmap()
			}
		}
	}
	return netip.MustParseAddr(ownAddresses()[0])
}

// wantedReceiveBuffer is the UDP receive buffer, in bytes, with which bursts
// are not lost.
const wantedReceiveBuffer = 4 << 20

// receiveBufferWarning says what to do when the kernel would not grant the
// UDP receive buffer; "" when it would, or where this is unknown.
func receiveBufferWarning(file string) string {
	data, err := limit.ReadFile(file, 1<<10)
	if err != nil {
		return ""
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || n >= wantedReceiveBuffer {
		return ""
	}
	return fmt.Sprintf("the kernel's UDP receive buffer limit is %d bytes, so bursts of SIP messages may be lost: sysctl -w net.core.rmem_max=%d", n, wantedReceiveBuffer)
}

const rmemMax = "/proc/sys/net/core/rmem_max"
