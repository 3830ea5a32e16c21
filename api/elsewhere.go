package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	"sipxrest/cluster"
	"sipxrest/event"
	"sipxrest/internal/forward"
	"sipxrest/order"
)

// Elsewhere is the rest of a cluster. What happens to calls of all nodes is in the bus;
// what is to be done to a call its node does. The methods may be called from any goroutine.
type Elsewhere interface {
	order.Nodes
	// Name is this node's.
	Name() string
	// FindID returns where a call is.
	FindID(ctx context.Context, id string) (cluster.Place, error)
	// Once stores a value under a name, if there is none, and returns the one that there is.
	Once(ctx context.Context, kind, name string, value []byte, keep time.Duration) (old []byte, err error)
	// Unonce takes it away, if it still is that value.
	Unonce(ctx context.Context, kind, name string, value []byte) error
	// Alive reports whether that incarnation of a node may still be at work.
	Alive(node, incarnation string) bool
	// Incarnation is this node's.
	Incarnation() string
}

// ElsewhereOp is what other nodes are asked for their calls. AnswerElsewhere answers it.
const ElsewhereOp = "v1"

const (
	// findTime bounds the look into the store.
	findTime = 4 * time.Second
	// askTime bounds what another node does: as long as an action takes at most.
	askTime = actionTime + 2*lagTime + time.Second
)

// carried are the fields of a request that its resource reads. What proves who asks is
// not among them: that is known.
var carried = []string{"Accept", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Prefer", "X-Request-Id", "traceparent"}

// whereabouts says who answers a request about a call.
type whereabouts uint8

const (
	anyNode   whereabouts = iota // this one
	callsNode                    // that of the call
	knownNode                    // this one, unless it does not know the call yet
	lastNode                     // that of the call, also when it has ended
)

// atCallsNode has the node that has the call answer r. It is false where this one does.
func (a *API) atCallsNode(w http.ResponseWriter, r *request, where whereabouts) (done bool, why *Problem) {
	if a.cfg.Elsewhere == nil || where == anyNode || r.forwarded {
		return false, nil
	}
	id := r.vars("id")
	if a.sw.ByID(id) != nil {
		return false, nil
	}
	if _, known := a.bus.Call(id); known && where == knownNode {
		return false, nil
	}
	node, live, why := a.nodeOf(r.Context(), id)
	switch {
	case why != nil:
		return true, why
	case node == "" || !live && where != lastNode:
		return false, nil
	}
	if why = a.askNode(w, r, node); why != nil && !live {
		return false, nil // it is gone, and what it alone knew
	}
	return true, why
}

// maxCallID bounds the id of a call that is looked for.
const maxCallID = 128

// nodeOf is the other node that has a call, or had it; "" where it is this one, or unknown.
func (a *API) nodeOf(ctx context.Context, id string) (node string, live bool, why *Problem) {
	if id == "" || len(id) > maxCallID {
		return "", false, nil
	}
	ctx, stop := context.WithTimeout(ctx, findTime)
	defer stop()
	place, err := a.cfg.Elsewhere.FindID(ctx, id)
	switch {
	case errors.Is(err, cluster.ErrNone):
		// One that no SIP phone is in has no entry in the store, and that of one which has
		// ended goes.
		c, ok := a.bus.Call(id)
		if !ok || c.Node == "" || c.Node == a.cfg.Elsewhere.Name() {
			return "", false, nil
		}
		return c.Node, c.State != event.Ended, nil
	case err != nil:
		return "", false, a.clusterRefusal()
	case place.Mine, place.Node == a.cfg.Elsewhere.Name():
		return "", false, nil
	}
	return place.Node, place.Live, nil
}

// isElsewhere reports whether another node has a call.
func (a *API) isElsewhere(ctx context.Context, id string) bool {
	if a.cfg.Elsewhere == nil {
		return false
	}
	node, live, why := a.nodeOf(ctx, id)
	return why == nil && node != "" && live
}

// clusterRefusal is for what cannot be known without the store of the cluster.
func (a *API) clusterRefusal() *Problem { return refuse(ClusterUnavailable).after(5 * time.Second) }

// askNode has a node answer r.
func (a *API) askNode(w http.ResponseWriter, r *request, node string) *Problem {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return refuse(BodyTooLarge)
	case err != nil:
		return refuse(InvalidJSON, "it was cut short")
	}
	q := forward.Of(r.Request, body, carried...)
	q.Header.Set("X-Request-Id", r.id)
	who, err := json.Marshal(wireOf(r.who))
	if err != nil {
		return refuse(InternalError)
	}
	q.Who = who
	data, err := q.Encode()
	if err != nil {
		return refuse(InternalError)
	}
	// A client that goes away does not take back what it has asked for.
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), askTime)
	defer stop()
	data, err = a.cfg.Elsewhere.Ask(ctx, node, ElsewhereOp, data)
	if err != nil {
		r.log.Debug("another node does not answer for its call", "node", node, "error", err)
		return a.noAnswer(r, err)
	}
	answer, err := forward.DecodeAnswer(data)
	if err != nil {
		r.log.Error("another node's answer cannot be read", "node", node, "error", err)
		return refuse(InternalError).dialled(DialledUnknown)
	}
	answer.Write(w, r.Method)
	return nil
}

