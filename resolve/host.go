package resolve

import (
	"net/netip"
	"strings"
)

// IsHost reports whether s is a host of RFC 3261 §25.1: a host name, an IPv4
// address or an IPv6 reference in brackets. Numbers that only some resolvers
// take for addresses ("0x7f.1", "2130706433") are none.
func IsHost(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	if s[0] == '[' {
		addr, err := netip.ParseAddr(strings.TrimSuffix(s[1:], "]"))
		return err == nil && s[len(s)-1] == ']' && addr.Is6() && addr.Zone() == ""
	}
	top := 0 // start of the last label
	label := 0
	s = strings.TrimSuffix(s, ".")
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '.' {
			if i == label || i-label > 63 || s[label] == '-' || s[i-1] == '-' {
				return false
			}
			top, label = label, i+1
			continue
		}
		if c := s[i]; !isHostChar(c) {
			return false
		}
	}
	if c := s[top]; '0' <= c && c <= '9' {
		addr, err := netip.ParseAddr(s)
		return err == nil && addr.Is4()
	}
	return true
}

// IsName reports whether s is a host as people name theirs: like IsHost, but its
// labels may have underscores, which RFC 952 does not let them have and names of
// containers do.
func IsName(s string) bool {
	return IsHost(s) || strings.Contains(s, "_") && IsHost(strings.ReplaceAll(s, "_", "x"))
}

func isHostChar(c byte) bool {
	return c == '-' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
