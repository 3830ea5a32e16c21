package sipflow

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// Inbound has the switchboard take calls that others place to it.
type Inbound struct {
	// Realm is that of our challenges. Default: the host of our first socket.
	Realm string
	// Algorithms are those of our challenges, in this order (RFC 8760 §2.3): of
	// AlgorithmSHA256 and AlgorithmMD5. Credentials with another are challenged
	// again. It is called in the goroutine that reads the socket. Default: both,
	// SHA-256 first; an empty list is the default, too.
	Algorithms func() []string
	// Admit says what becomes of an INVITE. It is called in the goroutine that
	// reads the socket and must return at once; what it needs is in the
	// Incoming's fields and Header. Default: Challenge where there are Secrets,
	// else RefuseUnknown.
	Admit func(*Incoming) Admission
	// Secrets are those of a digest user; the topmost of our challenges that
	// one of them can verify is enough. It is called in the goroutine that reads
	// the socket, for users that do not exist as well.
	Secrets func(username string) (Credentials, bool)
	// User returns the user that Limits.CallsPerAgent and CallRatePerAgent hold
	// for when digest has proved username; "" for no limit. It is called in the
	// goroutine that reads the socket. Default: no limit.
	User func(username string) string
	// Trunk returns the trunk that an admitted caller calls by, "" for none, and
	// how many calls the trunk may have at once; 0: no limit of its own. It is
	// called in the goroutine that reads the socket. Default: there are none.
	Trunk func(*Incoming) (name string, most int)
	// NewID makes the id of each call, that of Spec.ID. Default: it is made as Place
	// makes one.
	NewID func() string
	// LogsEnd says that Take logs the ends of its calls, as Spec.LogsEnd does.
	LogsEnd bool
	// Take runs the call, in its own goroutine. Its ctx ends, with the cause,
	// when the caller gives up (ErrCancelled) or sends BYE (ErrHungUp), and when
	// the switchboard ends (ErrStopped). When it returns and the caller is
	// unanswered, it gets the code of the error (a *StatusError), or 480; when
	// the caller is answered, it is hung up.
	Take func(ctx context.Context, in *Incoming) error
}

// Admission is what becomes of an INVITE.
type Admission uint8

// What Inbound.Admit may say.
const (
	RefuseUnknown Admission = iota // 404: there is nobody here of that name
	Refuse                         // 403
	Challenge                      // 401, until the caller proves who it is
	Trusted                        // Take runs the call
)

// Incoming is a call that somebody places to us. The fields do not change;
// the methods that say something to the caller are for the goroutine of
// Inbound.Take.
type Incoming struct {
	CallID    string
	Source    netip.AddrPort // where the INVITE came from
	Transport string         // "udp", "tcp", "tls", "ws" or "wss"
	At        time.Time
	From      uri.Address // the From header field: anybody can write anything there
	To        uri.Address // the Request-URI
	Username  string      // that digest has proved; "" else

	// Decided as it comes in.
	req       *wire.Message
	path      transport.Path
	offer     []byte
	trunk     string // counts the call, until it is over; "" for none
	mostCalls int    // of the trunk; 0: any

	// Made when it is admitted.
	call   *Call
	leg    *Leg
	tx     *serverTx
	entry  *inboundTx
	ctx    context.Context // that of Take
	end    context.CancelCauseFunc
	calls  context.Context // that of the call, which a BYE of the caller does not end
	digits chan byte

	// Guarded by the leg's peer.mu.
	rel   reliable
	final *StatusError // what the caller was refused with

	// Owned by the goroutine of Take: what the caller has been told.
	rang     bool
	held     bool          // answered before it is connected: with inactive streams, or media of ours
	ears     *ears         // which are these; nil: it has had none
	bridged  bool          // joined with a target, or with media of ours
	failed   Party         // whose fault the failure of the latest Connect is
	told     string        // the latest provisional response that was sent on
	passed   *wire.Message // the target's provisional response that offerEarly has sent on
	early    []byte        // the answer that the caller has had in a reliable one
	earlyTag string        // of the target's dialog that it is from
	reminder *time.Timer   // repeats provisional responses
}

// ID names the call to clients; empty before it is admitted, see Inbound.NewID.
func (in *Incoming) ID() string {
	if in.call == nil {
		return ""
	}
	return in.call.ID()
}

// newIncoming reads what an INVITE says of the call.
func (sw *Switchboard) newIncoming(m *wire.Message, from transport.Path) *Incoming {
	in := &Incoming{CallID: string(m.Get(wire.CallID)), Source: from.To, Transport: transport.Of(from.Link), At: time.Now(),
		req: m, path: from, offer: bodyOf(m)}
	in.From, in.To = uri.ParseNameAddr(m.Get(wire.From)), uri.ParseAddress(m.URI())
	return in
}

// maxValues bounds what Header returns.
const maxValues = 32

// Header are the values of a header field of the INVITE, by its long name.
func (in *Incoming) Header(name string) (values []string) {
	in.req.Fields(func(id wire.Header, field, value []byte) bool {
		if id != wire.Other && strings.EqualFold(id.String(), name) || id == wire.Other && strings.EqualFold(string(field), name) {
			values = append(values, string(value))
		}
		return len(values) < maxValues
	})
	return values
}

