package sipflow

import (
	"bytes"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// peer is what a leg knows of the phone's requests. It belongs to the sockets'
// readers, which respond at once, so that no phone waits for a call's
// goroutine.
type peer struct {
	requests
	tag       string // the phone's tag
	up        bool   // answered, and nobody has sent BYE
	confirmed bool   // answered
	secure    bool   // set up over TLS or WSS: nothing is taken that comes otherwise
	byed      bool   // the phone sent BYE
	reasons   string // that it gave: Reason header lines
	referral  subscription
	version   uint64          // of our last o= line, 0 before the first
	sent      uint64          // hash of our last description without its origin
	media     int             // m= lines of what was offered or answered before there was a mediaState
	said      []byte          // the phone's offer that was answered here
	hungUp    func(why error) // called once when the phone sends BYE
	session   *sessionTimer   // nil while nobody has asked for one
	forwards  bool            // requests go to the call's goroutine, which joins two phones
	updates   bool            // the phone takes UPDATE
	bridged   bool            // it is joined with another: a third one may take its place
	newcomer  *serverTx       // the INVITE that is to (RFC 3891), until the call's goroutine has it
	recent    window
	early     earlyPeers // of our first INVITE
}

// confirm notes that the phone has answered, and whether its INVITE went over an
// encrypted hop.
func (p *peer) confirm(tag string, secure bool) {
	p.tag, p.up, p.confirmed, p.secure = tag, true, true, secure
}

// responded notes a response to our first INVITE, of which it may make or confirm a
// dialog. The numbers of the phone's requests in that one go on.
func (p *peer) responded(m *wire.Message, invite *clientTx, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	secure := transport.Encrypted(transport.Of(invite.path.Link))
	switch code := m.Code(); {
	case code < 200:
		p.early.take(m, secure, invite.offers)
	case code >= 300:
		p.early = earlyPeers{}
	default:
		if e := p.early.with(m.ToTag()); e != nil {
			p.seq = e.seq
			copy(p.past[:], e.past[:])
		}
		p.early.over = now + tEnd
		p.confirm(invite.tag, secure)
	}
}

// agreed notes that we have answered the offer in a provisional response.
func (p *peer) agreed(tag string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.early.with([]byte(tag)); e != nil {
		e.offer = answeredOffer
	}
}

// onlySecure takes nothing any more that does not come over an encrypted hop.
func (p *peer) onlySecure() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secure = true
}

// insecure is the response to a request that knows a dialog over TLS but comes
// without TLS: its sender has read what was meant to be secret.
var insecure = wire.Reply{Code: 403, Reason: "The Dialog Is Over TLS"}

// hangUp ends the dialog from our side. It is false when there is none.
func (p *peer) hangUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.up
	p.up = false
	return was
}

// isUp reports whether the phone has answered and nobody has hung up.
func (p *peer) isUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up
}

// mediaLines are the m= lines of what was offered or answered so far.
func (p *peer) mediaLines() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.media
}

// firstVersion is nextVersion for an offer of ours, with so many m= lines, to a phone that
// has accepted none yet.
func (p *peer) firstVersion(sum uint64, lines int) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.media = lines
	return p.versionOf(sum)
}

// versionWith is nextVersion for a description with so many m= lines in a dialog, whose
// streams are never fewer.
func (p *peer) versionWith(sum uint64, lines int) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.media = max(p.media, lines)
	return p.versionOf(sum)
}

// nextVersion is the version of our next session description: a new one when
// it differs from the last (RFC 3264 §8). sum is its hash, without the origin.
func (p *peer) nextVersion(sum uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.versionOf(sum)
}

// versionOf is nextVersion with p.mu held.
func (p *peer) versionOf(sum uint64) uint64 {
	if sum != p.sent || p.version == 0 {
		p.version++
		p.sent = sum
	}
	return p.version
}

// latestVersion is that of our last description.
func (p *peer) latestVersion() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// lastSaid returns, once, what the phone has offered in a re-INVITE that nobody but
// the reader has seen.
func (p *peer) lastSaid() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	said := p.said
	p.said = nil
	return said
}

// subscribe expects the NOTIFYs of a REFER that is about to be sent: they may come
// before its response (RFC 6665 §4.1.2.4).
func (p *peer) subscribe(seq uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.referral.begin(seq)
}

