package policy

import (
	"strings"
	"testing"
)

// Whatever a phone or a client writes is read as something, in a bounded number
// of ways.
func FuzzReadings(f *testing.F) {
	for _, s := range []string{"", "201", "+499001234567", "sip:a@b;maddr=c?Route=x", "tel:1;phone-context=+49", "*31#0900p1", "%25%2530",
		"٠٩٠٠", "+0000", "\xff", "+", "*", "0w", "@", ";rn=;rn=1"} {
		f.Add(s)
	}
	books := []*Book{book(f), book(f, country("")), book(f, country("US"), func(c *Config) { c.Dial.OutsideLine = []string{"9", "0"} })}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 300 {
			return
		}
		for _, b := range books {
			list := b.plan.readings(s)
			if len(list) == 0 || len(list) > maxReadings {
				t.Fatalf("%d readings", len(list))
			}
			for _, r := range list {
				if r.Classes == 0 && r.Odd == "" {
					t.Errorf("%+v is of no class", r)
				}
			}
			if err := b.Check(LocalOnly, s); err != nil && !strings.Contains(err.Error(), "local-only") {
				t.Error(err)
			}
		}
	})
}

// A number that is refused in E.164 form is refused in every spelling that
// dials it. The fuzzer chooses the number and how it is spelt.
func FuzzSpelling(f *testing.F) {
	f.Add(uint64(9001234567), "DE", []byte{0, 1, 2})
	f.Add(uint64(9005551234), "US", []byte{1, 0, 7})
	f.Add(uint64(1712345678), "DE", []byte{2, 9, 9})
	f.Add(uint64(447012345678), "GB", []byte{3, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(uint64(8765551234), "US", []byte{4, 5, 5, 5})
	rules := map[string][]Rule{"p": {
		{Deny: []string{"premium", "satellite", "shared-cost", "mobile", "international"}}, {Deny: []string{"+4930*", "+1212*"}},
		{Default: "allow"}}}
	countries := []string{"DE", "US", "GB"}
	books := map[string]*Book{}
	for _, c := range countries {
		books[c] = book(f, country(c), func(cfg *Config) { cfg.Policies, cfg.Known = rules, nil })
	}
	codes := map[string]string{"DE": "49", "US": "1", "GB": "44"}
	trunk := map[string]string{"DE": "0", "US": "1", "GB": "0"}
	abroad := map[string][]string{"DE": {"00", "011"}, "US": {"011", "00"}, "GB": {"00", "011"}}
	f.Fuzz(func(t *testing.T, n uint64, c string, how []byte) {
		b := books[c]
		if b == nil || n < 1_000_000 || n > 999_999_999_999 || len(how) == 0 || len(how) > 60 {
			return
		}
		nsn := itoa(n)
		e164 := "+" + codes[c] + nsn
		if b.Check("p", e164) == nil {
			return
		}
		var s string
		switch how[0] % 4 {
		case 0:
			s = e164
		case 1:
			s = abroad[c][0] + e164[1:]
		case 2:
			s = trunk[c] + nsn
		case 3:
			s = abroad[c][1] + e164[1:]
		}
		s = dress(s, how[1:])
		if err := b.Check("p", s); err == nil {
			t.Errorf("%s: %s is refused and %q is not: %+v", c, e164, s, b.plan.readings(s))
		}
	})
}

func itoa(n uint64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// dress puts separators between the digits of a number, escapes them, and
// writes them in other scripts.
func dress(s string, how []byte) string {
	var b strings.Builder
	for i, r := range s {
		k := byte(0)
		if i < len(how) {
			k = how[i]
		}
		switch k % 13 {
		case 1:
			b.WriteString("-")
		case 2:
			b.WriteString(" ")
		case 3:
			b.WriteString(".")
		case 4:
			b.WriteString("%20")
		case 5:
			b.WriteString("(")
		}
		switch d := r - '0'; {
		case d < 0 || d > 9:
			if k%13 == 6 {
				b.WriteString("%2B")
			} else {
				b.WriteRune(r)
			}
		case k%13 == 7:
			b.WriteRune('０' + d)
		case k%13 == 8:
			b.WriteRune('٠' + d)
		case k%13 == 9:
			b.WriteString("%3" + string(r))
		case k%13 == 10:
			b.WriteString("%253" + string(r))
		default:
			b.WriteRune(r)
		}
	}
	switch len(how) % 7 {
	case 1:
		return "sip:" + b.String() + "@sipx.test"
	case 2:
		return "tel:" + b.String()
	case 3:
		return b.String() + ",,123"
	case 4:
		return b.String() + "@192.0.2.1"
	case 5:
		return b.String() + "99"
	case 6:
		return "sip:" + b.String() + ";user=phone@SIPX.test?Replaces=x"
	}
	return b.String()
}
