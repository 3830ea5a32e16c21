package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sipxrest/event"
	"sipxrest/sipflow"
)

// transferBody is the body of POST /v1/calls/{id}/transfers.
type transferBody struct {
	Mode     *string `json:"mode"`
	To       *string `json:"to"`
	Leaver   *string `json:"leaver"`
	WithCall *string `json:"with_call"`
}

// A transferDocument is a transfer as it is shown.
type transferDocument struct {
	Object string `json:"object"` // "transfer"
	CallID string `json:"call_id"`
	event.Transfer
	Links transferLinks `json:"links"`
}

type transferLinks struct {
	Self string `json:"self"`
	Call string `json:"call"`
}

func documentOf(c *event.Call, t *event.Transfer) transferDocument {
	call := Prefix + "/calls/" + c.ID
	return transferDocument{Object: "transfer", CallID: c.ID, Transfer: *t, Links: transferLinks{Self: call + "/transfers/" + t.ID, Call: call}}
}

// A transferOrder is a transfer that is asked for.
type transferOrder struct {
	mode   string
	leaver sipflow.Party
	to     string      // on the wire
	with   *event.Call // whose far party is the target; nil else
}

// postTransfer begins a transfer.
func (a *API) postTransfer(w http.ResponseWriter, r *request) *Problem {
	var raw json.RawMessage
	body, why := read(w, r, &raw, false)
	if why != nil {
		return why
	}
	c, may, why := a.find(r)
	if why != nil {
		return why
	}
	o, why := a.readTransfer(r, raw, c)
	if why != nil {
		return why
	}
	if may == AsParty {
		return about(refuse(NotYourLeg), c.ID)
	}
	if why := ifMatch(r.Request, c.Version); why != nil {
		return why
	}
	return a.once(w, r, "transfer "+c.ID, c.ID, body, func(w http.ResponseWriter) *Problem { return a.transfer(w, r, c, o) })
}

// readTransfer reads what transfer of a call is wanted.
func (a *API) readTransfer(r *request, raw []byte, c *event.Call) (*transferOrder, *Problem) {
	var d decoding
	var b transferBody
	d.value(raw, reflect.ValueOf(&b).Elem(), "")
	o := &transferOrder{mode: d.word("/mode", b.Mode, sipflow.TransferBlind, sipflow.TransferAttended), leaver: sipflow.CallingParty}
	if d.word("/leaver", b.Leaver, string(event.RoleCalling), string(event.RoleCalled)) == string(event.RoleCalled) {
		o.leaver = sipflow.CalledParty
	}
	switch {
	case b.WithCall == nil:
		o.to = a.readTarget(&d, "/to", b.To).Wire()
	case b.To != nil:
		d.fault("/to", memberInvalid, "give either to or with_call")
	case b.Mode != nil && o.mode == sipflow.TransferBlind:
		d.fault("/mode", memberInvalid, "with_call goes with attended")
	case *b.WithCall == c.ID:
		d.fault("/with_call", memberInvalid, "must be another call")
	default:
		o.mode = sipflow.TransferAttended
	}
	if len(d.wrong) > 0 {
		return nil, invalid(d.wrong...)
	}
	if b.WithCall == nil {
		return o, nil
	}
	with, ok := a.bus.Call(*b.WithCall)
	if !ok || a.Access(r.who, with) != AsAgent {
		return nil, about(refuse(CallNotFound, hours(a.cfg.CallTime)).because("This is about with_call."), clip(*b.WithCall, maxTagKey))
	}
	if with.Agent != c.Agent {
		return nil, about(refuse(WrongAgent, c.Agent, with.Agent).because("Two calls of one agent can be joined."), with.ID)
	}
	o.with = with
	return o, nil
}

// transfer begins a transfer and answers once the target is called.
func (a *API) transfer(w http.ResponseWriter, r *request, c *event.Call, o *transferOrder) *Problem {
	if why := impossible(c, actTransfer); why != nil {
		return why
	}
	call := a.sw.ByID(c.ID)
	if call == nil {
		return a.notRunning(c, actTransfer)
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), actionTime)
	defer stop()
	trusted := r.who.Type == PrincipalPeer
	var n int
	var err error
	switch {
	case o.with != nil:
		if why := impossible(o.with, actTransfer); why != nil {
			return why.because("This is about with_call.")
		}
		other := a.sw.ByID(o.with.ID)
		if other == nil {
			if a.isElsewhere(r.Context(), o.with.ID) {
				return about(refuse(ActionUnsupported, "The two calls are at two nodes of the cluster, and cannot be joined"), c.ID)
			}
			return a.notRunning(o.with, actTransfer)
		}
		a.bus.SetActor(o.with.ID, r.who.Actor(r.id))
		n, err = a.sw.Join(ctx, call, other, sipflow.Self)
	case o.mode == sipflow.TransferAttended:
		n, err = call.AttendedTransfer(ctx, o.leaver, o.to, trusted)
	default:
		n, err = call.BlindTransfer(ctx, o.leaver, o.to, trusted)
	}
	if err != nil {
		leg := legOf(c, string(event.RoleCalling))
		if o.leaver == sipflow.CallingParty { // the one who stays is asked
			leg = legOf(c, string(event.RoleCalled))
		}
		if errors.Is(err, sipflow.ErrCannotJoin) {
			return about(refuse(ActionUnsupported, "these two calls cannot be joined"), c.ID)
		}
		return a.phoneProblem(c, &actionOrder{action: actTransfer, leg: leg}, err)
	}
	id := "t" + strconv.Itoa(n)
	c = a.waitFor(context.WithoutCancel(r.Context()), c, lagTime, func(c *event.Call) bool { return transferOf(c, id) != nil })
	t := transferOf(c, id)
	if t == nil {
		return refuse(InternalError).dialled(DialledYes)
	}
	w.Header().Set("Location", Prefix+"/calls/"+c.ID+"/transfers/"+id)
	return send(w, http.StatusAccepted, documentOf(c, t))
}

