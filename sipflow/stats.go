package sipflow

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// stats counts what happens. Counters that a message touches are plain atomic
// additions, those of readers and of senders on cache lines of their own; what
// happens under a shard's lock anyway is counted in the shard (shardStats).
// Every index is one of the small enumerations below: nothing that a stranger
// sends makes a counter. Stats reads them.
type stats struct {
	start time.Time // of the switchboard: times of calls are counted from it

	placed    [numFlowKinds]atomic.Uint64
	refused   [numRefusals]atomic.Uint64
	ended     [numFlowKinds][numOutcomes]atomic.Uint64
	answered  [numFlowKinds]histogram
	connected [numFlowKinds]histogram
	rare      // far from the readers' and the senders'

	_    [64]byte
	read struct { // written by the socket readers
		requests  [numMethods]atomic.Uint64
		responses [numClasses]atomic.Uint64
		strays    [numStrays]atomic.Uint64
	}
	_       [64]byte
	answers [numClasses]atomic.Uint64 // responses of ours
}

// rare are counters of what happens seldom.
type rare struct {
	challenges [numVerdicts]atomic.Uint64
	inboxFull  atomic.Uint64
	forks      atomic.Uint64
	inbound    [numInboundKinds]atomic.Uint64
	limited    [numLimits]atomic.Uint64
}

// shardStats are counted under the shard's lock.
type shardStats struct {
	started  [numMethods]uint64 // client transactions
	opened   uint64             // server transactions
	repeated uint64             // messages that were sent again
	repeats  uint64             // messages that came again
	timeouts uint64             // transactions without a final response
	unacked  uint64             // 2xx of ours without an ACK
}

// setupBounds are the upper bounds of the histograms of set-up times.
var setupBounds = [...]time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 8 * time.Second, 12 * time.Second, 20 * time.Second,
	30 * time.Second, 45 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute}

