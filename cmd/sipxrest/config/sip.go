package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sipxrest/resolve"
)

// SIPTLS is the section "sip.tls".
type SIPTLS struct {
	// Cert and Key are PEM files. Empty: a self-signed certificate that is made
	// once and kept in the data directory.
	Cert, Key string
	// CA is a PEM file of the authorities that servers and clients are verified
	// with. Empty: those of the system.
	CA string
	// ClientAuth says whether who connects must show a certificate: "none",
	// "request" or "require". One that is shown is verified.
	ClientAuth string
	// Verify is false for labs only: every certificate is taken.
	Verify bool
	// MinVersion is the oldest TLS version spoken, "1.0" to "1.3". Empty: "1.2".
	MinVersion string
}

// ClientAuthType is what ClientAuth says.
func (t *SIPTLS) ClientAuthType() tls.ClientAuthType { return clientAuth[t.ClientAuth] }

var clientAuth = map[string]tls.ClientAuthType{
	"none": tls.NoClientCert, "request": tls.RequestClientCert, "require": tls.RequireAnyClientCert,
}

// sipTransports are what sip.listen may begin with.
var sipTransports = []string{"udp", "tcp", "tls", "ws", "wss"}

// EncryptedSIP reports whether the service has a SIP socket with TLS.
func (c *Config) EncryptedSIP() bool {
	return slices.ContainsFunc(c.SIPListen(), func(l string) bool {
		return strings.HasPrefix(l, "tls:") || strings.HasPrefix(l, "wss:")
	})
}

// listensFor reports whether a SIP socket can be had for a proxy's URI: peers must
// be able to connect to us, too.
func listensFor(cfg *Config, t resolve.Target) (transport string, ok bool) {
	transport = t.Transport
	switch {
	case t.Secure && (transport == "ws" || transport == "wss"):
		transport = "wss"
	case t.Secure:
		transport = "tls"
	}
	if transport == "" {
		return "", true
	}
	return transport, slices.ContainsFunc(cfg.SIPListen(), func(l string) bool { return strings.HasPrefix(l, transport+":") })
}

// sipTLS checks the section.
func (v *checks) sipTLS() {
	t := &v.c.SIP.TLS
	if (t.Cert == "") != (t.Key == "") {
		v.check("sip.tls.cert", errors.New("write both sip.tls.cert and sip.tls.key, or neither for a self-signed certificate"))
	}
	if _, ok := tlsVersions[t.MinVersion]; !ok {
		v.check("sip.tls.min-version", fmt.Errorf(`%q is unknown: write "1.2" or "1.3"`, t.MinVersion))
	}
	if p := v.c.SIP.WSPath; !strings.HasPrefix(p, "/") || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
		v.check("sip.ws-path", fmt.Errorf("%q: write the path of the servers' URL, such as / or /ws", p))
	}
}

// SIPListen returns the SIP sockets: those configured, or the default ones on
// the address from which the outbound proxy is reached.
func (c *Config) SIPListen() []string {
	if len(c.SIP.Listen) > 0 {
		return c.SIP.Listen
	}
	proxy := ""
	if len(c.SIP.OutboundProxy) > 0 {
		_, proxy, _ = strings.Cut(c.SIP.OutboundProxy[0], ":")
		proxy, _, _ = strings.Cut(proxy, ";")
		if ap, err := netip.ParseAddrPort(proxy); err == nil {
			proxy = ap.Addr().String()
		}
	}
	at := netip.AddrPortFrom(addressTowards(proxy), 6050).String()
	return []string{"udp:" + at, "tcp:" + at}
}

