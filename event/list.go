package event

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CallFilter says which calls are wanted. Lists that are empty and times that are
// zero are any.
type CallFilter struct {
	States   []string // "active" is every one but "ended"
	Kinds    []string
	Sources  []string
	Agents   []string // addresses, or their users
	Users    []string // likewise, of any party or the agent
	Outcomes []string
	Reasons  []string
	Flows    []string          // that were used
	Tags     map[string]string // all of them

	CreatedAfter, CreatedBefore time.Time // later than, earlier than
	UpdatedAfter                time.Time

	See    func(*Call) bool // whether who asks may see a call; nil: all
	Oldest bool             // oldest first
}

// Page says which part of a list is wanted.
type Page struct {
	Cursor string // that came with the page before; empty: the first
	Limit  int    // 1 to 100; 0 is 50
}

// match reports whether a call is wanted.
func (f *CallFilter) match(c *Call) bool {
	var outcome, reason string
	if c.End != nil {
		outcome, reason = string(c.End.Outcome), c.End.Reason
	}
	return f.state(c.State) && oneOrAny(f.Kinds, string(c.Kind)) && oneOrAny(f.Sources, string(c.Source)) &&
		oneOrAny(f.Outcomes, outcome) && oneOrAny(f.Reasons, reason) && oneOrAny(f.Flows, c.Flow.Used) &&
		(len(f.Agents) == 0 || anyAddress(f.Agents, c.Agent)) && (len(f.Users) == 0 || isParty(c, f.Users)) && hasTags(c, f.Tags) &&
		(f.CreatedAfter.IsZero() || c.CreatedAt.After(f.CreatedAfter)) && (f.CreatedBefore.IsZero() || c.CreatedAt.Before(f.CreatedBefore)) &&
		(f.UpdatedAfter.IsZero() || c.UpdatedAt().After(f.UpdatedAfter)) && (f.See == nil || f.See(c))
}

func oneOrAny(list []string, value string) bool {
	return len(list) == 0 || slices.Contains(list, value)
}

func (f *CallFilter) state(s State) bool {
	return len(f.States) == 0 || slices.Contains(f.States, string(s)) || s != Ended && slices.Contains(f.States, "active")
}

// ended reports whether ended calls may be wanted, active whether others.
func (f *CallFilter) ended() bool { return f.state(Ended) }

func (f *CallFilter) active() bool {
	return len(f.Outcomes)+len(f.Reasons) == 0 && (len(f.States) == 0 || slices.ContainsFunc(f.States, func(s string) bool { return s != string(Ended) }))
}

// listMark is the place behind a call in a list.
type listMark struct {
	at int64 // created, ms since 1970
	id string
}

// before reports whether a call comes behind the mark.
func (m *listMark) before(c *Call, oldest bool) bool {
	if m == nil {
		return true
	}
	n := cmp.Or(cmp.Compare(m.at, c.CreatedAt.UnixMilli()), strings.Compare(m.id, c.ID))
	if oldest {
		return n < 0
	}
	return n > 0
}

func (m *listMark) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(m.at, 36) + "." + m.id))
}

// parseMark reads what String wrote; nil for nothing.
func parseMark(text string) (*listMark, error) {
	if text == "" {
		return nil, nil
	}
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(plain) > 256 {
		return nil, ErrBadCursor
	}
	first, id, ok := strings.Cut(string(plain), ".")
	at, err := strconv.ParseInt(first, 36, 64)
	if !ok || err != nil || id == "" {
		return nil, ErrBadCursor
	}
	return &listMark{at: at, id: id}, nil
}

// sortCalls sorts by the time of creation and the id, the newest first or last.
func sortCalls(list []*Call, oldest bool) {
	slices.SortFunc(list, func(a, b *Call) int {
		n := cmp.Or(cmp.Compare(a.CreatedAt.UnixMilli(), b.CreatedAt.UnixMilli()), strings.Compare(a.ID, b.ID))
		if oldest {
			return n
		}
		return -n
	})
}

// Calls returns a page of calls, the newest first: those that run, and those that
// ended within Config.CallTime. next is empty when there are no more.
func (b *Bus) Calls(f CallFilter, p Page) (calls []*Call, next string, err error) {
	limit := p.Limit
	if limit <= 0 {
		limit = 50
	}
	limit = min(limit, 100)
	mark, err := parseMark(p.Cursor)
	if err != nil {
		return nil, "", err
	}
	if since := b.cfg.Now().Add(-b.cfg.CallTime); f.UpdatedAfter.IsZero() || f.UpdatedAfter.Before(since) {
		// What ended earlier is not listed; what runs was updated or not.
		old := f.See
		f.See = func(c *Call) bool { return (c.State != Ended || c.EndedAt.After(since)) && (old == nil || old(c)) }
	}
	// First those that run: one that ends meanwhile is found twice, not missed.
	if f.active() || f.ended() {
		calls = b.live(&f, mark)
	}
	if f.ended() {
		ended, err := b.store.Calls(&f, mark, limit+1)
		if err != nil {
			return nil, "", err
		}
		seen := make(map[string]bool, len(ended))
		for _, c := range ended {
			seen[c.ID] = true
		}
		calls = append(slices.DeleteFunc(calls, func(c *Call) bool { return seen[c.ID] }), ended...)
	}
	sortCalls(calls, f.Oldest)
	if len(calls) > limit {
		calls = calls[:limit]
		last := calls[limit-1]
		next = (&listMark{at: last.CreatedAt.UnixMilli(), id: last.ID}).String()
	}
	return calls, next, nil
}

// live returns calls in memory that fit, behind a mark.
func (b *Bus) live(f *CallFilter, mark *listMark) (list []*Call) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for _, l := range s.calls {
			if c := l.pub.Load(); c != nil && mark.before(c, f.Oldest) && f.match(c) {
				list = append(list, c)
			}
		}
		s.mu.Unlock()
	}
	return list
}
