package siptest

import (
	"errors"
	"net/url"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Replaces is the value of the Replaces that names the phone's call of a Call-ID for
// whoever is at its other end (RFC 3891 §6.1), and the Contact of that.
func (p *Phone) Replaces(callID string) (value, contact string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.dialogs {
		if d.callID == callID && d.state == confirmed {
			return d.callID + ";to-tag=" + d.remoteTag + ";from-tag=" + d.localTag, d.target.String(), nil
		}
	}
	return "", "", errors.New("the phone is in no such call")
}

// ReferTo is the Refer-To of an attended transfer (RFC 5589 §7): its receiver is to
// take the phone's own place in the call of a Call-ID.
func (p *Phone) ReferTo(callID string) (sip.Header, error) {
	value, contact, err := p.Replaces(callID)
	return sip.NewHeader("Refer-To", "<"+contact+"?Replaces="+url.QueryEscape(value)+">"), err
}

// replace answers an INVITE that is to replace one of the phone's calls, which it
// hangs up (RFC 3891 §3).
func (p *Phone) replace(tx *serverTx, replaces string) {
	callID, params, _ := strings.Cut(replaces, ";")
	tags := ";" + params + ";"
	for _, old := range p.dialogs {
		if old.callID != callID || old.state != confirmed || !strings.Contains(tags, ";to-tag="+old.localTag+";") ||
			!strings.Contains(tags, ";from-tag="+old.remoteTag+";") {
			continue
		}
		d := uasDialog(tx, newTag())
		p.dialogs = append(p.dialogs, d)
		res := p.callResponse(d, 200, d.localTag, true)
		res.AppendHeader(sip.NewHeader("Allow", allow))
		p.accept(d, tx, res)
		p.bye(old, Action{})
		return
	}
	p.respond(tx, 481, "")
}
