package sipflow

import (
	"context"
)

// ears are the media of ours that a caller was answered with before it is connected.
type ears struct {
	*endpoint
	left    bool   // for a target
	version uint64 // of our description when it was left
}

// Answer accepts the call with media of ours, as Converse does, and returns when the
// caller has acknowledged that. Who then waits by Wait or Digit has the caller's
// requests responded to meanwhile; digits by INFO go to end.Digit.
//
// Connect invites the caller again with the target's offer, as after AnswerHeld:
//
//	Caller               sipxrest                Target
//	    | INVITE (offer)     |                      |
//	    |------------------->|                      |
//	    |       200 (answer) |                      |
//	    |<-------------------|                      |
//	    | ACK                |                      |
//	    |------------------->|                      |
//	    |<===== media ======>| INVITE               |
//	    |                    |--------------------->|
//	    |                    |          200 (offer) |
//	    |     INVITE (offer) |<---------------------|
//	    |<-------------------|                      |
//	    | 200 (answer)       | ACK (answer)         |
//	    |------------------->|--------------------->|
//	    |<================= media =================>|
//
// A caller that was answered before is invited again with our media, unless it still
// has them. An error before the 200 leaves it unanswered: AnswerHeld may be tried, where
// the media are what it refuses.
func (in *Incoming) Answer(ctx context.Context, end *Conversation) error {
	if err := context.Cause(in.ctx); err != nil {
		return err
	}
	if in.bridged { // and hung up
		return in.open()
	}
	if e := in.ears; e != nil && e.end == end && (!e.left || e.version == in.leg.peer.latestVersion()) {
		e.left = false
		e.listen()
		return nil
	}
	in.leave()
	t := in.endpoint(end)
	t.onward = true
	waiting, stop := in.while(ctx)
	defer stop()
	if err := in.meet(waiting, t); err != nil {
		return err
	}
	in.held, in.ears = true, &ears{endpoint: t}
	t.listen()
	for in.unacked() || t.owed != nil {
		e, err := t.next(waiting)
		if err == nil {
			err = t.event(e)
		}
		if err != nil {
			in.leave()
			return err
		}
	}
	in.call.keepIfNew()
	return nil
}

// leave ends what Answer has begun: nobody hears the caller until somebody else does.
func (in *Incoming) leave() {
	if e := in.ears; e != nil && !e.left {
		e.left, e.version = true, in.leg.peer.latestVersion()
		e.endpoint.leave()
	}
}

// heed takes what an answered caller has sent to the media that it was answered with.
func (in *Incoming) heed(ctx context.Context) error {
	e := in.ears
	if e == nil || e.left {
		return nil
	}
	for {
		came, ok := e.leg.media.nextDeferred()
		if !ok {
			came, ok = e.leg.take()
		}
		var err error
		switch {
		case !ok:
			return nil
		case came.ofLeg():
			err = e.leg.tend(ctx, came)
		default:
			err = e.event(came)
		}
		if err != nil {
			return err
		}
	}
}

// endpoint is our side of the caller's media.
func (in *Incoming) endpoint(end *Conversation) *endpoint {
	return &endpoint{callee: in.leg.callee, call: in.call, leg: in.leg, end: end, far: CallingParty}
}

// meet answers a caller with our media, or invites it again with them. After an error
// the caller may be connected elsewhere.
func (in *Incoming) meet(ctx context.Context, t *endpoint) (err error) {
	in.leg.joinedMedia()
	in.leg.isWith(t)
	if in.call.at(stepHeld); !t.onward {
		in.call.at(stepMedia)
	}
	if in.held {
		err = t.takeBack(ctx)
	} else {
		err = t.answer(ctx, in)
	}
	if err != nil {
		t.leave()
	}
	return err
}

// Converse accepts the call and is the other end of its media until somebody
// hangs up. Its INVITE's offer is answered, or it is made ours if it has none;
// after AnswerHeld it is invited again with ours. After Answer with the same end it
// goes on. An error before the answer
// leaves the caller unanswered, as with Connect.
//
//	Caller               sipxrest
//	    | INVITE (offer)     |
//	    |------------------->|
//	    |       200 (answer) |
//	    |<-------------------|
//	    | ACK                |
//	    |------------------->|
//	    |<===== media ======>|
func (in *Incoming) Converse(ctx context.Context, end *Conversation) error {
	if err := context.Cause(in.ctx); err != nil {
		return err
	}
	if in.bridged { // and hung up
		return in.open()
	}
	t := in.endpoint(end)
	if e := in.ears; e != nil && e.end == end && !e.left {
		t = e.endpoint
		t.onward = false
	} else {
		in.leave()
		waiting, stop := in.while(ctx)
		defer stop()
		if err := in.meet(waiting, t); err != nil {
			return err
		}
	}
	in.bridged = true
	defer t.close()
	up, down := in.upWhile(ctx)
	defer down()
	return t.run(up)
}

// answer gives the caller its 200.
func (t *endpoint) answer(ctx context.Context, in *Incoming) error {
	l := t.leg
	in.failed = Self
	if err := in.open(); err != nil {
		return err
	}
	if err := in.settle(ctx); err != nil {
		return err
	}
	body, agreed := in.agreedEarly()
	switch {
	case agreed: // with a target that did not pick up
	case in.offer != nil:
		answer, err := t.end.Reoffer(in.offer)
		if err != nil {
			return unacceptable(err)
		}
		l.heard(in.offer)
		t.disclosed(answer)
		body = l.answerTo(in.offer, answer)
	default:
		body = l.describe(t.end.Offer())
		t.owed = in.tx
	}
	l.peer.forwarding(true)
	if !in.accept(body, "") {
		return context.Cause(in.ctx)
	}
	if !agreed {
		return nil
	}
	if _, err := in.await(ctx, func(e event) bool { return e.ack != nil }); err != nil {
		return err
	}
	return t.takeBack(ctx)
}
