package sipflow

import (
	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// inDialogMethod is what becomes of a request in a dialog, by what its leg is at. In a
// bridge each goes to the other phone instead (see bridge.relay), BYE excepted.
type inDialogMethod struct {
	// alone responds in the reader, where nobody else is to: the code, negated when
	// the response is out. nil: 405. The leg's peer.mu is held. Nothing of it differs by
	// what the call waits for: a leg is up alone before its REFER and after it, while
	// the other phone rings, and while a PIN is entered.
	alone func(l *Leg, s *shard, m *wire.Message, from transport.Path) int
	// waiting is asked first while a caller is not joined; 0: as alone, nil: likewise.
	waiting func(in *Incoming, s *shard, m *wire.Message, from transport.Path) int
	// early is alone for an early dialog of an INVITE of ours. nil: 405.
	early func(e *earlyPeer, m *wire.Message) int
	// talking responds in the call's goroutine where media end here. nil: 405.
	talking func(t *endpoint, in *serverTx) wire.Reply
	// ofState says that the request names something in the dialog: where there is no
	// such thing it gets 481 in place of 405.
	ofState bool
}

// inDialog are the methods that a dialog of ours knows.
var inDialog = map[string]inDialogMethod{
	"BYE":     {alone: (*Leg).byed, early: (*earlyPeer).byed},
	"INVITE":  {alone: (*Leg).describeAlone, waiting: (*Incoming).reinvited, early: (*earlyPeer).invited, talking: (*endpoint).describe},
	"UPDATE":  {alone: (*Leg).describeAlone, waiting: (*Incoming).updated, early: (*earlyPeer).updated, talking: (*endpoint).describe},
	"INFO":    {alone: (*Leg).present, waiting: (*Incoming).informed, early: (*earlyPeer).present, talking: (*endpoint).informed},
	"OPTIONS": {alone: (*Leg).present, early: (*earlyPeer).present, talking: (*endpoint).options},
	"NOTIFY":  {alone: (*Leg).notified, ofState: true},
	"PRACK":   {waiting: (*Incoming).pracked, ofState: true},
}

// accept does what the request asks and returns the code of its response, negated
// when that is out already. p.mu is held.
func (l *Leg) accept(s *shard, m *wire.Message, from transport.Path) int {
	if len(unknownOptions(m)) > 0 {
		return 420
	}
	if code := l.callee.asked(s, m, from); code != 0 {
		return code
	}
	switch do := inDialog[m.Method()].alone; {
	case do != nil:
		return do(l, s, m, from)
	case wire.KnownMethod(m.Method()):
		return 405
	}
	return 501
}

// onEarlyRequest returns the response to a request of a phone that has not picked up,
// or has done so after another one. p.mu is held.
func (l *Leg) onEarlyRequest(s *shard, e *earlyPeer, m *wire.Message, from transport.Path) wire.Reply {
	switch m.Method() {
	case "ACK":
		return wire.Reply{}
	case "CANCEL":
		return wire.Reply{Code: 481}
	}
	of := transactionOf(m)
	for _, a := range e.past {
		if a.code != 0 && a.seq == m.Seq() && a.of == of {
			s.stats.repeats++
			return l.earlyReply(m, int(a.code), from)
		}
	}
	if m.Seq() <= e.seq && e.seq != 0 { // RFC 3261 §12.2.2
		return replyOf(500, from)
	}
	e.seq = m.Seq()
	code := e.takes(m)
	if code != 500 { // which asks to come again
		e.past[e.next] = answered{m.Seq(), int16(code), of}
		e.next = (e.next + 1) % uint8(len(e.past))
	}
	return l.earlyReply(m, code, from)
}

// earlyReply is the response to a request in an early dialog, and to each repeat of it.
func (l *Leg) earlyReply(m *wire.Message, code int, from transport.Path) wire.Reply {
	switch {
	case code == 420:
		return lacking(unknownOptions(m))
	case code == 422:
		return tooBrief
	case code == 200 && m.Method() == "UPDATE":
		return wire.Reply{Code: 200, Header: string(appendContact(nil, from.Link)) + "Allow: " + l.callee.allow() + "\r\n" + sessionTerms(m)}
	}
	return replyOf(code, from)
}

// takes is accept for an early dialog of an INVITE of ours.
func (e *earlyPeer) takes(m *wire.Message) int {
	switch method := inDialog[m.Method()]; {
	case method.early != nil && len(unknownOptions(m)) > 0:
		return 420
	case method.early != nil:
		return method.early(e, m)
	case method.ofState:
		return 481
	case wire.KnownMethod(m.Method()):
		return 405
	}
	return 501
}

// takes responds, in the reader, to what a caller may send before it is joined. The
// code is 0 for what every leg does alike. p.mu is held.
func (in *Incoming) takes(s *shard, m *wire.Message, from transport.Path) int {
	if do := inDialog[m.Method()].waiting; do != nil {
		return do(in, s, m, from)
	}
	return 0
}

// request responds to a request of a phone whose media end here.
func (t *endpoint) request(in *serverTx) {
	in.respond(t.replyTo(in))
}

func (t *endpoint) replyTo(in *serverTx) wire.Reply {
	method := inDialog[in.method]
	switch missing := unknownOptions(in.req); {
	case method.talking == nil && method.ofState:
		return wire.Reply{Code: 481}
	case method.talking == nil && wire.KnownMethod(in.method):
		return wire.Reply{Code: 405, Header: "Allow: " + allowTalk + "\r\n"}
	case method.talking == nil:
		return wire.Reply{Code: 501, Header: "Allow: " + allowTalk + "\r\n"}
	case len(missing) > 0:
		return lacking(missing)
	}
	if no := t.leg.barredReply(in.req); no.Code != 0 {
		return no
	}
	return method.talking(t, in)
}

// present responds to what only asks whether we are there.
func (l *Leg) present(*shard, *wire.Message, transport.Path) int { return 200 }

// byed takes a BYE: it is heard at once, and the leg's waits end.
func (l *Leg) byed(_ *shard, m *wire.Message, from transport.Path) int {
	p := &l.peer
	if p.byed {
		return 481
	}
	p.up, p.byed, p.reasons = false, true, reasonsOf(m)
	l.record.byeCame(p.reasons)
	p.acknowledged()
	code := l.respondFirst(m, from, 200)
	l.inbox.put(event{hungUp: true, msg: m}, true)
	if f := p.hungUp; f != nil {
		f(p.whyHungUp())
	}
	return code
}

// updated takes an UPDATE (RFC 3311 §5.2). One without an offer says who was reached, or
// that the phone is still there. What the phones are to agree on is settled when one of
// them picks up.
func (e *earlyPeer) updated(m *wire.Message) int {
	interval, _ := sessionExpires(m)
	switch {
	case interval > 0 && interval < minSession:
		return 422
	case len(m.Body()) == 0:
		return 200
	case e.offer == ourOffer:
		return 491
	case e.offer == answeredOffer:
		return 488
	}
	return 500
}

// invited refuses an INVITE: ours is pending (RFC 3261 §14.2).
func (e *earlyPeer) invited(*wire.Message) int { return 491 }

// byed refuses a BYE: a phone that has not picked up refuses our INVITE (RFC 3261 §15).
func (e *earlyPeer) byed(*wire.Message) int { return 481 }

// present responds to what only asks whether we are there.
func (e *earlyPeer) present(*wire.Message) int { return 200 }

// updated takes an UPDATE of a caller that is not answered.
func (in *Incoming) updated(_ *shard, m *wire.Message, _ transport.Path) int {
	switch {
	case in.tx.done:
		return 0
	case len(m.Body()) == 0:
		return 200 // it only says that it is there
	}
	return 500 // RFC 3311 §5.2: not now
}

// reinvited takes an INVITE of a caller that is not answered.
func (in *Incoming) reinvited(*shard, *wire.Message, transport.Path) int {
	if !in.tx.done {
		return 500 // RFC 3261 §14.2
	}
	return 0
}

// informed takes the digits of a caller that is on hold.
func (in *Incoming) informed(_ *shard, m *wire.Message, from transport.Path) int {
	if !in.tx.done {
		return 0
	}
	code := in.leg.respondFirst(m, from, 200) // what the call does for the digit is not to overtake it
	in.pressed(m)
	return code
}

func (t *endpoint) informed(in *serverTx) wire.Reply {
	if !t.end.Secret {
		t.leg.record.pressed(in.req, digitOf)
	}
	if digit := digitOf(in.req); digit != 0 && t.end.Digit != nil {
		t.end.Digit(digit)
	}
	return wire.Reply{Code: 200, Header: "Allow: " + allowTalk + "\r\n"}
}

func (t *endpoint) options(*serverTx) wire.Reply {
	return wire.Reply{Code: 200, Header: "Allow: " + allowTalk + "\r\nAccept: " + sdp.Accept + "\r\n" + supported}
}
