package policy

import (
	"errors"
	"strings"
	"testing"
)

// Every spelling of a premium number that somebody's gateway would dial.
func TestAPremiumNumberIsRefusedInEverySpelling(t *testing.T) {
	for _, tt := range []struct {
		name    string
		setup   []func(*Config)
		targets []string
	}{
		{"German", nil, []string{
			"+499001234567", "00499001234567", "011499001234567", "09001234567", "499001234567", "9001234567",
			"%2B499001234567", "%252B499001234567", "%2525252B499001234567", "%30%39001234567",
			"+49-900-123.45(67)", "+49%20900%201234567", "(0)9001234567", "0900/1234567", "+49 (0) 900 1234567", "+4909001234567",
			"0049(0)9001234567",
			"0-9-0-0-1-2-3-4-5-6-7", ".09001234567", "-09001234567", "'09001234567", "!09001234567", "/09001234567",
			"+499001234567@sipx.test", "09001234567@SIPX.Test", "09001234567@sipx.test.", "09001234567@sipx.test:5060", "09001234567@sipx.test:5090",
			"09001234567@192.0.2.1", "09001234567@gateway.example", "09001234567@[2001:db8::1]", "09001234567@sipx.test;maddr=192.0.2.1",
			"sip:09001234567@sipx.test", "SIP:09001234567@sipx.test", "sips:+499001234567@sipx.test", "sip:sip:09001234567@sipx.test",
			"sip:tel:09001234567",
			"tel:+49-900-1234567", "TEL:+499001234567", "tel:09001234567;phone-context=+49", "tel:1234567;phone-context=+49900",
			"tel:1234567;phone-context=%2B49-900", "tel:9001234567;phone-context=+49", "tel:201;rn=+499001234567",
			"sip:201;rn=+499001234567@sipx.test",
			"tel:+499001234567;isub=123", "tel:+499001234567;ext=5", "tel:+499001234567;postd=pp22",
			"sip:+499001234567;isub=1@sipx.test;user=phone", "sip:09001234567;phone-context=sipx.test@sipx.test;user=phone",
			"sip:09001234567%3Bphone-context=+49@sipx.test", "sip:1234567%3Bphone-context=+49900@sipx.test", "sip:09001234567:pw@sipx.test",
			"sip:09001234567",
			"09001234567p123", "09001234567,,1", "09001234567w1", "0900,1234567", "0900p1234567", "0900w1234567", "p09001234567", "T09001234567",
			"w,09001234567",
			"09001234567x12", "0900FLOWERS", "0900-1flower",
			"000499001234567", "0000499001234567", "000900123456 7", "+0499001234567", "+00499001234567", "++499001234567", "+ +499001234567",
			"09001234567999", "+4990012345678888888888888888888", "0900123456789012345678901234567890",
			"*31#09001234567", "*3109001234567", "#31#+499001234567", "*67*09001234567", "**2109001234567#", "*21*09001234567#",
			"0900+499001234567", "201+499001234567",
			"٠٩٠٠١٢٣٤٥٦٧", "０９００１２３４５６７", "＋４９９００１２３４５６７", "०९००१२३४५६७", "𝟎𝟗𝟎𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕", "0٩001234567", "%D9%A0%D9%A9001234567", "0⁹001234567",
			"0⓽001234567", "0900\u200b1234567",
			"0900\u00a01234567", "0\u20de9001234567", "0900ü1234567", "0900é1234567", "⁺499001234567", "➕499001234567", "0900\u20101234567",
			" 09001234567 ", "09001234567@", "09001234567@@sipx.test", "201@sipx.test@09001234567", "<sip:09001234567@sipx.test>",
			"alice%40gateway@sipx.test", strings.Repeat("0", 60) + "9001234567", strings.Repeat("1*", 20) + "09001234567",
			strings.Repeat("1+", 20) + "09001234567", "alice%2540gateway@sipx.test",
			"sip:201@sipx.test?Route=%3Csip:+499001234567@gw%3E", "sip:201@sipx.test?r%6Fute=x",
			"sip:09001234567@sipx.test?Replaces=a%3Bto-tag=1%3Bfrom-tag=2",
			"sip:201@sipx.test?Subject=x&To=sip:09001234567@sipx.test", "urn:service:premium", "http://evil/",
			"tel:+44-909-8790001", "00449098790001", "+19005551234", "0019005551234", "+979123456789", "+881612345678", "00870773123456",
			"+8821612345678",
			"+49900", "+4990012", "0900123", "tel:+49-900-1", "+1900", "+1900555", "+44909", "0900123@sipx.test", // digits may follow
			"11833", "118000", "+1 (900) 555-1234 99",
		}},
		{"with an outside line", []func(*Config){func(c *Config) { c.Dial.OutsideLine = []string{"0", "9"} }}, []string{
			"009001234567", "09001234567", "909001234567", "0+499001234567", "000499001234567", "900499001234567", "9+499001234567", "9,09001234567",
			"0-0900-1234567", "9 0 900 1234567",
			"9118 33", "011833",
		}},
		{"American", []func(*Config){country("us")}, []string{
			"9005551234", "900555", "1900555", "19005551234", "+19005551234", "01119005551234", "0019005551234", "1-900-555-1234", "1 900 FLOWERS",
			"+119005551234", "1900555123499",
			"*6719005551234", "*67,1,900,555,1234", "*729005551234", "011499001234567", "+499001234567", "011881612345678", "1-900-555-1234;ext=3",
			"011449098790001",
		}},
		{"American with an outside line", []func(*Config){country("US"), func(c *Config) { c.Dial.OutsideLine = []string{"9"} }}, []string{
			"919005551234", "99005551234", "9,1,900,555,1234", "901119005551234", "*67919005551234",
		}},
		{"without a country", []func(*Config){country("")}, []string{
			"+499001234567", "00499001234567", "011499001234567", "09001234567", "9005551234", "19005551234", "499001234567", "0900x1234567",
		}},
		{"Australian", []func(*Config){country("AU")}, []string{"0011499001234567", "1900654321", "+611900654321", "00499001234567"}},
		{"Brazilian", []func(*Config){country("BR")}, []string{"0900123456", "+55900123456", "0021499001234567"}},
		{"Japanese", []func(*Config){country("JP")}, []string{"0990504567", "+81990504567", "010499001234567"}},
		{"Italian", []func(*Config){country("IT")}, []string{"899123456", "+39899123456", "0039899123456"}},
	} {
		b := book(t, tt.setup...)
		for _, target := range tt.targets {
			var refused *Refusal
			if err := b.Check(NoPremium, target); !errors.As(err, &refused) {
				t.Errorf("%s: %q would be dialled: %+v", tt.name, target, b.plan.readings(target))
			}
		}
	}
}

