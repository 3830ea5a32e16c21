package talkroom

import (
	"errors"
	"slices"
	"time"

	"sipxrest/media/sfu"
	"sipxrest/talk"
)

const (
	// maxAnswering is how many offers are answered at a time: with a STUN server
	// each takes up to a second.
	maxAnswering = 8
	// maxEarly is how many candidates of a connection may come before it is made.
	maxEarly = 64
)

// Pauses before a participant is asked for again, whom the media server does not
// have, and whose connection has failed.
var (
	absentPauses = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second}
	failedPauses = []time.Duration{settleTime, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second}
)

// hearing is a participant that the phones hear, or shall hear. It belongs to the
// conversation's goroutine.
type hearing struct {
	session string
	state   sourceState
	n       int // counts attempts
	askID   string
	sid     string
	offer   *talk.MediaMessage // that waits to be answered
	busy    bool               // one is being answered
	early   []talk.Candidate
	conn    subscription
	remove  func()
	timer   *time.Timer
	tries   int
	warned  bool
	upAt    time.Time
	stats   sfu.SubscriptionStats
}

// sourceState is how far a participant's audio is.
type sourceState int

const (
	sourceNone       sourceState = iota
	sourceAsked                  // its offer is on the way
	sourceConnecting             // it came
	sourceHeard
	sourceWaiting     // to be asked for again
	numStates     int = iota
)

func (s sourceState) String() string {
	return [...]string{"none", "asked", "connecting", "heard", "waiting"}[s]
}

// to changes the state, and the counts.
func (c *conversation) to(h *hearing, s sourceState) {
	if h.state != sourceNone {
		c.states[h.state].Add(-1)
	}
	if h.state = s; s != sourceNone {
		c.states[s].Add(1)
	}
}

// listen asks for those who are to be heard, and gives up the others.
func (c *conversation) listen() {
	if c.active == nil || c.over {
		return
	}
	audible := c.signal.Audible()
	if len(audible) >= talk.MaxAudible && !c.crowded {
		c.crowded = true
		c.log.Warn("phones hear no more than these participants of the conversation", "limit", talk.MaxAudible)
	}
	there := make(map[string]bool, len(audible))
	for _, session := range audible {
		there[session] = true
		h := c.hearings[session]
		if h == nil {
			h = &hearing{session: session}
			c.hearings[session] = h
		}
		if h.state == sourceNone {
			c.ask(h)
		}
	}
	for session, h := range c.hearings {
		if !there[session] {
			c.forget(h)
		}
	}
}

// unlisten gives up all.
func (c *conversation) unlisten() {
	for _, h := range c.hearings {
		c.forget(h)
	}
}

func (c *conversation) forget(h *hearing) {
	c.unhear(h)
	c.to(h, sourceNone)
	delete(c.hearings, h.session)
	c.outOfTurn(h)
}

// outOfTurn has an offer not wait any more.
func (c *conversation) outOfTurn(h *hearing) {
	c.turn = slices.DeleteFunc(c.turn, func(o *hearing) bool { return o == h })
}

// inTurn has the offer of a session wait behind the others, once.
func (c *conversation) inTurn(h *hearing) {
	c.outOfTurn(h)
	c.turn = append(c.turn, h)
}

// unhear closes the connection, and leaves out what is told of it from now on.
func (c *conversation) unhear(h *hearing) {
	h.n++
	h.askID, h.sid, h.offer, h.early = "", "", nil, nil
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.remove != nil {
		h.remove()
		h.remove = nil
	}
	if h.conn != nil {
		c.measureSource(h)
		h.stats = sfu.SubscriptionStats{}
		h.conn.Close()
		h.conn = nil
	}
}

// ask asks for a participant's audio.
func (c *conversation) ask(h *hearing) {
	c.unhear(h)
	id, err := c.signal.Ask(h.session)
	if err != nil { // Returned and Entered look again
		c.to(h, sourceNone)
		if !errors.Is(err, talk.ErrAway) {
			c.askLater(h, absentPauses)
		}
		return
	}
	h.askID = id
	c.to(h, sourceAsked)
	c.within(h, answerTime, errNoAnswer)
}

// within gives up an attempt that takes longer.
func (c *conversation) within(h *hearing, d time.Duration, why error) {
	if h.timer != nil {
		h.timer.Stop()
	}
	n := h.n
	h.timer = c.after(d, func() {
		if n == h.n {
			c.lost(h, why, absentPauses)
		}
	})
}

