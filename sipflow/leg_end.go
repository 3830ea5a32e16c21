package sipflow

import (
	"context"
	"errors"
	"time"
)

// viaRefer is LegReport.Via of a leg that the calling phone calls.
const viaRefer = "refer"

// begins has the record know the context of the call.
func (r *record) begins(life context.Context) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = life
}

// fell settles on whom and on which leg the call's end falls, once, by what its flow
// returned. It ends the legs: first the one that it fell on. One that a phone calls by
// REFER goes on while that reports of it.
func (r *record) fell(err error) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end == nil {
		end := r.endBy(err)
		r.end = &end
	}
	r.endLegs()
}

// refusedCaller is fell for an inbound call that was not answered. took is what became
// of its targets, refused what the caller got.
func (r *record) refusedCaller(took error, refused *StatusError) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end == nil && refused != nil && (took == nil || r.failedBy(took) == nil) {
		r.end = &Cause{Err: took, By: Self, Leg: 1, Stage: r.stage, Code: refused.Code, Reason: refused.Reason, Method: refused.Method}
		if took == nil {
			r.end.Err = refused
		}
		r.end.Q850, r.end.Q850Text = mappedCause(refused.Code)
	}
	if r.end == nil {
		end := r.endBy(took)
		r.end = &end
	}
	r.endLegs()
}

// endLegs ends the legs when the call's end is settled. r.mu is held.
func (r *record) endLegs() {
	for _, l := range r.legs {
		if l.report.N == r.end.Leg && (!l.handedOver() || r.end.Method == "NOTIFY") {
			l.over(*r.end)
		}
	}
	for _, l := range r.legs {
		if !l.handedOver() {
			l.over(r.endOfOther(l))
		}
	}
}

// handedOver reports whether the leg's phone is called by another one, which may still
// report what becomes of it. r.mu is held.
func (l *legRecord) handedOver() bool {
	return l.report.Via == viaRefer && l.state != legPending && l.state != legEnded
}

// handsOver reports whether the call ended by leaving the phones alone.
func (c *Cause) handsOver() bool { return c.Err == nil && c.By == Self && c.Code == 0 }

// endOfOther is why a leg ends that the call's end did not fall on. Who ended the call
// has ended each of its legs, unless he is one of the parties.
func (r *record) endOfOther(l *legRecord) Cause {
	c := *r.end
	switch {
	case l.bye.Load() != nil && l.report.N != c.Leg: // both hung up at once
		return l.endByBye()
	case l.report.N == c.Leg:
		return c
	}
	if c.By != ClientParty && !ofAllLegs(&c) || l.state == legPending {
		c.Other = true
	}
	return c
}

// ofAllLegs reports whether a cause of ours is none of a single leg's.
func ofAllLegs(c *Cause) bool {
	return c.By == Self && (c.Err == nil || errors.Is(c.Err, ErrDraining) || errors.Is(c.Err, ErrTimeLimit) || errors.Is(c.Err, ErrInternal) ||
		errors.Is(c.Err, ErrNodeLost) || errors.Is(c.Err, ErrForgotten))
}

// endBy is why the call ends whose flow returned err. r.mu is held.
func (r *record) endBy(err error) Cause {
	stopped := context.Cause(r.life)
	if stopped != nil && (err == stopped || err != nil && errors.Is(err, stopped)) { //nolint:errorlint // the very one
		return r.endByStop(stopped)
	}
	if errors.Is(err, ErrTimeLimit) || errors.Is(err, ErrDraining) || errors.Is(err, ErrNodeLost) || errors.Is(err, ErrForgotten) { // the bridge's own to see
		return r.endByStop(err)
	}
	if err == nil || errors.Is(err, ErrHungUp) {
		if l := r.firstBye(); l != nil {
			return l.endByBye()
		}
	}
	if err == nil {
		end := Cause{By: Self, Stage: r.stage}
		if l := r.inRole(RoleCalled); l != nil && l.handedOver() {
			end.Leg, end.Stage = l.report.N, StageReleased
		}
		return end
	}
	if l := r.inRole(RoleCaller); l != nil && errors.Is(err, ErrCancelled) { // whichever leg was given up for that
		return l.endOf(err)
	}
	if l := r.inRole(RoleCalling); l != nil && errors.Is(err, ErrUnreported) {
		return l.endOf(err)
	}
	if l := r.inRole(RoleCalled); l != nil && refusedBy(err, "NOTIFY") != 0 {
		return l.endOf(err)
	}
	if l := r.failedBy(err); l != nil {
		return l.endOf(err)
	}
	if stopped != nil {
		return r.endByStop(stopped)
	}
	if l := r.atWork(); l != nil {
		return l.endOf(err)
	}
	return Cause{Err: err, By: Self, Stage: r.stage}
}

// endByStop is the end of a call that was ended from outside of its flow.
func (r *record) endByStop(why error) Cause {
	c := CauseOf(why)
	c.By, c.Stage = ClientParty, r.stage
	c.Code, c.Reason, c.Method, c.Synthesized = 0, "", "", false // what we tell the phones is no response
	if !c.Q850Header {
		c.Q850, c.Q850Text = 0, ""
	}
	switch {
	case errors.Is(why, ErrDraining), errors.Is(why, ErrInternal), errors.Is(why, ErrTimeLimit), errors.Is(why, ErrNodeLost), errors.Is(why, ErrForgotten):
		c.By = Self
	case errors.Is(why, ErrUnreachable):
		c.By = NetworkParty
	}
	if l := r.atWork(); l != nil && !r.joined {
		c.Leg = l.report.N
	}
	return c
}