func TestWhatNoPremiumLetsThrough(t *testing.T) {
	for _, tt := range []struct {
		setup   []func(*Config)
		targets []string
	}{
		{nil, []string{
			"201", "bob", "alice", "anna.müller", "4711", "201@sipx.test", "sip:201@SIPX.test;user=phone", "112", "110", "*98", "*4201", "#21#",
			"201a",
			"+4930123456", "004930123456", "030123456", "30123456", "12345678", "+1 212 555 1234", "0012125551234", "tel:+49-30-12", "tel:+493012",
			"01712345678", "+491712345678", "0800 1234567", "01805123456", "someone@example.org", "201@example.org", "sip:example.org",
			"4930123456789",
			"sip:201@sipx.test?Replaces=a%40b%3Bto-tag=x", "tel:201;phone-context=sipx.test", "sip:conf-900@sipx.test", "team900", "+493012345,,900",
			"+4930", "+49654321", "+49151", "+1800", "+491371", "654321",
		}},
		{[]func(*Config){country("US")}, []string{
			"2125551234", "12125551234", "+12125551234", "8705551234", "9795551234", "011493012345678", "911", "5551234", "*672125551234",
			"18005551234", "4155",
		}},
		{[]func(*Config){country("")}, []string{"+4930123456", "0012125551234", "112", "911", "201", "bob", "x@y.example"}},
		{[]func(*Config){func(c *Config) { c.Dial.OutsideLine = []string{"0"} }}, []string{"0112", "0030123456", "0004930123456", "030123456",
			"201"}},
	} {
		b := book(t, tt.setup...)
		for _, target := range tt.targets {
			if err := b.Check(NoPremium, target); err != nil {
				t.Errorf("%v, though it is %+v", err, b.plan.readings(target))
			}
		}
	}
}

