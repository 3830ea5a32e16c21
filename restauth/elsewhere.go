package restauth

import (
	"context"
	"encoding/json"
	"time"

	"sipxrest/internal/digest"
	"sipxrest/internal/limit"
)

// Others are the other nodes of a cluster, as a gate needs them. Its methods may be called
// from any goroutine.
type Others interface {
	// Name is this node's.
	Name() string
	// Ask asks a node, and returns what it answers.
	Ask(ctx context.Context, node, op string, data []byte) ([]byte, error)
}

const (
	// NonceOp is what Others are asked for a nonce of theirs. Gate.UseNonce answers it.
	NonceOp = "nonce"
	// nonceTime bounds the wait for the node that has issued a nonce. Without its answer
	// the client gets a fresh nonce of this node, so it is short.
	nonceTime = time.Second
	// maxNonceUse bounds what another node asks, in bytes.
	maxNonceUse = maxAuthorization + 512
)

// nonceUse asks the node that has issued a nonce to mark a count of it as used.
type nonceUse struct {
	Nonce string `json:"nonce"` // without the node
	Scope string `json:"scope"`
	Count uint32 `json:"count"`
}

// useNonce reports whether a count of a nonce was not used before, at any node. Only the
// node that has issued a nonce knows that. If that is gone the nonce is stale.
func (g *Gate) useNonce(ctx context.Context, nonce, scope string, count uint32, now time.Time) bool {
	if g.cfg.Others == nil {
		return g.useOwn(nonce, scope, count, now)
	}
	bare, node, ok := digest.CutIssuer(nonce)
	switch {
	case !ok:
		return false
	case node == g.cfg.Others.Name():
		return g.useOwn(bare, scope, count, now)
	}
	data, err := json.Marshal(nonceUse{bare, scope, count})
	if err != nil {
		return false
	}
	ctx, stop := context.WithTimeout(ctx, nonceTime)
	defer stop()
	answer, err := g.cfg.Others.Ask(ctx, node, NonceOp, data)
	return err == nil && string(answer) == nonceGood
}

// useOwn is useNonce for a nonce that this node has issued.
func (g *Gate) useOwn(nonce, scope string, count uint32, now time.Time) bool {
	id, fresh := g.nonces.Verify(nonce, scope, now)
	return fresh && g.nonces.Use(id, count, now)
}

// What UseNonce answers.
const (
	nonceGood  = "good"
	nonceStale = "stale"
)

// UseNonce answers another node that has a response by a nonce of this one.
func (g *Gate) UseNonce(_ context.Context, data []byte) ([]byte, error) {
	var use nonceUse
	if len(data) <= maxNonceUse && json.Unmarshal(data, &use) == nil && g.useOwn(use.Nonce, use.Scope, use.Count, g.cfg.Now()) {
		return []byte(nonceGood), nil
	}
	return []byte(nonceStale), nil
}

// issue makes a nonce for a listener.
func (g *Gate) issue(l *listener, now time.Time) string {
	nonce := g.nonces.Issue(l.scope, now)
	if g.cfg.Others != nil {
		nonce = digest.WithIssuer(nonce, g.cfg.Others.Name())
	}
	return nonce
}

// scopeOf binds nonces to a listener. At several nodes listeners are the same where the
// same peers may come in: their order changes with each reload.
func (g *Gate) scopeOf(number string, p Policy, tls bool) string {
	if g.cfg.Others == nil {
		return number + " " + g.cfg.Realm
	}
	scope := p.String()
	if tls {
		scope += " tls"
	}
	return scope + " " + g.cfg.Realm
}

// Guesses are the wrong PINs that the gate counts.
func (g *Gate) Guesses() *limit.Failures { return g.guesses }
