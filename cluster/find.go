package cluster

import (
	"context"
	"errors"
	"time"
)

// A Place says where a call is, or what is left of it.
type Place struct {
	Node, Incarnation, ID string
	Key                   string // empty: it has none
	Mine                  bool   // it is this node's
	Live                  bool
	Record                []byte // of a call that is over
}

// Find returns where the call with a key is, or its record. ErrNone.
func (n *Node) Find(ctx context.Context, key string) (Place, error) {
	key = short(key)
	at, err := n.readEntry(ctx, n.names.key(key))
	if err != nil {
		return Place{}, err
	}
	return n.place(ctx, at, key)
}

// FindID returns where a call is, or its record. ErrNone.
func (n *Node) FindID(ctx context.Context, id string) (Place, error) {
	at, err := n.readEntry(ctx, n.names.id(id))
	if err != nil {
		return Place{}, err
	}
	key := ""
	if len(at.Keys) > 0 {
		key = at.Keys[0]
	}
	return n.place(ctx, at, key)
}

// readEntry is readKey for questions from outside: that there is nothing is ErrNone.
func (n *Node) readEntry(ctx context.Context, subject string) (keyEntry, error) {
	at, _, err := n.readKey(ctx, subject)
	if err == nil && at.ID == "" {
		err = ErrNone
	}
	return at, err
}

func (n *Node) place(ctx context.Context, at keyEntry, key string) (Place, error) {
	p := Place{Node: at.Node, Incarnation: at.E, ID: at.ID, Key: key, Live: !at.Over}
	l := n.life.Load()
	p.Mine = l != nil && l.who == at.who
	if p.Live {
		if p.Mine && n.calls.get(at.ID) == nil { // its end is not committed yet
			p.Live = false
		}
		return p, nil
	}
	cctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	e, err := n.e.Last(cctx, n.names.keys(), n.names.record(at.ID))
	if err != nil && !errors.Is(err, ErrNone) {
		return Place{}, err
	}
	p.Record = e.Data
	return p, nil
}

// State returns the last committed state of a live call, for when its node does not answer, and when the store got it. ErrNone.
func (n *Node) State(ctx context.Context, p Place) (state []byte, at time.Time, err error) {
	w := who{p.Node, p.Incarnation}
	cctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	e, err := n.e.Last(cctx, n.names.stream(w), n.names.state(w, p.ID))
	if errors.Is(err, ErrNoStream) || err == nil && len(e.Data) == 0 {
		err = ErrNone
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	s, err := parseStored(e.Data)
	return s.state, e.Time, err
}
