package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sipxrest/internal/metrics"
	"sipxrest/media"
	webphone "sipxrest/phone"
	"sipxrest/sipflow"
)

// PhoneSIP is the section "phone.sip": calls between users of phone and SIP
// phones. Without enabled there are none.
type PhoneSIP struct {
	Enabled bool
	// Domain is the host of our From. Empty: Config.Domain.
	Domain string
	// Address is where phones send audio to. Empty: sip.external-address, or
	// the address of the first SIP socket.
	Address string
	// RTPPorts are the ports for audio, two for each call: "20000-20999".
	RTPPorts string
	// Agent is the user whose SIP password answers challenges.
	Agent string
	// Guests lets phones call that are no user's.
	Guests bool
	// MediaAllow lists networks where audio goes though it would not, MediaNAT
	// those from which it may come though no phone has named them.
	MediaAllow, MediaNAT []string
}

func (p *PhoneSIP) keys() []key {
	return []key{
		{"phone.sip.enabled", false, truth(&p.Enabled)},
		{"phone.sip.domain", false, text(&p.Domain)},
		{"phone.sip.address", false, text(&p.Address)},
		{"phone.sip.rtp-ports", false, text(&p.RTPPorts)},
		{"phone.sip.agent", false, text(&p.Agent)},
		{"phone.sip.guests", false, truth(&p.Guests)},
		{"phone.sip.media-allow", true, texts(&p.MediaAllow)},
		{"phone.sip.media-nat", true, texts(&p.MediaNAT)},
	}
}

// phoneSIP checks the section.
func (v *checks) phoneSIP() {
	p := &v.c.Phone.SIP
	if p.Enabled && !v.c.Phone.Enabled {
		v.check("phone.sip.enabled", errors.New("phone.enabled is false: there are no users to call"))
	}
	if p.Domain != "" && !isHost(p.Domain) {
		v.check("phone.sip.domain", fmt.Errorf("%q is neither a host name nor an address", p.Domain))
	}
	for key, list := range map[string][]string{"phone.sip.media-allow": p.MediaAllow, "phone.sip.media-nat": p.MediaNAT} {
		for _, s := range list {
			_, err := parsePrefix(s)
			v.check(key, err)
		}
	}
	if _, _, err := p.ports(); err != nil {
		v.check("phone.sip.rtp-ports", err)
	}
	if p.Address != "" || p.Enabled {
		if _, _, err := v.c.mediaAddress(); err != nil {
			v.check("phone.sip.address", err)
		}
	}
}

// ports reads RTPPorts.
func (p *PhoneSIP) ports() (least, most uint16, err error) {
	a, b, _ := strings.Cut(p.RTPPorts, "-")
	low, err := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	high, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	if err != nil || err2 != nil || low < 1024 || high <= low {
		return 0, 0, fmt.Errorf("%q: write two ports from 1024 to 65535, such as 20000-20999", p.RTPPorts)
	}
	return uint16(low), uint16(high), nil
}

// mediaAddress is what phones are told to send audio to, and what its sockets
// are bound to.
func (c *Config) mediaAddress() (told, listen netip.Addr, err error) {
	for _, l := range sipListen(c) {
		_, at, _ := strings.Cut(l, ":")
		if ap, err := netip.ParseAddrPort(at); err == nil {
			listen = ap.Addr()
			break
		}
	}
	if !listen.IsValid() || listen.IsUnspecified() {
		listen = netip.Addr{}
	}
	text := c.Phone.SIP.Address
	if text == "" && c.SIP.ExternalAddress != "auto" {
		text = strings.Trim(c.SIP.ExternalAddress, "[]")
	}
	if text != "" {
		told, err = netip.ParseAddr(text)
		if err != nil || told.IsUnspecified() || told.IsMulticast() {
			return told, listen, fmt.Errorf("%q is no address that phones could send audio to: write it as 192.0.2.1", text)
		}
	} else if told = listen; !told.IsValid() {
		return told, listen, errors.New("missing: the SIP sockets are bound to every address: write the one that phones send audio to")
	}
	if !listen.IsValid() {
		listen = netip.IPv4Unspecified()
		if told.Is6() {
			listen = netip.IPv6Unspecified()
		}
	}
	return told.Unmap(), listen, nil
}

// mediaConfig is what sessions of audio need.
func (c *Config) mediaConfig() (media.Config, error) {
	p := &c.Phone.SIP
	least, most, err := p.ports()
	if err != nil {
		return media.Config{}, err
	}
	told, listen, err := c.mediaAddress()
	return media.Config{Address: told, Listen: listen, MinPort: least, MaxPort: most, Allow: prefixes(p.MediaAllow), LatchFrom: prefixes(p.MediaNAT)}, err
}

