package sipflow

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/resolve"
	"sipxrest/sipflow/wire"
)

const (
	// maxReported bounds what strangers wrote of an event, in bytes.
	maxReported = 256
	// maxTried bounds the hops of a leg that are reported as failed.
	maxTried = 16
	// maxOver bounds the legs of a call that are remembered once they have ended.
	maxOver = 8
)

// record is what the observers that New is given have been told of a call. It sees to
// it that no leg goes back, and that each ends once. A call that nobody observes has
// none: all methods do nothing then.
type record struct {
	mu     *sync.Mutex     // the call's: events are told one at a time
	tell   func(*Event)    // tells the observers, with mu held
	life   context.Context // the call's, whose cause is who ended it
	legs   []*legRecord    // in their order, without the oldest that have ended
	count  int             // legs that there have been
	notes  atomic.Int64    // failures and hang-ups that there have been
	stage  Stage
	linked bool   // Connecting has been told
	joined bool   // Joined has been
	end    *Cause // why the call ended; nil while it goes on
}

// legState is how far a leg is.
type legState uint8

const (
	legPending legState = iota
	legDialling
	legAlerted
	legAnswered
	legEnded
)

// legRecord is what has been told of one leg. Of several INVITEs for one party it is
// the same.
type legRecord struct {
	of     *record
	report LegReport
	state  legState

	endedAt  Stage // of the call when it ended; empty before
	joining  bool  // of a transfer, until it has another one's place
	failure  error // what a request of the leg's came to
	failedAt int64 // record.notes then
	givenUp  error // why it is about to be hung up, or its INVITE cancelled
	bye      atomic.Pointer[byeNote]
}

// byeNote is the BYE of a leg's phone. The sockets' readers make it, without the lock:
// they must not wait for an observer.
type byeNote struct {
	at      int64  // record.notes then
	reasons string // Reason header lines
}

// newRecord begins the record of a call with the legs that are known.
func newRecord(mu *sync.Mutex, tell func(*Event), stage Stage) *record {
	return &record{mu: mu, tell: tell, life: context.Background(), stage: stage}
}

// add makes the record of a new leg. r.mu is held, or nobody else knows r yet.
func (r *record) add(role Role, address string) *legRecord {
	r.count++
	l := &legRecord{of: r, report: LegReport{N: r.count, Role: role, Address: limit.Clip(address, maxReported)}}
	if len(r.legs) > maxOver {
		if i := slices.IndexFunc(r.legs, func(l *legRecord) bool { return l.state == legEnded }); i >= 0 {
			r.legs = slices.Delete(r.legs, i, i+1)
		}
	}
	r.legs = append(r.legs, l)
	return l
}

// leg returns the record of a leg in that role, which may have been called before. One
// that has ended is followed by a new one.
func (r *record) leg(role Role, address string) *legRecord {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.inRole(role); l != nil {
		l.report.Address, l.report.Via = limit.Clip(address, maxReported), ""
		return l
	}
	return r.add(role, address)
}

// another is leg for one that is called beside those in the same role.
func (r *record) another(role Role, address string) *legRecord {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(role, address)
}

// joining is another for one that is to take another one's place.
func (r *record) joining(role Role, address string) *legRecord {
	l := r.another(role, address)
	if l != nil {
		l.joining = true
	}
	return l
}

// inRole returns the leg in a role that has not ended. r.mu is held.
func (r *record) inRole(role Role) *legRecord {
	for _, l := range slices.Backward(r.legs) {
		if l.report.Role == role && l.state != legEnded {
			return l
		}
	}
	return nil
}

// reports are the legs as Placed tells them. r.mu is held.
func (r *record) reports() []LegReport {
	legs := make([]LegReport, len(r.legs))
	for i, l := range r.legs {
		legs[i] = l.report
	}
	return legs
}

// sees takes what it needs to know of the older events. r.mu is held.
func (r *record) sees(e *Event) {
	switch e.Kind {
	case Placed:
		e.Legs = r.reports()
	case Joined:
		r.joined, r.stage = true, StageConnected
	}
}

// firstPhone reports whether the leg is the one that the call begins with.
func (l *legRecord) firstPhone() bool {
	return l.report.Role == RoleCalling || l.report.Role == RoleCaller
}

// event tells of something that is about the leg. r.mu is held.
func (l *legRecord) event(kind EventKind, cause *Cause) {
	l.of.tell(&Event{Kind: kind, At: time.Now(), CallID: l.report.CallID, Leg: &l.report, Cause: cause})
}

// reach moves the call to a stage, unless it is past all of setup.
func (r *record) reach(stage Stage) {
	if r.stage != StageConnected && r.stage != StageReleased {
		r.stage = stage
	}
}

// dialled notes that the leg's INVITE is out to a hop.
func (l *legRecord) dialled(callID string, hop resolve.Hop) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.report.CallID = callID
	if hop.Transport != "" {
		l.report.Hop = hop.String()
	}
	l.dial()
}

// dial is the beginning of a leg. r.mu is held.
func (l *legRecord) dial() {
	if l.state != legPending {
		return
	}
	r := l.of
	l.state = legDialling
	switch {
	case l.firstPhone():
		r.reach(StageDiallingCalling)
	default:
		r.reach(StageDiallingCalled)
		if !r.linked && r.count > 1 {
			r.linked = true
			r.tell(&Event{Kind: Connecting, At: time.Now()})
		}
	}
	l.event(LegDialling, nil)
}

