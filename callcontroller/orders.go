package callcontroller

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// placeTimeout bounds the wait of a POST for its first INVITE to go out, and
// of a DELETE for the phones to be hung up.
const placeTimeout = 5 * time.Second

// postCall places a call. It returns the id of that, or of the one that is being
// placed already.
func (c *Controller) postCall(watched context.Context, key sipflow.Key, agent *restauth.User, who order.Client, calling, called order.Party, o *request) (id string, refused *refusal) {
	spec := who.Spec(agent, key.Agent)
	spec.Admitted = true // see serve
	spec.Key, spec.Method, spec.AgentName = key, sipflow.MethodRefer, agent.DisplayName
	spec.CallingUser, spec.CalledUser = calling.Wire(), called.Wire()
	spec.Subject, spec.ConfPIN, spec.ForwardingAllowed, spec.Timeout = o.subject, o.confPIN, o.forwardingAllowed, o.timeout
	if o.autoAnswer {
		// It opens a microphone: nobody may have the phone of another do it.
		if key.Calling != key.Agent {
			return "", &refusal{status: 403, code: 403, text: "autoAnswer is for the phone of the agent: the calling user is another"}
		}
		spec.AutoAnswer = c.cfg.AutoAnswer
	}
	if o.method == methodInvite {
		spec.Method = sipflow.MethodInvite
	}
	// Not the request's context: a client that goes away keeps its call.
	ctx, cancel := context.WithTimeout(context.Background(), placeTimeout)
	defer cancel()
	id, err := order.PlaceOver(ctx, c.cfg.Elsewhere, &spec, func() error { return c.placeCall(ctx, watched, &spec, o) })
	if err == nil {
		return spec.ID, nil
	}
	if errors.Is(err, sipflow.ErrReferred) { // what the client asks for is being done: a double click places one call
		if rec := c.records.find(key); rec != nil && id == "" {
			id = rec.id
		}
		return id, nil
	}
	if errors.Is(err, sipflow.ErrInProgress) {
		return "", &refusal{status: 406, code: 403, text: "Call in progress " + clip(o.methodGiven) + " not supported"} // sipXrest: 403 in the document
	}
	return "", c.explain(key, who, err, "placed", "calling user")
}

// placeCall places a call that is completely specified but for its id and its record.
func (c *Controller) placeCall(ctx, watched context.Context, spec *sipflow.Spec, o *request) error {
	r := &record{c: c, seq: c.seq.Add(1), method: o.method, keep: o.keep}
	spec.Observe = r.observe
	if c.cfg.Follow != nil {
		spec.Observe = c.cfg.Follow(watched, spec.Method, r.observe)
	}
	if c.cfg.Elsewhere != nil {
		r.keepWith(spec)
	}
	c.expect(spec, o.requestID)
	r.id = spec.ID
	err := c.place(ctx, *spec, c.flows[o.method])
	if err != nil {
		c.forget(spec.ID)
	}
	return err
}

// postTransfer has another phone take the calling one's place.
func (c *Controller) postTransfer(key sipflow.Key, who order.Client, o *request) *refusal {
	to := key
	to.Calling = c.names.KeyOf(o.target)
	ctx, cancel := context.WithTimeout(context.Background(), placeTimeout)
	defer cancel()
	err := c.transfer(ctx, key, to, o.target.Wire(), who.Trusted)
	if errors.Is(err, sipflow.ErrNoCall) && c.cfg.Elsewhere != nil {
		if done, refused := c.askElsewhere(ctx, &question{What: askTransfer, Key: key, To: to, Target: o.target.Wire(), Trusted: who.Trusted, Addr: who.Addr}); done {
			return refused
		}
	}
	return c.transferred(key, who, err)
}

// transferred explains what a transfer came to.
func (c *Controller) transferred(key sipflow.Key, who order.Client, err error) *refusal {
	switch {
	case errors.Is(err, sipflow.ErrNoCall):
		return &refusal{status: 406, code: 403, text: "Call not found."} // sipXrest: 403 in the document
	case errors.Is(err, sipflow.ErrTransferring):
		return &refusal{status: 406, code: 403, text: "Transfer in progress."}
	}
	return c.explain(key, who, err, "transferred", "target")
}

