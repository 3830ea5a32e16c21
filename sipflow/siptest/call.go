package siptest

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// ErrRefused is in the error of a request that got a final response other than 2xx.
var ErrRefused = errors.New("refused")

// errTimeout stands for a response that did not come within 64*T1.
var errTimeout = errors.New("no response for 32 s")

func refusal(method sip.RequestMethod, res *sip.Response) error {
	if res == nil {
		return fmt.Errorf("%s: %w", method, errTimeout)
	}
	return fmt.Errorf("%s: %w: %d %s", method, ErrRefused, res.StatusCode, res.Reason)
}

// outgoing is a call that the phone makes. Guarded by the phone's lock.
type outgoing struct {
	p         *Phone
	req       *sip.Request
	tx        *clientTx
	d         *dialog // the first that answered
	on        func(*sip.Response)
	tries     int // with credentials
	how       Calling
	pracked   string // RSeq of the last one acknowledged
	pracks    int
	offered   string // by a phone that is strict about the answer
	settled   bool   // an offer in a provisional response has its answer
	ringing   bool   // a provisional response came
	cancelled bool
	done      bool
}

func (o *outgoing) pending() bool { return !o.done }

// invite calls uri. on gets every response that matters, nil for none at all.
func (p *Phone) invite(how Calling, uri sip.Uri, on func(*sip.Response), with ...sip.Header) *outgoing {
	o := &outgoing{p: p, on: on, how: how}
	to := uri
	to.UriParams, to.Headers = nil, nil
	bare := uri
	bare.Headers = nil // RFC 3261 §19.1.5: they become header fields
	req := sip.NewRequest(sip.INVITE, bare)
	req.AppendHeader(sip.NewHeader("From", withTag("<"+p.AOR()+">", newTag())))
	req.AppendHeader(sip.NewHeader("To", "<"+to.String()+">"))
	req.AppendHeader(sip.NewHeader("Call-ID", newTag()))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE})
	req.AppendHeader(sip.NewHeader("Contact", p.contact()))
	req.AppendHeader(sip.NewHeader("Allow", allow))
	for _, h := range uri.Headers {
		value, err := url.PathUnescape(h.V)
		if err != nil {
			value = h.V
		}
		req.AppendHeader(sip.NewHeader(h.K, value))
	}
	for _, h := range with {
		req.AppendHeader(h)
	}
	for _, h := range o.how.Header {
		req.AppendHeader(h)
	}
	if o.how.Reliable {
		req.AppendHeader(sip.NewHeader("Supported", "100rel"))
	}
	if o.how.NoOffer {
		req.SetBody(nil)
	} else {
		d := &dialog{}
		offer := o.how.SDP
		if offer == "" {
			offer = p.usualSDP(d, "")
		}
		contentType, body := p.packed(offer)
		o.offered = d.offered
		req.AppendHeader(sip.NewHeader("Content-Type", contentType))
		req.SetBody([]byte(body))
	}
	o.req = req
	p.calls = append(p.calls, o)
	o.send()
	return o
}

func (o *outgoing) send() {
	o.p.notef("-> INVITE")
	o.tx = o.p.endpoint.send(o.req, o.p.nextHop(o.req.Recipient), o.response)
}

// nextHop is where requests outside of a call go.
func (p *Phone) nextHop(uri sip.Uri) netip.AddrPort {
	if p.account.Proxy.IsValid() {
		return p.account.Proxy
	}
	a, _ := hop(uri)
	return a
}

func (o *outgoing) response(res *sip.Response) {
	p := o.p
	switch {
	case res == nil:
		o.done = true
		p.notef("no answer to INVITE")
		o.on(nil)
	case res.StatusCode < 200:
		o.ringing = true
		p.notef("<- %d %s", res.StatusCode, res.Reason)
		if o.cancelled {
			o.tx.cancel(o.how.GivesUp, func(*sip.Response) {})
		}
		o.prack(res)
		o.on(res)
	case res.StatusCode < 300:
		o.accepted(res)
	case mayRetry(res, o.tries) && !o.cancelled:
		o.tries++
		p.notef("<- %d %s", res.StatusCode, res.Reason)
		if next, err := p.authorize(o.req, res, o.req.CSeq().SeqNo+1); err == nil {
			o.req = next
			o.send()
			return
		}
		o.done = true
		o.on(res)
	default:
		o.done = true
		p.notef("<- %d %s", res.StatusCode, res.Reason)
		p.answers = append(p.answers, res)
		o.on(res)
	}
}

