package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sipxrest/event"
	"sipxrest/order"
	"sipxrest/sipflow"
)

// placingAgain is when it is worth asking again for a call that is being placed.
const placingAgain = time.Second

// postCall places a call.
func (a *API) postCall(w http.ResponseWriter, r *request) *Problem {
	return a.create(w, r, "", &postBody{})
}

// putCall places a call whose client has named it.
func (a *API) putCall(w http.ResponseWriter, r *request) *Problem {
	id := r.vars("id")
	if !validID(id) {
		return invalid(MemberFault{Parameter: "id", Code: memberInvalid, Detail: idRule})
	}
	return a.create(w, r, id, &createBody{})
}

// create places the call that r asks for, once: whoever asks again gets that one.
func (a *API) create(w http.ResponseWriter, r *request, id string, into any) *Problem {
	var raw json.RawMessage
	body, why := read(w, r, &raw, false)
	if why != nil {
		return why
	}
	key, why := idempotencyKey(r.Header)
	if why != nil {
		return why
	}
	c, why := a.readCreate(raw, into)
	if why != nil {
		return why
	}
	c.id = cmpOr(id, c.id)
	p, why := a.orderOf(r, c)
	if why != nil {
		return why
	}
	if c.webhook != nil && !r.who.Has(WebhooksCall) {
		return r.who.lacks(WebhooksCall)
	}
	var use *event.IdempotencyKey
	if key == "" && c.id != "" {
		key = keyOfID(c.id)
	}
	if key != "" {
		use = &event.IdempotencyKey{Principal: r.who.rateName(), Key: key, Hash: fingerprint("create "+c.id, p.key.Agent, body), Until: a.cfg.Now().Add(a.cfg.IdempotencyTime)}
		if old, ok := a.bus.KeyOf(use.Principal, use.Key); ok {
			return a.replayed(w, r, old, use)
		}
	}
	return a.place(w, r, p, use)
}

// place places a call that nobody has placed before by that key.
func (a *API) place(w http.ResponseWriter, r *request, p *placement, use *event.IdempotencyKey) *Problem {
	if why := a.mayPlace(r, p); why != nil {
		return why
	}
	id := p.id
	if id == "" {
		id = event.NewID()
	}
	defer a.work.begin(id)()
	wish := event.Request{ID: id, Created: p.created, Key: use}
	hook, why := a.hookOf(r, p)
	if why != nil {
		return why
	}
	if done, why := a.claimKey(w, r, use, id); done {
		return why
	}
	if err := a.makeRoom(r.Context(), p); err != nil {
		a.freeKey(use, id)
		return a.notPlaced(w, r, "", p, nil, err)
	}
	if err := a.bus.Expect(wish); err != nil {
		a.freeKey(use, id)
		var inUse *event.KeyInUseError
		switch {
		case errors.As(err, &inUse) && use != nil:
			return a.replayed(w, r, inUse.KeyUse, use)
		case errors.Is(err, event.ErrIDInUse):
			return refuse(IDInUse)
		}
		return a.storeRefusal(err)
	}
	if why := a.makeHook(r, id, hook); why != nil {
		a.bus.Forget(id)
		a.freeKey(use, id)
		return why
	}
	call, err := a.callFor(r.Context(), id, p)
	if err != nil {
		if _, began := a.bus.Call(id); !began || errors.Is(err, event.ErrStore) {
			a.freeKey(use, id)
		}
		return a.notPlaced(w, r, id, p, call, err)
	}
	return a.placed(w, r, id, http.StatusCreated)
}

// callFor has the switchboard place a call, and returns once its first INVITE is out.
// Its client may go away: the call does not hang on its request.
func (a *API) callFor(watched context.Context, id string, p *placement) (*sipflow.Call, error) {
	spec := p.spec
	spec.ID, spec.Admitted = id, true
	spec.Ready = func(ctx context.Context) error { return a.bus.Committed(ctx, id) }
	leave := func() {}
	if spec.Dial != nil {
		enter, err := a.cfg.Calls.Telephony.Enter(p.agent.Name)
		if err != nil {
			return nil, err
		}
		leave = sync.OnceFunc(enter)
	}
	a.follow(watched, &spec, func(e *sipflow.Event) {
		if e.Kind == sipflow.Ended {
			leave()
		}
	})
	ctx, stop := context.WithTimeout(context.WithoutCancel(watched), placeTimeout)
	defer stop()
	call, err := a.sw.Place(ctx, spec, p.flow)
	if err != nil && a.sw.ByID(id) == nil {
		leave()
	}
	return call, err
}

