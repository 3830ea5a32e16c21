package main

import (
	"context"
	"os/signal"
	"syscall"

	"sipxrest/cmd/sipxrest/app"
)

type checkCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`

	JSON bool `name:"json" help:"Print one JSON object for each finding."`
}

// Help is what check --help adds.
func (*checkCommand) Help() string {
	return `Loads the configuration, the users and the certificates, looks the domain up in
DNS, and sends OPTIONS to each proxy. The service may be running meanwhile.
The exit code is 1 if there is a problem.

Examples:

  sipxrest check
  sipxrest check --conf-dir /etc/sipxpbx
  sipxrest check --json | jq 'select(.level == "problem")'`
}

// Run prints the findings.
func (c *checkCommand) Run(w world) error {
	src, err := c.source(w)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if !app.Check(ctx, src, w.stdout, c.JSON) {
		return errFailed
	}
	return nil
}
