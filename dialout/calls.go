package dialout

import (
	"errors"

	"sipxrest/sipflow"
)

// Calls is who is told of calls beside Talk and the clients of the JSON resource: the
// stream of events of all calls. What happens to a call once it is placed the switchboard
// tells itself. The methods return at once.
type Calls interface {
	// Expect says that a call is about to be placed; it has this id in Spec.ID.
	Expect(Asked)
	// Forget says that it was not, unless the switchboard has told of it.
	Forget(id string)
	// Refused says that a call of Talk's came to nothing before it was placed. If the
	// switchboard has told of it, that is left out.
	Refused(Asked, Reason, string)
	// HangsUp says that a call is about to be hung up, and by whom.
	HangsUp(id string, who Who)
}

// Asked is a call that somebody asks for.
type Asked struct {
	ID        string // the callid
	Source    Source
	Agent     string // address of record; empty for Talk without an agent
	Number    string // +E.164, or as Talk wrote it
	Target    string // SIP URI; empty if it is not known yet
	RequestID string // the client's, empty if it gave none
}

// Who has a call hung up.
type Who struct {
	Agent   string // user name of a client of the JSON resource; empty for Talk
	Backend string // URL of Talk's Nextcloud; empty for others
	Why     string // a sentence
}

// Reason is why a call of Talk's came to nothing.
type Reason uint8

// The reasons.
const (
	NotVerified Reason = iota // Nextcloud does not know the number, or cannot be asked
	BadNumber
	BadCaller
	BadRequest // the signaling server asks for what no call is
	Forbidden  // by a policy
	TooMany
	Stopping
	HungUp // before it began
	NoGateway
	Internal
)

// reasonOf is the reason that a refusal stands for.
func reasonOf(why *refusal) Reason {
	switch why.code {
	case notVerified, noNextcloud:
		return NotVerified
	case badNumber:
		return BadNumber
	case badCaller:
		return BadCaller
	case badOptions, badRoom, badTarget:
		return BadRequest
	case notAllowed:
		return Forbidden
	case tooMany, alreadyCalled:
		return TooMany
	case stopping, noCluster:
		return Stopping
	case callOver:
		return HungUp
	case noGateway:
		return NoGateway
	}
	return Internal
}

// asked is the call as it is told.
func (c *call) asked(o *placement) Asked {
	a := Asked{ID: c.id, Source: c.source, Number: c.number, RequestID: c.request}
	if o != nil {
		a.Target = o.target
		if o.agent != nil {
			a.Agent = o.agent.Identity
		}
	}
	return a
}

// expect tells of the call before it is placed.
func (c *call) expect(o *placement) {
	if calls := c.s.cfg.Calls; calls != nil {
		calls.Expect(c.asked(o))
	}
}

// unplaced tells that it was not placed. One that Talk was told of is a call all the
// same.
func (c *call) unplaced(o *placement, err error) {
	calls := c.s.cfg.Calls
	if calls == nil {
		return
	}
	calls.Forget(c.id)
	if c.talk == nil {
		return
	}
	if why := c.doomed(); why != nil {
		c.refused(o, doomRefusal(why))
		return
	}
	c.refused(o, placeRefusal(err))
}

// refused tells that a call of Talk's came to nothing.
func (c *call) refused(o *placement, why *refusal) {
	if calls := c.s.cfg.Calls; calls != nil {
		calls.Refused(c.asked(o), reasonOf(why), why.message)
	}
}

// hangsUp tells who has the call hung up. The end of the service is told by the
// switchboard.
func (c *call) hangsUp(why error) {
	calls := c.s.cfg.Calls
	if calls == nil || errors.Is(why, sipflow.ErrStopped) {
		return
	}
	who := Who{Agent: c.agent, Why: sentence(why)}
	if c.talk != nil {
		who.Backend = c.talk.session.Backend().URL()
	}
	calls.HangsUp(c.id, who)
}
