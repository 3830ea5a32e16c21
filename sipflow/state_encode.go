package sipflow

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"sipxrest/resolve"
)

// The encoding of a state:
//
//	1 byte   stateClass, for who takes calls over in their order
//	3 bytes  length of the first part, the highest byte first
//	         the first part
//	1 byte   version of the second part
//	         the second part
//
// A number is an unsigned varint, a duration one of milliseconds; a text is its length
// and its bytes. The first part is never changed. The second part of one version is not
// either: what is added to it has a new version.

// stateVersion is that of the second part.
const stateVersion = 1

// stateHead is how many bytes precede the first part.
const stateHead = 4

// A stateWriter appends to a state.
type stateWriter struct {
	b []byte
	// steady leaves out what changes all the time and is not worth a write of its own:
	// numbers of requests, and times that are left.
	steady bool
}

func (w *stateWriter) byte(v byte)    { w.b = append(w.b, v) }
func (w *stateWriter) uint(v uint64)  { w.b = binary.AppendUvarint(w.b, v) }
func (w *stateWriter) int(v int)      { w.uint(uint64(max(v, 0))) }
func (w *stateWriter) id(v uint64)    { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *stateWriter) text(v string)  { w.int(len(v)); w.b = append(w.b, v...) }
func (w *stateWriter) bytes(v []byte) { w.int(len(v)); w.b = append(w.b, v...) }
func (w *stateWriter) addr(a netip.Addr) {
	at := len(w.b)
	w.byte(0)
	if a.IsValid() {
		w.b = a.AppendTo(w.b)
	}
	w.b[at] = byte(len(w.b) - at - 1)
}

func (w *stateWriter) addrPort(a netip.AddrPort) {
	w.addr(a.Addr())
	w.uint(uint64(a.Port()))
}

// moving writes a number that steady leaves out, and left a time.
func (w *stateWriter) moving(v uint64) {
	if w.steady {
		v = 0
	}
	w.uint(v)
}

func (w *stateWriter) left(d time.Duration) { w.moving(uint64(max(d, 0) / time.Millisecond)) }

func (w *stateWriter) lasts(d time.Duration) { w.uint(uint64(max(d, 0) / time.Millisecond)) }

// flags writes up to eight bits.
func (w *stateWriter) flags(bits ...bool) {
	v := byte(0)
	for i, on := range bits {
		if on {
			v |= 1 << i
		}
	}
	w.byte(v)
}

func (w *stateWriter) hop(h *resolve.Hop) {
	w.text(h.Transport)
	w.addrPort(h.Addr)
	w.text(h.Name)
}

// encode appends the state.
func (s *callState) encode(dst []byte) []byte {
	w := stateWriter{b: dst}
	w.state(s)
	return w.b
}

func (w *stateWriter) state(s *callState) {
	w.head(s)
	w.byte(stateVersion)
	w.second(s)
}

// head writes all that precedes the second part.
func (w *stateWriter) head(s *callState) {
	w.byte(byte(s.class))
	at := len(w.b)
	w.b = append(w.b, 0, 0, 0)
	w.first(s)
	n := len(w.b) - at - 3
	w.b[at], w.b[at+1], w.b[at+2] = byte(n>>16), byte(n>>8), byte(n)
}

func (w *stateWriter) first(s *callState) {
	w.text(s.id)
	w.key(s.key)
	w.byte(byte(s.flow))
	w.byte(byte(s.step))
	w.text(s.method)
	w.int(len(s.legs))
	for i := range s.legs {
		w.firstOfLeg(&s.legs[i])
	}
}

func (w *stateWriter) key(k Key) {
	w.text(k.Agent)
	w.text(k.Calling)
	w.text(k.Called)
}

func (w *stateWriter) firstOfLeg(l *keptLeg) {
	w.byte(byte(l.at))
	w.byte(byte(l.seat))
	w.byte(byte(l.callee))
	aims := l.dialog.next == l.dialog.target
	w.flags(l.secure, l.media, l.dialog.strict, aims, l.right.anyRealm, l.invite != nil, l.caller != nil)
	w.id(l.id)
	w.text(l.dialog.callID)
	w.text(l.dialog.local)
	w.text(l.dialog.remote)
	w.text(l.dialog.target)
	w.text(l.dialog.routes)
	if !aims {
		w.text(l.dialog.next)
	}
	w.moving(uint64(l.cseq))
	w.hop(&l.to)
	w.addr(l.source)
	w.text(l.right.cred.Username)
	w.text(l.right.realm)
	w.byte(byte(l.right.servers.kind))
	w.text(l.right.servers.name)
	if i := l.invite; i != nil {
		w.id(i.branch)
		w.text(i.via)
		w.text(i.uri)
		w.text(i.routes)
		w.text(i.to)
		w.uint(uint64(i.seq))
		w.hop(&i.hop)
		w.bytes(i.offered)
	}
	if c := l.caller; c != nil {
		w.bytes(c.invite)
		w.text(c.network)
		w.addrPort(c.source)
		w.text(c.header)
		w.bytes(c.body)
		w.text(c.trunk)
		w.int(c.most)
	}
}