// tried notes a hop that did not take the INVITE.
func (l *legRecord) tried(hop resolve.Hop, why error) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if len(l.report.Tried) < maxTried {
		l.report.Tried = append(l.report.Tried, TriedHop{hop.String(), limit.Clip(why.Error(), maxReported)})
	}
}

// redirected notes that the INVITE goes elsewhere.
func (l *legRecord) redirected(from, to string, code int, reason string) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.state == legEnded {
		return
	}
	l.report.From, l.report.To = limit.Clip(from, maxReported), limit.Clip(to, maxReported)
	l.says(code, reason)
	l.event(LegRedirected, nil)
	l.report.From, l.report.To = "", ""
}

// says notes the response that the next event is about. r.mu is held.
func (l *legRecord) says(code int, reason string) {
	l.report.Code, l.report.Reason = code, limit.Clip(reason, maxReported)
}

// alerted notes that the phone rings. media says that the response had a description.
func (l *legRecord) alerted(code int, reason string, media bool) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.report.EarlyMedia = l.report.EarlyMedia || media
	l.ring(code, reason)
}

// responded takes a provisional response to the leg's INVITE.
func (l *legRecord) responded(m *wire.Message) {
	if l == nil {
		return
	}
	if code := m.Code(); code == 180 || code == 183 {
		l.alerted(code, string(m.Reason()), len(m.Body()) > 0)
	}
}

// ring is alerted with r.mu held.
func (l *legRecord) ring(code int, reason string) {
	if l.state >= legAlerted {
		return
	}
	l.dial()
	l.state = legAlerted
	if l.firstPhone() {
		l.of.reach(StageRingingCalling)
	} else {
		l.of.reach(StageRingingCalled)
	}
	l.says(code, reason)
	l.event(LegAlerted, nil)
}

// answered notes that the phone has picked up, or that a caller was given its 2xx.
func (l *legRecord) answered(contact string, code int, reason string) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if contact != "" {
		l.report.Contact = limit.Clip(contact, maxReported)
	}
	l.pickUp(code, reason)
}

// pickUp is answered with r.mu held.
func (l *legRecord) pickUp(code int, reason string) {
	if l.state >= legAnswered {
		return
	}
	l.dial()
	l.state = legAnswered
	if l.report.Role == RoleCalling {
		l.of.reach(StageDiallingCalled)
	}
	l.says(code, reason)
	l.event(LegAnswered, nil)
}

// over ends the leg. r.mu is held.
func (l *legRecord) over(cause Cause) {
	if l.state == legEnded {
		return
	}
	cause.NotTried = l.state == legPending && cause.Other
	l.state, l.endedAt = legEnded, l.of.stage
	l.says(cause.Code, cause.Reason)
	if cause.Other {
		l.says(0, "")
	}
	l.event(LegEnded, &cause)
	left := cause.Other && (cause.Method == "BYE" || cause.Method == "CANCEL") // by the caller
	if r := l.of; l.report.Role == RoleTarget && r.end == nil && !r.joined && !left && !slices.ContainsFunc(r.legs, func(o *legRecord) bool {
		return o.report.Role == RoleTarget && o.state != legEnded
	}) {
		r.reach(StageRouting) // an inbound call may have another target
	}
}

// failed notes what a request of the leg's came to.
func (l *legRecord) failed(err error) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.failure, l.failedAt = err, l.of.notes.Add(1)
	if !errors.Is(err, l.givenUp) { // it was not given up, after all
		l.givenUp = nil
	}
}

// unwanted notes why the leg is about to be given up. That need not be its own doing:
// the other party has hung up, or refuses what comes next.
func (l *legRecord) unwanted(why error) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.givenUp = why
	if errors.Is(why, ErrNoAnswer) && !l.joining { // which is the phone's own doing
		l.failure, l.failedAt = why, l.of.notes.Add(1)
	}
}

// byeCame notes that the phone hung up, for the reasons that it gave. It is called by
// the sockets' readers.
func (l *legRecord) byeCame(reasons string) {
	if l == nil {
		return
	}
	l.bye.Store(&byeNote{l.of.notes.Add(1), reasons})
}

// takesPlace gives the leg the role of one whose place it takes, as by wanted. That one
// has ended with it.
func (l *legRecord) takesPlace(old *legRecord, by Party) {
	if l == nil || old == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.report.Role, l.joining = old.report.Role, false
	if old.state != legEnded && old.bye.Load() == nil {
		old.over(Cause{Err: ErrTransferred, By: by, Leg: old.report.N, Stage: StageTransfer})
	}
}

// flowChanged tells that the calling phone does not do what REFER asks for. Without an
// error that is known from another call, or from what the phone said when it picked up.
func (l *legRecord) flowChanged(refused error) {
	if l == nil {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.says(0, "")
	if status := new(StatusError); errors.As(refused, &status) {
		l.says(status.Code, status.Reason)
	}
	l.event(FlowChanged, nil)
}

// pressed tells of a digit that the phone sent, to another phone or to an owner of its
// media. What a caller presses before that is a PIN, and is not told.
func (l *legRecord) pressed(m *wire.Message, digitOf func(*wire.Message) byte) {
	if l == nil {
		return
	}
	digit := digitOf(m)
	if digit == 0 {
		return
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.state != legEnded {
		l.of.tell(&Event{Kind: Digit, At: time.Now(), CallID: l.report.CallID, Leg: &l.report, Digit: digit})
	}
}