// subscribes reports whether NOTIFYs of a REFER are still expected.
func (p *peer) subscribes() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.referral.open
}

func (p *peer) unsubscribe() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.referral.open = false
}

// latestRefer is the CSeq of the REFER that was sent last, 0 before the first.
func (p *peer) latestRefer() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.referral.refer
}

// sending is told that a request that had to wait goes out now.
func (l *Leg) sending(tx *clientTx) {
	if tx.method == "REFER" {
		l.peer.subscribe(tx.seq)
	}
}

// whenHungUp has f called when the phone sends BYE, at once if it has.
func (p *peer) whenHungUp(f func(why error)) {
	p.mu.Lock()
	byed, why := p.byed, p.whyHungUp()
	p.hungUp = f
	p.mu.Unlock()
	if byed {
		f(why)
	}
}

// whyHungUp is ErrHungUp with the reasons that the phone gave. p.mu is held.
func (p *peer) whyHungUp() error { return hungUpFor(p.reasons) }

// onRequest returns the response to a request within the leg's dialog. It runs
// in the goroutine that read it, under the shard's lock. A Code of 0 is no
// response.
func (l *Leg) onRequest(s *shard, m *wire.Message, from transport.Path) (r wire.Reply) {
	p := &l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if string(m.Get(wire.CallID)) != l.callID {
		return wire.Reply{Code: 481}
	}
	secure, early := p.secure, (*earlyPeer)(nil)
	if !p.confirmed || string(m.FromTag()) != p.tag {
		if early = p.early.with(m.FromTag()); early == nil || p.confirmed && s.now() >= p.early.over {
			return wire.Reply{Code: 481}
		}
		secure = early.secure
	}
	if secure && !transport.Encrypted(transport.Of(from.Link)) {
		return insecure
	}
	method, seq := m.Method(), m.Seq()
	if r, over := l.tooOften(s, method, from.To.Addr()); over {
		return r
	}
	if early != nil {
		return l.onEarlyRequest(s, early, m, from)
	}
	if tx := p.opened(seq); tx != nil {
		if r, concerned := tx.again(s, m); concerned {
			return r
		}
	}
	if method == "ACK" {
		return wire.Reply{}
	}
	for _, a := range p.past {
		switch {
		case a.code == 0 || a.seq != seq:
			continue
		case method == "CANCEL": // it comes after the final response and has no effect (RFC 3261 §9.2)
			return wire.Reply{Code: 200}
		case a.of != transactionOf(m): // another request, though it has the number
			continue
		}
		s.stats.repeats++
		if method == "INVITE" && a.code == 200 { // acknowledged: a late copy (RFC 6026 §8.7)
			return wire.Reply{}
		}
		return again(m, int(a.code), from)
	}
	if method == "CANCEL" {
		return wire.Reply{Code: 481}
	}
	// RFC 3261 §12.2.2. But a hang-up is a hang-up, and an outcome is one.
	if seq <= p.seq && p.seq != 0 && method != "BYE" && !(p.referral.open && saysOutcome(m)) {
		return wire.Reply{Code: 500, Header: "Retry-After: 1\r\n"}
	}
	p.seq = max(p.seq, seq)
	if p.forwards && method != "BYE" && !p.byed && p.up {
		if r = l.open(s, m, from); r.Code >= 200 && r.Code != 500 {
			p.remember(m, r.Code)
		}
		return r
	}
	code := l.accept(s, m, from)
	if tx := p.opened(seq); tx != nil && tx.alone && tx.req == m { // which remembers by itself
		return tx.reply
	}
	sent := code < 0
	code = max(code, -code)
	if code != 500 { // a 500 asks to come again
		p.remember(m, code)
	}
	if sent {
		return wire.Reply{}
	}
	return again(m, code, from)
}

// tooOften counts a request in the dialog, and reports whether it is one too many;
// r is its response. p.mu is held.
func (l *Leg) tooOften(s *shard, method string, from netip.Addr) (r wire.Reply, over bool) {
	sw, p := l.call.sw, &l.peer
	n := p.recent.over(sw.cfg.Limits.DialogRate, s.now)
	if n == 0 || !bounded(method, p.byed) {
		return wire.Reply{}, false
	}
	sw.limits.peer(LimitDialog, from)
	return tooMany(n, sw.cfg.Limits.DialogRate), true
}

