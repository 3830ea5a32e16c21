package sipflow

import (
	"net/url"
	"strings"

	"sipxrest/sipflow/wire"
)

// replacedDialog is the dialog that a Replaces names (RFC 3891 §6.1), as whoever is
// to get it sees it.
type replacedDialog struct {
	callID    string
	toTag     string // its own
	fromTag   string // the other one's
	earlyOnly bool   // only before the answer
}

// is reports whether the other side of the dialog has a tag. "0" stands for none (RFC
// 3891 §4).
func (d *replacedDialog) is(tag string) bool {
	return d.fromTag == tag || tag == "" && d.fromTag == "0"
}

// replacesOf reads the Replaces of an INVITE. It is not ok when there are several, or
// tags are missing or said twice.
func replacesOf(m *wire.Message) (d *replacedDialog, ok bool) {
	values := 0
	for v := range m.All(wire.Replaces) {
		wire.Split(v, func(one []byte) bool { values++; return values == 1 })
		d, ok = parseReplaces(string(v))
	}
	return d, ok && values == 1
}

// parseReplaces reads one value of Replaces.
func parseReplaces(value string) (*replacedDialog, bool) {
	callID, params, _ := strings.Cut(value, ";")
	d := &replacedDialog{callID: strings.TrimSpace(callID)}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		value = strings.TrimSpace(value)
		to := &d.toTag
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "early-only":
			d.earlyOnly = true
			continue
		case "to-tag":
		case "from-tag":
			to = &d.fromTag
		default:
			continue
		}
		if *to != "" || value == "" {
			return nil, false
		}
		*to = value
	}
	return d, d.callID != "" && d.toTag != "" && d.fromTag != ""
}

// translateReplaces rewrites the Replaces of a Refer-To value that names a
// phone's dialog with us. It then names the dialog of the phone at the other
// end of that bridge. It is not ok when that bridge is b.
func (b *bridge) translateReplaces(value string) (translated string, ok bool) {
	const param = "replaces="
	i := 1
	for ; i+len(param) <= len(value); i++ {
		if (value[i-1] == '?' || value[i-1] == '&') && strings.EqualFold(value[i:i+len(param)], param) {
			break
		}
	}
	if i+len(param) > len(value) {
		return value, true
	}
	from := i + len(param)
	end := from + strings.IndexAny(value[from:]+">", "&>")
	text, err := url.PathUnescape(value[from:end])
	if err != nil {
		return value, true
	}
	d, ok := parseReplaces(text)
	if !ok {
		return value, true
	}
	// For the phone that sends it our tag is the remote one, which is to-tag. Some
	// take From and To of the dialog's INVITE instead.
	sw := b.call.sw
	far := sw.farLeg(d.callID, d.toTag)
	if far == nil {
		far = sw.farLeg(d.callID, d.fromTag)
	}
	switch {
	case far == nil:
		return value, true
	case far.of == b.calling, far.of == b.called:
		return value, false
	}
	replaces := far.callID + ";to-tag=" + far.tag + ";from-tag=" + far.localTag
	if d.earlyOnly {
		replaces += ";early-only"
	}
	// Its sender knows the far phone by our address, or by the agent's name.
	rest := value[i:from] + escapeHeaderValue(replaces) + value[end:]
	open, query := strings.LastIndexByte(value[:i], '<'), strings.LastIndexByte(value[:i], '?')
	if query < 0 {
		return value, true
	}
	return value[:open+1] + "sip:" + far.party + value[query:i] + rest, true
}

// referredHeader is the Refer-To of a REFER that is passed on. A Replaces in
// it that names a leg of another bridged call of ours names, for the phone
// that gets it, the far leg of that call: only that one has a dialog which can
// be replaced (RFC 3891, RFC 5589 §7). It is not ok when that is the far leg of the
// call itself.
func (b *bridge) referredHeader(m *wire.Message) (header string, ok bool) {
	v := m.Get(wire.ReferTo)
	if v == nil {
		return "", true
	}
	to, ok := b.translateReplaces(string(v))
	return "Refer-To: " + to + "\r\n", ok
}

// farDialog names the dialog of the phone at the other end, as that phone sees
// itself: it is the one that was called.
type farDialog struct {
	of                           *Leg
	callID, localTag, tag, party string
}

// farLeg finds the bridge that one of our legs belongs to.
func (sw *Switchboard) farLeg(callID, localTag string) *farDialog {
	id, ok := parseID([]byte(localTag))
	if !ok {
		return nil
	}
	s := sw.shard(id)
	s.mu.Lock()
	l := s.legs[id]
	s.mu.Unlock()
	if l == nil || l.callID != callID {
		return nil
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	ends, ok := sw.bridges[l.its()]
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
	return &farDialog{of: far, callID: far.callID, localTag: string(appendID(nil, far.id)), tag: far.peer.tag, party: far.party}
}