func TestLocalOnlyKeepsCallsInside(t *testing.T) {
	b := book(t)
	for target, want := range map[string]bool{
		"201": true, "bob": true, "112": true, "99999": true, "201@sipx.test": true, "*98": true, "4930123456789": true,
		"tel:201;phone-context=sipx.test": true,
		"030123456":                       false, "+4930123456": false, "201@example.org": false, "sip:201@sipx.test:5090": false,
		"sip:201@sipx.test;maddr=192.0.2.1": false,
		"201@192.0.2.1":                     false, "123456": false, "201;phone-context=+4930": false, "sip:example.org": false,
		"112@example.org": false, "bob@other": false,
	} {
		if got := b.Check(LocalOnly, target) == nil; got != want {
			t.Errorf("%s: allowed %v, want %v: %+v", target, got, want, b.plan.readings(target))
		}
	}
}

func TestNoInternationalTellsCountriesApart(t *testing.T) {
	for _, tt := range []struct {
		country, target string
		want            bool
	}{
		{"DE", "030123456", true}, {"DE", "+4930123456", true}, {"DE", "+4312345678", false}, {"DE", "004312345678", false},
		{"DE", "12345678", true},
		{"US", "8765551234", false}, {"US", "+18765551234", false}, {"US", "2125551234", true}, {"US", "18005551234", true},
		{"CA", "18005551234", true},
		{"GB", "+441534123456", false}, {"GB", "02079460000", true}, {"", "+4930123456", false}, {"", "201", true},
		{"US", "18765551234999", false},
		{"US", "112", true}, {"DE", "x@elsewhere.example", true},
	} {
		b := book(t, country(tt.country))
		if got := b.Check(NoInternational, tt.target) == nil; got != tt.want {
			t.Errorf("%s: %s: allowed %v, want %v: %+v", tt.country, tt.target, got, tt.want, b.plan.readings(tt.target))
		}
	}
}

