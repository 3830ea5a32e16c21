package store

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Config says how a store runs. Its zero value but for Listen and Dir is a store
// that is alone, asks nobody for a password and speaks without TLS.
type Config struct {
	// Listen is the "host:port" at which nodes connect.
	Listen string
	// Peers are all stores of the cluster, this one may be among them, as "host" or
	// "host:port" of their routes. None: it is alone.
	Peers []string
	// RoutePort is where the other stores connect, on the host of Listen, and the
	// port of those Peers that say none. 0: DefaultRoutePort.
	RoutePort int
	// Advertise is the "host:port" of its routes that the others tell of this store.
	// Empty: the address that they see.
	Advertise string
	// Dir keeps the streams.
	Dir string
	// Sync is how often what was written is forced to the disk. 0: each write is,
	// before it is acknowledged.
	Sync time.Duration
	// User and Password are what nodes and other stores must say. Empty: nothing.
	User, Password string
	TLS            TLS
	// MaxMemory and MaxDisk bound what streams take, in bytes.
	MaxMemory, MaxDisk int64
	// Health is the "host:port" of /healthz. Empty: none.
	Health string
	// Notify is told of each state for systemd. nil: nobody is.
	Notify func(state string)

	handOver time.Duration // of tests; 0: the constant
}

// TLS names PEM files. Without Cert there is no TLS. With CA whoever connects must
// show a certificate of it.
type TLS struct{ Cert, Key, CA string }

// DefaultRoutePort is where stores connect to each other.
const DefaultRoutePort = 6222

// name is what the store is called among its peers. The others know it by that
// after a restart, too, so it is made of what does not change: its own address.
func (c *Config) name() string {
	host, port, _ := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host, _ = os.Hostname()
	}
	return net.JoinHostPort(host, port)
}

// routePort is where this store listens for the others.
func (c *Config) routePort() int {
	if c.RoutePort == 0 {
		return DefaultRoutePort
	}
	return c.RoutePort
}

// Route returns the "host:port" of a peer.
func (c *Config) route(peer string) string {
	if _, _, err := net.SplitHostPort(peer); err == nil {
		return peer
	}
	return net.JoinHostPort(strings.Trim(peer, "[]"), strconv.Itoa(c.routePort()))
}

// clusterName is the name of the group of stores. Stores of another group that
// connect by a mistake of the addresses are refused for it.
func (c *Config) clusterName() string { return "sipxrest-store" }

// bind returns host and port of Listen.
func (c *Config) bind() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", 0, fmt.Errorf("store.listen: %q: write host:port, such as 10.0.0.5:4222", c.Listen)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("store.listen: %q: write host:port, such as 10.0.0.5:4222", c.Listen)
	}
	if port == 0 {
		port = anyPort
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// anyPort has the server choose a port.
const anyPort = -1

// MaxCredentials bounds a file of credentials, in bytes.
const MaxCredentials = 64 << 10

// ParseCredentials reads "user:password" from the first line that holds more than
// a comment. Its error never quotes the text.
func ParseCredentials(text string) (user, password string, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, password, ok := strings.Cut(line, ":")
		if !ok || user == "" || password == "" {
			return "", "", errors.New("a line user:password is expected")
		}
		return user, password, nil
	}
	return "", "", errors.New("it is empty: a line user:password is expected")
}
