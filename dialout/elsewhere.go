package dialout

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"sipxrest/cluster"
	"sipxrest/internal/forward"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

// Elsewhere knows the calls of other nodes, and asks those. *cluster.Node is one. Its
// methods may be called from any goroutine.
type Elsewhere interface {
	FindID(ctx context.Context, id string) (cluster.Place, error)
	Ask(ctx context.Context, node, op string, data []byte) ([]byte, error)
}

// ElsewhereOp is what other nodes are asked for their calls. AnswerElsewhere answers it.
const ElsewhereOp = "dialout"

// Door is the name under which calls are kept with their states.
const Door = "dialout"

const (
	// askTime bounds the look into the store, and another node's answer.
	askTime = 4 * time.Second
	// followTime is how long another node waits for the next status of a call.
	followTime = 20 * time.Second
	// maxID bounds the id of a call that is looked for.
	maxID = 64
)

// errAway means that it is not known where a call is, or how it fares: it is worth asking
// again.
var errAway = errors.New("the node that has the call does not answer")

// question is what another node is to tell of a call, or do to it.
type question struct {
	ID    string `json:"id"`
	Agent string `json:"agent,omitempty"` // user name of who asks; empty: a trusted peer for nobody
	End   bool   `json:"end,omitempty"`   // hang it up
	// Follow waits for a status behind the first After.
	Follow bool `json:"follow,omitempty"`
	After  int  `json:"after,omitempty"`
}

// fare is how a call fares, as another node tells it.
type fare struct {
	Known    bool          `json:"known"`
	Statuses []talk.Status `json:"statuses,omitempty"` // all, or those behind After
	Over     bool          `json:"over,omitempty"`     // there will be no more
}

// elsewhere asks the node that has a call. It is false where there is no such call.
func (s *Service) elsewhere(ctx context.Context, q *question) (fare, bool, error) {
	if s.cfg.Elsewhere == nil || q.ID == "" || len(q.ID) > maxID {
		return fare{}, false, nil
	}
	look, stop := context.WithTimeout(ctx, askTime)
	defer stop()
	place, err := s.cfg.Elsewhere.FindID(look, q.ID)
	switch {
	case errors.Is(err, cluster.ErrNone):
		return fare{}, false, nil
	case err != nil:
		return fare{}, false, errAway
	case place.Mine:
		return fare{}, false, nil
	}
	if q.Follow {
		var stopFollowing context.CancelFunc
		look, stopFollowing = context.WithTimeout(ctx, followTime+askTime)
		defer stopFollowing()
	}
	who, err := json.Marshal(q)
	if err != nil {
		return fare{}, false, err
	}
	data, err := (&forward.Request{Method: http.MethodPost, Target: Prefix, Who: who}).Encode()
	if err != nil {
		return fare{}, false, err
	}
	data, err = s.cfg.Elsewhere.Ask(look, place.Node, ElsewhereOp, data)
	if err != nil {
		if !place.Live { // it is over, and its node is gone
			return keptFor(place.Record, q)
		}
		return fare{}, false, errAway
	}
	var t fare
	answer, err := forward.DecodeAnswer(data)
	if err != nil || json.Unmarshal(answer.Body, &t) != nil {
		return fare{}, false, errAway
	}
	return t, t.Known, nil
}

// AnswerElsewhere answers other nodes that have been asked for a call of this one.
func (s *Service) AnswerElsewhere(ctx context.Context, data []byte) ([]byte, error) {
	r, err := forward.Decode(data)
	if err != nil {
		return nil, err
	}
	var q question
	if err := json.Unmarshal(r.Who, &q); err != nil {
		return nil, forward.ErrMalformed
	}
	var t fare
	if c := s.find(q.ID); c != nil && c.isOf(q.Agent, q.Agent != "") {
		if q.End {
			c.hangUp(errClient)
		}
		statuses, more := c.after(max(q.After, 0))
		if q.Follow && len(statuses) == 0 && more != nil {
			if !s.watch(q.ID) {
				return nil, cluster.ErrBusy
			}
			defer s.unwatch(q.ID)
			wait, stop := context.WithTimeout(ctx, followTime)
			defer stop()
			select {
			case <-more:
			case <-wait.Done():
			case <-s.hard.Done():
			}
			statuses, more = c.after(max(q.After, 0))
		}
		if !c.isAway() {
			t = fare{Known: true, Statuses: statuses, Over: more == nil}
		}
	}
	body, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return (&forward.Answer{Status: http.StatusOK, Body: body}).Encode()
}

