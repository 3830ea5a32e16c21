package app

import (
	"cmp"
	"context"
	"time"

	"sipxrest/internal/metrics"
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
	ports, err := a.portsOf(mc)
	if err != nil {
		return nil, err
	}
	security, err := p.Security()
	if err != nil {
		return nil, err
	}
	g := &webphone.Gateway{Board: a.sw, Ports: ports, Security: security, Domain: cmp.Or(p.Domain, a.cfg.Domain), Guests: p.Guests, User: a.sipUser}
	if p.Agent != "" {
		g.Credentials = func() sipflow.Credentials {
			c, _ := a.dialling.secrets(p.Agent)
			return c
		}
	}
	return g, nil
}

// takePhone is dispatch.Config.Phone.
func (a *App) takePhone(ctx context.Context, in *sipflow.Incoming, name string, ring time.Duration) error {
	return a.phone.Take(ctx, in, name, ring)
}

// addGatewayMetrics shows what is between users and SIP phones.
func addGatewayMetrics(r *metrics.Registry, service *webphone.Service, g *webphone.Gateway) {
	show(r, service.Stats, []family[webphone.Stats]{
		{metrics.Counter("sipxrest_phone_sip_calls_total", "Calls of users that rang their SIP phones (to), or came from SIP phones (from).", "direction"),
			func(s webphone.Stats, to values) {
				to.count(s.ToPhones, "to")
				to.count(s.FromPhones, "from")
			}},
		{metrics.Gauge("sipxrest_phone_rtp_ports", "Pairs of ports for audio of SIP phones: in_use, and all.", "state"),
			func(s webphone.Stats, to values) {
				to.gauge(g.Ports.InUse(), "in_use")
				to.gauge(g.Ports.Pairs(), "all")
			}},
		{metrics.Counter("sipxrest_phone_rtp_packets_total", "RTP packets of calls that are over: sent, received; lost, late (of the lost, came too late), dropped (too many waited), foreign (from an address that does not count), forged (of encrypted audio: by another key, or repeated).", "what"),
			func(s webphone.Stats, to values) {
				to.count(s.RTP.Sent, "sent")
				to.count(s.RTP.Received, "received")
				to.count(s.RTP.Lost, "lost")
				to.count(s.RTP.Late, "late")
				to.count(s.RTP.Dropped, "dropped")
				to.count(s.RTP.Foreign, "foreign")
				to.count(s.RTP.Forged, "forged")
			}},
		{metrics.Gauge("sipxrest_phone_rtp_jitter_seconds", "Largest jitter of a call that is over, in seconds."),
			func(s webphone.Stats, to values) { to.set(s.RTP.Jitter.Seconds()) }},
	})
}
