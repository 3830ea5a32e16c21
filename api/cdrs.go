package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"sipxrest/event"
	"sipxrest/restauth"
)

// cdrRoutes names the resources of call records.
func (a *API) cdrRoutes(r *mux.Router) {
	read := []Scope{CDRsRead}
	a.resource(r, "/cdrs", methods{http.MethodGet: {do: a.listCDRs, scopes: read, params: append(slices.Clone(pageParams), cdrParams...), agentFilter: true}})
	a.resource(r, "/cdrs.csv", methods{http.MethodGet: {do: a.exportCDRs, scopes: read, params: append([]string{"limit", "fields", "safe"}, cdrParams...),
		accept: []string{"text/csv"}, agentFilter: true}})
	a.resource(r, "/cdrs/{call_id}", methods{http.MethodGet: {do: a.getCDR, scopes: read}})
}

// cdrParams are the filters of call records.
var cdrParams = []string{"kind*", "source*", "flow*", "outcome*", "reason*", "termination*", "sip_code*", "user*", "caller*", "callee*", "tag.*",
	"min_talk_ms", "start_after", "start_before", "end_after", "end_before", "created_after", "created_before", "updated_after", "order"}

// The words that filters take.
var (
	cdrKinds        = []string{string(event.ClickToCall), string(event.DialOut), string(event.Inbound), string(event.WebSocket)}
	cdrSources      = []string{string(event.FromAPI), string(event.FromCallController), string(event.FromDialOut), string(event.FromTalk), string(event.FromDispatch), string(event.FromPhone)}
	cdrOutcomes     = []string{"completed", "handed_over", "no_answer", "busy", "declined", "unreachable", "cancelled", "failed", "merged", "unknown"}
	cdrTerminations = []string{"C", "F", "A", "T", "U"}
)

// cdrFilter reads the filters, and adds what who asks may see.
func (a *API) cdrFilter(r *request) (f event.CDRFilter, why *Problem) {
	f.OfParty = a.recordsOf(r.who)
	if r.agentFilters() {
		f.Agents = a.partiesNamed(r.query["agent"])
	}
	f.Reasons, f.Tags = r.query["reason"], r.tags()
	f.Users, f.Callers, f.Callees = a.partiesNamed(r.query["user"]), a.partiesNamed(r.query["caller"]), a.partiesNamed(r.query["callee"])
	for _, list := range []struct {
		to    *[]string
		name  string
		words []string
	}{{&f.Kinds, "kind", cdrKinds}, {&f.Sources, "source", cdrSources}, {&f.Flows, "flow", []string{"invite", "refer"}},
		{&f.Outcomes, "outcome", cdrOutcomes}, {&f.Terminations, "termination", cdrTerminations}} {
		if *list.to, why = r.words(list.name, list.words...); why != nil {
			return f, why
		}
	}
	for _, text := range r.query["sip_code"] {
		n, ok := number(text, 100, 699)
		if !ok {
			return f, wrongParam("sip_code", memberOutOfRange, "a whole number from 100 to 699")
		}
		f.SIPCodes = append(f.SIPCodes, int64(n))
	}
	ms, why := r.number("min_talk_ms", 0, 0, 1<<31-1)
	if why != nil {
		return f, why
	}
	f.MinTalk = time.Duration(ms) * time.Millisecond
	for _, bound := range []struct {
		to    *time.Time
		names []string // of which one may be there: calls have the latter ones
	}{{&f.StartAfter, []string{"start_after", "created_after"}}, {&f.StartBefore, []string{"start_before", "created_before"}},
		{&f.EndAfter, []string{"end_after", "updated_after"}}, {&f.EndBefore, []string{"end_before"}}} {
		for _, name := range bound.names {
			at, why := r.time(name)
			switch {
			case why != nil:
				return f, why
			case !at.IsZero() && !bound.to.IsZero():
				return f, wrongParam(name, memberTwice, "it is another name of "+bound.names[0]+": give one of them")
			case !at.IsZero():
				*bound.to = at
			}
		}
	}
	order, why := r.word("order", "asc", "desc")
	f.Oldest = order == "asc"
	return f, why
}

// partiesNamed are the addresses that names of users stand for. A name that is no user's may be that
// of anybody, at any host.
func (a *API) partiesNamed(names []string) (list []string) {
	for _, name := range names {
		name = strings.TrimPrefix(name, "sip:")
		if u, ok := a.users.Lookup(name); ok && !strings.Contains(name, "@") {
			list = append(list, a.addressesOf(u)...)
		} else {
			list = append(list, name)
		}
	}
	return list
}

// addressesOf are all addresses of a user of ours.
func (a *API) addressesOf(u *restauth.User) []string {
	list := []string{u.Identity}
	for _, name := range append([]string{u.Name}, u.Aliases...) {
		if address := name + "@" + a.cfg.Domain; !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	return list
}

// recordsOf are the addresses of whose calls a principal may see the records; nil: of all.
func (a *API) recordsOf(p *Principal) []string {
	list := []string{}
	switch {
	case p.Agent != nil:
		return a.addressesOf(p.Agent)
	case p.Type != PrincipalKey:
	case p.Key.everybody():
		return nil
	default:
		for _, name := range p.Key.Agents {
			if u, ok := a.users.Lookup(name); ok {
				list = append(list, a.addressesOf(u)...)
			}
		}
	}
	return list
}

// listCDRs answers with a page of records, the newest first.
func (a *API) listCDRs(w http.ResponseWriter, r *request) *Problem {
	f, why := a.cdrFilter(r)
	if why != nil {
		return why
	}
	limit, cursor, why := r.page()
	if why != nil {
		return why
	}
	records, next, err := a.bus.CDRs(r.Context(), f, event.CDRPage{Cursor: cursor, Limit: limit})
	switch {
	case errors.Is(err, event.ErrCDRCursor):
		return refuse(InvalidCursor)
	case err != nil:
		return a.recordsFail(r, err)
	}
	return sendPage(w, r, records, next)
}

// getCDR answers with the record of one call.
func (a *API) getCDR(w http.ResponseWriter, r *request) *Problem {
	record, err := a.bus.CDR(r.Context(), r.vars("call_id"))
	switch {
	case errors.Is(err, event.ErrNoCDR):
		return refuse(CDRNotFound)
	case err != nil:
		return a.recordsFail(r, err)
	}
	if of := a.recordsOf(r.who); of != nil && !slices.ContainsFunc([]string{record.Agent, record.CallerAOR, record.CalleeAOR}, func(address string) bool {
		return address != "" && slices.Contains(of, address)
	}) {
		return refuse(CDRNotFound)
	}
	return send(w, http.StatusOK, record)
}

// recordsFail words that records cannot be read, and logs why.
func (a *API) recordsFail(r *request, err error) *Problem {
	if r.Context().Err() != nil {
		return refuse(InternalError) // of a client that is gone
	}
	r.log.Error("call records cannot be read", "error", err)
	return refuse(InternalError)
}
