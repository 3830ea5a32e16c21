package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sipxrest/internal/metrics"
	webphone "sipxrest/phone"
)

// Phone is the section "phone": calls over WebSocket between users of their own,
// at /api/v3. Without phone.enabled there is nothing of it.
type Phone struct {
	Enabled bool
	// Calls false answers 451 to what is about calls. It is read again on SIGHUP.
	Calls bool
	// Listen is a "host:port" of its own. Empty: the listeners of "http" that
	// have TLS.
	Listen string
	// TLS is for Listen; as with "http", empty is the self-signed certificate.
	TLS TLS
	// PlainHTTP serves without TLS: on Listen in place of it, else on the
	// listeners of "http" without TLS, too.
	PlainHTTP bool
	// Database is the file with the users. Empty: phone.db in DataDir.
	Database string
	// Origins lists the browser pages of other sites that may use it, beside
	// AllowedOrigins.
	Origins []string
	// MinLevel is the access level from which users may call.
	MinLevel string
	RingTime time.Duration // how long a call may be unanswered
	MaxCall  time.Duration // how long it may last; 0: as long as it likes
	Limits   PhoneLimits
	SIP      PhoneSIP
}

// PhoneLimits is the section "phone.limits".
type PhoneLimits struct {
	Sockets         int // at once
	SocketsPerUser  int // notification sockets of one user
	Calls           int // at once
	RequestsPerUser int // per second
}

// defaultPhone holds when nothing is set.
func defaultPhone() Phone {
	return Phone{Calls: true, MinLevel: webphone.DefaultLevel, RingTime: time.Minute, MaxCall: 4 * time.Hour,
		Limits: PhoneLimits{Sockets: 5000, SocketsPerUser: 10, Calls: 2000, RequestsPerUser: 10}, SIP: PhoneSIP{RTPPorts: "20000-20999", Guests: true}}
}

// keys are the keys of the section.
func (p *Phone) keys() []key {
	return append([]key{
		{"phone.enabled", false, truth(&p.Enabled)},
		{"phone.calls", false, truth(&p.Calls)},
		{"phone.listen", false, text(&p.Listen)},
		{"phone.tls.cert", false, path(&p.TLS.Cert)},
		{"phone.tls.key", false, path(&p.TLS.Key)},
		{"phone.tls.min-version", false, text(&p.TLS.MinVersion)},
		{"phone.plain-http", false, truth(&p.PlainHTTP)},
		{"phone.database", false, path(&p.Database)},
		{"phone.origins", true, texts(&p.Origins)},
		{"phone.min-level", false, text(&p.MinLevel)},
		{"phone.ring-time", false, duration(&p.RingTime)},
		{"phone.max-call-time", false, duration(&p.MaxCall)},
		{"phone.limits.sockets", false, number(&p.Limits.Sockets)},
		{"phone.limits.sockets-per-user", false, number(&p.Limits.SocketsPerUser)},
		{"phone.limits.calls", false, number(&p.Limits.Calls)},
		{"phone.limits.requests-per-user", false, number(&p.Limits.RequestsPerUser)},
	}, p.SIP.keys()...)
}

// phone checks the section.
func (v *checks) phone() {
	p := &v.c.Phone
	if p.Listen != "" {
		if _, _, err := net.SplitHostPort(p.Listen); err != nil {
			v.check("phone.listen", fmt.Errorf("%q: write host:port, or :port for every address", p.Listen))
		}
		if (p.TLS.Cert == "") != (p.TLS.Key == "") {
			v.check("phone.tls.cert", errors.New("write both cert and key, or neither for a self-signed certificate"))
		}
		if p.PlainHTTP && p.TLS.Cert != "" {
			v.check("phone.plain-http", errors.New("phone.listen has either a certificate or plain HTTP: leave one out"))
		}
	} else if p.TLS != (TLS{}) {
		v.check("phone.listen", errors.New("missing: phone.tls is for a listener of its own; those of http have their own tls"))
	}
	if _, ok := tlsVersions[p.TLS.MinVersion]; !ok {
		v.check("phone.tls.min-version", fmt.Errorf(`%q is unknown: write "1.2" or "1.3"`, p.TLS.MinVersion))
	}
	if p.Enabled && p.Listen == "" && !p.PlainHTTP {
		secure := false
		for _, l := range v.c.HTTP {
			secure = secure || l.TLS != nil
		}
		if !secure {
			v.check("phone.enabled", errors.New("no listener of http has tls: add tls: {} to one, or set phone.listen, or phone.plain-http behind a reverse proxy"))
		}
	}
	v.origins("phone.origins", p.Origins)
	v.word("phone.min-level", p.MinLevel, webphone.Levels...)
	v.span("phone.ring-time", p.RingTime, time.Second, 10*time.Minute)
	if p.MaxCall != 0 {
		v.span("phone.max-call-time", p.MaxCall, time.Minute, 7*24*time.Hour)
	}
	v.count("phone.limits.sockets", p.Limits.Sockets, 1_000_000)
	v.count("phone.limits.sockets-per-user", p.Limits.SocketsPerUser, 1000)
	v.count("phone.limits.calls", p.Limits.Calls, 1_000_000)
	v.count("phone.limits.requests-per-user", p.Limits.RequestsPerUser, 1_000_000)
	v.phoneSIP()
}

