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
	p := &a.cfg.Phone
	if !p.Enabled {
		return nil
	}
	store, err := webphone.Open(a.cfg.PhoneDatabase())
	if err != nil {
		return a.cfg.At("phone.database", fmt.Errorf("phone.database: %w", err))
	}
	a.phoneStore = store
	gateway, err := a.gateway()
	if err != nil {
		return a.cfg.At("phone.sip", fmt.Errorf("phone.sip: %w", err))
	}
	a.phone, err = webphone.New(webphone.Config{
		Store: store, Address: a.gate.Address, Gateway: gateway,
		Origins:  append(a.cfg.AllowedOrigins[:len(a.cfg.AllowedOrigins):len(a.cfg.AllowedOrigins)], p.Origins...),
		MinLevel: p.MinLevel, RingTime: p.RingTime, MaxCall: p.MaxCall, LogCalls: a.cfg.Log.Calls,
		MaxSockets: p.Limits.Sockets, MaxUserSockets: p.Limits.SocketsPerUser, MaxCalls: p.Limits.Calls, RequestRate: p.Limits.RequestsPerUser,
	}, a.log)
	if err != nil {
		return a.cfg.At("phone", fmt.Errorf("phone.%w", err))
	}
	a.phone.SetCalls(p.Calls)
	return nil
}

// withPhone lets the phone service answer its paths on a listener of "http",
// before the gate: its users have passwords and tokens of their own.
func (a *App) withPhone(h http.Handler, secure bool) http.Handler {
	if a.phone == nil || a.cfg.Phone.Listen != "" || !secure && !a.cfg.Phone.PlainHTTP {
		return h
	}
	calls := a.phoneHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if webphone.Owns(r) {
			calls.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// phoneHandler is the service with what every resource has. Its requests may
// take as long as a call, and are no traces.
func (a *App) phoneHandler() http.Handler {
	return a.requests.Wrap(web.Guard(a.routes(), a.phone, a.log))
}

// bindPhone opens phone.listen, if it is set.
func (a *App) bindPhone() error {
	p := &a.cfg.Phone
	if a.phone == nil || p.Listen == "" {
		return nil
	}
	var secure *tls.Config
	if !p.PlainHTTP {
		cert, err := a.certificateFor(p.TLS)
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

// takePhoneCalls takes phone.calls of another configuration.
func (a *App) takePhoneCalls(next *config.Config) {
	if a.phone != nil {
		a.phone.SetCalls(next.Phone.Calls)
	}
}

// activeCalls is how many calls there are, of all kinds.
func (a *App) activeCalls() int {
	n := a.sw.Active()
	if a.phone != nil {
		n += a.phone.Active()
	}
	return n
}

// closePhone closes the database.
func (a *App) closePhone() {
	if a.phoneStore == nil {
		return
	}
	if err := a.phoneStore.Close(); err != nil {
		a.log.Warn("the phone's database was not closed", "error", err)
	}
	a.phoneStore = nil
}

// addPhoneMetrics shows what became of the phone's calls.
func (a *App) addPhoneMetrics(r *metrics.Registry) {
	if a.phone == nil {
		return
	}
	var (
		active  = metrics.Gauge("sipxrest_phone_calls_active", "Calls over WebSocket that ring or are up.")
		begun   = metrics.Counter("sipxrest_phone_calls_begun_total", "Calls over WebSocket begun, by path (mediated: audio goes through here; direct).", "path")
		ended   = metrics.Counter("sipxrest_phone_calls_total", "Calls over WebSocket that are over, by what they came to.", "outcome")
		sockets = metrics.Gauge("sipxrest_phone_sockets", "WebSockets open, by kind (notification, call).", "kind")
		users   = metrics.Gauge("sipxrest_phone_users_online", "Users who have a notification socket.")
		frames  = metrics.Counter("sipxrest_phone_frames_total", "Messages of audio, by what became of them: relayed; dropped, for who should hear them was too slow; malformed.", "outcome")
		refused = metrics.Counter("sipxrest_phone_requests_refused_total", "Requests at /api/v3 that were answered by an error.")
		logins  = metrics.Counter("sipxrest_phone_logins_failed_total", "Log-ins with a wrong user name or password.")
	)
	a.addGatewayMetrics(r)
	r.Add([]*metrics.Family{active, begun, ended, sockets, users, frames, refused, logins}, func(v metrics.Values) {
		s := a.phone.Stats()
		v.Set(active, float64(s.Calls))
		v.Count(begun, s.Mediated, "mediated")
		v.Count(begun, s.Direct, "direct")
		for o, n := range s.Outcomes {
			v.Count(ended, n, webphone.Outcome(o).String())
		}
		v.Set(sockets, float64(s.Devices), "notification")
		v.Set(sockets, float64(s.Sockets-s.Devices), "call")
		v.Set(users, float64(s.Users))
		v.Count(frames, s.FramesRelayed, "relayed")
		v.Count(frames, s.FramesDropped, "dropped")
		v.Count(frames, s.FramesMalformed, "malformed")
		v.Count(refused, s.Refused)
		v.Count(logins, s.LoginsFailed)
	})
}
