package app

import (
	"context"
	"fmt"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/event"
	"sipxrest/internal/metrics"
	"sipxrest/sipflow"
)

// openOutbox makes the outbox, by which webhooks are told of events. It ends after
// all that tells events, and before their log.
func (a *App) openOutbox() error {
	if a.bus == nil {
		return nil
	}
	cfg, err := a.cfg.OutboxConfig()
	if err != nil {
		return err
	}
	a.shareWebhooks(&cfg)
	if a.outbox, err = event.NewOutbox(cfg, a.bus, a.log); err != nil {
		return a.cfg.At("events.webhooks", fmt.Errorf("events.webhooks: %w", err))
	}
	a.add(feature{name: "webhooks of events", stage: stageOutbox, run: a.runOutbox, reload: a.reloadOutbox,
		metrics: func(r *metrics.Registry) { addOutboxMetrics(r, a.outbox) }})
	return nil
}

// runOutbox delivers until ctx ends, and then what was told last, as far as it goes
// within event.OutboxConfig.Wait. The rest is in the log.
func (a *App) runOutbox(ctx context.Context) error {
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	stop := context.AfterFunc(ctx, func() {
		a.waitForLog()
		end()
	})
	defer stop()
	a.outbox.Run(serving)
	return nil
}

// waitForLog waits until what was told last is in the log.
func (a *App) waitForLog() {
	for began := time.Now(); a.bus.Stats().QueueBytes > 0 && time.Since(began) < eventWait; {
		time.Sleep(5 * time.Millisecond)
	}
}

// reloadOutbox takes the webhooks of the configuration, and their secrets. Where the
// configuration could not be read, secrets are read by the one before.
func (a *App) reloadOutbox(next *config.Config) error {
	if next == nil {
		next = &a.cfg
	}
	list, err := next.ConfiguredWebhooks()
	if err != nil {
		return err
	}
	if err := a.outbox.Reload(config.Prefixes(next.Events.AllowPrivate), list); err != nil {
		return fmt.Errorf("events.webhooks: %w", err)
	}
	return nil
}

// addOutboxMetrics shows how webhooks fare.
func addOutboxMetrics(r *metrics.Registry, o *event.Outbox) {
	show(r, o.Stats, []family[event.OutboxStats]{
		{metrics.Counter("sipxrest_webhook_deliveries_total",
			"Events for webhooks, by what became of them: taken, failed (an attempt, it is tried again), dead (given up), lost (gone from the log before), forgotten (dead letters that were too old or too many).", "result"),
			func(s event.OutboxStats, to values) {
				to.count(s.Taken, "taken")
				to.count(s.Failed, "failed")
				to.count(s.Died, "dead")
				to.count(s.Lost, "lost")
				to.count(s.Forgotten, "forgotten")
			}},
		{metrics.Gauge("sipxrest_webhooks", "Webhooks by state: ok, failing (tried once a minute), disabled.", "state"),
			func(s event.OutboxStats, to values) {
				for state, n := range s.Webhooks {
					to.gauge(n, state)
				}
			}},
		{metrics.Gauge("sipxrest_webhook_waiting", "Deliveries that webhooks have not taken at once, and that are tried again."),
			func(s event.OutboxStats, to values) { to.gauge(s.Waiting) }},
		{metrics.Gauge("sipxrest_webhook_dead_letters", "Deliveries that were given up, and can be replayed."),
			func(s event.OutboxStats, to values) { to.gauge(s.Dead) }},
		{metrics.Gauge("sipxrest_webhook_requests_active", "Requests to webhooks that are under way."),
			func(s event.OutboxStats, to values) { to.gauge(s.Sending) }},
		{metrics.Gauge("sipxrest_webhook_lag_seconds", "Age of the oldest event that a webhook has not been asked to take yet."),
			func(s event.OutboxStats, to values) { to.set(float64(s.LagMS) / 1000) }},
		{metrics.Seconds("sipxrest_webhook_seconds", "Time that webhooks took to answer, failures included, in seconds."),
			func(s event.OutboxStats, to values) {
				to.times(sipflow.Histogram{Bounds: s.Bounds, Buckets: s.Buckets, Sum: s.Sum})
			}},
	})
}
