package order

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"sipxrest/resolve"
	"sipxrest/restauth"
	"sipxrest/sipflow/uri"
)

// MaxUser bounds a user in a request, in bytes after percent-decoding.
const MaxUser = 256

// Party is somebody whom a request names: the calling or called user, or the
// target of a transfer.
type Party struct {
	User string // as given, without scheme and percent-encoding
	Host string // as given, or our domain
}

// ParseParty reads "user" or "user@host"; a user alone is one of domain. The
// host may be a name or an IP literal but has no port. Nothing that is given
// may become a parameter or a header of a URI. Blanks around a user are no part
// of it.
//
// A "sip:" in front is cut off, because people paste it (sipXrest made
// "sip:sip:202@…" of it, which reached nobody). "tel:" numbers lose their
// visual separators (RFC 3966 §5.1.1); a context or an extension is refused,
// for there is nowhere to put it. Other schemes, sips among them, are refused:
// the promise of TLS on each hop cannot be kept.
func ParseParty(text, domain string) (Party, bool) {
	if text = restauth.TrimBlanks(text); text == "" || len(text) > MaxUser || !utf8.ValidString(text) {
		return Party{}, false
	}
	if rest, ok := cutScheme(text, "tel:"); ok {
		number, ok := uri.TelNumber(rest)
		return Party{number, domain}, ok
	}
	text, _ = cutScheme(text, "sip:")
	user, host, given := strings.Cut(text, "@")
	user = restauth.TrimBlanks(user)
	if !given {
		host = domain
	} else if !resolve.IsHost(host) {
		return Party{}, false
	}
	if user == "" || strings.IndexFunc(user, unfit) >= 0 {
		return Party{}, false
	}
	return Party{user, host}, true
}

// cutScheme cuts scheme, in any case, off the front of text.
func cutScheme(text, scheme string) (string, bool) {
	if len(text) < len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		return text, false
	}
	return text[len(scheme):], true
}

// WithoutScheme returns the name by which the user store knows what a client calls
// text.
func WithoutScheme(text string) string {
	if rest, ok := cutScheme(text, "tel:"); ok {
		if number, ok := uri.TelNumber(rest); ok {
			return number
		}
	}
	text, _ = cutScheme(text, "sip:")
	return restauth.TrimBlanks(text)
}

// unfit reports that r has no place in a user: it would need a meaning that a URI
// gives it (password, parameter, header), or no user can mean it.
func unfit(r rune) bool {
	switch r {
	case ':', ';', '?', '<', '>', '@', '\u2028', '\u2029':
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) // Cf: bidirectional overrides, zero-width
}

// Wire returns the party as user@host for a SIP URI, the user escaped.
func (p Party) Wire() string {
	b := make([]byte, 0, len(p.User)+1+len(p.Host))
	b = uri.AppendUser(b, p.User)
	b = append(b, '@')
	return string(append(b, p.Host...))
}

// AOR returns the party's name in a key: one for all ways to write its host.
func (p Party) AOR() string {
	p.Host = strings.ToLower(strings.TrimSuffix(p.Host, "."))
	return p.Wire()
}
