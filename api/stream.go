package api

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"sipxrest/event"
)

// eventStream is the media type of server-sent events.
const eventStream = "text/event-stream"

// streamTypes are how events are to be had; the first for who does not care.
var streamTypes = []string{"application/json", eventStream}

const (
	// sendTime bounds how long a client may take for what a stream sends.
	sendTime = 10 * time.Second
	// chunkBytes bounds what is sent within one sendTime: who reads a little faster
	// than that keeps his stream.
	chunkBytes = 16 << 10
	// aliveTime is the pause after which a stream says where it is, though nothing has
	// happened: proxies close silent connections, and the reader's cursor moves on.
	aliveTime = 15 * time.Second
	// lookTime is how often a stream looks whether its reader may still read.
	lookTime = 5 * time.Second
	// batchMost is how many events are read at a time, eventsMost how many a page has.
	batchMost     = 500
	eventsMost    = 1000
	eventsDefault = 100
	// retryTime is when a client comes back whose stream has ended, by and large.
	retryTime = 2 * time.Second
)

// Types of events that only streams have.
const (
	streamSnapshot  = "stream.snapshot"
	streamReset     = "stream.reset"
	streamHeartbeat = "stream.heartbeat"
	streamClosing   = "stream.closing"
)

// Cut is why a stream ended.
type Cut string

// Why streams end.
const (
	CutClient   Cut = "client"   // it has gone
	CutSlow     Cut = "slow"     // it did not take what was sent
	CutFinished Cut = "finished" // the call has ended, and all was sent
	CutRevoked  Cut = "revoked"  // who reads may not any more
	CutProtocol Cut = "protocol" // it sent what none may send over this WebSocket
	CutShutdown Cut = "shutdown"
	CutFailed   Cut = "failed" // events could not be read
)

// Cuts are all of them.
var Cuts = []Cut{CutClient, CutSlow, CutFinished, CutRevoked, CutProtocol, CutShutdown, CutFailed}

var errSlow = errors.New("the client does not take what is sent")

// eventRoutes names the streams of events, and how browsers open them.
func (a *API) eventRoutes(r *mux.Router) {
	params := []string{"after", "limit", "snapshot", "include", "coalesce", "format", "ticket"}
	filters := []string{"type*", "kind*", "user*", "call_id", "tag.*"}
	a.resource(r, "/events", methods{http.MethodGet: {do: a.events, scopes: []Scope{EventsRead}, params: append(slices.Clone(params), filters...),
		accept: streamTypes, tickets: true, agentFilter: true}})
	a.resource(r, "/calls/{id}/events", methods{http.MethodGet: {do: a.callEvents, scopes: []Scope{CallsRead}, params: append(slices.Clone(params), "type*"),
		accept: streamTypes, tickets: true}})
	a.resource(r, "/stream-tickets", methods{http.MethodPost: {do: a.makeTicket, scopes: []Scope{EventsRead, CallsRead}}})
}

// reading is what a client wants of the events.
type reading struct {
	filter   event.Filter
	call     string // those of this call only; "" for all
	cursor   event.Cursor
	lost     *lost // the cursor that was asked for is gone
	snapshot bool
	format   format
	coalesce bool
}

// lost is why a reader could not go on where he was.
type lost struct {
	Reason string     `json:"reason"` // "cursor_expired" or "other_store"
	Oldest string     `json:"oldest"`
	At     event.Time `json:"oldest_at"`
}

// events answers GET /v1/events: a page, or a stream.
func (a *API) events(w http.ResponseWriter, r *request) *Problem {
	rd, why := a.readingOf(r, "")
	if why != nil {
		return why
	}
	return a.serve(w, r, rd)
}

// callEvents answers GET /v1/calls/{id}/events.
func (a *API) callEvents(w http.ResponseWriter, r *request) *Problem {
	id := r.vars("id")
	c, ok := a.bus.Call(id)
	if !ok || a.Access(r.who, c) == NoAccess || r.ticket != nil && !r.ticket.opens(id) {
		return a.noCall()
	}
	rd, why := a.readingOf(r, id)
	if why != nil {
		return why
	}
	return a.serve(w, r, rd)
}

// noCall is told of a call that there is not, or that who asks may not see.
func (a *API) noCall() *Problem { return refuse(CallNotFound, hours(a.cfg.CallTime)) }

// hours writes a time as people do: 72 h.
func hours(d time.Duration) string {
	if d%time.Hour == 0 {
		return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0m0s"), "h") + " h"
	}
	return strings.TrimSuffix(d.String(), "0s")
}

