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
	"sipxrest/internal/fault"
	"sipxrest/internal/metrics"
	"sipxrest/media"
	"sipxrest/policy"
	"sipxrest/schema"
)

// openDialout makes the service for the section, if there is one.
func (a *App) openDialout() error {
	f := feature{name: "dialout", stage: stageTelephones}
	route := web.Route{Owns: dialout.Owns, ReadsBody: dialout.ReadsBody, Streams: dialout.Streams,
		Fail: func(w http.ResponseWriter, _ *http.Request, status int, _ string) { dialout.Fail(w, status) }}
	if a.cfg.Dialout.InUse() {
		s, err := a.newDialout()
		if err != nil {
			return err
		}
		a.dialout, route.Handler = s, s.Handler()
		f.run, f.drain = s.Run, s.Stop // Talk asks another bridge
		a.signals.hears(s.Signals(), s.Connect)
		f.waits = a.waitsForDialout
		f.metrics = func(r *metrics.Registry) { addDialoutMetrics(r, s) }
		a.services = append(a.services, callcontroller.Service{Prefix: dialout.Prefix, Security: "LOCAL-AND-REMOTE",
			Description: "Calls to the telephone network. POST a JSON document with the number to " + dialout.Prefix +
				"; GET " + dialout.Prefix + "/{callid} tells how the call fares, /events below it streams that, DELETE hangs it up."})
	}
	f.routes = func() []web.Route { return []web.Route{route} }
	a.add(f)
	return nil
}

func (a *App) newDialout() (*dialout.Service, error) {
	cfg := a.cfg.DialoutConfig()
	cfg.Allow = a.dialling.allowCall
	if a.bus != nil {
		cfg.Calls = dialoutDoor{a.bus}
	}
	if a.cluster != nil {
		cfg.Elsewhere, cfg.All, cfg.Users = a.cluster, a.cluster.Counts(countDialout), a.cluster.Counts(countDialoutUsers)
	}
	if cfg.Audio != nil {
		cfg.Audio.Rooms, cfg.Audio.Ports = a.rooms, a.talkPorts
		clips, err := a.clips()
		if err != nil {
			return nil, err
		}
		cfg.Audio.Clip = func(name string) []int16 { return clips.Clip(a.cfg.Dialin.Language, name) }
		cfg.Audio.Security, _ = media.ParseSecurity(a.cfg.Dialout.Audio.SRTP) // checked
	}
	s, err := dialout.New(cfg, a.sw, a.users, a.gate, a.log)
	if err != nil {
		var at *fault.Fault
		if errors.As(err, &at) && at.Key != "data-dir" {
			return nil, a.cfg.At("dialout."+at.Key, fmt.Errorf("dialout.%w", err))
		}
		return nil, a.cfg.At("data-dir", err)
	}
	return s, nil
}

// waitsForDialout says that dial.country, which policies take at once, is the
// country of calls to telephones, too.
func (a *App) waitsForDialout(next *config.Config) []string {
	if next.Dialout.Country == "" && a.cfg.Dialout.Country == "" && next.Dial.Country != a.cfg.Dial.Country {
		return []string{"dial.country (for dialout)"}
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

// failWithStatus answers with the document that clients of the call controller
// know.
func failWithStatus(w http.ResponseWriter, _ *http.Request, status int, text string) {
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

// addDialoutMetrics shows what calls to the telephone network came to.
func addDialoutMetrics(r *metrics.Registry, service *dialout.Service) {
	show(r, service.Stats, []family[dialout.Stats]{
		{metrics.Counter("sipxrest_dialout_calls_total", "Calls to the telephone network that are over, by who asked for them (talk, rest) and what they came to. refused: never begun.", "source", "outcome"),
			func(s dialout.Stats, to values) {
				for from := range s.Calls {
					each[dialout.Outcome](to, s.Calls[from][:], dialout.Source(from).String())
				}
			}},
		{metrics.Gauge("sipxrest_dialout_calls_active", "Calls to the telephone network in progress, or being verified."),
			func(s dialout.Stats, to values) { to.gauge(s.Active) }},
		{metrics.Gauge("sipxrest_dialout_connections", "Connections to Talk's signaling servers, one for each Nextcloud, by state (up, down).", "state"),
			func(s dialout.Stats, to values) {
				to.gauge(s.Connected, "up")
				to.gauge(s.Down, "down")
			}},
		{metrics.Gauge("sipxrest_dialout_event_streams", "Clients that read the events of a call to the telephone network."),
			func(s dialout.Stats, to values) { to.gauge(s.Subscribers) }},
		{metrics.Counter("sipxrest_dialout_journal_failures_total", "Calls that could not be noted in data-dir, or whose note could not be removed."),
			func(s dialout.Stats, to values) { to.count(s.JournalFailures) }},
	})
}
