package app

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/setting"
	"sipxrest/policy"
	"sipxrest/restauth"
	"sipxrest/sipflow"
	"sipxrest/sipflow/uri"
)

// dialling says who may call whom. Its methods may be called from any
// goroutine.
type dialling struct {
	log   *slog.Logger
	book  atomic.Pointer[policy.Book]
	users atomic.Pointer[restauth.Users] // nil until they are loaded
}

func newDialling(cfg *Config, log *slog.Logger) (*dialling, error) {
	d := &dialling{log: log}
	book, err := policy.New(cfg.policyConfig(d.known))
	if err != nil {
		return nil, err // Validate has told it better
	}
	d.book.Store(book)
	return d, nil
}

func (c *Config) policyConfig(known func(string) bool) policy.Config {
	return policy.Config{Domain: c.Domain, Dial: c.Dial, Policies: c.Policies, Default: c.Policy, Users: c.PolicyUsers, Known: known}
}

func (d *dialling) known(user string) bool {
	users := d.users.Load()
	if users == nil {
		return false
	}
	_, ok := users.Lookup(user)
	return ok
}

func (d *dialling) exists(name string) error { return d.book.Load().Exists(name) }

// of is the policy of a user: his own, that of policy-users, or everybody's.
func (d *dialling) of(name, identity string) string {
	book := d.book.Load()
	users := d.users.Load()
	if users != nil {
		if user, ok := users.Lookup(name); ok {
			if user.Policy != "" {
				return user.Policy
			}
			return book.Of(append([]string{user.Name, user.Identity}, user.Aliases...)...)
		}
	}
	return book.Of(name, identity)
}

// account is a user as SIP servers know him; the zero Account if there is none.
func (d *dialling) account(name string) sipflow.Account {
	u, ok := d.users.Load().Lookup(name)
	if !ok {
		return sipflow.Account{}
	}
	user, host, _ := strings.Cut(u.Identity, "@")
	return sipflow.Account{Address: string(uri.AppendUser(nil, user)) + "@" + host, Credentials: credentials(u)}
}

