package sipflow

import (
	"net/url"
	"strings"

	"sipxrest/sipflow/wire"
)

// translateReplaces rewrites the Replaces of a Refer-To value that names a
// phone's dialog with us. It then names the dialog of the phone at the other
// end of that bridge.
func (sw *Switchboard) translateReplaces(value string) string {
	const param = "Replaces="
	i := strings.Index(value, param)
	if i < 0 {
		return value
	}
	from := i + len(param)
	end := from + strings.IndexAny(value[from:]+">", "&>")
	text, err := url.PathUnescape(value[from:end])
	if err != nil {
		return value
	}
	callID, params, _ := strings.Cut(text, ";")
	p := []byte(";" + params)
	toTag, _ := wire.Param(p, "to-tag")
	fromTag, _ := wire.Param(p, "from-tag")
	// For the phone that sends it our tag is the remote one: to-tag if it
	// called, from-tag if it was called.
	far := sw.farLeg(callID, toTag)
	if far == nil {
		far = sw.farLeg(callID, fromTag)
	}
	if far == nil {
		return value
	}
	replaces := far.callID + ";to-tag=" + far.tag + ";from-tag=" + far.localTag
	// Its sender knows the far phone by our address, or by the agent's name.
	rest := value[i:from] + escapeHeaderValue(replaces) + value[end:]
	open, query := strings.LastIndexByte(value[:i], '<'), strings.LastIndexByte(value[:i], '?')
	if query < 0 {
		return value
	}
	return value[:open+1] + "sip:" + far.party + value[query:i] + rest
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

// farDialog names the dialog of the phone at the other end, as that phone sees
// itself: it is the one that was called.
type farDialog struct{ callID, localTag, tag, party string }

// farLeg finds the bridge that one of our legs belongs to.
func (sw *Switchboard) farLeg(callID string, localTag []byte) *farDialog {
	id, ok := parseID(localTag)
	if !ok {
		return nil
	}
	s := sw.shard(id)
	s.mu.Lock()
	l := s.legs[id]
	s.mu.Unlock()
	if l == nil || l.callID != strings.TrimSpace(callID) {
		return nil
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	ends, ok := sw.bridges[l.call]
	if !ok {
		return nil
	}
	far := ends[0]
	if far == l {
		far = ends[1]
	}
	if far == nil {
		return nil
	}
	far.peer.mu.Lock()
	defer far.peer.mu.Unlock()
	return &farDialog{callID: far.callID, localTag: string(appendID(nil, far.id)), tag: far.peer.tag, party: far.party}
}
