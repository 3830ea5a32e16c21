package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/internal/metrics"
	webphone "sipxrest/phone"
)

// openPhone makes the service for the section, if it is enabled.
func (a *App) openPhone() error {
	f := feature{name: "phone", stage: stageSockets}
	route := web.Route{Owns: webphone.Owns, ReadsBody: webphone.ReadsBody,
		Fail: func(w http.ResponseWriter, _ *http.Request, status int, _ string) { webphone.Fail(w, status) }}
	if a.cfg.Phone.Enabled {
		if err := a.newPhone(); err != nil {
			return err
		}
		f.run, f.drain, f.active, f.stop = a.phone.Run, a.phone.Drain, a.phone.Active, a.phone.Shutdown
		f.reload = func(next *config.Config) error {
			if next != nil {
				a.phone.SetCalls(next.Phone.Calls)
			}
			return nil
		}
		f.metrics = func(r *metrics.Registry) { addPhoneMetrics(r, a.phone) }
		f.bind = a.bindPhone
		route.Ungated = a.phoneOn
	}
	f.routes = func() []web.Route { return []web.Route{route} }
	a.add(f)
	return nil
}

// newPhone opens the database, and makes the service.
func (a *App) newPhone() error {
	p := &a.cfg.Phone
	store, err := webphone.Open(a.cfg.PhoneDatabase())
	if err != nil {
		return a.cfg.At("phone.database", fmt.Errorf("phone.database: %w", err))
	}
	a.add(feature{name: "phone's database", stage: stageBase, stop: func() {
		if err := store.Close(); err != nil {
			a.log.Warn("the phone's database was not closed", "error", err)
		}
	}})
	gateway, err := a.gateway()
	if err != nil {
		return a.cfg.At("phone.sip", fmt.Errorf("phone.sip: %w", err))
	}
	a.phone, err = webphone.New(webphone.Config{
		Store: store, Address: a.gate.Address, Gateway: gateway,
		Origins:  append(a.cfg.AllowedOrigins[:len(a.cfg.AllowedOrigins):len(a.cfg.AllowedOrigins)], p.Origins...),
		MinLevel: p.MinLevel, RingTime: p.RingTime, MaxCall: p.MaxCall, LogCalls: a.cfg.Log.Calls,
		Calls: a.phoneCalls(), MaxSockets: p.Limits.Sockets, MaxUserSockets: p.Limits.SocketsPerUser, MaxCalls: p.Limits.Calls, RequestRate: p.Limits.RequestsPerUser,
	}, a.log)
	if err != nil {
		return a.cfg.At("phone", fmt.Errorf("phone.%w", err))
	}
	a.phone.SetCalls(p.Calls)
	return nil
}

// phoneOn answers the service's paths on a listener of "http", before the gate:
// its users have passwords and tokens of their own. nil: not on this one.
func (a *App) phoneOn(secure bool) http.Handler {
	if a.cfg.Phone.Listen != "" || !secure && !a.cfg.Phone.PlainHTTP {
		return nil
	}
	return a.phoneHandler()
}

// phoneHandler is the service with what every resource has. Its requests may
// take as long as a call, and are no traces.
func (a *App) phoneHandler() http.Handler {
	return a.requests.Wrap(web.Guard(a.routes, a.phone, a.log))
}

// bindPhone opens phone.listen, if it is set.
func (a *App) bindPhone() error {
	p := &a.cfg.Phone
	if p.Listen == "" {
		return nil
	}
	var secure *tls.Config
	if !p.PlainHTTP {
		cert, err := a.certificateFor("http", p.TLS)
		if err != nil {
			return a.cfg.At("phone.tls.cert", fmt.Errorf("phone.tls.cert: %w", err))
		}
		secure = cert.Config(p.TLS.MinVersion)
	}
	socket, err := net.Listen("tcp", p.Listen)
	if err != nil {
		return a.cfg.At("phone.listen", fmt.Errorf("phone.listen: %w", web.ExplainBind(err)))
	}
	a.listeners = append(a.listeners, a.newListener(socket, secure, a.clientRoom(), a.phoneHandler()))
	return nil
}

// addPhoneMetrics shows what became of the phone's calls.
func addPhoneMetrics(r *metrics.Registry, service *webphone.Service) {
	show(r, service.Stats, []family[webphone.Stats]{
		{metrics.Gauge("sipxrest_phone_calls_active", "Calls over WebSocket that ring or are up."),
			func(s webphone.Stats, to values) { to.gauge(s.Calls) }},
		{metrics.Counter("sipxrest_phone_calls_begun_total", "Calls over WebSocket begun, by path (mediated: audio goes through here; direct).", "path"),
			func(s webphone.Stats, to values) {
				to.count(s.Mediated, "mediated")
				to.count(s.Direct, "direct")
			}},
		{metrics.Counter("sipxrest_phone_calls_total", "Calls over WebSocket that are over, by what they came to.", "outcome"),
			func(s webphone.Stats, to values) { each[webphone.Outcome](to, s.Outcomes[:]) }},
		{metrics.Gauge("sipxrest_phone_sockets", "WebSockets open, by kind (notification, call).", "kind"),
			func(s webphone.Stats, to values) {
				to.gauge(s.Devices, "notification")
				to.gauge(s.Sockets-s.Devices, "call")
			}},
		{metrics.Gauge("sipxrest_phone_users_online", "Users who have a notification socket."),
			func(s webphone.Stats, to values) { to.gauge(s.Users) }},
		{metrics.Counter("sipxrest_phone_frames_total", "Messages of audio, by what became of them: relayed; dropped, for who should hear them was too slow; malformed.", "outcome"),
			func(s webphone.Stats, to values) {
				to.count(s.FramesRelayed, "relayed")
				to.count(s.FramesDropped, "dropped")
				to.count(s.FramesMalformed, "malformed")
			}},
		{metrics.Counter("sipxrest_phone_requests_refused_total", "Requests at /api/v3 that were answered by an error."),
			func(s webphone.Stats, to values) { to.count(s.Refused) }},
		{metrics.Counter("sipxrest_phone_logins_failed_total", "Log-ins with a wrong user name or password."),
			func(s webphone.Stats, to values) { to.count(s.LoginsFailed) }},
	})
	if g := service.Gateway(); g != nil {
		addGatewayMetrics(r, service, g)
	}
}
