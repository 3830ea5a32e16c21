package api

import (
	"errors"

	"sipxrest/event"
)

// callHookBody is the member "webhook" of a create.
type callHookBody struct {
	URL    string   `json:"url"`
	Events []string `json:"events"`
}

// hookOf reads the webhook of a single call, and says what is wrong with it; nil
// where none is asked for.
func (a *API) hookOf(r *request, p *placement) (*event.WebhookSpec, *Problem) {
	if p.webhook == nil {
		return nil, nil
	}
	if a.cfg.Webhooks == nil {
		return nil, invalid(MemberFault{Pointer: "/webhook", Code: memberInvalid, Detail: "there are no webhooks here"})
	}
	var b callHookBody
	why := parse(p.webhook, &b)
	spec := &event.WebhookSpec{Name: "call", URL: b.URL, Events: b.Events}
	spec.Complete()
	if why == nil {
		why = a.checkWebhook(r, spec, false)
	}
	if why != nil {
		for i := range why.Errors {
			why.Errors[i].Pointer = "/webhook" + why.Errors[i].Pointer
		}
		return nil, why
	}
	return spec, nil
}

// makeHook makes the webhook of a call, before that begins. It is gone again by
// event.Outbox.ForgetCall, or by itself when the call is over.
func (a *API) makeHook(r *request, id string, spec *event.WebhookSpec) *Problem {
	if spec == nil {
		return nil
	}
	err := a.cfg.Webhooks.ForCall(id, *spec, r.who.Name, r.who.WebhookSecret)
	if errors.Is(err, event.ErrTooManyWebhooks) {
		return refuse(TooManyWebhooks, event.MaxCallWebhooks).because("They are of single calls, with which they go.")
	}
	if err != nil {
		return a.webhookProblem(err)
	}
	return nil
}

// forgetHook undoes makeHook where nothing came of the call.
func (a *API) forgetHook(id string, p *placement) {
	if p.webhook != nil && a.cfg.Webhooks != nil {
		a.cfg.Webhooks.ForgetCall(id)
	}
}
