package app

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/policy"
	"sipxrest/restauth"
	"sipxrest/sipflow"
	"sipxrest/sipflow/uri"
)

// Dialling says who may call whom. Its methods may be called from any
// goroutine.
type Dialling struct {
	log   *slog.Logger
	book  atomic.Pointer[policy.Book]
	users atomic.Pointer[restauth.Users] // nil until they are loaded
}

// NewDialling reads the policies of a configuration.
func NewDialling(cfg *config.Config, log *slog.Logger) (*Dialling, error) {
	d := &Dialling{log: log}
	book, err := policy.New(cfg.PolicyConfig(d.known))
	if err != nil {
		return nil, err // Validate has told it better
	}
	d.book.Store(book)
	return d, nil
}

// Policies are those that hold now.
func (d *Dialling) Policies() *policy.Book { return d.book.Load() }

func (d *Dialling) known(user string) bool {
	users := d.users.Load()
	if users == nil {
		return false
	}
	_, ok := users.Lookup(user)
	return ok
}

func (d *Dialling) exists(name string) error { return d.book.Load().Exists(name) }

// Of is the policy of a user: his own, that of policy-users, or everybody's.
func (d *Dialling) Of(name, identity string) string {
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

// Account is a user as SIP servers know him; the zero Account if there is none.
func (d *Dialling) Account(name string) sipflow.Account {
	u, ok := d.users.Load().Lookup(name)
	if !ok {
		return sipflow.Account{}
	}
	user, host, _ := strings.Cut(u.Identity, "@")
	return sipflow.Account{Address: string(uri.AppendUser(nil, user)) + "@" + host, Credentials: u.SIP()}
}

// allow is sipflow.Config.Allow.
func (d *Dialling) allow(spec *sipflow.Spec, target string) error {
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
		name = d.Of(user, spec.Agent)
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
func (d *Dialling) reload(next *config.Config) error {
	old := d.book.Load()
	var errs []error
	if next != nil {
		book, err := policy.New(next.PolicyConfig(d.known))
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
