package sipflow

import (
	"context"
	"errors"
	"time"

	"sipxrest/sipflow/sdp"
)

// fate is what a refresh of ours says of a phone's dialog.
type fate uint8

const (
	lives   fate = iota // and the phone knows where we are
	refuses             // what we asked for; the dialog is as before
	isOver              // the phone does not know it any more, cannot be reached, or has hung up
)

// fateOf judges by what a refresh came to. A server error is one of the way to the phone,
// or of a phone that has lost its dialog in another way than by 481 (RFC 5057).
func fateOf(err error) fate {
	var refused *StatusError
	switch {
	case err == nil, tookInVain(err):
		return lives
	case !errors.As(err, &refused):
		return isOver
	}
	switch code := refused.Code; {
	case code == 481, code == 408, code >= 500 && code < 600 && code != 501:
		return isOver
	}
	return refuses
}

// refresh tells phones where their dialog goes on: by UPDATE, which cannot touch the
// media, where they take that; else by an INVITE with the description that they know, in
// the same version of the same origin. UPDATEs go out together, INVITEs one after the
// other. It returns the phone whose dialog is over, and why.
//
//	Calling               sipxrest               Called
//	    | INVITE (as known)    |                     |
//	    |<---------------------|                     |
//	    | 200, ACK             | INVITE (as known)   |
//	    |<-------------------->|-------------------->|
//	    |                      | 200, ACK            |
//	    |                      |<------------------->|
//
// said gets what a phone answers to an INVITE.
func (t *takeover) refresh(ctx context.Context, legs []*takenLeg, said func(l *takenLeg, answer []byte)) (over *takenLeg, why error) {
	waits := make([]func() error, len(legs))
	for i, l := range legs {
		if l.was.updates {
			waits[i] = l.startUpdate(ctx)
		}
	}
	byInvite := make([]*takenLeg, 0, len(legs))
	for i, l := range legs {
		if waits[i] == nil {
			byInvite = append(byInvite, l)
			continue
		}
		err := waits[i]()
		switch fateOf(err) {
		case isOver:
			if over == nil {
				over, why = l, err
			}
		case refuses:
			l.peer.takesUpdates(false)
			byInvite = append(byInvite, l)
		}
	}
	for _, l := range byInvite {
		if over != nil {
			break
		}
		answer, err := l.inviteAsKnown(ctx)
		if fateOf(err) == isOver {
			return l, err
		}
		if err == nil && said != nil {
			said(l, answer)
		}
	}
	return over, why
}

// startUpdate sends an UPDATE without a description. What it returns waits for the
// response.
func (l *takenLeg) startUpdate(ctx context.Context) (wait func() error) {
	l.cseq++
	a := l.newAttempt(&outgoing{method: "UPDATE", header: "Allow: " + l.callee.allow() + "\r\n" + l.sessionHeader()})
	tx, err := a.send(ctx)
	return func() error {
		res, err := a.finish(ctx, tx, err)
		if err != nil {
			return err
		}
		l.path = a.tx.path
		l.refreshTarget(res, a.tx.path)
		l.startTimer(res, &a.outgoing)
		return nil
	}
}

// inviteAsKnown invites the phone again with what it knows of us, byte for byte. One whose
// own INVITE waits for the other node is invited until it gives that up.
func (l *takenLeg) inviteAsKnown(ctx context.Context) (answer []byte, err error) {
	again, err := l.reinvite(ctx, l.was.told)
	for end := time.Now().Add(tEnd); refusedBy(err, "INVITE") == 491 && time.Now().Before(end); {
		again, err = l.reinvite(ctx, l.was.told)
	}
	if err != nil {
		return nil, err
	}
	return again.SDP, again.Ack(nil)
}

// takesUpdates notes whether the phone takes UPDATE.
func (p *peer) takesUpdates(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.updates = on
}

// known reports whether the two phones have described themselves to each other, so that
// they can be left as they are.
func (l *takenLeg) describes() bool { return len(l.was.told) > 0 && sdp.Legible(l.was.remote) }
