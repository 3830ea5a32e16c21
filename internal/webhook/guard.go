package webhook

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"sipxrest/internal/limit"
)

// A webhook's name may lead anywhere, and elsewhere at each look-up. Its address
// is judged when the connection is made, so that there is nothing in between.

// maxConnect bounds one connection.
const maxConnect = 3 * time.Second

// blocked are the networks that are nobody's, or only of those near.
var blocked = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network (RFC 791)
	netip.MustParsePrefix("10.0.0.0/8"),      // private (RFC 1918)
	netip.MustParsePrefix("100.64.0.0/10"),   // shared behind carriers' NATs (RFC 6598)
	netip.MustParsePrefix("127.0.0.0/8"),     // loopback
	netip.MustParsePrefix("169.254.0.0/16"),  // link-local, metadata of clouds
	netip.MustParsePrefix("172.16.0.0/12"),   // private
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments (RFC 6890)
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation (RFC 5737)
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("192.168.0.0/16"),  // private
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks (RFC 2544)
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("224.0.0.0/3"),     // multicast, reserved, broadcast
	netip.MustParsePrefix("2001::/23"),       // Teredo, ORCHID and the like (RFC 2928)
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("3fff::/20"),       // documentation (RFC 9637)
}

var (
	globalIPv6 = netip.MustParsePrefix("2000::/3") // all that is given out (RFC 4291)
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
)

// Public reports whether an address is one of the whole Internet. IPv4 addresses
// that are written as IPv6 ones (mapped, NAT64, 6to4) are judged as what they
// are.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		b := a.As16()
		switch {
		case nat64.Contains(a):
			a = netip.AddrFrom4([4]byte(b[12:16]))
		case sixToFour.Contains(a):
			a = netip.AddrFrom4([4]byte(b[2:6]))
		case !globalIPv6.Contains(a):
			return false
		}
	}
	return a.IsValid() && !limit.Within(blocked, a)
}

// A PrivateError refuses an address that is nobody's, or only of those near.
type PrivateError struct {
	host, address string
	key           string // of the configuration that lists networks; "": allow_private lists hosts
	clear         bool   // the address is public, but the way to it has no TLS
}

func (e *PrivateError) Error() string {
	host := e.host
	switch {
	case e.clear:
		return fmt.Sprintf("%s leads to %s, where what happens to calls would go in clear: write https://, or list its network in %s", host, e.address, e.key)
	case e.key != "" && host == e.address:
		return fmt.Sprintf("%s is a private address; add its network to %s", host, e.key)
	case e.key != "":
		return fmt.Sprintf("%s leads to the private address %s; add its network to %s", host, e.address, e.key)
	}
	if host == e.address {
		return fmt.Sprintf("%s is a private address: if it is meant, list it in allow_private", host)
	}
	return fmt.Sprintf("%s leads to the private address %s: if that is meant, list %s in allow_private", host, e.address, host)
}

// dialer opens connections to webhooks.
type dialer struct {
	resolver *net.Resolver // nil: the system's
	private  []string      // hosts that may have a private address, as HostName returns them
	// networks has those that are not public and may be reached, in place of
	// private; nil: none. With named nothing else may be.
	networks func() []netip.Prefix
	named    bool
}

// HostName returns a host as hosts are compared.
func HostName(host string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// DialContext opens a connection. The check sees every address that is tried,
// not the one that some look-up before it has found.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	nd := net.Dialer{Timeout: maxConnect, Resolver: d.resolver, FallbackDelay: 300 * time.Millisecond}
	switch {
	case d.networks != nil:
		nd.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return judge(HostName(host), ap.Addr(), d.networks(), d.named)
		}
	case !slices.Contains(d.private, HostName(host)):
		nd.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !Public(ap.Addr()) {
				return &PrivateError{host: host, address: ap.Addr().String()}
			}
			return nil
		}
	}
	return nd.DialContext(ctx, network, address)
}
