package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

const (
	// nodeAge is how long the entry of a node stays that renews it no more.
	nodeAge = 24 * time.Hour
	// numberAge is how long a number belongs to a name.
	numberAge = 48 * time.Hour
	// maxNumber is the highest number of a node: twelve bits of a tag.
	maxNumber = 4095
	// joinPause is how long a node waits before it asks a store again that does not answer.
	joinPause = time.Second
)

func (n *Node) nodeStream() Stream {
	p := string(n.names)
	return Stream{Name: n.names.nodes(), Subjects: []string{p + ".node.*", p + ".number.*", p + ".dead.*.*", p + ".secret"},
		MaxAge: 3 * nodeAge, Replicas: n.cfg.Replicas}
}

func (n *Node) keyStream() Stream {
	p := string(n.names)
	return Stream{Name: n.names.keys(), Subjects: []string{p + ".key.*", p + ".id.*", p + ".rec.*"}, MaxAge: nodeAge,
		Replicas: n.cfg.Replicas}
}

func (n *Node) callStream(w who) Stream {
	return Stream{Name: n.names.stream(w), Subjects: []string{n.names.calls(w) + ".>"}, MaxAge: nodeAge, Replicas: n.cfg.Replicas, Own: true}
}

// join makes this node one of the cluster. It asks until the store answers; an error is a *NameTakenError, or that ctx has ended.
func (n *Node) join(ctx context.Context) (*life, error) {
	l := n.newLife()
	for said := false; ; {
		err := n.tryJoin(ctx, l)
		if err == nil {
			return l, nil
		}
		if errors.Is(err, errFenced) {
			l = n.newLife()
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if taken := (*NameTakenError)(nil); errors.As(err, &taken) {
			n.unmake(l)
			return nil, err
		}
		if !said {
			said = true
			n.log.Warn("cluster: this node has not joined yet", "error", err)
		}
		if !sleep(ctx, joinPause) {
			return nil, context.Cause(ctx)
		}
	}
}

// newLife returns an incarnation that is to join.
func (n *Node) newLife() *life {
	e := newIncarnation()
	n.next.Store(&e)
	l := &life{who: who{n.cfg.Node, e}}
	l.stream, l.fence, l.tickSubject = n.names.stream(l.who), n.names.fence(l.who), n.names.tick(l.who)
	return l
}

// tryJoin may be repeated: what of it is done already is no obstacle.
func (n *Node) tryJoin(ctx context.Context, l *life) error {
	for _, s := range []Stream{n.nodeStream(), n.keyStream()} {
		if err := n.ensure(ctx, s); err != nil {
			return err
		}
	}
	former, err := n.former(ctx, l)
	if err != nil {
		return err
	}
	if l.number, err = n.takeNumber(ctx); err != nil {
		return err
	}
	if err := n.ensure(ctx, n.callStream(l.who)); err != nil {
		return err
	}
	l.beat++
	subject := n.names.node(n.cfg.Node)
	cctx, cancel := context.WithTimeout(ctx, 2*commitTime)
	defer cancel()
	began := time.Now()
	entry := []Write{{Subject: subject, Data: marshal(n.renewed(l)), TTL: nodeAge}}
	l.nodeSeq, err = n.e.Commit(cctx, n.names.nodes(), entry, Cond{subject, former})
	if err != nil {
		return err // of two processes that begin at once one has been quicker, and the other finds it next time
	}
	n.lease.begin()
	n.lease.renewed(began)
	if err := n.readMembers(ctx); err != nil {
		n.log.Debug("cluster: the other nodes are not read", "error", err) // they are heard within a second
	}
	n.checkMark(ctx)
	n.checkSecret(ctx)
	return nil
}

// unmake removes the stream of an incarnation that has not come to be.
func (n *Node) unmake(l *life) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*commitTime)
	defer cancel()
	_ = n.e.Delete(ctx, l.stream) // else it stays, empty
}

// ensure makes a stream. When several nodes make it at the same moment some of them may get no answer, so it is asked again soon.
func (n *Node) ensure(ctx context.Context, s Stream) (err error) {
	for range 8 {
		cctx, cancel := context.WithTimeout(ctx, 3*commitTime/2)
		err = n.e.Ensure(cctx, s)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", s.Name, err)
	}
	return nil
}

