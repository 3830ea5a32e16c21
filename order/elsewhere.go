package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"sipxrest/cluster"
	"sipxrest/sipflow"
)

// GiveWayOp is what a node is asked that has the key of a new call: its call ends, or the
// new one is not placed. AnswerGiveWay answers it.
const GiveWayOp = "give-way"

// maxGiveWay bounds what is read of such a question, in bytes.
const maxGiveWay = 16 << 10

// giveWay asks a node for a key.
type giveWay struct {
	Key      sipflow.Key      `json:"key"`
	Method   string           `json:"method"`
	Conflict sipflow.Conflict `json:"conflict"`
}

// way is what comes back: whether the key is free, or why it is not.
type way struct {
	Why string `json:"why,omitempty"` // "" free, else one of the next
	ID  string `json:"id,omitempty"`  // in_progress: of the call that has the key
}

const (
	wayInProgress = "in_progress"
	wayReferred   = "referred"
	wayHangingUp  = "hanging_up"
)

// ErrHeld means that a call at another node has the key, and that it is not known whether
// it makes room: it is worth trying again.
var ErrHeld = errors.New("a call of these parties is at another node, which does not end it at this moment")

// Nodes are the others of a cluster. *cluster.Node is one.
type Nodes interface {
	Find(ctx context.Context, key string) (cluster.Place, error)
	Ask(ctx context.Context, node, op string, data []byte) ([]byte, error)
}

// GiveWay has the node that holds the key of a new call make room for it. It returns nil
// once the key is free. Else it is what sipflow.Place returns where the two calls are at
// one node, or ErrHeld.
func GiveWay(ctx context.Context, nodes Nodes, held *sipflow.HeldError, spec *sipflow.Spec) error {
	data, err := json.Marshal(giveWay{spec.Key, spec.Method, spec.Conflict})
	if err != nil {
		return err
	}
	answer, err := nodes.Ask(ctx, held.Node, GiveWayOp, data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHeld, err)
	}
	var w way
	if err := json.Unmarshal(answer, &w); err != nil {
		return fmt.Errorf("%w: %w", ErrHeld, err)
	}
	switch w.Why {
	case "":
		return nil
	case wayInProgress:
		return &sipflow.InProgressError{ID: w.ID}
	case wayReferred:
		return sipflow.ErrReferred
	}
	return ErrHeld // it is being hung up, or another release says what is not known here
}

// MakeRoom has a call at another node that has the key of a new one give way, before
// anything is told of the new one. Errors are those of GiveWay; id is that of the other
// call, empty where there is none. Whether the key is free the claim decides: without the
// store, or with nil for the nodes, there is nothing to do.
func MakeRoom(ctx context.Context, nodes Nodes, spec *sipflow.Spec) (id string, err error) {
	if nodes == nil {
		return "", nil
	}
	place, err := nodes.Find(ctx, spec.Key.String())
	if err != nil || place.Mine || !place.Live && spec.Method != sipflow.MethodRefer {
		return "", nil
	}
	err = GiveWay(ctx, nodes, &sipflow.HeldError{Key: spec.Key, Node: place.Node, ID: place.ID}, spec)
	if !place.Live && !errors.Is(err, sipflow.ErrReferred) { // its node knows whether its phone is calling at this moment
		return "", nil
	}
	return place.ID, err
}

// PlaceOver places a call by place, which may be called twice, each time for a call of its
// own. A call at another node that has the key gives way first, if it does. id is that of
// the other one, empty where there was none.
func PlaceOver(ctx context.Context, nodes Nodes, spec *sipflow.Spec, place func() error) (id string, err error) {
	if id, err = MakeRoom(ctx, nodes, spec); err != nil {
		return id, err
	}
	var held *sipflow.HeldError
	if err = place(); !errors.As(err, &held) || nodes == nil {
		return id, err
	}
	if err = GiveWay(ctx, nodes, held, spec); err == nil { // it was placed at the same moment
		if err = place(); errors.As(err, &held) {
			err = ErrHeld
		}
	}
	return held.ID, err
}

// AnswerGiveWay answers other nodes that ask for a key. flushed is waited for, so that the
// key is free for all once it is said so.
func AnswerGiveWay(sw *sipflow.Switchboard, flushed func(context.Context) error) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, data []byte) ([]byte, error) {
		var q giveWay
		if len(data) > maxGiveWay || json.Unmarshal(data, &q) != nil {
			return nil, errors.New("give-way: it cannot be read")
		}
		var w way
		var holder *sipflow.InProgressError
		switch err := sw.GiveWay(ctx, q.Key, q.Method, q.Conflict); {
		case errors.As(err, &holder):
			w = way{wayInProgress, holder.ID}
		case errors.Is(err, sipflow.ErrReferred):
			w.Why = wayReferred
		case errors.Is(err, sipflow.ErrPhoneTimeout):
			w.Why = wayHangingUp
		case err != nil:
			return nil, err
		default:
			if err := flushed(ctx); err != nil {
				w.Why = wayHangingUp
			}
		}
		return json.Marshal(w)
	}
}
