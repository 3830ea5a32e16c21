package main

import (
	"cmp"
	"context"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"sipxrest/cmd/sipxrest/check"
)

type dispatchCommand struct {
	Try dispatchTryCommand `cmd:"" help:"Find the rule of a call, ask its webhook and print what would become of the call."`
}

type dispatchTryCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`

	From   string `required:"" placeholder:"WHO" help:"Caller: number, user, user@host or SIP URI."`
	To     string `required:"" placeholder:"WHOM" help:"Called, likewise."`
	Trunk  string `placeholder:"NAME" help:"Trunk that the call comes by."`
	Source string `placeholder:"IP" help:"Address that it comes from, by which its trunk is found."`
	DryRun bool   `help:"Print the request, but do not send it."`
}

// Help is what dispatch try --help adds.
func (*dispatchTryCommand) Help() string {
	return `Prints the rule that the call has and why it has none of the others, the
request to the webhook, its answer, and what would become of the call. There is
no call. The exit code is 1 if no rule is for the call, or if the webhook fails
and the fallback would be taken.

Examples:

  sipxrest dispatch try --from +4930123456 --to 200 --source 192.0.2.7
  sipxrest dispatch try --from 201 --to 5000 --trunk carrier --dry-run`
}

// Run prints all that.
func (c *dispatchTryCommand) Run(w world) error {
	src, err := c.source(w)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	t, err := check.TryDispatch(ctx, src, check.DispatchTrial{From: c.From, To: c.To, Trunk: c.Trunk, Source: c.Source, Ask: !c.DryRun})
	if err != nil {
		return err
	}
	say := func(what, format string, args ...any) {
		fmt.Fprintf(w.stdout, "%-10s "+format+"\n", append([]any{what}, args...)...)
	}
	say("call", "from %s@%s to %s@%s, trunk %s", t.Call.FromUser, t.Call.FromHost, t.Call.ToUser, t.Call.ToHost, cmp.Or(t.Call.Trunk, "none"))
	if t.Prove {
		say("", "the caller must prove who it is by a SIP password (401)")
	}
	for _, r := range t.Considered {
		name := r.ID
		if r.Name != "" {
			name += " (" + r.Name + ")"
		}
		why := r.Why
		switch {
		case r.Taken:
			why = "this one"
		case why == "":
			why = "it fits, but another says more of the call"
		}
		say("rule", "%-24s %s: %s", name, r.Where, why)
	}
	if t.Request != "" {
		say("request", "%s", indented(t.Request))
	}
	if t.Answer != "" {
		say("answer", "after %v: %s", t.Took.Round(time.Millisecond), indented(t.Answer))
	}
	switch {
	case t.Decision == nil && t.Request != "":
		say("decision", "%s", t.Outcome())
		return nil
	case t.Decision == nil:
		say("decision", "%s", t.Outcome())
		return errFailed
	case t.Err != nil:
		say("failed", "%v", t.Err)
		say("fallback", "%s", t.Outcome())
		return errFailed
	}
	say("decision", "%s", t.Outcome())
	return nil
}

func indented(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n           ")
}