// Offer is the session description of the INVITE; nil when it has none.
func (in *Incoming) Offer() []byte { return slices.Clone(in.offer) }

// Observe has f told of the call's events, as Spec.Observe: Alerted when a
// target rings, Answered when our 200 went to the caller, Joined, and Ended
// with who ended it and the code that the caller got.
func (in *Incoming) Observe(f func(*Event)) {
	in.call.mu.Lock()
	defer in.call.mu.Unlock()
	in.call.Observe = f
}

// SetPolicy has Config.Allow judge by a dial policy of that name whom the call
// may lead to, REFERs of its parties included. It is called before Connect.
func (in *Incoming) SetPolicy(name string) { in.call.Policy = name }

// Keep has something be kept with the call's state from now on. It is for Inbound.Take.
func (in *Incoming) Keep(k *Kept) {
	in.call.Spec.Kept = k
	in.call.keepIfNew()
}

// Call is the call that this is the beginning of.
func (in *Incoming) Call() *Call { return in.call }

// invited returns the response to an INVITE that would begin a call. It runs in
// the reader and keeps nothing of a call that it does not admit.
func (sw *Switchboard) invited(m *wire.Message, from transport.Path) wire.Reply {
	in := sw.newIncoming(m, from)
	if r := sw.admission(in, 404); r.Code != 0 {
		return r
	}
	r := sw.unfit(in)
	if r.Code == 0 {
		r = sw.enter(in)
	}
	if r.Code != 0 {
		sw.stats.inbound[InboundUnfit].Add(1)
		return r
	}
	return wire.Reply{}
}

// admission asks who the caller is, and may call. The Code is 0 if he may, and that of
// unknown when there is nobody here of the name that he calls.
func (sw *Switchboard) admission(in *Incoming, unknown int) wire.Reply {
	cfg := sw.cfg.Inbound
	if cfg == nil {
		return wire.Reply{Code: unknown}
	}
	admission := RefuseUnknown
	switch {
	case cfg.Admit != nil:
		admission = cfg.Admit(in)
	case cfg.Secrets != nil:
		admission = Challenge
	}
	switch admission {
	case Trusted:
		return wire.Reply{}
	case Challenge:
		return sw.authenticate(in)
	case Refuse:
		sw.stats.inbound[InboundRefused].Add(1)
		return wire.Reply{Code: 403}
	}
	sw.stats.inbound[InboundRefused].Add(1)
	return wire.Reply{Code: unknown}
}

// unfit refuses an INVITE that no call can be made of (RFC 3261 §8.2, §13.3.1).
func (sw *Switchboard) unfit(in *Incoming) wire.Reply {
	m := in.req
	contact := wire.ContactURI(m.Get(wire.Contact))
	_, forwards := forwardsLeft(m)
	switch {
	case !forwards:
		return wire.Reply{Code: 483}
	case sw.looped(m):
		return wire.Reply{Code: 482}
	case !wire.ReadableURI(contact):
		return wire.Reply{Code: 400, Reason: "Contact Missing or Malformed"}
	}
	if no := unfitOffer(m); no.Code != 0 {
		return no
	}
	if in.offer != nil && !sdp.Legible(in.offer) {
		return wire.Reply{Code: 488}
	}
	target := string(contact)
	if err := sw.barred(target); errors.Is(err, transport.ErrOwn) {
		return wire.Reply{Code: 482}
	} else if err != nil && uri.AddrPort(target).Addr() != in.Source.Addr() {
		return wire.Reply{Code: 403, Reason: "Contact Not Allowed"}
	}
	return wire.Reply{}
}

// enter makes the call and starts its goroutine.
func (sw *Switchboard) enter(in *Incoming) wire.Reply {
	key, branch := sw.inviteKey(in.req)
	calling := in.From.User + "@" + in.From.Host
	c := &Call{Spec: Spec{Key: Key{Calling: calling}, Method: MethodInvite, CallingUser: calling, CalledUser: in.To.User + "@" + in.To.Host, Trusted: true,
		Peer: in.Source.Addr().Unmap(), LogsEnd: sw.cfg.Inbound.LogsEnd,
		Credentials: Credentials{Username: in.Username}}, // whose policy holds, for Config.Allow
		sw: sw, id: sw.idIn(key), began: sw.stats.elapsed(), wake: make(chan struct{}, 1), done: make(chan struct{}), in: in}
	if user := sw.cfg.Inbound.User; user != nil && in.Username != "" {
		c.Key.Agent = user(in.Username)
		c.Trusted = c.Key.Agent == ""
	}
	c.Key.Called = "inbound-" + string(appendID(nil, c.id)) // no user's: many may call the same at once
	if err := sw.attemptOf(in, &c.Spec); err != nil {
		return overloaded(err)
	}
	if newID := sw.cfg.Inbound.NewID; newID != nil {
		c.Spec.ID = newID()
	}
	c.named()
	c.keeps(stepCaller)
	var callCtx context.Context
	callCtx, c.stop = context.WithCancelCause(context.Background())
	in.ctx, in.end = context.WithCancelCause(callCtx)
	in.call, in.calls = c, callCtx
	in.digits = make(chan byte, maxDigits)
	in.entry = &inboundTx{key: key, branch: branch, secure: transport.Encrypted(in.Transport)}
	in.leg = c.callerLeg(in, c.id)
	in.leg.callee = &callerPhone{(*userPhone)(c), in}
	in.leg.peer.hungUp = func(why error) { in.end(why) }
	c.legs = append(c.legs, in.leg)
	c.observed()
	c.open.Store(1)
	if !sw.shard(key).admit(in) { // the other socket's reader was quicker
		c.stop(nil)
		return wire.Reply{}
	}
	if _, err := sw.take(c); err != nil {
		c.stop(err)
		sw.shard(key).forget(in)
		return overloaded(err)
	}
	sw.stats.placed[FlowInbound].Add(1)
	sw.stats.inbound[InboundAdmitted].Add(1)
	sw.respond(in.req, in.path, in.tx.reply)
	go sw.run(callCtx, c, nil, in.run)
	return wire.Reply{}
}

