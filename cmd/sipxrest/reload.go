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

type reloadCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`
}

// Help is what reload --help adds.
func (*reloadCommand) Help() string {
	return `As SIGHUP does, but it waits for the outcome: the exit code is 1 if anything could
not be read, which then stays as it was. Keys that have changed and wait for a
restart are named. The service is found by its data-dir.

Examples:

  sipxrest reload
  sipxrest reload --config /etc/sipxrest/sipxrest.yaml`
}

// Run asks the service.
func (c *reloadCommand) Run(w world) error {
	src, err := c.source(w)
	if err != nil {
		return err
	}
	cfg, err := config.Load(src)
	if err != nil {
		return fmt.Errorf("not reloaded: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	waiting, err := app.AskReload(ctx, cfg)
	if len(waiting) > 0 {
		fmt.Fprintf(w.stdout, "Changed keys that wait for a restart: %s\n", strings.Join(waiting, ", "))
	}
	if err != nil {
		return fmt.Errorf("not reloaded: %w", err)
	}
	fmt.Fprintln(w.stdout, "Reloaded.")
	return nil
}
