package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sipxrest/internal/setting"
)

// Validate completes the configuration (the realm) and checks every value.
// Its error holds one line for each fault: where the key was set, the key,
// and what to write instead.
func (c *Config) Validate() error {
	v := checks{c: c}
	if c.Realm == "" {
		c.Realm = c.Domain
	}
	v.check("domain", checkDomain(c.Domain))
	if strings.ContainsFunc(c.Realm, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == 0x7f }) {
		v.check("realm", fmt.Errorf("%q holds a quote, a backslash or a control character", c.Realm))
	}
	if c.DataDir == "" {
		v.check("data-dir", errors.New("missing: name a folder that the service may write to"))
	}
	v.sip()
	v.http()
	v.peers()
	v.names()
	if len(c.Users) == 0 {
		v.check("users", errors.New("missing: "+cmp.Or(c.usersHint, "name the file with the users, such as users: [users.yaml]")))
	}
	v.policies()
	for _, r := range c.rows() {
		if r.Check != nil {
			for _, err := range Flatten(r.Check(r.Set.At)) {
				v.check(r.Name, err)
			}
		}
	}
	v.watching()
	v.dialout()
	v.dialin()
	v.dispatch()
	v.webhooks()
	v.phone()
	v.cluster()
	v.store()
	for _, s := range c.DNS.Servers {
		if _, err := netip.ParseAddr(s); err == nil {
			continue
		}
		if _, err := netip.ParseAddrPort(s); err != nil {
			v.check("dns.servers", fmt.Errorf("%q is not an address: write 192.0.2.53 or 192.0.2.53:53", s))
		}
	}
	return errors.Join(v.errs...)
}

// Origin says where a key was set, for messages: "sipxrest.yaml:7: http", or
// the key alone when it has its default.
func (c *Config) Origin(key string) string {
	if o := c.origin[key]; o != "" {
		return o + ": " + key
	}
	return key
}

// IsSet reports whether a key was set, be it to its default.
func (c *Config) IsSet(key string) bool { return c.origin[key] != "" }

// Sources names the files and folders that were read.
func (c *Config) Sources() []string { return c.sources }

// From returns what was read, for people.
func (c *Config) From() string {
	if len(c.sources) == 0 {
		return "environment and command line"
	}
	return strings.Join(c.sources, " and ")
}

// At puts where key was set before an error that names the key itself.
func (c *Config) At(key string, err error) error {
	if o := c.origin[key]; o != "" {
		return fmt.Errorf("%s: %w", o, err)
	}
	return err
}

type checks struct {
	c    *Config
	errs []error
}

func (v *checks) check(key string, err error) {
	if err != nil {
		v.errs = append(v.errs, fmt.Errorf("%s: %w", v.c.Origin(key), err))
	}
}

func checkDomain(d string) error {
	switch {
	case d == "":
		return errors.New("missing: name the SIP domain whose users call, such as pbx.example")
	case strings.HasPrefix(d, "sip:") || strings.HasPrefix(d, "sips:"):
		return fmt.Errorf("%q: write the domain without sip: before it", d)
	case !IsHost(d):
		return fmt.Errorf("%q is not a domain name: write it as in user@domain, without port or path", d)
	}
	return nil
}

// IsHost reports whether s is a host name or an IP address as a SIP URI may hold
// it (RFC 3261 §25.1), IPv6 in brackets or not.
func IsHost(s string) bool {
	if _, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return true
	}
	if s == "" || len(s) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		last = label
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	// 300.1.1.1 is a mistyped address: RFC 3261 has a letter begin the last label,
	// RFC 3696 §2 wants one in it.
	return strings.Trim(last, "0123456789") != ""
}

func (v *checks) http() {
	if len(v.c.HTTP) == 0 {
		v.check("http", errors.New(`missing: write at least one listener, such as {listen: ":6666", tls: {}}`))
	}
	seen := map[string]bool{}
	for i, l := range v.c.HTTP {
		fault := func(key, format string, args ...any) {
			v.check("http", fmt.Errorf("listener %d: %s: %w", i+1, key, fmt.Errorf(format, args...)))
		}
		host, port, err := net.SplitHostPort(l.Listen)
		n, portErr := strconv.Atoi(port)
		switch {
		case l.Listen == "":
			fault("listen", `missing: write host:port, or ":6666" for every address`)
		case err != nil || portErr != nil || n < 0 || n > 65535:
			fault("listen", `%q: write host:port, or ":6666" for every address`, l.Listen)
		case host != "" && !IsHost(host):
			fault("listen", "%q is neither a host name nor an address", host)
		case seen[l.Listen] && n != 0:
			fault("listen", "%s is there twice", l.Listen)
		}
		seen[l.Listen] = true
		if policies := []string{"trusted-or-pin", "pin", "trusted"}; !slices.Contains(policies, l.Auth) {
			if best := setting.Nearest(l.Auth, policies); best != "" {
				fault("auth", "%q is unknown: did you mean %q?", l.Auth, best)
			} else {
				fault("auth", "%q is unknown: write %s", l.Auth, setting.OrList(policies))
			}
		}
		if t := l.TLS; t != nil {
			if (t.Cert == "") != (t.Key == "") {
				fault("tls", "write both cert and key, or neither for a self-signed certificate")
			}
			if _, ok := tlsVersions[t.MinVersion]; !ok {
				fault("tls.min-version", `%q is unknown: write "1.2" or "1.3" ("1.0" lets very old clients in)`, t.MinVersion)
			}
		}
	}
}

func (v *checks) peers() {
	for _, s := range v.c.Trusted {
		if s == WordDomain {
			continue
		}
		if _, err := parsePrefix(s); err != nil {
			v.check("trusted", fmt.Errorf("%w, or the word domain", err))
		}
	}
	for _, s := range v.c.ReverseProxies {
		_, err := parsePrefix(s)
		v.check("reverse-proxies", err)
	}
}

// parsePrefix reads "192.0.2.0/24" or a single address.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is not a network: write 192.0.2.0/24 or an address", s)
	}
	return p.Masked(), nil
}

// names checks "http-names".
func (v *checks) names() {
	for _, s := range v.c.HTTPNames {
		if s != "*" && !IsHost(s) {
			v.check("http-names", fmt.Errorf("%q is not a host name: write it without scheme, port and path, or * for any name", s))
		}
	}
}

// Prefixes are the networks of a list, which Validate has checked.
func Prefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := parsePrefix(s); err == nil { // Validate has refused the others
			out = append(out, p)
		}
	}
	return out
}

// Flatten returns the errors that were joined.
func Flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, Flatten(e)...)
	}
	return out
}

// TrustsDomain reports whether the domain's SIP proxies are in "trusted".
func (c *Config) TrustsDomain() bool { return slices.Contains(c.Trusted, WordDomain) }

// Contains reports whether an address is in one of the networks.
func Contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
