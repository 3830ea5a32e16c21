package sipflow

import (
	"bytes"
	"strings"

	"sipxrest/sipflow/wire"
)

// relayedHeader copies what a bridged message says beyond its own dialog. The
// fields of the transaction, the dialog, the route and the session timer
// belong to each leg alone; credentials to whoever was asked for them. What is about a
// body of several parts does not go on with the description alone.
func relayedHeader(m *wire.Message) string {
	b := make([]byte, 0, 256)
	description := bodyOf(m)
	alone := description != nil && len(description) < len(m.Body())
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
		case wire.ReferTo, wire.Event:
			return true // see referredHeader, eventHeader
		case wire.Replaces:
			return true // it names a dialog of the sender's
		case wire.Other:
			if isIdentity(name) || alone && isOfBody(name) {
				return true
			}
		}
		if len(b)+len(name)+len(value) > maxRelayedHeader {
			return false
		}
		if !isText(value) {
			return true
		}
		b = append(b, name...)
		b = append(b, ": "...)
		b = append(b, value...)
		b = append(b, "\r\n"...)
		return true
	})
	return string(b)
}

// isOfBody reports whether a field says how a body is to be read (RFC 3261 §20.11 to
// §20.15, §20.24).
func isOfBody(name []byte) bool {
	return strings.EqualFold(string(name), "MIME-Version") || len(name) > 8 && strings.EqualFold(string(name[:8]), "Content-")
}

// isText reports whether a value may go on (RFC 3261 §25.1, TEXT-UTF8-TRIM): it
// has no control characters but the tabs of folded lines.
func isText(value []byte) bool {
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isIdentity reports whether trusted servers use a field to vouch for a caller,
// for a diversion, or for charging, in compact forms as well. These are RFC
// 3325 §5, RFC 8224 and their forerunners; RFC 5806 and RFC 7044; RFC 7315 and
// RFC 5502. A proxy that trusts us would believe them from us, whichever phone
// wrote them.
func isIdentity(name []byte) bool {
	for _, field := range [...]string{"P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Identity", "y", "Identity-Info", "n",
		"Diversion", "History-Info", "P-Asserted-Service", "P-Preferred-Service", "P-Served-User", "P-Profile-Key", "P-User-Database",
		"P-Charging-Vector", "P-Charging-Function-Addresses", "Attestation-Info", "Origination-Id"} {
		if strings.EqualFold(string(name), field) {
			return true
		}
	}
	return false
}

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
