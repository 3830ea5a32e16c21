package siptest

import (
	"context"

	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Phone is a scripted SIP user agent at one UDP address. It speaks RFC 3261
// with its retransmissions, so that what a lost packet breaks is the fault of
// the other side.
type Phone struct {
	*endpoint
	account Account

	// Guarded by endpoint.mu.
	script    Script
	dialogs   []*dialog // oldest first, those that ended too
	auth      authenticator
	staled    map[string]bool // Call-IDs that had their stale=true
	calls     []*outgoing
	log       []string
	requests  []*sip.Request
	repeated  int
	answers   []*sip.Response
	failures  int
	byeReason string
	changed   chan struct{} // closed and renewed at each change, for Wait
}

// Phone starts a phone at addr ("10.0.0.2:5060"), whose user and name in the
// ladder is user.
func (n *Network) Phone(user, addr string, script Script) *Phone {
	n.Name(addr, user)
	return NewPhone(n.Listen(addr), Account{User: user}, script)
}

// NewPhone starts a phone on a socket, which it owns from now on. Close ends it.
func NewPhone(conn Conn, account Account, script Script) *Phone {
	p := &Phone{
		endpoint: newEndpoint(conn), account: account, script: script,
		staled: map[string]bool{}, changed: make(chan struct{}),
	}
	if p.account.Domain == "" {
		p.account.Domain = p.local.Addr().String()
	}
	p.account.Name = firstOf(account.Name, account.User)
	p.auth = authenticator{
		realm: script.Challenge.Realm, algorithms: script.Challenge.Algorithms, noQOP: script.Challenge.NoQOP,
		password: func(user string) (string, bool) {
			c := p.script.Challenge
			return firstOf(c.Password, p.account.Password), user == firstOf(c.User, p.account.User)
		},
	}
	p.onRequest, p.onACK, p.onCancel = p.receive, p.receiveACK, p.receiveCancel
	p.onRepeated = func(req *sip.Request) { p.repeated++; p.notef("<- %s again", req.Method) }
	p.onGarbage = func(data []byte, err error) { p.notef("<- garbage of %d bytes: %v", len(data), err) }
	p.start()
	return p
}

// Close takes the phone off the network and returns when nothing of it runs.
// It says good-bye to nobody.
func (p *Phone) Close() { p.endpoint.close() }

// SetScript changes what the phone does from now on.
func (p *Phone) SetScript(s Script) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = s
	p.auth.realm, p.auth.algorithms, p.auth.noQOP = s.Challenge.Realm, s.Challenge.Algorithms, s.Challenge.NoQOP
}

// Log is what the phone experienced, one line a message, without repeated
// ones: "<- INVITE", "-> 180 Ringing", "wrong credentials for REFER: …".
func (p *Phone) Log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// Requests returns copies of the requests that the phone received, without
// repeated ones: those of the given methods, or all.
func (p *Phone) Requests(methods ...sip.RequestMethod) []*sip.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*sip.Request
	for _, r := range p.requests {
		if len(methods) == 0 || slices.Contains(methods, r.Method) {
			all = append(all, r.Clone())
		}
	}
	return all
}

// Heard is the last session description that came to the phone, in a request or a
// response, or "".
func (p *Phone) Heard() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard
}

// Answers returns the final responses to the requests that the phone sent.
func (p *Phone) Answers() []*sip.Response {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.answers)
}

// Repeated counts the requests that came again.
func (p *Phone) Repeated() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.repeated
}

// OnHook reports whether the phone is in no call and calls nobody.
func (p *Phone) OnHook() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open(early, confirmed) == 0 && !slices.ContainsFunc(p.calls, (*outgoing).pending)
}

// Dialogs counts the calls that are up, forks one by one.
func (p *Phone) Dialogs() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open(confirmed)
}

func (p *Phone) open(states ...dialogState) (n int) {
	for _, d := range p.dialogs {
		if slices.Contains(states, d.state) {
			n++
		}
	}
	return n
}

