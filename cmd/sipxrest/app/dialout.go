package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"sipxrest/callcontroller"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/dialout"
	"sipxrest/internal/metrics"
	webphone "sipxrest/phone"
	"sipxrest/policy"
	"sipxrest/schema"
)

// openDialout makes the service for the section, if there is one.
func (a *App) openDialout() error {
	if !a.cfg.Dialout.InUse() {
		return nil
	}
	cfg := a.cfg.DialoutConfig()
	cfg.Allow = a.dialling.allowCall
	var err error
	if cfg.TLS, err = DialoutTLS(&a.cfg); err != nil {
		return err
	}
	if a.dialout, err = dialout.New(cfg, a.sw, a.users, a.gate, a.log); err != nil {
		var fault *dialout.Fault
		if errors.As(err, &fault) && fault.Key != "data-dir" {
			return a.cfg.At("dialout."+fault.Key, fmt.Errorf("dialout.%w", err))
		}
		return a.cfg.At("data-dir", err)
	}
	return nil
}

// DialoutTLS verifies signaling servers and Nextclouds.
func DialoutTLS(cfg *config.Config) (*tls.Config, error) {
	roots, err := web.ReadAuthorities(cfg.Dialout.CA)
	if err != nil {
		return nil, cfg.At("dialout.ca", fmt.Errorf("dialout.ca: %w", err))
	}
	return &tls.Config{RootCAs: roots.Pool(), MinVersion: tls.VersionTLS12}, nil
}

// allowCall is dialout.Config.Allow.
func (d *Dialling) allowCall(agent, target string) error {
	name := d.Of(agent, "")
	if name == "" {
		return nil
	}
	err := d.book.Load().Check(name, target)
	var why *policy.Refusal
	if errors.As(err, &why) {
		d.log.Info("dialling refused", "agent", agent, "target", why.Target, "policy", why.Policy, "rule", why.Rule, "reason", err)
	}
	return err
}

// routes are the resources, those that the service is without, too: faults at
// their paths are worded as they word them. That of calls over WebSocket is
// answered before the gate, see withPhone.
func (a *App) routes() web.Routes {
	if a.dialout == nil {
		return resources(a.controller.Handler(), nil)
	}
	return resources(a.controller.Handler(), a.dialout.Handler())
}

func resources(calls, telephones http.Handler) web.Routes {
	return web.Routes{
		{Owns: dialout.Owns, ReadsBody: dialout.ReadsBody, Streams: dialout.Streams, Handler: telephones,
			Fail: func(w http.ResponseWriter, status int, _ string) { dialout.Fail(w, status) }},
		{Owns: webphone.Owns, ReadsBody: webphone.ReadsBody,
			Fail: func(w http.ResponseWriter, status int, _ string) { webphone.Fail(w, status) }},
		{Handler: calls, Fail: failWithStatus},
	}
}

// failWithStatus answers with the document that clients of the call controller
// know.
func failWithStatus(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/xml; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(schema.AppendProcessingStatus(nil, status, text))
}

// routeName names the resource that r asks for.
func routeName(r *http.Request) string {
	if name := dialout.Route(r); name != "" {
		return name
	}
	return callcontroller.Route(r)
}

// services are the lines of the page at / beside that of the call controller.
func (a *App) services() []callcontroller.Service {
	if a.dialout == nil {
		return nil
	}
	return []callcontroller.Service{{Prefix: dialout.Prefix, Security: "LOCAL-AND-REMOTE",
		Description: "Calls to the telephone network. POST a JSON document with the number to " + dialout.Prefix +
			"; GET " + dialout.Prefix + "/{callid} tells how the call fares, /events below it streams that, DELETE hangs it up."}}
}

// addDialoutMetrics shows what calls to the telephone network came to.
func (a *App) addDialoutMetrics(r *metrics.Registry) {
	if a.dialout == nil {
		return
	}
	var (
		calls   = metrics.Counter("sipxrest_dialout_calls_total", "Calls to the telephone network that are over, by who asked for them (talk, rest) and what they came to. refused: never begun.", "source", "outcome")
		active  = metrics.Gauge("sipxrest_dialout_calls_active", "Calls to the telephone network in progress, or being verified.")
		links   = metrics.Gauge("sipxrest_dialout_connections", "Connections to Talk's signaling servers, one for each Nextcloud, by state (up, down).", "state")
		streams = metrics.Gauge("sipxrest_dialout_event_streams", "Clients that read the events of a call to the telephone network.")
		notes   = metrics.Counter("sipxrest_dialout_journal_failures_total", "Calls that could not be noted in data-dir, or whose note could not be removed.")
	)
	r.Add([]*metrics.Family{calls, active, links, streams, notes}, func(v metrics.Values) {
		s := a.dialout.Stats()
		for from := range s.Calls {
			for o, n := range s.Calls[from] {
				v.Count(calls, n, dialout.Source(from).String(), dialout.Outcome(o).String())
			}
		}
		v.Set(active, float64(s.Active))
		v.Set(links, float64(s.Connected), "up")
		v.Set(links, float64(s.Down), "down")
		v.Set(streams, float64(s.Subscribers))
		v.Count(notes, s.JournalFailures)
	})
}
