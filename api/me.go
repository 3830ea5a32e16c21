package api

import (
	"net/http"

	"github.com/gorilla/mux"

	"sipxrest/event"
)

// meRoutes names the resource of who asks.
func (a *API) meRoutes(r *mux.Router) {
	a.resource(r, "/me", methods{http.MethodGet: {do: a.me, laterAgent: true}})
}

// meDocument is who a request is.
type meDocument struct {
	Object    string        `json:"object"` // "principal"
	Type      PrincipalType `json:"type"`
	Name      string        `json:"name"`
	Agent     *userDocument `json:"agent"`
	Scopes    []Scope       `json:"scopes"`
	Agents    []string      `json:"agents"` // for whom it may act; "*": all
	ExpiresAt event.Time    `json:"expires_at"`
	Networks  []string      `json:"networks,omitempty"`
	Limits    meLimits      `json:"limits"`
	Events    meEvents      `json:"events"`
	RequestID string        `json:"request_id"`
}

// meLimits are limits, and what is used of them. null: there is none.
type meLimits struct {
	RequestsPerSecond *int `json:"requests_per_second"`
	RequestsAtOnce    *int `json:"requests_at_once"`
	RequestsLeft      *int `json:"requests_left"`
	CallsPerSecond    *int `json:"calls_per_second"` // of a key
	Calls             *int `json:"calls"`            // at once, of the agent
	Streams           int  `json:"streams"`
	StreamsLeft       int  `json:"streams_left"`
	StreamsPerCall    int  `json:"streams_per_call"`
}

// meEvents is what is kept, and for how long.
type meEvents struct {
	Store             string `json:"store"` // "file" or "memory": gone with a restart
	CallTimeMS        int64  `json:"call_time_ms"`
	IdempotencyTimeMS int64  `json:"idempotency_time_ms"`
	IdempotencyKept   bool   `json:"idempotency_survives_restart"`
}

// me says who the request is.
func (a *API) me(w http.ResponseWriter, r *request) *Problem {
	p := r.who
	d := meDocument{Object: "principal", Type: p.Type, Name: p.Name, Scopes: p.Scopes, Agents: []string{}, RequestID: r.id}
	switch {
	case p.Key != nil:
		d.Agents, d.ExpiresAt = p.Key.Agents, event.At(p.Key.Expires)
		for _, n := range p.Key.Networks {
			d.Networks = append(d.Networks, n.String())
		}
		if a.cfg.CallRatePerKey > 0 {
			d.Limits.CallsPerSecond = &a.cfg.CallRatePerKey
		}
	case p.Type == PrincipalPeer && p.Agent == nil:
		d.Agents = []string{everyAgent}
	case p.Agent != nil:
		d.Agents = []string{p.Agent.Name}
	}
	if p.Agent != nil {
		u := a.userDocument(p.Agent)
		d.Agent = &u
	}
	if p.Type != PrincipalPeer { // who may name any agent is not bound by the limits of one
		burst := 2 * a.cfg.RequestsPerUser
		left := a.rate.Left(p.rateName(), a.cfg.Now())
		d.Limits.RequestsPerSecond, d.Limits.RequestsAtOnce, d.Limits.RequestsLeft = &a.cfg.RequestsPerUser, &burst, &left
		if a.cfg.CallsPerUser > 0 {
			d.Limits.Calls = &a.cfg.CallsPerUser
		}
	}
	d.Limits.Streams, d.Limits.StreamsLeft, d.Limits.StreamsPerCall = a.cfg.StreamsPerUser, a.streams.left(a, p), a.cfg.StreamsPerCall
	d.Events = meEvents{Store: "memory", CallTimeMS: a.cfg.CallTime.Milliseconds(), IdempotencyTimeMS: a.cfg.IdempotencyTime.Milliseconds(), IdempotencyKept: a.cfg.Durable}
	if a.cfg.Durable {
		d.Events.Store = "file"
	}
	return send(w, http.StatusOK, d)
}
