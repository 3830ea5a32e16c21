package policy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// Class is a set of the classes that rules name.
type Class uint16

// The classes.
const (
	// Emergency: the emergency numbers of the country, exactly.
	Emergency Class = 1 << iota
	// Premium: numbers whose owner gets a share of a high price.
	Premium
	// SharedCost: numbers dearer than others, personal numbers and pagers too.
	SharedCost
	// Satellite: satellite and other international networks, +870, +881, +882, +883.
	Satellite
	// International: numbers of another country, also where it shares the
	// country code.
	International
	// National: numbers of the country, mobile ones among them.
	National
	// Mobile: where a country's numbers show it.
	Mobile
	// Internal: users, names and extensions of our domain.
	Internal
	// ExternalDomain: users of another domain, or of another port of ours.
	ExternalDomain

	// unknown is a number in a national form while the country is not known:
	// a rule that refuses a class of numbers refuses it.
	unknown

	// Any is everything.
	Any Class = 1<<15 - 1
)

// numberClasses are those of public numbers.
const numberClasses = Premium | SharedCost | Satellite | International | National | Mobile

var classNames = []string{"emergency", "premium", "shared-cost", "satellite", "international", "national", "mobile", "internal", "external-domain"}

// ClassNames are the words that a rule may use.
func ClassNames() []string { return append(slices.Clone(classNames), "any") }

// String lists the classes, "premium, national".
func (c Class) String() string {
	var names []string
	for i, name := range classNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if c&unknown != 0 {
		names = append(names, "unknown (set dial.country)")
	}
	return strings.Join(names, ", ")
}

func parseClass(word string) (Class, bool) {
	if word == "any" {
		return Any, true
	}
	i := slices.Index(classNames, word)
	if i < 0 {
		return 0, false
	}
	return 1 << i, true
}

// classify says what class an international number is, digits without +, and
// how it is written in full. home is our country, "" when it is not known.
func classify(digits, home string) (e164 string, c Class) {
	if len(digits) > 17 {
		digits = digits[:17]
	}
	e164 = "+" + digits
	num, err := phonenumbers.Parse(e164, "ZZ")
	if err != nil {
		return e164, International
	}
	e164 = phonenumbers.Format(num, phonenumbers.E164)
	return e164, classOf(num, home)
}

func classOf(num *phonenumbers.PhoneNumber, home string) (c Class) {
	switch num.GetCountryCode() {
	case 870, 881, 882, 883:
		return Satellite | International
	case 979: // International Premium Rate Service
		return Premium | International
	}
	num = connected(num)
	if kind := phonenumbers.GetNumberType(num); kind == phonenumbers.UNKNOWN {
		c = begun(num)
	} else {
		c = classOfKind(kind)
	}
	if isAt(num, home) {
		return c | National
	}
	return c | International
}

func classOfKind(kind phonenumbers.PhoneNumberType) Class {
	switch kind {
	case phonenumbers.PREMIUM_RATE:
		return Premium
	case phonenumbers.SHARED_COST, phonenumbers.PERSONAL_NUMBER, phonenumbers.PAGER:
		return SharedCost
	case phonenumbers.MOBILE:
		return Mobile
	}
	return 0
}

// begun is the class of a number that lacks digits, which may follow once it is
// called: dear where it can become nothing else.
func begun(num *phonenumbers.PhoneNumber) (c Class) {
	digits := phonenumbers.Format(num, phonenumbers.E164)
	for _, next := range "0123456789" {
		for whole := digits; len(whole) <= maxE164; {
			whole += string(next)
			longer, err := phonenumbers.Parse(whole, "ZZ")
			if err != nil {
				continue
			}
			switch kind := phonenumbers.GetNumberType(longer); classOfKind(kind) {
			case Premium, SharedCost:
				c |= classOfKind(kind)
			default:
				if kind != phonenumbers.UNKNOWN {
					return 0
				}
			}
		}
	}
	return c
}

// maxE164 is how many digits a number has at most, with its country code.
const maxE164 = 15

// connected is the number that is reached: exchanges stop listening after the
// last digit that they need.
func connected(num *phonenumbers.PhoneNumber) *phonenumbers.PhoneNumber {
	digits := strings.TrimPrefix(phonenumbers.Format(num, phonenumbers.E164), "+")
	for n := len(digits); n > 5; n-- {
		shorter, err := phonenumbers.Parse("+"+digits[:n], "ZZ")
		if err == nil && phonenumbers.IsValidNumber(shorter) {
			return shorter
		}
	}
	return num
}

// isAt reports whether a number is one of the country's.
func isAt(num *phonenumbers.PhoneNumber, home string) bool {
	if home == "" || int(num.GetCountryCode()) != phonenumbers.GetCountryCodeForRegion(home) {
		return false
	}
	// Jamaica is not the United States, though both are +1.
	return len(phonenumbers.GetRegionCodesForCountryCode(int(num.GetCountryCode()))) == 1 ||
		phonenumbers.IsValidNumberForRegion(num, home)
}

// emergency reports whether digits are an emergency number. Without a country
// those count that each mobile phone knows (3GPP TS 22.101 §10.1.1).
func emergency(digits, home string) bool {
	if home == "" {
		return digits == "112" || digits == "911"
	}
	return phonenumbers.IsEmergencyNumber(digits, home)
}

// premiumShort reports whether a number that only the country itself knows is a
// premium one.
func premiumShort(digits, home string) bool {
	// 118 are directory enquiries in Europe, which put calls through at their
	// price; the library lists them for some countries only.
	if strings.HasPrefix(digits, "118") && len(digits) >= 5 {
		return true
	}
	return premiumShortCodes[home].matches(digits)
}

// shortCodes are the premium short numbers of a country, as the library
// describes them.
type shortCodes struct{ desc *phonenumbers.PhoneNumberDesc }

func (s shortCodes) matches(digits string) bool {
	return s.desc != nil && phonenumbers.MatchNationalNumber(digits, s.desc, false)
}

var premiumShortCodes = func() map[string]shortCodes {
	m := map[string]shortCodes{}
	list, err := phonenumbers.ShortNumberMetadataCollection()
	if err != nil {
		return m // it is part of the program
	}
	for _, region := range list.GetMetadata() {
		switch region.GetId() {
		case "US", "CA": // text messages, which would be many an extension
		default:
			m[region.GetId()] = shortCodes{region.GetPremiumRate()}
		}
	}
	return m
}()

// nationalPrefix is what stands before a number within its country, "" for
// nothing, and whether it must.
func nationalPrefix(home string) string { return phonenumbers.GetNddPrefixForRegion(home, true) }

// countryCode is the calling code of a country, "49".
func countryCode(home string) string { return strconv.Itoa(phonenumbers.GetCountryCodeForRegion(home)) }
