package policy

import (
	"fmt"
	"slices"
	"strings"

	"sipxrest/internal/fault"

	"github.com/nyaruka/phonenumbers"
)

// Dial says how numbers are dialled here.
type Dial struct {
	// Country is the ISO 3166 code of the country, "DE". Without it numbers in
	// a national form cannot be told apart.
	Country string
	// InternationalPrefixes stand before numbers of other countries, beside the
	// +. Default 00 and 011; those of the country are known.
	InternationalPrefixes []string
	// OutsideLine lists digits that are dialled for a line to the outside.
	OutsideLine []string
	// ExtensionDigits is the length of the longest extension: so many digits
	// and fewer do not leave the house. Default 5.
	ExtensionDigits int
}

// check completes d and says what is wrong with it.
func (d *Dial) check() (faults []error) {
	d.Country = strings.ToUpper(d.Country)
	if d.Country != "" && !phonenumbers.GetSupportedRegions()[d.Country] {
		faults = append(faults, &fault.Fault{Key: "dial.country", Err: fmt.Errorf("%.20q is not a country: write two letters, such as DE or US", d.Country)})
	}
	if len(d.InternationalPrefixes) == 0 {
		d.InternationalPrefixes = []string{"00", "011"}
	}
	for key, list := range map[string][]string{"dial.international-prefixes": d.InternationalPrefixes, "dial.outside-line": d.OutsideLine} {
		for _, s := range list {
			if s == "" || len(s) > 8 || strings.Trim(s, "0123456789") != "" {
				faults = append(faults, &fault.Fault{Key: key, Err: fmt.Errorf("%.20q: write digits, such as \"00\"", s)})
			}
		}
	}
	if d.ExtensionDigits == 0 {
		d.ExtensionDigits = 5
	}
	if d.ExtensionDigits < 1 || d.ExtensionDigits > 12 {
		faults = append(faults, &fault.Fault{Key: "dial.extension-digits", Err: fmt.Errorf("%d is not between 1 and 12", d.ExtensionDigits)})
	}
	return faults
}

// A Reading is one thing that a target may mean.
type Reading struct {
	// Dialled is the name or the digits, without separators.
	Dialled string
	// Number is a public number in E.164 form, "+4930123456"; empty for others.
	Number string
	// Classes is what it is.
	Classes Class
	// Odd says why the target cannot be understood; empty otherwise.
	Odd string

	host string // of another domain, else ""
}

// String names what is called.
func (r *Reading) String() string {
	text := r.Dialled
	if r.Number != "" {
		text = r.Number
	}
	if r.host != "" {
		text += "@" + r.host
	}
	return text
}

// plan reads targets.
type plan struct {
	Dial
	domain string
	known  func(user string) bool // a user of ours, or his alias; may be nil
}

// maxReadings bounds how much one target can mean.
const maxReadings = 64