// attemptOf takes the turn of a caller to place a call. What it or its trunk has
// too many of is not taken from all.
func (sw *Switchboard) attemptOf(in *Incoming, spec *Spec) error {
	if trunk := sw.cfg.Inbound.Trunk; trunk != nil {
		if in.trunk, in.mostCalls = trunk(in); in.mostCalls > 0 {
			if err := sw.ofTrunk(in); err != nil {
				return err
			}
		}
	}
	return sw.turnOf(in, spec)
}

// turnOf takes the turn of a caller, and that of all, for an INVITE.
func (sw *Switchboard) turnOf(in *Incoming, spec *Spec) error {
	if err := sw.limits.pair(spec.CallingUser, in.To.User); err != nil {
		return err
	}
	return sw.limits.attempt(spec)
}

// ofTrunk refuses a call when its trunk has as many as it may have.
func (sw *Switchboard) ofTrunk(in *Incoming) error {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	return sw.limits.ofTrunk(in)
}

// overloaded refuses a call for a limit, or because we shut down: both are
// what 503 is for (RFC 3261 §21.5.4), for another server than this one may take
// the call. That one user or trunk has too many says nothing of the server: a
// proxy that hands over the calls of several must not avoid it for that.
func overloaded(err error) wire.Reply {
	wait := retryCalls
	var over *LimitError
	if errors.As(err, &over) {
		wait = max(over.Wait, time.Second)
		if over.OfAgent() {
			return wire.Reply{Code: 480, Header: retryIn(wait)}
		}
		if over.Limit == LimitOverload { // a share is refused: with Retry-After a proxy would send us nothing at all
			return wire.Reply{Code: 503}
		}
	}
	return wire.Reply{Code: 503, Header: retryIn(wait)}
}

// callerLeg is our side (UAS) of the dialog that the INVITE makes (RFC 3261
// §12.1.1). id is its tag.
func (c *Call) callerLeg(in *Incoming, id uint64) *Leg {
	m := in.req
	l := &Leg{call: c, id: id, party: in.fromAOR(),
		dialogState: dialogState{path: in.path, source: in.Source.Addr(), secure: transport.Encrypted(in.Transport)}}
	l.inbox.wake = c.wake
	l.dialog = dialog{callID: in.CallID, local: string(m.Get(wire.To)) + ";tag=" + string(appendID(nil, l.id)), remote: string(m.Get(wire.From))}
	l.target = string(wire.ContactURI(m.Get(wire.Contact)))
	l.setRoutes(m, true)
	l.peer.tag, l.peer.confirmed, l.peer.secure, l.peer.seq = string(m.FromTag()), true, l.secure, m.Seq()
	in.tx = &serverTx{leg: l, req: m, method: "INVITE", seq: m.Seq(), path: in.path, initial: true,
		reply: wire.Reply{Code: 100, ToTag: string(appendID(nil, l.id))}}
	l.peer.open = append(l.peer.open, in.tx)
	in.entry.tx = in.tx
	l.keepsLeg()
	return l
}

// callerPhone is the phone that placed an inbound call.
type callerPhone struct {
	*userPhone
	in *Incoming
}

func (p *callerPhone) caller() *Incoming { return p.in }

func (p *callerPhone) asked(s *shard, m *wire.Message, from transport.Path) int {
	return p.in.takes(s, m, from)
}

func (p *callerPhone) passwordKey() string { return "dispatch.agent" }

// code is the final one that the caller got.
func (in *Incoming) code() uint16 {
	if in == nil {
		return 0
	}
	p := &in.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if !in.tx.done {
		return 0
	}
	return uint16(in.tx.reply.Code)
}

// refusedCaller reports whether the leg is that of a caller that was not
// answered: there has been no dialog. p.mu is held.
func (l *Leg) refusedCaller() bool {
	in := l.callee.caller()
	return in != nil && (!in.tx.done || in.tx.reply.Code >= 300)
}
