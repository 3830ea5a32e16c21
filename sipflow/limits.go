package sipflow

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"sipxrest/internal/limit"
	"sipxrest/internal/overload"
	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// Limits are bounds on what others can have the switchboard do, beside
// Config.MaxCalls. A number of 0 is no limit.
type Limits struct {
	// CallsPerAgent and CallRatePerAgent bound the calls at once of one agent,
	// and those that he attempts per second, transfers included. They do not
	// hold for Spec.Trusted.
	CallsPerAgent, CallRatePerAgent int
	// CallRate bounds the attempts of all per second.
	CallRate int
	// PairRate bounds the calls per second that come in from one caller for one
	// callee, as many at once. A call that goes in a circle, by a server that
	// passes none of our header fields on, ends by it.
	PairRate int
	// SourceRate bounds the requests per second outside of dialogs from one
	// address (IPv6: /64), twice as many at once, and StrangerRate those from
	// all. They do not hold for SIP servers that calls go to, and for Known.
	SourceRate, StrangerRate int
	// DialogRate bounds the requests per second of one phone in its dialog, but
	// for BYE, ACK and CANCEL.
	DialogRate int
	// StreamsPerSource bounds the connections that one address has opened.
	StreamsPerSource int
	// Known are further addresses that no limit of addresses holds for. It is
	// called for messages, so it must not block.
	Known func(netip.Addr) bool
	// Agents and Trunks are the calls of agents, and of trunks, that other nodes have; nil: there are no others. They
	// are called with locks held, so they must return at once.
	Agents, Trunks Counts
}

// Counts are numbers by name that several nodes share: each sets its own, and knows what the others had a moment ago.
type Counts interface {
	Set(name string, count int64)
	Others(name string) int64
}

const (
	// minBurst is how many calls may be attempted at once, at least.
	minBurst = 10
	// answerEvery: of so many excess requests one gets a response. Responses to
	// all would flood whatever address they name as their sender.
	answerEvery = 64
	// maxServers bounds the addresses of servers that are remembered.
	maxServers = 1024
)

// A LimitError says which limit keeps a call from being placed, and that it is
// worth trying again after Wait. It is an ErrTooManyCalls.
type LimitError struct {
	Limit Limit
	Most  int // what the limit is set to
	Wait  time.Duration
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: limit %v of %d", ErrTooManyCalls, e.Limit, e.Most)
}

// Is makes every limit an ErrTooManyCalls.
func (e *LimitError) Is(target error) bool { return target == ErrTooManyCalls }

// OfAgent reports whether others may still place calls: it is a limit of one
// agent, of one trunk, or of one caller and callee.
func (e *LimitError) OfAgent() bool {
	return e.Limit == LimitCallsPerAgent || e.Limit == LimitCallRatePerAgent || e.Limit == LimitCallsPerTrunk || e.Limit == LimitCallRatePerPair
}

// retryOverload is when it is worth trying again while messages are late: by then the
// gate may be open again.
const retryOverload = time.Second

// retryCalls is when it is worth trying again while there are too many calls.
const retryCalls = 5 * time.Second

// limits is what the switchboard keeps for its Limits.
type limits struct {
	Limits
	rate      *rate.Limiter           // nil: none
	agentRate *limit.Names            // nil: none
	pairRate  *limit.Names            // nil: none
	turns     atomic.Int64            // of rate that were taken and not told yet
	agents    map[string]int          // calls that count; guarded by sw.mu
	trunks    map[string]int          // those that came in; guarded by sw.mu
	sources   *limit.Sources          // nil: none
	strangers *limit.Bucket           // nil: none
	servers   atomic.Pointer[servers] // that calls went to

	byAgent  [numLimits]limit.Log[string]
	byPeer   [numLimits]limit.Log[netip.Addr]
	pages    limit.Log[limit.Page] // whose WebSockets were refused
	starved  limit.Log[string]     // sockets that could not accept a connection
	counters *[numLimits]atomic.Uint64
	gate     *overload.Gate // nil: none
}

type servers map[netip.Addr]struct{}

