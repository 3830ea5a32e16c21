package sipflow

import (
	"context"

	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// fork does what no call waits for in a goroutine of its own, which Serve waits
// for. A fault of it ends neither the process nor the call.
func (sw *Switchboard) fork(do func()) {
	sw.forks.Go(func() { sw.faults.Try("hanging up a phone", do) })
}

// hangUpFork acknowledges and hangs up a 2xx that no leg took.
func (sw *Switchboard) hangUpFork(tx *clientTx, from transport.Path, m *wire.Message, with callee, auth string) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.forksOver {
		return
	}
	sw.stats.forks.Add(1)
	sw.fork(func() {
		ctx, stop := context.WithTimeout(context.Background(), tEnd)
		defer stop()
		l := newForkLeg(sw, tx, m, with)
		defer l.hold(nil)
		// Not tx, whose ACK is that of the 2xx that was taken.
		fork := &clientTx{id: tx.id, path: from, seq: tx.seq, auth: auth, state: terminated}
		if err := l.establish(m, fork); err == nil {
			(&Success{leg: l, tx: fork}).Ack(nil) //nolint:errcheck // asked for again with the repeated 200
		}
		l.Bye(ctx, "") //nolint:errcheck // there is nobody to tell
	})
}

// newForkLeg is a leg for a phone that has answered and that no call wants. It is of
// a call of its own, which tells nobody. with is whom the INVITE was for, nil when
// that is not known any more: nobody's credentials are used then.
func newForkLeg(sw *Switchboard, tx *clientTx, m *wire.Message, with callee) *Leg {
	c := &Call{sw: sw}
	if with == nil {
		with = (*userPhone)(c)
	}
	l := &Leg{call: c, callee: with, id: tx.localTag, dialogState: dialogState{dialog: dialogOf(m), cseq: tx.seq}}
	l.inbox.wake = make(chan struct{}, 1)
	if l.target == "" { // without Contact it is hung up by the way the INVITE went
		uri, _ := wire.NameAddr(m.Get(wire.To))
		l.target = string(uri)
	}
	l.peer.confirm("", false)
	return l
}
