package app

import (
	"context"
	"slices"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/internal/metrics"
)

// A feature is one part of the service, as whatever is about all parts sees it:
// Run, Close, Reload, the metrics, the routes. Where it has nothing to do a field
// is nil.
type feature struct {
	name  string // with which errors of run begin
	stage stage

	// run serves until its context ends. With reads it reads files, whose file
	// system may not answer: then the end goes on without it.
	run   func(context.Context) error
	reads bool
	// ready is closed when clients need not be kept waiting for the feature.
	ready <-chan struct{}

	// drain takes no new calls from now on. active is how many there are.
	drain  func()
	active func() int

	// stop ends what run's context does not end. It comes before that, and once
	// all later features have ended.
	stop func()
	// abandon releases what a feature holds that has never run. nil: stop does.
	abandon func()

	// reload takes a configuration that was read again. It is nil if that could
	// not be read: then only the feature's own files count. What cannot be taken
	// stays as it was.
	reload func(next *config.Config) error
	// waits names those keys of next that the feature takes by a restart only,
	// though others take them at once.
	waits func(next *config.Config) []string

	metrics func(*metrics.Registry)
	// routes are asked for once all features are open.
	routes func() []web.Route
	// bind opens listeners of the feature's own, after those of "http".
	bind func() error
}

// stage says when a feature starts. The service ends in the reverse order, so each
// stage names what is needed until all later ones have ended.
type stage int

const (
	// What others use: names in DNS, users, certificates, databases.
	stageBase stage = iota
	// Webhooks of events: they are told of what has happened until all others ended.
	stageOutbox
	// HTTP: clients read to the end what becomes of their calls, and streams of
	// events tell it. Listeners accept once all stages have started.
	stageListeners
	// WebSockets of calls: they are no requests of an HTTP server any more, which
	// would not wait for them.
	stageSockets
	// Webhooks: they are told how the calls that came in have ended.
	stageWebhooks
	// Signaling servers of Talk: what became of calls is told by way of them.
	stageSignaling
	// Conversations of Talk that have phones: their owners take those out first.
	stageConversations
	// Telephones: what became of their calls is told to Talk once they are hung up.
	stageTelephones
	// SIP: it ends first, and hangs everything up.
	stageSIP
)

// add makes a feature part of the service.
func (a *App) add(f feature) {
	a.features = append(a.features, f)
	slices.SortStableFunc(a.features, func(f, g feature) int { return int(f.stage - g.stage) })
}

// activeCalls is how many calls there are, of all kinds.
func (a *App) activeCalls() (n int) {
	for _, f := range a.features {
		if f.active != nil {
			n += f.active()
		}
	}
	return n
}

// drainAll takes no new calls any more, SIP first.
func (a *App) drainAll() {
	for _, f := range slices.Backward(a.features) {
		if f.drain != nil {
			f.drain()
		}
	}
}

// routesOf are the resources of the features, those that the service is without,
// too: faults at their paths are worded as they word them. The call controller
// is last, for all other paths are its.
func (a *App) routesOf(controller web.Route) (all web.Routes) {
	for _, f := range slices.Backward(a.features) {
		if f.routes != nil {
			all = append(all, f.routes()...)
		}
	}
	return append(all, controller)
}
