package media

import (
	"net"
	"net/netip"
	"slices"
)

// refused says why RTP must not go to addr, or "" if it may. Without this
// check a stranger's session description could make us send to other services
// of this machine, or to everybody on its network.
func (p *Ports) refused(addr netip.AddrPort) string {
	a := addr.Addr()
	switch {
	case a.Is4() != p.cfg.Address.Is4():
		return "of another IP version than ours"
	case contains(p.cfg.Allow, a):
		return ""
	case a.IsUnspecified():
		return "not an address"
	case a.IsMulticast():
		return "a multicast address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	case a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240):
		return "a reserved or broadcast address"
	case addr.Port() < 1024:
		return "a port below 1024"
	case a == p.cfg.Address || a == p.cfg.Listen:
		return "our own address"
	}
	own, err := p.own()
	if err != nil {
		return "not checked: the machine's own addresses are not known"
	}
	for _, o := range own {
		ipnet, ok := o.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(ipnet.IP)
		if !ok {
			continue
		}
		ones, _ := ipnet.Mask.Size()
		switch prefix := netip.PrefixFrom(ip.Unmap(), ones); {
		case prefix.Addr() == a:
			return "an address of this machine"
		case prefix.IsValid() && a == broadcast(prefix):
			return "the broadcast address of a network of this machine"
		}
	}
	return ""
}

// broadcast is the last address of an IPv4 network, or none: networks of one
// or two addresses have no broadcast (RFC 3021).
func broadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}
	}
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// unmapped is addr with an IPv4 address in its own form.
func unmapped(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}
