package dialout

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/sipflow"
	"sipxrest/talk"
)

// happening is one thing that happens to a call's SIP side. Each happens once
// at most, in this order; ended always does.
type happening struct {
	kind happeningKind
	ending
}

type happeningKind uint8

const (
	itRings happeningKind = iota
	itConnects
	itEnds
	numHappenings int = iota
)

// call is one call to a number. Its goroutine is run.
type call struct {
	id      string
	number  string
	agent   string // user name of the client of the JSON resource, "" for others
	source  Source
	s       *Service
	log     *slog.Logger
	talk    *conversation // nil without Talk
	began   time.Time
	request string     // what the client of the JSON resource calls its request
	peer    netip.Addr // of the client of the JSON resource; invalid for others

	sipCallID atomic.Pointer[string] // of the call to the phone, once it is placed

	happens  chan happening
	controls chan talk.Control // what the phone is to do
	gone     context.Context   // done once nothing more is wanted of the phone
	stop     context.CancelFunc

	mu       sync.Mutex    // taken before talk's
	statuses []talk.Status // said so far, at most four
	said     chan struct{} // closed and replaced by each status
	line     *line         // nil until it is placed
	why      error         // of ours to hang up
	flags    talk.Flags
	happened [numHappenings]bool
	away     bool // another node has it
}

func (s *Service) newCall(source Source, number string) *call {
	c := &call{id: newCallID(), number: number, source: source, s: s, began: time.Now(), happens: make(chan happening, numHappenings),
		controls: make(chan talk.Control, maxControls), said: make(chan struct{})}
	c.gone, c.stop = context.WithCancel(context.Background())
	c.log = s.log.With("call", c.id)
	return c
}

// report is told by SIP what happens. It returns at once; what comes twice or
// too late is left out.
func (c *call) report(h happening) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reportLocked(h)
}

func (c *call) reportLocked(h happening) {
	if slices.Contains(c.happened[h.kind:], true) {
		return
	}
	c.happened[h.kind] = true
	c.happens <- h // there is room for each kind
}

// place calls the phone. It takes at most placeTime until the INVITE is out, and
// ends at once when the call is hung up before.
func (c *call) place(o *placement) error {
	ctx, stop := c.s.within(c.gone)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, placeTime)
	defer cancel()
	o.report, o.placed = c.report, func(callID string) { c.sipCallID.CompareAndSwap(nil, &callID) }
	o.keepWith = c.keepWith
	c.expect(o)
	l, err := c.s.place(ctx, o)
	if err != nil {
		c.unplaced(o, err)
		return err
	}
	c.lineIs(l)
	return nil
}

// lineIs gives the call its line, which is hung up if the call was before.
func (c *call) lineIs(l *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line = c.withSound(l)
	if c.why != nil {
		l.hangUp(c.why)
	}
}

// withSound has the conversation do what the line of a phone that is in it would.
func (c *call) withSound(l *line) *line {
	if c.talk != nil && c.talk.sound != nil {
		l.dtmf, l.mute = c.talk.sound.dtmf, c.talk.sound.mute
	}
	return l
}

// hangUp ends the call for a reason of ours, now or once it is placed. It
// returns at once, and reports whether the call was not over. A phone that does
// not respond to its BYE for half a minute does not keep the call.
func (c *call) hangUp(why error) bool { return c.hangUpAs(why, true) }

// hangUpAs is hangUp. With tell it is told who wants it.
func (c *call) hangUpAs(why error, tell bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.happened[itEnds] {
		return false
	}
	c.why = why
	if tell {
		c.hangsUp(why)
	}
	c.stop()
	if c.line != nil {
		c.line.hangUp(why)
	}
	c.reportLocked(happening{itEnds, ending{by: us}})
	return true
}

// doomed says why the call is to be hung up before it begins, nil if it is not.
func (c *call) doomed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// run says how the call fares until nothing is left to be said. It was
// accepted before.
func (c *call) run() {
	connected := false
	var controls sync.WaitGroup
	for h := range c.happens {
		switch h.kind {
		case itRings:
			c.say(talk.Status{State: talk.Ringing})
		case itConnects:
			connected = true
			c.connected()
			controls.Go(c.obey)
		case itEnds:
			c.stop()
			controls.Wait()
			if errors.Is(h.err, sipflow.ErrForgotten) {
				c.leaves(connected)
				return
			}
			c.ended(h.ending, connected)
			return
		}
	}
}

