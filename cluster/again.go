package cluster

import (
	"context"
	"errors"
	"time"
)

// storeLost finds out why this incarnation's stream is gone or older than it was. If it was fenced its stream was removed by the heirs.
// Else the store has lost data, and all calls are put again.
func (n *Node) storeLost(ctx context.Context, l *life) error {
	cctx, cancel := context.WithTimeout(ctx, 10*commitTime)
	defer cancel()
	e, err := n.e.Last(cctx, n.names.nodes(), n.names.node(n.cfg.Node))
	switch at, perr := unmarshal[nodeEntry](e); {
	case err != nil && !errors.Is(err, ErrNone) && !errors.Is(err, ErrNoStream):
		return err
	case err == nil && perr == nil && (at.who != l.who || at.State == nodeFenced || at.State == nodeGone):
		return errFenced
	}
	for _, s := range []Stream{n.nodeStream(), n.keyStream(), n.callStream(l.who)} {
		if err := n.ensure(cctx, s); err != nil {
			return err
		}
	}
	n.calls.putAgain()
	n.restoreKeys(true)
	return nil
}

// checkMark finds out whether the stream of keys is still the one that it was: there is a mark in it, made by the first node. With
// another mark, or none, the store has lost the keys.
func (n *Node) checkMark(ctx context.Context) {
	cctx, cancel := context.WithTimeout(ctx, 2*commitTime)
	defer cancel()
	known := n.mark.Load()
	e, err := n.e.Last(cctx, n.names.keys(), n.names.mark())
	if errors.Is(err, ErrNoStream) {
		if n.e.Ensure(cctx, n.keyStream()) != nil {
			return
		}
		err = ErrNone
	}
	if errors.Is(err, ErrNone) || err == nil && len(e.Data) == 0 {
		mark := newIncarnation()
		_, err = n.e.Commit(cctx, n.names.keys(), []Write{{Subject: n.names.mark(), Data: []byte(mark)}}, Cond{n.names.mark(), e.Seq})
		e.Data = []byte(mark)
	} else if err == nil && time.Since(e.Time) > nodeAge/3 { // before the stream finds it too old
		_, _ = n.e.Commit(cctx, n.names.keys(), []Write{{Subject: n.names.mark(), Data: e.Data}}, Cond{n.names.mark(), e.Seq})
	}
	if err != nil {
		return // next time
	}
	now := string(e.Data)
	n.mark.Store(&now)
	if known != nil && *known != now {
		n.restoreKeys(true)
	}
}
