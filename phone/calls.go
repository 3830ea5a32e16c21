package phone

// Calls is who is told of calls beside their users: the stream of events of all calls.
// What the switchboard tells of a SIP phone's side comes under the same id. The methods
// but Name are called with Service.mu held, and return at once.
type Calls interface {
	// Name returns the id by which a call is told: its own, or another if a call had that
	// before. It may take its time.
	Name(id string) string
	// Begins says that a call has begun.
	Begins(Begun)
	// Rings says that so many devices of the callee ring.
	Rings(id string, devices int, inbound bool)
	// Answering says that a device picks up, or a SIP phone has. It comes once, and like
	// Joined for no inbound call.
	Answering(id string)
	// Answered says that the callee's device has answered. It does not come for a SIP phone.
	Answered(id string, inbound bool)
	// Joined says that both hear each other.
	Joined(id string)
	// Ends says that the call is over, and with it what a SIP phone had of it.
	Ends(id string, e Ending)
}

// Begun is a call that has begun.
type Begun struct {
	ID             string
	Caller, Callee User
	Direct         bool // the devices speak with each other
	// Inbound says that a SIP phone is the caller, whose call is known by ID already: what is
	// told is that of the callee's devices.
	Inbound bool
}

// Ending is how a call ended.
type Ending struct {
	Outcome Outcome
	// By is who ended it.
	By By
	// Phone says that the callee had answered by a SIP phone, or that one has ended it;
	// Err is what that said, nil else.
	Phone bool
	Err   error
	// Inbound is that of Begun.
	Inbound bool
	// Stopped says that the service shut down, where Outcome is Ended.
	Stopped bool
}

// By is one of a call's parties.
type By uint8

// The parties.
const (
	BySelf By = iota
	ByCaller
	ByCallee
)

// tale is what was told of a call. It is guarded by Service.mu.
type tale struct {
	id        string // empty: nothing is told
	inbound   bool
	answering bool
	by        By
	err       error
	ending    *Ending // to be told when the SIP phone's side is over
}

// begins tells that c has begun. s.mu is held.
func (s *Service) begins(c *call) {
	if c.tale.id != "" {
		s.cfg.Calls.Begins(Begun{ID: c.tale.id, Caller: c.caller, Callee: c.callee, Direct: c.direct, Inbound: c.tale.inbound})
	}
}

// name finds out by which id c is told. s.mu is not held.
func (s *Service) name(c *call) {
	switch {
	case s.cfg.Calls == nil:
		c.tale.id = ""
	case c.tale.id == "" && !c.tale.inbound:
		c.tale.id = s.cfg.Calls.Name(c.id.String())
	}
}

// rings tells that the callee's devices ring, if there are any. s.mu is held.
func (s *Service) rings(c *call) {
	if n := len(s.devices[c.callee.ID]); n > 0 && c.tale.id != "" {
		s.cfg.Calls.Rings(c.tale.id, n, c.tale.inbound)
	}
}

// tellAnswering tells that c is being answered. s.mu is held.
func (s *Service) tellAnswering(c *call) {
	if c.tale.id != "" && !c.tale.inbound && !c.tale.answering {
		c.tale.answering = true
		s.cfg.Calls.Answering(c.tale.id)
	}
}

// tellJoined tells that c is up. s.mu is held.
func (s *Service) tellJoined(c *call) {
	if c.tale.id == "" {
		return
	}
	s.tellAnswering(c)
	if c.legs[1].out == nil {
		s.cfg.Calls.Answered(c.tale.id, c.tale.inbound)
	}
	if !c.tale.inbound {
		s.cfg.Calls.Joined(c.tale.id)
	}
}

// endedBy notes who ends c, and by what. s.mu is held.
func (c *call) endedBy(side int, err error) {
	if c.state != over {
		c.tale.by, c.tale.err = [...]By{ByCaller, ByCallee}[side], err
	}
}

// tellEnd tells that c is over: at once, or when its SIP phone's side is. s.mu is held.
func (s *Service) tellEnd(c *call, o Outcome) {
	if c.tale.id == "" {
		return
	}
	e := Ending{Outcome: o, By: c.tale.by, Err: c.tale.err, Inbound: c.tale.inbound, Stopped: s.closed && o == Ended,
		Phone: c.tale.err != nil || c.legs[1] != nil && c.legs[1].out != nil}
	if c.phone != nil && !c.tale.inbound {
		c.tale.ending = &e
		return
	}
	s.cfg.Calls.Ends(c.tale.id, e)
}

// sideOver tells the end of a call that waited for its SIP phone. s.mu is held.
func (s *Service) sideOver(c *call) {
	if e := c.tale.ending; e != nil {
		c.tale.ending = nil
		s.cfg.Calls.Ends(c.tale.id, *e)
	}
}
