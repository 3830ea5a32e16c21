package sipflow

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// Call is one third-party call, run by one goroutine.
type Call struct {
	Spec

	sw    *Switchboard
	id    uint64
	stop  context.CancelCauseFunc
	legs  []*Leg         // owned by the call's goroutine, as the next three
	byes  []func() error // wait for the responses to our BYEs
	hops  []resolve.Hop  // of the first INVITE
	sent  chan error     // waits for the first INVITE; nil once it is out
	wake  chan struct{}  // of the legs' inboxes
	done  chan struct{}  // closed when the flow has returned
	err   error          // valid after done
	began time.Duration  // Place was called, since stats.start
	open  atomic.Int32   // the flow, husks whose NOTIFYs are recorded, legs hung up on the side

	ending     atomic.Bool            // hung up by the client, or the flow has returned
	isUp       atomic.Bool            // bridged: orders is there
	joined     bool                   // the parties have been; owned by the call's goroutine, as the next three
	wasUp      bool                   // it has been bridged
	outcome    CallOutcome            // what it came to
	by         Party                  // who ended it
	mu         sync.Mutex             // one event is told at a time; guards moved
	moved      *Key                   // that the call holds since its last transfer
	orders     chan *order            // of the client
	in         *Incoming              // of an inbound call; nil for others
	past       *past                  // see kept
	divertible [2]atomic.Pointer[Leg] // see leg_divert.go
	joining    atomic.Bool            // a client is joining it with another call
	record     *record                // nil when nobody observes
}

// past is what of a call is asked for later than most of it. It belongs to the
// call's goroutine; a husk reads referredAt, which was written before there was one.
type past struct {
	callIDs    []string      // of legs that it had, for the log
	took       time.Duration // from Place until the flow had returned
	referredAt time.Time     // the calling phone accepted the last REFER
	users      [2]string     // whom clients have had called in place of CallingUser and CalledUser
	keeping    *keptCall     // its state for other nodes; nil where nobody keeps it
}

// kept is the call's past, which a call that rings does not have yet.
func (c *Call) kept() *past {
	if c.past == nil {
		c.past = new(past)
	}
	return c.past
}

// Done is closed when the flow has returned: both phones are hung up, or on
// their own.
func (c *Call) Done() <-chan struct{} { return c.done }

// Err is how the call ended, nil for one that was connected. It is valid once
// Done is closed.
func (c *Call) Err() error { return c.err }

// LogValue names the call by its parties.
func (c *Call) LogValue() slog.Value { return slog.StringValue(c.Holds().String()) }

// ID names the call to its clients: Spec.ID. It is empty where that was and the
// switchboard has no observers.
func (c *Call) ID() string { return c.Spec.ID }

// named gives a call an id that has none, where somebody is told of it.
func (c *Call) named() {
	if c.Spec.ID == "" && (len(c.sw.observers) > 0 || c.sw.cfg.Keeper != nil) {
		c.Spec.ID = newCallID(time.Now())
	}
}

// observed begins the record of a call, where somebody is told of it. The legs that a
// client asked for are known; others come as they are called.
func (c *Call) observed() {
	if len(c.sw.observers) == 0 {
		return
	}
	stage := StageDiallingCalling
	switch {
	case c.in != nil:
		stage = StageRouting
	case c.Spec.Converse != nil && c.Dial == nil:
		stage = StageDiallingCalled
	}
	r := newRecord(&c.mu, c.tellAll, stage)
	switch {
	case c.in != nil:
		caller := r.add(RoleCaller, c.CallingUser)
		caller.state, caller.report.CallID = legDialling, c.in.CallID
		caller.report.Hop = c.in.Transport + ":" + c.in.Source.String()
		c.in.leg.record = caller
	case c.Spec.Converse != nil && c.Dial != nil:
		r.add(RoleCalling, uri.Dialable(c.Dial.Number)+"@"+uri.AOR(c.Dial.Gateway))
	case c.Spec.Converse != nil:
		r.add(RoleCalled, c.CalledUser)
	case c.dialsFirst():
		r.add(RoleCalling, uri.Dialable(c.Dial.Number)+"@"+uri.AOR(c.Dial.Gateway))
		r.add(RoleCalled, uri.AOR(c.Dial.Target))
	case c.Dial != nil:
		r.add(RoleCalling, c.CallingUser)
		r.add(RoleCalled, uri.Dialable(c.Dial.Number)+"@"+uri.AOR(c.Dial.Gateway))
	default:
		r.add(RoleCalling, c.CallingUser)
		r.add(RoleCalled, c.CalledUser)
	}
	c.record = r
}

