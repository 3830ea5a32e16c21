package check

import (
	"fmt"
	"log/slog"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/policy"
	"sipxrest/restauth"
)

// policy says who may dial what.
func (c *checker) policy(cfg *config.Config, d *app.Dialling, users *restauth.Users) {
	book := d.Policies()
	single := 0
	inUse := map[string]bool{book.Default(): true}
	for u := range users.All() {
		if name := d.Of(u.Name, u.Identity); name != book.Default() {
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
			c.say(levelNote, "policy", "%s", config.NoCountry(name))
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

// A PolicyTrial is what TryPolicy found.
type PolicyTrial struct {
	User, Policy string // Policy is empty for none
	Verdicts     []policy.Verdict
	Err          error // why the target is refused
}

// TryPolicy tells what becomes of a target that a user wants to call, by the
// configuration of src.
func TryPolicy(src config.Source, user, target string) (*PolicyTrial, error) {
	cfg, err := config.Load(src)
	if err != nil {
		return nil, err
	}
	d, err := app.NewDialling(&cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	users, err := app.LoadUsers(&cfg, d)
	if err != nil {
		return nil, err
	}
	if _, ok := users.Lookup(user); user != "" && !ok {
		return nil, fmt.Errorf("there is no user %q in %s", user, cfg.UsersFrom())
	}
	book := d.Policies()
	t := &PolicyTrial{User: user, Policy: book.Default()}
	if user != "" {
		t.Policy = d.Of(user, "")
	}
	t.Verdicts, t.Err = book.Explain(t.Policy, target), book.Check(t.Policy, target)
	return t, nil
}
