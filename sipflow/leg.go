package sipflow

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// A Leg is our side (UAC) of one dialog with one phone. Its methods are called
// from the goroutine of its Call; what a socket's reader touches is in inbox and peer.
type Leg struct {
	// Made with the leg, and never changed.
	call  *Call  // that has made it; see its
	id    uint64 // local tag
	party string // user@host that is called

	// What observers have been told of it; nil when there are none. It has a lock of its own.
	record *legRecord

	// Owned by the call's goroutine, as the next two groups.
	dialogState
	callee callee // whom it is with; readers ask it by peer.mu, see isWith

	// The INVITE, and what is reported of it.
	first         string      // header lines of the next one
	onRinging     func()      // told, if set, when the phone rings
	state         DialogState // as it was reported last
	noted         string      // last provisional status line reported
	earlyTag      string      // the phone's tag before it answered
	userAgent     string      // what the phone calls itself in its response
	pracks        uint8       // PRACKs sent for it
	rang          bool        // the phone has been alerted, or what stands for it has said more than 100
	elsewhere     bool        // redirects have named others to try
	overWebSocket bool        // a phone that rings is reached by WebSocket, as those in browsers are (RFC 7118)

	// What comes of it.
	moved   atomic.Pointer[Call] // the call that it is of by now, if that is another one
	taken   *wasElsewhere        // of a leg that another node had
	gone    bool                 // handed to another goroutine, or released
	pending []Notification       // NOTIFYs that came while something else was awaited
	errands []*attempt           // requests that nobody waits for, at most maxErrands
	media   *mediaState          // of a leg that is joined with another
	kept    *legKeeping          // for the call's state; nil where nobody keeps it

	// Shared with the sockets' readers, by their own locks.
	inbox inbox
	peer  peer
}

// errPaused ends a pause.
var errPaused = errors.New("the pause is over")

// dialogState is what requests in a dialog need: the dialog, the way it takes, and
// how far its numbers are.
type dialogState struct {
	dialog
	path     transport.Path    // where requests in the dialog go; unset until it is known
	source   netip.Addr        // where the phone's response came from, if by UDP
	held     *transport.Stream // connection that requests went over last, see hold
	accepted *clientTx         // the INVITE that made the dialog
	cseq     uint32            // of our last request
	secure   bool              // set up over an encrypted hop, which it does not leave
}

// swap exchanges the leg's dialog with another one of its INVITE. Both have the same
// Call-ID and our From, which readers know; the connection that is held stays.
func (l *Leg) swap(d *dialogState) {
	s := &l.dialogState
	s.remote, d.remote = d.remote, s.remote
	s.target, d.target = d.target, s.target
	s.routes, d.routes = d.routes, s.routes
	s.next, d.next = d.next, s.next
	s.strict, d.strict = d.strict, s.strict
	s.path, d.path = d.path, s.path
	s.source, d.source = d.source, s.source
	s.cseq, d.cseq = d.cseq, s.cseq
	s.secure, d.secure = d.secure, s.secure
}

// earlyDialogs are the dialogs of an INVITE without a final response yet: one
// for each phone that it rings, told apart by the To tag (RFC 3261 §12.1.2,
// §13.2.2.4). Those of which we need to know something are here.
type earlyDialogs []*earlyDialog

// maxEarly bounds the early dialogs of one INVITE. Whoever has more phones ring gets
// no PRACKs in the further ones.
const maxEarly = 16

// earlyDialog is one of them: our requests in it are numbered apart, and it has an
// offer and answer of its own (RFC 3262 §5, RFC 6337 §3.1).
type earlyDialog struct {
	dialogState
	tag     string
	rseq    uint64     // of the last provisional response that was acknowledged
	ours    bool       // it is the leg's dialog by now, and dialogState is void
	heard   []byte     // the phone's first description: an answer, or an offer (RFC 3261 §13.2.1)
	settled settlement // what its offer was answered
}

// settlement is how an offer in a provisional response was answered.
type settlement uint8

const (
	unsettled    settlement = iota
	heldEarly               // by us: its streams are inactive
	refusedEarly            // likewise, after the other phone has refused it
	joinedEarly             // by the other phone
)

// with returns the early dialog of a response, nil when nothing is known of it.
func (d earlyDialogs) with(res *wire.Message) *earlyDialog {
	if res == nil {
		return nil
	}
	for _, e := range d {
		if e.tag == string(res.ToTag()) {
			return e
		}
	}
	return nil
}

// within has the leg's dialog be an early one while do runs.
func (l *Leg) within(e *earlyDialog, do func()) {
	if e == nil || e.ours {
		do()
		return
	}
	l.swap(&e.dialogState)
	defer l.swap(&e.dialogState)
	do()
}

// confirmed takes over the numbers of the early dialog that a 2xx confirms.
func (l *Leg) confirmed(e *earlyDialog) {
	if e != nil && !e.ours {
		l.cseq, e.ours = e.cseq, true
	}
}

