package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"sipxrest/event"
	"sipxrest/internal/fault"
)

// webhookRoutes are the routes of webhooks.
func (a *API) webhookRoutes(to *mux.Router) {
	if a.cfg.Webhooks == nil {
		return
	}
	manage := []Scope{WebhooksManage}
	with := func(do func(http.ResponseWriter, *request, event.Webhook) *Problem, params ...string) method {
		return method{scopes: manage, params: params, do: func(w http.ResponseWriter, r *request) *Problem {
			hook, err := a.cfg.Webhooks.Webhook(r.vars("webhook"))
			if err != nil || !r.who.seesWebhook(&hook, a) {
				return refuse(WebhookNotFound)
			}
			return do(w, r, hook)
		}}
	}
	a.resource(to, "/webhooks", methods{
		http.MethodGet:  {scopes: manage, params: pageParams, do: a.listWebhooks},
		http.MethodPost: {scopes: manage, do: a.makeWebhook},
	})
	a.resource(to, "/webhooks/{webhook}", methods{
		http.MethodGet:    with(a.showWebhook),
		http.MethodPatch:  with(a.changeWebhook),
		http.MethodDelete: with(a.deleteWebhook),
	})
	a.resource(to, "/webhooks/{webhook}/rotate-secret", methods{http.MethodPost: with(a.rotateSecret)})
	a.resource(to, "/webhooks/{webhook}/test", methods{http.MethodPost: with(a.testWebhook)})
	a.resource(to, "/webhooks/{webhook}/enable", methods{http.MethodPost: with(a.enableWebhook)})
	a.resource(to, "/webhooks/{webhook}/deliveries", methods{
		http.MethodGet: with(a.listDeliveries, append([]string{"state", "call_id"}, pageParams...)...)})
	a.resource(to, "/webhooks/{webhook}/replay", methods{http.MethodPost: with(a.replayWebhook)})
}

// seesWebhook reports whether a webhook is of agents for whom the principal may act.
// To others it does not exist.
func (p *Principal) seesWebhook(w *event.Webhook, a *API) bool {
	if p.Key == nil || p.Key.everybody() {
		return true
	}
	if w.Origin == event.OriginCall {
		return w.Owner == p.Name
	}
	return a.foreignAgent(p, w.Agents) == ""
}

// foreignAgent is the first agent for whom a principal may not act; "" for none.
func (a *API) foreignAgent(p *Principal, names []string) string {
	if p.Key == nil || p.Key.everybody() {
		return ""
	}
	for _, name := range names {
		user, host, _ := strings.Cut(name, "@")
		u, known := a.users.Lookup(user)
		if !known || host != "" && !strings.EqualFold(host, a.cfg.Domain) || !p.Key.hasAgent(u) {
			return name
		}
	}
	return ""
}

// webhookBody is what a client says of a webhook. What is missing stays as it is,
// or is the default.
type webhookBody struct {
	Name      *string           `json:"name"`
	URL       *string           `json:"url"`
	Events    []string          `json:"events"`
	Agents    []string          `json:"agents"`
	Kinds     []event.Kind      `json:"kinds"`
	Include   *string           `json:"include"`
	Format    *string           `json:"format"`
	Order     *string           `json:"order"`
	TimeoutMS *int64            `json:"timeout_ms"`
	Ed25519   *bool             `json:"ed25519"`
	Headers   map[string]string `json:"headers"`
	Enabled   *bool             `json:"enabled"`
}

// newWebhookBody is that of a webhook that is made.
type newWebhookBody struct {
	webhookBody
	Secret string `json:"secret"` // the client's own
	After  string `json:"after"`  // where it begins
}

// into changes what the body says.
func (b *webhookBody) into(w *event.WebhookSpec) {
	for _, m := range []struct{ from, to *string }{{b.Name, &w.Name}, {b.URL, &w.URL}, {b.Include, &w.Include}, {b.Format, &w.Format}, {b.Order, &w.Order}} {
		if m.from != nil {
			*m.to = *m.from
		}
	}
	if b.Events != nil {
		w.Events = b.Events
	}
	if b.Agents != nil {
		w.Agents = b.Agents
	}
	if b.Kinds != nil {
		w.Kinds = b.Kinds
	}
	if b.TimeoutMS != nil {
		w.TimeoutMS = *b.TimeoutMS
	}
	if b.Ed25519 != nil {
		w.Ed25519 = *b.Ed25519
	}
	if b.Headers != nil {
		w.Headers = b.Headers
	}
}