// Holds is the key that the call holds: Spec.Key, until a transfer moves it.
func (c *Call) Holds() Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holds()
}

func (c *Call) holds() Key {
	if c.moved != nil {
		return *c.moved
	}
	return c.Key
}

// placed tells Place that the first INVITE is out, or why it is not.
func (c *Call) placed(err error) {
	if c.sent != nil {
		c.sent <- err
		c.sent = nil
	}
}

// note reports a status line. Empty ones say nothing.
func (c *Call) note(l *Leg, method, text string, at time.Time) {
	if text != "" {
		c.observe(&Event{Kind: Progress, At: at, CallID: l.callID, Method: method, Text: text})
	}
}

// observe tells of an event under the key that the call holds.
func (c *Call) observe(e *Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell(e)
}

// tell is observe with c.mu held.
func (c *Call) tell(e *Event) {
	if e.Kind != Ended && c.forgotten() {
		return
	}
	e.Key, e.ID = c.holds(), c.Spec.ID
	if c.record != nil {
		c.record.sees(e)
		defer c.tellAll(e) // whatever the call's own observer does
	}
	if c.Observe != nil {
		c.Observe(e)
	}
}

// tellAll tells the observers of all calls, with c.mu held.
func (c *Call) tellAll(e *Event) {
	if e.Kind != Ended && c.forgotten() {
		return // the other node tells what becomes of it
	}
	e.Key, e.ID, e.Stage = c.holds(), c.Spec.ID, c.record.stage
	for _, f := range c.sw.observers {
		f(e)
	}
}

// early reports the dialog that a provisional response makes.
func (c *Call) early(l *Leg, m *wire.Message) {
	if l.state == Calling && m.Code() > 100 && m.Code() < 200 {
		if tag := m.ToTag(); len(tag) > 0 {
			l.earlyTag = string(tag)
			c.dialled(l, Early)
		}
	}
}

// dialled reports a dialog's state when it is a new one.
func (c *Call) dialled(l *Leg, state DialogState) {
	if c.Method != MethodInvite || l.state == state || l.state == Terminated {
		return
	}
	l.state = state
	d := &Dialog{Leg: l.id, ID: "null", Local: "sip:" + c.Key.Agent, Remote: "sip:" + l.party, State: state}
	if tag := cmp.Or(string(wire.Tag([]byte(l.remote))), l.earlyTag); tag != "" {
		d.ID = strings.ToLower(l.callID + ":" + string(appendID(nil, l.id)) + ":" + tag)
	}
	c.observe(&Event{Kind: DialogChanged, At: time.Now(), CallID: l.callID, Dialog: d})
}

// settle counts off the flow or a husk; after the last one nothing can follow.
func (c *Call) settle() {
	if c.open.Add(-1) == 0 {
		cause := c.record.last()
		e := &Event{Kind: Ended, Cause: cause, At: time.Now(), Err: c.err, By: c.by, Code: c.in.code()}
		if c.LogsEnd {
			e.End = c.end()
		}
		c.observe(e)
		c.keptOver()
	}
}

// release lets go of the legs when the flow has returned. Husks, or the entries
// of ended dialogs, respond to what the phones still send.
func (c *Call) release() {
	c.noteLegs()
	c.record.released(c.finalBy())
	for _, l := range c.legs {
		c.sw.faults.Try("the end of a call to a phone", func() { c.releaseLeg(l) })
	}
	c.legs, c.byes = nil, nil
}

