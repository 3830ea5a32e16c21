package sipflow

import (
	"bytes"

	"sipxrest/sipflow/wire"
)

// relayedHeader copies what a bridged message says beyond its own dialog. The
// fields of the transaction, the dialog, the route and the session timer
// belong to each leg alone; credentials to whoever was asked for them.
func relayedHeader(m *wire.Message) string {
	b := make([]byte, 0, 256)
	m.Fields(func(id wire.Header, name, value []byte) bool {
		switch id {
		case wire.Via, wire.From, wire.To, wire.CallID, wire.CSeq, wire.Contact, wire.MaxForwards, wire.Route,
			wire.RecordRoute, wire.ContentLength, wire.ContentType, wire.SessionExpires, wire.MinSE,
			wire.WWWAuthenticate, wire.ProxyAuthenticate, wire.Authorization, wire.ProxyAuthorization, wire.RSeq:
			return true
		case wire.Supported, wire.Require: // what needs both ends of a dialog is done per leg
			if value = withoutOptions(value); len(value) == 0 {
				return true
			}
		case wire.Allow:
			return true // ours is said for both
		case wire.ReferTo:
			return true // see referredHeader
		}
		if len(b)+len(name)+len(value) > maxRelayedHeader {
			return false
		}
		b = append(b, name...)
		b = append(b, ": "...)
		b = append(b, value...)
		b = append(b, "\r\n"...)
		return true
	})
	return string(b)
}

// maxRelayedHeader bounds the fields that are copied, in bytes.
const maxRelayedHeader = 8192

// withoutOptions takes out the option tags that a bridge cannot pass on.
func withoutOptions(tags []byte) []byte {
	var kept [][]byte
	wire.Split(tags, func(tag []byte) bool {
		switch string(bytes.ToLower(tag)) {
		case "timer", "100rel", "outbound", "path", "gruu":
		default:
			kept = append(kept, tag)
		}
		return true
	})
	return bytes.Join(kept, []byte(", "))
}

// referredHeader is the Refer-To of a REFER that is passed on. A Replaces in
// it that names a leg of another bridged call of ours names, for the phone
// that gets it, the far leg of that call: only that one has a dialog which can
// be replaced (RFC 3891, RFC 5589 §7).
func (sw *Switchboard) referredHeader(m *wire.Message) string {
	v := m.Get(wire.ReferTo)
	if v == nil {
		return ""
	}
	return "Refer-To: " + sw.translateReplaces(string(v)) + "\r\n"
}