// lacksSecret says why the user that a key names cannot answer a challenge; "" if
// he can, or none is named.
func (c *Config) lacksSecret(users *restauth.Users, key, name string) string {
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

// allow is sipflow.Config.Allow.
func (d *dialling) allow(spec *sipflow.Spec, target string) error {
	book := d.book.Load()
	if spec.Policy == "" && !book.InUse() && !d.users.Load().HavePolicies() { // looking the user up costs more
		return nil
	}
	name := spec.Policy
	if name == "" {
		user := spec.Credentials.Username
		if spec.Converse != nil { // the credentials are everybody's
			user, _, _ = strings.Cut(spec.Agent, "@")
		}
		name = d.of(user, spec.Agent)
	}
	if name == "" {
		return nil
	}
	err := book.Check(name, target)
	var why *policy.Refusal
	if errors.As(err, &why) {
		d.log.Info("dialling refused", "agent", spec.Agent, "target", why.Target, "policy", why.Policy, "rule", why.Rule, "reason", err)
	}
	return err
}

// reload takes the policies of another configuration, nil for those that there
// are, and reads the users again. Users must not be left with policies that there
// are no longer.
func (d *dialling) reload(next *Config) error {
	old := d.book.Load()
	var errs []error
	if next != nil {
		book, err := policy.New(next.policyConfig(d.known))
		if err == nil {
			d.book.Store(book)
		} else {
			errs = append(errs, fmt.Errorf("policies: %w", err))
		}
	}
	errs = append(errs, d.users.Load().Reload())
	for user := range d.users.Load().All() {
		if user.Policy == "" {
			continue
		}
		if err := d.exists(user.Policy); err != nil {
			d.book.Store(old)
			errs = append(errs, fmt.Errorf("policies: user %s: %w", user.Name, err))
			break
		}
	}
	return errors.Join(errs...)
}

// policies checks everything that says who may be dialled.
func (v *checks) policies() {
	_, err := policy.New(v.c.policyConfig(nil))
	for _, e := range flatten(err) {
		var fault *policy.Fault
		if errors.As(e, &fault) {
			v.check(fault.Key, fault.Err)
		}
	}
}

// policies reads policies by name, each a list of rules.
func policies(p *map[string][]policy.Rule) field {
	return field{p, func(v value) error {
		if v.node.Kind != yaml.MappingNode {
			return errors.New("policies by name are expected here, such as {staff: [{deny: [premium]}, {default: allow}]}")
		}
		m := map[string][]policy.Rule{}
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			k, list := v.node.Content[i], setting.Follow(v.node.Content[i+1])
			if _, twice := m[k.Value]; twice {
				return &lineError{k.Line, fmt.Errorf("%.64s is there twice", k.Value)}
			}
			if list.Kind != yaml.SequenceNode {
				return &lineError{list.Line, fmt.Errorf("%.64s: a list of rules is expected here, such as [{deny: [premium]}, {default: allow}]", k.Value)}
			}
			rules := make([]policy.Rule, 0, len(list.Content))
			for n, item := range list.Content {
				r, err := oneRule(setting.Follow(item))
				if err != nil {
					return &lineError{item.Line, fmt.Errorf("%.64s: rule %d: %w", k.Value, n+1, err)}
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
	w := walk{keys: []key{{"allow", true, texts(&r.Allow)}, {"deny", true, texts(&r.Deny)}, {"default", false, text(&r.Default)}}}
	w.mapping("", n)
	if len(w.errs) > 0 {
		return r, w.errs[0]
	}
	return r, nil
}

// words reads a mapping of words to words, such as example.
func words(p *map[string]string, example string) field {
	return field{p, func(v value) error {
		if v.node.Kind != yaml.MappingNode {
			return errors.New("names are expected here, such as " + example)
		}
		m := map[string]string{}
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			k := v.node.Content[i]
			s, err := scalar(setting.Follow(v.node.Content[i+1]))
			if err != nil {
				return &lineError{k.Line, fmt.Errorf("%.64s: %w", k.Value, err)}
			}
			if _, twice := m[k.Value]; twice {
				return &lineError{k.Line, fmt.Errorf("%.64s is there twice", k.Value)}
			}
			m[k.Value] = s
		}
		*p = m
		return nil
	}}
}

// policy says who may dial what.
func (c *checker) policy(cfg *Config, d *dialling, users *restauth.Users) {
	book := d.book.Load()
	single := 0
	inUse := map[string]bool{book.Default(): true}
	for u := range users.All() {
		if name := d.of(u.Name, u.Identity); name != book.Default() {
			single++
			inUse[name] = true
		}
	}
	switch {
	case book.Default() == "" && single == 0:
		c.say(levelNote, "policy", "none: every user may dial every number. policy: no-premium keeps them from the dearest, local-only from all outside")
	case book.Default() == "":
		c.say(levelNote, "policy", "%s with one of their own; all others may dial every number", count(single, "user"))
	case single == 0:
		c.say(levelOK, "policy", "%s for everybody", book.Default())
	default:
		c.say(levelOK, "policy", "%s for everybody but %s with others", book.Default(), count(single, "user"))
	}
	for _, name := range book.Names() {
		if inUse[name] && name != book.Default() && book.Guesses(name) { // the default one is among the warnings
			c.say(levelNote, "policy", "%s", guesses(name))
		}
	}
	var strangers someNames
	for _, name := range book.Users() {
		if _, ok := users.Lookup(name); !ok {
			strangers.add(name)
		}
	}
	if strangers.count > 0 {
		c.say(levelNote, "policy", "%s: nobody of the users is called %s", cfg.Origin("policy-users"), strangers)
	}
}

func guesses(name string) string {
	return "policy " + name + " refuses numbers without a country code (0900…), for dial.country is not set: write your country there, such as DE"
}

// A Trial is what TryPolicy found.
type Trial struct {
	User, Policy string // Policy is empty for none
	Verdicts     []policy.Verdict
	Err          error // why the target is refused
}

// TryPolicy tells what becomes of a target that a user wants to call, by the
// configuration of src.
func TryPolicy(src Source, user, target string) (*Trial, error) {
	cfg, err := Load(src)
	if err != nil {
		return nil, err
	}
	d, err := newDialling(&cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	users, err := loadUsers(&cfg, d)
	if err != nil {
		return nil, err
	}
	if _, ok := users.Lookup(user); user != "" && !ok {
		return nil, fmt.Errorf("there is no user %q in %s", user, strings.Join(cfg.Users, ", "))
	}
	book := d.book.Load()
	t := &Trial{User: user, Policy: book.Default()}
	if user != "" {
		t.Policy = d.of(user, "")
	}
	t.Verdicts, t.Err = book.Explain(t.Policy, target), book.Check(t.Policy, target)
	return t, nil
}