// readings returns everything that a target may mean, at least one reading.
func (p *plan) readings(text string) (list []Reading) {
	t := parseTarget(text, p.domain)
	if t.odd != "" {
		return []Reading{{Dialled: text, Odd: t.odd}}
	}
	user, why := fold(t.user)
	if why != "" {
		return []Reading{{Dialled: text, Odd: why}}
	}
	if more, params, ok := strings.Cut(user, ";"); ok { // escaped: some decode first
		user = more
		t.parameters(params)
	}
	if strings.Contains(user, "@") { // escaped: another host, to those who decode first
		return []Reading{{Dialled: text, Odd: "it has more than one @"}}
	}
	add := func(r Reading) {
		if t.host != "" {
			// There an extension is no longer one, nor an emergency number, but a
			// number may be dialled: the other domain may be our gateway.
			r.host, r.Classes = t.host, r.Classes&^(Internal|Emergency)
			if r.Classes == 0 {
				return
			}
			r.Classes |= ExternalDomain
		}
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	if t.host != "" {
		list = append(list, Reading{Dialled: user, Classes: ExternalDomain, host: t.host})
	}
	as, _ := unescape(t.user)
	switch spelt, why := spellings(user); {
	case t.host == "" && p.known != nil && (p.known(as) || p.known(user)):
		r := Reading{Dialled: user, Classes: Internal}
		if strings.Trim(user, "0123456789") == "" && emergency(user, p.Country) {
			r.Classes |= Emergency
		}
		add(r)
	case why != "":
		return []Reading{{Dialled: text, Odd: why}}
	case len(spelt) == 0:
		add(Reading{Dialled: user, Classes: Internal})
	default:
		for _, s := range spelt {
			p.read(s, add)
		}
	}
	for _, n := range t.numbers {
		n, why := fold(n)
		if why != "" {
			return []Reading{{Dialled: text, Odd: why}}
		}
		spelt, why := spellings(n)
		if why != "" {
			return []Reading{{Dialled: text, Odd: why}}
		}
		for _, s := range spelt {
			p.read(s, add)
		}
	}
	if len(list) > maxReadings {
		return []Reading{{Dialled: text, Odd: "it may mean too many numbers"}}
	}
	if len(list) == 0 {
		list = append(list, Reading{Dialled: user, Odd: "it is no number that can be dialled"})
	}
	return list
}

// read adds what digits may mean.
func (p *plan) read(s spelling, add func(Reading)) {
	switch {
	case s.plus:
		p.abroad(s.digits, true, add)
	case s.code:
		// "*67" or "*31#" may stand before a number.
		if len(s.digits) <= p.ExtensionDigits+3 {
			add(Reading{Dialled: "*" + s.digits, Classes: Internal})
		}
		for cut := 1; cut <= 3 && cut < len(s.digits); cut++ {
			if rest := s.digits[cut:]; len(rest) > p.ExtensionDigits {
				p.local(rest, false, add)
			}
		}
	default:
		p.local(s.digits, true, add)
		for _, line := range p.OutsideLine {
			if rest, ok := strings.CutPrefix(s.digits, line); ok && rest != "" {
				p.outside(rest, add)
			}
		}
	}
}

// local reads digits as they are dialled at a phone. bare ones may be an
// international number whose + was left out.
func (p *plan) local(digits string, bare bool, add func(Reading)) {
	switch {
	case emergency(digits, p.Country):
		add(Reading{Dialled: digits, Classes: Emergency})
	case len(digits) <= p.ExtensionDigits:
		add(Reading{Dialled: digits, Classes: Internal})
		if premiumShort(digits, p.Country) {
			add(Reading{Dialled: digits, Classes: Premium | National})
		}
	default:
		for _, line := range p.OutsideLine {
			bare = bare && !strings.HasPrefix(digits, line)
		}
		p.public(digits, bare, add)
	}
}

// outside reads digits behind those for an outside line.
func (p *plan) outside(digits string, add func(Reading)) {
	switch {
	case emergency(digits, p.Country):
		add(Reading{Dialled: digits, Classes: Emergency})
	case len(digits) <= p.ExtensionDigits:
		c := National
		if premiumShort(digits, p.Country) {
			c |= Premium
		}
		add(Reading{Dialled: digits, Classes: c})
	default:
		p.public(digits, true, add)
	}
}

// public reads digits that are dialled into the public network.
func (p *plan) public(digits string, bare bool, add func(Reading)) {
	foreign := false
	for _, prefix := range p.InternationalPrefixes {
		if rest, ok := strings.CutPrefix(digits, prefix); ok && len(rest) > 3 {
			foreign = true
			p.abroad(rest, false, add)
		}
	}
	if p.Country == "" {
		if !foreign {
			add(Reading{Dialled: digits, Classes: unknown})
			if bare && digits[0] != '0' && len(digits) >= 10 {
				p.abroad(digits, false, add)
			}
		}
		return
	}
	if premiumShort(digits, p.Country) && len(digits) <= 6 {
		add(Reading{Dialled: digits, Classes: Premium | National})
	}
	possible := p.home(digits, !foreign, add)
	if !bare || foreign || digits[0] == '0' {
		return
	}
	// Digits that may be a number of the country are read as nothing else. But
	// where its numbers begin with a 0, ten digits without one are no number of
	// it.
	prefix := nationalPrefix(p.Country)
	if !possible || len(digits) >= 10 && prefix != "" && !strings.HasPrefix(countryCode(p.Country), prefix) {
		p.abroad(digits, false, add)
	}
}

// home reads digits as a number of the country, with its prefixes or without.
// It reports whether a number can have that length. A number that does not
// exist is added only if always.
func (p *plan) home(digits string, always bool, add func(Reading)) (possible bool) {
	if len(digits) > 20 {
		digits = digits[:20]
	}
	for n := len(digits); ; n-- { // what is too long for the library is cut: exchanges do so, too
		num, err := phonenumbers.Parse(digits[:n], p.Country)
		if err != nil {
			if n > 15 {
				continue
			}
			if always {
				add(Reading{Dialled: digits, Number: "+" + countryCode(p.Country) + digits[:n], Classes: National})
			}
			return false
		}
		valid := phonenumbers.IsValidNumber(connected(num))
		c := classOf(num, p.Country)
		if !valid && int(num.GetCountryCode()) == phonenumbers.GetCountryCodeForRegion(p.Country) {
			c = c&^International | National
		}
		if valid || always {
			full := phonenumbers.Format(num, phonenumbers.E164)
			add(Reading{Dialled: digits, Number: full, Classes: c})
			if !valid { // an impossible national number is read as its international form
				p.abroad(full[1:], false, add)
			}
		}
		length := phonenumbers.IsPossibleNumberWithReason(num)
		return length == phonenumbers.IS_POSSIBLE || length == phonenumbers.IS_POSSIBLE_LOCAL_ONLY
	}
}

// abroad reads digits as an international number without its prefix. After a
// plus another prefix may follow that does not belong there.
func (p *plan) abroad(digits string, plus bool, add func(Reading)) {
	if digits[0] == '0' {
		for _, prefix := range p.InternationalPrefixes {
			if rest, ok := strings.CutPrefix(digits, prefix); ok && rest != "" && plus {
				p.abroad(rest, false, add)
			}
		}
		if p.Country != "" && len(digits) > p.ExtensionDigits {
			p.home(digits, true, add)
		}
		if digits = strings.TrimLeft(digits, "0"); digits == "" {
			return
		}
	}
	number, c := classify(digits, p.Country)
	add(Reading{Dialled: digits, Number: number, Classes: c})
	// "+49 (0) 900": the prefix for calls within the country, left in.
	for n := 1; n <= 3 && n < len(digits); n++ {
		if digits[n] == '0' && phonenumbers.GetSupportedCallingCodes()[atoi(digits[:n])] {
			if rest := strings.TrimLeft(digits[n:], "0"); rest != "" {
				if number, without := classify(digits[:n]+rest, p.Country); without&^c != 0 {
					add(Reading{Dialled: digits, Number: number, Classes: without})
				}
			}
		}
	}
}

func atoi(digits string) (n int) {
	for _, c := range []byte(digits) {
		n = n*10 + int(c-'0')
	}
	return n
}
