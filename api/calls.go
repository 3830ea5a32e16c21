package api

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"sipxrest/event"
	"sipxrest/sipflow"
)

// CallsConfig says how calls are placed, and what reaches those of other doors.
type CallsConfig struct {
	// Timeout is how long a phone rings where the client does not say it. Default
	// 180 s.
	Timeout time.Duration
	// AutoAnswer is how a phone is asked to pick up by itself. Default: clients may not
	// want it.
	AutoAnswer sipflow.AutoAnswer
	// MaxCalls and CallRate are limits of the switchboard, for messages.
	MaxCalls, CallRate int
	// Allow is sipflow.Config.Allow, which also decides for targets that it is not asked
	// about. nil: everything is allowed.
	Allow func(spec *sipflow.Spec, target string) error
	// Telephony is the way to the telephone network; nil: there is none.
	Telephony Telephony
	// Controls end calls of other doors, by the door. Those of a door without any are
	// the switchboard's alone.
	Controls map[event.Source]Controls
	// Follow, when set, may watch a call that is about to be placed: what it returns is
	// told every event. ctx is the request's, method that of sipflow.Spec.
	Follow func(ctx context.Context, method string, next func(*sipflow.Event)) func(*sipflow.Event)
	// Trace links to the trace of a call; nil: there are none.
	Trace func(id string) string
}

// Telephony makes calls to telephone numbers ready. Its methods may be called from any
// goroutine.
type Telephony interface {
	// Number returns a number in its international form. The error is for people.
	Number(text string) (string, error)
	// Caller returns a number in the form in which a phone may be shown it; false when
	// the gateway does not have it.
	Caller(number string) (string, bool)
	// Dialling says how a number is reached. The caller fills in who calls.
	Dialling(number string) sipflow.Dialling
	// Enter takes a place among the calls to telephones of an agent. The error is a
	// *sipflow.LimitError or ErrDraining. leave gives the place up.
	Enter(agent string) (leave func(), err error)
}

// Controls reach calls that the switchboard does not end alone. EndCall hangs a call up
// on behalf of a client, and reports whether there was one. It returns at once.
type Controls interface {
	EndCall(id string) bool
}

const (
	// placeTimeout bounds the wait of a create for its first INVITE to go out.
	placeTimeout = 5 * time.Second
	// actionTime bounds how long an action waits for a phone.
	actionTime = 10 * time.Second
)

// callRoutes names the resources of calls.
func (a *API) callRoutes(r *mux.Router) {
	read, write := []Scope{CallsRead}, []Scope{CallsWrite}
	a.resource(r, "/calls", methods{
		http.MethodPost: {do: a.postCall, scopes: write, laterAgent: true},
		http.MethodGet:  {do: a.listCalls, scopes: read, params: append(slices.Clone(callFilters), pageParams...)},
	})
	a.resource(r, "/calls/{id}/messages", methods{
		http.MethodGet: {do: a.callMessages, scopes: []Scope{Admin}, where: lastNode, accept: messageTypes, params: []string{"format"}},
	})
	a.resource(r, "/calls/{id}", methods{
		http.MethodPut:    {do: a.putCall, scopes: write, laterAgent: true},
		http.MethodGet:    {do: a.getCall, scopes: read, where: knownNode},
		http.MethodPatch:  {do: a.patchCall, scopes: write, where: callsNode},
		http.MethodDelete: {do: a.deleteCall, scopes: write, where: callsNode},
	})
	a.resource(r, "/calls/{id}/actions/{action}", methods{http.MethodPost: {do: a.postAction, scopes: write, where: callsNode}})
	a.resource(r, "/calls/{id}/transfers", methods{
		http.MethodPost: {do: a.postTransfer, scopes: write, where: callsNode},
		http.MethodGet:  {do: a.listTransfers, scopes: read, where: knownNode},
	})
	a.resource(r, "/calls/{id}/transfers/{tid}", methods{
		http.MethodGet:    {do: a.getTransfer, scopes: read, where: knownNode},
		http.MethodDelete: {do: a.cancelTransfer, scopes: write, where: callsNode},
	})
	a.resource(r, "/calls/{id}/transfers/{tid}/complete", methods{http.MethodPost: {do: a.completeTransfer, scopes: write, where: callsNode}})
	a.resource(r, "/check", methods{http.MethodPost: {do: a.check, scopes: []Scope{Check}, laterAgent: true}})
}

// callsAtWork are calls that are being placed at this moment, by their ids. Patches of
// one call take turns.
type callsAtWork struct {
	mu      sync.Mutex
	placing map[string]bool
	patches [64]sync.Mutex // by a hash of the call's id
}

// begin notes that a call is being placed. end is for when it has been, or not.
func (w *callsAtWork) begin(id string) (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.placing == nil {
		w.placing = map[string]bool{}
	}
	w.placing[id] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.placing, id)
	}
}

func (w *callsAtWork) has(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.placing[id]
}

// patch takes the turn of a call.
func (w *callsAtWork) patch(id string) (done func()) {
	var sum uint32
	for i := range len(id) {
		sum = sum*31 + uint32(id[i])
	}
	m := &w.patches[sum%uint32(len(w.patches))]
	m.Lock()
	return m.Unlock
}

// find returns the call that r is about. One that the principal does not see looks as
// if there were none.
func (a *API) find(r *request) (*event.Call, Access, *Problem) {
	c, ok := a.bus.Call(r.vars("id"))
	if ok {
		if may := a.Access(r.who, c); may != NoAccess {
			return c, may, nil
		}
	}
	return nil, NoAccess, refuse(CallNotFound, hours(a.cfg.CallTime))
}

// show is the call as the principal gets it.
func (a *API) show(r *request, c *event.Call) *event.Call {
	shown := *c
	shown.Actions = a.actionsOf(c, a.Access(r.who, c))
	self := Prefix + "/calls/" + c.ID
	shown.Links = &event.Links{Self: self, Events: self + "/events"}
	if a.cfg.Calls.Trace != nil {
		shown.Links.Trace = a.cfg.Calls.Trace(c.ID)
	}
	return &shown
}

// sendCall answers with a call.
func (a *API) sendCall(w http.ResponseWriter, r *request, status int, c *event.Call) *Problem {
	w.Header().Set("ETag", etag(c.Version))
	return send(w, status, a.show(r, c))
}