func (v *checks) sip() {
	seen := map[string]bool{}
	for _, s := range v.c.SIP.Listen {
		err := checkSIPListen(s)
		if err == nil && seen[s] && !strings.HasSuffix(s, ":0") {
			err = fmt.Errorf("%s is there twice", s)
		}
		seen[s] = true
		v.check("sip.listen", err)
	}
	for _, s := range v.c.SIP.OutboundProxy {
		err := checkProxy(s)
		if err == nil {
			t, _ := ProxyTarget(s)
			if transport, ok := listensFor(v.c, t); !ok {
				err = fmt.Errorf("%q: sip.listen has no %s socket: add %s:ADDRESS:PORT to it", s, transport, transport)
			}
		}
		v.check("sip.outbound-proxy", err)
	}
	if h := v.c.SIP.ExternalAddress; h == "auto" {
		if len(v.c.SIP.OutboundProxy) == 0 || v.c.SIP.Health.Interval == 0 {
			v.check("sip.external-address", errors.New("auto is what the outbound proxies answer to OPTIONS: set sip.outbound-proxy, and sip.health.interval above 0, or write the address"))
		}
	} else if h != "" && !IsHost(h) {
		v.check("sip.external-address", fmt.Errorf("%q is neither a host name nor an address; the port is that of sip.listen", h))
	}
	if h := v.c.SIP.Health; h.Interval != 0 {
		v.check("sip.health.interval", span(h.Interval, time.Second, time.Hour))
		v.check("sip.health.timeout", span(h.Timeout, 100*time.Millisecond, 30*time.Second))
	}
	v.sipTLS()
	if strings.ContainsFunc(v.c.SIP.UserAgent, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		v.check("sip.user-agent", errors.New("holds a control character"))
	}
}

func checkSIPListen(s string) error {
	transport, addr, _ := strings.Cut(s, ":")
	if !slices.Contains(sipTransports, transport) {
		return fmt.Errorf("%q: write the transport first, such as udp:192.0.2.1:6050, tcp:192.0.2.1:6050 or tls:192.0.2.1:6051", s)
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if _, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil {
		return fmt.Errorf("%q: write an IP address and a port, such as %s:192.0.2.1:6050", s, transport)
	}
	return nil
}

// checkProxy wants a SIP URI without a user.
func checkProxy(s string) error {
	rest, ok := strings.CutPrefix(s, "sip:")
	secure := false
	if !ok {
		rest, ok = strings.CutPrefix(s, "sips:")
		secure = ok
	}
	if !ok {
		return fmt.Errorf("%q: write a SIP URI, such as sip:192.0.2.1:5060", s)
	}
	hostport, params, _ := strings.Cut(rest, ";")
	host, port := hostport, ""
	if i := strings.LastIndexByte(hostport, ':'); i >= 0 && !strings.HasSuffix(hostport, "]") {
		host, port = hostport[:i], hostport[i+1:]
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("%q: %q is not a port", s, port)
		}
	}
	if !IsHost(host) || strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return fmt.Errorf("%q: %q is neither a host name nor an address", s, host)
	}
	for p := range strings.SplitSeq(params, ";") {
		name, val, _ := strings.Cut(strings.ToLower(p), "=")
		if p != "" && name != "lr" && (name != "transport" || !slices.Contains(sipTransports, val)) {
			return fmt.Errorf("%q: only ;lr and ;transport=udp, tcp, tls, ws or wss may follow the host", s)
		}
		if secure && val == "udp" {
			return fmt.Errorf("%q: a sips URI cannot use udp (RFC 3261 §26.2.2)", s)
		}
	}
	return nil
}

// ProxyTarget reads a proxy's SIP URI.
func ProxyTarget(uri string) (resolve.Target, error) {
	if err := checkProxy(uri); err != nil {
		return resolve.Target{}, err
	}
	_, rest, _ := strings.Cut(uri, ":")
	var t resolve.Target
	hostport, params, _ := strings.Cut(rest, ";")
	t.Host = hostport
	if i := strings.LastIndexByte(hostport, ':'); i >= 0 && !strings.HasSuffix(hostport, "]") {
		t.Host = hostport[:i]
		t.Port, _ = strconv.Atoi(hostport[i+1:])
	}
	t.Secure = strings.HasPrefix(uri, "sips:")
	for p := range strings.SplitSeq(params, ";") {
		if v, ok := strings.CutPrefix(strings.ToLower(p), "transport="); ok {
			t.Transport = v
		}
	}
	return t, nil
}

// tlsVersions are the values of "min-version". Versions below 1.2 are there
// for clients that cannot be updated (Java 6 and 7); RFC 8996 forbids them.
var tlsVersions = map[string]uint16{
	"": tls.VersionTLS12, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11,
	"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13,
}

// TLSVersion is what a valid "min-version" says.
func TLSVersion(word string) uint16 { return tlsVersions[word] }

// NetworkOf is the network that a SIP transport is on.
func NetworkOf(transport string) string {
	if transport == "udp" {
		return "udp"
	}
	return "tcp"
}
