package api

import (
	"context"
	"encoding/json"
	"time"

	"sipxrest/internal/digest"
)

// In a cluster a ticket names the node that has made it, which alone knows whether it was
// used. Another node asks that for it.

// TicketOp is what a node is asked for a ticket of its. AnswerTicket answers it.
const TicketOp = "v1-ticket"

const (
	// ticketAsk bounds the wait for the node that has made a ticket.
	ticketAsk = 2 * time.Second
	// maxTicketText bounds the text of a ticket.
	maxTicketText = 256
)

// wireTicket is a ticket as it goes to another node.
type wireTicket struct {
	Who    *wirePrincipal `json:"who"`
	Sum    []byte         `json:"sum,omitempty"` // SHA-256 of a key: the key itself goes nowhere
	Until  time.Time      `json:"until"`
	Wanted ticketRequest  `json:"wanted"`
}

// takeTicket uses a ticket up, of whichever node; nil if there is none.
func (a *API) takeTicket(ctx context.Context, text string) *ticket {
	if a.cfg.Elsewhere == nil {
		return a.tickets.take(text)
	}
	_, node, ok := digest.CutIssuer(text)
	switch {
	case !ok || len(text) > maxTicketText:
		return nil
	case node == a.cfg.Elsewhere.Name():
		return a.tickets.take(text)
	}
	ctx, stop := context.WithTimeout(ctx, ticketAsk)
	defer stop()
	data, err := a.cfg.Elsewhere.Ask(ctx, node, TicketOp, []byte(text))
	var w wireTicket
	if err != nil || len(data) == 0 || json.Unmarshal(data, &w) != nil || w.Who == nil {
		return nil
	}
	t := &ticket{who: a.principalOf(w.Who), until: w.Until, wanted: w.Wanted, call: w.Wanted.CallID}
	copy(t.who.token[:], w.Sum)
	return t
}

// AnswerTicket answers another node that was given a ticket of this one. Without an answer
// there is none. Those of users of the phone are good at this node only, as their tokens.
func (a *API) AnswerTicket(_ context.Context, data []byte) ([]byte, error) {
	if len(data) > maxTicketText {
		return nil, nil
	}
	t := a.tickets.take(string(data))
	if t == nil || t.who.Type == PrincipalPhone {
		return nil, nil
	}
	return json.Marshal(wireTicket{Who: wireOf(t.who), Sum: t.who.token[:], Until: t.until, Wanted: t.wanted})
}
