package sipflow

import (
	"context"
	"fmt"
	"time"
)

// Adopted is a call that another node had, which cannot go on with it.
type Adopted struct {
	ID    string
	State []byte // as its node has kept it last, see Keeper
	Epoch uint32 // how many nodes have taken it over, this one included
	Keep  bool   // go on with it, where that is possible; else it is hung up
}

// takeoverJump is how far the numbers of our requests rise with each node. A node that
// stood still and comes back is behind that: phones refuse what it sends (RFC 3261
// §12.2.2). Numbers may have gaps.
const takeoverJump = 1000

// maxEpoch bounds how far they rise at all: they end at 2^31 (RFC 3261 §8.1.1.5).
const maxEpoch = 1 << 20

// Adopt goes on with a call that another node had, or hangs it up. It returns when the
// call has begun here. done is called once, from the call's goroutine: with what came of
// it, as soon as its phones are this node's or hung up.
//
// After an error nothing is sent, nothing is left of the call, and done is not called.
// ErrIDInUse means that the call is here already. Who takes a call over never calls
// anybody and never refers anybody: an INVITE or REFER of the other node may be out.
func (sw *Switchboard) Adopt(ctx context.Context, a Adopted, done func(result string, err error)) error {
	failed := func(err error) error { return fmt.Errorf("adopt %s: %w", a.ID, err) }
	if err := context.Cause(ctx); err != nil {
		return failed(err)
	}
	s, err := decodeState(a.State)
	switch {
	case err != nil:
		return failed(err)
	case s.id != a.ID:
		return failed(fmt.Errorf("%w: it is of %q", errBadState, s.id))
	}
	if done == nil {
		done = func(string, error) {}
	}
	t := &takeover{sw: sw, state: s, keep: a.Keep && s.known, jump: takeoverJump * min(a.Epoch, maxEpoch), done: done}
	if err := t.restore(); err != nil {
		return failed(err)
	}
	c := t.call
	callCtx, stop := context.WithCancelCause(context.Background())
	c.stop = stop
	t.life(callCtx)
	if err := sw.takeOver(t); err != nil {
		stop(err)
		t.forget()
		return failed(err)
	}
	go sw.run(callCtx, c, nil, t.run)
	return nil
}

// takeOver enters a call that has been one of another node's, and tells the observers of
// it. Limits do not refuse it, and it is counted.
func (sw *Switchboard) takeOver(t *takeover) error {
	c := t.call
	sw.mu.Lock()
	defer sw.mu.Unlock()
	switch {
	case sw.draining:
		return ErrDraining
	case c.Spec.ID != "" && sw.ids[c.Spec.ID] != nil:
		return ErrIDInUse
	}
	if err := t.enter(); err != nil {
		return err
	}
	if sw.calls[c.Key] == nil { // else it is found by its id only
		sw.calls[c.Key] = c
	}
	if c.Spec.ID != "" {
		sw.ids[c.Spec.ID] = c
	}
	sw.limits.count(c)
	sw.active++
	sw.flows.Add(1)
	t.resumed()
	return nil
}

// run is the call's flow.
func (t *takeover) run(ctx context.Context, c *Call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			t.told(TakenLost, ErrInternal)
			panic(p)
		}
	}()
	if t.keep {
		switch t.state.step {
		case stepBridged, stepTransferring:
			return t.goOn(ctx)
		case stepReferred:
			return t.followRefer(ctx)
		case stepMedia:
			if t.hasMedia() {
				return t.converse(ctx)
			}
		}
	}
	err = t.hangUp(ctx, ErrNodeLost)
	t.over(err)
	return err
}

// resumed tells the observers of all calls of one that has been another node's: that it
// is here, and how far it is. Who knows that already hears nothing new.
func (t *takeover) resumed() {
	c := t.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.record; r != nil {
		var legs []LegReport
		for _, l := range r.legs { // not by their numbers, which a damaged state may have twice or not at all
			if l.state != legEnded {
				legs = append(legs, l.report)
			}
		}
		c.tellAll(&Event{Kind: Resumed, At: time.Now(), Spec: &c.Spec, Legs: legs, Again: true})
		r.retell()
		for _, l := range t.legs {
			l.restates()
		}
		if x := t.state.transfer; x != nil {
			report := x.report
			c.tellAll(&Event{Kind: TransferChanged, At: time.Now(), Transfer: &report, Again: true})
		}
	}
}
