package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"

	"sipxrest/event"
)

// callFilters are the parameters of GET /v1/calls beside those of its pages.
var callFilters = []string{"state*", "kind*", "source*", "user*", "outcome*", "reason*", "flow*", "tag.*",
	"created_after", "created_before", "updated_after", "order"}

// activeStates are those of calls that have not ended.
var activeStates = []string{"active"}

// What filters may name.
var (
	stateWords = []string{"active", string(event.Routing), string(event.Calling), string(event.Connecting), string(event.Connected),
		string(event.Released), string(event.Ended)}
	kindWords   = []string{string(event.ClickToCall), string(event.DialOut), string(event.Inbound), string(event.WebSocket)}
	sourceWords = []string{string(event.FromAPI), string(event.FromCallController), string(event.FromDialOut), string(event.FromTalk),
		string(event.FromDispatch), string(event.FromPhone)}
	outcomeWords = []string{string(event.Completed), string(event.HandedOver), string(event.NoAnswer), string(event.Busy), string(event.Declined),
		string(event.Unreachable), string(event.Cancelled), string(event.Failed), string(event.Merged), string(event.Unknown)}
	flowWords = []string{flowInvite, flowRefer}
)

// listCalls answers with a page of the calls that the principal sees.
func (a *API) listCalls(w http.ResponseWriter, r *request) *Problem {
	limit, cursor, why := r.page()
	if why != nil {
		return why
	}
	f, why := callFilter(r)
	if why != nil {
		return why
	}
	f.See = func(c *event.Call) bool { return a.Access(r.who, c) != NoAccess }
	calls, next, err := a.bus.Calls(*f, event.Page{Cursor: cursor, Limit: limit})
	if err != nil {
		return a.listRefusal(err)
	}
	data := make([]*event.Call, len(calls))
	for i, c := range calls {
		data[i] = a.show(r, c)
	}
	return sendPage(w, r, data, next)
}

// callFilter reads the filters of a list of calls.
func callFilter(r *request) (*event.CallFilter, *Problem) {
	f := &event.CallFilter{Users: r.query["user"], Reasons: r.query["reason"], Tags: r.tags()}
	if named := r.query.Get("agent"); named != "" && r.who.Agent != nil {
		f.Agents = []string{r.who.Agent.Identity}
	}
	for _, list := range []struct {
		to    *[]string
		name  string
		words []string
	}{
		{&f.States, "state", stateWords}, {&f.Kinds, "kind", kindWords}, {&f.Sources, "source", sourceWords},
		{&f.Outcomes, "outcome", outcomeWords}, {&f.Flows, "flow", flowWords},
	} {
		var why *Problem
		if *list.to, why = r.words(list.name, list.words...); why != nil {
			return nil, why
		}
	}
	order, why := r.word("order", "asc", "desc")
	if why != nil {
		return nil, why
	}
	f.Oldest = order == "asc"
	if f.CreatedAfter, why = r.time("created_after"); why != nil {
		return nil, why
	}
	if f.CreatedBefore, why = r.time("created_before"); why != nil {
		return nil, why
	}
	f.UpdatedAfter, why = r.time("updated_after")
	return f, why
}

// listRefusal words why a list cannot be read.
func (a *API) listRefusal(err error) *Problem {
	if errors.Is(err, event.ErrBadCursor) {
		return refuse(InvalidCursor)
	}
	a.log.Error("the store of events cannot be read", "error", err)
	return refuse(InternalError)
}

