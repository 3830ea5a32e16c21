package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
)

type serveCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`

	ExampleConfig bool `help:"Print a commented configuration and exit."`
}

// Help is what serve --help adds.
func (*serveCommand) Help() string {
	return `Examples:

  sipxrest serve --example-config > sipxrest.yaml
  sipxrest serve --config sipxrest.yaml
  sipxrest serve --conf-dir /etc/sipxpbx
  sipxrest serve --set 'trusted=[10.0.0.0/8, domain]'
  SIPXREST_DOMAIN=pbx.example SIPXREST_USERS=users.yaml sipxrest

Signals: TERM and INT take no new calls and wait for those in progress until
"drain" is over, a second one hangs them up at once; HUP reads the users,
the policies and the certificates again.`
}

// Run serves until a signal ends it.
func (c *serveCommand) Run(w world) error {
	if c.ExampleConfig {
		_, err := fmt.Fprint(w.stdout, config.Example)
		return err
	}
	src, err := c.source(w)
	if err != nil {
		return err
	}
	cfg, err := config.Load(src)
	if err != nil {
		return err
	}
	// Before anything is started: a signal must not find the default action.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	return app.Serve(cfg, app.Logger(cfg.Log, w.stderr), signals)
}
