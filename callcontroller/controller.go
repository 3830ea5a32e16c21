// Package callcontroller is the HTTP resource that sipXecs portals call to
// have two phones connected: POST /callcontroller/{calling}/{called} places a
// call, GET tells how it goes, DELETE ends it.
//
// It is compatible with sipXrest down to the documents' layout; where a comment
// begins with "sipXrest:" a quirk is kept for the sake of its clients.
package callcontroller

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// The call setup methods of the sipMethod parameter.
const (
	methodRefer  = "refer"
	methodInvite = "invite"
)

// Where the resource is.
const (
	callPrefix     = "/callcontroller"
	redirectPrefix = "/sipxconfig/rest/my/redirect/callcontroller"
)

// Config says how calls are placed that do not say it themselves.
type Config struct {
	// Domain is that of a user without one. Required.
	Domain string
	// Timeout is how long the calling phone is alerted. Default 180 s.
	Timeout time.Duration
	// ResultCacheTime is how long the record of a call is kept after its last
	// event. Default 180 s.
	ResultCacheTime time.Duration
	// AutoAnswer is how a phone is asked to pick up by itself when a client wants
	// it (autoAnswer=true). Default: clients may not want it.
	AutoAnswer sipflow.AutoAnswer
	// MaxRecords bounds the records: while there are more, that of a call that
	// ends is given up at once. Default 500,000, some 600 bytes each
	// (300 MB).
	MaxRecords int
	// MaxRecordBytes bounds the lines of all records likewise. The texts of one
	// record are at most 16 KiB, those of calls in progress keep at least the latest of them.
	// Default 256 MiB.
	MaxRecordBytes int64
	// Follow, when set, may watch a call that is about to be placed: it returns an
	// observer that passes every event on to next. ctx is the request's, method
	// that of sipflow.Spec.
	Follow func(ctx context.Context, method string, next func(*sipflow.Event)) func(*sipflow.Event)
	// Calls is told of each call that is about to be placed, and by whom one is hung
	// up; nil: nobody is. It names the calls in the Sipxrest-Call-Id header field of responses.
	Calls Calls
	// Elsewhere knows the calls of other nodes; nil: this is a single node.
	Elsewhere Elsewhere
	// Asked, when set, reports whether Early was asked about a request.
	Asked func(*http.Request) bool
	// Services are listed on the page at / after callcontroller.
	Services []Service
}

// Service is a line of the page at /.
type Service struct {
	Prefix      string // "/callcontroller"
	Security    string // who may use it, in sipXrest's words "LOCAL-AND-REMOTE"
	Description string
}

// Controller serves the call controller. Its methods may be called from any
// goroutine.
type Controller struct {
	cfg     Config
	names   order.Directory
	gate    *restauth.Gate
	log     *slog.Logger
	records *records

	// flows are the call setup methods that there are.
	flows map[string]sipflow.Flow
	// The switchboard's methods, or what a test has in their place.
	admit    func(agent string) error
	place    func(context.Context, sipflow.Spec, sipflow.Flow) error
	transfer func(ctx context.Context, key, to sipflow.Key, target string, trusted bool) error
	hangUp   func(context.Context, sipflow.Key) error

	boot string // differs for each process, so that its ETags do
	seq  atomic.Uint64
}

// New returns a controller that places its calls through sw for the users,
// let in by gate. Run must be running as long as it serves.
func New(cfg Config, sw *sipflow.Switchboard, users *restauth.Users, gate *restauth.Gate, log *slog.Logger) *Controller {
	if cfg.Timeout == 0 {
		cfg.Timeout = 180 * time.Second
	}
	if cfg.ResultCacheTime == 0 {
		cfg.ResultCacheTime = 180 * time.Second
	}
	if cfg.MaxRecords == 0 {
		cfg.MaxRecords = 500_000
	}
	if cfg.MaxRecordBytes == 0 {
		cfg.MaxRecordBytes = 256 << 20
	}
	return &Controller{
		cfg:     cfg,
		names:   order.Directory{Users: users, Domain: cfg.Domain},
		gate:    gate,
		log:     log,
		records: newRecords(cfg.MaxRecords, cfg.MaxRecordBytes),
		flows:   map[string]sipflow.Flow{methodRefer: sipflow.Refer, methodInvite: sipflow.Invite},
		admit:   sw.Admit,
		place: func(ctx context.Context, spec sipflow.Spec, flow sipflow.Flow) error {
			_, err := sw.Place(ctx, spec, flow)
			return err
		},
		transfer: func(ctx context.Context, key, to sipflow.Key, target string, trusted bool) error {
			return sw.Transfer(ctx, key, to, target, trusted)
		},
		hangUp: func(ctx context.Context, key sipflow.Key) error { return sw.HangUp(ctx, key) },
		boot:   strconv.FormatUint(rand.Uint64(), 36),
	}
}

// Run removes expired records until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if n := c.records.sweep(); n > 0 {
				c.log.Warn("too many call records: results were given up early; raise limits.records or limits.record-bytes, or lower resultCacheTime", "given_up", n,
					"limits.records", c.cfg.MaxRecords, "limits.record-bytes", c.cfg.MaxRecordBytes)
			}
		}
	}
}

// Handler returns the router with callcontroller, its redirect prefix and the
// page at /. Unknown paths are 404.
func (c *Controller) Handler() http.Handler {
	r := mux.NewRouter().
		UseEncodedPath(). // a %2F belongs to the user
		SkipClean(true)   // a redirect would turn POST into GET
	for _, route := range []struct {
		prefix    string
		authorize authorize
	}{
		{callPrefix, c.gate.Authorize},
		// Newer portals come this way; sipXconfig let users act for themselves only.
		{redirectPrefix, c.gate.AuthorizeSelf},
	} {
		serve := func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, route.authorize) }
		r.Path(route.prefix + "/{calling}/{called}").HandlerFunc(serve)
		r.Path(route.prefix + "/{calling}/{called}/").HandlerFunc(serve)
	}
	r.Path("/").Handler(newCatalogue(c.cfg.Services))
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "nothing here: a call is /callcontroller/{callingUser}/{calledUser}, the services are listed at /", http.StatusNotFound)
	})
	return r
}

// Route names the resource that r asks for without what its client wrote;
// empty when there is none.
func Route(r *http.Request) string {
	for _, prefix := range []string{callPrefix, redirectPrefix} {
		if rest, ok := strings.CutPrefix(r.URL.EscapedPath(), prefix+"/"); ok && strings.Count(strings.TrimSuffix(rest, "/"), "/") == 1 {
			return prefix + "/{calling}/{called}"
		}
	}
	return ""
}
