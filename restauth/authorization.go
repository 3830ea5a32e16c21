package restauth

import (
	"errors"
	"strconv"
	"strings"
)

// maxAuthorization bounds an Authorization header, in bytes.
const maxAuthorization = 4096

var (
	errTooLong  = errors.New("the Authorization header is too long")
	errSyntax   = errors.New("the Authorization header is malformed")
	errTwice    = errors.New("the Authorization header has a parameter twice")
	errMissing  = errors.New("the Authorization header lacks a parameter")
	errQOP      = errors.New("the Authorization header asks for a qop that was not offered")
	errNotOffer = errors.New("the Authorization header has an algorithm that was not offered")
)

// credentials are what a Digest Authorization header holds (RFC 7616 §3.4).
// The strings are the client's own.
type credentials struct {
	username, realm, nonce, uri, response string
	algorithm, qop, cnonce, nc            string
	count                                 uint32 // nc; 0 without qop
}

// scheme cuts the scheme off an Authorization header.
func scheme(header string) (name, rest string) {
	name, rest, _ = strings.Cut(strings.TrimLeft(header, " \t"), " ")
	return name, rest
}

// parseDigest reads what follows "Digest" in an Authorization header. Names
// are case-insensitive, values may stand with or without quotes (Java leaves
// them off qop and nc, older clients off others), unknown parameters are
// passed over. It takes qop=auth with cnonce and nc, or none of the three as
// in RFC 2069.
func parseDigest(params string) (c credentials, err error) {
	seen := 0
	for rest := skipSeparators(params); rest != ""; {
		var name, value string
		if name, value, rest, err = nextParam(rest); err != nil {
			return c, err
		}
		field, bit := c.field(name)
		if field == nil {
			continue
		}
		if seen&bit != 0 {
			return c, errTwice
		}
		seen |= bit
		*field = value
	}
	if c.username == "" || c.realm == "" || c.nonce == "" || c.uri == "" || c.response == "" {
		return c, errMissing
	}
	if c.qop == "" {
		// A cnonce and nc without qop are those of a client that copied the
		// RFC 2617 example: it computes its response without them.
		return c, nil
	}
	if !strings.EqualFold(c.qop, "auth") {
		return c, errQOP
	}
	if c.cnonce == "" || len(c.nc) != 8 {
		return c, errMissing
	}
	count, err := strconv.ParseUint(c.nc, 16, 32)
	if err != nil || count == 0 {
		return c, errSyntax
	}
	c.count = uint32(count)
	return c, nil
}

// field is where the value of a parameter belongs, with its bit among those
// seen; nil for an unknown one.
func (c *credentials) field(name string) (field *string, bit int) {
	switch strings.ToLower(name) {
	case "username":
		return &c.username, 1
	case "realm":
		return &c.realm, 2
	case "nonce":
		return &c.nonce, 4
	case "uri":
		return &c.uri, 8
	case "response":
		return &c.response, 16
	case "algorithm":
		return &c.algorithm, 32
	case "qop":
		return &c.qop, 64
	case "cnonce":
		return &c.cnonce, 128
	case "nc":
		return &c.nc, 256
	}
	return nil, 0
}

// nextParam reads one name=value and the separators after it.
func nextParam(text string) (name, value, rest string, err error) {
	end := 0
	for end < len(text) && isToken(text[end]) {
		end++
	}
	name, rest = text[:end], skipSpace(text[end:])
	if name == "" || rest == "" || rest[0] != '=' {
		return "", "", "", errSyntax
	}
	rest = skipSpace(rest[1:])
	if rest != "" && rest[0] == '"' {
		if value, rest, err = quoted(rest[1:]); err != nil {
			return "", "", "", err
		}
	} else {
		end := 0
		for end < len(rest) && isBare(rest[end]) {
			end++
		}
		value, rest = rest[:end], rest[end:]
	}
	rest = skipSpace(rest)
	if rest != "" && rest[0] != ',' {
		return "", "", "", errSyntax
	}
	return name, value, skipSeparators(rest), nil
}

// quoted reads a quoted-string after its opening quote (RFC 9110 §5.6.4).
func quoted(text string) (value, rest string, err error) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return text[:i], text[i+1:], nil
		case c == '\\':
			return escaped(text, i)
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", "", errSyntax
		}
	}
	return "", "", errSyntax
}

// escaped is quoted for a text whose first backslash stands at i.
func escaped(text string, i int) (value, rest string, err error) {
	var b strings.Builder
	b.WriteString(text[:i])
	for ; i < len(text); i++ {
		c := text[i]
		if c == '"' {
			return b.String(), text[i+1:], nil
		}
		if c == '\\' {
			if i++; i == len(text) {
				break
			}
			c = text[i]
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			break
		}
		b.WriteByte(c)
	}
	return "", "", errSyntax
}

func skipSpace(text string) string { return strings.TrimLeft(text, " \t") }

func skipSeparators(text string) string { return strings.TrimLeft(text, " \t,") }

// isToken says whether c may stand in a token (RFC 9110 §5.6.2).
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isBare says whether c may stand in a value without quotes. More than a
// token may, as some clients leave the quotes off a uri.
func isBare(c byte) bool { return c > ' ' && c != ',' && c != '"' && c != 0x7f }
