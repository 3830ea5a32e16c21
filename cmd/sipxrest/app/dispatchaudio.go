package app

import (
	"fmt"

	"sipxrest/dispatch"
	"sipxrest/internal/metrics"
	"sipxrest/media"
)

// openPINAudio makes what callers hear who are asked for a PIN, where they do.
func (a *App) openPINAudio() error {
	if !a.cfg.HasPINAudio() {
		if why := a.cfg.LacksPINAudio(); why != nil {
			a.log.Info("callers are on hold while they enter a PIN, and digits count by INFO only: see dispatch.audio.address", "reason", why)
		}
		return nil
	}
	mc, err := a.cfg.PINMedia()
	if err != nil {
		return a.cfg.At("dispatch.audio.address", fmt.Errorf("dispatch.audio.address: %w", err))
	}
	ports, err := a.portsOf(mc)
	if err == nil {
		err = tryPorts(ports)
	}
	switch {
	case err != nil && a.cfg.WantsPINAudio():
		return a.cfg.At("dispatch.audio.rtp-ports", fmt.Errorf("dispatch.audio.rtp-ports: %w", err))
	case err != nil:
		a.log.Warn("callers are on hold while they enter a PIN, and digits count by INFO only: see dispatch.audio", "reason", err)
		return nil
	}
	set, language, err := a.cfg.PINPrompts()
	if err != nil {
		return a.cfg.At("dispatch.audio.prompts", fmt.Errorf("dispatch.audio.prompts: %w", err))
	}
	if a.cfg.PINFolder() == a.cfg.Dialin.Prompts {
		a.prompts = set // one for all, of what is decoded
	}
	security, err := media.ParseSecurity(a.cfg.Dispatch.Audio.SRTP)
	if err != nil {
		return a.cfg.At("dispatch.audio.srtp", fmt.Errorf("dispatch.audio.srtp: %w", err))
	}
	a.pinAudio = &dispatch.Audio{Ports: ports, Prompts: set, Language: language, Security: security}
	return nil
}

// addPINMetrics shows how much of its audio is in use.
func (a *App) addPINMetrics(r *metrics.Registry) {
	if a.pinAudio == nil {
		return
	}
	show(r, func() *media.Ports { return a.pinAudio.Ports }, []family[*media.Ports]{
		{metrics.Gauge("sipxrest_dispatch_rtp_ports", "Pairs of ports for audio of callers who enter a PIN, and of others who share them: in_use, and all.", "state"),
			func(p *media.Ports, to values) {
				to.gauge(p.InUse(), "in_use")
				to.gauge(p.Pairs(), "all")
			}},
	})
}