// Acked reports whether each call that the phone answered got its ACK.
func (p *Phone) Acked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	answered := 0
	for _, d := range p.dialogs {
		if !d.answered {
			continue
		}
		answered++
		if !d.acked {
			return false
		}
	}
	return answered > 0
}

// ByeReason is the Reason header field of the last BYE that came (RFC 3326).
func (p *Phone) ByeReason() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byeReason
}

// AuthFailures counts the requests with credentials that were wrong; the log
// says why. Requests without credentials do not count.
func (p *Phone) AuthFailures() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures
}

// ConnectedTo reports whether the two phones are in one call, answered and
// acknowledged on both sides.
func (p *Phone) ConnectedTo(q *Phone) bool {
	theirs := q.Calls()
	return slices.ContainsFunc(p.Calls(), func(id string) bool { return slices.Contains(theirs, id) })
}

// Calls returns the Call-IDs of the calls that are up, answered and acknowledged.
func (p *Phone) Calls() (ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.dialogs {
		if d.state == confirmed && d.acked {
			ids = append(ids, d.callID)
		}
	}
	return ids
}

// Wait returns once cond holds. It asks again after everything that happens to
// this phone, and only then.
func (p *Phone) Wait(ctx context.Context, cond func() bool) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("phone %s: %w; it saw: %s", p.account.Name, context.Cause(ctx), strings.Join(p.Log(), ", "))
		}
	}
}

// AOR is the phone's address of record, "sip:201@sipx.test".
func (p *Phone) AOR() string { return "sip:" + p.account.User + "@" + p.account.Domain }

// notef adds a line to the log and lets those who Wait look again, once mu is
// free. mu is held, as in everything below.
func (p *Phone) notef(format string, args ...any) {
	p.log = append(p.log, fmt.Sprintf(format, args...))
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Phone) contact() string {
	return "<sip:" + p.account.User + "@" + p.local.String() + p.param + ">"
}

// respond sends a response with the tag of the dialog.
func (p *Phone) respond(tx *serverTx, code int, tag string, with ...sip.Header) {
	res := p.response(tx, code, tag, "", with...)
	p.notef("-> %d %s", res.StatusCode, res.Reason)
	tx.respond(res)
}

func (p *Phone) response(tx *serverTx, code int, tag, body string, with ...sip.Header) *sip.Response {
	res := sip.NewResponseFromRequest(tx.req, code, reasonPhrase(code), nil)
	if code > 100 {
		if tag == "" {
			tag = newTag()
		}
		if toTag(tx.req) == "" {
			res.To().Params.Add("tag", tag)
		}
	}
	for _, h := range with {
		res.AppendHeader(h)
	}
	if body != "" {
		contentType, body := p.packed(body)
		res.AppendHeader(sip.NewHeader("Content-Type", contentType))
		res.SetBody([]byte(body))
	}
	return res
}

// packed is a description as the phone sends it.
func (p *Phone) packed(description string) (contentType, body string) {
	if p.script.Media.Multipart {
		return multipart(description)
	}
	return "application/sdp", description
}

// usualSDP is the phone's offer and its answer. Its version rises with each. offer is
// what it answers, "" for an offer of its own.
func (p *Phone) usualSDP(d *dialog, offer string) string {
	d.sdpVersion++
	ip, family := p.local.Addr().String(), "IP4"
	if p.local.Addr().Is6() {
		family = "IP6"
	}
	if m := &p.script.Media; m.on() {
		b := m.describe(fmt.Sprintf("v=0\r\no=%s 7 %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\n", p.account.User, d.sdpVersion, family, ip, family, ip),
			offer)
		if offer == "" {
			d.offered = b
		}
		return b
	}
	return fmt.Sprintf("v=0\r\no=%s 7 %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\n"+
		"m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"+
		"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n",
		p.account.User, d.sdpVersion, family, ip, family, ip)
}

// find is the dialog of a request that the phone received.
func (p *Phone) find(req *sip.Request) *dialog {
	for _, d := range p.dialogs {
		if d.callID == req.CallID().Value() && d.localTag == toTag(req) &&
			(d.remoteTag == fromTag(req) || d.remoteTag == "") {
			return d
		}
	}
	return nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
