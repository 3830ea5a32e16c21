package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"sipxrest/event"
	"sipxrest/internal/capture"
	"sipxrest/internal/limit"
	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// Config is what there is to set.
type Config struct {
	Domain      string // of names without one
	DefaultFlow string // "invite" or "refer": what flow "auto" means; default: invite
	// CallTime is how long an ended call is shown, IdempotencyTime how long an
	// idempotency key is kept; default 72 h and 24 h.
	CallTime, IdempotencyTime time.Duration
	// RequestsPerUser is how many requests of one user or key are answered in a
	// second, and twice as many at once; default 50. CallRatePerKey is how many
	// calls one key may ask for in a second; default 100, 0 no limit.
	RequestsPerUser, CallRatePerKey int
	// Streams bounds the streams of events, StreamsPerUser those of one user or
	// key, StreamsPerCall those of one call, Waits the answers that are put off.
	Streams, StreamsPerUser, StreamsPerCall, Waits int
	// CallsPerUser is told by /v1/me; the switchboard sees to it. 0: no limit.
	CallsPerUser int
	// Durable says that events, and idempotency keys, outlive the process.
	Durable bool
	// TLSPort is the port of a listener with TLS, "" for none, for messages.
	TLSPort string

	// Keys are the API keys; nil: none.
	Keys *Keys
	// Messages has the SIP messages of calls; nil: they are not kept.
	Messages *capture.Ring
	// Webhooks are told of events; nil: there are none.
	Webhooks *event.Outbox
	// Phone returns the user of the phone over WebSocket whose token it is; nil:
	// there are none.
	Phone func(ctx context.Context, token string) (PhoneUser, bool)
	// Policy names what a user may dial, "" for everything; nil: everybody may.
	Policy func(*restauth.User) string

	// Inbound is what becomes of calls that come in; nil: none do.
	Inbound Inbound
	// Health is how the service fares; nil: nothing is told of it but SIP servers.
	Health func() Health

	// Calls is what is asked for calls.
	Calls CallsConfig
	// Elsewhere is the rest of a cluster; nil: this is a single node.
	Elsewhere Elsewhere

	// Now tells the time; default: time.Now.
	Now func() time.Time
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	set := func(n *int, absent int) {
		if *n <= 0 {
			*n = absent
		}
	}
	set(&c.RequestsPerUser, 50)
	set(&c.Streams, 10_000)
	set(&c.StreamsPerUser, 32)
	set(&c.StreamsPerCall, 32)
	set(&c.Waits, 2000)
	c.DefaultFlow = cmpOr(c.DefaultFlow, "invite")
	if c.CallTime <= 0 {
		c.CallTime = 72 * time.Hour
	}
	if c.IdempotencyTime <= 0 {
		c.IdempotencyTime = 24 * time.Hour
	}
	if c.Keys == nil {
		c.Keys, _ = OpenKeys("", nil) // none cannot be wrong
	}
	if c.Calls.Timeout <= 0 {
		c.Calls.Timeout = 180 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// API answers everything at Prefix. Its methods may be called from any goroutine.
type API struct {
	cfg   Config
	bus   *event.Bus
	sw    *sipflow.Switchboard
	users *restauth.Users
	gate  *restauth.Gate
	order order.Directory
	log   *slog.Logger

	rate    *limit.Names    // requests of a principal
	calls   *limit.Names    // calls that a key asks for; nil: no limit
	guesses *limit.Failures // wrong tokens
	waits   atomic.Int64    // answers that are put off
	work    callsAtWork

	streams *streams
	tickets tickets

	mu    sync.Mutex
	stats Stats // guarded by mu

	handler http.Handler
}

// New makes the API over a bus and a switchboard. gate says who asks.
func New(cfg Config, bus *event.Bus, sw *sipflow.Switchboard, users *restauth.Users, gate *restauth.Gate, log *slog.Logger) *API {
	cfg = cfg.withDefaults()
	a := &API{cfg: cfg, bus: bus, sw: sw, users: users, gate: gate, log: log,
		order:   order.Directory{Users: users, Domain: cfg.Domain},
		rate:    limit.NewNames(cfg.RequestsPerUser, 2*cfg.RequestsPerUser),
		guesses: restauth.NewGuesses(),
		streams: newStreams(),
		tickets: tickets{out: map[string]*ticket{}, of: map[string]int{}},
	}
	if cfg.CallRatePerKey > 0 {
		a.calls = limit.NewNames(cfg.CallRatePerKey, cfg.CallRatePerKey)
	}
	a.stats.Refused = map[Code]uint64{}
	a.handler = a.routes()
	return a
}

// routes has each resource name its own.
func (a *API) routes() http.Handler {
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	a.meRoutes(r)
	a.userRoutes(r)
	a.eventRoutes(r)
	a.callRoutes(r)
	a.cdrRoutes(r)
	a.webhookRoutes(r)
	a.inboundRoutes(r)
	a.healthRoutes(r)
	a.documentRoutes(r)
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.answer(w, r, func(http.ResponseWriter, *request) *Problem { return refuse(NotFound) })
	})
	return r
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// Owns reports whether r asks for something of the API.
func Owns(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, Prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// ReadsBody reports whether the resource that r asks for reads r's body.
func ReadsBody(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return Owns(r)
	}
	return false
}

// Streams reports whether r asks for a stream of events, which lasts.
func Streams(r *http.Request) bool {
	return r.Method == http.MethodGet && Owns(r) && (r.URL.Path == Prefix+"/events" || strings.HasSuffix(r.URL.Path, "/events")) &&
		preferred(r.Header, streamTypes) == eventStream
}

// CORS is what pages of other sites may do that are allowed to call; nil where the
// API is not asked.
func CORS(r *http.Request) *restauth.CORS {
	if !Owns(r) {
		return nil
	}
	return &cors
}

var cors = restauth.CORS{
	Methods:     "GET, HEAD, POST, PUT, PATCH, DELETE",
	Headers:     "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, X-Request-Id, traceparent",
	Expose:      "ETag, Idempotency-Replayed, Link, Location, Preference-Applied, Retry-After, WWW-Authenticate, X-Request-Id",
	Credentials: true,
}

// Refuse responds to what a listener refuses before anybody asks who the client
// is, and reports whether it has: it is restauth.Config.Refuse.
func Refuse(w http.ResponseWriter, r *http.Request, v *restauth.Verdict) bool {
	if !Owns(r) {
		return false
	}
	var p *Problem
	switch v.Why {
	case restauth.ForeignName:
		p = refuse(WrongHost).because("The name is " + clip(r.Host, 128) + "; call by an address or a name of the domain.")
	case restauth.CrossSite:
		p = refuse(OriginNotAllowed, clip(cmpOr(r.Header.Get("Origin"), "other sites"), 128))
	default:
		p = failure(v.Status, v.Text)
	}
	p.write(w, r.URL.Path, requestID(r))
	return true
}

// Stats is what the API has refused since it was made, and holds now.
type Stats struct {
	Refused map[Code]uint64
	Waits   int64
	Streams int
	Cut     map[Cut]uint64
	Keys    int
}

// refused counts an error.
func (a *API) refused(code Code) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Refused[code]++ // of the table only
}

// Stats reads the counters.
func (a *API) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.Refused = make(map[Code]uint64, len(a.stats.Refused))
	for code, n := range a.stats.Refused {
		s.Refused[code] = n
	}
	s.Waits, s.Keys = a.waits.Load(), a.cfg.Keys.Len()
	s.Streams, s.Cut = a.streams.stats()
	return s
}

// Guesses are the wrong tokens that are counted, for nodes of a cluster to share.
func (a *API) Guesses() *limit.Failures { return a.guesses }
