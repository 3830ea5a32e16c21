package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/dialout"
	"sipxrest/media"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

// probeTime bounds the probe of a signaling server.
const probeTime = 15 * time.Second

// dialout tries the signaling servers and the Nextclouds.
func (c *checker) dialout(cfg *config.Config) {
	d := &cfg.Dialout
	if !d.InUse() {
		return
	}
	secure, err := app.DialoutTLS(cfg)
	if err != nil {
		c.say(levelProblem, "dialout", "%v", err)
		return
	}
	if d.Agent != "" {
		c.dialoutAgent(cfg)
	}
	c.audio(cfg)
	if len(d.Servers) == 0 {
		c.say(levelOK, "dialout", "for clients that POST %s; Talk is not served (dialout.servers)", dialout.Prefix)
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, probeTime)
	defer cancel()
	for _, p := range talk.Probe(ctx, talk.Config{Servers: d.Servers, TLS: secure}) {
		for _, address := range []string{p.Server, p.Backend} {
			if inTheClear(address) {
				c.say(levelNote, "dialout", "%s is not encrypted: who is on the way sees every call, and what we prove ourselves with: write it as https://", address)
			}
		}
		if p.Err != nil {
			c.say(levelProblem, "dialout", "%s for %s: %v", p.Server, p.Backend, p.Err)
		} else {
			c.say(levelOK, "dialout", "%s (version %s) takes us as a bridge for %s", p.Server, p.Version, p.Backend)
		}
		if d.Audio.Enabled {
			for _, e := range config.Flatten(p.Audio) {
				if e != nil {
					c.say(levelProblem, "dialout", "%s for %s: %v", p.Server, p.Backend, e)
				}
			}
		}
	}
}

// audio tries the sockets for phones that are in Talk's conversations.
func (c *checker) audio(cfg *config.Config) {
	a := &cfg.Dialout.Audio
	if !a.Enabled {
		return
	}
	mc, err := cfg.AudioMedia()
	sc, err2 := cfg.SFU()
	if err != nil || err2 != nil {
		return // said above
	}
	ports, err := media.NewPorts(mc)
	if err != nil {
		c.say(levelProblem, "dialout", "%s: %v", cfg.Origin("dialout.audio"), err)
		return
	}
	session, err := ports.Open(media.Options{})
	if err != nil {
		c.say(levelProblem, "dialout", "%s: no port of %s can be bound on %s: %v", cfg.Origin("dialout.audio.rtp-ports"), a.RTPPorts, mc.Listen, err)
		return
	}
	session.Close()
	at := "any port"
	if a.ICEPort != 0 {
		at = "port " + strconv.Itoa(a.ICEPort)
		socket, err := c.bind("udp", netip.AddrPortFrom(sc.Address, sc.Port).String())
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			if _, asked := app.AskStatus(c.ctx, cfg); asked != nil {
				c.say(levelProblem, "dialout", "%s: another program has UDP port %d on %s", cfg.Origin("dialout.audio.ice-port"), a.ICEPort, sc.Address)
				return
			}
			at += ", which the running service has"
		case err != nil:
			c.say(levelProblem, "dialout", "%s: %v", cfg.Origin("dialout.audio.ice-port"), web.ExplainBind(err))
			return
		default:
			_ = socket.Close()
		}
	}
	if doubt := audioAddressDoubt(mc.Address, config.Interfaces()); doubt != "" && len(cfg.Dialout.Servers) > 0 {
		c.say(levelNote, "dialout", "%s: %s", cfg.Origin("dialout.audio.address"), doubt)
	}
	told := sc.Address
	if sc.External.IsValid() {
		told = sc.External
	}
	c.say(levelOK, "dialout", "phones are heard in Talk, by %s: they send audio to %s, ports %s; media servers to %s, UDP %s", a.Codec, mc.Address, a.RTPPorts, told, at)
}

// audioAddressDoubt says why audio may not arrive at an address that gateways and media
// servers are told; empty if nothing speaks against it. Example addresses of the
// documents get into configurations, and calls are silent then.
func audioAddressDoubt(told netip.Addr, own []netip.Addr) string {
	switch {
	case told.IsLoopback():
		return fmt.Sprintf("%s is reached from this machine only, and Janus does not use it: write an address of one of its interfaces", told)
	case slices.Contains(own, told):
		return ""
	}
	var have []string
	for _, a := range own {
		if a.Is4() == told.Is4() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && len(have) < 4 {
			have = append(have, a.String())
		}
	}
	return fmt.Sprintf("%s is none of this machine's addresses (%s): right only where a NAT leads from there to here",
		told, cmp.Or(strings.Join(have, ", "), "it has none of that kind"))
}

// inTheClear reports whether a server's address, which was checked, is of plain
// HTTP beyond this machine.
func inTheClear(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err != nil || !a.IsLoopback()
}

func (c *checker) dialoutAgent(cfg *config.Config) {
	d, err := app.NewDialling(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return // said above
	}
	users, err := app.LoadUsers(cfg, d)
	if err != nil {
		return
	}
	switch u, ok := users.Lookup(cfg.Dialout.Agent); {
	case !ok:
		c.say(levelProblem, "dialout", "%s: there is no user %s", cfg.Origin("dialout.agent"), cfg.Dialout.Agent)
	case !u.HasSIPSecret() && len(cfg.Dialout.Servers) > 0:
		c.say(levelNote, "dialout", "%s: user %s has no SIP password, so challenges on the way to dialout.room-target cannot be answered", cfg.Origin("dialout.agent"), u.Name)
	}
}

// gateway asks the gateway for its OPTIONS.
func (c *checker) gateway(cfg *config.Config, a *agent, resolver *resolve.Resolver) {
	if !cfg.Dialout.InUse() {
		return
	}
	uri := cfg.Dialout.Gateway.URI
	if slices.Contains(cfg.SIP.OutboundProxy, uri) {
		return // asked above
	}
	hops, err := c.hops(resolver, uri)
	if err != nil {
		c.say(levelProblem, "gateway", "%s: %v", cfg.Origin("dialout.gateway.uri"), err)
		return
	}
	var asked []finding
	for _, hop := range hops {
		f, _ := c.options(a, uri, hop, sipflow.Account{})
		asked = append(asked, f)
	}
	c.sayEach("gateway", asked)
}
