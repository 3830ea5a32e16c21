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

// forkLead is how far the number of our BYE to a further phone is above that of its
// INVITE when there have been requests in early dialogs: whatever the number of the last
// one in its own was, that is below (RFC 3261 §12.2.1.1).
const forkLead = 4 * maxPracks

// hangUpFork acknowledges and hangs up a 2xx that no leg took. with is whom the INVITE
// was for, nil when its call is over: then by is by what right he was called.
func (sw *Switchboard) hangUpFork(tx *clientTx, from transport.Path, m *wire.Message, with callee, by right) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.forksOver {
		return
	}
	sw.stats.forks.Add(1)
	var of *Call // which is not over
	if tx != nil && tx.leg != nil {
		of = tx.leg.its()
	}
	sw.fork(func() {
		ctx, stop := context.WithTimeout(context.Background(), tEnd)
		defer stop()
		l := newForkLeg(sw, tx, m, with, by)
		defer l.hold(nil)
		// Not tx, whose ACK is that of the 2xx that was taken.
		fork := &clientTx{id: tx.id, path: from, seq: tx.seq, auth: tx.auth, state: terminated}
		if err := l.establish(m, fork); err == nil {
			defer of.keptFork(l, tx.seq)()
			(&Success{leg: l, tx: fork}).Ack(nil) //nolint:errcheck // asked for again with the repeated 200
		}
		l.Bye(ctx, "") //nolint:errcheck // there is nobody to tell
	})
}

// newForkLeg is a leg for a phone that has answered and that no call wants. It is of
// a call of its own, which tells nobody.
func newForkLeg(sw *Switchboard, tx *clientTx, m *wire.Message, with callee, by right) *Leg {
	c := &Call{sw: sw}
	if with == nil {
		with = pastPhone{(*userPhone)(c), by}
	}
	l := &Leg{call: c, callee: with, id: tx.localTag, dialogState: dialogState{dialog: dialogOf(m), cseq: tx.seq}}
	if tx.pracked {
		l.cseq += forkLead
	}
	l.inbox.wake = make(chan struct{}, 1)
	if l.target == "" { // without Contact it is hung up by the way the INVITE went
		uri, _ := wire.NameAddr(m.Get(wire.To))
		l.target = string(uri)
	}
	l.peer.confirm("", false)
	return l
}
