package app

import (
	"crypto/tls"
	"fmt"

	"sipxrest/policy"
)

// warnings lists what works but is probably not meant, or not safe.
func (c *Config) warnings() []string {
	var out []string
	if w := receiveBufferWarning(rmemMax); w != "" {
		out = append(out, w)
	}
	for _, s := range c.Trusted {
		if p, err := parsePrefix(s); err == nil && p.Bits() == 0 {
			out = append(out, fmt.Sprintf("%s: %s lets everybody call in everybody's name without a PIN", c.Origin("trusted"), s))
		}
	}
	if book, err := policy.New(c.policyConfig(nil)); err == nil && book.Guesses(c.Policy) {
		out = append(out, c.Origin("policy")+": "+guesses(c.Policy))
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
	return out
}
