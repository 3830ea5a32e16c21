package api

import "sipxrest/event"

// hookOf makes the webhook of a single call ready.
func (a *API) hookOf(r *request, p *placement, wish *event.Request) *Problem {
	if p.webhook != nil {
		return invalid(MemberFault{Pointer: "/webhook", Code: memberInvalid, Detail: "there are no webhooks here"})
	}
	return nil
}
