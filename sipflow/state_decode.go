package sipflow

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"sipxrest/resolve"
)

const (
	// maxKeptLegs bounds the legs of a state, and maxKept whatever else it counts.
	maxKeptLegs = 64
	maxKept     = 256
)

// A stateReader reads a state. What is not there reads as nothing, and bad says so.
type stateReader struct {
	b   []byte
	bad bool
}

func (r *stateReader) fail() {
	r.b, r.bad = nil, true
}

func (r *stateReader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *stateReader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

// below reads a byte that must be less than limit.
func (r *stateReader) below(limit byte) byte {
	v := r.byte()
	if v >= limit {
		r.fail()
		return 0
	}
	return v
}

func (r *stateReader) uint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *stateReader) int(most int) int { return int(r.uint(uint64(most))) }

func (r *stateReader) id() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *stateReader) text() string { return string(r.take(r.int(math.MaxInt32))) }

// bytes is nil for none. They are not shared with the state.
func (r *stateReader) bytes() []byte { return append([]byte(nil), r.take(r.int(math.MaxInt32))...) }

func (r *stateReader) addr() netip.Addr {
	text := r.take(int(r.byte()))
	if len(text) == 0 {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(string(text))
	if err != nil {
		r.fail()
	}
	return a
}

func (r *stateReader) addrPort() netip.AddrPort {
	a := r.addr()
	port := uint16(r.uint(math.MaxUint16))
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, port)
}

func (r *stateReader) time() time.Duration {
	return time.Duration(r.uint(uint64(maxStateTime))) * time.Millisecond
}

func (r *stateReader) flags(bits ...*bool) {
	v := r.byte()
	for i, on := range bits {
		*on = v&(1<<i) != 0
	}
}

func (r *stateReader) hop() (h resolve.Hop) {
	h.Transport = r.text()
	h.Addr = r.addrPort()
	h.Name = r.text()
	return h
}

func (r *stateReader) key() Key { return Key{r.text(), r.text(), r.text()} }

// decodeState reads a state. Where the second part is of a release that is not known,
// or cannot be read, known is false: by the first the call can be hung up.
func decodeState(state []byte) (*callState, error) {
	s, r, err := decodeFirst(state)
	if err != nil {
		return nil, err
	}
	if r.byte() != stateVersion {
		return s, nil
	}
	r.second(s)
	if s.known = !r.bad && len(r.b) == 0; !s.known {
		s.callMore = callMore{}
		for i := range s.legs {
			s.legs[i].legMore = legMore{}
		}
	}
	return s, nil
}

// decodeFirst reads the first part of a state, and returns what follows it.
func decodeFirst(state []byte) (s *callState, rest stateReader, err error) {
	if len(state) < stateHead || stateClass(state[0]) >= numStateClasses {
		return nil, rest, errBadState
	}
	s = &callState{class: stateClass(state[0])}
	n := int(state[1])<<16 | int(state[2])<<8 | int(state[3])
	rest.b = state[stateHead:]
	first := stateReader{b: rest.take(n)}
	first.first(s)
	if rest.bad || first.bad {
		return nil, rest, errBadState
	}
	return s, rest, nil
}

// StateKind returns which flow a state (see Keeper) is of, and how far the call is: what
// metrics count takeovers by. Both are "unknown" of what cannot be read.
func StateKind(state []byte) (flow, step string) {
	s, _, err := decodeFirst(state)
	if err != nil {
		return numSteps.String(), numSteps.String()
	}
	return s.flow.String(), s.step.String()
}

// StateKinds lists what StateKind may return.
func StateKinds() (kinds [][2]string) {
	for flow := range numFlowKinds {
		for step := range numSteps {
			kinds = append(kinds, [2]string{flow.String(), step.String()})
		}
	}
	return append(kinds, [2]string{numSteps.String(), numSteps.String()})
}

func (r *stateReader) first(s *callState) {
	s.id = r.text()
	s.key = r.key()
	s.flow = FlowKind(r.below(byte(numFlowKinds)))
	s.step = callStep(r.byte())
	s.method = r.text()
	n := r.int(maxKeptLegs)
	for range n {
		if r.bad {
			return
		}
		s.legs = append(s.legs, keptLeg{})
		r.firstOfLeg(&s.legs[len(s.legs)-1])
	}
}

func (r *stateReader) firstOfLeg(l *keptLeg) {
	var aims, invite, caller bool
	l.at = legAt(r.below(byte(numAts)))
	l.seat = legSeat(r.byte())
	l.callee = calleeKind(r.byte())
	r.flags(&l.secure, &l.media, &l.dialog.strict, &aims, &l.right.anyRealm, &invite, &caller)
	l.id = r.id()
	l.dialog.callID = r.text()
	l.dialog.local = r.text()
	l.dialog.remote = r.text()
	l.dialog.target = r.text()
	l.dialog.routes = r.text()
	if l.dialog.next = l.dialog.target; !aims {
		l.dialog.next = r.text()
	}
	l.cseq = uint32(r.uint(math.MaxUint32))
	l.to = r.hop()
	l.source = r.addr()
	l.right.cred.Username = r.text()
	l.right.realm = r.text()
	l.right.servers.kind = serversKind(r.below(byte(ofGateway) + 1))
	l.right.servers.name = r.text()
	if invite {
		l.invite = &inviteState{branch: r.id(), via: r.text(), uri: r.text(), routes: r.text(), to: r.text(),
			seq: uint32(r.uint(math.MaxUint32)), hop: r.hop(), offered: r.bytes()}
	}
	if caller {
		l.caller = &callerState{invite: r.bytes(), network: r.text(), source: r.addrPort(), header: r.text(), body: r.bytes(),
			trunk: r.text(), most: r.int(math.MaxInt32)}
	}
}

