package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sipxrest/internal/fault"
)

// Ready-made policies, by their names in a configuration.
const (
	Unrestricted    = "unrestricted"     // everything, even what cannot be understood
	NoPremium       = "no-premium"       // everything but premium and satellite numbers
	NoInternational = "no-international" // nor numbers of other countries
	LocalOnly       = "local-only"       // the own domain and emergency numbers
)

// readyMade are their rules.
var readyMade = map[string][]Rule{
	Unrestricted:    {{Default: "allow"}},
	NoPremium:       {{Allow: []string{"emergency"}}, {Deny: []string{"premium", "satellite"}}, {Default: "allow"}},
	NoInternational: {{Allow: []string{"emergency"}}, {Deny: []string{"premium", "satellite", "international"}}, {Default: "allow"}},
	LocalOnly:       {{Allow: []string{"emergency", "internal"}}, {Default: "deny"}},
}

// Config is what New needs.
type Config struct {
	// Domain is ours: its users are internal. Required.
	Domain string
	Dial   Dial
	// Policies are ordered lists of rules by name. The first rule that matches
	// decides; what none matches is refused unless the list ends with
	// {default: allow}. The ready-made ones need not be given.
	Policies map[string][]Rule
	// Default is the policy of everybody; empty: everybody may dial everything.
	Default string
	// Users are the policies of single users, by user name or alias.
	Users map[string]string
	// Known reports whether a user part is that of one of our users, or an alias.
	// It is internal then, whatever number it looks like. May be nil.
	Known func(user string) bool
}

// Book holds all policies. It is never changed; its methods may be called from
// any goroutine.
type Book struct {
	plan     plan
	policies map[string]*compiled
	normal   string
	users    map[string]string
}

// New compiles the policies. Its error joins one *fault.Fault for each mistake.
func New(cfg Config) (*Book, error) {
	b := &Book{plan: plan{Dial: cfg.Dial, domain: cfg.Domain, known: cfg.Known}, policies: map[string]*compiled{},
		normal: cfg.Default, users: cfg.Users}
	errs := b.plan.check()
	for name, rules := range readyMade {
		c, err := b.plan.compile(rules)
		if err != nil {
			panic(err) // a constant
		}
		b.policies[name] = c
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Policies)) {
		if readyMade[name] != nil {
			errs = append(errs, &fault.Fault{Key: "policies", Err: fmt.Errorf("%s is ready-made: give yours another name", name)})
			continue
		}
		if name == "" || len(name) > 64 || strings.ContainsAny(name, " \t\r\n,:@\"") {
			errs = append(errs, &fault.Fault{Key: "policies", Err: fmt.Errorf("%.80q is not a name: write a word, such as staff", name)})
			continue
		}
		c, err := b.plan.compile(cfg.Policies[name])
		for _, e := range flatten(err) {
			errs = append(errs, &fault.Fault{Key: "policies", Err: fmt.Errorf("%s: %w", name, e)})
		}
		b.policies[name] = c
	}
	if cfg.Default != "" {
		if err := b.Exists(cfg.Default); err != nil {
			errs = append(errs, &fault.Fault{Key: "policy", Err: err})
		}
	}
	for _, user := range slices.Sorted(maps.Keys(cfg.Users)) {
		if err := b.Exists(cfg.Users[user]); err != nil {
			errs = append(errs, &fault.Fault{Key: "policy-users", Err: fmt.Errorf("%s: %w", user, err)})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return b, nil
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// Exists says what is wrong with the name of a policy; nil when there is one.
func (b *Book) Exists(name string) error {
	if b.policies[name] != nil {
		return nil
	}
	return fmt.Errorf("there is no policy %.64q: there are %s", name, strings.Join(b.Names(), ", "))
}

// Names are those of all policies, sorted.
func (b *Book) Names() []string { return slices.Sorted(maps.Keys(b.policies)) }

// Default is the policy of everybody, empty for none.
func (b *Book) Default() string { return b.normal }

// InUse reports whether Config gives anybody a policy.
func (b *Book) InUse() bool { return b.normal != "" || len(b.users) > 0 }

// Users are the names to which Config.Users gives a policy, sorted.
func (b *Book) Users() []string { return slices.Sorted(maps.Keys(b.users)) }

// Of is the policy of a user who is known by these names; empty: there is none.
func (b *Book) Of(names ...string) string {
	if len(b.users) > 0 {
		for _, name := range names {
			if policy := b.users[name]; policy != "" {
				return policy
			}
		}
	}
	return b.normal
}

// Guesses reports whether a policy looks at classes of numbers that cannot be
// told in the national form, because Dial.Country is not set.
func (b *Book) Guesses(policy string) bool {
	c := b.policies[policy]
	if c == nil || b.plan.Country != "" {
		return false
	}
	for _, r := range c.rules {
		for _, t := range r.terms {
			if t.class&numberClasses != 0 && t.class != Any {
				return true
			}
		}
	}
	return false
}

// Refusal is the error of a target that may not be dialled.
type Refusal struct {
	Target  string // as it was read
	Policy  string
	Rule    int    // from 1; 0: no rule allows it
	Term    string // of the rule, "premium"
	Odd     string // why the target cannot be understood
	Unknown bool   // its country is not known
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("dialling %.64s is refused by policy %s", r.Target, r.Policy)
	switch {
	case r.Odd != "":
		return text + ": " + r.Odd
	case r.Rule == 0:
		text += ": no rule allows it"
	default:
		text += fmt.Sprintf(", rule %d: %s", r.Rule, r.Term)
	}
	if r.Unknown {
		text += " (set dial.country, that numbers without country code can be told apart)"
	}
	return text
}

// Verdict is what a policy says of one reading.
type Verdict struct {
	Reading
	Allowed bool
	Rule    int    // from 1; 0: the default
	Term    string // of the rule
}

// Check returns why a policy does not let a target be dialled: a SIP, SIPS or
// tel URI, or user@host as in one. Nil means that it does. Every reading of it
// must be allowed. Without a policy everything is.
func (b *Book) Check(policy, target string) error {
	if policy == "" || policy == Unrestricted {
		return nil
	}
	c := b.policies[policy]
	if c == nil {
		return &Refusal{Target: target, Policy: policy, Odd: "there is no such policy"}
	}
	list := b.plan.readings(target)
	for i := range list {
		if v := c.verdict(&list[i]); !v.Allowed {
			return &Refusal{Target: v.String(), Policy: policy, Rule: v.Rule, Term: v.Term, Odd: v.Odd, Unknown: v.Classes&unknown != 0}
		}
	}
	return nil
}

// Explain is what a policy says of each reading of a target.
func (b *Book) Explain(policy, target string) (list []Verdict) {
	c := b.policies[policy]
	for _, r := range b.plan.readings(target) {
		if c == nil {
			list = append(list, Verdict{Reading: r, Allowed: policy == ""})
			continue
		}
		list = append(list, c.verdict(&r))
	}
	return list
}

func (c *compiled) verdict(g *Reading) Verdict {
	if g.Odd != "" {
		return Verdict{Reading: *g, Allowed: len(c.rules) == 0 && c.allow}
	}
	for i := range c.rules {
		if text := c.rules[i].match(g); text != "" {
			return Verdict{Reading: *g, Allowed: c.rules[i].allow, Rule: i + 1, Term: text}
		}
	}
	return Verdict{Reading: *g, Allowed: c.allow}
}
