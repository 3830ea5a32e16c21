package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/demo"
)

type demoCommand struct {
	Keep    bool `help:"Leave everything running after the call, for calls by curl, until Ctrl-C." xor:"play"`
	Cluster bool `help:"Show how a call outlives its node: three nodes and three stores, each a process, one of which is killed." xor:"play"`
	Verbose bool `short:"v" help:"Show the service's own log, too."`
}

// Help is what demo --help adds.
func (*demoCommand) Help() string {
	return `Starts a SIP proxy, two phones and the service on free ports of this machine,
makes one call through them as a client would, and explains each step. Nothing
leaves the machine, and no configuration is needed.

Examples:

    sipxrest demo
    sipxrest demo --keep
    sipxrest demo --cluster`
}

// Run makes the call. It fails unless the two phones were connected, and with --cluster unless the
// call has outlived its node.
func (c *demoCommand) Run(w world) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if c.Cluster {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		opts := demo.ClusterOptions{Program: program}
		if c.Verbose {
			opts.Logs = w.stderr
		}
		return demo.RunCluster(ctx, opts, w.stdout)
	}
	opts := demo.Options{Keep: c.Keep}
	if c.Verbose {
		opts.Log = app.Logger(config.Log{Level: "debug"}, w.stderr)
	}
	return demo.Run(ctx, opts, w.stdout)
}