// mayPlace takes the turn of who asks, and asks whether there is room.
func (a *API) mayPlace(r *request, p *placement) *Problem {
	if a.calls != nil && r.who.Type == PrincipalKey {
		if wait := a.calls.Wait(r.who.rateName(), a.cfg.Now()); wait > 0 {
			return refuse(RateLimited, a.cfg.CallRatePerKey, "calls").after(wait)
		}
	}
	if err := a.sw.Admit(p.key.Agent); err != nil {
		return a.limited(err)
	}
	return nil
}

// placed answers with a call, at once or when the client wants to wait for more.
func (a *API) placed(w http.ResponseWriter, r *request, id string, status int) *Problem {
	c, ok := a.bus.Call(id)
	if !ok {
		return refuse(InternalError).dialled(DialledYes)
	}
	c = a.waitFor(r.Context(), c, dialledWait, dialled)
	if d := preferredWait(r.Header); d > 0 {
		if free, why := a.wait(w, d); why == nil { // the call is placed: an answer now is better than none
			defer free()
			c = a.waitFor(r.Context(), c, d, settled)
		}
	}
	w.Header().Set("Location", Prefix+"/calls/"+id)
	return a.sendCall(w, r, status, c)
}

// dialledWait is how long an answer waits for what is known already: that the first INVITE
// is out, and by which Call-ID and hop. It is being stored.
const dialledWait = 250 * time.Millisecond

// dialled reports whether it is told that a phone is called.
func dialled(c *event.Call) bool {
	return c.State == event.Ended || slices.ContainsFunc(c.Legs, func(l event.Leg) bool { return l.State != event.LegPending })
}

// settled reports whether it is known what a call comes to.
func settled(c *event.Call) bool {
	return c.State == event.Connected || c.State == event.Released || c.State == event.Ended
}

// waitFor waits until enough is so, the client goes or the time is over, and returns the
// call as it then is.
func (a *API) waitFor(ctx context.Context, c *event.Call, d time.Duration, enough func(*event.Call) bool) *event.Call {
	ctx, stop := context.WithTimeout(ctx, d)
	defer stop()
	for !enough(c) {
		next, err := a.bus.WaitCall(ctx, c.ID, c.Version)
		if err != nil || next.Version == c.Version {
			break
		}
		c = next
	}
	return c
}

// notPlaced says why a call was not placed, and keeps nothing of one of which nobody
// heard.
func (a *API) notPlaced(w http.ResponseWriter, r *request, id string, p *placement, call *sipflow.Call, err error) *Problem {
	kept, began := a.bus.Call(id)
	if id != "" && (!began || errors.Is(err, event.ErrStore)) {
		a.bus.Forget(id)
		a.forgetHook(id, p)
	}
	var holder *sipflow.InProgressError
	var held *sipflow.HeldError
	switch {
	case errors.As(err, &holder):
		return a.inProgress(w, r, p, holder.ID)
	case errors.As(err, &held) && p.conflict != conflictReplace: // it was placed at the same moment
		return a.inProgress(w, r, p, held.ID)
	case errors.Is(err, order.ErrHeld), held != nil:
		return refuse(NodeUnavailable).after(placingAgain)
	case errors.Is(err, sipflow.ErrNotOwner):
		return a.clusterRefusal()
	case errors.Is(err, sipflow.ErrReferred):
		return a.inProgress(w, r, p, "")
	case errors.Is(err, sipflow.ErrIDInUse):
		return refuse(IDInUse)
	case errors.Is(err, event.ErrStore), errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, sipflow.ErrUnreachable):
		return a.storeRefusal(err)
	case errors.Is(err, sipflow.ErrForbidden):
		return a.forbidden(err)
	case errors.Is(err, sipflow.ErrDraining):
		return refuse(Draining).after(5 * time.Second)
	case errors.Is(err, sipflow.ErrTooManyCalls):
		return a.limited(err)
	case errors.Is(err, sipflow.ErrUnreachable):
		return a.unreachable(p, kept, err)
	}
	r.log.Error("call not placed", "call", id, "error", err)
	return about(refuse(InternalError).dialled(DialledUnknown), id)
}

