package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"sipxrest/cluster"
	"sipxrest/event"
)

// In a cluster the bus knows the keys of all nodes' calls, a moment late. So that a key
// that comes to two nodes at once places one call, it is claimed in the store first.

// onceKind is that of idempotency keys in the store.
const onceKind = "key"

// claimTries bounds how often a key is claimed that a dead node has left.
const claimTries = 3

// keyClaim is what a key stands for in the store.
type keyClaim struct {
	Hash        []byte `json:"hash"`
	CallID      string `json:"call"`
	Node        string `json:"node"`
	Incarnation string `json:"incarnation"`
}

func claimName(use *event.IdempotencyKey) string { return use.Principal + "\x00" + use.Key }

// claimOf is the claim of a key for a call of this node.
func (a *API) claimOf(use *event.IdempotencyKey, id string) []byte {
	data, err := json.Marshal(keyClaim{use.Hash[:], id, a.cfg.Elsewhere.Name(), a.cfg.Elsewhere.Incarnation()})
	if err != nil {
		return nil // of strings: it does not fail
	}
	return data
}

// claimKey claims a key for a call, in the whole cluster. done means that there is an
// answer: another request has it, or the store does not answer.
func (a *API) claimKey(w http.ResponseWriter, r *request, use *event.IdempotencyKey, id string) (done bool, why *Problem) {
	if a.cfg.Elsewhere == nil || use == nil {
		return false, nil
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), findTime)
	defer stop()
	for range claimTries {
		old, err := a.cfg.Elsewhere.Once(ctx, onceKind, claimName(use), a.claimOf(use, id), a.cfg.IdempotencyTime)
		if err != nil {
			return true, a.clusterRefusal()
		}
		if old == nil {
			return false, nil
		}
		var claim keyClaim
		if json.Unmarshal(old, &claim) != nil {
			return true, refuse(InternalError)
		}
		other := event.KeyUse{IdempotencyKey: *use, CallID: claim.CallID}
		copy(other.Hash[:], claim.Hash)
		if _, known := a.bus.Call(claim.CallID); known || other.Hash != use.Hash || a.placing(ctx, &claim) {
			return true, a.replayed(w, r, other, use)
		}
		// Its node has died before anybody was called: the key is free.
		if err := a.cfg.Elsewhere.Unonce(ctx, onceKind, claimName(use), old); err != nil && !errors.Is(err, cluster.ErrConflict) {
			return true, a.clusterRefusal()
		}
	}
	return true, refuse(IdempotencyInProgress).after(placingAgain)
}

// placing reports whether the call of a claim may still be placed, or have been.
func (a *API) placing(ctx context.Context, claim *keyClaim) bool {
	if a.cfg.Elsewhere.Alive(claim.Node, claim.Incarnation) {
		return true
	}
	_, err := a.cfg.Elsewhere.FindID(ctx, claim.CallID)
	return !errors.Is(err, cluster.ErrNone)
}

// freeKey gives a key back whose call was not placed.
func (a *API) freeKey(use *event.IdempotencyKey, id string) {
	if a.cfg.Elsewhere == nil || use == nil {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), findTime)
	defer stop()
	if err := a.cfg.Elsewhere.Unonce(ctx, onceKind, claimName(use), a.claimOf(use, id)); err != nil {
		a.log.Debug("an idempotency key is not free before its time", "call", id, "error", err)
	}
}
