package event

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// cdrReader is where records are read: the table of the database or, where nothing is
// kept, what is in memory.
type cdrReader interface {
	list(ctx context.Context, f *CDRFilter, cursor string, limit, offset int) ([]*CDR, string, error)
	get(ctx context.Context, callID string) (*CDR, error)
	after(ctx context.Context, n int64, limit int) ([]*CDR, []int64, error)
	oldest(ctx context.Context) (time.Time, error)
}

// cdrMemory are records in memory, by recordOf, in the order in which they came. It is
// not changed.
type cdrMemory []*CDR

// cdrPlace is a record and where it is.
type cdrPlace struct {
	r  *CDR
	at int64
	n  int64
}

func (p *cdrPlace) compare(at, n int64) int {
	return cmp.Or(cmp.Compare(p.at, at), cmp.Compare(p.n, n))
}

func (m cdrMemory) list(_ context.Context, f *CDRFilter, cursor string, limit, offset int) (list []*CDR, next string, err error) {
	limit = min(max(limit, 1), maxCDRs)
	var at, n int64
	if cursor != "" {
		if at, n, err = parseCDRCursor(cursor); err != nil {
			return nil, "", err
		}
	}
	sign := -1 // the newest first
	if f.Oldest {
		sign = 1
	}
	var found []cdrPlace
	for i, r := range m {
		p := cdrPlace{r, r.StartTime.UnixMilli(), int64(i + 1)}
		if f.match(r) && (cursor == "" || sign*p.compare(at, n) > 0) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b cdrPlace) int { return sign * a.compare(b.at, b.n) })
	found = found[min(max(offset, 0), len(found)):]
	if len(found) > limit {
		last := found[limit-1]
		next = cdrCursor(last.r.StartTime, last.n)
		found = found[:limit]
	}
	for _, p := range found {
		list = append(list, p.r.whole())
	}
	return list, next, nil
}

func (m cdrMemory) get(_ context.Context, callID string) (*CDR, error) {
	if i := slices.IndexFunc(m, func(r *CDR) bool { return r.CallID == callID }); i >= 0 {
		return m[i].whole(), nil
	}
	return nil, ErrNoCDR
}

// after returns nothing: what nobody keeps has no order that outlives the process.
func (m cdrMemory) after(context.Context, int64, int) ([]*CDR, []int64, error) { return nil, nil, nil }

func (m cdrMemory) oldest(context.Context) (at time.Time, err error) {
	for _, r := range m {
		if at.IsZero() || r.StartTime.Before(at) {
			at = r.StartTime.Time
		}
	}
	return at, nil
}

// match reports whether a record is wanted.
func (f *CDRFilter) match(r *CDR) bool {
	any3 := []string{r.Agent, r.CallerAOR, r.CalleeAOR}
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	is := func(list []string, addresses ...string) bool {
		return len(list) == 0 || slices.ContainsFunc(addresses, func(a string) bool { return slices.ContainsFunc(list, func(v string) bool { return isAddress(a, v) }) })
	}
	of := func(list []string, addresses ...string) bool {
		return list == nil || slices.ContainsFunc(addresses, func(a string) bool { return a != "" && slices.Contains(list, a) })
	}
	for name, value := range f.Tags {
		if v, ok := r.Tags[name]; !ok || v != value {
			return false
		}
	}
	within := func(at Time, after, before time.Time) bool {
		return (after.IsZero() || at.UnixMilli() > after.UnixMilli()) && (before.IsZero() || at.UnixMilli() < before.UnixMilli())
	}
	return in(f.Kinds, string(r.Kind)) && in(f.Sources, string(r.Source)) && in(f.Flows, r.Flow) && in(f.Outcomes, string(r.Outcome)) &&
		in(f.Reasons, r.Reason) && in(f.Terminations, r.Termination) &&
		is(f.Agents, r.Agent) && is(f.Callers, r.CallerAOR) && is(f.Callees, r.CalleeAOR) && is(f.Users, any3...) && is(f.Parties, r.CallerAOR, r.CalleeAOR) &&
		of(f.OfParty, any3...) &&
		(len(f.SIPCodes) == 0 || r.SIPCode != nil && slices.Contains(f.SIPCodes, *r.SIPCode)) &&
		(f.MinTalk <= 0 || r.TalkMS != nil && *r.TalkMS >= f.MinTalk.Milliseconds()) &&
		within(r.StartTime, f.StartAfter, f.StartBefore) && within(r.EndTime, f.EndAfter, f.EndBefore)
}

// isAddress reports whether an address is v, or that of the user v at some host.
func isAddress(address, v string) bool {
	if address == "" {
		return false
	}
	user, _, ok := strings.Cut(address, "@")
	return address == v || ok && user == v && !strings.Contains(v, "@")
}