// accepted acknowledges each 2xx; only the first is kept (RFC 3261 §13.2.2.4).
func (o *outgoing) accepted(res *sip.Response) {
	p := o.p
	i := slices.IndexFunc(p.dialogs, func(d *dialog) bool {
		return d.callID == o.req.CallID().Value() && d.remoteTag == toTag(res) && d.localTag == fromTag(o.req)
	})
	if i >= 0 { // our ACK was lost
		o.ack(p.dialogs[i], res)
		return
	}
	p.notef("<- %d %s", res.StatusCode, res.Reason)
	p.answers = append(p.answers, res)
	d := uacDialog(o.req, res)
	if o.d == nil {
		d.cseq += uint32(o.pracks)
	}
	d.state, d.answered, d.acked = confirmed, true, true
	p.dialogs = append(p.dialogs, d)
	o.ack(d, res)
	if o.d != nil || o.cancelled {
		p.bye(d, Action{})
	}
	if o.d == nil {
		o.d, o.done = d, true
		o.on(res)
		d.offered = o.offered
		if d.state == confirmed && p.examineAnswer(d, string(res.Body())) {
			p.begin(d)
		}
	}
}

// ack acknowledges a 2xx, with the answer to the offer in it where the INVITE had
// none.
func (o *outgoing) ack(d *dialog, res *sip.Response) {
	body := ""
	if o.how.NoOffer && !o.settled && !o.how.NoAnswer && len(res.Body()) > 0 {
		body = o.p.usualSDP(d, string(res.Body()))
	}
	if o.how.LoseACKs > 0 {
		o.how.LoseACKs--
		return
	}
	o.p.ack(d, o.req.CSeq().SeqNo, body)
}

// prack acknowledges a reliable provisional response (RFC 3262 §4).
func (o *outgoing) prack(res *sip.Response) {
	p, rseq := o.p, headerOf(res, "RSeq")
	if !o.how.Reliable || o.how.NoPRACK || rseq == "" || rseq == o.pracked {
		return
	}
	o.pracked = rseq
	o.pracks++
	d := uacDialog(o.req, res)
	cseq := o.req.CSeq().SeqNo
	req := d.request(sip.PRACK, cseq+uint32(o.pracks))
	req.AppendHeader(sip.NewHeader("RAck", fmt.Sprintf("%s %d INVITE", rseq, cseq)))
	body := ""
	if o.how.NoOffer && !o.settled && len(res.Body()) > 0 {
		o.settled, body = true, p.usualSDP(d, string(res.Body()))
		req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	}
	req.SetBody([]byte(body))
	p.ask(req, d.hop(p.account.Proxy), func() uint32 { o.pracks++; return cseq + uint32(o.pracks) }, func(*sip.Response) {})
}

func (o *outgoing) cancel() {
	if o.done || o.cancelled {
		return
	}
	o.cancelled = true
	if o.ringing {
		o.p.notef("-> CANCEL")
		o.tx.cancel(o.how.GivesUp, func(*sip.Response) {})
	}
}

// mayRetry reports whether res asks for credentials that it may get: once, and
// once more if the nonce was stale (RFC 7616 §3.3).
func mayRetry(res *sip.Response, tries int) bool {
	if res.StatusCode != 401 && res.StatusCode != 407 {
		return false
	}
	if tries != 1 {
		return tries == 0
	}
	for _, h := range append(res.GetHeaders("WWW-Authenticate"), res.GetHeaders("Proxy-Authenticate")...) {
		if p, ok := digestParams(h.Value()); ok && strings.EqualFold(p["stale"], "true") {
			return true
		}
	}
	return false
}

// authorize is req once more with credentials for the challenges in res.
func (p *Phone) authorize(req *sip.Request, res *sip.Response, cseq uint32) (*sip.Request, error) {
	ask, give := "Proxy-Authenticate", "Proxy-Authorization"
	if res.StatusCode == 401 {
		ask, give = "WWW-Authenticate", "Authorization"
	}
	var challenges []string
	for _, h := range res.GetHeaders(ask) {
		challenges = append(challenges, h.Value())
	}
	a, err := answerChallenge(challenges, p.account.User, p.account.Password, string(req.Method), req.Recipient.String())
	if err != nil {
		return nil, err
	}
	next := sip.NewRequest(req.Method, req.Recipient)
	for _, h := range req.Headers() {
		switch h.Name() {
		case "Via", "CSeq", "Content-Length", give:
		default:
			next.AppendHeader(sip.NewHeader(h.Name(), h.Value()))
		}
	}
	next.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: req.Method})
	next.AppendHeader(sip.NewHeader(give, a))
	next.SetBody(req.Body())
	return next, nil
}

