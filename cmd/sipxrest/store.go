package main

import (
	"context"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"sipxrest/cluster/store"
	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
)

type storeCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`
}

// Help is what store --help adds.
func (*storeCommand) Help() string {
	return `Keeps what the nodes of a cluster write: the states of calls, so that other nodes go
on with those of one that dies. It is a NATS server with JetStream, as a process of
its own, beside the service or on a machine without it. Three of them, on three
machines, survive the loss of one. Only the section "store" is read, and data-dir.

Signals: TERM and INT have other stores lead first, and end it.

Examples:

  sipxrest store --config /etc/sipxrest/sipxrest.yaml
  sipxrest store --set store.listen=10.0.0.5:4222 --set 'store.peers=[10.0.0.5, 10.0.0.6, 10.0.0.7]'
  systemctl enable --now sipxrest-store`
}

// Run keeps until a signal ends it.
func (c *storeCommand) Run(w world) error {
	src, err := c.source(w)
	if err != nil {
		return err
	}
	cfg, err := config.LoadStore(src)
	if err != nil {
		return err
	}
	sc, err := cfg.StoreConfig()
	if err != nil {
		return err
	}
	sc.Notify = func(state string) { _, _ = daemon.SdNotify(false, state) }
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := app.Logger(cfg.Log, w.stderr)
	for _, text := range cfg.StoreWarnings() {
		log.Warn(text)
	}
	return store.Run(ctx, sc, log)
}