// newLeg prepares a call to a phone; nothing is sent. uri is the Request-URI,
// to its address for the To field.
func (c *Call) newLeg(uri, to string) *Leg { return c.newLegFrom(uri, to, c.AgentName, c.Key.Agent) }

// newLegFrom is newLeg for a From of its own: a display name and user@host.
func (c *Call) newLegFrom(uri, to, name, aor string) *Leg {
	l := &Leg{call: c, callee: (*userPhone)(c), id: c.sw.idIn(c.id)}
	l.inbox.wake = c.wake
	b := make([]byte, 0, 128)
	b = appendNameAddr(b, name, aor)
	b = append(b, ";tag="...)
	b = appendID(b, l.id)
	local := len(b)
	b = appendID(b, newID())
	b = appendID(b, newID())
	b = append(b, '@')
	b = append(b, c.sw.host...)
	s := string(b)
	l.dialog = dialog{local: s[:local], callID: s[local:], remote: "<sip:" + to + ">", target: uri}
	shard := c.sw.shard(l.id)
	shard.mu.Lock()
	if !shard.closed {
		shard.legs[l.id] = l
	}
	shard.mu.Unlock()
	l.party = to
	l.keepsLeg()
	c.legs = append(c.legs, l)
	c.dialled(l, Calling)
	return l
}

// appendNameAddr appends "Name" <sip:aor>, the name escaped (RFC 3261 §25.1).
func appendNameAddr(b []byte, name, aor string) []byte {
	if name != "" {
		b = append(b, '"')
		for i := 0; i < len(name); i++ {
			switch c := name[i]; {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < ' ' || c == 0x7f: // dropped: it would end the line
			default:
				b = append(b, c)
			}
		}
		b = append(b, `" `...)
	}
	b = append(b, "<sip:"...)
	b = append(b, aor...)
	return append(b, '>')
}

// shard is where the leg and its transactions are found.
func (l *Leg) shard() *shard { return l.call.sw.shard(l.id) }

// siblings are the legs of its call, itself among them.
func (l *Leg) siblings() []*Leg { return l.its().legs }

// its is the call that the leg is of: the one that has made it, unless it has moved.
func (l *Leg) its() *Call {
	if c := l.moved.Load(); c != nil {
		return c
	}
	return l.call
}

// await returns the final response of a transaction. What else comes meanwhile
// is kept or reported; a BYE ends the wait with ErrHungUp.
func (l *Leg) await(ctx context.Context, tx *clientTx) (*wire.Message, error) {
	for {
		e, err := l.event(ctx)
		if err != nil {
			return nil, err
		}
		if e.tx == tx && e.err != nil {
			return nil, e.err
		}
		if e.tx == tx && e.msg.Code() >= 200 {
			return e.msg, nil
		}
		if err := l.meanwhile(e); err != nil {
			return nil, err
		}
	}
}