// isOf reports whether a user may see the call; a trusted peer that names nobody may see
// all.
func (c *call) isOf(agent string, named bool) bool {
	return !named || c.source == FromREST && agent == c.agent
}

// kept is a call as it is kept with its state: one of the JSON resource, or of Talk's.
type kept struct {
	Agent    string        `json:"agent,omitempty"`
	Number   string        `json:"number"`
	Request  string        `json:"request,omitempty"`
	Statuses []talk.Status `json:"statuses"`
	Talk     *keptTalk     `json:"talk,omitempty"`
}

// keepWith has the call be kept with its state, in a cluster.
func (c *call) keepWith(spec *sipflow.Spec) {
	if c.s.cfg.Elsewhere == nil {
		return
	}
	spec.ID = c.id
	spec.Kept = &sipflow.Kept{Door: Door, Record: func(dst []byte) []byte {
		c.mu.Lock()
		k := kept{Agent: c.agent, Number: c.number, Request: c.request, Statuses: c.statuses}
		if c.talk != nil {
			k.Talk = c.talk.kept(c.flags)
		}
		data, err := json.Marshal(k)
		c.mu.Unlock()
		if err != nil { // of strings and numbers
			return dst
		}
		return append(dst, data...)
	}}
}

// keptFor is what is told of a call that is over by what its node has kept of it.
func keptFor(record []byte, q *question) (fare, bool, error) {
	var k kept
	if json.Unmarshal(record, &k) != nil || len(k.Statuses) == 0 || q.Agent != "" && q.Agent != k.Agent {
		return fare{}, false, nil
	}
	return fare{Known: true, Statuses: k.Statuses[min(max(q.After, 0), len(k.Statuses)):], Over: true}, true, nil
}

// Resume goes on with a call that this node has taken over: what was said of it is said
// here, and it can be hung up. One of Talk's is in its conversation from here. joined says
// that its parties were. It reports whether the call may go on. It is part of
// sipflow.Config.Resume.
func (s *Service) Resume(spec *sipflow.Spec, record []byte, joined bool) (goes bool) {
	var k kept
	if json.Unmarshal(record, &k) != nil || k.Agent == "" && k.Talk == nil {
		return true
	}
	source := FromREST
	if k.Talk != nil {
		source = FromTalk
	}
	c := s.newCall(source, k.Number)
	c.id, c.agent, c.request, c.peer = spec.ID, k.Agent, k.Request, spec.Peer
	c.log = s.log.With("call", c.id)
	if k.Talk != nil {
		c.flags = k.Talk.Flags
		if c.talk = s.conversationOf(k.Talk); c.talk == nil {
			c.log.Warn("a phone that another node had is hung up: its Nextcloud is not in dialout.servers here", "backend", k.Talk.Backend)
			return false
		}
	}
	c.saidElsewhere(k.Statuses, joined)
	if !s.take(c) { // from here on clients see it
		c.stop()
		return true
	}
	goes = true
	if c.talk != nil {
		goes = c.enterAgain(k.Talk, spec, joined)
	}
	c.lineIs(s.taken(spec.ID))
	o := &placement{report: c.report, placed: func(callID string) { c.sipCallID.CompareAndSwap(nil, &callID) }}
	spec.Observe, spec.LogsEnd = o.observe, true
	c.keepWith(spec)
	go func() {
		defer s.running.Done()
		c.run()
	}()
	return goes
}

// saidElsewhere takes up what the call's former node has said of it. A conversation is
// told once more that the phone is connected, since it is shown there anew.
func (c *call) saidElsewhere(statuses []talk.Status, joined bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, status := range statuses {
		if status.State.Terminal() { // it had ended, and that is told again
			break
		}
		if status.State == talk.Connected {
			joined = true
			if c.talk != nil {
				break
			}
		}
		c.statuses = append(c.statuses, status)
		if status.State == talk.Ringing {
			c.reportLocked(happening{kind: itRings})
		}
	}
	if len(c.statuses) == 0 { // it was about to be accepted
		c.sayLocked(talk.Status{State: talk.Accepted})
	}
	if joined {
		c.reportLocked(happening{kind: itConnects})
	}
}

// take counts a call that is there, whatever the limits say.
func (s *Service) take(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || s.calls[c.id] != nil {
		return false
	}
	s.occupy(c)
	return true
}

// othersOf is how many calls other nodes have, if there are any.
func othersOf(of sipflow.Counts, name string) int {
	if of == nil {
		return 0
	}
	return int(of.Others(name))
}

// share tells the other nodes, if there are any, how many calls this one has.
func share(with sipflow.Counts, name string, calls int) {
	if with != nil {
		with.Set(name, int64(calls))
	}
}
