package sipflow

import (
	"bytes"
	"strings"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// receive takes every message off the wire, in the goroutine that read it.
func (sw *Switchboard) receive(m *wire.Message, from transport.Path) {
	if !m.IsRequest() {
		sw.onResponse(m, from)
		return
	}
	sw.stats.read.requests[methodOf(m.Method())].Add(1)
	r, inside := sw.onRequest(m, from)
	switch {
	case r.Code == 0, m.Method() == "ACK": // which has no response, wherever it belongs (RFC 3261 §17)
	case inside:
		sw.respond(m, from, r)
	default:
		sw.answerStranger(m, from, r)
	}
}

// malformed refuses a request that cannot be read, if a response is possible.
func (sw *Switchboard) malformed(m *wire.Message, err *wire.ParseError, from transport.Path) {
	sw.log.Debug("sip: malformed message", "from", from.To, "error", err)
	if !m.IsRequest() || m.Method() == "" || m.Method() == "ACK" {
		return
	}
	for _, h := range [...]wire.Header{wire.Via, wire.From, wire.To, wire.CallID, wire.CSeq} {
		if len(m.Get(h)) == 0 {
			return
		}
	}
	if r := sw.admit(from).apply(wire.Reply{Code: err.Code, Reason: err.Reason}); r.Code != 0 {
		sw.answerStranger(m, from, r)
	}
}

// failedOn refuses a request whose handling failed.
func (sw *Switchboard) failedOn(m *wire.Message, from transport.Path) {
	if m == nil || !m.IsRequest() || m.Method() == "ACK" {
		return
	}
	if r := sw.admit(from).apply(wire.Reply{Code: 500}); r.Code != 0 {
		sw.answerStranger(m, from, r)
	}
}

// said counts a response that was sent, or could not be.
func (sw *Switchboard) said(code int, to transport.Path, err error) {
	sw.stats.answers[classOf(code)].Add(1)
	if err != nil {
		sw.log.Debug("sip: answer not sent", "to", to.To, "error", err)
	}
}

// maxAnswer bounds the response to a datagram that belongs to no call, in
// lengths of that datagram: its sender's address may be forged.
const maxAnswer = 2

// answerStranger is answer for a request that belongs to nothing here. By UDP
// the response is not much longer than the request. Further fields are left
// out, the last ones first; then it has compact forms. There is none if that is
// too long, too.
func (sw *Switchboard) answerStranger(m *wire.Message, from transport.Path, r wire.Reply) {
	to, b := sw.render(m, from, r)
	most := maxAnswer * len(m.Raw())
	for !from.Link.Reliable() && len(b) > most {
		switch header := strings.TrimSuffix(r.Header, "\r\n"); {
		case header != "":
			r.Header = header[:strings.LastIndexByte(header, '\n')+1]
		case !r.Brief:
			r.Brief = true
		default:
			sw.stats.limited[LimitAnswer].Add(1)
			return
		}
		to, b = sw.render(m, from, r)
	}
	if b != nil {
		sw.said(r.Code, to, to.Send(b))
	}
}

// onRequest returns the response to a request. inside reports whether it
// belongs to a leg, to what is left of one, or to an earlier INVITE.
func (sw *Switchboard) onRequest(m *wire.Message, from transport.Path) (r wire.Reply, inside bool) {
	tag := m.ToTag()
	if len(tag) == 0 && (m.Method() == "INVITE" || m.Method() == "CANCEL") && sw.invitedAgain(m, from) {
		return wire.Reply{}, true
	}
	if id, ok := parseID(tag); ok {
		if r, known := sw.toDialog(id, m, from); known {
			return r, true
		}
	}
	w := full
	if m.Method() != "ACK" { // has no response
		w = sw.admit(from)
	}
	switch {
	case w >= reject:
		return w.apply(wire.Reply{Code: 503}), false
	case len(tag) == 0:
		return w.apply(sw.outOfDialog(m, from)), false
	}
	sw.stats.read.strays[StrayRequest].Add(1)
	return wire.Reply{Code: 481}, false
}

// toDialog has a leg, or what is left of one, respond to a request with our
// tag.
func (sw *Switchboard) toDialog(id uint64, m *wire.Message, from transport.Path) (r wire.Reply, known bool) {
	s := sw.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.legs[id]; l != nil {
		return l.onRequest(s, m, from), true
	}
	if h := s.husks[id]; h != nil {
		return h.onRequest(s, m, from), true
	}
	if m.Method() == "ACK" && len(s.inbound) > 0 {
		s.refusalAcked(sw, m)
	}
	if d, ok := s.ended.dialogs[id]; ok {
		if r = d.onRequest(&s.ended, m, from); r.Code != 0 {
			r = sw.admit(from).apply(r) // nothing is kept here that could count
		}
		return r, true
	}
	return wire.Reply{}, false
}

// outOfDialog returns the response to what belongs to no call. Nothing is kept
// of it.
func (sw *Switchboard) outOfDialog(m *wire.Message, from transport.Path) wire.Reply {
	scheme, _, _ := bytes.Cut(m.URI(), []byte{':'})
	switch method := m.Method(); {
	case method == "ACK", method == "CANCEL":
	case !bytes.EqualFold(scheme, []byte("sip")) && !bytes.EqualFold(scheme, []byte("sips")) && !bytes.EqualFold(scheme, []byte("tel")):
		return wire.Reply{Code: 416}
	case uri.Malformed(m.URI()):
		return wire.Reply{Code: 400, Reason: "Malformed Request-URI"}
	case emptyElement(m.Get(wire.Via)): // RFC 4475 §3.1.2.1
		return wire.Reply{Code: 400, Reason: "Malformed Via"}
	case m.Get(wire.Replaces) != nil && method != "INVITE": // RFC 3891 §3
		return wire.Reply{Code: 400, Reason: "Replaces Is For INVITE"}
	case m.Get(wire.Require) != nil && (method != "INVITE" || sw.cfg.Inbound == nil && m.Get(wire.Replaces) == nil): // RFC 3261 §8.2.2.3
		return badExtension(m)
	case m.Get(wire.Require) != nil && len(unknownOptions(m)) > 0:
		return lacking(unknownOptions(m))
	}
	switch m.Method() {
	case "ACK":
		return wire.Reply{}
	case "OPTIONS": // RFC 3261 §11.2
		r := replyOf(200, from)
		r.Header += "Accept: " + sdp.Accept + "\r\n"
		return r
	case "INVITE":
		if m.Get(wire.Replaces) != nil {
			return sw.replacing(m, from)
		}
		return sw.invited(m, from)
	case "NOTIFY":
		return wire.Reply{Code: 481, Reason: "Subscription does not exist"}
	case "BYE", "CANCEL", "PRACK", "UPDATE", "INFO":
		return wire.Reply{Code: 481}
	}
	if wire.KnownMethod(m.Method()) {
		return replyOf(405, from)
	}
	return replyOf(501, from)
}

// emptyElement reports whether a Via has separators with nothing between them:
// what others read there is anybody's guess. One semicolon at the end is not.
func emptyElement(via []byte) bool {
	last, quoted := byte(0), false
	for i := 0; i < len(via); i++ {
		switch c := via[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted, last = !quoted, 0
		case quoted, c == ' ', c == '\t':
		case c == ';' && last != 0, c == ',' && last == ',':
			return true
		case c == ';' || c == ',':
			last = c
		default:
			last = 0
		}
	}
	return last == ','
}
