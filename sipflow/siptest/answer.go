package siptest

import (
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"
)

const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, NOTIFY, INFO, MESSAGE, UPDATE"

// receive deals with a new request other than ACK and CANCEL.
func (p *Phone) receive(tx *serverTx) {
	req := tx.req
	p.requests = append(p.requests, req)
	p.notef("<- %s", req.Method)
	if toTag(req) == "" {
		if !p.admit(tx) {
			return
		}
		if replaces := headerOf(req, "Replaces"); req.Method == sip.INVITE && replaces != "" {
			p.replace(tx, replaces)
		} else if req.Method == sip.INVITE {
			p.ring(tx)
		} else {
			p.answerOther(tx, "")
		}
		return
	}
	d := p.find(req)
	switch {
	case d == nil || d.state == ended:
		p.respond(tx, 481, "")
		return
	case req.CSeq().SeqNo <= d.remoteCSeq:
		p.notef("%s has CSeq %d after %d", req.Method, req.CSeq().SeqNo, d.remoteCSeq)
		p.respond(tx, 500, d.localTag)
		return
	}
	d.remoteCSeq = req.CSeq().SeqNo
	if !p.admit(tx) {
		return
	}
	switch req.Method {
	case sip.INVITE, sip.UPDATE:
		p.receiveReinvite(d, tx)
	case sip.BYE:
		p.receiveBye(d, tx)
	case sip.REFER:
		p.receiveRefer(d, tx)
	case sip.PRACK:
		p.receivePRACK(d, tx)
	default:
		p.answerOther(tx, d.localTag)
	}
}

// admit lets a request pass or challenges it.
func (p *Phone) admit(tx *serverTx) bool {
	c := p.script.Challenge
	if !c.wants(tx.req.Method) {
		return true
	}
	status, ask, given := 407, "Proxy-Authenticate", "Proxy-Authorization"
	if c.Status == 401 {
		status, ask, given = 401, "WWW-Authenticate", "Authorization"
	}
	stale := false
	for _, h := range tx.req.GetHeaders(given) {
		_, err := p.auth.verify(h.Value(), string(tx.req.Method), tx.req.Recipient.String())
		callID := tx.req.CallID().Value()
		switch {
		case err != nil:
			p.failures++
			p.notef("wrong credentials for %s: %v", tx.req.Method, err)
			continue
		case c.Always:
			continue
		case c.StaleOnce && !p.staled[callID]:
			p.staled[callID], stale = true, true
			continue
		}
		return true
	}
	var with []sip.Header
	for _, v := range append(append([]string(nil), c.Extra...), p.auth.challenges(newTag(), stale)...) {
		with = append(with, sip.NewHeader(ask, v))
	}
	p.respond(tx, status, "", with...)
	return false
}

// ring plays the script for a new call.
func (p *Phone) ring(tx *serverTx) {
	s := p.script
	if s.Silent {
		return
	}
	d := uasDialog(tx, newTag())
	if len(s.RecordRoute) > 0 {
		proxies := slices.DeleteFunc(slices.Clone(s.RecordRoute), p.isOwn) // what is here passes its requests on
		d.routes = append(proxies, d.routes...)
	}
	p.dialogs = append(p.dialogs, d)
	if s.Trying {
		p.respond(tx, 100, "")
	}
	if s.Ringing >= 0 {
		for i := range s.EarlyForks + 1 {
			tag := d.localTag
			if i > 0 {
				tag = newTag()
				d.forks = append(d.forks, tag)
			}
			res := p.callResponse(d, orDefault(s.Ringing, 180), tag, s.EarlyMedia)
			p.notef("-> %d %s", res.StatusCode, res.Reason)
			tx.respond(res)
		}
	}
	for _, e := range s.Early {
		d.timers = append(d.timers, p.after(e.After, func() { p.progress(d, e) }))
	}
	offered := len(tx.req.Body()) > 0
	if s.RefuseOffer && offered || s.NeedOffer && !offered || s.Media.on() && !s.Media.takes(string(tx.req.Body())) {
		d.stop()
		p.respond(tx, 488, d.localTag)
		return
	}
	if s.NeverAnswer || s.Media.NeedsStream && offered && !slices.ContainsFunc(streamsOf(string(tx.req.Body())), mediaStream.used) {
		return
	}
	if s.Ring > 0 {
		d.timers = append(d.timers, p.after(s.Ring, func() { p.answer(d) }))
		return
	}
	p.answer(d)
}

// callResponse is a response that makes a dialog (RFC 3261 §12.1.1).
func (p *Phone) callResponse(d *dialog, code int, tag string, withSDP bool) *sip.Response {
	s, body := p.script, ""
	if withSDP {
		if body = s.SDP; body == "" {
			body = p.usualSDP(d, string(d.invite.req.Body()))
		}
	}
	res := p.response(d.invite, code, tag, body)
	for i := len(s.RecordRoute) - 1; i >= 0; i-- {
		res.PrependHeader(sip.NewHeader("Record-Route", s.RecordRoute[i]))
	}
	if !s.NoContact {
		res.AppendHeader(sip.NewHeader("Contact", firstOf(s.Contact, p.contact())))
	}
	for _, h := range s.Header {
		res.AppendHeader(h)
	}
	return res
}