// pause waits. ErrHungUp means that the phone sent BYE.
func (l *Leg) pause(ctx context.Context, d time.Duration) error {
	wait, stop := context.WithTimeoutCause(ctx, d, errPaused)
	defer stop()
	for {
		e, err := l.event(wait)
		if err == nil {
			err = l.meanwhile(e)
		}
		if errors.Is(err, errPaused) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// meanwhile takes an event that is not the one waited for.
func (l *Leg) meanwhile(e event) error {
	switch {
	case e.hungUp:
		return hungUpFor(reasonsOf(e.msg))
	case e.divert != nil:
		e.divert.reply <- ErrAnswered
	case e.late:
		if l.media != nil && l.media.onLate != nil {
			l.media.onLate()
		}
	case e.progress != nil:
		l.its().note(l, "NOTIFY", e.progress.Text, e.progress.At)
		l.reported(e.progress)
		if len(l.pending) == maxInbox { // of a flood the last one counts: it may be the outcome
			l.pending = l.pending[:maxInbox-1]
		}
		l.pending = append(l.pending, *e.progress)
	case e.tx != nil && e.tx.invite && !e.tx.inside && e.msg != nil:
		l.noteResponse(e.msg)
	case l.media != nil: // the bridge's, which is busy with this leg or the other
		l.media.deferred = append(l.media.deferred, e)
	}
	return nil
}

// noteResponse reports a response to the INVITE; a provisional one that
// repeats the one before says nothing new.
func (l *Leg) noteResponse(m *wire.Message) {
	line := m.StatusLine()
	if m.Code() < 200 && line == l.noted {
		return
	}
	l.noted = line
	l.call.note(l, "INVITE", line, time.Now())
	l.record.responded(m)
	l.call.early(l, m)
	if code := m.Code(); code > 100 && code < 200 {
		if l.rang = true; l.onRinging != nil {
			l.onRinging()
		}
	}
}

// noteDenied ends the status lines of a call that comes to nothing because its
// credentials are refused. A 401 or 407 is no end to clients, who see one in most
// calls that go well: without another line they would wait for ever.
func (l *Leg) noteDenied(method string, code int) {
	if code == 401 || code == 407 {
		l.call.note(l, method, "SIP/2.0 403 Forbidden", time.Now())
	}
}

// do sends a request in the dialog, again with credentials when it is
// challenged, and returns its 2xx. Any other final response is a *StatusError.
func (l *Leg) do(ctx context.Context, r *outgoing) (*wire.Message, error) {
	l.cseq++
	a := l.newAttempt(r)
	tx, err := a.send(ctx)
	return a.finish(ctx, tx, err)
}

// failed says what a request to the phone came to.
//
//go:noinline
func (l *Leg) failed(method string, err error) error {
	err = fmt.Errorf("%s %s: %w", method, l.target, err)
	l.record.failed(err)
	return err
}

// refusal says that the phone's response is a refusal.
//
//go:noinline
func (l *Leg) refusal(method string, res *wire.Message) error {
	return l.fault(statusError(method, res))
}

// fault notes that an error is of this leg.
func (l *Leg) fault(err error) error {
	l.record.failed(err)
	return err
}

// reported takes what the phone says of the one that it was referred to. What it says of
// a REFER that was given up for another is of no interest.
func (l *Leg) reported(n *Notification) {
	if l.record != nil && n.refer == l.peer.latestRefer() {
		l.call.record.reported(n.Code, n.Reason)
	}
}

//go:noinline
func statusError(method string, res *wire.Message) error {
	return &sentError{&StatusError{method, res.Code(), string(res.Reason())}, causeOf(res)}
}

// Bye ends the dialog; reason is a Reason header line or empty. It does
// nothing on a leg that was not answered or has been hung up already. It waits
// at most 65*T1 (32.5 s) for the phone's response, a challenge included.
func (l *Leg) Bye(ctx context.Context, reason string) error {
	return l.startBye(ctx, reason)()
}

// startBye sends the BYE. What it returns waits for the phone's response. So
// two phones are hung up at once, and one that is gone does not keep the other.
func (l *Leg) startBye(ctx context.Context, reason string) (wait func() error) {
	if !l.peer.hangUp() {
		return func() error { return nil }
	}
	l.giveUpRefresh()
	if l.media != nil {
		reason += l.media.byeHeader
	}
	// The transaction's own timeout comes first.
	ctx, stop := context.WithTimeout(ctx, tEnd+t1)
	l.dropErrands()
	l.cseq++
	a := l.newAttempt(&outgoing{method: "BYE", header: reason})
	tx, err := a.send(ctx)
	return func() error {
		defer stop()
		_, err := a.finish(ctx, tx, err)
		l.endErrands(ctx)
		if !errors.Is(err, ErrHungUp) {
			return err
		}
		return nil // both hung up at once
	}
}

// While returns a context that ends when the phone hangs up, with cause
// ErrHungUp, or with ctx.
func (l *Leg) While(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.peer.whenHungUp(cancel)
	return ctx, func() { cancel(nil) }
}

// hold notes which connection the leg's requests go over, so that it is kept
// alive. nil lets go of it.
func (l *Leg) hold(on transport.Link) {
	if on == transport.Link(l.held) && l.held != nil {
		return
	}
	if l.held != nil {
		l.held.Release()
		l.held = nil
	}
	if s, ok := on.(*transport.Stream); ok {
		s.Hold()
		l.held = s
	}
}

// inviteState is an INVITE of ours: the pending one, or that whose 2xx may need an ACK.
type inviteState struct {
	branch  uint64
	via     string // transport and sent-by of its Via: "UDP 192.0.2.1:5060"
	uri     string // Request-URI
	routes  string // Route header lines
	to      string // To, without a tag
	seq     uint32
	hop     resolve.Hop // where it went
	offered []byte      // the offer in its 2xx, which the ACK is to answer
}

// legKeeping is what of a leg is for its state only.
type legKeeping struct {
	invite    *inviteState // its latest INVITE outside of a dialog
	cseq      uint32       // in the newest state
	written   bool         // a state has the dialog
	acked     bool         // our ACK is out
	accepting bool         // our 200 is about to go
	request   []byte       // of a phone that called us: what its responses are made of
	header    string       // of our 200
	body      []byte

	told []byte // our last description that the phone has accepted; guarded by peer.mu
}

// keepsLeg has a new leg be one that is kept.
func (l *Leg) keepsLeg() {
	if l.call.keeping() != nil {
		l.kept = new(legKeeping)
	}
}

// ackSent notes that the ACK of the leg's INVITE is out.
func (k *legKeeping) ackSent(tx *clientTx) {
	if k != nil && !tx.inside {
		k.acked = true
		if k.invite != nil {
			invite := *k.invite
			invite.offered, k.invite = nil, &invite
		}
	}
}

// answered notes what the phone has offered in its 2xx.
func (k *legKeeping) answered(a *attempt, answer *Success) {
	if k != nil && k.invite != nil && answer.settled == unsettled && !a.offers() && len(answer.SDP) > 0 {
		invite := *k.invite
		invite.offered, k.invite = answer.SDP, &invite
	}
}

// tells notes a description of ours that the phone knows by now. peer.mu is held.
func (k *legKeeping) tells(body []byte) {
	if k != nil && len(body) > 0 {
		k.told = body
	}
}