// kinds of calls, for filters.
var kinds = []string{string(event.ClickToCall), string(event.DialOut), string(event.Inbound), string(event.WebSocket)}

// readingOf reads what a client wants: of one call, or of all.
func (a *API) readingOf(r *request, call string) (*reading, *Problem) {
	rd := &reading{call: call, filter: event.Filter{See: func(c *event.Call) bool { return a.Access(r.who, c) != NoAccess }}}
	var why *Problem
	if r.ticket != nil {
		if why := r.ticket.keepsTo(r); why != nil {
			return nil, why
		}
		rd.filter = r.ticket.filter(a, rd.filter.See)
	} else if why = a.filterOf(r, &rd.filter); why != nil {
		return nil, why
	}
	for _, read := range []func() *Problem{
		func() (why *Problem) { rd.snapshot, why = r.truth("snapshot"); return },
		func() (why *Problem) { rd.format, why = r.format(); return },
		func() *Problem {
			word, why := r.word("coalesce", "call")
			rd.coalesce = word != ""
			return why
		},
	} {
		if why := read(); why != nil {
			return nil, why
		}
	}
	if call != "" {
		rd.filter.CallID = call
	}
	a.narrow(r.who, &rd.filter)
	return rd, a.begin(r, rd)
}

// filterOf reads the filters of a query.
func (a *API) filterOf(r *request, f *event.Filter) (why *Problem) {
	for _, t := range r.query["type"] {
		if !typeKnown(t) {
			return wrongParam("type", memberInvalid, "a type of event, such as call.ended, or a group of them, such as leg.*")
		}
	}
	f.Types = r.query["type"]
	f.DTMF = slices.Contains(f.Types, string(event.LegDTMF))
	if f.Kinds, why = r.words("kind", kinds...); why != nil {
		return why
	}
	if r.agentFilters() {
		f.Agents = a.addresses(r.query["agent"])
	}
	f.Users, f.CallID, f.Tags = a.addresses(r.query["user"]), r.query.Get("call_id"), r.tags()
	return nil
}

// addresses are the addresses of users by any of their names; of others what was
// given.
func (a *API) addresses(names []string) (all []string) {
	for _, name := range names {
		if u, ok := a.users.Lookup(name); ok {
			name = u.Identity
		}
		all = append(all, name)
	}
	return all
}

// narrow has the bus wake a reader only for the calls of a user where he sees no
// others. The filter's See says the same, more slowly.
func (a *API) narrow(p *Principal, f *event.Filter) {
	if len(f.Users) > 0 || len(f.Agents) > 0 || f.CallID != "" {
		return
	}
	u := p.Agent
	if p.Type == PrincipalKey && u == nil && len(p.Key.Agents) == 1 && !p.Key.everybody() {
		u, _ = a.users.Lookup(p.Key.Agents[0])
	}
	if u != nil {
		name, _, _ := strings.Cut(u.Identity, "@")
		f.Users = []string{name}
	}
}

// eventTypes are those that filters may name.
var eventTypes = []event.Type{event.CallCreated, event.CallRouted, event.CallConnecting, event.CallConnected, event.CallFlowChanged, event.CallReleased,
	event.CallUpdated, event.CallMoved, event.CallEnded, event.LegDialled, event.LegRedirected, event.LegRang, event.LegPickedUp, event.LegHeld, event.LegResumed,
	event.LegMuted, event.LegUnmuted, event.LegDTMF, event.LegOver, event.TransferStarted, event.TransferRinging, event.TransferConsulting,
	event.TransferCompleted, event.TransferFailed, event.TransferCancelled, event.WebhookTest, event.WebhookDisabled, event.WebhookRecovered,
	event.SystemStarted, event.SystemDraining, event.StreamGap}

// typeKnown reports whether a filter names a type that there is, or a group of them.
func typeKnown(text string) bool {
	return slices.ContainsFunc(eventTypes, func(t event.Type) bool { return event.MatchType(text, t) })
}