// inProgress is for a create whose parties have a call: the client gets that one if he
// said so.
func (a *API) inProgress(w http.ResponseWriter, r *request, p *placement, holder string) *Problem {
	c, ok := a.bus.Call(holder)
	if !ok {
		c, ok = a.lastOf(p)
	}
	if !ok || a.Access(r.who, c) == NoAccess {
		return refuse(CallInProgress, p.calling, p.called, "which ends at this moment").after(placingAgain)
	}
	if p.conflict == conflictReturn {
		return a.placed(w, r, c.ID, http.StatusOK)
	}
	why := refuse(CallInProgress, p.calling, p.called, c.ID)
	why.Existing = c.ID
	return why
}

// lastOf is the latest call of an agent with these parties that has not ended.
func (a *API) lastOf(p *placement) (*event.Call, bool) {
	calls, _, err := a.bus.Calls(event.CallFilter{Agents: []string{p.key.Agent}, States: activeStates}, event.Page{Limit: pageMost})
	if err != nil {
		return nil, false
	}
	for _, c := range calls {
		if len(c.Legs) > 1 && c.Legs[0].Address == p.key.Calling && c.Legs[1].Address == p.key.Called {
			return c, true
		}
	}
	return nil, false
}

// forbidden words a call that must not be placed.
func (a *API) forbidden(err error) *Problem {
	return refuse(PolicyDenied, strings.TrimSuffix(order.Forbidden(err), "."))
}

// limited words a limit of the switchboard.
func (a *API) limited(err error) *Problem {
	var limit *sipflow.LimitError
	if !errors.As(err, &limit) {
		return refuse(TooManyCalls, a.cfg.Calls.MaxCalls).after(5 * time.Second)
	}
	switch limit.Limit {
	case sipflow.LimitCallsPerAgent:
		return refuse(TooManyCallsOfUser, "The agent", limit.Most).after(limit.Wait)
	case sipflow.LimitCallRatePerAgent:
		return refuse(RateLimited, limit.Most, "calls").after(limit.Wait)
	case sipflow.LimitOverload:
		return refuse(Overloaded, "calls at this moment").after(limit.Wait)
	case sipflow.LimitCallRate:
		p := refuse(Overloaded, fmt.Sprintf("calls: more than %d a second", limit.Most))
		return p.after(limit.Wait)
	}
	return refuse(TooManyCalls, limit.Most).after(limit.Wait)
}

// storeRefusal is for a call whose id could not be stored: nobody was called.
func (a *API) storeRefusal(err error) *Problem {
	return refuse(StoreUnavailable, storeText(err)).after(time.Second)
}

// storeText says what keeps the store from writing. It does not say where the store is.
func storeText(err error) string {
	var store *event.StoreError
	switch {
	case !errors.As(err, &store):
		return "it has not stored the call's id in time"
	case store.Err != nil:
		return strings.ReplaceAll(store.Err.Error(), store.Store, "events.db")
	}
	return "it is " + store.Behind.Round(time.Millisecond).String() + " behind"
}

// unreachable says which servers did not take the call, where that is known.
func (a *API) unreachable(p *placement, c *event.Call, err error) *Problem {
	dialled, id := DialledNo, ""
	var tried []string
	if c != nil {
		id = c.ID
		if c.End != nil {
			dialled = c.End.Dialled
		}
		for i := range c.Legs {
			if s := c.Legs[i].SIP; s != nil {
				for _, t := range s.Tried {
					tried = append(tried, t.Hop+" "+t.Why)
				}
			}
		}
	}
	text := strings.Join(tried, ", ")
	if text == "" {
		text = whyUnreachable(p, err)
	}
	return about(refuse(UnreachableCode, text).dialled(dialled), id)
}

// whyUnreachable says what may be said: other faults would tell clients what listens
// where.
func whyUnreachable(p *placement, err error) string {
	var certificate *sipflow.CertificateError
	switch {
	case errors.As(err, &certificate):
		return "the one for " + p.calling.String() + " cannot be reached by TLS: " + clip(certificate.Error(), 256)
	case strings.Contains(err.Error(), "in time"):
		return "the one for " + p.calling.String() + " did not answer within " + hours(placeTimeout)
	}
	return "there is none for " + p.calling.String() + " that can be reached"
}
