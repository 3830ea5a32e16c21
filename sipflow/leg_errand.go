package sipflow

import (
	"context"
	"errors"
	"slices"
	"time"

	"sipxrest/sipflow/wire"
)

// Errands are requests of ours in a dialog whose responses nobody waits for in a
// straight line: a PRACK, the SUBSCRIBE that ends a REFER's subscription, the refresh
// of a session while something else goes on. The leg keeps them until their final
// response. Whatever the call waits for meanwhile, challenges to them are answered
// and hops that fail are passed over.

// maxErrands bounds the errands of a leg that are under way.
const maxErrands = maxPracks

// errandTime is how long the end of a leg waits for errands that outlive its BYE.
const errandTime = time.Second

var errErrands = errors.New("too many requests that nobody waits for are under way")

// errand sends a request that nobody waits for, in an early dialog or, if in is nil,
// in the leg's. done, if set, is told its final response, or why there is none: a 2xx to
// an INVITE needs its ACK. It is called from a wait of the call's goroutine and must not
// wait itself.
func (l *Leg) errand(ctx context.Context, r *outgoing, in *earlyDialog, done func(*attempt, *wire.Message, error)) error {
	if len(l.errands) >= maxErrands {
		return errErrands
	}
	var err error
	l.within(in, func() {
		l.cseq++
		a := l.newAttempt(r)
		a.in, a.done = in, done
		if _, err = a.send(ctx); err == nil {
			l.errands = append(l.errands, a)
		}
	})
	return err
}

// ofErrand reports whether an event is what came of an errand, and takes it.
func (l *Leg) ofErrand(e event) bool {
	if e.tx == nil {
		return false
	}
	for i, a := range l.errands {
		if a.tx == e.tx {
			l.errandCame(i, a, e.msg, e.err)
			return true
		}
	}
	return false
}

// errandCame takes a response to the errand at i, or why there is none.
//
//go:noinline
func (l *Leg) errandCame(i int, a *attempt, res *wire.Message, err error) {
	if err == nil && res.Code() < 200 {
		l.acknowledge(a, res, nil)
		return
	}
	again := false
	l.within(a.in, func() {
		if !a.again(res, err) {
			return
		}
		ctx, stop := context.WithTimeout(context.Background(), placeTime)
		defer stop()
		_, failed := a.send(ctx)
		if again = failed == nil; !again {
			res, err = nil, failed
		}
	})
	if again {
		return
	}
	l.errands = slices.Delete(l.errands, i, i+1)
	if a.done != nil {
		a.done(a, res, err)
	}
}

// take returns the oldest event that is not about an errand.
func (l *Leg) take() (event, bool) {
	for {
		e, ok := l.inbox.take()
		if !ok || !l.ofErrand(e) {
			return e, ok
		}
	}
}

// dropErrands forgets the errands that end with the leg's BYE. A subscription does not
// (RFC 5057 §3.2).
func (l *Leg) dropErrands() {
	l.errands = slices.DeleteFunc(l.errands, func(a *attempt) bool { return a.method != "SUBSCRIBE" })
}

// endErrands waits for what is left of the errands, a moment at most: a challenge comes
// as quickly as any response.
func (l *Leg) endErrands(ctx context.Context) {
	if len(l.errands) == 0 {
		return
	}
	ctx, stop := context.WithTimeout(ctx, errandTime)
	defer stop()
	for len(l.errands) > 0 {
		if e, ok := l.take(); ok {
			l.meanwhile(e) //nolint:errcheck // the leg is over
		} else if len(l.errands) > 0 && l.inbox.wait(ctx) != nil {
			return
		}
	}
}
