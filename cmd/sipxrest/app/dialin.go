package app

import (
	"context"

	"sipxrest/dialin"
	"sipxrest/dispatch"
	"sipxrest/internal/metrics"
	"sipxrest/sipflow"
)

// takeTalk is dispatch.Config.Talk.
func (a *App) takeTalk(ctx context.Context, in *sipflow.Incoming, t dispatch.TalkCall) error {
	if a.dialin == nil {
		a.log.Warn("a caller cannot be taken to Talk: telephones do not take part in conversations by their audio", "call", in.ID())
		return &sipflow.StatusError{Method: "INVITE", Code: 480}
	}
	return a.dialin.Take(ctx, in, dialin.Call{ID: in.ID(), Token: t.Token, Direct: t.Direct, Backend: t.Backend, Language: t.Language,
		Trunk: t.Trunk, Source: in.Source.Addr(), From: in.From.User, Caller: t.Caller, Vouched: t.Vouched, Called: t.Called})
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