// noAnswer says that the node that has a call has not answered. Only where nobody was
// there is it known that nothing was done.
func (a *API) noAnswer(r *request, err error) *Problem {
	why := about(refuse(NodeUnavailable).after(5*time.Second), r.vars("id"))
	if !errors.Is(err, cluster.ErrNobody) && !errors.Is(err, cluster.ErrBusy) {
		why.dialled(DialledUnknown)
	}
	return why
}

// AnswerElsewhere answers other nodes that have been asked for a call of this one.
func (a *API) AnswerElsewhere(ctx context.Context, data []byte) ([]byte, error) {
	q, err := forward.Decode(data)
	if err != nil {
		return nil, err
	}
	var wire wirePrincipal
	if err := json.Unmarshal(q.Who, &wire); err != nil {
		return nil, forward.ErrMalformed
	}
	r, err := q.HTTP(context.WithValue(ctx, forwardedKey{}, a.principalOf(&wire)))
	if err != nil {
		return nil, err
	}
	w := forward.NewRecorder()
	a.handler.ServeHTTP(w, r)
	return w.Encode()
}

// forwardedKey is the key of the principal in the context of a request that another node
// has let in.
type forwardedKey struct{}

// wirePrincipal is a principal as it goes to another node. What proves who he is stays.
type wirePrincipal struct {
	Type   PrincipalType `json:"type"`
	Name   string        `json:"name"`
	Agent  string        `json:"agent,omitempty"` // user name
	Scopes []Scope       `json:"scopes"`
	Key    *Key          `json:"key,omitempty"` // without its hash
	Phone  *PhoneUser    `json:"phone,omitempty"`
	Addr   netip.Addr    `json:"addr,omitzero"`
}

func wireOf(p *Principal) *wirePrincipal {
	w := &wirePrincipal{Type: p.Type, Name: p.Name, Scopes: p.Scopes, Phone: p.Phone, Addr: p.Addr}
	if p.Agent != nil {
		w.Agent = p.Agent.Name
	}
	if p.Key != nil {
		k := *p.Key
		k.SHA256 = ""
		w.Key = &k
	}
	return w
}

// principalOf is the principal that another node has let in. A user who is not known here
// is nobody's agent: the users' files of nodes differ for a moment when they change.
func (a *API) principalOf(w *wirePrincipal) *Principal {
	p := &Principal{Type: w.Type, Name: w.Name, Scopes: w.Scopes, Key: w.Key, Phone: w.Phone, Addr: w.Addr}
	if w.Agent != "" {
		p.Agent, _ = a.users.Lookup(w.Agent)
	}
	switch {
	case p.Type == PrincipalKey && p.Key == nil, p.Type == PrincipalPhone && p.Phone == nil, w.Agent != "" && p.Agent == nil:
		p.Type, p.Agent, p.Key, p.Phone, p.Scopes = PrincipalUser, nil, nil, nil, nil
	}
	return p
}

// makeRoom has a call at another node that has the key of a new one give way, as the
// client wants.
func (a *API) makeRoom(ctx context.Context, p *placement) error {
	if a.cfg.Elsewhere == nil {
		return nil
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), placeTimeout)
	defer stop()
	_, err := order.MakeRoom(ctx, a.cfg.Elsewhere, &p.spec)
	return err
}
