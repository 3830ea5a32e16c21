package fakeengine

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/cluster"
)

// An Engine is one node's connection to the store.
type Engine struct {
	s    *Store
	node string

	// Guarded by Store.mu.
	watches []*watch
	answers []*answer
	deaf    bool          // it hears nothing of what it watches
	out     bool          // what the node sends is lost
	in      bool          // what is sent to the node is lost
	delay   time.Duration // of each message to the store
	lostAck float64       // how many answers are lost
	lostPut float64       // how many messages without an answer are lost
	cutIn   int           // after so many messages the node is cut off; 0: it is not
	loseIn  int           // so many messages from now one has no answer; 0: none

	sends  chan func()
	hears  chan func()
	closed chan struct{}
	going  sync.WaitGroup
}

type watch struct {
	subject string
	f       func(string, []byte)
	stopped atomic.Bool
}

type answer struct {
	subject string
	f       func([]byte, func([]byte))
	stopped atomic.Bool
}

// Node returns a connection of a node.
func (s *Store) Node(name string) *Engine {
	e := &Engine{s: s, node: name, sends: make(chan func(), 1<<16), hears: make(chan func(), 1<<16), closed: make(chan struct{})}
	s.mu.Lock()
	s.engines = append(s.engines, e)
	s.mu.Unlock()
	for _, queue := range []chan func(){e.sends, e.hears} {
		e.going.Go(func() {
			for {
				select {
				case f := <-queue:
					f()
				case <-e.closed:
					return
				}
			}
		})
	}
	return e
}

// Close ends the connection.
func (e *Engine) Close() error {
	e.s.mu.Lock()
	e.s.engines = slices.DeleteFunc(e.s.engines, func(x *Engine) bool { return x == e })
	select {
	case <-e.closed:
	default:
		close(e.closed)
	}
	e.s.mu.Unlock()
	e.going.Wait()
	return nil
}

// Cut loses what the node sends, what is sent to it, or both.
func (e *Engine) Cut(out, in bool) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.out, e.in = out, in
}

// Deaf loses what the node would hear unasked.
func (e *Engine) Deaf(deaf bool) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.deaf = deaf
}

// Slow has each message of the node take so long, one after the other.
func (e *Engine) Slow(d time.Duration) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.delay = d
}

// LoseAnswers has that many of the answers be lost, though what was asked is done, and that many of the messages that have none.
func (e *Engine) LoseAnswers(answers, puts float64) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.lostAck, e.lostPut = answers, puts
}

// CutAfter has the node be cut off, both ways, when so many more of its messages have got to the store. The last one is not answered.
func (e *Engine) CutAfter(messages int) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.cutIn = messages
}

// LoseAnswer has one answer be lost, to the message that comes so many after now.
func (e *Engine) LoseAnswer(messages int) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.loseIn = messages
}

// send does something at the store when the message has got there. It reports whether it was sent.
func (e *Engine) send(f func()) bool {
	select {
	case e.sends <- func() {
		e.s.mu.Lock()
		d := e.delay
		e.s.mu.Unlock()
		if d > 0 {
			select {
			case <-time.After(d):
			case <-e.closed:
				return
			}
		}
		e.s.mu.Lock()
		defer e.s.mu.Unlock()
		if e.out || e.s.away {
			return
		}
		if e.cutIn > 0 {
			if e.cutIn--; e.cutIn == 0 {
				e.in = true
				defer func() { e.out = true }()
			}
		}
		in := e.in
		if e.loseIn > 0 {
			if e.loseIn--; e.loseIn == 0 {
				e.in = true
				defer func() { e.in = in }()
			}
		}
		f()
	}:
		return true
	case <-e.closed:
	default:
	}
	return false
}

// deliver calls f in the goroutine that hears. The caller holds Store.mu.
func (e *Engine) deliver(f func(), stopped *atomic.Bool) {
	if e.in || e.s.away {
		return
	}
	select {
	case e.hears <- func() {
		if !stopped.Load() {
			f()
		}
	}:
	default: // a reader that is too slow loses messages
	}
}

// acked calls f, unless the answer is lost. The caller holds Store.mu.
func (e *Engine) acked(f func()) {
	if !e.in && e.s.rand.Float64() >= e.lostAck {
		f()
	}
}

type result[T any] struct {
	value T
	err   error
}

// ask has f done at the store and waits for its result.
func ask[T any](ctx context.Context, e *Engine, needsLeader bool, f func() (T, error)) (T, error) {
	back := make(chan result[T], 1)
	sent := e.send(func() {
		if needsLeader && e.s.down() {
			return
		}
		value, err := f()
		e.acked(func() { back <- result[T]{value, err} })
	})
	var none T
	if !sent {
		return none, ErrAway
	}
	select {
	case r := <-back:
		return r.value, r.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case <-e.closed:
		return none, ErrAway
	}
}

