package sipflow

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"time"

	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

const (
	// commitTime bounds how long an ACK waits for the store: the phone repeats its 2xx
	// meanwhile, and gives up after 32 s.
	commitTime = 5 * time.Second
	// maxUnkept is how far the numbers of a leg's requests may go on before its state is
	// written for that: who takes the call over begins 1000 later.
	maxUnkept = 500
	// maxState bounds a state. One that is longer is cut to its first part.
	maxState = 60 << 10
)

// write keeps the state as it is now. It runs in the call's goroutine.
//
//go:noinline
func (k *keptCall) write(c *Call) {
	if k.claimed {
		k.changed.Store(false)
		k.keepState(c, c.state(), c.Spec.ID)
	}
}

// writeIfNew is write where the state is another one than before.
//
//go:noinline
func (k *keptCall) writeIfNew(c *Call) {
	k.changed.Store(false)
	s := c.state()
	if k.sumOf(c, s) != k.sum {
		k.keepState(c, s, c.Spec.ID)
	}
}

// keepState hands a state of the call over.
func (k *keptCall) keepState(c *Call, s *callState, id string) {
	k.sum = k.sumOf(c, s)
	k.noteWritten(c)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = s
	k.handOver(c, id)
}

// handOver has the last state kept. k.mu is held.
func (k *keptCall) handOver(c *Call, id string) {
	if !k.dropped && !k.forgotten.Load() {
		k.committed = c.sw.cfg.Keeper.Keep(id, k.encoded())
	}
}

// encoded is the last state with the legs on the side. k.mu is held.
func (k *keptCall) encoded() []byte {
	if len(k.asides) == 0 {
		return k.last.bounded()
	}
	s := *k.last
	if s.legs = slices.Clone(s.legs); k.over {
		s.legs, s.class, s.step = nil, classOther, stepEnding
	}
	for l, aside := range k.asides {
		if l.call != k.call && l.moved.Load() == nil { // a fork has the tag of another leg
			continue
		}
		s.legs = slices.DeleteFunc(s.legs, func(o keptLeg) bool { return o.id == aside.id })
	}
	for _, aside := range k.asides {
		s.legs = append(s.legs, aside)
	}
	return s.bounded()
}

// bounded is the state's encoding, of the first part alone where it would be too long.
func (s *callState) bounded() []byte {
	b := s.encode(make([]byte, 0, 1024))
	if len(b) <= maxState {
		return b
	}
	w := stateWriter{b: b[:0]}
	w.head(s)
	w.byte(0) // no version of the second part
	return w.b
}

// sumOf tells states apart by what is worth a write.
func (k *keptCall) sumOf(c *Call, s *callState) uint64 {
	w := stateWriter{b: make([]byte, 0, 1024), steady: true}
	w.state(s)
	return maphash.Bytes(c.sw.seed, w.b)
}

// noteWritten notes for the legs that the newest state has them.
func (k *keptCall) noteWritten(c *Call) {
	for _, l := range c.legs {
		if l.kept != nil {
			l.kept.written = l.next != ""
		}
	}
}

// wait returns when the newest state is committed, or ctx ends, whose cause is then the
// error.
//
//go:noinline
func (k *keptCall) wait(ctx context.Context) error {
	k.mu.Lock()
	committed := k.committed
	k.mu.Unlock()
	if committed == nil {
		return context.Cause(ctx)
	}
	select {
	case <-committed:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// waitLong is wait for at most commitTime: what follows must go out in the end.
func (k *keptCall) waitLong() {
	ctx, stop := context.WithTimeout(context.Background(), commitTime)
	defer stop()
	k.wait(ctx) //nolint:errcheck // then it goes on without
}

// before has a state committed before a request goes out that a taker must know of:
// with the first one of the call its key is claimed. An error says that it may not go.
//
//go:noinline
func (k *keptCall) before(ctx context.Context, c *Call, a *attempt, p transport.Path, tx *clientTx, of *dialog) error {
	l := a.leg
	switch {
	case l.gone:
		return nil
	case k.forgotten.Load():
		return ErrForgotten
	case !a.beginsLeg():
		if l.cseq-l.kept.cseq > maxUnkept {
			k.write(c)
		}
		return nil
	}
	network, host := p.Link.Local()
	l.kept.invite = &inviteState{branch: tx.id, via: network + " " + host, uri: of.target, routes: of.routes, to: of.remote, seq: tx.seq,
		hop: hopOf(p)}
	if l.kept.invite.hop.Name == "" {
		l.kept.invite.hop.Name = a.hop.Name
	}
	if k.claimed {
		k.write(c)
		return k.wait(ctx)
	}
	return k.claim(ctx, c)
}

// claim commits the first state of the call, and its key.
func (k *keptCall) claim(ctx context.Context, c *Call) error {
	s := c.state()
	k.mu.Lock()
	k.last = s
	state := k.encoded()
	k.mu.Unlock()
	k.sum = k.sumOf(c, s)
	k.noteWritten(c)
	k.claiming.Store(true)
	if err := c.sw.cfg.Keeper.Claim(ctx, c.Holds(), c.Spec.ID, state); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // no other hop has the store sooner
			return ErrNotOwner
		}
		return err
	}
	k.claimed = true
	k.claiming.Store(false)
	return context.Cause(ctx)
}

