package main

import (
	"context"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
)

type healthCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`

	Ready bool `help:"Fail also while the service takes no new calls, as /readyz does."`
}

// Help is what health --help adds.
func (*healthCommand) Help() string {
	return `Asks the running service, which is found by its data-dir. The exit code is 1 if
none answers within five seconds. It needs no listener, shell or curl.

Examples:

  sipxrest health
  sipxrest health --ready`
}

// Run asks the service.
func (c *healthCommand) Run(w world) error {
	src, err := c.source(w)
	if err != nil {
		return err
	}
	cfg, err := config.Load(src)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	running, err := app.AskStatus(ctx, &cfg)
	if err != nil {
		return err
	}
	if c.Ready && len(running.NotReady) > 0 {
		return fmt.Errorf("not ready: %s", strings.Join(running.NotReady, "; "))
	}
	fmt.Fprintf(w.stdout, "%s runs as process %d.\n", running.Version, running.PID)
	return nil
}
