package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// secretLife is how long a secret signs. It verifies for as long again.
	secretLife = 24 * time.Hour
	// secretSize is how many bytes a secret has.
	secretSize = 32
)

// secrets are what all nodes sign with.
type secrets struct {
	at atomic.Pointer[[][]byte]
}

func (s *secrets) init() { s.at.Store(&[][]byte{newSecret()}) }

func newSecret() []byte {
	b := make([]byte, secretSize)
	rand.Read(b)
	return b
}

// Secrets are what all nodes sign with: the newest first, which signs. All of them verify. Before the node has joined they are its own.
func (n *Node) Secrets() [][]byte { return *n.secrets.at.Load() }

// checkSecret learns the secrets, and makes a new one when there is none or it is old.
func (n *Node) checkSecret(ctx context.Context) {
	cctx, cancel := context.WithTimeout(ctx, 2*commitTime)
	defer cancel()
	subject := n.names.secret()
	e, err := n.e.Last(cctx, n.names.nodes(), subject)
	if err != nil && !errors.Is(err, ErrNone) {
		return
	}
	at, err := unmarshal[secretEntry](e)
	if len(at.Keys) > 2 || slices.ContainsFunc(at.Keys, func(k []byte) bool { return len(k) != secretSize }) {
		err = errStored
	}
	if age := time.Since(time.Unix(at.Made, 0)); err == nil && len(at.Keys) > 0 && age < secretLife {
		n.secrets.at.Store(&at.Keys)
		return
	}
	// Who has a secret of its own already, for the store has lost it, says that one.
	own := *n.secrets.at.Load()
	if err == nil && len(at.Keys) > 0 {
		own = [][]byte{newSecret(), at.Keys[0]}
	}
	at = secretEntry{Keys: own[:min(2, len(own))], Made: time.Now().Unix()}
	if _, err := n.e.Commit(cctx, n.names.nodes(), []Write{{Subject: subject, Data: marshal(at)}}, Cond{subject, e.Seq}); err == nil {
		n.secrets.at.Store(&at.Keys)
	}
}
