package sipflow

import (
	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// inviteHeader is what the first INVITE to a phone says beyond its dialog. methods
// are those that the phone may send in it.
func (c *Call) inviteHeader(subject, confPIN, methods string) string {
	b := make([]byte, 0, 192)
	if subject != "" {
		b = wire.AppendField(b, "Subject", wire.OneLine(subject))
	}
	if confPIN != "" { // not in the Request-URI: no headers are allowed there
		b = wire.AppendField(b, "X-ConfPin", wire.OneLine(confPIN))
	}
	b = wire.AppendField(b, "Allow", methods)
	switch methods {
	case allow: // it is hung up soon
	case allowBridged:
		b = append(b, supportedBridged...)
	default: // it stays up
		b = append(b, "Supported: timer\r\n"...)
	}
	b = append(b, "Accept: "+sdp.Type+"\r\n"...)
	if ua := c.sw.cfg.UserAgent; ua != "" {
		b = wire.AppendField(b, "User-Agent", ua)
	}
	return string(b)
}

// supportedBridged is what we support in a dialog with a phone that is, or will be,
// joined with another.
const supportedBridged = "Supported: timer, replaces\r\n"

// escapeHeaderValue escapes for the header part of a URI (RFC 3261 §25.1, hvalue).
func escapeHeaderValue(s string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			c == '-', c == '_', c == '.', c == '!', c == '~', c == '*', c == '(', c == ')':
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}
