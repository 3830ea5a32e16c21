package dispatch

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"sipxrest/resolve"
	"sipxrest/restauth"
	"sipxrest/sipflow/uri"
)

// maxURI bounds a URI to call, in bytes.
const maxURI = 512

// parseTarget reads whom a transfer calls: a SIP, SIPS or tel URI (RFC 3261
// §19.1, RFC 3966), phone:NAME, or talk: and what parseTalk knows. It writes it anew, so that
// nothing gets through that was not understood. Of the parameters only transport and user=phone may be there;
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
		return string(uri.AppendUser([]byte(phoneScheme), name)), nil
	case ok && scheme == "talk":
		return parseTalk(rest)
	case !ok || scheme != "sip" && scheme != "sips" && scheme != "tel":
		return "", fmt.Errorf("%.80q: write a sip:, sips: or tel: URI", text)
	case scheme == "tel":
		number, ok := uri.TelNumber(rest)
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
	if restauth.TrimBlanks(user) != user { // from a query whose + was not escaped: another number without it
		return "", fmt.Errorf("%.80q: its user begins or ends with a blank: was it a +? In a URL that is written %%2B", text)
	}
	hostport, params, given := strings.Cut(hostport, ";")
	host, port, err := splitHostPort(hostport)
	if err != nil {
		return "", fmt.Errorf("%.80q: %w", text, err)
	}
	out := append([]byte(scheme), ':')
	out = uri.AppendUser(out, user)
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
	if !resolve.IsHost(host) {
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

// sipURI is the SIP URI of a target that parseTarget returned: the number of a
// tel URI is one of domain.
func sipURI(target, domain string) string {
	if number, ok := strings.CutPrefix(target, "tel:"); ok {
		return "sip:" + string(uri.AppendUser(nil, number)) + "@" + domain + ";user=phone"
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
	return strings.ReplaceAll(template, roomWord, string(uri.AppendUser(nil, room))), nil
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
	if strings.HasPrefix(strings.ToLower(template), talkScheme) && strings.Contains(template, roomWord) {
		// Names of rooms are logged, and a webhook would choose the conversation.
		return fmt.Errorf("%.80q: name a conversation in dispatch.rooms, or have the rule's transfer_to name it: %s has no place in a talk: target", template, roomWord)
	}
	_, err := parseTarget(strings.ReplaceAll(template, roomWord, "room"))
	return err
}
