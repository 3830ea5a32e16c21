package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"sipxrest/internal/setting"
)

// Cluster is the section "cluster": other nodes, which take over the calls of one
// that dies. Without NATS it is a single node, and nothing of this is there.
type Cluster struct {
	// NATS are the servers that keep the calls' states, "nats://10.0.0.5:4222".
	NATS []string
	// Name is the prefix of what is kept, so that several clusters may share a NATS.
	Name string
	// Node is this node's name. Empty: the host's.
	Node string
	// Credentials is a NATS creds file, or one with a line user:password.
	Credentials string
	TLS         ClusterTLS
	// Replicas is how many servers keep each state. 0: three, or as many as there
	// are if those are less.
	Replicas int
	// Takeover is what becomes of the calls of a dead node: "keep", "hangup" or
	// "none".
	Takeover string
	// Lease is how long a node owns its calls after its last renewal.
	Lease time.Duration
	// TakeoverRate is the calls per second that one node takes over. 0: no limit.
	TakeoverRate int
	// Flush is how often states are written.
	Flush time.Duration
	// WithoutStore says what becomes of new calls while the servers are away:
	// "refuse" or "serve".
	WithoutStore string
}

// ClusterTLS names PEM files for connections to the store.
type ClusterTLS struct{ Cert, Key, CA string }

// InUse reports whether the service is a node of a cluster.
func (c *Cluster) InUse() bool { return len(c.NATS) > 0 }

// rows are the keys of the section.
func (c *Cluster) rows() []row {
	return []row{
		{Name: "cluster.nats", Set: setting.Texts(&c.NATS), Check: natsServers, Absent: "none: a single node",
			Show: "[\"nats://10.0.0.5:4222\", \"nats://10.0.0.6:4222\", \"nats://10.0.0.7:4222\"]",
			Doc: "servers of `sipxrest store`, or NATS servers of yours (2.12 or later, with JetStream), `nats://10.0.0.5:4222`, or `tls://`. " +
				"With them the service is a node of a cluster: other nodes take over its calls when it dies"},
		{Name: "cluster.name", Set: setting.Text(&c.Name), Check: clusterToken, Default: "sipxrest",
			Doc: "prefix of what is kept there, for clusters that share servers: letters, digits, `-` and `_`"},
		{Name: "cluster.node", Set: setting.Text(&c.Node), Check: nodeToken, Absent: "the host name up to its first dot", Show: "node-a",
			Doc: "this node's name, which no other node may have: letters, digits, `-` and `_`"},
		{Name: "cluster.credentials", Set: setting.Path(&c.Credentials), Show: "nats.creds",
			Doc: "file with a line `user:password`, or a NATS creds file"},
		{Name: "cluster.tls.cert", Set: setting.Path(&c.TLS.Cert), Show: "node.crt",
			Doc: "PEM certificate that the node shows to the servers; with one of the keys of `cluster.tls` connections are encrypted, as with `tls://`"},
		{Name: "cluster.tls.key", Set: setting.Path(&c.TLS.Key), Show: "node.key",
			Doc: "its PEM key"},
		{Name: "cluster.tls.ca", Set: setting.Path(&c.TLS.CA), Absent: "the system's", Show: "ca.crt",
			Doc: "PEM file of the authorities that the servers are verified with"},
		{Name: "cluster.replicas", Set: setting.Number(&c.Replicas), Check: countOr(5, "for three"), Absent: "3, or the number of servers if that is less", Show: "3",
			Doc: "servers that keep each state, 1 to 5; with 1 the calls of a node that dies are lost while that server is away"},
		{Name: "cluster.takeover", Set: setting.Text(&c.Takeover), Check: word("keep", "hangup", "none"), Default: "keep",
			Doc: "what other nodes do with the calls of one that died: `keep` them, `hangup` (the phones get BYE or CANCEL), or `none` (their states can be read, the phones are told nothing)",
			About: "What becomes of the calls of a node that died: keep, hangup or none; how long\n" +
				"a silent node keeps them; calls per second that one node takes (0: no limit)."},
		{Name: "cluster.lease", Set: setting.Duration(&c.Lease), Check: between(2*time.Second, 30*time.Second), Default: "4s",
			Doc: "how long a node that is silent keeps its calls; one second later others take them; 2 s to 30 s, the same at all nodes"},
		{Name: "cluster.takeover-rate", Set: setting.Number(&c.TakeoverRate), Check: countOr(1_000_000, noLimit), Default: "500",
			Doc: "calls per second that one node takes over, so that proxies are not flooded; `0`: no limit"},
		{Name: "cluster.flush", Set: setting.Duration(&c.Flush), Check: between(time.Millisecond, 50*time.Millisecond), Default: "5ms",
			Doc: "how often states are written: a longer time costs less, and has calls wait so long before their first INVITE; 1 ms to 50 ms"},
		{Name: "cluster.without-store", Set: setting.Text(&c.WithoutStore), Check: word("refuse", "serve"), Default: "refuse",
			Doc: "new calls while the servers are away: `refuse` them with 503, or `serve` them without protection"},
	}
}