// former returns the sequence of this name's entry when whoever wrote it is no more. An incarnation that has not ended itself is
// listened for as long as its lease may last: it may be another process with our name. If it is silent it is fenced.
func (n *Node) former(ctx context.Context, l *life) (seq uint64, err error) {
	subject := n.names.node(n.cfg.Node)
	for range 3 {
		cctx, cancel := context.WithTimeout(ctx, commitTime)
		e, err := n.e.Last(cctx, n.names.nodes(), subject)
		cancel()
		if errors.Is(err, ErrNone) {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		at, err := unmarshal[nodeEntry](e)
		if err == nil && at.who == l.who && (at.State == nodeFenced || at.State == nodeGone) {
			return 0, errFenced // it took so long to join that the others have found it silent
		}
		if err != nil || at.State == nodeGone || at.who == l.who {
			return e.Seq, nil
		}
		// It was this process, which was fenced and has forgotten; or whoever has marked it may have died before its fence was stored.
		own := n.members.isOver(at.who) || at.State == nodeFenced
		if !own && n.hearNamesake(ctx, at) {
			return 0, &NameTakenError{n.cfg.Node}
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		beat := at.Beat
		if own {
			beat = anyBeat
		}
		if err := n.fence(ctx, at.who, beat, "start"); errors.Is(err, errAlive) {
			continue
		} else if err != nil {
			return 0, fmt.Errorf("fence of the former run: %w", err)
		}
		if at.State == nodeFenced {
			return e.Seq, nil
		}
		// Without a stream there was nothing to fence, and its entry may be replaced as it is.
		cctx, cancel = context.WithTimeout(ctx, commitTime)
		_, err = n.e.Last(cctx, n.names.stream(at.who), n.names.fence(at.who))
		cancel()
		if errors.Is(err, ErrNoStream) {
			return e.Seq, nil
		}
	}
	return 0, errors.New("another process with this node's name begins at the same time")
}

// hearNamesake waits as long as the lease of that incarnation may last, and reports whether it says anything.
func (n *Node) hearNamesake(ctx context.Context, at nodeEntry) bool {
	for awake, last := time.Duration(0), time.Now(); awake < n.cfg.Lease+time.Second; {
		if !sleep(ctx, silenceTick) {
			return false
		}
		now := time.Now()
		awake += min(now.Sub(last), 2*silenceTick)
		last = now
		if e := n.namesake.Load(); e != nil && e.E == at.E && e.Beat > at.Beat && (e.State == nodeLive || e.State == nodeDraining) {
			return true
		}
	}
	return false
}

// readMembers learns which other nodes there are.
func (n *Node) readMembers(ctx context.Context) error {
	cctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	_, err := n.e.Sweep(cctx, n.names.nodes(), n.names.nodeAll(), func(e Entry) {
		at, err := unmarshal[nodeEntry](e)
		if err == nil && len(e.Data) <= maxEntry && at.valid() && at.Node != n.cfg.Node && (at.State == nodeLive || at.State == nodeDraining) && n.names.node(at.Node) == e.Subject {
			n.members.heard(at)
		}
	})
	return err
}

// takeNumber returns the number of this name, or takes one that is free.
func (n *Node) takeNumber(ctx context.Context) (int, error) {
	h := fnv.New32a()
	h.Write([]byte(n.cfg.Node))
	first := int(h.Sum32() % maxNumber)
	for i := range maxNumber {
		number := (first+i)%maxNumber + 1
		switch err := n.claimNumber(ctx, number); {
		case err == nil:
			return number, nil
		case !errors.Is(err, ErrConflict):
			return 0, fmt.Errorf("number of this node: %w", err)
		}
	}
	return 0, fmt.Errorf("all %d numbers of nodes are in use", maxNumber)
}

// claimNumber writes that a number is this node's. ErrConflict: it is another's.
func (n *Node) claimNumber(ctx context.Context, number int) error {
	cctx, cancel := context.WithTimeout(ctx, 2*commitTime)
	defer cancel()
	subject := n.names.number(number)
	e, err := n.e.Last(cctx, n.names.nodes(), subject)
	if err != nil && !errors.Is(err, ErrNone) {
		return err
	}
	if at, err := unmarshal[numberEntry](e); err == nil && at.Node != n.cfg.Node {
		return ErrConflict
	}
	_, err = n.e.Commit(cctx, n.names.nodes(), []Write{{Subject: subject, Data: marshal(numberEntry{n.cfg.Node}), TTL: numberAge}},
		Cond{subject, e.Seq})
	return err
}

// checkNumber keeps the number this node's: its entry lives for some time only, and the store may have lost it.
func (n *Node) checkNumber(ctx context.Context, l *life) {
	if time.Since(l.numbered) < numberAge/48 {
		return
	}
	if err := n.claimNumber(ctx, l.number); err == nil {
		l.numbered = time.Now()
	} else if errors.Is(err, ErrConflict) {
		n.log.Error("cluster: another node has the number of this one", "number", l.number)
	}
}