// finalBy is until when a phone that was referred may report, and so the call's end is
// told. It is about now where none may.
func (c *Call) finalBy() time.Time {
	until := time.Now()
	for _, l := range c.legs {
		if l.peer.subscribes() {
			return until.Add(tEnd)
		}
	}
	return until
}

// dismiss hangs a leg up on the side, while the call goes on with others.
func (c *Call) dismiss(l *Leg, reason string) {
	answered := l.startBye(context.Background(), reason)
	c.aside(l, func() { answered() }) //nolint:errcheck // there is nobody to tell
}

// dismissFor is dismiss for an error, which the phone is told as a reason.
func (c *Call) dismissFor(l *Leg, why error) {
	l.record.unwanted(why)
	c.dismiss(l, c.reasonFor(why))
}

// aside hands a leg to a goroutine of its own, which ends it. The call's own
// must not touch it any more.
func (c *Call) aside(l *Leg, end func()) {
	c.keepsAside(l)
	c.remove(l)
	l.inbox.own()
	if l.media != nil {
		l.media.early = nil // it would need the other leg
	}
	l.onRinging = nil // likewise
	c.open.Add(1)
	c.sw.fork(func() {
		defer c.settle()
		defer c.releaseLeg(l)
		defer c.asideOver(l)
		end()
	})
}

// letGo releases a leg before the call's end: its phone has hung up, or was
// never reached.
func (c *Call) letGo(l *Leg) {
	c.remove(l)
	c.releaseLeg(l)
}

// remove takes a leg out of the call's hands.
func (c *Call) remove(l *Leg) {
	c.dialled(l, Terminated)
	l.record.left()
	l.gone = true
	c.noteLegs()
	c.legs = slices.DeleteFunc(c.legs, func(o *Leg) bool { return o == l })
}

func (c *Call) releaseLeg(l *Leg) {
	l.giveUpRefresh()
	defer l.hold(nil)
	c.retire(l)
	c.dialled(l, Terminated)
}

// retire takes a leg out of the tables, and leaves there what responds in its
// place.
func (c *Call) retire(l *Leg) {
	s := c.sw.shard(l.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.legs[l.id] == l { // a fork that was taken over has the tag of another leg
		delete(s.legs, l.id)
	}
	for { // NOTIFYs that came during the last wait
		e, ok := l.inbox.take()
		if !ok {
			break
		}
		l.meanwhile(e) //nolint:errcheck // a BYE now changes nothing
	}
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	l.peer.acknowledged()
	l.peer.endSession()
	if in := l.callee.caller(); in != nil {
		s.outlive(c.sw, in)
	}
	if l.peer.confirmed && !s.closed && !l.refusedCaller() {
		husked := l.peer.referral.open && !c.forgotten()
		s.bury(l, husked, l.right())
		if husked {
			h := &husk{id: l.id, callID: l.callID, tag: l.peer.tag, seq: l.peer.seq, refer: l.peer.referral, secure: l.peer.secure, call: c, sw: c.sw}
			c.open.Add(1)
			s.husks[l.id] = h
			h.timer.set(s, tEnd, h)
		}
	}
	for _, tx := range l.peer.open {
		tx.timer.stop()
	}
	l.peer.open = nil
}

// whileTalking is the context of parties that are joined: it ends when they have been
// for as long as they may.
func (c *Call) whileTalking(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.MaxTalk <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, c.MaxTalk, ErrTimeLimit)
}

// ringTime is how long a phone of the call is alerted.
func (c *Call) ringTime() time.Duration {
	limit := c.sw.cfg.MaxRing
	if c.Timeout > 0 {
		limit = min(limit, c.Timeout)
	}
	return limit
}

