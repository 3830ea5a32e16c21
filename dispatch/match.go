package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A rule for a number goes before one for a trunk, one for both before either,
// and among those one for a caller before one for any. Each rule is put under
// every combination that it names, so that a call looks at eight places.

// want is what a rule asks of a call: "" is any.
type want struct{ number, trunk, caller string }

// rank orders what is asked: the more is named the higher.
func (w want) rank() int {
	r := 0
	for _, named := range []bool{w.number != "", w.trunk != "", w.caller != ""} {
		r <<= 1
		if named {
			r |= 1
		}
	}
	return r
}

// maxWants bounds what the rules name together.
const maxWants = 1_000_000

// table finds the rule of a call. It is never changed.
type table struct {
	rules   []*rule
	regions []string // every one that a rule has, once, in their order
	// byRegion has the numbers as normalised by that region.
	byRegion map[string]map[want]*rule
	digits   int // Config.ExtensionDigits
}

// named returns the rule with an id; nil if there is none.
func (t *table) named(id string) *rule {
	for _, r := range t.rules {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// newTable puts rules where calls find them. Two rules that a call could not
// choose from are an error that names both.
func newTable(rules []*rule, extensionDigits int) (*table, error) {
	t := &table{rules: rules, byRegion: map[string]map[want]*rule{}, digits: extensionDigits}
	all := map[want]*rule{}
	ids := map[string]*rule{}
	var errs []error
	for _, r := range rules {
		if before := ids[r.ID]; before != nil {
			errs = append(errs, fmt.Errorf("%s: rule %q: id: %s has the same: give each rule its own", r.Where(), r.ID, before.Where()))
			continue
		}
		ids[r.ID] = r
		wants := t.wants(r)
		if len(all)+len(wants) > maxWants {
			return nil, fmt.Errorf("%s: rule %q: the rules name more than %d combinations of trunks and numbers", r.Where(), r.ID, maxWants)
		}
		region := t.byRegion[r.DefaultRegion]
		if region == nil {
			region = map[want]*rule{}
			t.byRegion[r.DefaultRegion] = region
			t.regions = append(t.regions, r.DefaultRegion)
		}
		for _, w := range wants {
			if before := all[w]; before != nil && before != r {
				errs = append(errs, fmt.Errorf("%s: rule %q: it is for the same calls (%s) as rule %q at %s: one of them must name more, or go", r.Where(), r.ID, w, before.ID, before.Where()))
				break
			}
			all[w], region[w] = r, r
		}
	}
	return t, errors.Join(errs...)
}

// wants are all that a rule is for.
func (t *table) wants(r *rule) (list []want) {
	n := numbering{r.DefaultRegion, t.digits}
	numbers, callers := normals(n, r.Numbers), normals(n, r.InboundNumbers)
	trunks := r.Trunks
	if len(trunks) == 0 {
		trunks = []string{""}
	}
	for _, number := range numbers {
		for _, trunk := range trunks {
			for _, caller := range callers {
				list = append(list, want{number, trunk, caller})
				if len(list) > maxWants {
					return list
				}
			}
		}
	}
	return list
}

func normals(n numbering, numbers []string) []string {
	if len(numbers) == 0 {
		return []string{""}
	}
	out := make([]string, len(numbers))
	for i, number := range numbers {
		out[i] = n.normal(number)
	}
	return out
}

func (w want) String() string {
	var b []string
	for _, part := range [][2]string{{"number", w.number}, {"trunk", w.trunk}, {"caller", w.caller}} {
		if part[1] != "" {
			b = append(b, part[0]+" "+part[1])
		}
	}
	if b == nil {
		return "any call"
	}
	return strings.Join(b, ", ")
}

// find returns the rule of a call, nil if there is none.
func (t *table) find(c *Call) *rule {
	var best *rule
	rank := -1
	for _, region := range t.regions {
		n := numbering{region, t.digits}
		number, caller := n.normal(c.ToUser), n.normal(c.FromUser)
		rules := t.byRegion[region]
		for i := range 8 {
			w := want{}
			if i&4 != 0 {
				w.number = number
			}
			if i&2 != 0 {
				w.trunk = c.Trunk
			}
			if i&1 != 0 {
				w.caller = caller
			}
			if w.rank() != i { // the call has no such thing
				continue
			}
			if r := rules[w]; r != nil && i > rank {
				best, rank = r, i
			}
		}
	}
	return best
}

// why says why a rule is not the one of a call, "" if it could be.
func (t *table) why(r *rule, c *Call) string {
	n := numbering{r.DefaultRegion, t.digits}
	var out []string
	if len(r.Trunks) > 0 && !slices.Contains(r.Trunks, c.Trunk) {
		if c.Trunk == "" {
			out = append(out, "the call comes by no trunk")
		} else {
			out = append(out, "trunk "+c.Trunk+" is none of its trunks")
		}
	}
	if number := n.normal(c.ToUser); len(r.Numbers) > 0 && !slices.Contains(normals(n, r.Numbers), number) {
		out = append(out, number+" is none of its numbers"+n.doubt(number, r.Numbers))
	}
	if caller := n.normal(c.FromUser); len(r.InboundNumbers) > 0 && !slices.Contains(normals(n, r.InboundNumbers), caller) {
		out = append(out, "caller "+caller+" is none of its inbound_numbers")
	}
	return strings.Join(out, "; ")
}