// begin finds the place from which a client reads.
func (a *API) begin(r *request, rd *reading) *Problem {
	text := r.query.Get("after")
	if id := r.Header.Get("Last-Event-ID"); id != "" && r.wants() != asPage { // it is newer than what the address says
		text = id
	}
	page := r.wants() == asPage
	switch text {
	case "":
		rd.cursor = a.bus.Head()
		if page || rd.call != "" { // who reads pages begins with what there is
			rd.cursor = a.bus.Oldest()
		}
		return nil
	case "now":
		rd.cursor = a.bus.Head()
		return nil
	case "oldest":
		rd.cursor = a.bus.Oldest()
		return nil
	}
	cursor, err := event.ParseCursor(text)
	if err != nil {
		if page || r.query.Get("after") == text {
			return refuse(InvalidCursor)
		}
		// A browser sends on what it got last, whoever that was of.
		rd.lost, rd.cursor = a.lost("other_store"), a.bus.Head()
		return nil
	}
	rd.cursor = cursor
	return nil
}

// lost says what is left.
func (a *API) lost(reason string) *lost {
	return &lost{Reason: reason, Oldest: a.bus.Oldest().String()}
}

// lostBy is what an error of reading means, nil if the events cannot be read at all.
func (a *API) lostBy(err error) *lost {
	var gone *event.CursorExpiredError
	switch {
	case errors.As(err, &gone):
		return &lost{Reason: "cursor_expired", Oldest: gone.Oldest.String(), At: gone.At}
	case errors.Is(err, event.ErrOtherStore), errors.Is(err, event.ErrBadCursor):
		return a.lost("other_store")
	}
	return nil
}

// Whose form the events have.
type form int

const (
	asPage form = iota
	asSSE
	asWebSocket
)

// wants says in which form a client wants the events.
func (r *request) wants() form {
	switch {
	case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		return asWebSocket
	case preferred(r.Header, streamTypes) == eventStream:
		return asSSE
	}
	return asPage
}

// serve answers in the form that the client wants.
func (a *API) serve(w http.ResponseWriter, r *request, rd *reading) *Problem {
	kind := r.wants()
	if kind == asPage {
		return a.eventPage(w, r, rd)
	}
	if r.query.Has("limit") {
		return wrongParam("limit", memberInvalid, "streams have no limit")
	}
	end, why := a.streams.open(a, r.who, rd.call)
	if why != nil {
		return why
	}
	defer end()
	if kind == asWebSocket {
		return a.serveWebSocket(w, r, rd)
	}
	return a.serveSSE(w, r, rd)
}

// streams are those that are open.
type streams struct {
	mu      sync.Mutex     // guards the next ones
	now     int            // all
	by      map[string]int // by principal and by call
	closing bool
	cut     map[Cut]uint64

	running sync.WaitGroup // one for each
	end     chan struct{}  // closed when they are to end
}

func newStreams() *streams {
	return &streams{by: map[string]int{}, cut: map[Cut]uint64{}, end: make(chan struct{})}
}

// open takes a place for a stream. end gives it back.
func (s *streams) open(a *API, p *Principal, call string) (end func(), why *Problem) {
	names := []string{p.rateName()}
	if call != "" {
		names = append(names, "call "+call)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return nil, refuse(Draining).after(retry())
	case s.now >= a.cfg.Streams:
		return nil, refuse(Overloaded, "streams").after(5 * time.Second)
	case p.Type != PrincipalPeer && s.by[names[0]] >= a.cfg.StreamsPerUser:
		return nil, refuse(TooManyStreams, a.cfg.StreamsPerUser).after(5 * time.Second)
	case call != "" && s.by[names[1]] >= a.cfg.StreamsPerCall:
		p := refuse(TooManyStreams, a.cfg.StreamsPerCall).after(5 * time.Second)
		p.Detail = strings.Replace(p.Detail, "You have", "This call has", 1)
		return nil, p
	}
	s.now++
	for _, n := range names {
		s.by[n]++
	}
	s.running.Add(1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now--
		for _, n := range names {
			if s.by[n]--; s.by[n] == 0 {
				delete(s.by, n)
			}
		}
		s.running.Done()
	}, nil
}

// count counts why a stream ended.
func (s *streams) count(why Cut) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[why]++
}

// left is how many more streams a principal may open.
func (s *streams) left(a *API, p *Principal) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, a.cfg.StreamsPerUser-s.by[p.rateName()])
}

// Shutdown has all streams say that they close, and waits for them.
func (a *API) Shutdown() {
	s := a.streams
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		close(s.end)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// retry is when a client comes back: not all at once.
func retry() time.Duration {
	return retryTime/2 + rand.N(retryTime)
}

// stats returns how many streams are open, and why others ended.
func (s *streams) stats() (int, map[Cut]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, maps.Clone(s.cut)
}
