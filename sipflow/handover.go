package sipflow

import (
	"context"
	"errors"
	"sync"
	"time"

	"sipxrest/sipflow/wire"
)

const (
	// handOvers is how many calls are given away at a time: each waits for the store
	// and for the other node.
	handOvers = 16
	// handOverPause is between two rounds over the calls that could not be given away
	// yet: a phone changes its session, or no other node takes calls.
	handOverPause = 250 * time.Millisecond
	// handOverTime bounds how long one call is held up for it.
	handOverTime = 6 * time.Second
)

// errUnsettled means that a call is in the middle of something that no other node can
// go on with.
var errUnsettled = errors.New("something of the call is under way")

// Forget ends all calls without a word to anybody: other nodes have them. Observers are
// told of one end of each, whose error is ErrForgotten, so that they forget it, too. It
// returns at once; the calls' goroutines end by themselves.
func (sw *Switchboard) Forget() {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	for _, c := range sw.ids {
		c.forget()
	}
	for _, c := range sw.calls { // those without an id
		c.forget()
	}
}

// forget has nothing be sent any more for the call, and ends it.
func (c *Call) forget() {
	if k := c.keeping(); k != nil && !k.forgotten.Swap(true) {
		c.stop(ErrForgotten)
	}
}

// HandOver gives calls whose phones are joined to other nodes: it is for one that is
// about to end. give is called in the call's goroutine and returns once another node
// has the call, which is forgotten here then; after an error the call goes on, and is
// tried again. What cannot be given away ends as it would without.
//
// It returns how many calls went, when ctx ends or there are none any more.
func (sw *Switchboard) HandOver(ctx context.Context, give func(ctx context.Context, id string, state []byte) error) (moved int) {
	var mu sync.Mutex
	for sw.Active() > 0 {
		var round sync.WaitGroup
		slots := make(chan struct{}, handOvers)
		for _, c := range sw.joinedCalls() {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				round.Wait()
				return moved
			}
			round.Go(func() {
				defer func() { <-slots }()
				if c.giveAway(ctx, give) == nil {
					mu.Lock()
					moved++
					mu.Unlock()
				}
			})
		}
		round.Wait()
		pause := time.NewTimer(handOverPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return moved
		case <-pause.C:
		}
	}
	return moved
}

// joinedCalls are those whose phones are joined.
func (sw *Switchboard) joinedCalls() []*Call {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	calls := make([]*Call, 0, len(sw.bridges))
	for c := range sw.bridges {
		calls = append(calls, c)
	}
	return calls
}

// giveAway gives a call to another node.
func (c *Call) giveAway(ctx context.Context, give func(ctx context.Context, id string, state []byte) error) error {
	return c.command(ctx, func(_ context.Context, b *bridge, reply chan<- error) error {
		err := b.giveAway(ctx, give)
		reply <- err
		if err == nil {
			return ErrForgotten
		}
		return nil
	})
}

// giveAway runs in the call's goroutine: nothing of the call changes meanwhile.
func (b *bridge) giveAway(ctx context.Context, give func(ctx context.Context, id string, state []byte) error) error {
	c := b.call
	k := c.keeping()
	if k == nil || !k.claimed || !b.settled() {
		return errUnsettled
	}
	ctx, stop := context.WithTimeout(ctx, handOverTime)
	defer stop()
	if err := give(ctx, c.Spec.ID, k.newest(c)); err != nil {
		return err
	}
	// What the phones have asked meanwhile the other node does not know of. They ask it
	// again (RFC 3261 §14.1): it tells them right now where it is.
	for _, l := range b.legs() {
		for _, in := range l.peer.waiting() {
			if in.method == "INVITE" {
				in.respond(wire.Reply{Code: 491})
			} else {
				in.respond(wire.Reply{Code: 500, Header: "Retry-After: 1\r\n"})
			}
		}
	}
	k.forgotten.Store(true)
	return nil
}

// settled reports whether another node can go on with the bridge from its state: no
// request of the phones, or of ours, waits for its response.
func (b *bridge) settled() bool {
	if b.transfer != nil || b.parked != nil || len(b.relays) > 0 {
		return false
	}
	k := b.call.keeping()
	k.mu.Lock()
	asides := len(k.asides)
	k.mu.Unlock()
	if asides > 0 || k.bridge != b {
		return false
	}
	for _, l := range b.legs() {
		if len(l.errands) > 0 || !l.peer.mayOffer() || len(l.peer.waiting()) > 0 {
			return false
		}
	}
	return true
}

// newest is the state as it is now.
func (k *keptCall) newest(c *Call) []byte {
	s := c.state()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = s
	return k.encoded()
}
