package main

import (
	"cmp"
	"fmt"

	"sipxrest/cmd/sipxrest/check"
)

type policyCommand struct {
	Try tryCommand `cmd:"" help:"Say what a number is and whether a user may dial it."`
}

type tryCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`

	User   string `placeholder:"NAME" help:"Whose policy. Default: everybody's."`
	Target string `arg:"" help:"Number, user, user@host or SIP URI."`
}

// Help is what policy try --help adds.
func (*tryCommand) Help() string {
	return `Prints each number that the target may mean, its classes, and the rule that
decides. All of them must be allowed. The exit code is 1 if it is refused.

Examples:

  sipxrest policy try 0044909879001
  sipxrest policy try --user 201 '+1 (900) 555-1234'
  sipxrest policy try --set policy=no-premium --set dial.country=DE 'sip:09001234567@sipx.test'`
}

// Run prints the readings and the verdict.
func (c *tryCommand) Run(w world) error {
	src, err := c.source(w)
	if err != nil {
		return err
	}
	t, err := check.TryPolicy(src, c.User, c.Target)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "%-10s %s, policy %s\n", "user", cmp.Or(t.User, "everybody"), cmp.Or(t.Policy, "none"))
	told := map[string]bool{}
	for _, v := range t.Verdicts {
		verdict := "refused"
		if v.Allowed {
			verdict = "allowed"
		}
		switch {
		case v.Odd != "":
			verdict += ": " + v.Odd
		case v.Rule > 0:
			verdict += fmt.Sprintf(" by rule %d: %s", v.Rule, v.Term)
		case t.Policy != "":
			verdict += ": no rule matches"
		}
		// A number that is reached by two spellings of what was dialled is told once.
		if line := fmt.Sprintf("%-10s %-20s %-28s %s\n", "may mean", v.String(), v.Classes, verdict); !told[line] {
			told[line] = true
			fmt.Fprint(w.stdout, line)
		}
	}
	if t.Err != nil {
		fmt.Fprintf(w.stdout, "%-10s %v\n", "refused", t.Err)
		return errFailed
	}
	fmt.Fprintf(w.stdout, "%-10s %s\n", "allowed", c.Target)
	return nil
}
