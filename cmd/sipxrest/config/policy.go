package config

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/fault"
	"sipxrest/internal/setting"
	"sipxrest/policy"
	"sipxrest/restauth"
)

// PolicyConfig is what says who may dial what, as its package wants it. known
// reports whether a name is a user's; nil: none is.
func (c *Config) PolicyConfig(known func(string) bool) policy.Config {
	return policy.Config{Domain: c.Domain, Dial: c.Dial, Policies: c.Policies, Default: c.Policy, Users: c.PolicyUsers, Known: known}
}

// LacksSecret says why the user that a key names cannot answer a challenge; "" if
// he can, or none is named.
func (c *Config) LacksSecret(users *restauth.Users, key, name string) string {
	if name == "" {
		return ""
	}
	u, ok := users.Lookup(name)
	switch {
	case !ok:
		return fmt.Sprintf("%s: there is no user %s", c.Origin(key), name)
	case !u.HasSIPSecret():
		return fmt.Sprintf("%s: user %s has no SIP password", c.Origin(key), u.Name)
	}
	return ""
}

// policies checks everything that says who may be dialled.
func (v *checks) policies() {
	_, err := policy.New(v.c.PolicyConfig(nil))
	for _, e := range Flatten(err) {
		var at *fault.Fault
		if errors.As(e, &at) {
			v.check(at.Key, at.Err)
		}
	}
}

// policies reads policies by name, each a list of rules.
func policies(p *map[string][]policy.Rule) setting.Field {
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		if v.Node.Kind != yaml.MappingNode {
			return errors.New("policies by name are expected here, such as {staff: [{deny: [premium]}, {default: allow}]}")
		}
		m := map[string][]policy.Rule{}
		for i := 0; i+1 < len(v.Node.Content); i += 2 {
			k, list := v.Node.Content[i], setting.Follow(v.Node.Content[i+1])
			if _, twice := m[k.Value]; twice {
				return &fault.Fault{Line: k.Line, Err: fmt.Errorf("%.64s is there twice", k.Value)}
			}
			if list.Kind != yaml.SequenceNode {
				return &fault.Fault{Line: list.Line, Err: fmt.Errorf("%.64s: a list of rules is expected here, such as [{deny: [premium]}, {default: allow}]", k.Value)}
			}
			rules := make([]policy.Rule, 0, len(list.Content))
			for n, item := range list.Content {
				r, err := oneRule(setting.Follow(item))
				if err != nil {
					return &fault.Fault{Line: item.Line, Err: fmt.Errorf("%.64s: rule %d: %w", k.Value, n+1, err)}
				}
				rules = append(rules, r)
			}
			m[k.Value] = rules
		}
		*p = m
		return nil
	}}
}

func oneRule(n *yaml.Node) (r policy.Rule, err error) {
	if n.Kind != yaml.MappingNode {
		return r, errors.New("write it as {allow: […]}, {deny: […]} or {default: deny}")
	}
	w := setting.Walk{Keys: []setting.Key{{Name: "allow", Field: setting.Texts(&r.Allow)}, {Name: "deny", Field: setting.Texts(&r.Deny)}, {Name: "default", Field: setting.Text(&r.Default)}}}
	w.Mapping("", n)
	if len(w.Errs) > 0 {
		return r, w.Errs[0]
	}
	return r, nil
}

// NoCountry says what a policy refuses for want of a country.
func NoCountry(name string) string {
	return "policy " + name + " refuses numbers without a country code (0900…), for dial.country is not set: write your country there, such as DE"
}