func (l *limits) init(sw *Switchboard) {
	l.Limits, l.counters, l.gate = sw.cfg.Limits, &sw.stats.limited, sw.cfg.Overload
	l.agents, l.trunks = map[string]int{}, map[string]int{}
	if n := l.CallRate; n > 0 {
		l.rate = rate.NewLimiter(rate.Limit(n), max(n, minBurst))
	}
	if n := l.CallRatePerAgent; n > 0 {
		l.agentRate = limit.NewNames(n, max(n, minBurst))
	}
	if n := l.PairRate; n > 0 {
		l.pairRate = limit.NewNames(n, n)
	}
	if n := l.SourceRate; n > 0 {
		l.sources = limit.NewSources(n, 2*n)
	}
	if n := l.StrangerRate; n > 0 {
		l.strangers = limit.NewBucket(n, n)
	}
	l.pages.Say = func(refused uint64, pages []limit.Page) {
		sw.log.Info("sip: WebSockets of pages refused: add them to allowed-origins, or the name that they call by to http-names, if they may", "refused", refused, "pages", pages)
	}
	l.starved.Say = func(times uint64, sockets []string) {
		sw.log.Warn("sip: connections have to wait: the process, or the system, has too many files open", "attempts", times, "sockets", sockets,
			"advice", "raise LimitNOFILE= of the service (ulimit -n)")
	}
	for i := range numLimits {
		whose := "agents"
		switch i {
		case LimitCallsPerTrunk:
			whose = "trunks"
		case LimitCallRatePerPair:
			whose = "calls"
		}
		l.byAgent[i].Say = func(refused uint64, some []string) {
			if i == LimitOverload {
				now := sw.cfg.Overload.State()
				sw.log.Warn("calls refused: overload, SIP messages are handled late", "refused", refused, whose, some,
					"delay", now.Delay, "share", now.Share, "limits.message-delay", l.gate.Target())
				return
			}
			sw.log.Warn("calls refused: too many", "limit", i, "refused", refused, whose, some)
		}
		l.byPeer[i].Say = func(refused uint64, peers []netip.Addr) {
			sw.log.Warn("sip: refused: too many", "limit", i, "refused", refused, "peers", peers)
		}
	}
}

// admission is what the sockets ask.
func (l *limits) admission() transport.Admission {
	return transport.Admission{PerSource: l.StreamsPerSource, Knows: l.knows,
		Refused: func(from netip.Addr, ofSource bool) {
			if ofSource {
				l.peer(LimitStreamsPerSource, from)
			} else {
				l.peer(LimitStreams, from)
			}
		},
		Starved:     func(socket string) { l.starved.Refused(socket) },
		RefusedPage: func(p limit.Page) { l.pages.Refused(p) },
	}
}

// stop ends the log lines.
func (l *limits) stop() {
	l.pages.Stop()
	for i := range numLimits {
		l.byAgent[i].Stop()
		l.byPeer[i].Stop()
	}
	l.starved.Stop()
}

// peer counts what was refused to an address.
func (l *limits) peer(which Limit, from netip.Addr) {
	l.counters[which].Add(1)
	l.byPeer[which].Refused(from)
}

func (l *limits) refuse(which Limit, agent string, most int, wait time.Duration) error {
	l.counters[which].Add(1)
	l.byAgent[which].Refused(agent)
	return &LimitError{which, most, wait}
}

// Admit asks Config.Overload for room for a call before anything is done for it, which
// makes a refusal cheap. It is a *LimitError; otherwise the call's Spec is Admitted.
func (sw *Switchboard) Admit(agent string) error { return sw.limits.admit(agent) }

// Attempt takes an agent's turn to place a call, for what is as much work as one. Its
// error is a *LimitError.
func (sw *Switchboard) Attempt(spec *Spec) error { return sw.limits.attempt(spec) }

func (l *limits) admit(agent string) error {
	if l.gate == nil || l.gate.Admit() {
		return nil
	}
	return l.refuse(LimitOverload, agent, 0, retryOverload)
}

