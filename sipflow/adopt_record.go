package sipflow

import "time"

// restoreRecord makes the record of a call that another node had, where somebody is told
// of it. What its observers have been told is not told again.
func (c *Call) restoreRecord(was *recordState) {
	if len(c.sw.observers) == 0 {
		return
	}
	r := newRecord(&c.mu, c.tellAll, StageDiallingCalling)
	c.record = r
	if was == nil {
		return
	}
	r.stage, r.linked, r.joined, r.count = was.stage, was.linked, was.joined, was.count
	for i := range was.legs {
		l := &was.legs[i]
		r.legs = append(r.legs, &legRecord{of: r, report: l.report, state: l.state, joining: l.joining})
	}
}

// restoreReferred is referred for a call that another node had. Nobody is told of it yet.
func (r *record) restoreReferred() {
	if r == nil {
		return
	}
	if l := r.inRole(RoleCalled); l != nil && l.state == legPending {
		l.report.Via, l.state, r.linked = viaRefer, legDialling, true
		r.reach(StageDiallingCalled)
	}
}

// numbered is the record of a leg by its number, nil for none.
func (r *record) numbered(n int) *legRecord {
	if r == nil || n == 0 {
		return nil
	}
	for _, l := range r.legs {
		if l.report.N == n {
			return l
		}
	}
	return nil
}

// retell tells how far a call and its legs are, once more. r.mu is held.
func (r *record) retell() {
	again := func(l *legRecord, kind EventKind) {
		e := &Event{Kind: kind, At: time.Now(), Again: true}
		if l != nil {
			e.CallID, e.Leg = l.report.CallID, &l.report
		}
		r.tell(e)
	}
	for _, l := range r.legs {
		if l.state == legEnded {
			continue
		}
		if l.state >= legDialling {
			again(l, LegDialling)
		}
		if l.state >= legAlerted {
			again(l, LegAlerted)
		}
		if l.state >= legAnswered {
			again(l, LegAnswered)
		}
	}
	if r.linked {
		again(nil, Connecting)
	}
	if r.joined {
		again(nil, Joined)
	}
}

// restates tells once more what of a leg's phone is on hold or off.
func (l *takenLeg) restates() {
	r := l.record
	if r == nil {
		return
	}
	again := func(kind EventKind, by Party) {
		r.report.By = by
		r.of.tell(&Event{Kind: kind, At: time.Now(), CallID: r.report.CallID, Leg: &r.report, Again: true})
		r.report.By = Self
	}
	if l.was.holding&isHeld != 0 {
		again(LegHeld, ClientParty)
	}
	if l.was.muted != 0 {
		again(LegMuted, ClientParty)
	}
}
