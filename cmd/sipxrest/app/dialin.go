package app

import (
	"context"
	"fmt"

	"sipxrest/dialin"
	"sipxrest/dispatch"
	"sipxrest/event"
	"sipxrest/internal/metrics"
	"sipxrest/media/prompts"
	"sipxrest/sipflow"
)

// openDialin makes the service that takes callers into Talk, where telephones take part
// in conversations. Which calls those are is for dispatch to say.
func (a *App) openDialin() error {
	if a.rooms == nil {
		return nil
	}
	cfg := a.cfg.DialinConfig()
	var err error
	if cfg.Music, err = a.cfg.Dialin.Sound(); err != nil {
		return a.cfg.At("dialin.music", fmt.Errorf("dialin.music: %w", err))
	}
	clips, err := a.clips()
	if err != nil {
		return err
	}
	needs := dialin.Needs{Ports: a.talkPorts, Prompts: clips, Rooms: a.rooms}
	if a.bus != nil {
		needs.Ends = dialinDoor{a.bus}.ends
	}
	s, err := dialin.New(cfg, needs, a.log)
	if err != nil {
		return a.cfg.At("dialin", fmt.Errorf("dialin.%w", err))
	}
	a.dialin = s
	a.signals.hears(s.Handler(), s.Connect)
	a.add(feature{name: "dial-in", stage: stageTelephones, metrics: func(r *metrics.Registry) { addDialinMetrics(r, s) }})
	return nil
}

// clips are the prompts of all who speak to callers, read once.
func (a *App) clips() (*prompts.Set, error) {
	if a.prompts == nil {
		set, err := a.cfg.Dialin.Clips()
		if err != nil {
			return nil, a.cfg.At("dialin.prompts", fmt.Errorf("dialin.prompts: %w", err))
		}
		a.prompts = set
	}
	return a.prompts, nil
}

// takeTalk is dispatch.Config.Talk. There is a.dialin wherever there is CheckTalk.
func (a *App) takeTalk(ctx context.Context, in *sipflow.Incoming, t dispatch.TalkCall) error {
	return a.dialin.Take(ctx, in, dialin.Call{ID: in.ID(), Token: t.Token, Direct: t.Direct, Backend: t.Backend, Language: t.Language,
		Trunk: t.Trunk, Source: in.Source.Addr(), From: in.From.User, Caller: t.Caller, Vouched: t.Vouched, Called: t.Called})
}

// dialinDoor tells the events of all calls why one into Talk is about to end.
type dialinDoor struct{ bus *event.Bus }

// dialinReasons are the reasons of events; those that are not here are as SIP says.
var dialinReasons = map[dialin.Outcome]string{
	dialin.Wrong: "pin_failed", dialin.Guesses: "pin_failed",
}

func (d dialinDoor) ends(id string, o dialin.Outcome) {
	if reason := dialinReasons[o]; reason != "" {
		d.bus.SetReason(id, reason)
	}
}

// addDialinMetrics shows what callers into Talk came to.
func addDialinMetrics(r *metrics.Registry, service *dialin.Service) {
	show(r, service.Stats, []family[dialin.Stats]{
		{metrics.Counter("sipxrest_dialin_calls_total", "Calls into Talk conversations that are over, by what they came to; see docs/dialin.md.", "outcome"),
			func(s dialin.Stats, to values) { each[dialin.Outcome](to, s.Calls[:]) }},
		{metrics.Gauge("sipxrest_dialin_calls_active", "Calls into Talk conversations, by state: asked for digits, or beyond.", "state"),
			func(s dialin.Stats, to values) {
				to.gauge(s.Asked, "asked")
				to.gauge(max(0, s.Active-s.Asked), "known")
			}},
	})
}