// firstBye is the leg whose phone hung up, the first if several did. One that has left
// before, in the hope of a transfer, counts where there is no other.
func (r *record) firstBye() (first *legRecord) {
	at := int64(0)
	for _, l := range r.legs {
		bye := l.bye.Load()
		switch {
		case bye == nil:
		case first == nil, first.state == legEnded && l.state != legEnded,
			(first.state == legEnded) == (l.state == legEnded) && bye.at < at:
			first, at = l, bye.at
		}
	}
	return first
}

// endByBye is why a leg ends whose phone hung up.
func (l *legRecord) endByBye() Cause { return l.endOf(hungUpFor(l.bye.Load().reasons)) }

// failedBy is the leg that an error is of, the latest if it is of several.
func (r *record) failedBy(err error) (latest *legRecord) {
	for _, l := range r.legs {
		if l.failure != nil && errors.Is(err, l.failure) && (latest == nil || l.failedAt > latest.failedAt) {
			latest = l
		}
	}
	return latest
}

// atWork is the leg that the call is at: the last that has been begun, or the first.
func (r *record) atWork() (l *legRecord) {
	for _, other := range r.legs {
		if l == nil || other.state != legPending {
			l = other
		}
	}
	return l
}

// released tells that the phones of a call by REFER have been left alone. What they
// still report is told until the time given.
func (r *record) released(until time.Time) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end == nil || !r.end.handsOver() || r.joined || r.end.Leg == 0 {
		return
	}
	r.stage = StageReleased
	r.tell(&Event{Kind: Released, At: time.Now(), FinalBy: until})
}

// referred notes that the calling phone has accepted the REFER, and calls the other one.
func (r *record) referred() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.inRole(RoleCalled); l != nil {
		l.report.Via = viaRefer
		l.dial()
	}
}

// reported takes a status that the calling phone reports of the other one.
func (r *record) reported(code int, reason string) {
	if r == nil || code < 180 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.inRole(RoleCalled)
	if l == nil || l.state != legPending && l.report.Via != viaRefer {
		return
	}
	l.report.Via = viaRefer // it may have overtaken the response to the REFER
	switch {
	case code <= 183:
		l.ring(code, reason)
	case code < 200:
	case code < 300:
		l.pickUp(code, reason)
	default:
		l.dial()
		end := l.endOf(&sentError{&StatusError{"NOTIFY", code, reason}, ""})
		if r.end == nil { // the flow decides what comes of it
			return
		}
		if r.end.handsOver() {
			r.end = &end
		}
		l.over(end)
	}
}

// last ends the legs that have no end yet, and returns why the call ended.
func (r *record) last() *Cause {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end == nil {
		end := r.endBy(nil)
		r.end = &end
	}
	for _, l := range r.legs {
		if l.handedOver() { // what became of it nobody has reported
			l.over(Cause{By: UnknownParty, Leg: l.report.N, Stage: r.stage})
		}
		l.over(r.endOfOther(l))
	}
	return r.end
}

// left ends a leg of a call that goes on, or ends for another reason.
func (l *legRecord) left() {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	switch {
	case l.bye.Load() != nil:
		l.over(l.endByBye())
	case l.givenUp != nil:
		l.over(l.of.whyGivenUp(l, l.givenUp))
	case l.failure != nil && l.state != legAnswered:
		l.over(l.endOf(l.failure))
	case l.of.end != nil:
		l.over(l.of.endOfOther(l))
	default:
		l.over(l.of.whyLeft(l))
	}
}

// whyLeft is why a leg is given up that has neither failed nor hung up: its call is
// about to end, or it is not wanted any more. r.mu is held.
func (r *record) whyLeft(l *legRecord) Cause {
	if why := context.Cause(r.life); why != nil {
		return r.endByStop(why)
	}
	if first := r.firstBye(); first != nil && !l.joining {
		c := first.endByBye()
		c.Other = true
		return c
	}
	return Cause{By: Self, Leg: l.report.N, Stage: r.stage}
}

// whyGivenUp is why a leg is given up for an error, which may be another leg's. r.mu is
// held.
func (r *record) whyGivenUp(l *legRecord, why error) Cause {
	if stopped := context.Cause(r.life); stopped != nil {
		return r.endByStop(stopped)
	}
	c, own := l.endOf(why), true
	switch other := r.failedBy(why); {
	case errors.Is(why, ErrCancelled) && !l.joining:
		if other = r.inRole(RoleCaller); other != nil {
			c, own = other.endOf(why), false
		}
	case errors.Is(why, ErrHungUp) && !l.joining: // its own would be known
		if other = r.firstBye(); other != nil {
			c = other.endByBye()
		}
		own = false
	case other != nil && other != l:
		c, own = other.endOf(why), false
	}
	c.Other = !own
	return c
}

// hungUpFor ends a leg that we hang up for an error, while the call may go on.
func (l *legRecord) hungUpFor(why error) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.bye.Load() != nil {
		l.over(l.endByBye())
		return
	}
	l.over(l.endOf(why))
}
