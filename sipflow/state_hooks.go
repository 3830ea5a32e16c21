package sipflow

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// What the flows tell of their call, so that other nodes can go on with it. Where nobody
// keeps calls each of these does nothing.

// keptCall is what a call knows of its state in Config.Keeper. What follows mu is shared
// with the goroutines that hang up legs on the side; the rest belongs to the call's.
type keptCall struct {
	step      callStep
	bridge    *bridge // while two phones are joined
	sending   *forward
	talkUntil time.Time
	notified  bool // the phone has reported of its REFER
	claimed   bool
	sum       uint64 // of the newest state, without what changes all the time

	claiming  atomic.Bool // from the question for the key until it is the call's
	forgotten atomic.Bool // see Switchboard.Forget
	changed   atomic.Bool // see Call.Changed

	mu        sync.Mutex
	call      *Call // that it is of
	last      *callState
	asides    map[*Leg]keptLeg // that are hung up while the call goes on, or is over
	committed <-chan struct{}  // closed when the newest state is
	over      bool             // the flow has returned
	dropped   bool
}

// keeping is the state of the call for other nodes; nil where nobody keeps it.
func (c *Call) keeping() *keptCall {
	if c.sw.cfg.Keeper == nil || c.past == nil {
		return nil
	}
	return c.past.keeping
}

// keeps has a new call be one that is kept. It is called before the call's goroutine
// begins.
func (c *Call) keeps(step callStep) {
	if c.sw.cfg.Keeper != nil {
		c.kept().keeping = &keptCall{step: step, call: c}
	}
}

// at notes how far the call is. The next state says so.
func (c *Call) at(step callStep) {
	if k := c.keeping(); k != nil {
		k.step = step
	}
}

// keep has the call's state be kept as it is now, at a step. Nobody waits for that.
func (c *Call) keep(step callStep) {
	if k := c.keeping(); k != nil {
		k.step = step
		k.write(c)
	}
}

// keepIfNew is keep for a call of which something may have changed that matters.
func (c *Call) keepIfNew() {
	if k := c.keeping(); k != nil && k.claimed {
		k.writeIfNew(c)
	}
}

// Changed has the state of the call written again: Kept.Record or Config.Owed say
// something else. It may be called from any goroutine, and returns at once.
func (c *Call) Changed() {
	if c.sw.cfg.Keeper == nil {
		return
	}
	if k := c.keeping(); k != nil {
		k.changed.Store(true)
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// sees writes the state where somebody has asked for that by Changed.
func (c *Call) sees() {
	if k := c.keeping(); k != nil && k.changed.Load() {
		k.write(c)
	}
}

// forgotten reports whether other nodes have the call.
func (c *Call) forgotten() bool {
	k := c.keeping()
	return k != nil && k.forgotten.Load()
}

// keepsAside has a leg that another goroutine is to hang up be in the states that follow.
func (c *Call) keepsAside(l *Leg) {
	if k := c.keeping(); k != nil {
		k.putAside(l)
	}
}

// asideOver says that such a leg is hung up.
func (c *Call) asideOver(l *Leg) {
	if k := c.keeping(); k != nil {
		k.asideOver(c, l)
	}
}

// keptFork keeps a further phone that has answered an INVITE of the call, before that is
// acknowledged, until it is hung up.
func (c *Call) keptFork(l *Leg, invite uint32) (over func()) {
	if c == nil || c.keeping() == nil {
		return func() {}
	}
	return c.keeping().fork(c, l, invite)
}

// keptFirst claims an inbound call, before anybody is asked what is to become of it.
func (c *Call) keptFirst(ctx context.Context) error {
	if k := c.keeping(); k != nil {
		return k.claim(ctx, c)
	}
	return nil
}

// waitsForStore reports whether a call that has not been sent waits for the store, and not
// for a hop: the store may be silent for seconds while the lease still holds.
func (c *Call) waitsForStore() bool {
	k := c.keeping()
	return k != nil && (k.claiming.Load() || !c.sw.cfg.Keeper.Holds())
}

// keptBefore has a state committed before a request goes out that a taker must know of.
// An error says that it may not go.
func (c *Call) keptBefore(ctx context.Context, a *attempt, p transport.Path, tx *clientTx, of *dialog) error {
	if k := c.keeping(); k != nil {
		return k.before(ctx, c, a, p, tx, of)
	}
	return nil
}

// keptBeforeRefer has it committed that a REFER is about to go.
func (c *Call) keptBeforeRefer() {
	if k := c.keeping(); k != nil {
		k.beforeRefer(c)
	}
}

// keptBeforeAck has the dialog committed that an ACK completes.
func (c *Call) keptBeforeAck(a *Success) error {
	if k := c.keeping(); k != nil {
		return k.beforeAck(c, a)
	}
	return nil
}

// keptBeforeAnswer has it committed that a 200 of ours is about to go to a phone that
// has called us.
func (c *Call) keptBeforeAnswer(l *Leg, r *wire.Reply) {
	if k := c.keeping(); k != nil {
		k.beforeAnswer(c, l, r)
	}
}

// keptBridge notes that two phones are joined. What it returns ends that.
func (c *Call) keptBridge(talk context.Context, b *bridge) (over func()) {
	if k := c.keeping(); k != nil {
		return k.bridging(talk, b)
	}
	return func() {}
}

// keptChanging keeps that a description is about to be passed on.
func (c *Call) keptChanging(r *forward) {
	if k := c.keeping(); k != nil {
		k.changing(c, r)
	}
}

// keptMove keeps the state of a call that may have another key since a transfer.
func (c *Call) keptMove(from Key) {
	if k := c.keeping(); k != nil {
		k.move(c, from)
	}
}

// keptToTheEnd ends the state when the flow has returned, and keptOver leaves the last
// record when nothing of the call can follow.
func (c *Call) keptToTheEnd() {
	if k := c.keeping(); k != nil {
		k.flowOver(c)
	}
}

func (c *Call) keptOver() {
	if k := c.keeping(); k != nil {
		k.dropAgain(c)
	}
}
