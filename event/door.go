package event

import (
	"context"
	"errors"
	"time"

	"sipxrest/sipflow"
)

// Request announces a call.
type Request struct {
	ID      string
	Created Created
	// Key is kept with call.created, in one transaction.
	Key *IdempotencyKey
	// Own says that the door tells the end of the call, by Tell: that of its sipflow
	// call is not the end of all.
	Own bool
	// Fresh says that no call has had this id before: it was made here. The log is not
	// asked then, so that nobody waits for it.
	Fresh bool
	// FirstLeg is how many legs of the door's own come before those of sipflow's call.
	FirstLeg int
}

// Errors of requests.
var (
	ErrIDInUse  = errors.New("another call has this id")
	ErrKeyInUse = errors.New("the idempotency key was used before")
)

// KeyInUseError is ErrKeyInUse with what it was used for.
type KeyInUseError struct{ KeyUse }

func (e *KeyInUseError) Error() string { return ErrKeyInUse.Error() + " for " + e.CallID }

// Is reports whether the target is ErrKeyInUse.
func (e *KeyInUseError) Is(target error) bool { return target == ErrKeyInUse }

// Expect announces a call that is about to be placed: call.created comes when sipflow
// says so, unless Forget comes first. It returns a *KeyInUseError, ErrIDInUse, or a
// *StoreError for calls of the API while the log cannot keep up.
func (b *Bus) Expect(r Request) error {
	_, err := b.announce(r)
	return err
}

// Begin is Expect for a call that begins now, whether or not sipflow has one for it.
func (b *Bus) Begin(r Request) error {
	l, err := b.announce(r)
	if err != nil {
		return err
	}
	s := l.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	l.begun = true
	b.put(s, told{l: l, what: toldBegin, at: b.cfg.Now()})
	return nil
}

// announce takes the id and the key of a request.
func (b *Bus) announce(r Request) (*live, error) {
	if r.ID == "" {
		return nil, errors.New("a call needs an id")
	}
	if r.Created.Source == FromAPI {
		if err := b.behind(); err != nil {
			return nil, err
		}
	}
	s := b.shard(r.ID)
	l := b.newLive(r.ID, s)
	l.req = &r
	s.mu.Lock()
	taken := s.calls[r.ID] != nil
	if !taken {
		s.calls[r.ID] = l
	}
	s.mu.Unlock()
	if taken {
		// Its key tells a repetition from another call with the same id.
		if r.Key != nil {
			if use, ok, err := b.keyOf(r.Key.Principal, r.Key.Key); err == nil && ok {
				return nil, &KeyInUseError{*use}
			}
		}
		return nil, ErrIDInUse
	}
	err := b.takeKey(&r)
	if err == nil && !r.Fresh {
		var old *StoredCall
		if old, err = b.store.Call(r.ID); err == nil && old != nil {
			b.dropKey(&r)
			err = ErrIDInUse
		}
	}
	if err != nil {
		s.mu.Lock()
		delete(s.calls, r.ID)
		s.mu.Unlock()
		return nil, err
	}
	return l, nil
}

// Forget says that nothing came of a call that was announced: nobody was called. Its
// key is free again. A call that has begun is not undone by it.
func (b *Bus) Forget(id string) {
	s := b.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.calls[id]
	if l == nil || l.req == nil {
		return
	}
	b.dropKey(l.req)
	if !l.begun {
		delete(s.calls, id)
		l.err = context.Canceled
		l.kept()
	}
}

// Tell says what a door knows of its call: what happened, to which leg, and what it
// changes. An End, or a LegEnd, needs a Reason only: the rest follows from it. Legs
// and transfers that are not over are ended before call.ended. What is told of a call
// that has ended, or is unknown, is dropped and counted.
func (b *Bus) Tell(id string, t Type, leg string, c Change) {
	s := b.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.calls[id]
	if l == nil || !l.begun {
		b.stats.late.Add(1)
		return
	}
	b.put(s, told{l: l, what: toldChange, at: b.cfg.Now(), typ: t, leg: leg, change: &c})
}

