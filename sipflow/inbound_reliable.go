package sipflow

import (
	"bytes"
	"context"
	"strconv"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// reliable is a provisional response that is repeated until its PRACK comes
// (RFC 3262 §3). There is one at a time; what follows waits for its turn.
type reliable struct {
	timer   timer
	in      *Incoming
	rseq    uint32
	waiting bool // for the PRACK
	offered bool // it carries our offer
	path    transport.Path
	msg     []byte
	next    []wire.Reply
	repetition
}

// maxProvisional bounds the provisional responses that wait for their turn.
const maxProvisional = 8

// reliably reports whether the caller acknowledges provisional responses.
func (in *Incoming) reliably() bool {
	return supports(in.req, "100rel") || wire.Requires(in.req, "100rel")
}

// unoffered reports whether there is no offer yet that a reliable response could
// follow: the first of them must have it where the INVITE had none (RFC 3261 §13.2.1).
// p.mu is held.
func (in *Incoming) unoffered(r wire.Reply) bool {
	return in.offer == nil && in.rel.rseq == 0 && len(r.Body) == 0
}

// provisional sends a provisional response to the caller.
func (in *Incoming) provisional(r wire.Reply) {
	if r.Code == 180 {
		in.rang = true
	}
	r.Header += string(appendContact(nil, in.path.Link)) + "Allow: " + allowBridged + "\r\n"
	in.call.dialled(in.leg, Early)
	p := &in.leg.peer
	p.mu.Lock()
	early := in.unoffered(r)
	if early && wire.Requires(in.req, "100rel") { // it takes no others
		in.rel.next = append(in.rel.next[:0], r)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	if early || !in.reliably() {
		in.tx.respond(r)
		return
	}
	told := strconv.Itoa(r.Code) + string(r.Body)
	if told == in.told { // a repeat says nothing new
		return
	}
	in.told = told
	s := in.call.sw.shard(in.leg.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case in.tx.done || s.closed:
	case in.rel.waiting:
		if len(in.rel.next) < maxProvisional {
			in.rel.next = append(in.rel.next, r)
		}
	default:
		in.rel.start(s, in, r)
	}
}

// progress sends a target's provisional response on to the caller.
func (in *Incoming) progress(target *Leg, m *wire.Message) {
	if m.Code() <= 100 || m == in.passed || in.open() != nil {
		return
	}
	r := wire.Reply{Code: m.Code(), Reason: wire.PlainPhrase(string(m.Reason())), Header: relayedHeader(m)}
	if answer := bodyOf(m); answer != nil && in.offer != nil {
		tag := string(m.ToTag())
		if in.early == nil || in.earlyTag == tag && bytes.Equal(answer, in.early) {
			r.Body, r.ContentType = in.leg.answerTo(in.offer, answer), sdp.Type
			if in.reliably() {
				in.early, in.earlyTag = bytes.Clone(answer), tag
			}
		}
	}
	in.provisional(r)
}

// start sends a response reliably. The shard's lock and p.mu are held, so that
// a stream gets it without our waiting.
func (rel *reliable) start(s *shard, in *Incoming, r wire.Reply) {
	if rel.rseq == 0 {
		rel.rseq = uint32(newID()>>34) + 1 // RFC 3262 §3: at random, from 1 to 2^31-1
	} else {
		rel.rseq++
	}
	r.ToTag = string(appendID(nil, in.leg.id))
	r.Header += "Require: 100rel\r\nRSeq: " + strconv.FormatUint(uint64(rel.rseq), 10) + "\r\n"
	in.tx.reply = r
	rel.in, rel.waiting = in, true
	sw := in.call.sw
	if rel.path, rel.msg = sw.render(in.req, in.path, r); rel.msg == nil {
		return
	}
	sw.stats.answers[1].Add(1)
	rel.timer.set(s, rel.begin(s.now(), true), rel)
	rel.path.RespondAside(rel.msg)
}

// expire implements expirer.
func (rel *reliable) expire(s *shard) func() {
	in := rel.in
	p := &in.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if in.tx.done || !rel.waiting {
		return nil
	}
	now := s.now()
	if rel.over(now) {
		rel.waiting, rel.next = false, nil
		return func() { in.end(&StatusError{"INVITE", 504, "No PRACK"}) } // RFC 3262 §3: a 5xx
	}
	repeat, wait := rel.repetition.next(now, tEnd)
	rel.timer.set(s, wait, rel)
	if !repeat {
		return nil
	}
	s.stats.repeated++
	to, msg := rel.path, rel.msg
	return func() { to.RespondAside(msg) }
}

// abort implements expirer.
func (rel *reliable) abort(*shard) func() {
	in := rel.in
	in.leg.peer.mu.Lock()
	defer in.leg.peer.mu.Unlock()
	rel.waiting, rel.next = false, nil
	return func() { in.end(&StatusError{"INVITE", 500, ""}) }
}

// pracked takes a PRACK. It runs in the reader, with p.mu held.
func (in *Incoming) pracked(s *shard, m *wire.Message, from transport.Path) int {
	rel := &in.rel
	f := bytes.Fields(m.Get(wire.RAck))
	if len(f) != 3 || !rel.waiting || string(f[0]) != strconv.FormatUint(uint64(rel.rseq), 10) ||
		string(f[1]) != strconv.FormatUint(uint64(in.tx.seq), 10) || string(f[2]) != "INVITE" {
		return 481
	}
	if bodyOf(m) != nil && !rel.offered { // an offer of its own, at this time
		return 488
	}
	rel.timer.stop()
	rel.waiting, rel.offered, rel.msg = false, false, nil
	code := in.leg.respondFirst(m, from, 200) // what follows, a 2xx to the INVITE too, is not to overtake it
	if len(rel.next) > 0 && !in.tx.done {
		r := rel.next[0]
		rel.next = rel.next[1:]
		rel.start(s, in, r)
	}
	in.leg.inbox.put(event{prack: true, msg: m}, true)
	return code
}

// settle waits until no reliable response is without its PRACK: a 2xx may not
// overtake it (RFC 3262 §3).
func (in *Incoming) settle(ctx context.Context) error {
	for in.provisionalWaits() {
		if _, err := in.await(ctx, func(e event) bool { return e.prack }); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func (in *Incoming) provisionalWaits() bool {
	p := &in.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	in.rel.next = nil // the 2xx says it all
	return in.rel.waiting
}

// offerEarly hands the target's offer to a caller that made none, in a reliable
// provisional response, and returns the answer of its PRACK. It is false when
// the caller does without.
func (in *Incoming) offerEarly(ctx context.Context, m *wire.Message, offer []byte) (answer []byte, ok bool, err error) {
	if !in.reliably() || in.open() != nil {
		return nil, false, nil
	}
	p := &in.leg.peer
	p.mu.Lock()
	var waiting []wire.Reply // for the offer
	if in.rel.rseq == 0 && m.Code() != 180 {
		waiting = in.rel.next
	}
	p.mu.Unlock()
	if err := in.settle(ctx); err != nil {
		return nil, false, err
	}
	p.mu.Lock()
	in.rel.offered, in.rel.next = true, waiting
	p.mu.Unlock()
	in.told, in.passed = "", m
	in.provisional(wire.Reply{Code: m.Code(), Reason: wire.PlainPhrase(string(m.Reason())), Header: relayedHeader(m),
		ContentType: sdp.Type, Body: in.leg.describe(offer)})
	e, err := in.await(ctx, func(e event) bool { return e.prack })
	if err != nil {
		return nil, false, err
	}
	if answer = bodyOf(e.msg); answer == nil {
		return nil, false, errNoSDP
	}
	in.leg.joinedMedia().agreed = true
	return answer, true, nil
}

// agreedEarly returns what a 200 to the caller says of the session when offer and answer
// have been made before it: the same answer once more, or nothing (RFC 3261 §13.2.1). It
// is false when they have not.
func (in *Incoming) agreedEarly() ([]byte, bool) {
	if in.early != nil {
		return in.leg.answerTo(in.offer, in.early), true
	}
	return nil, in.leg.joinedMedia().agreed
}
