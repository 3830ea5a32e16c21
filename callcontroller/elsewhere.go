package callcontroller

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"sipxrest/cluster"
	"sipxrest/internal/forward"
	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// Elsewhere knows the calls of other nodes, and asks those. *cluster.Node is one. Its
// methods may be called from any goroutine.
type Elsewhere interface {
	Find(ctx context.Context, key string) (cluster.Place, error)
	State(ctx context.Context, p cluster.Place) (state []byte, at time.Time, err error)
	Ask(ctx context.Context, node, op string, data []byte) ([]byte, error)
}

// ElsewhereOp is what other nodes are asked for their calls. AnswerElsewhere answers it.
const ElsewhereOp = "callcontroller"

// findTime bounds the look into the store, and a GET at another node.
const findTime = 4 * time.Second

// What another node is asked to do.
const (
	askGet      = "get"
	askDelete   = "delete"
	askTransfer = "transfer"
)

// question is what another node is to do. Its client has proved who he is, and may ask.
type question struct {
	What      string      `json:"what"`
	Key       sipflow.Key `json:"key"`
	To        sipflow.Key `json:"to,omitzero"`      // transfer: the key that follows
	Target    string      `json:"target,omitempty"` // transfer: as it goes on the wire
	Agent     string      `json:"agent,omitempty"`  // delete: user name
	Trusted   bool        `json:"trusted,omitempty"`
	Addr      netip.Addr  `json:"addr,omitzero"`
	RequestID string      `json:"request_id,omitempty"`
}

// runs reports whether the record's call is in progress, so that it is surely the one that
// is asked for.
func (r *record) runs() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.ended
}

// goesElsewhere reports whether an error that ends a call says that another node has it,
// or the one that keeps it from being placed.
func goesElsewhere(err error) bool {
	var held *sipflow.HeldError
	return errors.Is(err, sipflow.ErrForgotten) || errors.As(err, &held)
}

// getElsewhere responds with how a call goes that this node does not have. own is what it
// knows of an earlier one, nil for nothing. It is false where the response is this node's.
func (c *Controller) getElsewhere(w http.ResponseWriter, r *http.Request, key sipflow.Key, own *record) bool {
	ctx, stop := context.WithTimeout(r.Context(), findTime)
	defer stop()
	place, err := c.cfg.Elsewhere.Find(ctx, key.String())
	switch {
	case errors.Is(err, cluster.ErrNone):
		return false
	case err != nil:
		if own != nil {
			return false
		}
		refuse(w, r, away)
		return true
	case place.Mine, !place.Live && own != nil && own.id == place.ID:
		return false
	case !place.Live:
		return c.showKept(w, r, place.Record)
	}
	answer, err := c.askNode(ctx, place.Node, r, &question{What: askGet, Key: key})
	switch {
	case err == nil && answer.Status == http.StatusNotFound:
		return false
	case err == nil:
		answer.Write(w, r.Method)
		return true
	}
	state, at, err := c.cfg.Elsewhere.State(ctx, place)
	door, kept, ok := "", []byte(nil), false
	if err == nil {
		door, kept, ok = sipflow.RecordOf(state)
	}
	switch {
	case !ok:
		refuse(w, r, noNode)
		return true
	case door != Door: // a call that others have placed is none here
		return false
	}
	w.Header()["Age"] = []string{strconv.Itoa(int(max(time.Since(at), 0) / time.Second))}
	if !c.showKept(w, r, kept) {
		delete(w.Header(), "Age")
		return false
	}
	return true
}

// showKept responds with the record that another node has kept. It is false if it cannot
// be read, or if there is none.
func (c *Controller) showKept(w http.ResponseWriter, r *http.Request, kept []byte) bool {
	rec, boot, ok := c.readKept(kept)
	if ok {
		c.show(w, r, rec, boot, nil)
	}
	return ok
}

