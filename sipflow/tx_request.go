package sipflow

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// branchCookie begins every branch (RFC 3261 §8.1.1.7).
const branchCookie = "z9hG4bK"

// allow are the methods that we serve within a dialog.
const allow = "INVITE, ACK, OPTIONS, CANCEL, BYE, INFO, NOTIFY, UPDATE"

// supported are the extensions that a phone may count on in a dialog of ours.
const supported = "Supported: timer\r\n"

// dialog is what a request within a dialog is made of (RFC 3261 §12). It holds
// strings, not messages: a call lives on them for its whole length.
type dialog struct {
	callID string
	local  string // our From, tag included
	remote string // the phone's To, with its tag once there is one
	target string // Request-URI: the remote target, or the first route of a strict one
	routes string // Route header lines
	next   string // URI of the first hop: the first route, else the target
	strict bool   // the first router takes no loose routes: the remote target is the last route
}

// retarget gives the dialog the phone's new address (RFC 3261 §12.2.1.2).
func (d *dialog) retarget(uri string) (moved bool) {
	switch {
	case d.strict:
		if i := strings.LastIndex(d.routes, "Route: "); i >= 0 {
			d.routes = d.routes[:i] + "Route: <" + uri + ">\r\n"
		}
	case d.target == uri:
	case d.next == d.target: // no route set: the next hop moves, too
		d.target, d.next = uri, uri
		return true
	default:
		d.target = uri
	}
	return false
}

// dialogOf is the dialog that a 2xx to our INVITE makes (RFC 3261 §12.1.2).
// Without Contact the target is left empty.
func dialogOf(res *wire.Message) dialog {
	d := dialog{
		callID: string(res.Get(wire.CallID)),
		local:  string(res.Get(wire.From)),
		remote: string(res.Get(wire.To)),
	}
	d.target = string(wire.ContactURI(res.Get(wire.Contact)))
	d.setRoutes(res, false)
	return d
}

// setRoutes takes the route set from Record-Route: last first from a response,
// in its order from a request that others sent (RFC 3261 §12.1). When the first
// router is a strict one (no lr), its URI is the Request-URI and the target
// ends the routes (RFC 3261 §12.2.1.1).
func (d *dialog) setRoutes(m *wire.Message, asked bool) {
	d.next = d.target
	var set [][]byte
	for v := range m.All(wire.RecordRoute) {
		wire.Split(v, func(r []byte) bool {
			if uri, _ := wire.NameAddr(r); len(uri) > 0 {
				set = append(set, r)
			}
			return len(set) < 32
		})
	}
	if len(set) == 0 {
		return
	}
	if asked {
		slices.Reverse(set)
	}
	first, _ := wire.NameAddr(set[len(set)-1])
	d.next = string(first)
	last := ""
	if u, ok := wire.ParseURI(first); ok && !u.Loose {
		last, d.target, d.strict = "<"+d.target+">", string(first), true
		set = set[:len(set)-1]
	}
	n := len(last) + 12
	for _, r := range set {
		n += len("Route: \r\n") + len(r)
	}
	b := make([]byte, 0, n)
	for i := len(set) - 1; i >= 0; i-- {
		b = append(b, "Route: "...)
		b = append(b, set[i]...)
		b = append(b, "\r\n"...)
	}
	if last != "" {
		b = wire.AppendField(b, "Route", last)
	}
	d.routes = string(b)
}

func (d *dialog) copy() *dialog {
	c := *d
	return &c
}

// outgoing is what one request has beyond its dialog.
type outgoing struct {
	method      string
	header      string // further header lines, each ended by CRLF
	contentType string
	body        []byte
	forwards    uint16        // what is said of Max-Forwards is one less; 0: 70
	placeholder bool          // sdp.PlaceholderAudio follows the body: no call that rings needs its own
	lead        time.Duration // that it waits before it is sent; 0: none
}

// description is the whole body.
func (r *outgoing) description() []byte {
	if r.placeholder {
		return append(slices.Clip(r.body), sdp.PlaceholderAudio...)
	}
	return r.body
}

