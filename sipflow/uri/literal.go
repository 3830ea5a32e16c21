package uri

import (
	"net/netip"
	"strings"

	"sipxrest/sipflow/wire"
)

// AddrPort returns the address in a URI, not valid where it has a name. The port is
// the one that its transport implies where it names none (RFC 3261 §19.1.2).
func AddrPort(uri string) netip.AddrPort {
	host := uri[strings.LastIndexByte(uri, '@')+1:]
	if i := strings.IndexByte(host, ':'); host == uri && i >= 0 {
		host = host[i+1:]
	}
	if host == "" || host[0] != '[' && (host[0] < '0' || host[0] > '9') && !strings.Contains(host, "maddr") {
		return netip.AddrPort{} // as most are
	}
	u, ok := wire.ParseURI([]byte(uri))
	if !ok {
		return netip.AddrPort{}
	}
	if u.MAddr != "" {
		u.Host = strings.Trim(u.MAddr, "[]")
	}
	a, err := netip.ParseAddr(u.Host)
	if err != nil {
		return netip.AddrPort{}
	}
	if u.Port == 0 {
		u.Port = 5060
		if u.Scheme == "sips" || u.Transport == "tls" {
			u.Port = 5061
		}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(u.Port))
}
