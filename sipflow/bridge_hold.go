package sipflow

import (
	"context"
	"errors"

	"sipxrest/sipflow/sdp"
)

// hold puts a phone on hold, or takes it back, and has the other one follow (RFC 5359
// §2.1, with us in the place of who holds):
//
//	Held                  sipxrest               Other
//	    | INVITE (sendonly)    |                     |
//	    |<---------------------|                     |
//	    | 200 (recvonly)       |                     |
//	    |--------------------->|                     |
//	    |                  ACK | INVITE (inactive)   |
//	    |<---------------------|-------------------->|
//	    |                      |      200 (inactive) |
//	    |                      |<--------------------|
//	    |                      | ACK                 |
//	    |                      |-------------------->|
//
// To take it back both are told what the other one says of itself. Where the other one
// refuses, the first is put back into its former state. done gets what comes of it all;
// its error leaves the call as it was.
func (b *bridge) hold(ctx context.Context, l *Leg, on bool, done func(ctx context.Context, err error)) {
	other := b.other(l)
	if l == nil || other == nil || len(other.joinedMedia().remote) == 0 || len(l.joinedMedia().remote) == 0 {
		done(ctx, ErrNoCall)
		return
	}
	j, k := l.joinedMedia(), other.joinedMedia()
	if j.holding&isHeld != 0 == on {
		done(ctx, nil)
		return
	}
	if !l.peer.idle() || !other.peer.idle() {
		done(ctx, errGlare)
		return
	}
	was, otherWas := j.holding, k.holding
	if j.holding, k.holding = was|isHeld, otherWas|hasHeld; !on {
		j.holding, k.holding = was&^isHeld, otherWas&^hasHeld
	}
	asWere := func() { j.holding, k.holding = was, otherWas }
	other.peer.offer("INVITE", 1) // until its turn comes nothing of its own may cross it
	b.askAnew(ctx, l, func(ctx context.Context, answer []byte, err error) {
		other.peer.offer("INVITE", -1)
		if err == nil && !b.joins(l, other) {
			err = ErrNoCall
		}
		if err != nil {
			asWere()
			done(ctx, err)
			return
		}
		b.said(l, answer)
		b.askAnew(ctx, other, func(ctx context.Context, answer []byte, err error) {
			if !b.joins(l, other) {
				err = ErrNoCall
			}
			if err == nil {
				b.tellHeld(l, on, ClientParty)
				done(ctx, nil)
				b.retell(ctx, other, answer)
				return
			}
			if asWere(); errors.Is(err, ErrNoCall) {
				done(ctx, err)
				return
			}
			b.askAnew(ctx, l, func(_ context.Context, answer []byte, again error) {
				if again == nil {
					b.said(l, answer)
				}
				done(ctx, err)
			})
		})
	})
}

// joins reports whether the two phones of the bridge are these.
func (b *bridge) joins(l, other *Leg) bool {
	return b.calling == l && b.called == other || b.called == l && b.calling == other
}

// said takes over what a phone answers to what the other one has said.
func (b *bridge) said(l *Leg, answer []byte) {
	if other := b.other(l); other != nil && len(answer) > 0 {
		now := l.unmuted(answer, other.joinedMedia().remote)
		b.parks(l, now, other.media.remote)
		l.heard(now)
	}
}

// lift takes a phone off hold that is joined with another one than before. It returns
// what it was, should nothing come of that.
func (l *Leg) lift() (was holding) {
	j := l.joinedMedia()
	was, j.holding = j.holding, 0
	return was
}

// parks notes whether a phone has put the other one on hold by itself. said is its
// description, and offer what that answers, nil for an offer of its own: who is not
// sent anything holds nobody by taking nothing.
func (b *bridge) parks(l *Leg, said, offer []byte) {
	if !b.isObserved() || len(said) == 0 || offer != nil && !sdp.Sends(offer) {
		return
	}
	on, other := !sdp.Receives(said), b.other(l)
	if j := l.joinedMedia(); j.parks != on {
		if j.parks = on; other != nil {
			b.tellHeld(other, on, b.party(l))
		}
	}
}

// party is the part in the call that a phone has.
func (b *bridge) party(l *Leg) Party {
	if l == b.called {
		return CalledParty
	}
	return CallingParty
}
