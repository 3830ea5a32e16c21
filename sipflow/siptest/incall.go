package siptest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// receiveReinvite responds to an INVITE or UPDATE within a call.
func (p *Phone) receiveReinvite(d *dialog, tx *serverTx) {
	r, invite := p.script.Reinvite, tx.req.Method == sip.INVITE
	if r.Silent {
		return
	}
	if d.own != nil && invite {
		p.respond(tx, 491, d.localTag)
		return
	}
	if d.reinvite != nil && invite {
		p.respond(tx, 500, d.localTag, sip.NewHeader("Retry-After", "3"))
		return
	}
	if c := tx.req.Contact(); c != nil {
		d.target = c.Address
	}
	if !p.examine(d, tx.req.Body()) {
		return
	}
	offer := string(tx.req.Body())
	if m := &p.script.Media; m.on() && (invite || offer != "") && (d.stopped || !m.takes(offer)) {
		p.respond(tx, 488, d.localTag)
		return
	}
	if invite {
		d.reinvite = tx
		if r.After > 0 {
			p.respond(tx, 100, "")
		}
	}
	reply := func() {
		if tx.final != 0 || d.state == ended {
			return
		}
		d.reinvite = nil
		if r.Status >= 300 {
			p.respond(tx, r.Status, d.localTag)
			return
		}
		body := ""
		if !r.NoSDP && (invite || len(tx.req.Body()) > 0) {
			if body = r.SDP; body == "" {
				body = p.usualSDP(d, offer)
			}
		}
		res := p.response(tx, orDefault(r.Status, 200), d.localTag, body, append([]sip.Header{sip.NewHeader("Contact", p.contact())}, r.Header...)...)
		if invite {
			p.accept(d, tx, res)
			return
		}
		p.notef("-> %d %s", res.StatusCode, res.Reason)
		tx.respond(res)
	}
	if r.After > 0 {
		d.timers = append(d.timers, p.after(r.After, reply))
		return
	}
	reply()
}

// examine reads a session description as an Exacting phone does. It ends the
// call when something is wrong, and reports whether the call goes on.
func (p *Phone) examine(d *dialog, description []byte) bool {
	if !p.script.Exacting {
		return true
	}
	why := faultOf(string(description))
	if why == "" {
		return true
	}
	p.notef("%s", why)
	p.bye(d, Action{Header: []sip.Header{sip.NewHeader("Reason", "Q.850;cause=58")}})
	return false
}

// examineAnswer reads the answer to the phone's latest offer, if that has none yet, as
// examine does.
func (p *Phone) examineAnswer(d *dialog, answer string) bool {
	offer := d.offered
	if offer == "" {
		return true
	}
	d.offered = ""
	d.stopped = p.script.Media.OneTrack && !slices.ContainsFunc(streamsOf(answer), mediaStream.used)
	why := FaultOfAnswer(offer, answer)
	if why == "" {
		return true
	}
	p.notef("%s", why)
	p.bye(d, Action{Header: []sip.Header{sip.NewHeader("Reason", "Q.850;cause=58")}})
	return false
}

// faultOf says what is wrong with a description: a stream in use has a dynamic
// payload type that no rtpmap explains (RFC 8866 §6.6). It is empty for a good one.
func faultOf(description string) string {
	for i, stream := range strings.Split("\n"+description, "\nm=") {
		media, attributes, _ := strings.Cut(stream, "\r\n")
		f := strings.Fields(media)
		if i == 0 || len(f) < 4 || f[1] == "0" || !strings.Contains(f[2], "RTP/") {
			continue
		}
		for _, format := range f[3:] {
			if n, err := strconv.Atoi(format); err == nil && n >= 96 && !strings.Contains("\n"+attributes, "\na=rtpmap:"+format+" ") {
				return "missing rtpmap for the dynamic payload type " + format
			}
		}
	}
	return ""
}

func (p *Phone) receiveBye(d *dialog, tx *serverTx) {
	p.byeReason = strings.Join(headersOf(tx.req, "Reason"), ", ")
	if p.script.Bye.Silent {
		return
	}
	d.stop()
	if d.invite != nil && d.invite.final == 0 {
		p.respond(d.invite, 487, d.localTag)
	}
	p.respond(tx, orDefault(p.script.Bye.Status, 200), d.localTag)
}

// answerOther responds to what needs no call.
func (p *Phone) answerOther(tx *serverTx, tag string) {
	code, scripted := p.script.Answers[tx.req.Method]
	if !scripted {
		switch tx.req.Method {
		case sip.OPTIONS, sip.INFO, sip.MESSAGE, sip.NOTIFY, sip.PRACK:
			code = 200
		case sip.BYE:
			code = 481
		case sip.SUBSCRIBE, sip.PUBLISH:
			code = 489
		case sip.REFER, sip.UPDATE:
			code = 403
		default:
			code = 405
		}
	}
	if code < 0 {
		return
	}
	p.respond(tx, code, tag, sip.NewHeader("Allow", allow))
}