func (r *stateReader) second(s *callState) {
	var dial, transfer, record bool
	if ms := r.uint(math.MaxInt64); ms != 0 {
		s.at = time.UnixMilli(int64(ms))
	}
	r.flags(&s.changing, &s.noFallback, &s.forwarding, &s.trusted, &s.logsEnd, &s.converse, &s.joined, &s.wasUp)
	r.flags(&s.notified, &dial, &transfer, &record)
	s.agentName = r.text()
	s.callingUser = r.text()
	s.calledUser = r.text()
	s.subject = r.text()
	s.policy = r.text()
	s.user = r.text()
	s.peer = r.addr()
	s.timeout = r.time()
	s.maxTalk = r.time()
	s.ringLeft = r.time()
	s.talkLeft = r.time()
	s.lasted = r.time()
	s.by = Party(r.below(byte(UnknownParty) + 1))
	for range r.int(maxKept) {
		s.callIDs = append(s.callIDs, r.text())
	}
	s.users = [2]string{r.text(), r.text()}
	s.referredAgo = r.time()
	s.transfers = r.int(math.MaxInt32)
	if dial {
		s.dial = r.dial()
	}
	if transfer {
		s.transfer = r.transfer()
	}
	if record {
		s.record = r.record()
	}
	s.door = r.text()
	s.kept = r.bytes()
	s.events = r.bytes()
	if s.step >= numSteps {
		r.fail()
	}
	for i := range s.legs {
		r.secondOfLeg(&s.legs[i])
	}
}

func (r *stateReader) dial() *dialState {
	d := &dialState{}
	r.flags(&d.anonymous, &d.chosen, &d.last)
	for _, s := range [...]*string{&d.gateway, &d.gatewayDomain, &d.realm, &d.user, &d.number, &d.caller, &d.target} {
		*s = r.text()
	}
	d.targetTime = r.time()
	return d
}

func (r *stateReader) transfer() *transferState {
	t := &transferState{}
	var key bool
	r.flags(&key, &t.attended, &t.consults, &t.wasHeld, &t.byPhone)
	o := &t.report
	o.N = r.int(math.MaxInt32)
	o.Mode = r.text()
	o.State = r.text()
	o.Leaver = Party(r.below(byte(UnknownParty) + 1))
	o.Place = Party(r.below(byte(UnknownParty) + 1))
	o.To = r.text()
	o.WithCall = r.text()
	o.RequestedBy = r.int(math.MaxInt32)
	o.Leg = r.int(math.MaxInt32)
	if key {
		k := r.key()
		t.key = &k
	}
	return t
}

func (r *stateReader) record() *recordState {
	o := &recordState{}
	r.flags(&o.linked, &o.joined)
	o.stage = Stage(r.text())
	o.count = r.int(math.MaxInt32)
	for range r.int(maxKept) {
		if r.bad {
			break
		}
		var l legRecordState
		l.state = legState(r.below(byte(legEnded) + 1))
		r.flags(&l.joining, &l.report.EarlyMedia)
		l.report.N = r.int(math.MaxInt32)
		l.report.Role = Role(r.text())
		l.report.Address = r.text()
		l.report.CallID = r.text()
		l.report.Hop = r.text()
		l.report.Contact = r.text()
		l.report.Via = r.text()
		o.legs = append(o.legs, l)
	}
	return o
}

func (r *stateReader) secondOfLeg(l *keptLeg) {
	var session bool
	r.flags(&l.updates, &l.parks, &session, &l.refer.open)
	l.party = r.text()
	l.tag = r.text()
	l.userAgent = r.text()
	l.early = r.text()
	l.state = DialogState(r.text())
	l.record = r.int(math.MaxInt32)
	l.remoteSeq = uint32(r.uint(math.MaxUint32))
	l.lines = r.int(math.MaxInt32)
	l.version = r.uint(math.MaxUint64)
	l.told = r.bytes()
	l.remote = r.bytes()
	l.reached = r.bytes()
	l.muted = Mute(r.below(byte(muteAll) + 1))
	l.holding = holding(r.below(byte(isHeld|hasHeld) + 1))
	if session {
		t := &sessionState{}
		r.flags(&t.ours)
		t.interval, t.due, t.end = r.time(), r.time(), r.time()
		l.session = t
	}
	if l.seat >= numSeats || l.callee >= numCallees {
		r.fail()
	}
	l.refer.refer = uint32(r.uint(math.MaxUint32))
	l.refer.first = uint32(r.uint(math.MaxUint32))
	l.refer.left = int16(r.uint(math.MaxUint16))
	l.refer.before = int16(r.uint(math.MaxUint16))
}

// RecordOf returns what Kept has put into a state, as far as that can be read.
func RecordOf(state []byte) (door string, record []byte, ok bool) {
	s, err := decodeState(state)
	if err != nil || !s.known || s.door == "" {
		return "", nil, false
	}
	return s.door, s.kept, true
}
