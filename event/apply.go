package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// RefusedError is why Apply refuses an event: it would bring a call or a leg back, come
// twice, or follow the end.
type RefusedError struct {
	Type    Type
	Call    string
	CallSeq int64
	Why     string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("event %d of call %s, %s: %s", e.CallSeq, e.Call, e.Type, e.Why)
}

// Apply returns the call after an event of it; c is nil before call.created. It
// depends on nothing but both, changes neither, and refuses what cannot follow:
//
//	others  ──▶ calling ───┬──▶ connecting ──┬──▶ connected ──▶ ended
//	inbound ──▶ routing ───┘                 └──▶ released  ──▶ ended
//
// A state may be skipped, none comes again. A leg goes pending, dialing, ringing,
// answered, ended; call.ended comes last, when all legs and transfers are over.
func Apply(c *Call, e *Event) (*Call, error) {
	ch := e.Data.Change
	if ch == nil {
		ch = &Change{}
	}
	f := fold{e: e, ch: ch}
	switch {
	case e.Type == CallCreated && c != nil:
		return nil, f.refuse("the call has begun already")
	case e.Type == CallCreated:
		return f.created()
	case c == nil:
		return nil, f.refuse("the call has not begun")
	case c.State == Ended:
		return nil, f.refuse("the call has ended")
	case e.CallSeq != c.Version+1:
		return nil, f.refuse(fmt.Sprintf("the call is at version %d", c.Version))
	}
	next := *c
	next.Version, next.updated = e.CallSeq, e.Timestamp
	f.c = &next
	var err error
	switch e.Type {
	case CallRouted, CallConnecting, CallConnected, CallFlowChanged, CallReleased, CallUpdated, CallMoved, CallEnded:
		err = f.call()
	case LegDialled, LegRedirected, LegRang, LegPickedUp, LegHeld, LegResumed, LegMuted, LegUnmuted, LegOver:
		err = f.leg()
	case TransferStarted, TransferRinging, TransferConsulting, TransferCompleted, TransferFailed, TransferCancelled:
		err = f.transfer()
	default:
		err = f.refuse("events of this type change no call")
	}
	if err != nil {
		return nil, err
	}
	return &next, nil
}

// fold is one event on its way into a call.
type fold struct {
	c  *Call // the new one; its legs and transfers are still those of the old one
	e  *Event
	ch *Change
}

func (f *fold) refuse(why string) error {
	id := ""
	if f.e.Data.CallID != nil {
		id = *f.e.Data.CallID
	}
	return &RefusedError{Type: f.e.Type, Call: id, CallSeq: f.e.CallSeq, Why: why}
}

// created makes the call.
func (f *fold) created() (*Call, error) {
	r := f.ch.Created
	switch {
	case r == nil || f.e.Data.CallID == nil:
		return nil, f.refuse("nothing is said of the call")
	case f.e.CallSeq != 1:
		return nil, f.refuse("it is not the first")
	}
	c := &Call{
		ID: *f.e.Data.CallID, Object: "call", Version: 1, Kind: r.Kind, Source: r.Source, Direction: "outbound", State: r.State, Agent: r.Agent,
		RequestID: r.RequestID, Subject: r.Subject, Tags: maps.Clone(r.Tags), Metadata: objectOr(r.Metadata), Flow: r.Flow, Knowledge: r.Knowledge, Node: r.Node,
		Legs: slices.Clone(r.Legs), Transfers: []Transfer{}, Actions: []string{}, CreatedAt: f.e.Timestamp, updated: f.e.Timestamp,
	}
	if c.State == "" {
		c.State = Calling
	}
	if c.Kind == Inbound {
		c.Direction = "inbound"
	}
	if c.Tags == nil {
		c.Tags = map[string]string{}
	}
	if c.Knowledge.Level == "" {
		c.Knowledge.Level = "full"
	}
	if c.Legs == nil {
		c.Legs = []Leg{}
	}
	for i := range c.Legs {
		l := &c.Legs[i]
		if l.ID == "" {
			l.ID = legID(i + 1)
		}
		if l.State == "" {
			l.State = LegPending
		}
		f.enter(l)
	}
	return c, nil
}

// objectOr is JSON as it is kept, {} for none.
func objectOr(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if len(raw) == 0 || json.Compact(&b, raw) != nil {
		return json.RawMessage("{}")
	}
	return b.Bytes()
}

var stateRank = map[State]int{Routing: 1, Calling: 2, Connecting: 3, Connected: 4, Released: 5, Ended: 6}

// advance brings the call to a later state.
func (f *fold) advance(to State) error {
	if stateRank[to] <= stateRank[f.c.State] {
		return f.refuse(fmt.Sprintf("the call is %s, it cannot become %s", f.c.State, to))
	}
	f.c.State = to
	return nil
}

