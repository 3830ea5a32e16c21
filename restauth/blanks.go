package restauth

import (
	"net/url"
	"strings"
	"unicode"
)

// TrimBlanks cuts blanks off both ends of a user, those that a web page or a
// spreadsheet has among them, but no control characters: those are refused.
func TrimBlanks(user string) string {
	return strings.TrimFunc(user, func(r rune) bool { return unicode.Is(unicode.Zs, r) })
}

// UserParam decodes the value of a query parameter that names a user, as it was
// sent; false with the value itself when an escape is none.
//
// Where a number begins, a + is one: in a query it stands for a blank (HTML
// forms), but nobody writes a blank there. An escaped blank is one that was
// pasted, and left out as others at the ends are.
func UserParam(raw string) (user string, ok bool) {
	user = raw
	for _, scheme := range [...]string{"", "tel:", "tel%3A", "sip:", "sip%3A"} {
		if len(raw) >= len(scheme) && strings.EqualFold(raw[:len(scheme)], scheme) {
			if number, ok := cutPlus(raw[len(scheme):]); ok {
				user = raw[:len(scheme)] + "%2B" + number
				break
			}
		}
	}
	if strings.ContainsAny(user, "%+") {
		var err error
		if user, err = url.QueryUnescape(user); err != nil {
			return raw, false
		}
	}
	return TrimBlanks(user), true
}

// cutPlus returns what follows a +, if a number begins with it. Blanks may be
// before the +.
func cutPlus(raw string) (number string, ok bool) {
	for number = raw; number != ""; {
		switch {
		case number[0] == '+':
			number, ok = number[1:], true
		case strings.HasPrefix(number, "%20"):
			number, ok = number[3:], false
		default:
			return number, ok && '0' <= number[0] && number[0] <= '9'
		}
	}
	return "", false
}
