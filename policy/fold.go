package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDigits and maxParts bound what is looked at: no number is longer than 15
// digits (ITU-T E.164), and what stands before one is not much longer.
const (
	maxDigits = 40
	maxParts  = 8
)

// unescape decodes percent-escapes, and those that come out of that: a server
// on the way may decode once more. It is false when they do not end.
func unescape(s string) (string, bool) {
	for range 4 {
		if !strings.Contains(s, "%") {
			return s, true
		}
		b := make([]byte, 0, len(s))
		changed := false
		for i := 0; i < len(s); i++ {
			if s[i] == '%' && i+2 < len(s) {
				if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
					b = append(b, byte(hi<<4|lo))
					i, changed = i+2, true
					continue
				}
			}
			b = append(b, s[i])
		}
		if s = string(b); !changed {
			return s, true
		}
	}
	return s, !strings.Contains(s, "%")
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// fold writes a user part in ASCII where digits and signs are concerned: a
// gateway may understand digits of any script. why says what nobody can be
// sure about.
func fold(s string) (folded, why string) {
	s, ends := unescape(s)
	if !ends || !utf8.ValidString(s) {
		return "", "its escapes do not make sense"
	}
	ascii := true
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return "", "it has control characters"
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return s, ""
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case 0xFF01 <= r && r <= 0xFF5E: // fullwidth forms
			b.WriteRune(r - 0xFEE0)
		case unicode.Is(unicode.Nd, r):
			b.WriteByte('0' + decimal(r))
		case strings.ContainsRune("\uFE62\u207A\u208A\u2795", r):
			b.WriteByte('+')
		case strings.ContainsRune("\uFE61\u2217\u204E\u2731\u22C6\u2055", r):
			b.WriteByte('*')
		case strings.ContainsRune("\uFE5F\u266F", r):
			b.WriteByte('#')
		case unicode.Is(unicode.No, r), unicode.Is(unicode.Nl, r):
			return "", "it has signs that are digits to some and not to others"
		case unicode.Is(unicode.C, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return "", "it has characters that cannot be seen"
		case unicode.Is(unicode.M, r): // an accent, or a frame around a digit
		case unicode.Is(unicode.Z, r):
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return b.String(), ""
}

// decimal is the value of a digit of any script: Unicode keeps each ten of
// them together, the zero first.
func decimal(r rune) byte {
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10)
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10)
		}
	}
	return 0
}

// spelling is one way to take digits out of a text.
type spelling struct {
	plus   bool   // a + stood before them
	code   bool   // a * or # did: a service code may be in front of the number
	digits string // never empty
}

// spellings are the digits that a gateway might dial for a folded user part;
// none for a name. Separators (RFC 3966 §5.1.1 and whatever else) do not count;
// at a pause or a letter dialling may end or go on. why says that there are too
// many digits to be a number.
func spellings(s string) (list []spelling, why string) {
	s = strings.TrimLeftFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !isDigit(r) && r != '+' && r != '*' && r != '#'
	})
	first, _ := utf8.DecodeRuneInString(s)
	if unicode.IsLetter(first) {
		// A pause, or pulse and tone dialling, before the number.
		rest := strings.TrimLeft(s, "pPwWtT,~ -")
		if rest == "" || strings.ContainsFunc(rest, func(r rune) bool { return unicode.IsLetter(r) && !isPause(r) }) {
			return nil, ""
		}
		s = rest
	}
	var (
		all     = make([]byte, 0, maxDigits) // every digit
		spelled = make([]byte, 0, maxDigits) // and letters as on a telephone's keys
		upTo    = -1                         // digits before the first pause or letter
		letters = false
		parts   []spelling // what stands behind a sign
		sign    rune
		part    []byte
	)
	end := func(next rune) {
		if len(part) > 0 {
			parts = append(parts, spelling{sign == '+', sign == '*' || sign == '#', string(part)})
		}
		sign, part = next, nil
	}
	for _, r := range s {
		switch {
		case isDigit(r):
			all, spelled, part = append(all, byte(r)), append(spelled, byte(r)), append(part, byte(r))
		case r == '+' || r == '*' || r == '#':
			end(r)
		case isPause(r), unicode.IsLetter(r):
			if upTo < 0 && len(all) > 0 {
				upTo = len(all)
			}
			if k := key(r); k != 0 && len(all) >= 3 {
				spelled, letters = append(spelled, k), true
			}
		}
		if len(spelled) > maxDigits || len(parts) > maxParts {
			return nil, "it has more digits than any number"
		}
	}
	end(0)
	if len(all) == 0 {
		return nil, ""
	}
	list = parts
	add := func(sp spelling) {
		for _, have := range list {
			if have == sp {
				return
			}
		}
		if sp.digits != "" {
			list = append(list, sp)
		}
	}
	if len(parts) == 1 { // else the signs between them count
		whole := parts[0]
		if upTo > 0 {
			add(spelling{whole.plus, whole.code, string(all[:upTo])})
		}
		if letters {
			add(spelling{whole.plus, whole.code, string(spelled)})
		}
	} else {
		add(spelling{strings.HasPrefix(s, "+"), strings.HasPrefix(s, "*") || strings.HasPrefix(s, "#"), string(all)})
	}
	return list, ""
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// isPause tells the characters at which dial strings wait (3GPP TS 22.030, and
// what gateways took from modems).
func isPause(r rune) bool { return strings.ContainsRune("pPwWtT,~", r) }

// key is the digit that has a letter on a telephone (ITU-T E.161), 0 for none.
func key(r rune) byte {
	if 'a' <= r && r <= 'z' {
		r -= 'a' - 'A'
	}
	if r < 'A' || r > 'Z' {
		return 0
	}
	return "22233344455566677778889999"[r-'A']
}
