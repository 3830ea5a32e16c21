package app

import (
	"errors"
	"net/http"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/event"
	"sipxrest/internal/metrics"
)

// openCDRs has records of calls copied, and serves sipXrest's resource of them. Both end
// before the log of events, which has the records.
func (a *App) openCDRs() error {
	if a.bus == nil {
		return nil
	}
	if dsn := a.cfg.CDR.Postgres; dsn != "" {
		copies, err := a.bus.CopyCDRs(dsn)
		switch {
		case errors.Is(err, event.ErrNoStore):
			a.log.Warn("call records are not copied to PostgreSQL", "error", err)
			a.add(feature{name: "copies of call records", stage: stageBase, metrics: func(r *metrics.Registry) {
				addCopyMetrics(r, func() (s event.CopyStats) { return s })
			}})
		case err != nil:
			return a.cfg.At("cdr.postgres", err)
		default:
			a.add(feature{name: "copies of call records", stage: stageBase, run: copies.Run, metrics: func(r *metrics.Registry) { addCopyMetrics(r, copies.Stats) }})
		}
	}
	if a.cfg.CDR.Compat && a.api != nil {
		route := web.Route{Owns: api.OwnsCDR, Handler: a.api.CDRHandler(), Fail: func(w http.ResponseWriter, _ *http.Request, status int, text string) {
			http.Error(w, text, status)
		}}
		a.add(feature{name: "call records", stage: stageBase, routes: func() []web.Route { return []web.Route{route} }})
	}
	return nil
}

// addCopyMetrics shows how far records have been copied.
func addCopyMetrics(r *metrics.Registry, stats func() event.CopyStats) {
	show(r, stats, []family[event.CopyStats]{
		{metrics.Gauge("sipxrest_cdr_lag_seconds", "How long ago the first call ended whose record waits to be copied to PostgreSQL; 0: none waits."),
			func(s event.CopyStats, to values) { to.set(s.Lag.Seconds()) }},
		{metrics.Counter("sipxrest_cdr_copied_total", "Call records that were copied to PostgreSQL."),
			func(s event.CopyStats, to values) { to.count(s.Copied) }},
		{metrics.Counter("sipxrest_cdr_lost_total", "Call records that PostgreSQL does not take, and that were left out."),
			func(s event.CopyStats, to values) { to.count(s.Lost) }},
		{metrics.Gauge("sipxrest_cdr_up", "1 while records are copied, 0 while they wait for PostgreSQL."),
			func(s event.CopyStats, to values) { to.set(oneIf(s.Up)) }},
	})
}
