package digest

import "strings"

// params cuts the scheme Digest off a header's value.
func params(value string) (rest string, ok bool) {
	value = skipSpace(value)
	i := strings.IndexAny(value, " \t")
	if i < 0 || !strings.EqualFold(value[:i], "Digest") {
		return "", false
	}
	return value[i:], true
}

// eachParam calls f with the parameters of a challenge or of credentials, their
// names in lower case, until it returns an error. lenient takes a value without
// quotes up to the next comma, and no comma after a quoted one.
func eachParam(text string, lenient bool, f func(name, value string) error) error {
	for rest := skipSeparators(text); rest != ""; {
		name, value, after, err := nextParam(rest, lenient)
		if err == nil {
			err = f(strings.ToLower(name), value)
		}
		if err != nil {
			return err
		}
		rest = after
	}
	return nil
}

// nextParam reads one name=value and the separators after it.
func nextParam(text string, lenient bool) (name, value, rest string, err error) {
	end := 0
	for end < len(text) && isToken(text[end]) {
		end++
	}
	name, rest = text[:end], skipSpace(text[end:])
	if name == "" || rest == "" || rest[0] != '=' {
		return "", "", "", ErrSyntax
	}
	rest = skipSpace(rest[1:])
	switch {
	case rest != "" && rest[0] == '"':
		if value, rest, err = quoted(rest[1:]); err != nil {
			return "", "", "", err
		}
	case lenient:
		value, rest, _ = strings.Cut(rest, ",")
		if value = strings.TrimRight(value, " \t"); strings.ContainsFunc(value, isControl) {
			return "", "", "", ErrSyntax
		}
		return name, value, skipSeparators(rest), nil
	default:
		end := 0
		for end < len(rest) && isBare(rest[end]) {
			end++
		}
		value, rest = rest[:end], rest[end:]
	}
	rest = skipSpace(rest)
	if rest != "" && rest[0] != ',' && !lenient {
		return "", "", "", ErrSyntax
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
			return "", "", ErrSyntax
		}
	}
	return "", "", ErrSyntax
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
	return "", "", ErrSyntax
}

func skipSpace(text string) string { return strings.TrimLeft(text, " \t") }

func skipSeparators(text string) string { return strings.TrimLeft(text, " \t,") }

// isToken reports whether c may stand in a token (RFC 9110 §5.6.2).
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isBare reports whether c may stand in a value without quotes. More than a
// token may, as some clients leave the quotes off a uri.
func isBare(c byte) bool { return c > ' ' && c != ',' && c != '"' && c != 0x7f }

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
