package siptest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"
)

// progress sends a provisional response of the script.
func (p *Phone) progress(d *dialog, e Early) {
	if d.invite.final != 0 || d.unpracked != nil { // one after the other (RFC 3262 §3)
		return
	}
	res := p.callResponse(d, orDefault(e.Status, 183), d.localTag, e.SDP)
	if e.Reliable {
		if d.rseq++; d.rseq == 1 {
			d.rseq = 1000 * uint32(p.local.Addr().AsSlice()[3]) // each phone has its own
		}
		res.AppendHeader(sip.NewHeader("Require", "100rel"))
		res.AppendHeader(sip.NewHeader("RSeq", strconv.FormatUint(uint64(d.rseq), 10)))
	}
	p.notef("-> %d %s", res.StatusCode, res.Reason)
	d.invite.respond(res)
	if e.Reliable {
		p.repeatEarly(d, t1)
	}
	for _, a := range e.Do {
		d.timers = append(d.timers, p.after(a.After, func() {
			if d.state == early {
				p.act(d, a, func(*sip.Response) {})
			}
		}))
	}
}

// repeatEarly repeats the response until its PRACK comes, or refuses the call.
func (p *Phone) repeatEarly(d *dialog, interval time.Duration) {
	d.unpracked = p.after(interval, func() {
		switch {
		case d.invite.final != 0:
		case interval < 64*t1:
			d.invite.send()
			p.repeatEarly(d, 2*interval)
		default:
			d.stop()
			p.respond(d.invite, 504, d.localTag)
		}
	})
}

// receivePRACK takes the acknowledgement of a provisional response, and the answer to
// the offer in that.
func (p *Phone) receivePRACK(d *dialog, tx *serverTx) {
	if d.unpracked != nil && d.invite != nil &&
		headerOf(tx.req, "RAck") == fmt.Sprintf("%d %d INVITE", d.rseq, d.invite.req.CSeq().SeqNo) {
		d.unpracked.stop()
		d.unpracked = nil
	} else if d.rseq > 0 { // unless Script.Header made the response a reliable one
		p.respond(tx, 481, d.localTag)
		return
	}
	p.answerOther(tx, d.localTag)
	if body := tx.req.Body(); len(body) > 0 && !p.examineAnswer(d, string(body)) {
		return
	}
	if d.picksUp {
		p.answer(d)
	}
}