// notified takes one NOTIFY of the REFER's subscription (RFC 3515 §2.4.4).
func (l *Leg) notified(_ *shard, m *wire.Message, from transport.Path) int {
	p := &l.peer
	if ev := m.Get(wire.Event); ev != nil && !isReferEvent(ev) {
		return 489
	}
	if !p.referral.open {
		return 481
	}
	n := notificationOf(m)
	n.At = time.Now()
	if l.inbox.full() {
		l.call.sw.stats.inboxFull.Add(1)
		return 500
	}
	p.referral.take(&n, m.Get(wire.Event))
	code := l.respondFirst(m, from, 200)
	l.inbox.put(event{progress: &n}, true)
	return code
}

// respondFirst sends a response before the call's goroutine can act on the
// request. On a stream, whose peer may read slowly, it is left to the caller.
func (l *Leg) respondFirst(m *wire.Message, from transport.Path, code int) int {
	if from.Link.Reliable() {
		return code
	}
	l.call.sw.respond(m, from, replyOf(code, from))
	return -code
}

// unfitOffer refuses an INVITE or UPDATE that nobody takes, whatever the call is at: its
// session is too brief, its body is not understood, or describes more streams than any
// phone has. The Code is 0 for others.
func unfitOffer(m *wire.Message) wire.Reply {
	interval, _ := sessionExpires(m)
	description, taken := readBody(m)
	switch {
	case interval > 0 && interval < minSession:
		return tooBrief
	case !taken:
		return unsupportedBody
	case sdp.Overlong(description):
		return wire.Reply{Code: 488, Reason: "Too Many Streams"}
	}
	return wire.Reply{}
}

// describeAlone responds to an INVITE or UPDATE of a phone that nobody is joined with.
// It may be put on hold, resume or change its codecs: there is no media to change. Its
// session goes on (RFC 4028 §9), and the call follows where it is.
func (l *Leg) describeAlone(s *shard, m *wire.Message, from transport.Path) int {
	p := &l.peer
	if !p.up {
		return 481
	}
	if no := unfitOffer(m); no.Code != 0 {
		return no.Code
	}
	if code := p.glare(m); code != 0 {
		return code
	}
	if !l.room() {
		return 500
	}
	r := replyOf(200, from)
	r.Header += supported
	if offers(m) {
		body, ok := l.holdInReader(bodyOf(m), transport.HostOf(from.Link))
		if !ok {
			return 488
		}
		r.ContentType, r.Body = sdp.Type, body
	}
	if m.Method() == "UPDATE" {
		p.updates = true
	}
	r.Header += l.answerSession(s, m, r.Body)
	tx := &serverTx{leg: l, req: m, method: m.Method(), seq: m.Seq(), path: from, alone: true, done: true, reply: r}
	tx.timer.set(s, tx.begin(s.now(), tx.method == "INVITE"), tx) // over streams too, see replied
	p.open = append(p.open, tx)
	l.inbox.put(event{in: tx}, true)
	return 200
}

// holdInReader answers a phone's offer on hold, or offers audio on hold where it made
// none. It is false when the offer cannot be held. p.mu is held.
func (l *Leg) holdInReader(offer []byte, host string) (body []byte, ok bool) {
	p := &l.peer
	rest, lines := sdp.Held(host), 1
	for ; offer == nil && lines < p.media; lines++ { // there may never be fewer (RFC 3264 §8)
		rest = append(rest, sdp.RefusedLine...)
	}
	if offer != nil {
		var err error
		if rest, lines, err = sdp.Hold(offer, host, l.mediaKey); err != nil {
			return nil, false
		}
		p.said = bytes.Clone(offer)
	}
	p.media = max(p.media, lines)
	return sdp.From(l.id>>1, p.versionOf(maphash.Bytes(l.call.sw.seed, rest)), host, rest), true
}