// Announce tells of something that is no call's: webhook.*, system.draining.
func (b *Bus) Announce(t Type, c Change) {
	s := &b.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	b.put(s, told{what: toldSystem, at: b.cfg.Now(), typ: t, change: &c})
}

// SetActor says by whose request a call is about to end.
func (b *Bus) SetActor(id string, a Actor) {
	s := b.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.calls[id]; l != nil {
		l.actor = &a
	}
}

// SetReason says why the service is about to end a call, where sipflow cannot know: one of
// End.Reason. It holds for an end by the service alone, of the call and of its caller.
func (b *Bus) SetReason(id, reason string) {
	s := b.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.calls[id]; l != nil {
		l.reason = reason
	}
}

// reasonToo is the reason that a door has said for an end by the service, else the given
// one. A caller that is refused and hung up has not ended the call himself.
func (l *live) reasonToo(k *sipflow.Cause, reason, by string) (string, string) {
	if by != "service" && !k.Synthesized {
		return reason, by
	}
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if l.reason != "" {
		return l.reason, "service"
	}
	return reason, by
}

// commitWait is how long the creation of a call waits for the log.
const commitWait = 250 * time.Millisecond

// Committed waits until call.created, and the key, of a call is kept: at most 250 ms.
// It returns a *StoreError when it is not. The call must have been announced.
func (b *Bus) Committed(ctx context.Context, id string) error {
	l := b.find(id)
	if l == nil {
		if old, err := b.store.Call(id); err != nil {
			return &StoreError{Store: b.cfg.Store, Err: err}
		} else if old != nil {
			return nil
		}
		return &StoreError{Store: b.cfg.Store, Err: errQueue} // its beginning was one event too many
	}
	timer := time.NewTimer(commitWait)
	defer timer.Stop()
	select {
	case <-l.stored:
		return l.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		if err := b.failing.Load(); err != nil {
			return err
		}
		return &StoreError{Store: b.cfg.Store, Behind: commitWait}
	}
}

// ErrNoCall says that no call has this id.
var ErrNoCall = errors.New("there is no such call")

// told is one thing that was told, until the sequencer has it.
type told struct {
	l      *live
	what   toldKind
	at     time.Time
	typ    Type
	leg    string
	change *Change
	sip    *seen
}

type toldKind uint8

const (
	toldSIP toldKind = iota
	toldBegin
	toldChange
	toldSystem
	// In a cluster only.
	toldResumed // the call goes on at this node
	toldForeign // another node has told of it
	toldDropped // it is another node's now
)

// toldSize is what one of them takes in memory, about.
const toldSize = 1 << 9

// put adds to a shard's queue, whose lock is held. Beyond the bound only ends of calls
// are taken, of which there are not more than calls: the fold ends what is open then.
func (b *Bus) put(s *shard, t told) {
	end := t.what == toldChange && t.typ == CallEnded || t.what == toldSIP && t.sip.kind == sipflow.Ended
	if b.queued.Load() > b.cfg.QueueBytes && !end {
		b.stats.untold.Add(1)
		if t.what == toldBegin || t.what == toldSIP && t.sip.kind == sipflow.Placed {
			delete(s.calls, t.l.id)
			if t.l.req != nil { // nothing will come of it: its key is free
				b.dropKey(t.l.req)
			}
			t.l.err = &StoreError{Store: b.cfg.Store, Err: errQueue}
			t.l.kept()
		}
		return
	}
	b.enqueue(s, t)
}

// enqueue is put without a bound.
func (b *Bus) enqueue(s *shard, t told) {
	b.queued.Add(toldSize)
	s.queue = append(s.queue, t)
	poke(b.wake)
}

var errQueue = errors.New("too many events wait")