// ask sends a non-INVITE request, and again with credentials after one
// challenge. on gets the final response, nil for none.
func (p *Phone) ask(req *sip.Request, to netip.AddrPort, nextCSeq func() uint32, on func(*sip.Response)) *clientTx {
	p.notef("-> %s", req.Method)
	tries := 0
	var final func(*sip.Response)
	final = func(res *sip.Response) {
		switch {
		case res == nil:
			p.notef("no answer to %s", req.Method)
		case res.StatusCode < 200:
			return
		case mayRetry(res, tries):
			tries++
			p.notef("<- %d %s", res.StatusCode, res.Reason)
			if next, err := p.authorize(req, res, nextCSeq()); err == nil {
				p.notef("-> %s", next.Method)
				p.endpoint.send(next, to, final)
				return
			}
		default:
			p.notef("<- %d %s", res.StatusCode, res.Reason)
		}
		if res != nil {
			p.answers = append(p.answers, res)
		}
		on(res)
	}
	return p.endpoint.send(req, to, final)
}

func (p *Phone) ack(d *dialog, cseq uint32, body string) {
	p.notef("-> ACK")
	req := d.request(sip.ACK, cseq)
	req.PrependHeader(
		sip.NewHeader("Via", p.via+";branch="+newBranch()+";rport"),
		sip.NewHeader("Max-Forwards", "70"))
	if body != "" {
		req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	}
	req.SetBody([]byte(body))
	p.write(req.String(), d.hop(p.account.Proxy))
}

// bye ends a call from this side.
func (p *Phone) bye(d *dialog, a Action) {
	if d.state == ended {
		return
	}
	d.stop()
	a.Method = sip.BYE
	p.act(d, a, func(*sip.Response) {})
}

// act sends a request within a call; on gets the final response, nil for none.
func (p *Phone) act(d *dialog, a Action, on func(*sip.Response)) {
	number := d.nextCSeq()
	switch {
	case a.LeaveOut:
		d.leftOut, number = number, d.nextCSeq()
	case a.Overtaken:
		number = d.leftOut
	}
	req := d.request(a.Method, number)
	body, contentType := a.Body, a.ContentType
	if a.Method == sip.INVITE || a.Method == sip.UPDATE {
		req.AppendHeader(sip.NewHeader("Contact", p.contact()))
		if !a.NoBody {
			if body == "" {
				body = p.usualSDP(d, "")
			}
			contentType = firstOf(contentType, "application/sdp")
		}
	}
	for _, h := range a.Header {
		req.AppendHeader(h)
	}
	if contentType != "" {
		req.AppendHeader(sip.NewHeader("Content-Type", contentType))
	}
	req.SetBody([]byte(body))
	to := d.hop(p.account.Proxy)
	if a.Method != sip.INVITE {
		p.ask(req, to, d.nextCSeq, on)
		return
	}
	cseq, tries, first := req.CSeq().SeqNo, 0, true
	answer := func(res *sip.Response) string { // to the offer in the 2xx
		if a.NoBody {
			return p.usualSDP(d, string(res.Body()))
		}
		return ""
	}
	p.notef("-> INVITE")
	var response func(*sip.Response)
	response = func(res *sip.Response) {
		switch {
		case res != nil && res.StatusCode < 200:
			return
		case res != nil && res.StatusCode < 300:
			if c := res.Contact(); c != nil {
				d.target = c.Address
			}
			p.ack(d, cseq, answer(res))
			if p.examine(d, res.Body()) && !a.NoBody {
				p.examineAnswer(d, string(res.Body()))
			}
		case res != nil && mayRetry(res, tries):
			tries++
			cseq = d.nextCSeq()
			if next, err := p.authorize(req, res, cseq); err == nil {
				d.own = p.endpoint.send(next, to, response)
				return
			}
		}
		if !first {
			return
		}
		first, d.own = false, nil
		if res != nil {
			p.answers = append(p.answers, res)
			p.notef("<- %d %s", res.StatusCode, res.Reason)
		} else {
			p.notef("no answer to INVITE")
		}
		on(res)
	}
	d.own = p.endpoint.send(req, to, response)
}
