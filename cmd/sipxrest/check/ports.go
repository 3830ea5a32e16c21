package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
)

// A wanted socket is one that serve would open.
type wanted struct{ about, key, network, address string }

// wantedSockets lists them in the order in which they are told of.
func wantedSockets(cfg *config.Config) []wanted {
	var list []wanted
	for i, l := range cfg.HTTP {
		list = append(list, wanted{fmt.Sprintf("listener %d", i+1), "http", "tcp", l.Listen})
	}
	if at := cfg.Metrics.Listen; at != "" {
		list = append(list, wanted{"metrics", "metrics.listen", "tcp", at})
	}
	if p := &cfg.Phone; p.Enabled && p.Listen != "" {
		list = append(list, wanted{"phone", "phone.listen", "tcp", p.Listen})
	}
	for _, l := range cfg.SIPListen() {
		transport, address, _ := strings.Cut(l, ":")
		list = append(list, wanted{"SIP", "sip.listen", config.NetworkOf(transport), address})
	}
	return list
}

// sockets tries to open every socket as serve would, all at once, and tells of
// those that cannot be. The running service has its own: then that is as it
// should be.
func (c *checker) sockets(cfg *config.Config) {
	c.held, c.unbound = map[string]bool{}, map[string]bool{}
	service, asked := app.AskStatus(c.ctx, cfg)
	if asked == nil {
		c.say(levelOK, "service", "runs as process %d, %s", service.PID, service.Version)
	}
	list := wantedSockets(cfg)
	for i, w := range list {
		socket, err := c.bind(w.network, w.address)
		if err == nil {
			defer socket.Close()
			continue
		}
		at := w.network + ":" + w.address
		if !errors.Is(err, syscall.EADDRINUSE) {
			c.unbound[at] = true
			c.say(levelProblem, w.about, "%s: %v", cfg.Origin(w.key), web.ExplainBind(err))
			continue
		}
		ours := ""
		for _, other := range list[:i] {
			if other.network == w.network && config.SameSocket(other.address, w.address) {
				ours = other.key
			}
		}
		switch {
		case ours != "":
			c.unbound[at] = true
			c.say(levelProblem, w.about, "%s: %s: %s has that port, too: choose another", cfg.Origin(w.key), at, ours)
		case holds(&service, w):
			c.held[at] = true
		case asked != nil && !errors.As(asked, new(*app.NoService)):
			c.say(levelWarning, w.about, "%s: %s is in use, by the service or by another program: %v", cfg.Origin(w.key), at, asked)
		default:
			c.unbound[at] = true
			_, port, _ := net.SplitHostPort(w.address)
			c.say(levelProblem, w.about, "%s: %s: another program has this port, not a service with data-dir %s: ss -Hlnp%c 'sport = :%s' tells which",
				cfg.Origin(w.key), at, cfg.DataDir, w.network[0], port)
		}
	}
}

// holds reports whether the running service has the socket.
func holds(service *app.Running, w wanted) bool {
	for _, s := range service.Sockets {
		network, address, _ := strings.Cut(s, ":")
		if network == w.network && config.SameSocket(address, w.address) {
			return true
		}
	}
	return false
}

// heldNow is what a line adds for a socket that the service has.
func (c *checker) heldNow(network, address string) string {
	if c.held[network+":"+address] {
		return ", which the running service has"
	}
	return ""
}

// bind opens a socket as serve would.
func bind(network, address string) (io.Closer, error) {
	if network == "udp" {
		return net.ListenPacket("udp", address)
	}
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
}
