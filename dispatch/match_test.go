package dispatch

import (
	"io"
	"log/slog"
	"strings"
	"testing"
)

var testTrunks = []Trunk{{Name: "t1", Sources: []string{"192.0.2.1"}}, {Name: "t2", Sources: []string{"192.0.2.2"}}}

// newDispatcher reads rules and trunks t1 and t2.
func newDispatcher(t testing.TB, rules string, set func(*Config)) (*Dispatcher, error) {
	t.Helper()
	list, err := ParseRules([]byte(rules), "rules.yaml")
	if err != nil {
		return nil, err
	}
	cfg := Config{Rules: list, Trunks: testTrunks, RoomTarget: "sip:{room}@conf.example", Domain: "home.example", ExtensionDigits: 5}
	if set != nil {
		set(&cfg)
	}
	d, err := New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err == nil {
		t.Cleanup(func() { d.Close(t.Context()) })
	}
	return d, err
}

const specificRules = `
- {id: any, url: "https://a.example/"}
- {id: trunk, url: "https://a.example/", trunks: [t1]}
- {id: number, url: "https://a.example/", numbers: ["+49 (0)30 / 123-456"]}
- {id: both, url: "https://a.example/", trunks: [t1], numbers: [+4930123456]}
- {id: caller, url: "https://a.example/", inbound_numbers: ["+49 171 1"]}
- {id: all, url: "https://a.example/", trunks: [t1], numbers: [+4930123456], inbound_numbers: [+491711]}
- {id: name, url: "https://a.example/", numbers: [Support]}
`

func TestTheMostSpecificRuleWins(t *testing.T) {
	d, err := newDispatcher(t, specificRules, func(c *Config) { c.Region = "DE" })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ trunk, to, from, want string }{
		{"", "999", "1", "any"},
		{"t1", "999", "1", "trunk"},
		{"t2", "999", "1", "any"},
		{"", "+4930123456", "1", "number"},
		{"t2", "030123456", "1", "number"},
		{"t1", "0049 30 123456", "1", "both"},
		{"t1", "+49-30-12.34(56)", "1", "both"},
		{"t1", "030 123456", "+491711", "all"},
		{"", "999", "+49(171)1", "caller"},
		{"t1", "999", "+491711", "trunk"},
		{"", "+4930123456", "+491711", "number"},
		{"", "sUPPORT", "x", "name"},
		{"", "su%70port", "x", "name"},
		{"", "4930123456", "1", "number"}, // 49 is the country of the region
	} {
		r := d.now.Load().table.find(&Call{Trunk: c.trunk, ToUser: c.to, FromUser: c.from})
		if r == nil || r.ID != c.want {
			t.Errorf("%+v: %v", c, r)
		}
	}
	if r := d.now.Load().table.find(&Call{}); r == nil || r.ID != "any" {
		t.Errorf("a call without users: %v", r)
	}
}

