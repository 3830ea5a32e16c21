package lab

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Nodes is how many nodes a cluster of the lab has, and how many stores.
const Nodes = 3

// ClusterConfig says what a cluster of the lab is like.
type ClusterConfig struct {
	// Farm says how its phones behave.
	Farm FarmConfig
	// Proxy is the SIP proxy's ip:port; empty: the phones themselves.
	Proxy string
	// SIPPort is the nodes' port for SIP; 0: one that is free.
	SIPPort int
	// More are further lines of each node's configuration, Keys further ones of its
	// section cluster.
	More, Keys []string
	// NodeWires has each node connect to the stores through wires of its own, StoreWires
	// the stores to each other.
	NodeWires, StoreWires bool
	// Idle starts the stores alone.
	Idle bool
}

// Cluster is three nodes and three stores, each the real program in a process of its
// own. Node and store number i have the address 127.0.0.(2+i).
type Cluster struct {
	*Lab
	Farm   *Farm
	Nodes  [Nodes]*Node
	Stores [Nodes]*Store

	cfg ClusterConfig
}

// Store is one store of a cluster.
type Store struct {
	*Process
	// Addr is where nodes connect. Route is where other stores do.
	Addr, Route string
	// Health is the URL of its /healthz.
	Health string
	// Wires are its connections to the others, if they are to be cut.
	Wires []*Wire

	lab    *Lab
	name   string
	config string
	dir    string
	starts int
}

// Node is one node of a cluster.
type Node struct {
	*Process
	// Name is what the cluster calls it, SIP its ip:port, URL the base of its HTTP
	// listener, which trusts everybody. Health is the base of /readyz and /metrics.
	Name, SIP, URL, Health string
	// Wires are its connections to the stores, if they are to be cut.
	Wires []*Wire

	lab    *Lab
	config string
	starts int
	paused bool
}

// address is that of node and store number i.
func address(i int) string { return fmt.Sprintf("127.0.0.%d", 2+i) }

// clusterPort returns a port that is free on every address of a cluster.
func clusterPort(tb testing.TB) int {
	tb.Helper()
	for range 1000 {
		port, all := Ports(tb, 1), true
		for i := range Nodes {
			all = all && freeAt(address(i), port)
		}
		if all {
			return port
		}
	}
	tb.Fatal("no port is free on all addresses of a cluster")
	return 0
}

// StartCluster starts three stores and three nodes, and waits until each node is ready.
func StartCluster(tb testing.TB, cfg ClusterConfig) *Cluster {
	tb.Helper()
	return Bare(tb).Cluster(cfg)
}

// Cluster is StartCluster in a lab that has a proxy and phones already, whose users are
// 200 to 209.
func (l *Lab) Cluster(cfg ClusterConfig) *Cluster {
	tb := l.tb
	tb.Helper()
	c := &Cluster{Lab: l, cfg: cfg}
	c.Farm = l.Farm(cfg.Farm)
	client, route, current := clusterPort(tb), clusterPort(tb), clusterPort(tb)
	for i := range c.Stores {
		name := fmt.Sprintf("store%d", i+1)
		c.Stores[i] = &Store{lab: c.Lab, name: name, Addr: at(i, client), Route: at(i, route), Health: "http://" + at(i, current),
			dir: filepath.Join(c.Dir, name)}
	}
	for i, s := range c.Stores {
		s.configure(c, i, at(i, current))
		s.Launch()
	}
	for _, s := range c.Stores {
		s.AwaitServing()
	}
	sip, http, health := cfg.SIPPort, clusterPort(tb), clusterPort(tb)
	if sip == 0 {
		sip = clusterPort(tb)
	}
	var users strings.Builder
	for user := 200; user <= 209; user++ {
		fmt.Fprintf(&users, "- {user: \"%d\", name: User %d, pin: %q, sip-password: %q}\n", user, user, Password, Password)
	}
	c.write("users.yaml", users.String())
	for i := range c.Nodes {
		n := &Node{lab: c.Lab, Name: fmt.Sprintf("node%d", i+1), SIP: at(i, sip), URL: "http://" + at(i, http), Health: "http://" + at(i, health)}
		n.configure(c, at(i, http), at(i, health))
		c.Nodes[i] = n
	}
	if cfg.Idle {
		return c
	}
	for _, n := range c.Nodes {
		n.Launch()
	}
	for _, n := range c.Nodes {
		n.AwaitReady()
	}
	return c
}

func at(i, port int) string { return net.JoinHostPort(address(i), strconv.Itoa(port)) }

func (s *Store) configure(c *Cluster, i int, health string) {
	_, port, _ := net.SplitHostPort(s.Route)
	var peers []string
	more := ""
	for j, other := range c.Stores {
		to := other.Route
		if c.cfg.StoreWires && i != j {
			w := c.Wire(to)
			s.Wires = append(s.Wires, w)
			to = w.Addr
			// What others tell of this store leads nowhere: who wants it has a wire.
			more = "  advertise: 127.0.0.9:9\n"
		}
		peers = append(peers, strconv.Quote(to))
	}
	s.config = c.write(s.name+".yaml", fmt.Sprintf("store:\n  listen: %q\n  route-port: %s\n  peers: [%s]\n  dir: %q\n  health: %q\n%s",
		s.Addr, port, strings.Join(peers, ", "), s.dir, health, more))
}