// withSecret is a webhook with the secret that is shown this once.
type withSecret struct {
	event.Webhook
	Secret string `json:"secret"`
}

func (a *API) listWebhooks(w http.ResponseWriter, r *request) *Problem {
	limit, after, why := r.page()
	if why != nil {
		return why
	}
	all := slices.DeleteFunc(a.cfg.Webhooks.Webhooks(), func(hook event.Webhook) bool { return !r.who.seesWebhook(&hook, a) })
	if after != "" { // behind one, or what came after it where it is gone
		at, id, _ := strings.Cut(after, " ")
		all = slices.DeleteFunc(all, func(hook event.Webhook) bool {
			made := stamp(hook.CreatedAt) // of one width, so that texts compare as times do
			return made > at || made == at && hook.ID <= id
		})
	}
	next := ""
	if len(all) > limit {
		all = all[:limit]
		next = stamp(all[limit-1].CreatedAt) + " " + all[limit-1].ID
	}
	return sendPage(w, r, all, next)
}

func (a *API) makeWebhook(w http.ResponseWriter, r *request) *Problem {
	var b newWebhookBody
	if _, why := read(w, r, &b, false); why != nil {
		return why
	}
	var spec event.WebhookSpec
	b.into(&spec)
	if len(spec.Agents) == 0 && r.who.Key != nil && !r.who.Key.everybody() {
		spec.Agents = slices.Clone(r.who.Key.Agents)
	}
	spec.Complete()
	if why := a.checkWebhook(r, &spec, true); why != nil {
		return why
	}
	var after event.Cursor
	if b.After != "" && b.After != "now" {
		var err error
		if after, err = event.ParseCursor(b.After); err != nil {
			return refuse(InvalidCursor)
		}
	}
	hook, secret, err := a.cfg.Webhooks.Create(spec, r.who.Name, b.Secret, after)
	if err != nil {
		return a.webhookProblem(err)
	}
	if b.Enabled != nil && !*b.Enabled {
		if hook, err = a.cfg.Webhooks.Change(hook.ID, hook.WebhookSpec, b.Enabled); err != nil {
			return a.webhookProblem(err)
		}
	}
	r.log.Info("webhook made", "webhook", hook.ID, "name", hook.Name, "key", r.who.Name)
	w.Header().Set("Location", Prefix+"/webhooks/"+hook.ID)
	return send(w, http.StatusCreated, withSecret{hook, secret})
}

// checkWebhook says what is wrong with a webhook: its members, whose calls it is
// about (one of a single call is about that), and where it leads.
func (a *API) checkWebhook(r *request, spec *event.WebhookSpec, agents bool) *Problem {
	faults := a.cfg.Webhooks.CheckWebhook(spec)
	if len(faults) == 1 && event.PrivateURL(faults[0]) {
		return urlRefused(faults[0].Err)
	}
	if len(faults) > 0 {
		return invalid(memberFaults(faults)...)
	}
	if name := a.foreignAgent(r.who, spec.Agents); agents && name != "" {
		if _, known := a.users.Lookup(name); !known && slices.Contains(r.who.Key.Agents, name) {
			return refuse(UnknownUser, clip(name, 64)) // the key is not to blame
		}
		return refuse(WrongAgent, r.who.String(), clip(name, 64))
	}
	if err := a.cfg.Webhooks.ProbeURL(r.Context(), spec.URL); err != nil {
		return urlRefused(err)
	}
	return nil
}

func urlRefused(err error) *Problem {
	p := refuse(WebhookURLRefused, err.Error())
	p.Errors = []MemberFault{{Pointer: "/url", Code: memberInvalid, Detail: err.Error()}}
	return p
}