func (w *stateWriter) second(s *callState) {
	at := uint64(0)
	if ms := s.at.UnixMilli(); !s.at.IsZero() && ms > 0 {
		at = uint64(ms)
	}
	w.moving(at)
	w.flags(s.changing, s.noFallback, s.forwarding, s.trusted, s.logsEnd, s.converse, s.joined, s.wasUp)
	w.flags(s.notified, s.dial != nil, s.transfer != nil, s.record != nil)
	w.text(s.agentName)
	w.text(s.callingUser)
	w.text(s.calledUser)
	w.text(s.subject)
	w.text(s.policy)
	w.text(s.user)
	w.addr(s.peer)
	w.lasts(s.timeout)
	w.lasts(s.maxTalk)
	w.left(s.ringLeft)
	w.left(s.talkLeft)
	w.left(s.lasted)
	w.byte(byte(s.by))
	w.int(len(s.callIDs))
	for _, id := range s.callIDs {
		w.text(id)
	}
	w.text(s.users[0])
	w.text(s.users[1])
	w.left(s.referredAgo)
	w.int(s.transfers)
	w.dial(s.dial)
	w.transfer(s.transfer)
	w.record(s.record)
	w.text(s.door)
	w.bytes(s.kept)
	w.bytes(s.events)
	for i := range s.legs {
		w.secondOfLeg(&s.legs[i])
	}
}

func (w *stateWriter) dial(d *dialState) {
	if d == nil {
		return
	}
	w.flags(d.anonymous, d.chosen, d.last)
	for _, s := range [...]string{d.gateway, d.gatewayDomain, d.realm, d.user, d.number, d.caller, d.target} {
		w.text(s)
	}
	w.lasts(d.targetTime)
}

func (w *stateWriter) transfer(t *transferState) {
	if t == nil {
		return
	}
	w.flags(t.key != nil, t.attended, t.consults, t.wasHeld, t.byPhone)
	r := &t.report
	w.int(r.N)
	w.text(r.Mode)
	w.text(r.State)
	w.byte(byte(r.Leaver))
	w.byte(byte(r.Place))
	w.text(r.To)
	w.text(r.WithCall)
	w.int(r.RequestedBy)
	w.int(r.Leg)
	if t.key != nil {
		w.key(*t.key)
	}
}

func (w *stateWriter) record(r *recordState) {
	if r == nil {
		return
	}
	w.flags(r.linked, r.joined)
	w.text(string(r.stage))
	w.int(r.count)
	w.int(len(r.legs))
	for i := range r.legs {
		l := &r.legs[i]
		w.byte(byte(l.state))
		w.flags(l.joining, l.report.EarlyMedia)
		w.int(l.report.N)
		w.text(string(l.report.Role))
		w.text(l.report.Address)
		w.text(l.report.CallID)
		w.text(l.report.Hop)
		w.text(l.report.Contact)
		w.text(l.report.Via)
	}
}

func (w *stateWriter) secondOfLeg(l *keptLeg) {
	w.flags(l.updates, l.parks, l.session != nil, l.refer.open)
	w.text(l.party)
	w.text(l.tag)
	w.text(l.userAgent)
	w.text(l.early)
	w.text(string(l.state))
	w.int(l.record)
	w.moving(uint64(l.remoteSeq))
	w.int(l.lines)
	w.uint(l.version)
	w.bytes(l.told)
	w.bytes(l.remote)
	w.bytes(l.reached)
	w.byte(byte(l.muted))
	w.byte(byte(l.holding))
	if t := l.session; t != nil {
		w.flags(t.ours)
		w.lasts(t.interval)
		w.left(t.due)
		w.left(t.end)
	}
	w.uint(uint64(l.refer.refer))
	w.uint(uint64(l.refer.first))
	w.uint(uint64(uint16(l.refer.left)))
	w.uint(uint64(uint16(l.refer.before)))
}

// maxStateTime bounds the times in a state: longer ones are none of ours.
const maxStateTime = math.MaxInt64 / int64(time.Millisecond)
