package main

import (
	"context"
	"os/signal"
	"syscall"

	"sipxrest/cmd/sipxrest/check"
)

type checkCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`

	User        []string `placeholder:"NAME" help:"Try this user's SIP password at each proxy, without calling anybody. May be given several times."`
	ServiceUser string   `placeholder:"NAME" default:"sipxrest" help:"As whom the service runs: when root checks, whether that user may read the files."`
	JSON        bool     `name:"json" help:"Print one JSON object for each finding."`
}

// Help is what check --help adds.
func (*checkCommand) Help() string {
	return `Loads the configuration, the users and the certificates, tries the ports, looks the
domain up in DNS, and sends OPTIONS to each proxy. The service may be running
meanwhile: its own ports are known. With --user the proxies are asked what is
registered for a user (REGISTER without a Contact), which takes his SIP password
and changes nothing. The exit code is 1 if there is a problem.

Examples:

  sudo sipxrest check
  sudo sipxrest check --user 201
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
	if !check.Run(ctx, src, w.stdout, check.Options{JSON: c.JSON, Users: c.User, ServiceUser: c.ServiceUser}) {
		return errFailed
	}
	return nil
}