// memberFaults are faults as clients get them.
func memberFaults(faults []*fault.Fault) (list []MemberFault) {
	for _, f := range faults {
		code := memberInvalid
		if f.Key == "timeout_ms" {
			code = memberOutOfRange
		}
		list = append(list, MemberFault{Pointer: "/" + f.Key, Code: code, Detail: clip(f.Err.Error(), 256)})
	}
	return list
}

// webhookProblem words what the outbox refuses.
func (a *API) webhookProblem(err error) *Problem {
	var wrong *fault.Fault
	switch {
	case errors.As(err, &wrong):
		return invalid(memberFaults([]*fault.Fault{wrong})...)
	case errors.Is(err, event.ErrNoWebhook):
		return refuse(WebhookNotFound)
	case errors.Is(err, event.ErrReadOnly):
		return refuse(ReadOnly)
	case errors.Is(err, event.ErrTooManyWebhooks):
		return refuse(TooManyWebhooks, event.MaxWebhooks)
	case errors.Is(err, event.ErrSecretInUse):
		return refuse(TooManySecrets, event.MaxSecrets)
	case errors.Is(err, event.ErrNoSecret):
		return invalid(MemberFault{Pointer: "/retire", Code: memberInvalid, Detail: err.Error()})
	case errors.Is(err, event.ErrNoEvent):
		return invalid(MemberFault{Pointer: "/event_ids", Code: memberInvalid, Detail: err.Error()})
	case errors.Is(err, event.ErrBadCursor):
		return refuse(InvalidCursor)
	case errors.Is(err, event.ErrCursorExpired), errors.Is(err, event.ErrOtherStore):
		return a.gone(err)
	}
	a.log.Warn("webhooks cannot be kept", "error", err)
	return refuse(StoreUnavailable, "see the log").after(5 * time.Second)
}

func (a *API) showWebhook(w http.ResponseWriter, _ *request, hook event.Webhook) *Problem {
	return send(w, http.StatusOK, hook)
}

func (a *API) changeWebhook(w http.ResponseWriter, r *request, hook event.Webhook) *Problem {
	var b webhookBody
	if _, why := read(w, r, &b, false, "application/json", "application/merge-patch+json"); why != nil {
		return why
	}
	if hook.Origin == event.OriginConfig {
		return refuse(ReadOnly)
	}
	spec := hook.WebhookSpec
	b.into(&spec)
	spec.Complete()
	if why := a.checkWebhook(r, &spec, true); why != nil {
		return why
	}
	changed, err := a.cfg.Webhooks.Change(hook.ID, spec, b.Enabled)
	if err != nil {
		return a.webhookProblem(err)
	}
	return send(w, http.StatusOK, changed)
}

func (a *API) deleteWebhook(w http.ResponseWriter, r *request, hook event.Webhook) *Problem {
	if err := a.cfg.Webhooks.Delete(hook.ID); err != nil {
		return a.webhookProblem(err)
	}
	r.log.Info("webhook deleted", "webhook", hook.ID, "name", hook.Name, "key", r.who.Name)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) enableWebhook(w http.ResponseWriter, r *request, hook event.Webhook) *Problem {
	if _, why := read(w, r, &struct{}{}, true); why != nil {
		return why
	}
	changed, err := a.cfg.Webhooks.Enable(hook.ID)
	if err != nil {
		return a.webhookProblem(err)
	}
	return send(w, http.StatusOK, changed)
}