// gateway joins the phone service with SIP; nil where that is not wanted.
func (a *App) gateway() (*webphone.Gateway, error) {
	p := &a.cfg.Phone.SIP
	if !p.Enabled {
		return nil, nil
	}
	mc, err := a.cfg.mediaConfig()
	if err != nil {
		return nil, err
	}
	mc.Log = a.log
	ports, err := media.NewPorts(mc)
	if err != nil {
		return nil, err
	}
	g := &webphone.Gateway{Board: a.sw, Ports: ports, Domain: cmp.Or(p.Domain, a.cfg.Domain), Guests: p.Guests, User: a.sipUser}
	if p.Agent != "" {
		g.Credentials = func() sipflow.Credentials {
			c, _ := a.sipSecrets(p.Agent)
			return c
		}
	}
	return g, nil
}

// sipUser is the user of ours who has a digest user name; "" if it is a trunk's.
func (a *App) sipUser(username string) string {
	if a.dispatch == nil { // which calls come by
		return ""
	}
	return a.dispatch.User(username)
}

// takePhone is dispatch.Config.Phone.
func (a *App) takePhone(cfg *Config) func(context.Context, *sipflow.Incoming, string, time.Duration) error {
	if !cfg.Phone.Enabled || !cfg.Phone.SIP.Enabled {
		return nil
	}
	return func(ctx context.Context, in *sipflow.Incoming, name string, ring time.Duration) error {
		return a.phone.Take(ctx, in, name, ring)
	}
}

// addGatewayMetrics shows what is between users and SIP phones.
func (a *App) addGatewayMetrics(r *metrics.Registry) {
	g := a.phone.Gateway()
	if g == nil {
		return
	}
	var (
		calls   = metrics.Counter("sipxrest_phone_sip_calls_total", "Calls of users that rang their SIP phones (to), or came from SIP phones (from).", "direction")
		ports   = metrics.Gauge("sipxrest_phone_rtp_ports", "Pairs of ports for audio of SIP phones: in_use, and all.", "state")
		packets = metrics.Counter("sipxrest_phone_rtp_packets_total", "RTP packets of calls that are over: sent, received; lost, late (of the lost, came too late), dropped (too many waited), foreign (from an address that does not count).", "what")
		jitter  = metrics.Gauge("sipxrest_phone_rtp_jitter_seconds", "Largest jitter of a call that is over, in seconds.")
	)
	r.Add([]*metrics.Family{calls, ports, packets, jitter}, func(v metrics.Values) {
		s := a.phone.Stats()
		v.Count(calls, s.ToPhones, "to")
		v.Count(calls, s.FromPhones, "from")
		v.Set(ports, float64(g.Ports.InUse()), "in_use")
		v.Set(ports, float64(g.Ports.Pairs()), "all")
		for what, n := range map[string]uint64{"sent": s.RTP.Sent, "received": s.RTP.Received, "lost": s.RTP.Lost, "late": s.RTP.Late,
			"dropped": s.RTP.Dropped, "foreign": s.RTP.Foreign} {
			v.Count(packets, n, what)
		}
		v.Set(jitter, s.RTP.Jitter.Seconds())
	})
}

// phoneSIP tells of the gateway to SIP.
func (c *checker) phoneSIP(cfg *Config) {
	p := &cfg.Phone.SIP
	if !p.Enabled {
		return
	}
	mc, err := cfg.mediaConfig()
	if err != nil {
		return // said above
	}
	ports, err := media.NewPorts(mc)
	if err != nil {
		c.say(levelProblem, "phone", "%s: %v", cfg.Origin("phone.sip"), err)
		return
	}
	session, err := ports.Open(media.Options{})
	if err != nil {
		c.say(levelProblem, "phone", "%s: no port of %s can be bound on %s: %v", cfg.Origin("phone.sip.rtp-ports"), p.RTPPorts, mc.Listen, err)
		return
	}
	session.Close()
	c.say(levelOK, "phone", "SIP phones send audio to %s, ports %s: %s at once", mc.Address, p.RTPPorts, count(ports.Pairs(), "call"))
	if !cfg.Dispatch.inUse() {
		c.say(levelNote, "phone", "SIP phones cannot call users: there are no dispatch rules with transfer_to: phone:NAME")
	}
}