// connected shows the phone in the room, then says so: a status before the
// phone session would be of a call that nobody can hang up.
func (c *call) connected() {
	if c.talk != nil {
		c.talk.entry.Connected = true
		c.s.journal.put(&c.talk.entry)
		c.talk.sound.join(c.id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.talk != nil {
		c.addPhone()
	}
	c.sayLocked(talk.Status{State: talk.Connected})
}

// ended says the last status and leaves nothing behind.
func (c *call) ended(e ending, connected bool) {
	if c.talk != nil {
		c.talk.sound.end() // whose callbacks may wait for c.mu
	}
	c.mu.Lock()
	why := c.why
	status, outcome := lastStatus(e, connected, why)
	if c.talk != nil && connected {
		c.removePhone()
	}
	c.sayLocked(status)
	c.mu.Unlock()
	c.s.count(c.source, outcome)
	level := slog.LevelInfo
	if outcome == Failed {
		level = slog.LevelWarn
	}
	end := sipflow.End{Key: sipflow.Key{Agent: c.agent, Calling: c.number}, Peer: c.peer}
	if callID := c.sipCallID.Load(); callID != nil { // SIP may take its time to end
		end.CallIDs = []string{*callID}
	}
	if e.sip != nil {
		end = *e.sip
	}
	end.Flow, end.Outcome, end.By, end.Took = "dialout", outcome.String(), sipflow.PartyName(sipflow.Party(e.by)), time.Since(c.began)
	if end.Err = e.err; end.Err == nil {
		end.Err = why
	}
	more := []slog.Attr{slog.String("call", c.id), slog.Int("code", status.Code), slog.String("reason", status.Message)}
	if c.talk != nil {
		end.Mask()
		more = append(more, slog.String("room", talk.Masked(c.talk.roomID)), slog.String("backend", c.talk.session.Backend().URL()))
	}
	c.s.log.LogAttrs(context.Background(), level, sipflow.EndText, end.Attrs(more...)...)
	c.s.release(c)
	if c.talk != nil {
		c.leave()
	}
}

// say tells everybody how the call fares. A state is said once, and nothing
// after the last.
func (c *call) say(status talk.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sayLocked(status)
}

func (c *call) sayLocked(status talk.Status) {
	if n := len(c.statuses); n > 0 && (c.statuses[n-1].State.Terminal() || c.statuses[n-1].State == status.State) {
		return
	}
	status.CallID = c.id
	c.statuses = append(c.statuses, status)
	close(c.said)
	c.said = make(chan struct{})
	c.changedLocked()
	if c.talk != nil && status.State != talk.Accepted { // the acceptance said it
		c.tellTalk(status)
	}
}

// changedLocked has what is kept of the call be written again. c.mu is held.
func (c *call) changedLocked() {
	if c.line != nil && c.line.changed != nil {
		c.line.changed()
	}
}

// isAway reports whether another node has the call.
func (c *call) isAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

// status is the last one said; false before the call was accepted.
func (c *call) status() (talk.Status, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.statuses) == 0 {
		return talk.Status{}, false
	}
	return c.statuses[len(c.statuses)-1], true
}

// after returns the statuses from the n-th on, and what is closed when there
// is another; nil if there will be none here.
func (c *call) after(n int) ([]talk.Status, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	more := c.said
	if n := len(c.statuses); c.away || n > 0 && c.statuses[n-1].State.Terminal() {
		more = nil
	}
	return c.statuses[min(n, len(c.statuses)):], more
}

// failPlacing ends a call of Talk's that was accepted and could not be placed.
func (c *call) failPlacing(err error) {
	if c.doomed() != nil {
		return // that ends it
	}
	c.log.Warn("the phone cannot be called", "error", sipflow.Masked(err))
	c.report(happening{itEnds, ending{by: us, err: err}})
}

// placeTime bounds the time until the first INVITE is out: DNS and connecting.
const placeTime = 5 * time.Second
