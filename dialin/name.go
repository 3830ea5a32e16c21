package dialin

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxName bounds the name of a phone, in runes.
	maxName = 64
	// masked is how many digits of a number are not shown that nobody vouches for.
	masked = 3
	// noName is shown of whom nothing is known.
	noName = "Phone"
)

// displayName is what others see of a caller: the name that Nextcloud has, or else the
// number.
func displayName(name, number string) string {
	if name = printable(name); name != "" {
		return name
	}
	if number != "" {
		return number
	}
	return noName
}

// shownNumber is the number of a caller as others see it. It is empty for one that is
// unknown, or too short to be masked.
func shownNumber(number string, vouched bool) string {
	digits := strings.TrimPrefix(number, "+")
	switch {
	case digits == "" || strings.Trim(digits, "0123456789") != "":
		return ""
	case vouched:
		return number
	case len(digits) <= masked:
		return ""
	}
	return number[:len(number)-masked] + strings.Repeat("*", masked)
}

// printable is a text for people: without what cannot be seen, and not long.
func printable(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			continue
		}
		if n++; n > maxName {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