// request renders a request of the dialog. auth is a line of credentials.
func (d *dialog) request(l transport.Link, r *outgoing, seq uint32, branch uint64, auth string) []byte {
	rest := ""
	if r.placeholder {
		rest = sdp.PlaceholderAudio
	}
	b := make([]byte, 0, 320+len(d.callID)+len(d.target)+len(d.local)+len(d.remote)+len(d.routes)+len(r.header)+len(auth)+len(r.body)+len(rest))
	b = append(b, r.method...)
	b = append(b, ' ')
	b = append(b, d.target...)
	b = append(b, " SIP/2.0\r\n"...)
	b = appendVia(b, l, branch)
	b = append(b, d.routes...)
	b = append(b, "Max-Forwards: "...)
	if r.forwards == 0 {
		b = append(b, "70"...)
	} else {
		b = strconv.AppendUint(b, uint64(r.forwards-1), 10)
	}
	b = append(b, "\r\nFrom: "...)
	b = append(b, d.local...)
	b = append(b, "\r\nTo: "...)
	b = append(b, d.remote...)
	b = append(b, "\r\nCall-ID: "...)
	b = append(b, d.callID...)
	b = append(b, "\r\nCSeq: "...)
	b = strconv.AppendUint(b, uint64(seq), 10)
	b = append(b, ' ')
	b = append(b, r.method...)
	b = append(b, "\r\n"...)
	switch r.method {
	case "INVITE", "REFER", "UPDATE", "SUBSCRIBE", "NOTIFY":
		b = appendContact(b, l)
		if isSIPS(d.target) {
			b = secureContact(b)
		}
	}
	b = append(b, r.header...)
	b = append(b, auth...)
	if r.contentType != "" {
		b = wire.AppendField(b, "Content-Type", r.contentType)
	}
	return wire.AppendBodyAnd(b, r.body, rest)
}

func appendVia(b []byte, l transport.Link, branch uint64) []byte {
	transport, host := l.Local()
	b = append(b, "Via: SIP/2.0/"...)
	b = append(b, transport...)
	b = append(b, ' ')
	b = append(b, host...)
	b = append(b, ";rport;branch="+branchCookie...)
	b = appendID(b, branch)
	return append(b, "\r\n"...)
}

// appendContact names us. sipXrest: the user part is callcontroller, because
// sipXproxy lets a REFER through without a challenge only for that Contact.
func appendContact(b []byte, l transport.Link) []byte {
	_, host := l.Local()
	b = append(b, "Contact: <sip:callcontroller@"...)
	b = append(b, host...)
	return append(transport.AppendParam(b, l), ">\r\n"...)
}

// refusalAck is the ACK of a final response other than 2xx: it belongs to the
// INVITE's transaction and takes branch, Request-URI, Route and credentials
// from it (RFC 3261 §17.1.1.3, §22.1).
func (tx *clientTx) refusalAck(res *wire.Message) []byte {
	d := *tx.of
	d.remote = string(res.Get(wire.To))
	return d.request(tx.path.Link, &outgoing{method: "ACK"}, tx.seq, tx.id, tx.auth)
}

// cancelRequest is the CANCEL of an INVITE (RFC 3261 §9.1).
func (tx *clientTx) cancelRequest(of *dialog, header string) []byte {
	return of.request(tx.path.Link, &outgoing{method: "CANCEL", header: header}, tx.seq, tx.id, "")
}

// routeTo preloads the route set with the next hop. sipXrest: it is numeric,
// so that the proxy need not look itself up.
func routeTo(p transport.Path) string {
	b := append(make([]byte, 0, 64), "Route: <sip:"...)
	b = p.To.AppendTo(b)
	if p.Link.Reliable() {
		b = transport.AppendParam(b, p.Link)
	}
	return string(append(b, ";lr>\r\n"...))
}

// allowBridged is what a phone may send within a bridged call: everything
// that the other phone can take.
const allowBridged = "INVITE, ACK, OPTIONS, CANCEL, BYE, INFO, NOTIFY, UPDATE, MESSAGE, REFER, SUBSCRIBE"

// isSIPS reports whether a URI asks for encryption on every hop (RFC 3261
// §19.1).
func isSIPS[T string | []byte](uri T) bool {
	return len(uri) > 5 && uri[4] == ':' && strings.EqualFold(string(uri[:5]), "sips:")
}

// ourContact begins our Contact, as appendContact writes it.
const ourContact = "Contact: <sip:callcontroller@"

// secureContact makes the last line, our Contact, a sips URI: that of a request
// to one must be (RFC 3261 §8.1.1.8).
//
//go:noinline
func secureContact(b []byte) []byte {
	i := bytes.LastIndex(b, []byte(ourContact))
	if i < 0 {
		return b
	}
	return slices.Insert(b, i+len("Contact: <sip"), 's')
}

// contactAsAsked makes the Contact of a response a sips URI when that of the
// request is one (RFC 3261 §12.1.1).
func contactAsAsked(m *wire.Message, r wire.Reply) wire.Reply {
	if isSIPS(m.URI()) {
		r.Header = strings.Replace(r.Header, ourContact, "Contact: <sips:callcontroller@", 1)
	}
	return r
}
