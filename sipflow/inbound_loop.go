package sipflow

import (
	"hash/maphash"
	"strings"

	"sipxrest/sipflow/wire"
)

// loopField marks the INVITEs that go on from inbound calls: an INVITE that
// returns for the same Request-URI is a loop (RFC 3261 §16.3, §16.6). To come
// back for somebody else is no loop.
const loopField = "X-Sipxrest-Via"

// maxMarks bounds the marks of one INVITE: one with so many has come by here
// often enough.
const maxMarks = 8

// mark stands for this process and the Request-URI.
func (sw *Switchboard) mark(m *wire.Message) string {
	var h maphash.Hash
	h.SetSeed(sw.seed)
	h.Write(m.URI())
	return string(appendID(nil, h.Sum64()))
}

func (sw *Switchboard) looped(m *wire.Message) bool {
	own, found, marks := sw.mark(m), false, 0
	m.Fields(func(id wire.Header, name, value []byte) bool {
		if id == wire.Other && strings.EqualFold(string(name), loopField) {
			marks++
			found = found || string(value) == own
		}
		return true
	})
	return found || marks >= maxMarks
}

// Rounds is how often the call has come by here before, as far as the INVITE
// still says so.
func (in *Incoming) Rounds() int { return len(in.Header(loopField)) }

// loopHeader is what the INVITE that goes on says: the marks that the one
// before had, and another.
func (sw *Switchboard) loopHeader(m *wire.Message) string {
	var b []byte
	m.Fields(func(id wire.Header, name, value []byte) bool {
		if id == wire.Other && strings.EqualFold(string(name), loopField) {
			b = wire.AppendField(b, loopField, string(value))
		}
		return len(b) < 1024
	})
	return string(wire.AppendField(b, loopField, sw.mark(m)))
}