// askElsewhere has the node that has a call do something to it. done is false where there
// is no such call: the response is this node's.
func (c *Controller) askElsewhere(ctx context.Context, q *question) (done bool, refused *refusal) {
	place, err := c.cfg.Elsewhere.Find(ctx, q.Key.String())
	switch {
	case errors.Is(err, cluster.ErrNone):
		return false, nil
	case err != nil:
		return true, away
	case place.Mine, !place.Live:
		return false, nil
	}
	answer, err := c.askNode(ctx, place.Node, nil, q)
	if err != nil {
		return true, noNode
	}
	if answer.Status == http.StatusOK {
		return true, nil
	}
	why := &refusal{}
	if json.Unmarshal(answer.Body, (*toldRefusal)(why)) != nil {
		return true, noNode
	}
	return true, why
}

// Why calls of other nodes cannot be reached. Retry-After says that it is worth asking
// again.
var (
	noNode = &refusal{status: 503, code: 503, text: "The node that has the call does not answer, and another one takes it over: try again later"}
	away   = &refusal{status: 503, code: 503, text: "The store of the cluster does not answer, which knows where the call is: try again later"}
)

// askNode asks a node. r is the request of a GET, else nil.
func (c *Controller) askNode(ctx context.Context, node string, r *http.Request, q *question) (*forward.Answer, error) {
	who, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ask := &forward.Request{Method: http.MethodPost, Target: callPrefix}
	if r != nil {
		ask = forward.Of(r, nil, "If-None-Match")
	}
	ask.Who = who
	data, err := ask.Encode()
	if err != nil {
		return nil, err
	}
	if data, err = c.cfg.Elsewhere.Ask(ctx, node, ElsewhereOp, data); err != nil {
		return nil, err
	}
	return forward.DecodeAnswer(data)
}

// toldRefusal is a refusal as it goes to the node that has asked.
type toldRefusal refusal

// MarshalJSON implements json.Marshaler.
func (t *toldRefusal) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireRefusal{t.status, t.code, t.text, t.retry})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *toldRefusal) UnmarshalJSON(data []byte) error {
	var w wireRefusal
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	if w.Status < 400 || w.Status > 599 {
		return errors.New("it is no refusal")
	}
	t.status, t.code, t.text, t.retry = w.Status, w.Code, w.Text, w.Retry
	return nil
}

type wireRefusal struct {
	Status int    `json:"status"`
	Code   int    `json:"code"`
	Text   string `json:"text"`
	Retry  int    `json:"retry,omitempty"`
}

// AnswerElsewhere answers other nodes that have been asked for a call of this one.
func (c *Controller) AnswerElsewhere(ctx context.Context, data []byte) ([]byte, error) {
	ask, err := forward.Decode(data)
	if err != nil {
		return nil, err
	}
	var q question
	if err := json.Unmarshal(ask.Who, &q); err != nil {
		return nil, forward.ErrMalformed
	}
	r, err := ask.HTTP(ctx)
	if err != nil {
		return nil, err
	}
	w := forward.NewRecorder()
	who := order.Client{Addr: q.Addr, Trusted: q.Trusted}
	var refused *refusal
	switch q.What {
	case askGet:
		rec := c.records.find(q.Key)
		if rec == nil {
			w.WriteHeader(http.StatusNotFound)
			break
		}
		c.show(w, r, rec, c.boot, nil)
	case askDelete:
		c.hangsUp(q.Key, &restauth.User{Name: q.Agent}, who, q.RequestID)
		refused = c.hungUp(q.Key, who, c.hangUp(ctx, q.Key))
	case askTransfer:
		refused = c.transferred(q.Key, who, c.transfer(ctx, q.Key, q.To, q.Target, q.Trusted))
	default:
		return nil, errors.New("callcontroller: another release asks for what is not known here: " + clip(q.What))
	}
	if refused != nil {
		w.Status = refused.status
		if w.Body, err = json.Marshal((*toldRefusal)(refused)); err != nil {
			return nil, err
		}
	}
	return w.Encode()
}
