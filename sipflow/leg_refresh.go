package sipflow

import (
	"context"
	"slices"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// What a dialog owes whatever the call waits for: its session is refreshed, and the
// call follows where the phone is. A wait for one leg does that for the call's other
// legs, too: see attend. Who waits hears of it only when the session has ended.

// inviteTime is how long a phone may think about an INVITE of ours within a
// call. It is longer than the transaction's own timeout, which comes first
// when the phone says nothing at all.
const inviteTime = tEnd + t2

// limboTime is how long a session timer waits while this node may not own its calls.
const limboTime = 2 * time.Second

// ofLeg reports whether an event is about the leg itself, and not for who waits.
func (e *event) ofLeg() bool {
	return e.due || e.in != nil && e.in.alone || e.tx == nil && e.in == nil && e.err != nil
}

// tend takes an event that is about the leg itself. Its error ends the session, and so
// the call.
func (l *Leg) tend(ctx context.Context, e event) error {
	switch {
	case e.due:
		return l.refresh(ctx)
	case e.in == nil:
		return l.fault(e.err)
	case e.ack == nil && e.err == nil: // the reader has responded
		l.refreshTarget(e.in.req, e.in.path)
	}
	return nil // without an ACK the dialog is as it was
}

// refresh asks the phone whether it is still there: by UPDATE where it takes that, else
// by an INVITE with the description that it knows (RFC 4028 §10).
func (l *Leg) refresh(ctx context.Context) error {
	if !l.call.sw.holds() { // others may have the call
		l.refreshDueIn(limboTime)
		return nil
	}
	due, byUpdate, err := l.refreshDue(slices.ContainsFunc(l.errands, (*attempt).refreshes))
	if !due || l.giveUpRefresh() {
		return err
	}
	r := &outgoing{method: "UPDATE", header: "Allow: " + l.callee.allow() + "\r\n" + l.sessionHeader()}
	if !byUpdate {
		if r.body = l.told(); len(r.body) > 0 {
			r.method, r.contentType = "INVITE", sdp.Type
		} else if l.joint() != nil {
			return nil
		}
	}
	ctx, stop := context.WithTimeout(ctx, placeTime)
	defer stop()
	if r.method == "INVITE" {
		l.peer.offer("INVITE", 1)
		l.refreshDueIn(inviteTime)
	}
	err = l.errand(ctx, r, nil, func(a *attempt, res *wire.Message, err error) {
		if a.method == "INVITE" {
			l.peer.offer("INVITE", -1)
		}
		if err := l.refreshed(a, res, err); err != nil {
			l.inbox.put(event{err: err}, true)
		}
	})
	if err != nil && r.method == "INVITE" {
		l.peer.offer("INVITE", -1)
	}
	return nil // what cannot be sent is tried again, until the session has ended
}

// refreshed takes the response to a refresh of ours.
func (l *Leg) refreshed(a *attempt, res *wire.Message, err error) error {
	if err == nil && res.Code() >= 300 {
		err = statusError(a.method, res)
	}
	if err != nil {
		return l.notRefreshed(err, a.method == "UPDATE")
	}
	l.refreshTarget(res, a.tx.path)
	l.startTimer(res, &a.outgoing)
	if a.method != "INVITE" {
		return nil
	}
	if err := (&Success{leg: l, tx: a.tx}).Ack(nil); err != nil {
		return err
	}
	if j := l.joint(); j != nil {
		return j.retold(l, bodyOf(res))
	}
	return nil
}

// giveUpRefresh gives an INVITE up by which we refresh the session: the phone does not
// decide about it, or the dialog ends. It reports whether a refresh was under way.
func (l *Leg) giveUpRefresh() (was bool) {
	l.errands = slices.DeleteFunc(l.errands, func(a *attempt) bool {
		was = was || a.refreshes()
		if a.method != "INVITE" {
			return false
		}
		l.leaveInvite(a.tx)
		l.peer.offer("INVITE", -1)
		return true
	})
	return was
}

// refreshes reports whether an errand is the refresh of a session.
func (a *attempt) refreshes() bool { return a.method == "INVITE" || a.method == "UPDATE" }

// joint is what the leg is joined with; nil while it is alone.
func (l *Leg) joint() joint {
	if l.media == nil {
		return nil
	}
	return l.media.joint
}

// told is our description as the phone knows it, nil where that is not known.
func (l *Leg) told() []byte {
	if j := l.joint(); j != nil {
		return j.told(l)
	}
	return l.toldLast()
}

// mayOffer waits until no offer is without its answer in the dialog: a refresh of ours
// is over, or the phone has acknowledged what it was offered in a 2xx. An offer of the
// phone's that came while the call was busy is refused with 491 (RFC 3261 §14.1): the
// call would relay it once it is no longer busy, and that is what it waits for here.
func (l *Leg) mayOffer(ctx context.Context) error {
	for !l.peer.mayOffer() {
		var err error
		if in := l.peer.crossing(); in != nil && in.respond(wire.Reply{Code: 491}) {
			continue
		}
		switch e, ok := l.take(); {
		case ok && e.ofLeg():
			err = l.tend(ctx, e)
		case ok:
			err = l.meanwhile(e)
		case !l.peer.mayOffer(): // else the end of a refresh was all that there was
			err = l.attend(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// event waits for the oldest event that is for who waits, or for ctx, whose cause is
// then the error.
func (l *Leg) event(ctx context.Context) (event, error) {
	for {
		if e, ok := l.take(); ok {
			if !e.ofLeg() {
				return e, nil
			}
			if err := l.tend(ctx, e); err != nil {
				return event{}, err
			}
		} else if err := l.attend(ctx); err != nil {
			return event{}, err
		}
	}
}

// attend waits until the leg may have an event. Before that it does what the call's
// other legs owe.
func (l *Leg) attend(ctx context.Context) error {
	if !l.gone { // else the others are the call's
		l.its().sees()
		if err := tendAll(ctx, l.siblings(), l); err != nil {
			return err
		}
	}
	return l.inbox.wait(ctx)
}

// tendAll does what is due on a call's legs, but on one. Their other events wait.
func tendAll(ctx context.Context, legs []*Leg, but *Leg) error {
	for _, l := range legs {
		for l != but {
			e, ok := l.inbox.pick(l.isOwed)
			if !ok {
				break
			}
			if !l.ofErrand(e) {
				if err := l.tend(ctx, e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// isOwed reports whether an event needs to be seen to, whoever waits for what.
func (l *Leg) isOwed(e *event) bool {
	return e.ofLeg() || e.tx != nil && slices.ContainsFunc(l.errands, func(a *attempt) bool { return a.tx == e.tx })
}