// attempt takes an agent's turn to place a call. A client that may name any
// agent would not be held up by one agent's limit.
func (l *limits) attempt(spec *Spec) error {
	if !spec.Admitted {
		if err := l.admit(spec.Agent); err != nil {
			return err
		}
	}
	if l.rate == nil && l.agentRate == nil {
		return nil
	}
	now := time.Now()
	if l.agentRate != nil && !spec.Trusted { // first: what one has too many of is not taken from all
		if wait := l.agentRate.Wait(spec.Agent, now); wait > 0 {
			return l.refuse(LimitCallRatePerAgent, spec.Agent, l.CallRatePerAgent, wait)
		}
	}
	if l.rate != nil {
		if wait := limit.Wait(l.rate, now); wait > 0 {
			return l.refuse(LimitCallRate, spec.Agent, l.CallRate, wait)
		}
		l.turns.Add(1)
	}
	return nil
}

// A Spent is how many turns to place a call were taken.
type Spent struct {
	All   int            `json:"all,omitempty"`
	Agent map[string]int `json:"agent,omitempty"` // by address of record
}

// Spent returns the turns that were taken since it was asked last, for other nodes. Before the first time those of
// single agents are not counted.
func (sw *Switchboard) Spent() Spent {
	l := &sw.limits
	s := Spent{All: int(l.turns.Swap(0))}
	if l.agentRate != nil {
		s.Agent = l.agentRate.Spent()
	}
	return s
}

// Spend takes turns off that were taken at another node.
func (sw *Switchboard) Spend(s Spent) {
	l, now := &sw.limits, time.Now()
	if l.rate != nil && s.All > 0 {
		limit.Spend(l.rate, s.All, now)
	}
	if l.agentRate != nil {
		for name, n := range s.Agent {
			l.agentRate.Spend(name, n, now)
		}
	}
}

// pair takes the turn of a caller, user@host, to call a user of ours.
func (l *limits) pair(caller, callee string) error {
	if l.pairRate == nil {
		return nil
	}
	name := strings.ToLower(limit.Clip(caller, maxClipped) + "→" + limit.Clip(callee, maxClipped))
	if wait := l.pairRate.Wait(name, time.Now()); wait > 0 {
		return l.refuse(LimitCallRatePerPair, name, l.PairRate, wait)
	}
	return nil
}

// enter counts a call of an agent, and one that came in by a trunk. A call that
// replaces another is let in at the limit, too, for the replaced one takes a
// while to end. It counts nothing when it is an error. sw.mu is held.
func (l *limits) enter(c *Call, replaces bool) error {
	if err := l.ofTrunk(c.in); err != nil {
		return err
	}
	if l.CallsPerAgent > 0 && !c.Trusted {
		n := l.agents[c.Agent] + elsewhere(l.Agents, c.Agent)
		if n >= l.CallsPerAgent && !replaces || n >= 2*l.CallsPerAgent {
			return l.refuse(LimitCallsPerAgent, c.Agent, l.CallsPerAgent, retryCalls)
		}
	}
	l.count(c)
	return nil
}

// count counts a call that is there, whether or not it is one too many: leave takes it off. sw.mu is held.
func (l *limits) count(c *Call) {
	if l.CallsPerAgent > 0 && !c.Trusted {
		l.agents[c.Agent]++
		share(l.Agents, l.agents, c.Agent)
	}
	if c.in != nil && c.in.trunk != "" { // those without a bound, too: a reload may set one
		l.trunks[c.in.trunk]++
		share(l.Trunks, l.trunks, c.in.trunk)
	}
}

// elsewhere is how many calls other nodes have, if there are any.
func elsewhere(of Counts, name string) int {
	if of == nil {
		return 0
	}
	return int(of.Others(name))
}

// share tells the other nodes, if there are any, how many calls this one has.
func share(with Counts, calls map[string]int, name string) {
	if with != nil {
		with.Set(name, int64(calls[name]))
	}
}

// ofTrunk refuses a call when its trunk has as many as it may have. sw.mu is
// held.
func (l *limits) ofTrunk(in *Incoming) error {
	if in == nil || in.mostCalls <= 0 || l.trunks[in.trunk]+elsewhere(l.Trunks, in.trunk) < in.mostCalls {
		return nil
	}
	return l.refuse(LimitCallsPerTrunk, in.trunk, in.mostCalls, retryCalls)
}