// acknowledged ends the repeats of our 200s: there is no dialog any more. The shard's
// lock and mu are held.
func (p *peer) acknowledged() {
	for _, tx := range p.open {
		if tx.alone {
			tx.timer.stop()
		}
	}
	p.open = slices.DeleteFunc(p.open, func(tx *serverTx) bool { return tx.alone })
}

// A husk stands in for a leg that has ended while the subscription of its REFER
// goes on: late NOTIFYs are recorded (RFC 5057). It stays for 32 s. See ended
// for legs without.
type husk struct {
	timer  timer
	id     uint64
	callID string
	tag    string // the phone's
	seq    uint32
	refer  subscription
	call   *Call // while NOTIFYs are still recorded
	byed   bool  // the phone has sent a BYE of its own
	final  bool  // a NOTIFY has told the outcome
	secure bool  // as the peer's
	sw     *Switchboard
	recent window
}

// expire implements expirer.
func (h *husk) expire(s *shard) func() {
	delete(s.husks, h.id)
	h.over()
	return nil
}

// abort implements expirer.
func (h *husk) abort(s *shard) func() { return h.expire(s) }

func (h *husk) over() {
	if c := h.call; c != nil {
		h.call = nil
		c.settle()
	}
}

func (h *husk) onRequest(s *shard, m *wire.Message, from transport.Path) wire.Reply {
	if string(m.Get(wire.CallID)) != h.callID || string(m.FromTag()) != h.tag {
		return wire.Reply{Code: 481}
	}
	if h.secure && !transport.Encrypted(transport.Of(from.Link)) {
		return insecure
	}
	seq := m.Seq()
	method := m.Method()
	if over := h.recent.over(h.sw.cfg.Limits.DialogRate, s.now); over > 0 && bounded(method, h.byed) {
		h.sw.limits.peer(LimitDialog, from.To.Addr())
		return tooMany(over, h.sw.cfg.Limits.DialogRate)
	}
	switch method {
	case "ACK":
		return wire.Reply{}
	case "BYE":
		h.byed = true
		return replyOf(200, from)
	case "NOTIFY":
		// One that the BYE has overtaken still tells the outcome.
		if seq > h.seq || !h.final && saysOutcome(m) {
			h.seq = max(h.seq, seq)
			if h.call == nil {
				return wire.Reply{Code: 481}
			}
			if ev := m.Get(wire.Event); ev != nil && !isReferEvent(ev) {
				return replyOf(489, from)
			}
			n := notificationOf(m)
			h.refer.take(&n, m.Get(wire.Event))
			about := n.refer == h.refer.refer // and not of a REFER that was given up for another
			if n.Code >= 200 && about {
				h.final = true
				if n.Code >= 300 {
					h.sw.referred.failed(h.call.Key, h.call.kept().referredAt)
				}
			}
			if about {
				h.call.record.reported(n.Code, n.Reason)
			}
			if n.Text != "" {
				h.call.observe(&Event{Kind: Progress, At: time.Now(), CallID: h.callID, Method: "NOTIFY", Text: n.Text})
			}
			if n.Terminated && about {
				h.over()
			}
		}
		return replyOf(200, from)
	}
	switch {
	case seq > h.seq:
		return wire.Reply{Code: 481}
	case method == "INVITE": // ended with the call (RFC 3261 §15.1.2)
		return wire.Reply{Code: 487}
	}
	return replyOf(200, from)
}

// targets reports whether a method refreshes the remote target.
func targets(method string) bool {
	switch method {
	case "INVITE", "UPDATE", "SUBSCRIBE", "REFER", "NOTIFY":
		return true
	}
	return false
}

// refreshTarget takes the remote target from a request or 2xx that refreshes it (RFC
// 3261 §12.2). from is the path it arrived on. A target where we do not go is
// left.
func (l *Leg) refreshTarget(m *wire.Message, from transport.Path) {
	if !targets(m.Method()) {
		return
	}
	contact := string(wire.ContactURI(m.Get(wire.Contact)))
	if contact == "" {
		return
	}
	if contact != l.target && l.call.sw.barred(contact) != nil && uri.AddrPort(contact).Addr() != l.source {
		return
	}
	moved := l.retarget(contact)
	switch {
	case l.hidden(contact, from.To.Addr()):
		l.path = from
		l.hold(from.Link)
	case moved:
		l.path = transport.Path{}
	}
}
