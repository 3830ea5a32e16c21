package sipflow

import (
	"context"
	"errors"
	"time"

	"sipxrest/internal/limit"
)

// putOnHold tells that the leg's phone is on hold, or no longer, and by whom.
func (l *legRecord) putOnHold(on bool, by Party) {
	kind := LegResumed
	if on {
		kind = LegHeld
	}
	l.changed(kind, by)
}

// mutes tells that audio of the leg's phone is off, or no longer.
func (l *legRecord) mutes(on bool) {
	kind := LegUnmuted
	if on {
		kind = LegMuted
	}
	l.changed(kind, ClientParty)
}

func (l *legRecord) changed(kind EventKind, by Party) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.state == legEnded {
		return
	}
	l.says(0, "")
	l.report.By = by
	l.event(kind, nil)
	l.report.By = Self
}

// number is the leg's in its call, 0 where nobody observes.
func (l *legRecord) number() int {
	if l == nil {
		return 0
	}
	return l.report.N
}

// transferred tells how far a transfer is. why is what it failed for, or was called off,
// and fell on a leg, or on the target where that is nil.
func (r *record) transferred(t *TransferReport, why error, fell, target *legRecord) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if why != nil {
		cause := r.causeOfTransfer(why, fell, target)
		t.Cause = &cause
	}
	told := *t
	told.To = limit.Clip(t.To, maxReported)
	r.tell(&Event{Kind: TransferChanged, At: time.Now(), Transfer: &told})
}

// causeOfTransfer is why a transfer comes to nothing. r.mu is held.
func (r *record) causeOfTransfer(why error, fell, target *legRecord) (c Cause) {
	stopped := context.Cause(r.life)
	switch {
	case stopped != nil && errors.Is(why, stopped), errors.Is(why, ErrHungUpByUser):
		c = r.endByStop(why)
		c.Leg = 0
	case fell != nil:
		c = fell.endOf(why)
	case r.failedBy(why) != nil:
		c = r.failedBy(why).endOf(why)
	case target != nil:
		c = target.endOf(why)
	default:
		c = CauseOf(why)
	}
	c.Stage = StageTransfer
	return c
}