func TestNoRuleMatches(t *testing.T) {
	d, err := newDispatcher(t, `{id: one, url: "https://a.example/", trunks: [t1], numbers: ["1"]}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	st := d.now.Load()
	c := &Call{Trunk: "t2", ToUser: "2", FromUser: "3"}
	if r := st.table.find(c); r != nil {
		t.Errorf("%v", r.ID)
	}
	if got := st.table.why(st.table.rules[0], c); got != "trunk t2 is none of its trunks; 2 is none of its numbers" {
		t.Error(got)
	}
	if got := st.table.why(st.table.rules[0], &Call{Trunk: "t1", ToUser: "1"}); got != "" {
		t.Error(got)
	}
}

// A number as a gateway writes it inland is not found where nobody has said the country.
func TestANumberWithoutACountryIsTold(t *testing.T) {
	for _, c := range []struct{ rule, to, want string }{
		{`numbers: ["+4930123459"]`, "030123459",
			"030123459 is none of its numbers (of which country is it? set dial.country, or default_region of the rule)"},
		{`numbers: ["+4930123459"]`, "+4930123450", "+4930123450 is none of its numbers"},
		{`numbers: ["+4930123459"]`, "201", "201 is none of its numbers"},
		{`numbers: ["+4930123459"]`, "alice", "alice is none of its numbers"},
		{`numbers: ["5000"]`, "030123459", "030123459 is none of its numbers"},
		{`numbers: ["+4930123459"], default_region: DE`, "030123450", "+4930123450 is none of its numbers"},
		{`numbers: ["+4930123459"], default_region: DE`, "030123459", ""},
	} {
		d, err := newDispatcher(t, `{id: one, url: "https://a.example/", `+c.rule+`}`, nil)
		if err != nil {
			t.Fatal(err)
		}
		st := d.now.Load()
		if got := st.table.why(st.table.rules[0], &Call{ToUser: c.to}); got != c.want {
			t.Errorf("%s of %s:\n got %s\nwant %s", c.to, c.rule, got, c.want)
		}
	}
}

func TestATieIsAnErrorThatNamesBothRules(t *testing.T) {
	const u = `url: "https://a.example/"`
	for _, c := range []struct {
		name, rules string
		tie         string
	}{
		{"any", "- {id: a, " + u + "}\n- {id: b, " + u + "}",
			`rules.yaml:2: rule "b": it is for the same calls (any call) as rule "a" at rules.yaml:1`},
		{"one of several numbers", "- {id: a, " + u + `, numbers: ["1", "2"]}` + "\n- {id: b, " + u + `, numbers: ["2", "3"]}`, "(number 2)"},
		{"a number spelled otherwise", "- {id: a, " + u + `, numbers: ["+49 30 1234"]}` + "\n- {id: b, " + u +
			`, numbers: ["030/1234"], default_region: DE}`, "(number +49301234)"},
		{"trunk and number", "- {id: a, " + u + `, numbers: ["1"], trunks: [t1]}` + "\n- {id: b, " + u + `, numbers: ["1"], trunks: [t2, t1]}`,
			"(number 1, trunk t1)"},
		{"other trunks", "- {id: a, " + u + `, numbers: ["1"], trunks: [t1]}` + "\n- {id: b, " + u + `, numbers: ["1"], trunks: [t2]}`, ""},
		{"more specific", "- {id: a, " + u + `, numbers: ["1"]}` + "\n- {id: b, " + u + `, trunks: [t2]}`, ""},
		{"the same number twice in one rule", "- {id: a, " + u + `, numbers: ["1", "1"]}`, ""},
		{"id", "- {id: a, " + u + "}\n- {id: a, " + u + `, numbers: ["1"]}`, `rules.yaml:2: rule "a": id: rules.yaml:1 has the same`},
	} {
		_, err := newDispatcher(t, c.rules, nil)
		if c.tie == "" && err != nil || c.tie != "" && (err == nil || !strings.Contains(err.Error(), c.tie)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestNumbersAreEqualInEverySpelling(t *testing.T) {
	for _, c := range []struct{ region, text, want string }{
		{"", "+49 (30) 123-4.5/6", "+4930123456"},
		{"", "tel:+49-30-1", "+49301"},
		{"", "sip:+49301@host;user=phone", "+49301"},
		{"", "+4930123;npdi;x=y", "+4930123"},
		{"", "030 123", "030123"},
		{"", "%2B4930123", "+4930123"},
		{"DE", "030 123456", "+4930123456"},
		{"DE", "0049 30 123456", "+4930123456"},
		{"DE", "00 44 20 7946 0000", "+442079460000"},
		{"US", "(650) 253-0000", "+16502530000"},
		{"DE", "201", "201"},
		{"DE", "*21#", "*21#"},
		{"DE", "Alice", "alice"},
		{"DE", "", ""},
		{"DE", "anonymous", "anonymous"},
	} {
		if got := (numbering{c.region, 5}).normal(c.text); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.region, c.text, got, c.want)
		}
	}
}
