package config

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"sipxrest/policy"
)

// Warnings lists what works but is probably not meant, or not safe.
func (c *Config) Warnings() []string {
	var out []string
	if w := receiveBufferWarning(rmemMax); w != "" {
		out = append(out, w)
	}
	for _, s := range c.Trusted {
		if p, err := parsePrefix(s); err == nil && p.Bits() == 0 {
			out = append(out, fmt.Sprintf("%s: %s lets everybody call in everybody's name without a PIN", c.Origin("trusted"), s))
		}
	}
	if book, err := policy.New(c.PolicyConfig(nil)); err == nil && book.Guesses(c.Policy) {
		out = append(out, c.Origin("policy")+": "+NoCountry(c.Policy))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Policies)) {
		if !slices.ContainsFunc(c.Policies[name], func(r policy.Rule) bool { return len(r.Allow) > 0 || r.Default == "allow" }) {
			out = append(out, fmt.Sprintf("%s: %s allows nothing, for what no rule matches is refused: end it with {default: allow} if that is not meant", c.Origin("policies"), name))
		}
	}
	for _, w := range []string{c.familyWarning(), c.loopbackWarning()} {
		if w != "" {
			out = append(out, w)
		}
	}
	if c.AllowPinless {
		out = append(out, c.Origin("allow-pinless")+": everybody can call in the name of a user without a PIN")
	}
	if !c.SIP.TLS.Verify {
		out = append(out, c.Origin("sip.tls.verify")+": every certificate is taken: whoever is on the way can read and change the calls")
	}
	if tlsVersions[c.SIP.TLS.MinVersion] < tls.VersionTLS12 {
		out = append(out, c.Origin("sip.tls.min-version")+": TLS before 1.2 is not safe any more (RFC 8996)")
	}
	for i, l := range c.HTTP {
		if l.TLS != nil && tlsVersions[l.TLS.MinVersion] < tls.VersionTLS12 {
			out = append(out, fmt.Sprintf("%s: listener %d: tls.min-version: TLS before 1.2 is not safe any more (RFC 8996)", c.Origin("http"), i+1))
		}
		if l.Auth == "trusted" && len(c.Trusted) == 0 {
			out = append(out, fmt.Sprintf("%s: listener %d lets nobody in: trusted is empty", c.Origin("http"), i+1))
		}
	}
	return append(out, c.StoreWarnings()...)
}

// loopbackWarning tells of sockets that reach this machine only, while a proxy is
// elsewhere.
func (c *Config) loopbackWarning() string {
	for _, s := range c.SIP.Listen {
		_, at, _ := strings.Cut(s, ":")
		if a, err := netip.ParseAddrPort(at); err != nil || !a.Addr().Unmap().IsLoopback() {
			return ""
		}
	}
	if len(c.SIP.Listen) == 0 {
		return ""
	}
	for _, uri := range c.SIP.OutboundProxy {
		t, err := ProxyTarget(uri)
		if err != nil {
			continue
		}
		a, err := netip.ParseAddr(strings.Trim(t.Host, "[]"))
		if err == nil && !a.Unmap().IsLoopback() && !slices.Contains(OwnAddresses(), a.Unmap().String()) {
			return fmt.Sprintf("%s: every socket is on loopback, which leads to this machine only, and %s is elsewhere: add an address of the network", c.Origin("sip.listen"), uri)
		}
	}
	return ""
}

// familyWarning tells of an external address that is IPv6 while all sockets are
// IPv4, or the other way round: phones would be told to answer where nobody
// listens.
func (c *Config) familyWarning() string {
	external, err := netip.ParseAddr(strings.Trim(c.SIP.ExternalAddress, "[]"))
	if err != nil {
		return ""
	}
	for _, s := range c.SIP.Listen {
		_, at, _ := strings.Cut(s, ":")
		host, _, _ := net.SplitHostPort(at)
		a, err := netip.ParseAddr(host)
		if err != nil || a.Is4() == external.Is4() || a == netip.IPv6Unspecified() {
			return ""
		}
	}
	if len(c.SIP.Listen) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: no socket of sip.listen is of the family of %s: phones that answer there reach us only through a gateway between IPv4 and IPv6", c.Origin("sip.external-address"), external)
}