// getCall answers with one call, at once or when it changes.
func (a *API) getCall(w http.ResponseWriter, r *request) *Problem {
	c, _, why := a.find(r)
	if why != nil {
		return why
	}
	if d := preferredWait(r.Header); d > 0 && unchanged(r.Request, c.Version) && c.State != event.Ended {
		free, why := a.wait(w, d)
		if why != nil {
			return why
		}
		defer free()
		version := c.Version
		c = a.waitFor(r.Context(), c, d, func(c *event.Call) bool { return c.Version != version })
		if a.Access(r.who, c) == NoAccess { // a transfer has taken it from him
			return refuse(CallNotFound, hours(a.cfg.CallTime))
		}
	}
	if unchanged(r.Request, c.Version) {
		w.Header().Set("ETag", etag(c.Version))
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return a.sendCall(w, r, http.StatusOK, c)
}

// maxPatched is how many events of a call patches may make: each is kept, and is read
// whenever the call is made anew.
const maxPatched = 10_000

// mergePatch is the media type of RFC 7396.
const mergePatch = "application/merge-patch+json"

// patchBody is the body of PATCH /v1/calls/{id}. An empty member is one that is not
// given; null takes all away.
type patchBody struct {
	Tags     json.RawMessage `json:"tags"`
	Metadata json.RawMessage `json:"metadata"`
}

// patchCall changes what a client keeps with a call.
func (a *API) patchCall(w http.ResponseWriter, r *request) *Problem {
	var raw json.RawMessage
	body, why := read(w, r, &raw, false, mergePatch, "application/json")
	if why != nil {
		return why
	}
	c, may, why := a.find(r)
	if why != nil {
		return why
	}
	var d decoding
	var b patchBody
	d.value(raw, reflect.ValueOf(&b).Elem(), "")
	if len(d.wrong) > 0 {
		return invalid(d.wrong...)
	}
	if may == AsParty {
		return about(refuse(NotYourLeg), c.ID)
	}
	return a.once(w, r, "patch "+c.ID, c.ID, body, func(w http.ResponseWriter) *Problem { return a.patch(w, r, &b) })
}

// patch merges a patch into a call.
func (a *API) patch(w http.ResponseWriter, r *request, b *patchBody) *Problem {
	// Two patches at once must not undo each other.
	defer a.work.patch(r.vars("id"))()
	c, _, why := a.find(r)
	if why == nil {
		why = ifMatch(r.Request, c.Version)
	}
	if why != nil {
		return why
	}
	tags, err := json.Marshal(c.Tags)
	if err != nil {
		return refuse(InternalError)
	}
	var d decoding
	newTags := d.tags("/tags", merged(tags, b.Tags))
	newData := d.metadata("/metadata", merged(c.Metadata, b.Metadata))
	switch {
	case len(d.wrong) > 0:
		return invalid(d.wrong...)
	case c.State == event.Ended:
		return callEnded(c)
	case c.Version >= maxPatched:
		p := refuse(RateLimited, maxPatched, "changes")
		p.Detail = fmt.Sprintf("The call has %d events, and patches add no more to so many.", c.Version)
		return p
	case maps.Equal(newTags, c.Tags) && bytes.Equal(newData, canonicalOr(c.Metadata)):
		return a.sendCall(w, r, http.StatusOK, c)
	}
	version := c.Version
	a.bus.Tell(c.ID, event.CallUpdated, "", event.Change{Tags: newTags, Metadata: newData})
	c = a.waitFor(r.Context(), c, lagTime, func(c *event.Call) bool {
		return c.Version > version && maps.Equal(newTags, c.Tags) && bytes.Equal(newData, canonicalOr(c.Metadata)) || c.State == event.Ended
	})
	if c.State == event.Ended && !maps.Equal(newTags, c.Tags) {
		return callEnded(c)
	}
	return a.sendCall(w, r, http.StatusOK, c)
}

// canonicalOr is JSON in its one form, {} for none.
func canonicalOr(raw json.RawMessage) []byte {
	if form, err := canonical(raw); err == nil {
		return form
	}
	return []byte("{}")
}

// merged applies a merge patch (RFC 7396). A patch that is missing changes nothing.
func merged(target, patch json.RawMessage) json.RawMessage {
	if len(patch) == 0 {
		return target
	}
	var to, from any
	if decodeNumbers(target, &to) != nil || decodeNumbers(patch, &from) != nil {
		return patch
	}
	out, err := json.Marshal(mergedValue(to, from))
	if err != nil {
		return patch
	}
	return out
}

// decodeNumbers decodes JSON and keeps numbers as they are.
func decodeNumbers(raw json.RawMessage, into *any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(into)
}

func mergedValue(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = mergedValue(object[name], value)
		}
	}
	return object
}