func TestARefusalNamesNumberPolicyAndRule(t *testing.T) {
	b := book(t, func(c *Config) {
		c.Policies = map[string][]Rule{"staff": {{Allow: []string{"national"}}, {Deny: []string{"@evil.example"}}}}
	})
	for _, tt := range []struct{ policy, target, want string }{
		{NoPremium, "001-900-555-1234", "dialling +19005551234 is refused by policy no-premium, rule 2: premium"},
		{LocalOnly, "030123456", "dialling +4930123456 is refused by policy local-only: no rule allows it"},
		{"staff", "x@evil.example", "dialling x@evil.example is refused by policy staff, rule 2: @evil.example"},
		{NoPremium, "0⁹00", "dialling 0⁹00 is refused by policy no-premium: it has signs that are digits to some and not to others"},
		{"gone", "201", "dialling 201 is refused by policy gone: there is no such policy"},
	} {
		if err := b.Check(tt.policy, tt.target); err == nil || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	without := book(t, country(""))
	if err := without.Check(NoPremium, "09001234567"); err == nil || !strings.Contains(err.Error(), "set dial.country") {
		t.Errorf("the way out is not told: %v", err)
	}
	for _, policy := range []string{"", Unrestricted} {
		for _, target := range []string{"+19005551234", "0⁹00", "", "<x>"} {
			if err := b.Check(policy, target); err != nil {
				t.Errorf("without a policy: %v", err)
			}
		}
	}
}

// What is no call, or one whose target only phones can tell, is refused by every
// policy that refuses anything.
func TestWhatIsNoSIPCallIsRefusedByEveryPolicy(t *testing.T) {
	b := book(t, func(c *Config) {
		c.Policies = map[string][]Rule{"staff": {{Allow: []string{"any"}}}}
	})
	for _, target := range []string{
		"callto:201", "callto:+499001234567", "CallTo:09001234567@sipx.test", "h323:201", "h323:9001", "h323:09001234567@gw.example",
		"im:201@sipx.test", "pres:201@sipx.test",
		"mailto:201@sipx.test", "cid:list@sipx.test", "xmpp:bob@sipx.test", "http://sipx.test/201", "https://201@sipx.test", "data:,201",
		"urn:service:sos", "sms:201", "skype:bob", "c%61llto:201",
		"sip:callto:201@sipx.test", "sip:h323:09001234567@sipx.test", "sip:201:secret@sipx.test", "sip:callto%3A201@sipx.test", "201:5060",
		"callto:201@sipx.test?Subject=x",
		"sip:201@sipx.test;method=REFER", "sip:201@sipx.test;METHOD=message", "sip:201@sipx.test;me%74hod=%52EFER",
		"sip:201;method=SUBSCRIBE@sipx.test", "sip:201;method=BYE", "sip:201@sipx.test;method=", "tel:201;method=REFER",
		"sip:201@sipx.test;method=INVITE;method=REFER", "sip:201@sipx.test;user=phone;method=REFER?Refer-To=%3Csip:09001234567@sipx.test%3E",
		"sip:201@sipx.test?Refer-To=sip:09001234567@sipx.test", "sip:201@sipx.test?r=sip:09001234567@sipx.test", "sip:201@sipx.test?%52efer-To=x",
		"sip:201@sipx.test?Replaces=a&Contact=x",
		"sip:201@sipx.test?From=sip:boss@sipx.test", "sip:201@sipx.test?P-Asserted-Identity=x", "sip:201@sipx.test?Diversion=x",
		"sip:201@sipx.test?Answer-Mode=Auto", "sip:201@sipx.test?Alert-Info=x",
		"sip:201@sipx.test?body=v%3D0", "sip:201@sipx.test?Via=x", "sip:201@sipx.test?Authorization=x", "sip:201@sipx.test?Call-ID=x",
		"sip:201@sipx.test?%25252552oute=x", "sip:201@sipx.test?y=x",
	} {
		for _, policy := range []string{NoPremium, NoInternational, LocalOnly, "staff"} {
			var refused *Refusal
			if err := b.Check(policy, target); !errors.As(err, &refused) || refused.Odd == "" || len(refused.Odd) > 150 {
				t.Errorf("%s: %q would be called: %v, %+v", policy, target, err, b.plan.readings(target))
			}
		}
		for _, policy := range []string{"", Unrestricted} {
			if err := b.Check(policy, target); err != nil {
				t.Errorf("%q: %v", policy, err)
			}
		}
	}
	for _, target := range []string{
		"201", "201@sipx.test", "sip:201@sipx.test:5060", "sips:201@sipx.test;transport=tls", "sip:201@sipx.test;method=INVITE",
		"sip:201@sipx.test;Method=invite;user=phone",
		"sip:201@sipx.test?Replaces=a%40b%3Bto-tag%3Dx%3Bfrom-tag%3Dy&Require=replaces",
		"sip:201@sipx.test?Subject=a%3Ab&X-ConfPin=1234&User-to-User=00", "tel:201;phone-context=sipx.test", "sip:201@sipx.test?",
	} {
		for _, policy := range []string{NoPremium, NoInternational, LocalOnly, "staff"} {
			if err := b.Check(policy, target); err != nil {
				t.Errorf("%s: %v", policy, err)
			}
		}
	}
}
