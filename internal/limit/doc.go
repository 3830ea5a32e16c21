// Package limit bounds what others can have the service do: rates by address
// and by name, and failed attempts, in tables of fixed size, and a log of refusals that does not grow
// with them.
package limit

import "net/netip"

// Network is the address as it is counted: of IPv6 the first 64 bits, all of
// which one host may have.
func Network(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
