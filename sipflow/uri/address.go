package uri

import (
	"bytes"
	"net/url"
	"slices"
	"strings"

	"sipxrest/sipflow/wire"
)

// Address is one that a header field names.
type Address struct {
	Name string // display name, unquoted
	User string // user part, unescaped; of a tel URI the number
	Host string
	URI  string // as on the wire
}

// ParseNameAddr reads the value of a header field such as From (RFC 3261 §20.10).
// What cannot be read is empty.
func ParseNameAddr(v []byte) Address {
	uri, _ := wire.NameAddr(v)
	a := ParseAddress(uri)
	if i := strings.IndexByte(string(v), '<'); i > 0 {
		name := strings.TrimSpace(string(v[:i]))
		if v[0] == '"' {
			if unquoted, _, ok := wire.Unquote(string(v)); ok { // a < may stand in it
				name = unquoted
			}
		}
		a.Name = strings.ToValidUTF8(wire.OneLine(name), "")
	}
	return a
}

// ParseAddress reads a SIP or tel URI. What cannot be read is empty.
func ParseAddress(uri []byte) Address {
	a := Address{URI: string(uri)}
	scheme, rest, _ := strings.Cut(a.URI, ":")
	if i := strings.IndexAny(rest, ";?"); i >= 0 && !strings.Contains(rest[i:], "@") {
		rest = rest[:i]
	}
	user := ""
	if strings.EqualFold(scheme, "tel") {
		user, _, _ = strings.Cut(rest, ";")
	} else {
		u, ok := wire.ParseURI(uri)
		if !ok {
			return a
		}
		a.Host = u.Host
		if i := strings.LastIndexByte(rest, '@'); i >= 0 {
			user, _, _ = strings.Cut(rest[:i], ":") // without a password
		}
	}
	if plain, err := url.PathUnescape(user); err == nil {
		user = plain
	}
	a.User = strings.ToValidUTF8(wire.OneLine(user), "")
	return a
}

// Malformed reports whether a Request-URI has an IPv6 address without its
// brackets, so that nobody can tell where that ends (RFC 5118 §4.2), or header
// fields (RFC 4475 §3.1.2.11).
func Malformed(uri []byte) bool {
	_, rest, _ := bytes.Cut(uri, []byte{':'})
	if i := bytes.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	if bytes.IndexByte(rest, '?') >= 0 {
		return true
	}
	if i := bytes.IndexByte(rest, ';'); i >= 0 {
		rest = rest[:i]
	}
	return len(rest) > 0 && rest[0] != '[' && bytes.Count(rest, []byte{':'}) > 1
}

// IsPlain reports whether a text can be written between angle brackets as a
// SIP or tel URI.
func IsPlain(uri string) bool {
	if len(uri) > 1024 || wire.HasControl(uri) || strings.ContainsAny(uri, " <>\"?\\") {
		return false
	}
	scheme, rest, _ := strings.Cut(uri, ":")
	if strings.EqualFold(scheme, "tel") {
		return rest != ""
	}
	_, ok := wire.ParseURI([]byte(uri))
	return ok && !Malformed([]byte(uri))
}

// Callable returns a SIP URI without what may not stand in a Request-URI (RFC 3261
// §19.1.1). ok is false when it is no SIP URI.
func Callable(uri string) (callable string, ok bool) {
	if _, ok := wire.ParseURI([]byte(uri)); !ok {
		return "", false
	}
	uri, _, _ = strings.Cut(uri, "?")
	at := strings.LastIndexByte(uri, '@') + 1
	parts := strings.Split(uri[at:], ";")
	parts = slices.DeleteFunc(parts, func(p string) bool {
		name, _, _ := strings.Cut(p, "=")
		return strings.EqualFold(strings.TrimSpace(name), "method")
	})
	return uri[:at] + strings.Join(parts, ";"), true
}

// Dialable returns of a number what may stand in the user part of a URI.
// Interfaces refuse others; this is for the one that forgets to.
func Dialable(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("+-.*_", r) {
			return r
		}
		return -1
	}, s)
}

// AOR returns a URI without its scheme, parameters and header fields.
func AOR(uri string) string {
	_, aor, _ := strings.Cut(uri, ":")
	host := strings.LastIndexByte(aor, '@') + 1 // the user may hold their separators, too
	if i := strings.IndexAny(aor[host:], ";?"); i >= 0 {
		aor = aor[:host+i]
	}
	return aor
}
