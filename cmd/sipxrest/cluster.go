package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
)

type clusterCommand struct {
	Status clusterStatusCommand `cmd:"" help:"Show the nodes, their calls and leases, and whose files differ."`
	Drain  clusterDrainCommand  `cmd:"" help:"Have a node take no new calls; those in progress go on."`
	Fence  clusterFenceCommand  `cmd:"" help:"Have other nodes take the calls of a node that is dead."`
}

// Help is what cluster --help adds.
func (*clusterCommand) Help() string {
	return `They ask the service on this machine, which is found by its data-dir and must run:
any node of the cluster will do.`
}

type clusterStatusCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`

	JSON bool `name:"json" help:"Print one JSON object."`
}

// Help is what cluster status --help adds.
func (*clusterStatusCommand) Help() string {
	return `A node is live, draining (it takes no new calls), silent (not heard of lately) or
fenced (others have its calls). The lease is for how long it surely owns its calls;
it is renewed each second. "differs" means that its users, policies, dispatch rules
or trunks are not those of the node that was asked. The exit code is 1 if a node is
silent, or holds no lease, or has files that differ.`
}

// Run shows the nodes.
func (c *clusterStatusCommand) Run(w world) error {
	cfg, ctx, stop, err := c.load(w)
	if err != nil {
		return err
	}
	defer stop()
	status, err := app.AskCluster(ctx, cfg)
	if err != nil {
		return err
	}
	bad := false
	for _, n := range status.Nodes {
		bad = bad || n.State == "silent" || n.Differs || n.State != "fenced" && !n.Holds
	}
	if c.JSON {
		err = json.NewEncoder(w.stdout).Encode(status)
	} else {
		err = showCluster(w.stdout, status)
	}
	if err == nil && bad {
		err = errFailed
	}
	return err
}

func showCluster(w io.Writer, s app.ClusterStatus) error {
	fmt.Fprintf(w, "Cluster %s, %d nodes\n\n", s.Name, len(s.Nodes))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATE\tCALLS\tLEASE\tSTORE\tVERSION\tFILES\tINCARNATION")
	for _, n := range s.Nodes {
		name := n.Node
		if n.Self {
			name += " (this one)"
		}
		calls, lease, files := "?", "?", "same"
		if n.Answers {
			calls, lease = strconv.Itoa(n.Calls), "lapsed"
			if n.Holds {
				lease = (time.Duration(n.LeaseMS) * time.Millisecond).Round(100 * time.Millisecond).String()
			}
		}
		if n.Differs {
			files = "differ"
		}
		state := n.State
		if n.State == "silent" {
			state += " for " + (time.Duration(n.SilentMS) * time.Millisecond).Round(100*time.Millisecond).String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, state, calls, lease, cmp.Or(n.Store, "?"), n.Version, files, n.Incarnation)
	}
	return t.Flush()
}

type clusterDrainCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`

	Node string `arg:"" help:"Its name (cluster.node)."`
}

// Help is what cluster drain --help adds.
func (*clusterDrainCommand) Help() string {
	return `The node takes no new calls until it is started again, and /readyz says so: a
balancer sends them elsewhere. Before maintenance of the machine; a restart of the
service (systemctl restart sipxrest) drains by itself.`
}

// Run drains a node.
func (c *clusterDrainCommand) Run(w world) error {
	return order(w, &c.configFlags, "drain", c.Node, "takes no new calls.")
}

type clusterFenceCommand struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`

	Node string `arg:"" help:"Its name (cluster.node)."`
}

// Help is what cluster fence --help adds.
func (*clusterFenceCommand) Help() string {
	return `The other nodes do this by themselves five seconds after a node has fallen silent.
By hand it is for a node that renews its lease and yet does nothing. A node that is
alive notices that it was fenced, forgets its calls and begins anew without any.`
}

// Run fences a node.
func (c *clusterFenceCommand) Run(w world) error {
	return order(w, &c.configFlags, "fence", c.Node, "is fenced: other nodes take its calls.")
}

func order(w world, f *configFlags, what, node, done string) error {
	cfg, ctx, stop, err := f.load(w)
	if err != nil {
		return err
	}
	defer stop()
	if err := app.OrderNode(ctx, cfg, what, node); err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "Node %s %s\n", node, done)
	return nil
}

// load reads the configuration for a command that asks the running service.
func (f *configFlags) load(w world) (*config.Config, context.Context, context.CancelFunc, error) {
	src, err := f.source(w)
	if err != nil {
		return nil, nil, nil, err
	}
	cfg, err := config.Load(src)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	return &cfg, ctx, stop, nil
}
