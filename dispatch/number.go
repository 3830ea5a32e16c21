package dispatch

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
)

// maxNumber bounds a number or a user, in bytes.
const maxNumber = 256

// numbering says how numbers without a country code are read.
type numbering struct {
	region          string // ISO 3166; "" if nobody knows
	extensionDigits int    // so many and fewer stay in the house
}

// normal writes a number, or the user of a SIP or tel URI, so that it is equal
// to itself in every spelling: without scheme, host, parameters and visual
// separators, in E.164 form where the region is known. A name is in lower case.
func (n numbering) normal(text string) string {
	text = strings.TrimSpace(text)
	for _, scheme := range []string{"sips:", "sip:", "tel:"} {
		if len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
			text = text[len(scheme):]
			break
		}
	}
	text, _, _ = strings.Cut(text, "@")
	text, _, _ = strings.Cut(text, ";")
	if strings.Contains(text, "%") {
		if plain, err := url.PathUnescape(text); err == nil && utf8.ValidString(plain) {
			text = plain
		}
	}
	if len(text) > maxNumber {
		return strings.ToLower(text)
	}
	digits, ok := bareNumber(text)
	if !ok {
		return strings.ToLower(strings.TrimSpace(text))
	}
	if strings.HasPrefix(digits, "+") || n.region == "" || len(digits) <= n.extensionDigits {
		return digits
	}
	parsed, err := phonenumbers.Parse(digits, n.region)
	if err != nil || phonenumbers.IsPossibleNumberWithReason(parsed) != phonenumbers.IS_POSSIBLE {
		return digits
	}
	return phonenumbers.Format(parsed, phonenumbers.E164)
}

// doubt is what could be wrong if a number is none of others: it is a national one, they
// are international, and nobody knows the country.
func (n numbering) doubt(number string, others []string) string {
	international := slices.ContainsFunc(others, func(other string) bool { return strings.HasPrefix(n.normal(other), "+") })
	if n.region != "" || !international || len(number) <= n.extensionDigits || strings.Trim(number, "0123456789") != "" {
		return ""
	}
	return " (of which country is it? set dial.country, or default_region of the rule)"
}

// bareNumber takes the visual separators (RFC 3966 §5.1.1, and blanks) out of a
// number. It is false for what is none.
func bareNumber(text string) (string, bool) {
	b := make([]byte, 0, len(text))
	digits := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case '0' <= c && c <= '9':
			b, digits = append(b, c), true
		case c == '+' && len(b) == 0, c == '*', c == '#':
			b = append(b, c)
		case strings.IndexByte(" -./()\t", c) < 0:
			return "", false
		}
	}
	// "+49 (0)30": the zero in brackets is for those who dial at home.
	if i := strings.Index(text, "(0)"); i > 0 && len(b) > 0 && b[0] == '+' {
		before, _ := bareNumber(text[:i])
		after, _ := bareNumber(text[i+3:])
		return before + after, digits
	}
	return string(b), digits
}