// beforeAck has the dialog committed that an ACK completes, before that goes out: without
// it the phone would be up alone, should this node die.
//
//go:noinline
func (k *keptCall) beforeAck(c *Call, a *Success) error {
	l := a.leg
	switch {
	case k.forgotten.Load():
		return ErrForgotten
	case a.tx.inside:
		return nil
	case l.gone:
		k.setAside(c, l)
	case !l.kept.written:
		if k.step == stepSecond && len(c.legs) > 0 && l != c.legs[0] {
			k.step = stepJoining
		}
		k.write(c)
	}
	k.waitLong()
	if k.forgotten.Load() {
		return ErrForgotten
	}
	return nil
}

// putAside has a leg that another goroutine is to hang up be in the states that follow. It
// is false where there is nothing to be done about the leg.
func (k *keptCall) putAside(l *Leg) bool {
	kept, ok := l.keptAs(seatAside)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !ok || k.last == nil {
		return false
	}
	if k.asides == nil {
		k.asides = map[*Leg]keptLeg{}
	}
	k.asides[l] = kept
	return true
}

// setAside keeps such a leg as it is by now. It runs in the goroutine that hangs it up.
func (k *keptCall) setAside(c *Call, l *Leg) {
	if k.putAside(l) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.handOver(c, c.Spec.ID)
	}
}

// asideOver forgets such a leg.
func (k *keptCall) asideOver(c *Call, l *Leg) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.asides[l]; !ok {
		return
	}
	delete(k.asides, l)
	if k.over && len(k.asides) == 0 {
		k.drop(c)
	} else {
		k.handOver(c, c.Spec.ID)
	}
}

// flowOver ends the state when the flow has returned and its BYEs have been answered.
// What is still hung up on the side keeps it.
func (k *keptCall) flowOver(c *Call) {
	if !k.claimed {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over = true; len(k.asides) == 0 {
		k.drop(c)
	} else {
		k.handOver(c, c.Spec.ID)
	}
}

// drop ends the state and leaves the record. k.mu is held.
func (k *keptCall) drop(c *Call) {
	k.dropped = true
	if !k.forgotten.Load() {
		c.sw.cfg.Keeper.Drop(c.Spec.ID, c.finalRecord(), c.recordTime())
	}
}

// dropAgain leaves a newer record, when the last NOTIFY of a call that is over has come.
func (k *keptCall) dropAgain(c *Call) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dropped {
		k.drop(c)
	}
}

// keepRecords is for how long records of calls that are over are read.
const keepRecords = 3 * time.Minute

// recordTime is for how long the call's is.
func (c *Call) recordTime() time.Duration {
	if kept := c.Spec.Kept; kept != nil && kept.Time > 0 {
		return kept.Time
	}
	return cmp.Or(c.sw.cfg.KeepRecords, keepRecords)
}

// finalRecord is what is read of the call when it is over.
func (c *Call) finalRecord() []byte {
	if kept := c.Spec.Kept; kept != nil && kept.Record != nil {
		return kept.Record(nil)
	}
	return nil
}

// fork keeps a further phone that has answered an INVITE of the call, before that
// is acknowledged, until it is hung up. It runs in the goroutine that does both.
func (k *keptCall) fork(c *Call, l *Leg, invite uint32) (over func()) {
	l.kept = &legKeeping{invite: &inviteState{seq: invite}}
	k.setAside(c, l)
	k.waitLong()
	return func() { k.asideOver(c, l) }
}

// beforeRefer has it committed that a REFER is about to go, so that nobody sends it
// a second time.
func (k *keptCall) beforeRefer(c *Call) {
	if k.step != stepReferNext {
		k.step = stepReferNext
		k.write(c)
		k.waitLong()
	}
}

// beforeAnswer has it committed that a 200 of ours is about to go: the dialogs that it
// joins, and itself, which another node may have to say again.
func (k *keptCall) beforeAnswer(c *Call, l *Leg, r *wire.Reply) {
	l.kept.accepting, l.kept.header, l.kept.body = true, r.Header, r.Body
	k.write(c)
	k.waitLong()
}

// bridging notes that two phones are joined. What it returns ends that.
func (k *keptCall) bridging(talk context.Context, b *bridge) (over func()) {
	k.bridge = b
	k.talkUntil, _ = talk.Deadline()
	return func() { k.bridge, k.step = nil, stepEnding }
}

// changing keeps that a description is about to be passed on.
func (k *keptCall) changing(c *Call, r *forward) {
	k.sending = r
	k.writeIfNew(c)
	k.sending = nil
}

// move keeps the state of a call that may have another key since a transfer.
func (k *keptCall) move(c *Call, from Key) {
	to := c.Holds()
	if to == from {
		return
	}
	s := c.state()
	k.sum = k.sumOf(c, s)
	k.noteWritten(c)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = s
	if !k.dropped && !k.forgotten.Load() {
		c.sw.cfg.Keeper.Move(c.Spec.ID, from, to, k.encoded())
	}
}