// histogram counts times. The last bucket is for those beyond all bounds.
type histogram struct {
	buckets [len(setupBounds) + 1]atomic.Uint64
	sum     atomic.Int64 // ns
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(setupBounds) && d > setupBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

func (s *stats) elapsed() time.Duration { return time.Since(s.start) }

// connected notes that the parties are joined. It is the call's goroutine's.
func (c *Call) connected() {
	if !c.joined {
		c.joined = true
		c.sw.stats.connected[c.kind()].observe(c.sw.stats.elapsed() - c.began)
	}
}

// cameTo notes what the flow returned.
//
//go:noinline
func (c *Call) cameTo(err error) {
	if err == nil {
		c.connected()
	}
	if c.joined && !errors.Is(err, ErrForgotten) {
		c.outcome = OutcomeConnected
		return
	}
	c.outcome = outcomeOf(err)
}

// FlowKind tells calls apart by what the client asked for.
type FlowKind uint8

// The kinds of calls.
const (
	FlowRefer  FlowKind = iota // Spec.Method is MethodRefer
	FlowInvite                 // MethodInvite
	FlowOther
	FlowInbound // placed to us
	FlowTalk    // by Converse: the media end here
	numFlowKinds
)

func (f FlowKind) String() string {
	return [...]string{"refer", "invite", "other", "inbound", "talk"}[f]
}

func (c *Call) kind() FlowKind {
	if c.in != nil {
		return FlowInbound
	}
	if c.Spec.Converse != nil {
		return FlowTalk
	}
	switch c.Method {
	case MethodRefer, "":
		return FlowRefer
	case MethodInvite:
		return FlowInvite
	}
	return FlowOther
}

// Refusal is why a call was not placed.
type Refusal uint8

// Why calls are not placed.
const (
	RefusedUnreachable Refusal = iota // no next hop could be looked up
	RefusedDraining
	RefusedTooMany
	RefusedInProgress
	RefusedForbidden // by Config.Allow: calls, transfers, redirects, what phones refer to
	RefusedOther
	numRefusals
)

func (r Refusal) String() string {
	return [...]string{"unreachable", "draining", "too_many_calls", "in_progress", "forbidden", "other"}[r]
}

func refusalOf(err error) Refusal {
	switch {
	case errors.Is(err, ErrDraining):
		return RefusedDraining
	case errors.Is(err, ErrTooManyCalls):
		return RefusedTooMany
	case errors.Is(err, ErrInProgress):
		return RefusedInProgress
	case errors.Is(err, ErrUnreachable):
		return RefusedUnreachable
	}
	return RefusedOther
}

// CallOutcome is what a call came to.
type CallOutcome uint8

// The outcomes of calls. A call whose parties were joined stays Connected,
// however it ends.
const (
	OutcomeFailed       CallOutcome = iota // for a reason that is none of the others
	OutcomeConnected                       // the parties were joined, or the calling phone took the REFER and rings the other
	OutcomeNoAnswer                        // nobody answered in time
	OutcomeBusy                            // 486 or 600
	OutcomeRefused3xx                      // a phone or proxy redirected the call
	OutcomeRefused4xx                      // refused it otherwise
	OutcomeRefused5xx                      // could not take it
	OutcomeRefused6xx                      // 603 and the like
	OutcomeTimeout                         // a SIP transaction or the REFER's outcome timed out
	OutcomeUnreachable                     // no next hop could be reached
	OutcomeHungUp                          // a phone hung up before they were joined
	OutcomeHungUpByUser                    // the client did
	OutcomeReplaced                        // by a call with the same parties
	OutcomeDraining                        // the service was stopped
	OutcomeNodeLost                        // the node that had the call was lost, and the call with it
	OutcomeElsewhere                       // another node goes on with the call
	numOutcomes
)

func (o CallOutcome) String() string {
	return [...]string{"failed", "connected", "no_answer", "busy", "refused_3xx", "refused_4xx", "refused_5xx", "refused_6xx",
		"timeout", "unreachable", "hung_up", "hung_up_by_client", "replaced", "draining", "node_lost", "elsewhere"}[o]
}

// OutcomeOf says what a call came to by the error of its end, nil for one that
// was connected.
func OutcomeOf(err error) CallOutcome {
	if err == nil {
		return OutcomeConnected
	}
	return outcomeOf(err)
}

// outcomeOf says what a call came to by the error of its flow.
//
//go:noinline
func outcomeOf(err error) CallOutcome {
	var refused *StatusError
	switch {
	case errors.Is(err, ErrForgotten):
		return OutcomeElsewhere
	case errors.Is(err, ErrNodeLost):
		return OutcomeNodeLost
	case errors.Is(err, ErrReplaced):
		return OutcomeReplaced
	case errors.Is(err, ErrHungUpByUser):
		return OutcomeHungUpByUser
	case errors.Is(err, ErrDraining):
		return OutcomeDraining
	case errors.Is(err, ErrNoAnswer):
		return OutcomeNoAnswer
	case errors.Is(err, ErrHungUp), errors.Is(err, ErrCancelled):
		return OutcomeHungUp
	case errors.As(err, &refused):
		switch code := refused.Code; {
		case code == 486, code == 600:
			return OutcomeBusy
		case code == 408:
			return OutcomeTimeout
		case code >= 300 && code < 700:
			return OutcomeRefused3xx + CallOutcome(code/100-3)
		}
	case errors.Is(err, ErrUnreachable), errors.Is(err, errLost):
		return OutcomeUnreachable
	case errors.Is(err, errTimeout), errors.Is(err, errNoNotify), errors.Is(err, errNoAck), errors.Is(err, errExpired),
		errors.Is(err, context.DeadlineExceeded):
		return OutcomeTimeout
	}
	return OutcomeFailed
}

// CountedMethod is a SIP method that is counted by its name. The first one
// stands for all that have no name here.
type CountedMethod uint8

const numMethods = CountedMethod(len(methodNames))

var methodNames = [...]string{"other", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REFER", "NOTIFY", "PRACK", "UPDATE", "INFO", "MESSAGE",
	"SUBSCRIBE", "REGISTER", "PUBLISH"}

func (m CountedMethod) String() string { return methodNames[m] }

func methodOf(name string) CountedMethod {
	switch name { // a comparison of lengths first, unlike a loop over the names
	case "INVITE":
		return 1
	case "ACK":
		return 2
	case "BYE":
		return 3
	case "CANCEL":
		return 4
	case "OPTIONS":
		return 5
	case "REFER":
		return 6
	case "NOTIFY":
		return 7
	case "PRACK":
		return 8
	case "UPDATE":
		return 9
	case "INFO":
		return 10
	case "MESSAGE":
		return 11
	case "SUBSCRIBE":
		return 12
	case "REGISTER":
		return 13
	case "PUBLISH":
		return 14
	}
	return 0
}

// numClasses are those of responses, 1xx to 6xx; class 0 is for codes beyond.
const numClasses = 7

func classOf(code int) int {
	if code < 100 || code > 699 {
		return 0
	}
	return code / 100
}

// Stray is a kind of message that belongs to nothing we know.
type Stray uint8

// The kinds of stray messages.
const (
	StrayResponse Stray = iota // to no transaction of ours, or late; repeats that nobody waits for are among them
	StrayRequest               // within a dialog that we do not have: 481
	numStrays
)

func (s Stray) String() string { return [...]string{"response", "request"}[s] }

// InboundKind is what became of an INVITE that would begin a call.
type InboundKind uint8

// What becomes of them, once for each that is no repeat.
const (
	InboundAdmitted   InboundKind = iota
	InboundRefused                // by Inbound.Admit
	InboundChallenged             // 401
	InboundDenied                 // wrong credentials
	InboundUnfit                  // no call can be made of it, or there are too many
	InboundMerged                 // it came by several ways: 482
	InboundReplaced               // it took a phone's place in a call (RFC 3891)
	numInboundKinds
)

func (k InboundKind) String() string {
	return [...]string{"admitted", "refused", "challenged", "denied", "unfit", "merged", "replaced"}[k]
}

// Verdict is what became of a challenge (401, 407).
type Verdict uint8

// What becomes of challenges.
const (
	ChallengeAnswered Verdict = iota // the request was sent again with credentials
	ChallengeDenied                  // the secret is refused, or none of ours fits
	ChallengeForeign                 // the realm is not one we send credentials to
	numVerdicts
)

func (v Verdict) String() string { return [...]string{"answered", "denied", "foreign"}[v] }

// Limit is a bound on what others can make us hold. Where something is refused
// for it: sw.stats.limited[LimitCalls].Add(1).
type Limit uint8

// The limits. A new one needs a constant here and a name in String.
const (
	LimitCalls            Limit = iota // Config.MaxCalls
	LimitForks                         // further 2xx of one INVITE that are hung up
	LimitPracks                        // reliable provisional responses of one phone
	LimitRequests                      // requests of one phone that wait for a response
	LimitStreams                       // connections
	LimitCallsPerAgent                 // Limits, as are those that follow
	LimitCallRate                      //
	LimitCallRatePerAgent              //
	LimitSource                        // SourceRate
	LimitStrangers                     // StrangerRate
	LimitDialog                        // DialogRate
	LimitStreamsPerSource              //
	LimitCallsPerTrunk                 // Inbound.Trunk
	LimitCallRatePerPair               // PairRate
	LimitOverload                      // Config.Overload
	LimitAnswer                        // responses by UDP that would be much longer than the request
	numLimits
)

func (l Limit) String() string {
	return [...]string{"calls", "forks", "pracks", "requests", "streams", "calls_per_user", "call_rate", "call_rate_per_user",
		"sip_rate_per_address", "sip_rate", "dialog_rate", "sip_connections_per_address", "calls_per_trunk", "call_rate_per_pair", "overload", "sip_answer_size"}[l]
}