func (a *API) rotateSecret(w http.ResponseWriter, r *request, hook event.Webhook) *Problem {
	var b struct {
		OverlapMS *int64 `json:"overlap_ms"`
		Secret    string `json:"secret"`
		Retire    string `json:"retire"`
	}
	if _, why := read(w, r, &b, true); why != nil {
		return why
	}
	if b.Retire != "" {
		if b.OverlapMS != nil || b.Secret != "" {
			return invalid(MemberFault{Pointer: "/retire", Code: memberInvalid, Detail: "it stands alone: it makes no new secret"})
		}
		changed, err := a.cfg.Webhooks.Retire(hook.ID, b.Retire)
		if err != nil {
			return a.webhookProblem(err)
		}
		return send(w, http.StatusOK, changed)
	}
	overlap := event.SecretOverlap
	if b.OverlapMS != nil {
		most := event.MaxSecretOverlap.Milliseconds()
		if *b.OverlapMS < 0 || *b.OverlapMS > most {
			return invalid(MemberFault{Pointer: "/overlap_ms", Code: memberOutOfRange, Detail: fmt.Sprintf("0 to %d", most)})
		}
		overlap = time.Duration(*b.OverlapMS) * time.Millisecond
	}
	changed, secret, err := a.cfg.Webhooks.Rotate(hook.ID, overlap, b.Secret)
	if err != nil {
		return a.webhookProblem(err)
	}
	r.log.Info("webhook has a new secret", "webhook", hook.ID, "name", hook.Name, "key", r.who.Name)
	return send(w, http.StatusOK, withSecret{changed, secret})
}

// testTime bounds a test: the listener gives no answer more time.
const testTime = maxWait

func (a *API) testWebhook(w http.ResponseWriter, r *request, hook event.Webhook) *Problem {
	var b struct {
		NewestSecret bool `json:"newest_secret"`
	}
	if _, why := read(w, r, &b, true); why != nil {
		return why
	}
	free, why := a.wait(w, 0)
	if why != nil {
		return why
	}
	defer free()
	w.Header().Del("Preference-Applied")
	ctx, cancel := context.WithTimeoutCause(r.Context(), testTime, errors.New("no answer in time"))
	defer cancel()
	result, err := a.cfg.Webhooks.Test(ctx, hook.ID, b.NewestSecret)
	if err != nil {
		return a.webhookProblem(err)
	}
	return send(w, http.StatusAccepted, result)
}

func (a *API) listDeliveries(w http.ResponseWriter, r *request, hook event.Webhook) *Problem {
	state, why := r.word("state", "pending", "failed", "dead")
	if why != nil {
		return why
	}
	limit, before, why := r.page()
	if why != nil {
		return why
	}
	list, more, err := a.cfg.Webhooks.Deliveries(hook.ID, event.DeliveryQuery{State: state, CallID: r.query.Get("call_id"), Before: before, Limit: limit})
	if err != nil {
		return a.webhookProblem(err)
	}
	next := ""
	if more {
		next = list[len(list)-1].EventID
	}
	return sendPage(w, r, list, next)
}

// maxEventIDs bounds event_ids of a replay.
const maxEventIDs = 1_000

func (a *API) replayWebhook(w http.ResponseWriter, r *request, hook event.Webhook) *Problem {
	var b struct {
		After    string   `json:"after"`
		Dead     bool     `json:"dead"`
		EventIDs []string `json:"event_ids"`
		CallID   string   `json:"call_id"`
	}
	if _, why := read(w, r, &b, false); why != nil {
		return why
	}
	said := 0
	for _, is := range []bool{b.After != "", b.Dead, len(b.EventIDs) > 0, b.CallID != ""} {
		if is {
			said++
		}
	}
	switch {
	case said != 1:
		return invalid(MemberFault{Pointer: "", Code: memberInvalid, Detail: "give one of after, dead: true, event_ids, call_id"})
	case len(b.EventIDs) > maxEventIDs:
		return invalid(MemberFault{Pointer: "/event_ids", Code: memberOutOfRange, Detail: fmt.Sprintf("at most %d", maxEventIDs)})
	}
	q := event.ReplayQuery{Dead: b.Dead, EventIDs: b.EventIDs, CallID: b.CallID}
	if b.After != "" {
		var err error
		if q.After, err = event.ParseCursor(b.After); err != nil {
			return refuse(InvalidCursor)
		}
	}
	n, next, err := a.cfg.Webhooks.Replay(hook.ID, q)
	if err != nil {
		return a.webhookProblem(err)
	}
	answer := struct {
		Queued int     `json:"queued"`
		Next   *string `json:"next"` // after: where another request goes on
	}{Queued: n}
	if !next.IsZero() {
		text := next.String()
		answer.Next = &text
	}
	return send(w, http.StatusAccepted, answer)
}