// call applies a change of the call itself.
func (f *fold) call() error {
	c, ch := f.c, f.ch
	if ch.Knowledge != nil {
		c.Knowledge = *ch.Knowledge
	}
	switch f.e.Type {
	case CallRouted:
		c.Rule, c.Decision = ch.Rule, ch.Decision
		if ch.State != "" && ch.State != c.State {
			return f.advance(ch.State)
		}
	case CallConnecting:
		return f.advance(Connecting)
	case CallConnected:
		c.ConnectedAt = f.e.Timestamp
		return f.advance(Connected)
	case CallFlowChanged:
		if ch.Flow == nil {
			return f.refuse("no flow is said")
		}
		c.Flow = *ch.Flow
	case CallReleased:
		c.ReleasedAt, c.FinalBy = f.e.Timestamp, ch.FinalBy
		return f.advance(Released)
	case CallUpdated:
		if ch.Tags != nil {
			c.Tags = maps.Clone(ch.Tags)
		}
		if ch.Metadata != nil {
			c.Metadata = objectOr(ch.Metadata)
		}
	case CallMoved:
		c.Node, c.TakenOverFrom, c.MovedAt = ch.Node, ch.From, f.e.Timestamp
	case CallEnded:
		return f.ended()
	}
	return nil
}

func (f *fold) ended() error {
	c, ch := f.c, f.ch
	if ch.End == nil {
		return f.refuse("no end is said")
	}
	for i := range c.Legs {
		if c.Legs[i].State != LegEnded {
			return f.refuse("leg " + c.Legs[i].ID + " is not over")
		}
	}
	for i := range c.Transfers {
		if !terminal(c.Transfers[i].State) {
			return f.refuse("transfer " + c.Transfers[i].ID + " is not over")
		}
	}
	c.State, c.EndedAt, c.End, c.MergedInto, c.FinalBy = Ended, f.e.Timestamp, ch.End, ch.Merged, Time{}
	zero := int64(0)
	switch {
	case ch.TalkMS != nil:
		c.TalkMS = ch.TalkMS
	case c.Knowledge.Level != "full" && (c.Knowledge.Level != "setup" || !c.ReleasedAt.IsZero() || c.End.Outcome == HandedOver || c.End.Outcome == Unknown):
		c.TalkMS = nil // who is not asked any more cannot know
	case c.ConnectedAt.IsZero():
		c.TalkMS = &zero
	default:
		ms := c.EndedAt.Sub(c.ConnectedAt.Time).Milliseconds()
		c.TalkMS = &ms
	}
	return nil
}

func terminal(state string) bool {
	return state == "completed" || state == "failed" || state == "cancelled"
}

var transferRank = map[string]int{"dialing": 1, "ringing": 2, "consulting": 3, "completed": 4, "failed": 4, "cancelled": 4}

// transfer applies what is new of a transfer. The change has all of it.
func (f *fold) transfer() error {
	c, t := f.c, f.ch.Transfer
	if t == nil {
		return f.refuse("no transfer is said")
	}
	c.Transfers = slices.Clone(c.Transfers)
	i := slices.IndexFunc(c.Transfers, func(o Transfer) bool { return o.ID == t.ID })
	switch {
	case f.e.Type == TransferStarted && i >= 0:
		return f.refuse("transfer " + t.ID + " has begun already")
	case f.e.Type == TransferStarted:
		c.Transfers = append(c.Transfers, *t)
		if len(c.Transfers) > maxTransfers {
			c.Transfers = dropOver(c.Transfers)
		}
	case i < 0:
		return f.refuse("there is no transfer " + t.ID)
	case transferRank[t.State] <= transferRank[c.Transfers[i].State]:
		return f.refuse(fmt.Sprintf("transfer %s is %s, it cannot become %s", t.ID, c.Transfers[i].State, t.State))
	default:
		c.Transfers[i] = *t
	}
	if f.ch.Role == "" || f.e.Data.Leg == "" {
		return nil
	}
	c.Legs = slices.Clone(c.Legs)
	l := legOf(c, f.e.Data.Leg)
	if l == nil {
		return f.refuse("there is no leg " + f.e.Data.Leg)
	}
	l.Role = f.ch.Role
	return nil
}

// maxTransfers bounds how many transfers a call shows: the oldest leave it.
const maxTransfers = 20

// dropOver leaves out the oldest transfer that is over.
func dropOver(list []Transfer) []Transfer {
	i := slices.IndexFunc(list, func(t Transfer) bool { return terminal(t.State) })
	return slices.Delete(list, max(i, 0), max(i, 0)+1)
}