func (e *Engine) Ensure(ctx context.Context, s cluster.Stream) error {
	_, err := ask(ctx, e, true, func() (struct{}, error) {
		if e.s.streams[s.Name] == nil {
			e.s.streams[s.Name] = &stream{Stream: s, last: map[string]stored{}}
		}
		return struct{}{}, nil
	})
	return err
}

func (e *Engine) Delete(ctx context.Context, name string) error {
	_, err := ask(ctx, e, true, func() (struct{}, error) {
		delete(e.s.streams, name)
		return struct{}{}, nil
	})
	return err
}

func (e *Engine) Put(name, subject string, data []byte) error {
	data = slices.Clone(data)
	if !e.send(func() {
		if e.s.rand.Float64() < e.lostPut {
			return
		}
		e.s.publish(subject, data)
		if !e.s.down() {
			_, _ = e.s.commit(e.node, name, []cluster.Write{{Subject: subject, Data: data}}, nil)
		}
	}) {
		return ErrAway
	}
	return nil
}

func (e *Engine) Commit(ctx context.Context, name string, batch []cluster.Write, conds ...cluster.Cond) (uint64, error) {
	batch = slices.Clone(batch)
	for i := range batch {
		batch[i].Data = slices.Clone(batch[i].Data)
	}
	conds = slices.Clone(conds)
	back := make(chan result[uint64], 1)
	if !e.send(func() {
		for _, w := range batch {
			e.s.publish(w.Subject, w.Data)
		}
		if e.s.down() {
			return
		}
		seq, err := e.s.commit(e.node, name, batch, conds)
		e.acked(func() { back <- result[uint64]{seq, err} })
	}) {
		return 0, ErrAway
	}
	select {
	case r := <-back:
		return r.value, r.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-e.closed:
		return 0, ErrAway
	}
}

func (e *Engine) Last(ctx context.Context, name, subject string) (cluster.Entry, error) {
	return ask(ctx, e, true, func() (cluster.Entry, error) {
		st := e.s.streams[name]
		if st == nil {
			return cluster.Entry{}, cluster.ErrNoStream
		}
		at, ok := st.get(subject)
		if !ok {
			return cluster.Entry{}, cluster.ErrNone
		}
		return at.Entry, nil
	})
}

func (e *Engine) Sweep(ctx context.Context, name, filter string, each func(cluster.Entry)) (int, error) {
	type found struct {
		all   []cluster.Entry
		count int
	}
	got, err := ask(ctx, e, true, func() (f found, err error) {
		st := e.s.streams[name]
		if st == nil {
			return f, cluster.ErrNoStream
		}
		st.expire()
		for subject, at := range st.last {
			if !match(filter, subject) {
				continue
			}
			if f.count++; e.s.rand.Float64() >= e.s.missing {
				f.all = append(f.all, at.Entry)
			}
		}
		slices.SortFunc(f.all, func(a, b cluster.Entry) int { return int(a.Seq) - int(b.Seq) })
		return f, nil
	})
	for _, at := range got.all {
		each(at)
	}
	return got.count, err
}

func (e *Engine) Ask(ctx context.Context, subject string, data []byte) ([]byte, error) {
	data = slices.Clone(data)
	back := make(chan result[[]byte], 1)
	if !e.send(func() {
		for _, other := range e.s.engines {
			for _, a := range other.answers {
				if a.subject != subject || other.in {
					continue
				}
				other.deliver(func() {
					a.f(data, func(out []byte) {
						out = slices.Clone(out)
						other.send(func() { e.acked(func() { back <- result[[]byte]{out, nil} }) })
					})
				}, &a.stopped)
				return
			}
		}
		e.acked(func() { back <- result[[]byte]{nil, cluster.ErrNobody} })
	}) {
		return nil, ErrAway
	}
	select {
	case r := <-back:
		return r.value, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-e.closed:
		return nil, ErrAway
	}
}

func (e *Engine) Answer(subject string, f func(data []byte, reply func([]byte))) (stop func()) {
	a := &answer{subject: subject, f: f}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.answers = append(e.answers, a)
	return func() {
		a.stopped.Store(true)
		e.s.mu.Lock()
		defer e.s.mu.Unlock()
		e.answers = slices.DeleteFunc(e.answers, func(x *answer) bool { return x == a })
	}
}

func (e *Engine) Tell(subject string, data []byte) error {
	data = slices.Clone(data)
	if !e.send(func() { e.s.publish(subject, data) }) {
		return ErrAway
	}
	return nil
}

func (e *Engine) Watch(subject string, f func(subject string, data []byte)) (stop func()) {
	w := &watch{subject: subject, f: f}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.watches = append(e.watches, w)
	return func() {
		w.stopped.Store(true)
		e.s.mu.Lock()
		defer e.s.mu.Unlock()
		e.watches = slices.DeleteFunc(e.watches, func(x *watch) bool { return x == w })
	}
}
