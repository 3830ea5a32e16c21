package app

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"sipxrest/api"
	"sipxrest/callcontroller"
	"sipxrest/cluster"
	"sipxrest/dialout"
	"sipxrest/dispatch"
	"sipxrest/internal/limit"
	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// What clients get at one node of a cluster of calls that another one has, and what the
// nodes count together.

// Names of what nodes tell each other.
const (
	countAgents       = "calls.user"
	countTrunks       = "calls.trunk"
	countDialout      = "dialout"
	countDialoutUsers = "dialout.user"
	topicSpent        = "spent"
)

const (
	// spentEvery is how often nodes tell how many calls were attempted.
	spentEvery = time.Second
	// maxSpentNames is how many users one message tells of.
	maxSpentNames = 2000
	// maxSpent bounds what is read of one, in bytes.
	maxSpent = 1 << 20
)

// otherNodes is api.Elsewhere over the node.
type otherNodes struct{ *cluster.Node }

// Alive implements api.Elsewhere.
func (n otherNodes) Alive(node, incarnation string) bool {
	return slices.ContainsFunc(n.Members(), func(m cluster.Member) bool {
		return m.Node == node && m.Incarnation == incarnation && m.State != "fenced"
	})
}

// shareCalls has the switchboard count with the other nodes, and give calls that it takes
// over back to those that have placed them.
func (a *App) shareCalls(sc *sipflow.Config) {
	if a.cluster == nil {
		return // a nil interface, not one that holds nil
	}
	sc.Limits.Agents, sc.Limits.Trunks = a.cluster.Counts(countAgents), a.cluster.Counts(countTrunks)
	sc.Resume = a.resume
}

// resume is sipflow.Config.Resume.
func (a *App) resume(spec *sipflow.Spec, record []byte, joined bool) bool {
	if spec.Kept == nil {
		return true
	}
	switch spec.Kept.Door {
	case callcontroller.Door:
		a.controller.Resume(spec, record)
	case dialout.Door:
		if a.dialout != nil {
			return a.dialout.Resume(spec, record, joined)
		}
	case dispatch.Door:
		if a.dispatch != nil {
			a.dispatch.Resume(spec, record, joined)
		}
	}
	return true
}

// openElsewhere has the node answer the others, and share with them what is counted. All
// that it asks is open by then, and the node does not run yet.
func (a *App) openElsewhere() error {
	if a.cluster == nil {
		return nil
	}
	a.cluster.Answer(restauth.NonceOp, a.gate.UseNonce)
	a.cluster.Answer(order.GiveWayOp, order.AnswerGiveWay(a.sw, a.cluster.Flushed))
	a.cluster.Answer(callcontroller.ElsewhereOp, a.controller.AnswerElsewhere)
	if a.api != nil {
		a.cluster.Answer(api.ElsewhereOp, a.api.AnswerElsewhere)
		a.cluster.Answer(api.TicketOp, a.api.AnswerTicket)
	}
	if a.dialout != nil {
		a.cluster.Answer(dialout.ElsewhereOp, a.dialout.AnswerElsewhere)
	}
	a.shareGuesses()
	a.cluster.Hear(topicSpent, func(_ string, data []byte) {
		var s sipflow.Spent
		if len(data) <= maxSpent && json.Unmarshal(data, &s) == nil {
			a.sw.Spend(s)
		}
	})
	a.add(feature{name: "limits of a cluster", stage: stageBase, run: func(ctx context.Context) error { a.tellSpent(ctx); return nil }})
	return nil
}

// shareGuesses has wrong PINs and passwords count at all nodes.
func (a *App) shareGuesses() {
	all := map[string]*limit.Failures{"guess.pin": a.gate.Guesses(), "guess.sip": a.sw.WrongCredentials()}
	if a.api != nil {
		all["guess.token"] = a.api.Guesses()
	}
	if a.phone != nil {
		all["guess.phone"] = a.phone.Guesses()
	}
	if a.dispatch != nil {
		all["guess.dispatch"] = a.dispatch.Guesses()
	}
	if a.dialin != nil {
		all["guess.dialin"] = a.dialin.Guesses()
	}
	for topic, f := range all {
		hear := f.Share(time.Now, func(data []byte) { a.cluster.Tell(topic, data) })
		a.cluster.Hear(topic, func(_ string, data []byte) { hear(data) })
	}
}

// tellSpent tells the others each second how many calls were attempted here.
func (a *App) tellSpent(ctx context.Context) {
	tick := time.NewTicker(spentEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s := a.sw.Spent()
		names := slices.Collect(maps.Keys(s.Agent))
		for s.All > 0 || len(names) > 0 {
			n := min(len(names), maxSpentNames)
			part := sipflow.Spent{All: s.All, Agent: make(map[string]int, n)}
			for _, name := range names[:n] {
				part.Agent[name] = s.Agent[name]
			}
			names, s.All = names[n:], 0
			if data, err := json.Marshal(part); err == nil {
				a.cluster.Tell(topicSpent, data)
			}
		}
	}
}