// askLater asks again after a pause.
func (c *conversation) askLater(h *hearing, pauses []time.Duration) {
	c.unhear(h)
	c.to(h, sourceWaiting)
	n := h.n
	h.timer = c.after(pause(pauses, h.tries), func() {
		if n == h.n {
			c.ask(h)
		}
	})
	h.tries++
}

// lost notes that a participant is not heard, or no more.
func (c *conversation) lost(h *hearing, why error, pauses []time.Duration) {
	if h.state == sourceHeard && time.Since(h.upAt) >= steadyTime {
		h.tries = 0
	}
	c.log.Debug("a participant is not heard", "session", h.session, "error", why, "attempts", h.tries+1)
	c.askLater(h, pauses)
}

// unheard takes an error of what was asked.
func (c *conversation) unheard(m talk.MediaMessage) {
	if m.ID == "" {
		return
	}
	for _, h := range c.hearings {
		if h.askID == m.ID && h.state == sourceAsked {
			c.lost(h, m.Err, absentPauses)
			return
		}
	}
}

// offered takes a participant's offer. One that nobody asked for takes the place
// of the connection that there is: he publishes anew.
func (c *conversation) offered(m talk.MediaMessage) {
	h := c.hearings[m.From]
	if h == nil || c.active == nil {
		return // nobody who is to be heard
	}
	c.unhear(h)
	h.sid, h.offer = m.SID, &m
	c.to(h, sourceConnecting)
	c.within(h, answerTime, errNoAnswer)
	if !h.busy {
		c.inTurn(h)
	}
	c.answerNext()
}

// answerNext makes answers, not too many at a time: each in a goroutine of its own.
func (c *conversation) answerNext() {
	for len(c.turn) > 0 && c.answering < maxAnswering {
		h := c.turn[0]
		c.turn = c.turn[1:]
		if h.offer == nil || h.busy {
			continue
		}
		n, offer := h.n, h.offer.SDP
		h.offer, h.busy = nil, true
		c.answering++
		c.aside.Go(func() {
			conn, answer, err := c.rooms.connects.subscribe(offer, sfu.Events{
				Connected: func(took time.Duration) { c.post(func() { c.nowHeard(h, n, took) }) },
				Failed:    func(err error) { c.post(func() { c.noMoreHeard(h, n, err) }) },
			})
			c.post(func() { c.answer(h, n, conn, answer, err) })
		})
	}
}

// answer sends the answer, once it is made.
func (c *conversation) answer(h *hearing, n int, conn subscription, answer string, err error) {
	c.answering--
	h.busy = false
	defer c.answerNext()
	if n != h.n { // another offer has come, or he has gone
		if conn != nil {
			conn.Close()
		}
		if h.offer != nil {
			c.inTurn(h)
		}
		return
	}
	if err != nil {
		if !h.warned {
			h.warned = true
			c.log.Warn("a participant cannot be heard by phones", "session", h.session, "error", err)
		}
		if errors.Is(err, sfu.ErrCodec) { // until he publishes anew, or comes back
			c.unhear(h)
			c.to(h, sourceWaiting)
			return
		}
		c.lost(h, err, absentPauses)
		return
	}
	h.conn = conn
	if err := c.signal.Answer(h.session, h.sid, answer); err != nil {
		c.lost(h, err, failedPauses)
		return
	}
	for _, one := range h.early {
		c.candidate(h, one)
	}
	h.early = nil
}

// subscribed takes a candidate of a participant's connection.
func (c *conversation) subscribed(m talk.MediaMessage) {
	h := c.hearings[m.From]
	switch {
	case h == nil || h.sid == "" || m.SID != h.sid:
	case h.conn != nil:
		c.candidate(h, m.Candidate)
	case len(h.early) < maxEarly:
		h.early = append(h.early, m.Candidate)
	}
}

func (c *conversation) candidate(h *hearing, one talk.Candidate) {
	if err := h.conn.Candidate(candidate(one)); err != nil {
		c.log.Debug("a candidate of a participant is not used", "session", h.session, "error", err)
	}
}

// nowHeard is told that a participant's connection is there.
func (c *conversation) nowHeard(h *hearing, n int, took time.Duration) {
	if n != h.n || h.conn == nil || c.active == nil || h.state != sourceConnecting {
		return
	}
	h.timer.Stop()
	c.rooms.count.subscribed(took)
	c.log.Debug("a participant is heard", "session", h.session, "after", took)
	h.upAt = time.Now()
	h.remove = c.active.AddSource(h.conn)
	c.to(h, sourceHeard)
}

// noMoreHeard is told that there is no connection, or none any more.
func (c *conversation) noMoreHeard(h *hearing, n int, err error) {
	if n == h.n {
		c.lost(h, err, failedPauses)
	}
}
