package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/event"
	"sipxrest/internal/capture"
	"sipxrest/internal/metrics"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// openEvents opens the log of what happens to calls, if anybody reads it. It comes
// before SIP, which tells it, and ends after all that does.
func (a *App) openEvents() (err error) {
	if !a.cfg.EventsInUse() {
		return nil
	}
	cfg := a.cfg.EventConfig()
	a.shareEvents(&cfg)
	if a.bus, err = event.Open(cfg, a.log); err != nil {
		return a.cfg.At("events.store", fmt.Errorf("events.store: %w", err))
	}
	a.add(feature{name: "events", stage: stageBase, run: a.runEvents, drain: func() { a.bus.Announce(event.SystemDraining, event.Change{}) },
		abandon: func() { _ = a.bus.Close() }, metrics: func(r *metrics.Registry) { addEventMetrics(r, a.bus) }})
	return nil
}

// runEvents ends when all that was told is kept. What is not kept is no failure of the
// service: calls have not waited for it.
func (a *App) runEvents(ctx context.Context) error {
	if err := errors.Join(a.bus.Run(ctx), a.bus.Close()); err != nil {
		a.log.Warn("events of the end are not kept", "error", err)
	}
	return nil
}

// observers are who is told by SIP what happens to calls.
func (a *App) observers() []func(*sipflow.Event) {
	if a.bus == nil {
		return nil
	}
	all := []func(*sipflow.Event){a.bus.Observe}
	if a.messages != nil {
		all = append(all, a.claimMessages)
	}
	return all
}

// openMessages makes the store of SIP messages, if they are kept.
func (a *App) openMessages() {
	mode := capture.Mode(a.cfg.Trace.Messages)
	if mode == capture.Off || a.bus == nil {
		return
	}
	a.messages = capture.New(mode, a.cfg.Trace.Bytes)
	a.add(feature{name: "SIP messages", stage: stageBase, metrics: func(r *metrics.Registry) {
		show(r, func() [2]int { calls, bytes := a.messages.Kept(); return [2]int{calls, bytes} }, []family[[2]int]{
			{metrics.Gauge("sipxrest_trace_calls", "Calls whose SIP messages are in memory."),
				func(s [2]int, to values) { to.gauge(s[0]) }},
			{metrics.Gauge("sipxrest_trace_bytes", "What SIP messages take in memory, about."),
				func(s [2]int, to values) { to.gauge(s[1]) }},
		})
	}})
}

// keepMessage is sipflow.Config.Watch.
func (a *App) keepMessage(m *sipflow.OnWire) {
	a.messages.Add(capture.Message{At: m.At, Out: m.Out, Transport: m.Transport, Local: m.Local, Remote: m.Remote}, m.Data)
}

// claimMessages says whose the messages of a dialog are, and what its call came to.
func (a *App) claimMessages(e *sipflow.Event) {
	if e.ID == "" {
		return
	}
	if e.Leg != nil && e.Leg.CallID != "" {
		a.messages.Claim(e.ID, e.Leg.CallID)
	}
	for i := range e.Legs {
		if id := e.Legs[i].CallID; id != "" {
			a.messages.Claim(e.ID, id)
		}
	}
	if e.Kind == sipflow.Ended {
		a.messages.Ended(e.ID, e.Err != nil)
	}
}

// openAPI makes the API, if it is enabled. It is made before all that has calls of its
// own, so that its streams end after those.
func (a *App) openAPI() error {
	if !a.cfg.API.Enabled {
		return nil
	}
	keys, err := api.OpenKeys(a.cfg.KeysFile(), a.cfg.API.Keys)
	if err != nil {
		return a.cfg.At("api.keys", fmt.Errorf("api.keys: %w", err))
	}
	a.add(feature{name: "API keys", stage: stageBase, reads: true,
		run: func(ctx context.Context) error {
			if err := keys.Watch(ctx, a.log); err != nil {
				a.log.Warn("changed API keys are read only on SIGHUP", "error", err)
			}
			return nil
		},
		reload: func(next *config.Config) error {
			if next == nil {
				return keys.Reload()
			}
			return keys.SetFixed(next.API.Keys)
		}})
	cfg := a.cfg.APIConfig()
	cfg.Keys = keys
	cfg.Webhooks = a.outbox
	cfg.Messages = a.messages
	cfg.Durable = a.bus.Stats().Store != config.EventsInMemory
	cfg.Policy = func(u *restauth.User) string { return a.dialling.Of(u.Name, u.Identity) }
	cfg.Phone = a.phoneUser
	cfg.Health = a.healthOfParts
	if a.dispatch != nil {
		cfg.Inbound = inboundDoor{a.dispatch, a.cfg.Domain}
	}
	if cfg.Calls, err = a.callsConfig(); err != nil {
		return err
	}
	if a.cluster != nil {
		cfg.Elsewhere = otherNodes{a.cluster}
	}
	a.api = api.New(cfg, a.bus, a.sw, a.users, a.gate, a.log)
	route := web.Route{Owns: api.Owns, Handler: a.api, ReadsBody: api.ReadsBody, Streams: api.Streams, Fail: api.Fail}
	a.add(feature{name: "API", stage: stageSockets, stop: a.stopAPI, metrics: func(r *metrics.Registry) { addAPIMetrics(r, a.api) },
		routes: func() []web.Route { return []web.Route{route} }})
	return nil
}

