package sipflow

import (
	"bytes"
	"hash/maphash"
	"strconv"
	"strings"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// replyOf is the response with the fields that its code wants.
func replyOf(code int, from transport.Path) wire.Reply {
	r := wire.Reply{Code: code}
	switch code {
	case 200, 202:
		r.Header = string(appendContact(make([]byte, 0, 80), from.Link)) + "Allow: " + allow + "\r\n"
	case 405, 501:
		r.Header = "Allow: " + allow + "\r\n"
	case 415:
		return unsupportedBody
	case 489:
		r.Header = "Allow-Events: refer\r\n"
	case 500:
		r.Header = "Retry-After: 1\r\n"
	}
	return r
}

// tooBrief refuses a session interval (RFC 4028 §9).
var tooBrief = wire.Reply{Code: 422, Header: "Min-SE: 90\r\n"}

// again is the response that a request gets, and each repeat of it.
func again(m *wire.Message, code int, from transport.Path) wire.Reply {
	switch {
	case code == 420:
		return lacking(unknownOptions(m))
	case code == 422:
		return tooBrief
	case code == 488 && refreshes(m.Method()):
		return cannotHold
	}
	r := replyOf(code, from)
	if code == 200 && m.Method() == "OPTIONS" { // RFC 3261 §11.2
		r.Header += "Accept: " + sdp.Accept + "\r\n" + supported
	}
	return r
}

// refreshes reports whether a request may carry an offer.
func refreshes(method string) bool { return method == "INVITE" || method == "UPDATE" }

// cannotHold refuses an offer that would have to be held (RFC 3261 §20.43).
var cannotHold = wire.Reply{Code: 488,
	Header: "Warning: 399 sipxrest \"only RTP, and SRTP with its keys in the description, can be held here\"\r\n"}

var transactionSeed = maphash.MakeSeed()

// transactionOf hashes what tells a request of a dialog from another one that
// has the same CSeq number: the method and, unless it is one of RFC 2543, the
// branch. A repeat has the same hash.
func transactionOf(m *wire.Message) uint16 {
	h := maphash.String(transactionSeed, m.Method())
	if branch := uniqueBranch(m); branch != nil {
		h ^= maphash.Bytes(transactionSeed, branch)
	}
	return uint16(h)
}

// uniqueBranch is the branch of a request's Via, nil if it is not one that RFC
// 3261 makes unique.
func uniqueBranch(m *wire.Message) []byte {
	via, _ := m.TopVia()
	if len(via.Branch) <= len(branchCookie) || string(via.Branch[:len(branchCookie)]) != branchCookie {
		return nil
	}
	return via.Branch
}

// reliableSeq returns the RSeq of a provisional response that is to be acknowledged.
// It is false for others.
func reliableSeq(m *wire.Message) (uint64, bool) {
	v := m.Get(wire.RSeq)
	if v == nil || !wire.Requires(m, "100rel") {
		return 0, false
	}
	n, err := strconv.ParseUint(string(v), 10, 32)
	return n, err == nil
}

// bodyOf is the session description of a message, nil when it has none. It may be one
// part of its body (RFC 5621).
func bodyOf(m *wire.Message) []byte {
	description, _ := readBody(m)
	return description
}

// readBody is bodyOf. taken is false when a request with that body is to be refused.
func readBody(m *wire.Message) (description []byte, taken bool) {
	if len(m.Body()) == 0 {
		return nil, true
	}
	b := sdp.Body{Type: m.Get(wire.ContentType), Content: m.Body()}
	m.Fields(func(id wire.Header, name, value []byte) bool {
		switch {
		case id != wire.Other:
		case strings.EqualFold(string(name), "Content-Disposition"):
			b.Disposition = value
		case strings.EqualFold(string(name), "Content-Encoding"), strings.EqualFold(string(name), "e"):
			b.Encoding = value
		}
		return true
	})
	return b.Read()
}

// unsupportedBody refuses a request whose body is not understood (RFC 3261 §8.2.3).
var unsupportedBody = wire.Reply{Code: 415, Header: "Accept: " + sdp.Accept + "\r\nAccept-Encoding: identity\r\n"}

const (
	// maxRelayedHeader bounds the fields that are copied, in bytes.
	maxRelayedHeader = 8192
	// maxOptions bounds the option tags that a refusal names.
	maxOptions = 32
)

// reasonsOf are the Reason header lines of a BYE or CANCEL (RFC 3326 §2: there
// may be one for each protocol), as the other phone gets them.
func reasonsOf(m *wire.Message) string {
	if m == nil { // of a BYE that somebody has taken before
		return ""
	}
	var b []byte
	for v := range m.All(wire.Reason) {
		if len(b)+len(v) < maxRelayedHeader {
			b = wire.AppendField(b, "Reason", string(v))
		}
	}
	return string(b)
}

// causeOf is the Reason of a refusal for the other phone: that of Q.850 (RFC
// 6432 §4), for that of SIP is the refusal itself.
func causeOf(res *wire.Message) (line string) {
	for v := range res.All(wire.Reason) {
		wire.Split(v, func(one []byte) bool {
			protocol, _, _ := bytes.Cut(one, []byte(";"))
			if bytes.EqualFold(bytes.TrimSpace(protocol), []byte("Q.850")) && len(one) < maxRelayedHeader {
				line = string(wire.AppendField(nil, "Reason", string(one)))
			}
			return line == ""
		})
		if line != "" {
			break
		}
	}
	return line
}

func reasonLine(code int, text string) string {
	if text == "" {
		text = wire.Phrase(code)
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' || r == '\\' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	return "Reason: SIP;cause=" + strconv.Itoa(code) + `;text="` + text + "\"\r\n"
}

// badExtension refuses a request for the extensions that it requires (RFC 3261
// §8.2.2.3): none of them is of use here.
func badExtension(m *wire.Message) wire.Reply {
	all := make([]string, 0, 1)
	for v := range m.All(wire.Require) {
		all = append(all, string(v))
	}
	return lacking(all)
}

// lacking is the response to a request that requires these option tags (RFC 3261 §8.2.2.3).
func lacking(tags []string) wire.Reply {
	return wire.Reply{Code: 420, Header: "Unsupported: " + strings.Join(tags, ", ") + "\r\n"}
}

// unknownOptions are the option tags that a request requires and that are not
// known here (RFC 3261 §8.2.2.3).
func unknownOptions(m *wire.Message) (tags []string) {
	for v := range m.All(wire.Require) {
		wire.Split(v, func(tag []byte) bool {
			switch strings.ToLower(string(tag)) {
			case "timer", "100rel", "replaces", "":
			default:
				tags = append(tags, string(tag))
			}
			return len(tags) < maxOptions
		})
	}
	return tags
}

// respond sends a response to where its request came from.
func (sw *Switchboard) respond(m *wire.Message, from transport.Path, r wire.Reply) {
	if to, b := sw.render(m, from, r); b != nil {
		sw.said(r.Code, to, to.Respond(b))
	}
}

// render makes a response, and says where it goes (RFC 3261 §18.2.2). Without
// a Via that can be read there is none.
func (sw *Switchboard) render(m *wire.Message, from transport.Path, r wire.Reply) (transport.Path, []byte) {
	via, ok := m.TopVia()
	if !ok {
		return from, nil
	}
	if r.ToTag == "" {
		r.ToTag = sw.tagFor(m)
	}
	r = contactAsAsked(m, r)
	to := from
	if !from.Link.Reliable() {
		to.To = wire.SentByAddr(via, from.To)
	}
	return to, wire.AppendReply(make([]byte, 0, 512), m, from.To, r)
}

// tagFor is the To tag of a response outside of a dialog. The same request gets
// the same tag without our keeping anything of it (RFC 3261 §8.2.7).
func (sw *Switchboard) tagFor(m *wire.Message) string {
	var h maphash.Hash
	h.SetSeed(sw.seed)
	h.Write(m.Get(wire.CallID))
	h.Write(m.Get(wire.From))
	h.Write(m.Get(wire.CSeq))
	return string(appendID(make([]byte, 0, 16), h.Sum64()))
}
