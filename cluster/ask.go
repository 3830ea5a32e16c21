package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sipxrest/internal/boundary"
)

const (
	// askTime is how long a question to another node may take whose asker has not said how long.
	askTime = 4 * time.Second
	// maxAskTime is how long one may take at most.
	maxAskTime = time.Minute
	// maxAsks is how many questions of others are worked at, of each operation: some of them wait, and must not keep out the others. Who
	// asks beyond that hears that this node is busy.
	maxAsks = 256
	// maxOp is how long the name of an operation may be.
	maxOp = 64
	// opAdopt hands a call over.
	opAdopt = "cluster.adopt"
)

// The first byte of what is sent back.
const (
	saidAnswer = iota
	saidError
	saidBusy
)

// An operation is what other nodes may ask for.
type operation struct {
	do    func(ctx context.Context, data []byte) ([]byte, error)
	slots chan struct{}
}

func newOperation(do func(ctx context.Context, data []byte) ([]byte, error)) *operation {
	return &operation{do, make(chan struct{}, maxAsks)}
}

// asks are the questions of other nodes.
type asks struct {
	ops map[string]*operation
	log *slog.Logger

	mu    sync.Mutex // guards over, and that going is not waited for when it grows
	over  bool       // no more are taken
	going sync.WaitGroup
}

func (a *asks) init(n *Node) {
	a.ops = map[string]*operation{opAdopt: newOperation(n.takeOver)}
	a.log = n.log
}

// wait takes no more questions, and returns when all are answered.
func (a *asks) wait() {
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	a.going.Wait()
}

// begin has f run in a goroutine of its own. It is false once none is to be begun.
func (a *asks) begin(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.going.Go(f)
	}
	return !a.over
}

// serve answers one question, in a goroutine of its own.
func (a *asks) serve(ctx context.Context, data []byte, reply func([]byte)) {
	if len(data) == 0 || len(data) < 1+int(data[0]) {
		reply(append([]byte{saidError}, "a question without an operation"...))
		return
	}
	op, data := string(data[1:1+data[0]]), data[1+data[0]:]
	if len(data) < 4 {
		reply(append([]byte{saidError}, "a question without a time limit"...))
		return
	}
	limit := min(time.Duration(binary.BigEndian.Uint32(data))*time.Millisecond, maxAskTime)
	data = data[4:]
	o := a.ops[op]
	if o == nil {
		reply(fmt.Appendf([]byte{saidError}, "there is no operation %q here", op))
		return
	}
	select {
	case o.slots <- struct{}{}:
	default:
		reply([]byte{saidBusy})
		return
	}
	data = append([]byte(nil), data...)
	if !a.begin(func() {
		defer func() { <-o.slots }()
		actx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var out []byte
		err := errFault
		boundary.Try(a.log, "a question of another node: "+op, func() { out, err = o.do(actx, data) })
		switch {
		case errors.Is(err, ErrBusy):
			reply([]byte{saidBusy})
		case err != nil:
			reply(append([]byte{saidError}, err.Error()...))
		default:
			reply(append([]byte{saidAnswer}, out...))
		}
	}) {
		<-o.slots
		reply([]byte{saidBusy})
	}
}

// errFault is what another node hears of a question at which this program fails.
var errFault = errors.New("internal fault")

// Answer has f called for each question of other nodes. It is called before Run. f runs in a goroutine of its own, with a time limit. If
// it panics that costs the answer only.
func (n *Node) Answer(op string, f func(ctx context.Context, data []byte) ([]byte, error)) {
	if len(op) > maxOp || n.running.Load() {
		panic("cluster: Answer with a name that is too long, or after Run")
	}
	n.asks.ops[op] = newOperation(f)
}

// Ask has another node do something, and returns its answer. It takes as long as ctx lets it, 4 s if that has no end. ErrNobody: that
// node has no connection. ErrBusy. An *AskError is the error of the other's function.
func (n *Node) Ask(ctx context.Context, node, op string, data []byte) ([]byte, error) {
	began := time.Now()
	out, err := n.ask(ctx, node, op, data)
	result := "error"
	switch {
	case err == nil:
		result = "ok"
	case errors.Is(err, ErrNobody):
		result = "nobody"
	case errors.Is(err, ErrBusy):
		result = "busy"
	}
	if n.asks.ops[op] == nil {
		op = "other"
	}
	n.count.asks.add(AskKey{op, result})
	n.count.ask.add(time.Since(began))
	return out, err
}

func (n *Node) ask(ctx context.Context, node, op string, data []byte) ([]byte, error) {
	if len(op) > maxOp {
		return nil, fmt.Errorf("cluster: the operation %q has too long a name", op)
	}
	end, ok := ctx.Deadline()
	if !ok || time.Until(end) > maxAskTime {
		limit := askTime
		if ok {
			limit = maxAskTime
		}
		end = time.Now().Add(limit)
	}
	if len(node) > maxName { // a client may have named it, and a subject that is too long ends the connection
		return nil, fmt.Errorf("cluster: %s at a node with a name of %d bytes: %w", op, len(node), ErrNobody)
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	question := append([]byte{byte(len(op))}, op...)
	question = binary.BigEndian.AppendUint32(question, uint32(max(0, time.Until(end).Milliseconds())))
	out, err := n.e.Ask(ctx, n.names.ask(node), append(question, data...))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cluster: %s at node %s: %w", op, node, err)
	case len(out) > 0 && out[0] == saidAnswer:
		return out[1:], nil
	case len(out) > 0 && out[0] == saidBusy:
		return nil, ErrBusy
	case len(out) > 0 && out[0] == saidError:
		return nil, &AskError{node, op, string(out[1:])}
	}
	return nil, &AskError{node, op, "an answer that cannot be read"}
}
