package dispatch

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxURI bounds a URI to call, in bytes.
const maxURI = 512

// parseTarget reads whom a transfer calls: a SIP, SIPS or tel URI (RFC 3261
// §19.1, RFC 3966), or phone:NAME, and writes it anew, so that nothing gets through that was
// not understood. Of the parameters only transport and user=phone may be there;
// headers and passwords may not.
func parseTarget(text string) (string, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", errors.New("missing: name whom to call, such as sip:201@example.com")
	case len(text) > maxURI:
		return "", fmt.Errorf("longer than %d bytes", maxURI)
	case !utf8.ValidString(text):
		return "", errors.New("not UTF-8")
	}
	scheme, rest, ok := strings.Cut(text, ":")
	scheme = strings.ToLower(scheme)
	switch {
	case scheme == "phone":
		name, err := url.PathUnescape(rest)
		if err != nil || name == "" || len(name) > maxPhone || !utf8.ValidString(name) || strings.IndexFunc(name, unfitName) >= 0 {
			return "", fmt.Errorf("%.80q: write phone: and the name of a user of calls over WebSocket", text)
		}
		return string(appendUser([]byte(phoneScheme), name)), nil
	case !ok || scheme != "sip" && scheme != "sips" && scheme != "tel":
		return "", fmt.Errorf("%.80q: write a sip:, sips: or tel: URI", text)
	case scheme == "tel":
		number, ok := telNumber(rest)
		if !ok {
			return "", fmt.Errorf("%.80q: the number of a tel: URI has digits and separators only; a context or an extension has nowhere to go", text)
		}
		return "tel:" + number, nil
	}
	user, hostport, ok := strings.Cut(rest, "@")
	if !ok || user == "" {
		return "", fmt.Errorf("%.80q: write %s:user@host", text, scheme)
	}
	user, err := url.PathUnescape(user)
	if err != nil || !utf8.ValidString(user) || strings.IndexFunc(user, unfit) >= 0 {
		return "", fmt.Errorf("%.80q: its user has characters that a user does not have", text)
	}
	hostport, params, given := strings.Cut(hostport, ";")
	host, port, err := splitHostPort(hostport)
	if err != nil {
		return "", fmt.Errorf("%.80q: %w", text, err)
	}
	out := append([]byte(scheme), ':')
	out = appendUser(out, user)
	out = append(append(out, '@'), host...)
	if port != 0 {
		out = strconv.AppendInt(append(out, ':'), int64(port), 10)
	}
	if given {
		if out, err = appendParams(out, params); err != nil {
			return "", fmt.Errorf("%.80q: %w", text, err)
		}
	}
	return string(out), nil
}

// phoneScheme begins a target that is a user of calls over WebSocket: his name,
// or the user of his SIP address, follows.
const phoneScheme = "phone:"

const maxPhone = 255 // bytes of a name

// phoneName is the name of the user that a target is, as parseTarget wrote it.
func phoneName(target string) (string, bool) {
	escaped, ok := strings.CutPrefix(target, phoneScheme)
	name, err := url.PathUnescape(escaped)
	return name, ok && err == nil
}

// unfitName says that r is in no user's name.
func unfitName(r rune) bool {
	return r == ':' || r == utf8.RuneError || unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

// appendParams takes over the parameters that may be there.
func appendParams(out []byte, params string) ([]byte, error) {
	seen := map[string]bool{}
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.ToLower(p), "=")
		fits := false
		switch name {
		case "transport":
			fits = value == "udp" || value == "tcp" || value == "tls" || value == "ws" || value == "wss"
		case "user":
			fits = value == "phone" || value == "ip"
		}
		if !fits || seen[name] {
			return nil, fmt.Errorf("parameter %.40q: only transport and user=phone may be there, once", p)
		}
		seen[name] = true
		out = append(append(out, ';'), name+"="+value...)
	}
	return out, nil
}