// answer sends the final response of the script.
func (p *Phone) answer(d *dialog) {
	s := p.script
	if d.invite.final != 0 {
		return
	}
	if d.picksUp = d.unpracked != nil; d.picksUp {
		return
	}
	if s.Status >= 300 {
		var with []sip.Header
		if s.RedirectTo != "" {
			with = append(with, sip.NewHeader("Contact", s.RedirectTo))
		}
		d.stop()
		p.respond(d.invite, s.Status, d.localTag, append(with, s.Header...)...)
		return
	}
	forks := []*dialog{d}
	for i := range s.Forks {
		tag := newTag()
		if i < len(d.forks) {
			tag = d.forks[i]
		}
		f := uasDialog(d.invite, tag)
		f.routes = d.routes
		p.dialogs = append(p.dialogs, f)
		forks = append(forks, f)
	}
	for _, f := range forks {
		res := p.callResponse(f, orDefault(s.Status, 200), f.localTag, !s.NoSDP)
		res.AppendHeader(sip.NewHeader("Allow", firstOf(s.Allow, allow)))
		if s.NoToTag {
			res.To().Params.Remove("tag")
		}
		p.accept(f, f.invite, res)
	}
}

// accept sends a 2xx to an INVITE and repeats it until the ACK (RFC 3261 §13.3.1.4).
func (p *Phone) accept(d *dialog, tx *serverTx, res *sip.Response) {
	p.notef("-> %d %s", res.StatusCode, res.Reason)
	cseq := tx.req.CSeq().SeqNo
	d.state, d.answered, d.acked, d.okCSeq = confirmed, true, false, cseq
	d.again.stop()
	tx.respond(res)
	p.repeatOK(d, tx, res.String(), t1)
	d.timers = append(d.timers, p.after(64*t1, func() {
		if !d.acked && d.okCSeq == cseq {
			p.notef("no ACK for %v", 64*t1)
			p.bye(d, Action{})
		}
	}))
}

func (p *Phone) repeatOK(d *dialog, tx *serverTx, ok string, interval time.Duration) {
	d.again = p.after(interval, func() {
		if to, valid := replyTo(tx.req.Via()); valid {
			p.write(ok, to)
		}
		p.repeatOK(d, tx, ok, backoff(interval))
	})
}

// receiveACK starts what the script does in an answered call.
func (p *Phone) receiveACK(req *sip.Request) {
	p.requests = append(p.requests, req)
	d := p.find(req)
	if d == nil && p.script.NoToTag && len(p.dialogs) > 0 {
		d = p.dialogs[len(p.dialogs)-1]
	}
	switch {
	case d == nil:
		p.notef("<- ACK of no call")
		return
	case req.CSeq().SeqNo != d.okCSeq:
		p.notef("<- ACK with CSeq %d, not %d", req.CSeq().SeqNo, d.okCSeq)
		return
	case d.lostACKs < p.script.LoseACKs:
		d.lostACKs++
		p.notef("<- ACK taken for lost")
		return
	case d.acked:
		p.notef("<- ACK again")
		return
	}
	d.acked = true
	if d.upSince.IsZero() {
		d.upSince = time.Now()
	}
	p.notef("<- ACK")
	if !p.examine(d, req.Body()) || !p.examineAnswer(d, string(req.Body())) {
		return
	}
	if p.script.RepeatAfterACK > 0 {
		p.after(p.script.RepeatAfterACK, func() { d.again.stop() })
	} else {
		d.again.stop()
	}
	if d.state == confirmed && d.invite != nil && req.CSeq().SeqNo == d.invite.req.CSeq().SeqNo {
		p.begin(d)
	}
}

// begin schedules what the script does in a call that is up.
func (p *Phone) begin(d *dialog) {
	for _, a := range p.script.Do {
		d.timers = append(d.timers, p.after(a.After, func() { p.act(d, a, func(*sip.Response) {}) }))
	}
	if p.script.HangUpAfter > 0 {
		d.timers = append(d.timers, p.after(p.script.HangUpAfter, func() { p.bye(d, p.script.HangUp) }))
	}
}

func (p *Phone) receiveCancel(cancel, invite *serverTx) {
	p.requests = append(p.requests, cancel.req)
	p.notef("<- CANCEL")
	s := p.script
	if s.IgnoreCancel || s.Silent {
		return
	}
	if invite == nil {
		p.respond(cancel, 481, "")
		return
	}
	var d *dialog
	for _, x := range p.dialogs {
		if x.invite == invite || x.reinvite == invite {
			d = x
			break
		}
	}
	if d == nil || invite.final != 0 {
		p.respond(cancel, 200, "")
		return
	}
	if d.reinvite == invite {
		d.reinvite = nil
		p.respond(cancel, 200, d.localTag)
		p.respond(invite, 487, d.localTag)
		return
	}
	if s.AnswerOnCancel {
		p.answer(d)
		p.respond(cancel, 200, d.localTag)
		return
	}
	d.stop()
	p.respond(cancel, 200, d.localTag)
	p.respond(invite, 487, d.localTag)
}

// isOwn reports whether a Route is of the phone's own address.
func (p *Phone) isOwn(route string) bool {
	uri, _, err := address(route)
	if err != nil {
		return false
	}
	at, ok := hop(uri)
	return ok && at == p.local
}