// NodeName is this node's name, set or made of the host's.
func (c *Cluster) NodeName() string {
	if c.Node != "" {
		return c.Node
	}
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(host, ".")
	return host
}

// cluster checks the section, where it depends on more than one key.
func (v *checks) cluster() {
	c := &v.c.Cluster
	if !c.InUse() {
		for _, r := range c.rows() {
			if r.Name != "cluster.nats" && v.c.IsSet(r.Name) {
				v.check(r.Name, errors.New("it has no effect without cluster.nats: name the servers there, or leave it out"))
			}
		}
		return
	}
	if c.Node == "" {
		if err := token(c.NodeName()); err != nil {
			v.check("cluster.node", fmt.Errorf("missing: the host name cannot be one (%w)", err))
		}
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		v.check("cluster.tls", errors.New("write both cert and key, or neither"))
	}
	if c.Replicas == 2 || c.Replicas == 4 {
		v.check("cluster.replicas", fmt.Errorf("%d: an even number survives no more failures than %d: write %d or %d", c.Replicas, c.Replicas-1, c.Replicas-1, c.Replicas+1))
	}
}

// natsServers wants URLs of NATS servers.
func natsServers(at any) error {
	var errs []error
	servers := *at.(*[]string)
	schemes := map[string]bool{}
	for _, s := range servers {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls":
			errs = append(errs, fmt.Errorf("%q: write nats://10.0.0.5:4222, or tls://", withoutUser(s)))
			continue
		case u.User != nil:
			errs = append(errs, errors.New("a password in a URL would be in logs: write it into the file of cluster.credentials"))
		case u.Path != "" || u.RawQuery != "" || u.Fragment != "":
			errs = append(errs, fmt.Errorf("%q: write the server without a path", s))
		case !IsHost(u.Hostname()):
			errs = append(errs, fmt.Errorf("%q: %q is neither a host name nor an address", s, u.Hostname()))
		}
		if p := u.Port(); p != "" {
			if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
				errs = append(errs, fmt.Errorf("%q: %q is not a port", s, p))
			}
		}
		schemes[u.Scheme] = true
	}
	if len(schemes) > 1 {
		errs = append(errs, errors.New("either all servers have TLS (tls://) or none"))
	}
	return errors.Join(errs...)
}

// withoutUser hides what may be a password.
func withoutUser(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…@" + s[i+1:]
	}
	return s
}

// maxToken bounds a name that is a part of subjects and streams.
const maxToken = 32

func token(s string) error {
	if s == "" || len(s) > maxToken || strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return fmt.Errorf("%q: write up to %d letters, digits, - and _", s, maxToken)
	}
	return nil
}

func clusterToken(at any) error { return token(*at.(*string)) }

// nodeToken is clusterToken, but for "", which is the host's name.
func nodeToken(at any) error {
	if s := *at.(*string); s != "" {
		return token(s)
	}
	return nil
}

// hostPort checks "host:port"; an empty host means every address.
func hostPort(at string, example string) error {
	host, port, err := net.SplitHostPort(at)
	n, portErr := strconv.Atoi(port)
	switch {
	case err != nil || portErr != nil || n < 0 || n > 65535:
		return fmt.Errorf("%q: write host:port, such as %s", at, example)
	case host != "" && !IsHost(host):
		return fmt.Errorf("%q is neither a host name nor an address", host)
	}
	return nil
}