// delete hangs a call up.
func (c *Controller) delete(key sipflow.Key, agent *restauth.User, who order.Client, req string) *refusal {
	ctx, cancel := context.WithTimeout(context.Background(), placeTimeout)
	defer cancel()
	err := c.hangUp(ctx, key)
	if errors.Is(err, sipflow.ErrNoCall) && c.cfg.Elsewhere != nil {
		if done, refused := c.askElsewhere(ctx, &question{What: askDelete, Key: key, Agent: agent.Name, Trusted: who.Trusted, Addr: who.Addr, RequestID: req}); done {
			return refused
		}
	}
	return c.hungUp(key, who, err)
}

// hungUp explains what a hang-up came to.
func (c *Controller) hungUp(key sipflow.Key, who order.Client, err error) *refusal {
	if errors.Is(err, sipflow.ErrNoCall) {
		return &refusal{status: 404, code: 404, text: "Call not found."}
	}
	return c.explain(key, who, err, "hung up", "calling user")
}

// explain returns why a call was not what ("placed"), and logs it. whose phone
// was to be called is said where it matters.
func (c *Controller) explain(key sipflow.Key, who order.Client, err error, what, whose string) *refusal {
	level := slog.LevelWarn
	var answer refusal
	var limit *sipflow.LimitError
	var certificate *sipflow.CertificateError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &limit): // logged, a line for many, by the switchboard
		return tooMany(limit)
	case errors.Is(err, sipflow.ErrForbidden): // logged where it is forbidden
		return &refusal{status: 403, code: 403, text: order.Forbidden(err)}
	case errors.As(err, &certificate): // other faults would tell clients what listens where
		answer = refusal{status: 502, code: 502, text: "The SIP server of the " + whose + " cannot be reached by TLS: " + clip(certificate.Error())}
	case errors.Is(err, sipflow.ErrUnreachable):
		answer = refusal{status: 502, code: 502, text: "The SIP server of the " + whose + " cannot be reached"}
	case errors.Is(err, context.DeadlineExceeded):
		answer = refusal{status: 502, code: 502, text: "The SIP server of the " + whose + " cannot be reached in time"}
	case errors.Is(err, sipflow.ErrForgotten):
		answer = *noNode
	case errors.Is(err, sipflow.ErrNotOwner):
		answer = refusal{status: 503, code: 503, text: "The store of the cluster cannot be reached from this node, try again later or at another node"}
	case errors.Is(err, order.ErrHeld):
		answer = refusal{status: 503, code: 503, text: "The parties have a call at another node, which does not end it at this moment: try again later"}
	case errors.Is(err, sipflow.ErrDraining):
		answer = refusal{status: 503, code: 503, text: "The service is shutting down, try again later"}
	default:
		level = slog.LevelError
		answer = refusal{status: 500, code: 500, text: "The call could not be " + what + ": an internal error, see the log of the service"}
	}
	end := sipflow.End{Key: key, Peer: who.Addr, Err: err}
	c.log.LogAttrs(context.Background(), level, "call not "+what, end.Attrs()...)
	return &answer
}

// tooMany returns the refusal of a call beyond a limit. The user's own limit is
// 429 (RFC 6585 §4): the service has room for others.
func tooMany(e *sipflow.LimitError) *refusal {
	status, text := 503, "Too many calls at once"
	switch e.Limit {
	case sipflow.LimitCallsPerAgent:
		text = "Too many calls of this user at once"
	case sipflow.LimitOverload:
		return &refusal{status: status, code: status, text: "The service is overloaded, try again later", retry: 1}
	case sipflow.LimitCallRate:
		text = "Too many calls per second"
	case sipflow.LimitCallRatePerAgent:
		text = "Too many calls of this user per second"
	}
	if e.OfAgent() {
		status = 429
	}
	key := "limits." + strings.ReplaceAll(e.Limit.String(), "_", "-")
	return &refusal{status: status, code: status, text: text + ", try again later (" + key + ": " + strconv.Itoa(e.Most) + ")",
		retry: int((e.Wait + time.Second - 1) / time.Second)}
}
