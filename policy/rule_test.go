package policy

import (
	"strings"
	"testing"
)

func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	b := book(t, func(c *Config) {
		c.Policies = map[string][]Rule{"staff": {
			{Allow: []string{"emergency", "+499001234567"}},
			{Deny: []string{"premium", "+4989*", "+12125551234", "25?", "@*.bad.example", "@evil.example"}},
			{Allow: []string{"internal", "national", "@example.org", "0012125*", "external-domain"}},
		}}
	})
	for target, want := range map[string]bool{
		"112": true, "0900 123 4567": true, "090012345678": false, "09001234568": false, "089123456": false, "030123456": true, "201": true,
		"255": false, "2555": true,
		"+12125551234": false, "+121255512349": false, "+12125551235": true, "+12135551235": false, "x@evil.example": false,
		"x@a.bad.example": false, "x@bad.example": true,
		"x@example.org": true, "030123456@example.org": true, "09001234568@example.org": false,
	} {
		if got := b.Check("staff", target) == nil; got != want {
			t.Errorf("%s: allowed %v, want %v: %+v", target, got, want, b.Explain("staff", target))
		}
	}
}

func TestWhatIsWrongWithRulesIsSaid(t *testing.T) {
	for _, tt := range []struct {
		rules []Rule
		want  string
	}{
		{nil, "policies: x: it has no rules"},
		{[]Rule{{}}, "policies: x: rule 1: it is empty"},
		{[]Rule{{Allow: []string{"any"}, Deny: []string{"premium"}}}, "rule 1: write either allow, deny or default"},
		{[]Rule{{Default: "maybe"}}, `rule 1: default: "maybe": write allow or deny`},
		{[]Rule{{Default: "deny"}, {Allow: []string{"any"}}}, "rule 1: default must be the last one: rule 2 is never reached"},
		{[]Rule{{Deny: []string{"premum"}}}, `rule 1: "premum" is not a class: there are emergency, premium,`},
		{[]Rule{{Deny: []string{"what?!"}}}, `"what?!" is neither a class nor a number nor a domain`},
		{[]Rule{{Deny: []string{"@"}}}, `"@": write @example.com`},
		{[]Rule{{Deny: []string{"+4990"}}}, `"+4990" is not a whole number: write "+4990*"`},
		{[]Rule{{Allow: []string{"any"}}, {Deny: []string{"premium"}}}, "rule 2: premium is never reached: rule 1 (any) matches it before"},
		{[]Rule{{Allow: []string{"any"}}, {Default: "deny"}}, "rule 2: default is never reached: rule 1 (any)"},
		{[]Rule{{Deny: []string{"premium"}}, {Allow: []string{"national", "premium"}}}, "rule 2: premium is never reached: rule 1 (premium)"},
		{[]Rule{{Deny: []string{"+49*"}}, {Allow: []string{"030123456"}}}, "rule 2: 030123456 is never reached: rule 1 (+49*)"},
		{[]Rule{{Deny: []string{"@*.example.com"}}, {Allow: []string{"@a.example.com"}}}, "rule 2: @a.example.com is never reached"},
		{[]Rule{{Deny: []string{"2??"}}, {Allow: []string{"20?"}}}, "rule 2: 20? is never reached"},
	} {
		_, err := New(Config{Domain: "sipx.test", Dial: Dial{Country: "DE"}, Policies: map[string][]Rule{"x": tt.rules}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.rules, err, tt.want)
		}
	}
	_, err := New(Config{Domain: "sipx.test", Dial: Dial{Country: "XX", InternationalPrefixes: []string{"+"}, OutsideLine: []string{"9x"},
		ExtensionDigits: 99}, Default: "no-premum",
		Users: map[string]string{"201": "none"}, Policies: map[string][]Rule{NoPremium: {{Default: "allow"}}, "a b": {{Default: "allow"}}}})
	for _, want := range []string{`dial.country: "XX" is not a country`, `dial.international-prefixes: "+": write digits`,
		`dial.outside-line: "9x"`, "dial.extension-digits: 99 is not between 1 and 12",
		`policy: there is no policy "no-premum": there are a b, local-only, no-international, no-premium, unrestricted`[:42],
		`policy-users: 201: there is no policy "none"`, "policies: no-premium is ready-made", `policies: "a b" is not a name`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// These do not cover each other.
	if _, err := New(Config{Domain: "sipx.test", Policies: map[string][]Rule{"x": {{Deny: []string{"20?", "+4930*", "@a.example"}},
		{Allow: []string{"2??", "+49*", "@*.example", "internal"}}}}}); err != nil {
		t.Error(err)
	}
}

func TestWhoHasWhichPolicy(t *testing.T) {
	b := book(t, func(c *Config) {
		c.Default = NoPremium
		c.Users = map[string]string{"201": LocalOnly, "bob": Unrestricted, "alice": Unrestricted}
	})
	for names, want := range map[string]string{"201 bob": LocalOnly, "200 alice": Unrestricted, "202": NoPremium, "": NoPremium} {
		if got := b.Of(strings.Fields(names)...); got != want {
			t.Errorf("%s: %s, want %s", names, got, want)
		}
	}
	if !book(t, country("")).Guesses(NoPremium) || book(t).Guesses(NoPremium) || book(t, country("")).Guesses(LocalOnly) {
		t.Error("Guesses")
	}
}
