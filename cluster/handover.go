package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// HandOver gives a call to another node, with this state, and returns which one has it now. The call must not change meanwhile, and is
// to be forgotten without a word afterwards. It waits for its turn, by the takeover rate.
//
// ErrNobody: there is no other node, or it does not answer. The call is still this node's, as with an *AskError and ErrBusy. ErrUnsure:
// ctx has ended before it was known.
func (n *Node) HandOver(ctx context.Context, id string, state []byte) (to string, err error) {
	to, err = n.handOver(ctx, id, state)
	switch {
	case err == nil:
		n.count.handovers.add("moved")
	case errors.Is(err, ErrUnsure):
		n.count.handovers.add("unsure")
	default:
		n.count.handovers.add("refused")
	}
	return to, err
}

func (n *Node) handOver(ctx context.Context, id string, state []byte) (string, error) {
	l, c := n.life.Load(), n.calls.get(id)
	switch {
	case l == nil || !n.lease.holds():
		return "", ErrNotOwner
	case c == nil:
		return "", ErrUnknownCall
	case len(state) == 0 || len(state) > MaxState:
		return "", ErrTooLarge
	}
	heirs := slices.DeleteFunc(n.heirs(l.who), func(w who) bool { return w.Node == l.Node })
	if len(heirs) == 0 {
		return "", fmt.Errorf("cluster: no other node may take calls: %w", ErrNobody)
	}
	heir := heirs[place(id, len(heirs))]
	if !n.pace.wait(ctx, n.cfg.TakeoverRate) {
		return "", context.Cause(ctx)
	}
	at, seq, err := n.readKey(ctx, n.names.id(id))
	if err != nil {
		return "", err
	}
	if at.who != l.who || at.Over {
		return "", ErrUnknownCall // its claim is not committed yet
	}
	msg := binary.BigEndian.AppendUint64(nil, seq)
	for _, s := range []string{l.Node, l.E, heir.E, id} {
		msg = binary.BigEndian.AppendUint16(msg, uint16(len(s)))
		msg = append(msg, s...)
	}
	actx, cancel := context.WithTimeout(ctx, askTime)
	_, err = n.Ask(actx, heir.Node, opAdopt, appendStored(msg, c.epoch, n.calls.keysOf(c), state))
	cancel()
	if err != nil && !n.handedOver(ctx, l, c, seq, &err) {
		return "", err
	}
	n.calls.empty(c)
	return heir.Node, nil
}

// handedOver finds out who has a call after a question without an answer, and reports whether it is another node. If it is this one it
// writes the entry anew, so that what the other may have under way is refused.
func (n *Node) handedOver(ctx context.Context, l *life, c *call, seq uint64, err *error) bool {
	id := n.names.id(c.id)
	for {
		at, now, rerr := n.readKey(ctx, id)
		switch {
		case rerr != nil:
		case at.who != l.who && at.ID == c.id:
			return true
		case now != seq:
			return false // this was done
		default:
			keys := n.calls.keysOf(c)
			_, rerr = n.commitKey(ctx, []Write{{Subject: id, Data: marshal(keyEntry{who: l.who, ID: c.id, Keys: keys})}}, []Cond{{id, seq}})
			if rerr == nil {
				return false
			}
			if errors.Is(rerr, ErrConflict) {
				continue
			}
		}
		if !sleep(ctx, maxPause) {
			*err = errors.Join(ErrUnsure, *err)
			return false
		}
	}
}

// takeOver is asked by the owner of a call, who gives it to this node. The call's own state is committed first, then its keys; then the
// owner has its answer, and the switchboard the call.
func (n *Node) takeOver(ctx context.Context, msg []byte) ([]byte, error) {
	l := n.life.Load()
	if l == nil || !n.lease.holds() || n.draining.Load() {
		return nil, errors.New("this node takes no calls now")
	}
	bad := errors.New("a call that cannot be read")
	if len(msg) < 8 {
		return nil, bad
	}
	seq, rest := binary.BigEndian.Uint64(msg), msg[8:]
	var said [4]string
	for i := range said {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return nil, bad
		}
		size := int(binary.BigEndian.Uint16(rest))
		said[i], rest = string(rest[2:2+size]), rest[2+size:]
	}
	from, id := who{said[0], said[1]}, said[3]
	if said[2] != l.E {
		return nil, errors.New("this node is another one now")
	}
	s, err := parseStored(rest)
	if err != nil || len(s.state) == 0 || len(s.state) > MaxState || id == "" {
		return nil, bad
	}
	s.state = slices.Clone(s.state)
	own, err := n.takeCall(l.ctx, l, from, left{s, id}, seq)
	if err != nil {
		return nil, err
	}
	n.handing.RLock()
	defer n.handing.RUnlock()
	if n.life.Load() != l {
		return nil, ErrNotOwner
	}
	n.count.handovers.add("taken")
	n.hand(l.ctx, own, s.state, from.Node, true)
	return nil, nil
}
