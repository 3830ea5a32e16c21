package event

import (
	"time"

	"sipxrest/sipflow"
)

// foreign is what another node has told of a call of this one.
type foreign struct {
	event *Event
	epoch uint32
}

// ofShared takes what is told of a call that has been another node's, or becomes one's.
func (b *Bus) ofShared(l *live, t *told) {
	switch t.what {
	case toldResumed:
		b.resumed(l, t)
	case toldForeign:
		s := l.shard
		s.mu.Lock()
		f := l.far.news[0] // one was added with each that was told
		l.far.news = l.far.news[1:]
		s.mu.Unlock()
		b.foreign(l, &f)
	case toldDropped:
		b.dropCall(l)
	}
}

// Resume has this node go on with the record of a call that was another node's: what the
// stream has of it stays, and call.moved follows. Of a call that nobody has told of yet
// the event tells, as that of a new one does.
func (b *Bus) Resume(e *sipflow.Event) {
	if e.ID == "" {
		return
	}
	b.resume(e.ID, told{what: toldResumed, at: e.At, sip: copySeen(e)})
}

func (b *Bus) resume(id string, t told) {
	s := b.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.calls[id]
	if l == nil {
		l = b.newLive(id, s)
		s.calls[id] = l
	}
	l.begun = true
	if l.far != nil {
		l.far.mine = true
	}
	t.l = l
	b.enqueue(s, t)
}

// resumed makes call.moved, unless the call is over already.
func (b *Bus) resumed(l *live, t *told) {
	if l.far == nil || l.cur != nil { // of a single node; or it is ours
		if l.cur == nil {
			b.create(l, t.at, t.sip.placed)
		}
		return
	}
	far := l.far
	far.resumed, far.moved, far.own = true, false, far.epoch.Load()+1
	far.landed.Store(false)
	l.own = false
	was := l.pub.Load()
	if was == nil { // the stream may still bring it
		if t.sip != nil {
			b.create(l, t.at, t.sip.placed)
		}
		return
	}
	l.cur, l.at, far.based = was, was.updated, was.Version
	l.inLog = true
	if was.State == Ended {
		return
	}
	b.move(l, t.at)
}

// move tells that the call goes on at this node.
func (b *Bus) move(l *live, at time.Time) {
	l.far.moved = true
	b.emit(l, at, CallMoved, "", &Change{From: l.cur.Node, Node: b.cfg.Node})
}

// foreign takes into account that another node has told of a call of this one. It is
// either one that has lost the call before this node got it: then what is not in the
// stream yet goes behind it. Or it has got the call from this one, which lets go of it.
func (b *Bus) foreign(l *live, f *foreign) {
	far := l.far
	if l.cur == nil || f.event.CallSeq <= far.based {
		return
	}
	if later := far.landed.Load() && f.epoch > far.own; later || !far.resumed && !far.landed.Load() {
		b.dropCall(l)
		return
	}
	b.publish() // what was told in this round is to be found, too
	far.based = f.event.CallSeq
	far.own = max(far.own, f.epoch+1)
	cur := f.event.Data.Call
	s := b.shared
	s.mu.Lock()
	for _, o := range s.out[s.head:] {
		if o == nil || o.done || o.l != l {
			continue
		}
		e := &Event{Type: o.e.Type, Timestamp: o.e.Timestamp, CallSeq: cur.Version + 1, Final: o.e.Final, live: l, size: o.e.size, base: o.e.base,
			Data: Data{CallID: o.e.Data.CallID, Leg: o.e.Data.Leg, Change: o.e.Data.Change}}
		if e.Timestamp.Before(cur.updated.Time) {
			e.Timestamp = cur.updated
		}
		next, err := Apply(cur, e)
		if err != nil { // it is known already, or the call is over
			s.finish(b, o)
			continue
		}
		cur, e.Data.Call = next, next
		if s.names[o.name] == o {
			delete(s.names, o.name)
		}
		o.e, o.name, o.epoch, o.acked, o.data = e, recordName(l.id, e.CallSeq), far.own, false, nil
		o.base = o.base || e.Type == CallMoved
	}
	for _, o := range s.out[s.head:] {
		if o != nil && !o.done && o.l == l {
			s.names[o.name] = o
		}
	}
	s.mu.Unlock()
	l.cur, l.at = cur, cur.updated
	if far.resumed && !far.moved && cur.State != Ended {
		b.move(l, cur.updated.Time) // this node had not known that the call was another's
	}
	poke(s.work)
}

// dropCall lets go of a call: another node tells of it from now on.
func (b *Bus) dropCall(l *live) {
	b.publish()
	s := b.shared
	s.mu.Lock()
	for _, o := range s.out[s.head:] {
		if o != nil && o.l == l {
			s.finish(b, o)
		}
	}
	s.mu.Unlock()
	l.cur = nil
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	l.begun, l.far.mine = false, false
	if l.err == nil {
		l.err = ErrIDInUse // for who waits for call.created, which will not come
	}
	l.kept()
	if l.pub.Load() == nil && l.shard.calls[l.id] == l {
		delete(l.shard.calls, l.id) // nobody has seen it
	}
}

// Disown lets go of all calls of this node without a word: other nodes have them.
func (b *Bus) Disown() {
	if b.shared == nil {
		return
	}
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for _, l := range s.calls {
			if l.begun && l.far.mine {
				l.begun, l.far.mine = false, false
				b.enqueue(s, told{l: l, what: toldDropped})
			}
		}
		s.mu.Unlock()
	}
}
