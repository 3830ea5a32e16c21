package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rule is a rule as it is written: either Allow, Deny or Default is given. A
// term is a class, a number such as "+4930*" or "2??", or "@example.com".
type Rule struct {
	Allow, Deny []string
	// Default, "allow" or "deny", ends a list: what no rule matches.
	Default string
}

// compiled is a policy.
type compiled struct {
	rules []rule
	allow bool // what no rule matches
}

type rule struct {
	allow bool
	terms []term
}

// term is one condition of a rule: a class, a number or a domain.
type term struct {
	text    string
	class   Class
	number  string // '?' is any digit
	more    bool   // digits may follow
	domain  string // "example.com", or ".example.com" for what is below it
	isClass bool
}

// maxRules and maxTerms bound a policy: each call looks through it.
const (
	maxRules = 200
	maxTerms = 500
)

// compile reads the rules of one policy.
func (p *plan) compile(rules []Rule) (*compiled, error) {
	c := &compiled{}
	var errs []error
	if len(rules) == 0 {
		return nil, errors.New("it has no rules: write some, such as [{allow: [internal, emergency]}]")
	}
	if len(rules) > maxRules {
		return nil, fmt.Errorf("it has more than %d rules", maxRules)
	}
	n := 0
	for i, r := range rules {
		fault := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("rule %d: "+format, append([]any{i + 1}, args...)...))
		}
		terms := append(slices.Clone(r.Allow), r.Deny...)
		switch {
		case r.Default != "" && len(terms) > 0, len(r.Allow) > 0 && len(r.Deny) > 0:
			fault("write either allow, deny or default: each rule has one of them")
			continue
		case r.Default != "":
			if r.Default != "allow" && r.Default != "deny" {
				fault("default: %.20q: write allow or deny", r.Default)
			}
			if i != len(rules)-1 {
				fault("default must be the last one: rule %d is never reached", i+2)
			}
			if j, before := c.covered(term{class: Any, isClass: true}); before != "" {
				fault("default is never reached: rule %d (%s) matches everything", j, before)
			}
			c.allow = r.Default == "allow"
			continue
		case len(terms) == 0:
			fault("it is empty: write what it allows or denies, such as {deny: [premium]}")
			continue
		}
		next := rule{allow: len(r.Allow) > 0}
		for _, text := range terms {
			if n++; n > maxTerms {
				return nil, fmt.Errorf("it has more than %d terms", maxTerms)
			}
			t, err := p.term(text)
			if err != nil {
				fault("%w", err)
				continue
			}
			if j, before := c.covered(t); before != "" {
				fault("%s is never reached: rule %d (%s) matches it before", text, j, before)
			}
			next.terms = append(next.terms, t)
		}
		c.rules = append(c.rules, next)
	}
	return c, errors.Join(errs...)
}

// term reads one term.
func (p *plan) term(text string) (t term, err error) {
	t.text = text
	if class, ok := parseClass(text); ok {
		t.class, t.isClass = class, true
		return t, nil
	}
	if domain, ok := strings.CutPrefix(text, "@"); ok {
		t.domain = strings.ToLower(strings.TrimPrefix(domain, "*"))
		if strings.Trim(t.domain, ".") == "" || strings.ContainsAny(t.domain, "*?@ /;") {
			return t, fmt.Errorf("%.40q: write @example.com, or @*.example.com for all below it", text)
		}
		return t, nil
	}
	number, more := strings.CutSuffix(text, "*")
	number = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -./()", r) {
			return -1
		}
		return r
	}, number)
	if number == "" || strings.Trim(number, "+0123456789?") != "" || strings.LastIndexByte(number, '+') > 0 {
		if strings.Trim(text, "abcdefghijklmnopqrstuvwxyz-") == "" {
			return t, fmt.Errorf("%.40q is not a class: there are %s", text, strings.Join(ClassNames(), ", "))
		}
		return t, fmt.Errorf("%.40q is neither a class nor a number nor a domain: write premium, +4930*, 2?? or @example.com", text)
	}
	t.number, t.more = p.patternOf(number), more
	if strings.HasPrefix(t.number, "+") && len(t.number) < 7 && !more {
		return t, fmt.Errorf("%q is not a whole number: write %q for all that begin so", text, text+"*")
	}
	return t, nil
}

// patternOf writes a number of a rule in international form, as those are that
// it is compared with: "0900" means numbers that are dialled otherwise, too.
func (p *plan) patternOf(number string) string {
	if strings.HasPrefix(number, "+") {
		return number
	}
	for _, prefix := range p.InternationalPrefixes {
		if rest, ok := strings.CutPrefix(number, prefix); ok {
			return "+" + rest
		}
	}
	if p.Country == "" {
		return number
	}
	prefix := nationalPrefix(p.Country)
	if rest, ok := strings.CutPrefix(number, prefix); ok && prefix != "" && rest != "" && len(number) > 3 {
		return "+" + countryCode(p.Country) + rest
	}
	if len(number) > p.ExtensionDigits {
		return "+" + countryCode(p.Country) + number
	}
	return number
}

// match returns the first term that a reading has. A refused number is refused
// with more digits after it too: exchanges do not listen to those.
func (r *rule) match(g *Reading) string {
	for i := range r.terms {
		t := &r.terms[i]
		switch {
		case t.isClass:
			if g.Classes&t.class != 0 || t.class == Any || !r.allow && g.Classes&unknown != 0 && t.class&numberClasses != 0 {
				return t.text
			}
		case t.domain != "":
			if host, _, _ := strings.Cut(g.host, ":"); host != "" && (host == t.domain || t.domain[0] == '.' && strings.HasSuffix(host, t.domain)) {
				return t.text
			}
		case t.number[0] == '+':
			if begins(g.Number, t.number) && (t.more || !r.allow || len(g.Number) == len(t.number)) {
				return t.text
			}
		case g.Number == "" && (g.host == "" || !r.allow):
			if begins(g.Dialled, t.number) && (t.more || len(g.Dialled) == len(t.number)) {
				return t.text
			}
		}
	}
	return ""
}

// begins reports whether a number begins as the pattern does.
func begins(number, pattern string) bool {
	if len(number) < len(pattern) {
		return false
	}
	for i := range len(pattern) {
		if pattern[i] != number[i] && (pattern[i] != '?' || number[i] < '0' || number[i] > '9') {
			return false
		}
	}
	return true
}

// covered finds a term of an earlier rule that matches whatever t does.
func (c *compiled) covered(t term) (ruleNumber int, text string) {
	for i, r := range c.rules {
		for _, before := range r.terms {
			if before.covers(t, !r.allow) {
				return i + 1, before.text
			}
		}
	}
	return 0, ""
}

func (t term) covers(o term, denies bool) bool {
	switch {
	case t.isClass:
		return t.class == Any || o.isClass && o.class == t.class
	case t.domain != "":
		return o.domain == t.domain || t.domain[0] == '.' && o.domain != "" && strings.HasSuffix(o.domain, t.domain)
	case o.number == "":
		return false
	case !begins(strings.ReplaceAll(o.number, "?", "0"), t.number):
		return false
	}
	for i := range len(t.number) { // '?' of the other is more than a digit of ours
		if o.number[i] == '?' && t.number[i] != '?' {
			return false
		}
	}
	return t.more || denies && t.number[0] == '+' || len(o.number) == len(t.number) && !o.more
}