// splitHostPort reads host, host:port or [IPv6]:port.
func splitHostPort(s string) (host string, port int, err error) {
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host = s[:i]
		digits := s[i+1:]
		port, err = strconv.Atoi(digits)
		if err != nil || port < 1 || port > 65535 || digits[0] < '0' || digits[0] > '9' {
			return "", 0, fmt.Errorf("%.40q is no port", digits)
		}
	}
	if !isHost(host) {
		return "", 0, fmt.Errorf("%.80q is neither a host name nor an address", host)
	}
	return strings.ToLower(host), port, nil
}

// unfit says that r has no place in a user: a URI would give it a meaning, or
// no user can mean it.
func unfit(r rune) bool {
	switch r {
	case ':', ';', '?', '<', '>', '@', '"', '\\', '\u2028', '\u2029':
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

// telNumber is the number of a tel URI without visual separators.
func telNumber(s string) (string, bool) {
	var b strings.Builder
	global := strings.HasPrefix(s, "+")
	digits := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '-' || c == '.' || c == '(' || c == ')':
			continue
		case c == '+' && i == 0:
		case '0' <= c && c <= '9':
			digits++
		case !global && (c == '*' || c == '#'):
		default:
			return "", false
		}
		b.WriteByte(s[i])
	}
	return b.String(), digits > 0 && b.Len() <= 64
}

// isHost says whether s is a host of RFC 3261 §25.1: a host name, an IPv4
// address or an IPv6 reference in brackets. Numbers that only some resolvers
// take for addresses ("0x7f.1", "2130706433") are none.
func isHost(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	if s[0] == '[' {
		addr, err := netip.ParseAddr(strings.TrimSuffix(s[1:], "]"))
		return err == nil && s[len(s)-1] == ']' && addr.Is6() && addr.Zone() == ""
	}
	s = strings.TrimSuffix(s, ".")
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; c != '-' && !isAlnum(c) {
				return false
			}
		}
		last = label
	}
	if c := last[0]; '0' <= c && c <= '9' {
		addr, err := netip.ParseAddr(s)
		return err == nil && addr.Is4()
	}
	return true
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// appendUser appends user with everything escaped that RFC 3261 §25.1 does not
// let stand in a user part, and with the comma and the slash, which some
// parsers take for the end of a value or of a scheme.
func appendUser(dst []byte, user string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(user); i++ {
		c := user[i]
		if isAlnum(c) || strings.IndexByte("-_.!~*'()&=+$", c) >= 0 {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// sipURI is what to call for what parseTarget has answered: the number of a tel
// URI is one of domain.
func sipURI(target, domain string) string {
	if number, ok := strings.CutPrefix(target, "tel:"); ok {
		return "sip:" + string(appendUser(nil, number)) + "@" + domain + ";user=phone"
	}
	return target
}

// roomWord stands for the room in a target of rooms.
const roomWord = "{room}"

// roomTarget is the URI of a room: template's, with the room's name in it.
func roomTarget(template, room string) (string, error) {
	if room == "" || len(room) > maxNumber || !utf8.ValidString(room) || strings.IndexFunc(room, unfit) >= 0 {
		return "", fmt.Errorf("room_name: %.80q cannot be the user of a SIP URI", room)
	}
	return strings.ReplaceAll(template, roomWord, string(appendUser(nil, room))), nil
}

// checkTemplate checks the URI of a room, in which {room} may stand as or in
// the user.
func checkTemplate(template string) error {
	user, _, _ := strings.Cut(template, "@")
	if strings.Count(template, roomWord) != strings.Count(user, roomWord) {
		return fmt.Errorf("%.80q: %s may stand before the @ only: rooms that webhooks name must not choose the server", template, roomWord)
	}
	if strings.HasPrefix(strings.ToLower(template), "tel:") && strings.Contains(template, roomWord) {
		return fmt.Errorf("%.80q: write a sip: URI: rooms are no numbers", template)
	}
	_, err := parseTarget(strings.ReplaceAll(template, roomWord, "room"))
	return err
}