// PhoneDatabase answers the file with the phone's users, by its whole name.
func (c *Config) PhoneDatabase() string {
	file := c.Phone.Database
	if file == "" {
		file = filepath.Join(c.DataDir, "phone.db")
	}
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

// openPhone makes the service for the section, if it is enabled.
func (a *App) openPhone() error {
	p := &a.cfg.Phone
	if !p.Enabled {
		return nil
	}
	store, err := webphone.Open(a.cfg.PhoneDatabase())
	if err != nil {
		return a.cfg.at("phone.database", fmt.Errorf("phone.database: %w", err))
	}
	a.phoneStore = store
	gateway, err := a.gateway()
	if err != nil {
		return a.cfg.at("phone.sip", fmt.Errorf("phone.sip: %w", err))
	}
	a.phone, err = webphone.New(webphone.Config{
		Store: store, Address: a.gate.Address, Gateway: gateway,
		Origins:  append(a.cfg.AllowedOrigins[:len(a.cfg.AllowedOrigins):len(a.cfg.AllowedOrigins)], p.Origins...),
		MinLevel: p.MinLevel, RingTime: p.RingTime, MaxCall: p.MaxCall, LogCalls: a.cfg.Log.Calls,
		MaxSockets: p.Limits.Sockets, MaxUserSockets: p.Limits.SocketsPerUser, MaxCalls: p.Limits.Calls, RequestRate: p.Limits.RequestsPerUser,
	}, a.log)
	if err != nil {
		return a.cfg.at("phone", fmt.Errorf("phone.%w", err))
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
func (a *App) phoneHandler() http.Handler { return a.requests.Wrap(guarded(a.phone, a.log)) }

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
			return a.cfg.at("phone.tls.cert", fmt.Errorf("phone.tls.cert: %w", err))
		}
		secure = cert.config(p.TLS.MinVersion)
	}
	socket, err := net.Listen("tcp", p.Listen)
	if err != nil {
		return a.cfg.at("phone.listen", fmt.Errorf("phone.listen: %w", explainBind(err)))
	}
	a.listeners = append(a.listeners, a.newListener(socket, secure, a.clientRoom(), a.phoneHandler()))
	return nil
}

// takePhoneCalls takes phone.calls of another configuration.
func (a *App) takePhoneCalls(next *Config) {
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

// phone tries the listener and the database.
func (c *checker) phone(cfg *Config) {
	p := &cfg.Phone
	if !p.Enabled {
		return
	}
	where := "the listeners of http"
	if p.Listen != "" {
		where = p.Listen
		if c.unbound["tcp:"+p.Listen] {
			return // told
		}
		if !p.PlainHTTP {
			c.certificate(cfg, "phone", cfg.Origin("phone.tls.cert"), p.Listen, p.TLS, c.clientNames(cfg, p.Listen))
		}
	}
	c.phoneSIP(cfg)
	file := cfg.PhoneDatabase()
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		c.say(levelNote, "phone", "served on %s; there are no users in %s yet%s: sipxrest phone user add NAME", where, file, orStateDir(cfg))
		return
	}
	store, err := webphone.Open(file)
	if err != nil {
		c.say(levelProblem, "phone", "%s: %v", cfg.Origin("phone.database"), err)
		return
	}
	defer store.Close()
	n, err := store.Count(context.Background())
	switch {
	case err != nil:
		c.say(levelProblem, "phone", "%s: %s: %v", cfg.Origin("phone.database"), file, err)
	case n == 0:
		c.say(levelNote, "phone", "served on %s; there are no users in %s yet%s: sipxrest phone user add NAME", where, file, orStateDir(cfg))
	default:
		c.say(levelOK, "phone", "served on %s, %s in %s%s", where, count(n, "user"), file, orStateDir(cfg))
	}
}
