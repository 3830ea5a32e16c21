package siptest

import (
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// usualReports are what a good phone reports of a call that is answered.
var usualReports = []Notify{
	{Line: "SIP/2.0 100 Trying"},
	{After: time.Second, Line: "SIP/2.0 180 Ringing"},
	{After: 3 * time.Second, Line: "SIP/2.0 200 OK", State: "terminated;reason=noresource"},
}

// subscription is what a REFER makes (RFC 3515 §2.4.4). It outlives the call
// in which it came (RFC 5057). Guarded by the phone's lock.
type subscription struct {
	p     *Phone
	d     *dialog
	event string
	queue []Notify // waiting for the response to the one before
	busy  bool
	over  bool
}

func (p *Phone) receiveRefer(d *dialog, tx *serverTx) {
	r := p.script.Refer
	if r.Silent {
		return
	}
	if r.Status >= 300 {
		p.respond(tx, r.Status, d.localTag, sip.NewHeader("Allow", allow))
		return
	}
	target, _, err := address(headerOf(tx.req, "Refer-To"))
	if err != nil {
		p.notef("Refer-To cannot be read: %v", err)
		p.respond(tx, 400, d.localTag)
		return
	}
	s := &subscription{p: p, d: d, event: "refer"}
	if d.refers++; d.refers > 1 {
		s.event = fmt.Sprintf("refer;id=%d", tx.req.CSeq().SeqNo)
	}
	reports := r.Notify
	if reports == nil && !r.Follow {
		reports = usualReports
	}
	if r.NoNotify {
		reports = nil
	}
	if time.Since(d.upSince) < r.NotReady.For {
		reports = []Notify{{Line: r.NotReady.Line, State: "terminated;reason=noresource"}}
	}
	if r.Early && len(reports) > 0 {
		s.report(reports[0])
		reports = reports[1:]
	}
	p.respond(tx, orDefault(r.Status, 202), d.localTag, sip.NewHeader("Contact", p.contact()))
	for _, n := range reports {
		if n.After == 0 {
			s.report(n)
		} else {
			p.after(n.After, func() { s.report(n) })
		}
	}
	if r.Follow {
		s.follow(target, tx.req)
	}
}

// follow calls the target and reports each response.
func (s *subscription) follow(target sip.Uri, refer *sip.Request) {
	var with []sip.Header
	if by := headerOf(refer, "Referred-By"); by != "" {
		with = append(with, sip.NewHeader("Referred-By", by))
	}
	s.report(Notify{Line: "SIP/2.0 100 Trying"})
	s.p.invite(Calling{}, target, func(res *sip.Response) {
		switch {
		case res == nil:
			s.report(Notify{Line: "SIP/2.0 408 Request Timeout", State: "terminated;reason=noresource"})
		case res.StatusCode == 100:
		case res.StatusCode < 200:
			s.report(Notify{Line: res.StartLine()})
		default:
			s.report(Notify{Line: res.StartLine(), State: "terminated;reason=noresource"})
		}
	}, with...)
}

// report sends a NOTIFY, after the response to the one before it: NOTIFYs that
// overtake each other are refused (RFC 3261 §12.2.2).
func (s *subscription) report(n Notify) {
	if s.over {
		return
	}
	if s.busy {
		s.queue = append(s.queue, n)
		return
	}
	s.busy = true
	req := s.d.request(sip.NOTIFY, s.d.nextCSeq())
	if s.p.script.Refer.Overtaken && strings.HasPrefix(n.State, "terminated") {
		s.p.bye(s.d, Action{})
	}
	req.AppendHeader(sip.NewHeader("Contact", s.p.contact()))
	req.AppendHeader(sip.NewHeader("Event", s.event))
	if n.State != "-" {
		req.AppendHeader(sip.NewHeader("Subscription-State", firstOf(n.State, "active;expires=60")))
	}
	body := n.Body
	if body == "" && n.Line != "" {
		body = n.Line + "\r\n"
	}
	if body != "" {
		req.AppendHeader(sip.NewHeader("Content-Type", firstOf(n.ContentType, "message/sipfrag;version=2.0")))
	}
	req.SetBody([]byte(body))
	s.p.ask(req, s.d.hop(s.p.account.Proxy), s.d.nextCSeq, func(res *sip.Response) {
		s.busy = false
		s.over = res != nil && res.StatusCode == 481 // RFC 6665 §4.2.2
		if len(s.queue) > 0 && !s.over {
			next := s.queue[0]
			s.queue = s.queue[1:]
			s.report(next)
		}
	})
}
