package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Reasons for which a target has no hop; errors.Is finds them in what Hops and
// Addresses return.
var (
	ErrTarget    = errors.New("not a usable SIP target")               // the URI itself is at fault
	ErrTransport = errors.New("transport not available")               // the service cannot send what the URI asks for
	ErrNoName    = errors.New("no such name")                          // NXDOMAIN (RFC 8020)
	ErrNoRecord  = errors.New("no such record")                        // the name exists, the record does not
	ErrOff       = errors.New("the domain does not offer SIP")         // SRV target "." (RFC 2782)
	ErrNoAnswer  = errors.New("no usable answer from a name server")   // timeout, SERVFAIL, REFUSED: try later
	ErrBusy      = errors.New("too many names are being looked up")    // try later
	ErrClosed    = errors.New("the resolver is closed")                // after Close
	errAddress   = errors.New("not an address that a server can have") // unspecified, multicast, broadcast
)

// Target is the part of a SIP URI that says where requests go. A maddr
// parameter takes the place of the host (RFC 3263 §4).
type Target struct {
	Secure    bool   // a sips URI: TLS on every hop
	Host      string // a domain, an IPv4 address, or an IPv6 address with or without brackets
	Port      int    // 0: the URI names none
	Transport string // "" or udp, tcp, tls, ws, wss
}

// String returns the target as a SIP URI.
func (t Target) String() string {
	var b strings.Builder
	b.WriteString("sip")
	if t.Secure {
		b.WriteByte('s')
	}
	b.WriteByte(':')
	if strings.Contains(t.Host, ":") && !strings.HasPrefix(t.Host, "[") {
		b.WriteString("[" + printable(t.Host) + "]")
	} else {
		b.WriteString(printable(t.Host))
	}
	if t.Port != 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(t.Port))
	}
	if t.Transport != "" {
		b.WriteString(";transport=")
		b.WriteString(printable(t.Transport))
	}
	return b.String()
}

// Hop is one place to send a request to.
type Hop struct {
	Transport string         // udp, tcp, tls, ws, wss
	Addr      netip.AddrPort // never unspecified, multicast or port 0
	Name      string         // what a TLS certificate is verified against: the URI's host (RFC 5922 §7.1), not the SRV target
}

// String returns the hop as transport:address:port.
func (h Hop) String() string { return h.Transport + ":" + h.Addr.String() }

// services are the SRV labels of each transport (RFC 3263 §4.1, RFC 7118 §5).
var services = [...]struct{ transport, service, naptr string }{
	{"udp", "_sip._udp.", "SIP+D2U"},
	{"tcp", "_sip._tcp.", "SIP+D2T"},
	{"tls", "_sips._tcp.", "SIPS+D2T"},
	{"ws", "_sip._ws.", "SIP+D2W"},
	{"wss", "_sips._ws.", "SIPS+D2W"},
}

func serviceOf(transport string) string {
	for _, s := range services {
		if s.transport == transport {
			return s.service
		}
	}
	return ""
}

func defaultPort(transport string) uint16 {
	switch transport {
	case "tls":
		return 5061
	case "ws":
		return 80
	case "wss":
		return 443
	}
	return 5060
}

func encrypted(transport string) bool { return transport == "tls" || transport == "wss" }

// transport returns the one transport that t names, "" if it names none.
func (r *Resolver) transport(t Target) (string, error) {
	if t.Transport == "" {
		return "", nil
	}
	name := strings.ToLower(t.Transport)
	if serviceOf(name) == "" {
		return "", fmt.Errorf("%w: %s is none of udp, tcp, tls, ws, wss", ErrTransport, printable(t.Transport))
	}
	if t.Secure {
		switch name {
		case "udp":
			return "", fmt.Errorf("%w: a sips URI cannot use udp (RFC 3261 §26.2.2)", ErrTransport)
		case "tcp":
			name = "tls"
		case "ws":
			name = "wss"
		}
	}
	if !r.sends(name) {
		return "", fmt.Errorf("%w: %s is not configured, the service sends %s", ErrTransport, name, strings.Join(r.transports, ", "))
	}
	return name, nil
}

// implied returns the transport where neither the URI nor DNS names one: UDP,
// or TLS for sips (RFC 3263 §4.1); another one only if we cannot send that.
func (r *Resolver) implied(secure bool) (string, error) {
	want := "udp"
	if secure {
		want = "tls"
	}
	if r.sends(want) {
		return want, nil
	}
	for _, t := range r.transports {
		if !secure || encrypted(t) {
			return t, nil
		}
	}
	return "", fmt.Errorf("%w: a sips URI needs tls or wss, the service sends %s", ErrTransport, strings.Join(r.transports, ", "))
}

func (r *Resolver) sends(transport string) bool {
	for _, t := range r.transports {
		if t == transport {
			return true
		}
	}
	return false
}

// parseHost returns an address, or a domain name in lower case without the
// final dot. What only some resolvers read as an address (127.1, 0x7f000001,
// 017700000001) is neither: the top label starts with a letter (RFC 3261 §25.1).
func parseHost(s string) (string, netip.Addr, error) {
	numeric := s
	if len(s) > 1 && s[0] == '[' && s[len(s)-1] == ']' {
		numeric = s[1 : len(s)-1]
	}
	name := strings.TrimSuffix(s, ".")
	top := name[strings.LastIndexByte(name, '.')+1:]
	if strings.IndexByte(numeric, ':') < 0 && (top == "" || top[0] < '0' || top[0] > '9') {
		name, err := parseName(s, name)
		return name, netip.Addr{}, err
	}
	a, err := netip.ParseAddr(numeric)
	if a = a.Unmap(); err != nil || a.Zone() != "" || !usable(a) {
		return "", netip.Addr{}, notUsable(s, a, err)
	}
	return numeric, a, nil
}

// notUsable is why a host that looks like an address is none. It is apart, as parseName:
// the stacks of calls must not grow for what is rare.
//
//go:noinline
func notUsable(s string, a netip.Addr, err error) error {
	if err != nil || a.Zone() != "" { // a zone is any text, and means nothing on another machine
		return fmt.Errorf("%w: host %s is neither a name nor an address", ErrTarget, quoteHost(s))
	}
	return fmt.Errorf("%w: %v is %w", ErrTarget, a, errAddress)
}

// parseName returns a host s that is a domain name. name is s without the final dot.
//
//go:noinline
func parseName(s, name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("%w: the host is empty", ErrTarget)
	}
	if len(name) > maxHostName {
		return "", fmt.Errorf("%w: host %s is longer than %d characters", ErrTarget, quoteHost(s), maxHostName)
	}
	label := 0
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return "", fmt.Errorf("%w: host %s has an empty label", ErrTarget, quoteHost(s))
			}
			label = 0
			continue
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return "", fmt.Errorf("%w: host %s has a character that no name has", ErrTarget, quoteHost(s))
		}
		if label++; label > 63 {
			return "", fmt.Errorf("%w: host %s has a label longer than 63 characters", ErrTarget, quoteHost(s))
		}
	}
	if label == 0 {
		return "", fmt.Errorf("%w: host %s has an empty label", ErrTarget, quoteHost(s))
	}
	return strings.ToLower(name), nil
}

// usable reports whether a server can have the address. 0.0.0.0 would reach our
// own machine.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// quoteHost makes a host from outside fit for an error text.
func quoteHost(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// printable returns s if it may stand in a log line as it is, else quoted.
func printable(s string) string {
	if len(s) > maxHostName {
		return quoteHost(s)
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' {
			return quoteHost(s)
		}
	}
	return s
}
