package app

import (
	"cmp"
	"context"
	"time"

	"sipxrest/internal/metrics"
	"sipxrest/media"
	webphone "sipxrest/phone"
	"sipxrest/sipflow"
)

// gateway joins the phone service with SIP; nil where that is not wanted.
func (a *App) gateway() (*webphone.Gateway, error) {
	p := &a.cfg.Phone.SIP
	if !p.Enabled {
		return nil, nil
	}
	mc, err := a.cfg.MediaConfig()
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
			c, _ := a.dialling.secrets(p.Agent)
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
func (a *App) takePhone(ctx context.Context, in *sipflow.Incoming, name string, ring time.Duration) error {
	return a.phone.Take(ctx, in, name, ring)
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
