package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"sipxrest/internal/limit"
)

// OwnAddresses lists this machine's addresses that phones may reach, loopback
// only if there is no other.
func OwnAddresses() []string {
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

// SameSocket reports whether a program cannot listen on both, "host:port" each: the
// address is the same, or one of them is every address.
func SameSocket(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && (hostA == hostB || EveryAddress(hostA) || EveryAddress(hostB))
}

// EveryAddress reports whether a listener's host means all addresses.
func EveryAddress(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

// addressTowards returns the address from which this machine sends to host,
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
	return netip.MustParseAddr(OwnAddresses()[0])
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

// CertificateNames lists the names and addresses under which clients may
// reach the listeners: the domain, the host's name and its addresses.
func (c *Config) CertificateNames() []string {
	names := []string{"localhost", "127.0.0.1", "::1", c.Domain}
	if h, err := os.Hostname(); err == nil && IsHost(h) {
		names = append(names, h)
	}
	names = append(names, OwnAddresses()...)
	for _, l := range c.HTTP {
		if host, _, err := net.SplitHostPort(l.Listen); err == nil && host != "" && host != "0.0.0.0" && host != "::" {
			names = append(names, host)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// OurNames are the hosts by which browsers may call, beside the domain's.
func (c *Config) OurNames() []string {
	names := append(c.CertificateNames(), c.HTTPNames...)
	if host, _, err := net.SplitHostPort(c.Metrics.Listen); err == nil && host != "" {
		names = append(names, host)
	}
	if host := c.SIP.ExternalAddress; host != "" && host != "auto" {
		names = append(names, host) // by which pages connect to sockets ws: and wss:
	}
	return names
}