// Launch starts the program of a store without waiting for it.
func (s *Store) Launch() {
	s.lab.tb.Helper()
	s.starts++
	s.Process = start(s.lab.tb, fmt.Sprintf("%s-%d", s.name, s.starts), s.lab.Dir, build(s.lab.tb), "store", "--config", s.config)
	s.lab.watchCrash(s.Process)
}

// AwaitServing waits until the store serves, with all its streams.
func (s *Store) AwaitServing() {
	s.lab.tb.Helper()
	if _, err := s.AwaitLine(0, regexp.MustCompile(`the store serves`), Patience); err != nil {
		s.lab.tb.Fatalf("%v\n%s", err, strings.Join(s.Lines(), "\n"))
	}
}

// Current reports whether all that the store keeps is as at its peers.
func (s *Store) Current() bool {
	r, err := http.Get(s.Health + "/healthz")
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// Crash ends the store at once.
func (s *Store) Crash() { s.lab.tb.Helper(); s.Kill(s.lab.tb) }

// Wipe makes the disk of a store empty. It does not run.
func (s *Store) Wipe() {
	s.lab.tb.Helper()
	if err := removeAll(s.dir); err != nil {
		s.lab.tb.Fatal(err)
	}
}

const nodeConfig = `domain: %[1]s
realm: %[1]s
data-dir: %[2]q
sip:
  listen: ["udp:%[3]s"]
  outbound-proxy: ["sip:%[4]s"]
http:
  - {listen: %[5]q, auth: trusted}
metrics: {listen: %[11]q}
trusted: [127.0.0.0/8]
users: [%[6]q]
limits: {message-delay: 0s}
cluster:
  node: %[7]s
  nats: [%[8]s]
%[9]s
%[10]s
`

func (n *Node) configure(c *Cluster, http, health string) {
	var stores []string
	for _, s := range c.Stores {
		to := s.Addr
		if c.cfg.NodeWires {
			w := c.Wire(to)
			n.Wires = append(n.Wires, w)
			to = w.Addr
		}
		stores = append(stores, strconv.Quote("nats://"+to))
	}
	more := slices.Clone(c.cfg.More)
	if !slices.ContainsFunc(more, func(line string) bool { return strings.HasPrefix(line, "drain:") }) {
		more = append(more, "drain: 2s")
	}
	keys := ""
	for _, line := range c.cfg.Keys {
		keys += "  " + line + "\n"
	}
	n.config = c.write(n.Name+".yaml", fmt.Sprintf(nodeConfig, Domain, filepath.Join(c.Dir, n.Name), n.SIP, cmp.Or(c.cfg.Proxy, c.Farm.Addr), http,
		filepath.Join(c.Dir, "users.yaml"), n.Name, strings.Join(stores, ", "), keys, strings.Join(more, "\n"), health))
}

// Launch starts the program of a node without waiting for it.
func (n *Node) Launch() {
	l := n.lab
	l.tb.Helper()
	n.starts++
	n.Process = start(l.tb, fmt.Sprintf("%s-%d", n.Name, n.starts), l.Dir, build(l.tb), "serve", "--config", n.config)
	l.watchCrash(n.Process)
	l.tb.Cleanup(n.Resume) // who stands still does not end
}

// AwaitReady waits until the node takes calls.
func (n *Node) AwaitReady() {
	n.lab.tb.Helper()
	if _, err := n.AwaitLine(0, regexp.MustCompile(`sipxrest serves`), Patience); err != nil {
		n.lab.tb.Fatalf("%v\n%s", err, strings.Join(n.Lines(), "\n"))
	}
	n.lab.Until(n.Name+" is ready", n.Ready)
}

// Ready reports whether the node takes calls.
func (n *Node) Ready() bool { return n.ask("GET", n.Health+"/readyz", "").Code == 200 }

// Healthy reports whether the node lives, whether or not it takes calls.
func (n *Node) Healthy() bool { return n.ask("GET", n.Health+"/healthz", "").Code == 200 }

// Crash ends the node at once.
func (n *Node) Crash() { n.lab.tb.Helper(); n.Kill(n.lab.tb) }

// Pause lets the node stand still, as a machine that is frozen. Resume lets it go on.
func (n *Node) Pause() {
	n.lab.tb.Helper()
	if err := n.Signal(standStill); err != nil {
		n.lab.tb.Fatal(err)
	}
	n.paused = true
}

// Resume lets a node go on that stands still.
func (n *Node) Resume() {
	if n.paused {
		_ = n.Signal(goOn)
		n.paused = false
	}
}

// Logged returns the lines of the node's log that match.
func (n *Node) Logged(re string) (found []string) {
	match := regexp.MustCompile(re)
	for _, line := range n.Lines() {
		if match.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}

// watchCrash fails the test by what no log may hold.
func (l *Lab) watchCrash(p *Process) {
	tb := l.tb
	tb.Cleanup(func() {
		p.Stop()
		for _, line := range p.Lines() {
			if crash.MatchString(line) {
				tb.Errorf("%s: %s: see its log", p.Name, line)
			}
		}
	})
}