// blame notes the party that ended the call.
func (c *Call) blame(ctx context.Context, who Party, err error) error {
	if ctx.Err() != nil {
		who = Self
	}
	c.by = who
	return err
}

// hangUp ends a leg and tells the phone why. The response is waited for when
// the flow is over, so that both phones are hung up at once.
func (c *Call) hangUp(ctx context.Context, l *Leg, why error) {
	reason := c.reasonFor(why)
	if errors.Is(why, ErrNoAnswer) {
		reason = reasonLine(408, "No Answer")
	}
	if slices.Contains(c.legs, l) { // else it has ended, or is another call's
		c.byes = append(c.byes, l.startBye(context.WithoutCancel(ctx), reason))
		c.dialled(l, Terminated) // whatever its response is (RFC 3261 §15.1.1)
	}
	if c.in != nil && l != c.in.leg && !c.wasUp {
		l.record.hungUpFor(why) // the caller may be joined with another
	} else {
		c.record.fell(why)
	}
}

// handOver takes a phone out of the call, which goes on in another one.
func (c *Call) handOver(l *Leg) {
	c.dialled(l, Terminated)
	l.record.hungUpFor(ErrMerged)
	c.noteLegs()
	c.legs = slices.DeleteFunc(c.legs, func(o *Leg) bool { return o == l })
}

// movesTo has a phone that is up be one of another call.
func (l *Leg) movesTo(c *Call) {
	l.moved.Store(c)
	l.inbox.wakes(c.wake)
	c.legs = append(c.legs, l)
	record := c.record.joining(RoleTarget, l.party)
	var who callee = (*userPhone)(c)
	if in := l.callee.caller(); in != nil { // its INVITE outlives it, and what it says of itself is not trusted
		who = &replacer{callerPhone{(*userPhone)(c), in}}
	}
	l.peer.mu.Lock()
	l.callee, l.record = who, record
	l.peer.mu.Unlock()
	record.dialled(l.callID, resolve.Hop{})
	record.answered(l.target, 200, wire.Phrase(200))
	l.state = Calling
	c.dialled(l, Confirmed)
}

// agents is the part in the call that its agent has: that of the phone which rang first,
// if he is neither.
func (c *Call) agents() Party {
	if key := c.Holds(); key.Called == key.Agent && key.Calling != key.Agent {
		return CalledParty
	}
	return CallingParty
}

// firstHops says where the first INVITE goes.
func (c *Call) firstHops(ctx context.Context) ([]resolve.Hop, error) {
	if c.dialsFirst() {
		return c.sw.hopsOf(ctx, c.Dial.Gateway)
	}
	return c.namedHops(ctx, "sip:"+c.firstUser())
}

// byOurServers reports whether the first INVITE goes to servers that the
// configuration names, or to those of the agent's domain. A client may have any
// other host called, which must not free it of the limits of strangers.
func (c *Call) byOurServers() bool {
	_, host, _ := strings.Cut(c.firstUser(), "@")
	_, domain, _ := strings.Cut(c.Key.Agent, "@")
	return len(c.sw.proxies) > 0 || c.dialsFirst() || strings.EqualFold(host, domain)
}

// dialsFirst reports whether the first INVITE is for a number.
func (c *Call) dialsFirst() bool { return c.Dial != nil && !c.Dial.Last }

// rings asks whether the agent may have the parties of the call rung.
func (c *Call) rings() error {
	if c.Dial != nil { // the target is the operator's choice, or has been asked about
		err := c.sw.allowed(&c.Spec, uri.Dialable(c.Dial.Number)) // what is dialled
		if err == nil && c.Dial.Last {
			err = c.sw.allowed(&c.Spec, c.CallingUser)
		}
		return err
	}
	if c.Spec.Converse != nil {
		return c.sw.allowed(&c.Spec, c.CalledUser)
	}
	for _, user := range [...]string{c.CallingUser, c.CalledUser} {
		if err := c.sw.allowed(&c.Spec, user); err != nil {
			return err
		}
	}
	return nil
}