// transferOf is a transfer by its id, nil if there is none.
func transferOf(c *event.Call, id string) *event.Transfer {
	for i := range c.Transfers {
		if c.Transfers[i].ID == id {
			return &c.Transfers[i]
		}
	}
	return nil
}

// findTransfer is the transfer that r is about.
func (a *API) findTransfer(r *request) (*event.Call, *event.Transfer, Access, *Problem) {
	c, may, why := a.find(r)
	if why != nil {
		return nil, nil, may, why
	}
	t := transferOf(c, r.vars("tid"))
	if t == nil {
		return nil, nil, may, about(refuse(TransferNotFound), c.ID)
	}
	return c, t, may, nil
}

// listTransfers answers with the transfers of a call, the newest first. There are few.
func (a *API) listTransfers(w http.ResponseWriter, r *request) *Problem {
	c, _, why := a.find(r)
	if why != nil {
		return why
	}
	var list []transferDocument
	for i := range c.Transfers {
		list = append(list, documentOf(c, &c.Transfers[i]))
	}
	slices.Reverse(list)
	return sendPage(w, r, list, "")
}

// getTransfer answers with one transfer, at once or when it changes.
func (a *API) getTransfer(w http.ResponseWriter, r *request) *Problem {
	c, t, _, why := a.findTransfer(r)
	if why != nil {
		return why
	}
	if d := preferredWait(r.Header); d > 0 && !transferOver(t.State) {
		free, why := a.wait(w, d)
		if why != nil {
			return why
		}
		defer free()
		was := *t
		c = a.waitFor(r.Context(), c, d, func(c *event.Call) bool {
			t := transferOf(c, was.ID)
			return t == nil || t.State != was.State || c.State == event.Ended
		})
		if t = transferOf(c, was.ID); t == nil {
			return about(refuse(TransferNotFound), c.ID)
		}
	}
	return send(w, http.StatusOK, documentOf(c, t))
}

// completeTransfer joins the parties of an attended transfer now.
func (a *API) completeTransfer(w http.ResponseWriter, r *request) *Problem {
	return a.endTransfer(w, r, "complete", func(ctx context.Context, call *sipflow.Call, n int) error { return call.CompleteTransfer(ctx, n) })
}

// cancelTransfer calls a transfer off.
func (a *API) cancelTransfer(w http.ResponseWriter, r *request) *Problem {
	return a.endTransfer(w, r, "cancel", func(ctx context.Context, call *sipflow.Call, n int) error { return call.CancelTransfer(ctx, n) })
}

// endTransfer ends a transfer, well or not, and answers when the phones have agreed.
func (a *API) endTransfer(w http.ResponseWriter, r *request, what string, do func(context.Context, *sipflow.Call, int) error) *Problem {
	body, why := read(w, r, &struct{}{}, true)
	if why != nil {
		return why
	}
	c, t, may, why := a.findTransfer(r)
	if why != nil {
		return why
	}
	if may == AsParty {
		return about(refuse(NotYourLeg), c.ID)
	}
	if why := ifMatch(r.Request, c.Version); why != nil {
		return why
	}
	id := t.ID
	return a.once(w, r, what+" "+c.ID+" "+id, c.ID, body, func(w http.ResponseWriter) *Problem {
		if transferOver(t.State) {
			if what == "cancel" && t.State == sipflow.TransferCancelled || what == "complete" && t.State == sipflow.TransferCompleted {
				return send(w, http.StatusOK, documentOf(c, t)) // it is so already
			}
			return about(refuse(TransferOver, t.State), c.ID)
		}
		call := a.sw.ByID(c.ID)
		if call == nil {
			return a.notRunning(c, actTransfer)
		}
		ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), actionTime)
		defer stop()
		n, _ := strconv.Atoi(strings.TrimPrefix(id, "t"))
		err := do(ctx, call, n)
		switch {
		case errors.Is(err, sipflow.ErrNoTransfer):
			c = a.waitFor(r.Context(), c, lagTime, over(id))
			if t := transferOf(c, id); t != nil && transferOver(t.State) {
				return about(refuse(TransferOver, t.State), c.ID)
			}
			return about(refuse(TransferNotFound), c.ID)
		case errors.Is(err, sipflow.ErrNotConsulting):
			return about(refuse(NotConnected, c.State).because("The leaver does not talk to the target of the transfer (state "+t.State+")."), c.ID)
		case err != nil:
			return a.phoneProblem(c, &actionOrder{action: actTransfer, leg: legOf(c, string(event.RoleCalled))}, err)
		}
		c = a.waitFor(context.WithoutCancel(r.Context()), c, lagTime, over(id))
		t := transferOf(c, id)
		if t == nil {
			return about(refuse(TransferNotFound), c.ID)
		}
		return send(w, http.StatusOK, documentOf(c, t))
	})
}

// over reports whether a transfer is over.
func over(id string) func(*event.Call) bool {
	return func(c *event.Call) bool {
		t := transferOf(c, id)
		return t == nil || transferOver(t.State) || c.State == event.Ended
	}
}