// leave counts a call that entered and is over. sw.mu is held.
func (l *limits) leave(c *Call) {
	if l.CallsPerAgent > 0 && !c.Trusted {
		less(l.agents, c.Agent)
		share(l.Agents, l.agents, c.Agent)
	}
	if c.in != nil && c.in.trunk != "" {
		less(l.trunks, c.in.trunk)
		share(l.Trunks, l.trunks, c.in.trunk)
	}
}

func less(calls map[string]int, name string) {
	if calls[name]--; calls[name] <= 0 {
		delete(calls, name)
	}
}

// serve notes the servers that calls go to. They are few: the outbound proxies
// or those of the domain.
func (l *limits) serve(hops []resolve.Hop) {
	if l.sources == nil && l.strangers == nil && l.StreamsPerSource == 0 {
		return
	}
	for _, h := range hops {
		now := l.servers.Load()
		if now != nil {
			if _, known := (*now)[h.Addr.Addr()]; known {
				continue
			}
		}
		l.remember(now, h.Addr.Addr())
	}
}

//go:noinline
func (l *limits) remember(now *servers, a netip.Addr) {
	next := servers{}
	if now != nil && len(*now) < maxServers { // else those that are still used come back
		maps.Copy(next, *now)
	}
	next[a] = struct{}{}
	l.servers.CompareAndSwap(now, &next) // or the next call does it
}

// knows reports whether an address is no stranger's.
func (l *limits) knows(a netip.Addr) bool {
	if now := l.servers.Load(); now != nil {
		if _, known := (*now)[a]; known {
			return true
		}
	}
	return l.Known != nil && l.Known(a)
}

// An admission is how a request is met that belongs to no dialog.
type admission uint8

const (
	full   admission = iota // with all that there is to say
	short                   // by a response that is not much longer than the request
	reject                  // it is one of too many
	drop                    // likewise, and nobody is told
)

// admit takes a request that belongs to no dialog into account. It runs in the
// reader.
func (sw *Switchboard) admit(from transport.Path) admission {
	l := &sw.limits
	if l.sources == nil && l.strangers == nil {
		return full
	}
	addr := from.To.Addr()
	if l.knows(addr) {
		return full
	}
	now := sw.stats.elapsed()
	v := limit.Verdict{OK: true, Spare: true}
	if l.sources != nil {
		v = l.sources.Ask(addr, now)
	}
	switch {
	case !v.OK:
		l.peer(LimitSource, addr)
		if v.Over%answerEvery == 1 {
			return reject
		}
		return drop
	case l.strangers != nil && !l.strangers.Allow(now):
		l.peer(LimitStrangers, addr)
		return drop
	case !v.Spare:
		return short
	}
	return full
}

// apply returns the response to a request that belongs to no dialog, where r
// would be that to an admitted one. A Code of 0 is none.
func (w admission) apply(r wire.Reply) wire.Reply {
	switch {
	case r.Code == 0 || w == drop:
		return wire.Reply{}
	case w == reject:
		return wire.Reply{Code: 503, Header: "Retry-After: 1\r\n"}
	case w == short && r.Code != 420 && r.Code != 401: // its field repeats one of the request
		r.Header = ""
	}
	return r
}

// A window counts the requests of a phone in its dialog. The clock is looked at
// once for as many as there may be in a second.
type window struct {
	began time.Duration
	count uint32
}

// over is how many more than the limit came within the second, this one
// included; 0 for one that may.
func (w *window) over(most int, now func() time.Duration) uint32 {
	if most <= 0 {
		return 0
	}
	w.count++
	if w.count <= uint32(most) {
		return 0
	}
	if t := now(); t-w.began >= time.Second {
		w.began, w.count = t, 1
		return 0
	}
	return w.count - uint32(most)
}

// bounded reports whether Limits.DialogRate holds for a request: what ends
// something must be heard, a BYE once.
func bounded(method string, byed bool) bool {
	return (method != "BYE" || byed) && method != "ACK" && method != "CANCEL"
}

// tooMany is the response to one request too many in a dialog: that it comes
// too fast, as often as such requests may come, then none.
func tooMany(over uint32, most int) wire.Reply {
	if over > uint32(most) {
		return wire.Reply{}
	}
	return wire.Reply{Code: 500, Reason: "Too Many Requests", Header: "Retry-After: 1\r\n"}
}