// phoneUser is the user of the phone over WebSocket whose token it is.
func (a *App) phoneUser(ctx context.Context, token string) (api.PhoneUser, bool) {
	if a.phone == nil {
		return api.PhoneUser{}, false
	}
	u, err := a.phone.UserOf(ctx, token)
	return api.PhoneUser{Username: u.Username, SIP: u.SIP}, err == nil
}

// eventWait is how long streams wait at the end for what was told last.
const eventWait = 500 * time.Millisecond

// stopAPI ends the streams once they have had what SIP told at its end.
func (a *App) stopAPI() {
	for began := time.Now(); a.bus.Stats().QueueBytes > 0 && time.Since(began) < eventWait; {
		time.Sleep(5 * time.Millisecond)
	}
	a.api.Shutdown()
}

// addEventMetrics shows what the log of events does.
func addEventMetrics(r *metrics.Registry, bus *event.Bus) {
	show(r, bus.Stats, []family[event.Stats]{
		{metrics.Counter("sipxrest_events_total", "Events of calls, by type.", "type"),
			func(s event.Stats, to values) {
				for t, n := range s.Events {
					to.count(uint64(n), string(t))
				}
			}},
		{metrics.Gauge("sipxrest_events_queue_bytes", "What of events waits to be stored."),
			func(s event.Stats, to values) { to.gauge(int(s.QueueBytes)) }},
		{metrics.Gauge("sipxrest_events_lag_seconds", "Age of the oldest event that is not stored."),
			func(s event.Stats, to values) { to.set(s.Lag.Seconds()) }},
		{metrics.Counter("sipxrest_events_ahead_total", "Events that streams had before they were stored."),
			func(s event.Stats, to values) { to.count(uint64(s.Ahead)) }},
		{metrics.Counter("sipxrest_events_unstored_total", "Events that were never stored: the store could not keep up, or be written."),
			func(s event.Stats, to values) { to.count(uint64(s.Unstored)) }},
		{metrics.Counter("sipxrest_events_refused_total", "Events that did not fit their call, by why: late: it had ended; refused: they made no sense.", "why"),
			func(s event.Stats, to values) {
				to.count(uint64(s.Late), "late")
				to.count(uint64(s.Refused), "refused")
			}},
		{metrics.Counter("sipxrest_events_commits_total", "Commits of the store, by outcome (done, failed).", "outcome"),
			func(s event.Stats, to values) {
				to.count(uint64(s.Commits), "done")
				to.count(uint64(s.Failed), "failed")
			}},
		{metrics.Gauge("sipxrest_events_stored", "1 while events go to the file, 0 while they do not."),
			func(s event.Stats, to values) {
				up := 1
				if s.StoreError != nil {
					up = 0
				}
				to.gauge(up)
			}},
	})
}

// addAPIMetrics shows who reads, and what was refused.
func addAPIMetrics(r *metrics.Registry, service *api.API) {
	show(r, service.Stats, []family[api.Stats]{
		{metrics.Counter("sipxrest_api_refused_total", "Requests at /v1 that were answered by an error, by its code.", "code"),
			func(s api.Stats, to values) {
				for _, f := range api.Faults() {
					to.count(s.Refused[f.Code], string(f.Code))
				}
			}},
		{metrics.Gauge("sipxrest_stream_open", "Streams of events that are open."),
			func(s api.Stats, to values) { to.gauge(s.Streams) }},
		{metrics.Counter("sipxrest_stream_cut_total", "Streams of events that have ended, by why.", "why"),
			func(s api.Stats, to values) {
				for _, why := range api.Cuts {
					to.count(s.Cut[why], string(why))
				}
			}},
		{metrics.Gauge("sipxrest_api_waits", "Answers that are put off by Prefer: wait."),
			func(s api.Stats, to values) { to.gauge(int(s.Waits)) }},
		{metrics.Gauge("sipxrest_api_keys", "API keys."),
			func(s api.Stats, to values) { to.gauge(s.Keys) }},
	})
}
