package api

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"sipxrest/event"
	"sipxrest/internal/digest"
)

const (
	// ticketTime is how long a ticket opens a stream; it does so once.
	ticketTime = 60 * time.Second
	// maxTickets bounds those that are out, maxTicketsOfOne those of one principal.
	maxTickets      = 10_000
	maxTicketsOfOne = 1000
)

// A ticket opens one stream: a page in a browser can give an EventSource nothing but
// an address, and a key must not stand in one.
type ticket struct {
	who    *Principal
	token  string // of a phone's user, to look whether he still is one
	until  time.Time
	wanted ticketRequest
	call   string
}

// ticketRequest is what a ticket is bound to. Nothing: all that its principal sees.
type ticketRequest struct {
	CallID string            `json:"call_id"`
	Types  []string          `json:"types"`
	Kinds  []string          `json:"kinds"`
	Agents []string          `json:"agents"`
	Users  []string          `json:"users"`
	Tags   map[string]string `json:"tags"`
}

// tickets are those that are out.
type tickets struct {
	mu  sync.Mutex
	out map[string]*ticket // guarded by mu
	of  map[string]int     // guarded by mu; how many a principal has
}

// add puts a ticket out. Those that nobody has used in time make room.
func (s *tickets) add(text string, t *ticket, now time.Time) *Problem {
	name := t.who.rateName()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) >= maxTickets || s.of[name] >= maxTicketsOfOne {
		for old, it := range s.out {
			if !now.Before(it.until) {
				s.drop(old, it)
			}
		}
	}
	switch {
	case len(s.out) >= maxTickets:
		return refuse(Overloaded, "stream tickets").after(5 * time.Second)
	case s.of[name] >= maxTicketsOfOne: // the places are for all
		p := refuse(TooManyStreams, maxTicketsOfOne).after(ticketTime)
		p.Detail = fmt.Sprintf("You have %d stream tickets that nobody has used. They go after %v.", maxTicketsOfOne, ticketTime)
		return p
	}
	s.out[text] = t
	s.of[name]++
	return nil
}

// take uses a ticket up; nil if there is none.
func (s *tickets) take(text string) *ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.out[text]
	if t != nil {
		s.drop(text, t)
	}
	return t
}

// drop forgets a ticket; mu is held.
func (s *tickets) drop(text string, t *ticket) {
	delete(s.out, text)
	name := t.who.rateName()
	if s.of[name]--; s.of[name] <= 0 {
		delete(s.of, name)
	}
}

// makeTicket answers POST /v1/stream-tickets.
func (a *API) makeTicket(w http.ResponseWriter, r *request) *Problem {
	t := &ticket{who: r.who, token: bearer(r.Request), until: a.cfg.Now().Add(ticketTime)}
	data, why := read(w, r, &t.wanted, true)
	if why == nil && len(data) > maxTicketBytes {
		why = invalid(MemberFault{Pointer: "", Code: memberOutOfRange, Detail: fmt.Sprintf("at most %d bytes", maxTicketBytes)})
	}
	if why != nil {
		return why
	}
	if why := t.wanted.check(); why != nil {
		return why
	}
	if t.call = t.wanted.CallID; t.call != "" {
		if c, ok := a.bus.Call(t.call); !ok || a.Access(r.who, c) == NoAccess {
			return a.noCall()
		}
	}
	text := "sxt_" + rand.Text()
	if a.cfg.Elsewhere != nil {
		text = digest.WithIssuer(text, a.cfg.Elsewhere.Name())
	}
	if why := a.tickets.add(text, t, a.cfg.Now()); why != nil {
		return why
	}
	return send(w, http.StatusCreated, struct {
		Ticket    string     `json:"ticket"`
		ExpiresAt event.Time `json:"expires_at"`
	}{text, event.At(t.until)})
}

// maxTicketFilters bounds the values of one filter of a ticket.
const maxTicketFilters = 64

// maxTicketBytes bounds the body that a ticket is made by: it is kept in memory.
const maxTicketBytes = 8 << 10

// check says what is wrong with what a ticket is to be bound to.
func (q *ticketRequest) check() *Problem {
	var d decoding
	for _, t := range q.Types {
		if !typeKnown(t) {
			d.fault("/types", memberInvalid, "a type of event, such as call.ended, or a group of them, such as leg.*")
			break
		}
	}
	for _, k := range q.Kinds {
		if !contains(kinds, k) {
			d.fault("/kinds", memberInvalid, "of: "+strings.Join(kinds, ", "))
			break
		}
	}
	for name, list := range map[string][]string{"/types": q.Types, "/kinds": q.Kinds, "/agents": q.Agents, "/users": q.Users} {
		if len(list) > maxTicketFilters {
			d.fault(name, memberOutOfRange, "at most 64")
		}
	}
	if len(q.Tags) > 16 {
		d.fault("/tags", memberOutOfRange, "at most 16")
	}
	if d.wrong != nil {
		return invalid(d.wrong...)
	}
	return nil
}

func contains(list []string, text string) bool {
	for _, l := range list {
		if l == text {
			return true
		}
	}
	return false
}

// ticketOf is the ticket that r brings: as a parameter, or as a subprotocol.
func ticketOf(r *request) string {
	if r.query.Has("ticket") {
		return r.query.Get("ticket")
	}
	for _, p := range subprotocols(r.Request) {
		if text, ok := strings.CutPrefix(p, "ticket."); ok {
			return text
		}
	}
	return ""
}

// byTicket lets in who has a ticket, which is used up then.
func (a *API) byTicket(r *request, text string) (*Principal, *Problem) {
	if v := a.gate.Arrive(r.Request); !v.OK {
		return nil, a.judged(r.Request, &v)
	}
	t := a.takeTicket(r.Context(), text)
	if t == nil || !a.cfg.Now().Before(t.until) || !a.still(r.Context(), t.who, t.token) {
		return nil, a.unauthenticated(r.Request).because("The ticket was used, or has expired: get a new one by POST /v1/stream-tickets.").
			with("WWW-Authenticate", a.challenge("invalid_token"))
	}
	r.ticket = t
	return t.who, nil
}

// opens reports whether the ticket is for the events of a call.
func (t *ticket) opens(call string) bool {
	return t.call == call || t.call == "" && len(t.wanted.Types)+len(t.wanted.Kinds)+len(t.wanted.Agents)+len(t.wanted.Users)+len(t.wanted.Tags) == 0
}

// keepsTo refuses filters beside those of the ticket.
func (t *ticket) keepsTo(r *request) *Problem {
	for name := range r.query {
		switch name {
		case "type", "kind", "user", "call_id", "agent":
		default:
			if !strings.HasPrefix(name, "tag.") {
				continue
			}
		}
		return wrongParam(name, memberInvalid, "the ticket has the filters: give them to POST /v1/stream-tickets")
	}
	return nil
}

// filter is what the ticket is bound to.
func (t *ticket) filter(a *API, see func(*event.Call) bool) event.Filter {
	q := &t.wanted
	return event.Filter{Types: q.Types, Kinds: q.Kinds, Agents: a.addresses(q.Agents), Users: a.addresses(q.Users), CallID: q.CallID, Tags: q.Tags, See: see,
		DTMF: contains(q.Types, string(event.LegDTMF))}
}
