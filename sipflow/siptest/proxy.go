package siptest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// ProxyConfig says for whom a [Proxy] works.
type ProxyConfig struct {
	Name      string            // in the ladder; "proxy" if empty
	Domain    string            // the domain it is responsible for
	Users     map[string]string // user → password; others are not found
	Locations map[string]string // user → Contact URI, in place of a registration; several, with commas, all ring
	Open      bool              // challenges nobody
}

// Proxy is a stateless, record-routing SIP proxy and a registrar for one
// domain (RFC 3261 §10, §16.11), with the digest of RFC 7616. It challenges
// REGISTER (401) and every request outside of a call (407), with the user's
// password and the domain as realm.
//
// It keeps nothing of a request but who rings, so retransmission is left to the ends;
// all copies of a request, its CANCEL and its ACK take the same way. When one of
// several phones picks up it cancels the others (§16.7).
type Proxy struct {
	conn   Conn
	local  netip.AddrPort
	cfg    ProxyConfig
	secret []byte
	reader sync.WaitGroup

	mu        sync.Mutex
	auth      authenticator
	passed    map[string]string // nonce → the request that it let pass last
	locations map[string]string
	forked    map[string]*forked // INVITEs that ring several phones
	log       []string
}

// forked is an INVITE as it went to each of several phones.
type forked struct {
	branches []*sip.Request
	answered bool
}

func forkKey(m sip.Message) string {
	return fmt.Sprint(m.CallID().Value(), " ", m.CSeq().SeqNo)
}

// ownTag marks the To-tags of the proxy's own responses.
const ownTag = "proxy-"

// Proxy starts a proxy at addr ("10.0.0.9:5060").
func (n *Network) Proxy(addr string, cfg ProxyConfig) *Proxy {
	n.Name(addr, firstOf(cfg.Name, "proxy"))
	return NewProxy(n.Listen(addr), cfg)
}

// NewProxy starts a proxy on a socket, which it owns from now on. Close ends it.
func NewProxy(conn Conn, cfg ProxyConfig) *Proxy {
	p := &Proxy{
		conn: conn, local: addrOf(conn), cfg: cfg, secret: []byte(rand.Text()),
		locations: map[string]string{}, passed: map[string]string{}, forked: map[string]*forked{},
		auth: authenticator{realm: cfg.Domain, password: func(user string) (string, bool) {
			password, ok := cfg.Users[user]
			return password, ok
		}},
	}
	for user, contact := range cfg.Locations {
		p.locations[user] = contact
	}
	p.reader.Go(p.read)
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() netip.AddrPort { return p.local }

// Close ends the proxy and returns when nothing of it runs.
func (p *Proxy) Close() {
	p.conn.Close()
	p.reader.Wait()
}

// Log is what the proxy did, one line a message: "INVITE 202 to sip:202@…",
// "407 to REFER", "wrong credentials for INVITE: …".
func (p *Proxy) Log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// Location is the Contact URI at which a user is registered, or "".
func (p *Proxy) Location(user string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.locations[user]
}

func (p *Proxy) read() {
	buf := make([]byte, 65536)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		m, err := parse(buf[:n])
		if err != nil {
			continue
		}
		p.mu.Lock()
		switch m := m.(type) {
		case *sip.Request:
			stampVia(m, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
			m.SetSource(from.String())
			p.request(m)
		case *sip.Response:
			p.response(m)
		}
		p.mu.Unlock()
	}
}

// maxLog bounds the log of a proxy that runs for long.
const maxLog = 10000

func (p *Proxy) notef(format string, args ...any) {
	if len(p.log) < maxLog {
		p.log = append(p.log, fmt.Sprintf(format, args...))
	}
}

func (p *Proxy) send(m sip.Message, to netip.AddrPort) {
	p.conn.WriteToUDPAddrPort([]byte(m.String()), to) // the ends retransmit
}

// response goes back by the Via under ours (RFC 3261 §16.7).
func (p *Proxy) response(res *sip.Response) {
	vias := res.GetHeaders("Via")
	if top := res.Via(); len(vias) < 2 || !strings.HasPrefix(top.Params.GetOr("branch", ""), "z9hG4bK-p") {
		return
	}
	if f := p.forked[forkKey(res)]; f != nil && res.CSeq().MethodName == sip.INVITE && !p.ofFork(f, res) {
		return
	}
	res.RemoveHeader("Via")
	if to, ok := replyTo(res.Via()); ok {
		p.send(res, to)
	}
}

// ofFork reports whether the caller gets a response of one of several phones.
func (p *Proxy) ofFork(f *forked, res *sip.Response) bool {
	for _, req := range f.branches {
		own := req.Via().Params.GetOr("branch", "") == res.Via().Params.GetOr("branch", "")
		to, _ := hop(req.Recipient)
		switch {
		case own && res.StatusCode >= 300 && f.answered:
			p.conn.WriteToUDPAddrPort([]byte(ackFor(req, res)), to)
			return false
		case !own && res.StatusCode >= 200 && res.StatusCode < 300:
			cancel := sip.NewRequest(sip.CANCEL, req.Recipient)
			cancel.AppendHeader(sip.NewHeader("Via", req.Via().Value()))
			copyHeaders(cancel, req, "Max-Forwards", "From", "To", "Call-ID")
			cancel.AppendHeader(&sip.CSeqHeader{SeqNo: req.CSeq().SeqNo, MethodName: sip.CANCEL})
			cancel.SetBody(nil)
			p.send(cancel, to)
		}
	}
	f.answered = f.answered || res.StatusCode >= 200 && res.StatusCode < 300
	return true
}

// refuse responds in the proxy's own name. The same request gets the same
// response, as it may be repeated (RFC 3261 §8.2.7).
func (p *Proxy) refuse(req *sip.Request, code int, with ...sip.Header) {
	if req.Method == sip.ACK {
		return
	}
	p.notef("%d to %s", code, req.Method)
	res := sip.NewResponseFromRequest(req, code, reasonPhrase(code), nil)
	if toTag(req) == "" {
		res.To().Params.Add("tag", ownTag+p.digest(req, "tag"))
	}
	for _, h := range with {
		res.AppendHeader(h)
	}
	if to, ok := replyTo(res.Via()); ok {
		p.send(res, to)
	}
}

// digest is a number that all copies of a request share, and its CANCEL and
// its ACK for a final response other than 2xx.
func (p *Proxy) digest(req *sip.Request, purpose string) string {
	h := hmac.New(sha256.New, p.secret)
	fmt.Fprint(h, purpose, req.Via().SentBy(), req.Via().Params.GetOr("branch", ""), req.CallID().Value(), req.CSeq().SeqNo)
	return hex.EncodeToString(h.Sum(nil)[:12])
}

func (p *Proxy) request(req *sip.Request) {
	if h := req.MaxForwards(); h == nil {
		req.AppendHeader(sip.NewHeader("Max-Forwards", "70"))
	} else if h.Val() == 0 {
		p.refuse(req, 483)
		return
	} else {
		h.Dec()
	}
	p.popRoute(req)
	switch {
	case req.Method == sip.ACK && strings.HasPrefix(toTag(req), ownTag):
		return // for our own refusal
	case req.Method == sip.REGISTER:
		p.register(req)
		return
	case req.Method == sip.OPTIONS && req.Recipient.User == "" && p.own(req.Recipient):
		p.refuse(req, 200)
		return
	}
	if toTag(req) == "" && req.Method != sip.CANCEL && req.Method != sip.ACK && !p.cfg.Open {
		if !p.admit(req, 407, "Proxy-Authenticate", "Proxy-Authorization") {
			return
		}
	}
	if len(req.GetHeaders("Route")) > 0 || !p.own(req.Recipient) {
		p.forward(req)
		return
	}
	user := req.Recipient.User
	for i, contact := range p.locate(req) {
		branch := req.Clone()
		if sip.ParseUri(contact, &branch.Recipient) != nil {
			p.refuse(req, 500)
			return
		}
		p.notef("%s %s to %s", req.Method, user, contact)
		p.forwardAs(branch, fmt.Sprint("branch", i))
	}
}

// own reports whether the proxy is responsible for a URI.
func (p *Proxy) own(uri sip.Uri) bool {
	if strings.EqualFold(uri.Host, p.cfg.Domain) {
		return true
	}
	a, ok := hop(uri)
	return ok && a == p.local
}

// popRoute removes the topmost Route if it is the proxy itself.
func (p *Proxy) popRoute(req *sip.Request) {
	routes := headersOf(req, "Route")
	if len(routes) == 0 {
		return
	}
	uri, _, err := address(routes[0])
	if err != nil || !p.own(uri) {
		return
	}
	removeAll(req, "Route")
	for _, r := range routes[1:] {
		req.AppendHeader(sip.NewHeader("Route", r))
	}
}

// locate returns where the user is. Parameters such as sipx-noroute are for the
// proxy, and end here.
func (p *Proxy) locate(req *sip.Request) (contacts []string) {
	user := req.Recipient.User
	contact := p.locations[user]
	_, known := p.cfg.Users[user]
	switch {
	case contact == "" && known:
		p.refuse(req, 480)
	case contact == "":
		p.refuse(req, 404)
	default:
		contacts = splitUnquoted(contact, ',')
	}
	if key := forkKey(req); len(contacts) > 1 && req.Method == sip.INVITE && p.forked[key] == nil {
		p.forked[key] = &forked{}
	}
	return contacts
}

// forward sends the request on its way (RFC 3261 §16.6).
func (p *Proxy) forward(req *sip.Request) { p.forwardAs(req, "branch") }

// forwardAs is forward for one of the ways that a request takes.
func (p *Proxy) forwardAs(req *sip.Request, way string) {
	next := req.Recipient
	if routes := headersOf(req, "Route"); len(routes) > 0 {
		uri, _, err := address(routes[0])
		if err != nil {
			p.refuse(req, 400)
			return
		}
		next = uri
	}
	to, ok := hop(next)
	if !ok || to == p.local {
		p.refuse(req, 404)
		return
	}
	if toTag(req) == "" && slices.Contains([]sip.RequestMethod{sip.INVITE, sip.REFER, sip.SUBSCRIBE}, req.Method) {
		req.PrependHeader(sip.NewHeader("Record-Route", "<sip:"+p.local.String()+";lr>"))
	}
	req.PrependHeader(sip.NewHeader("Via", "SIP/2.0/UDP "+p.local.String()+";branch=z9hG4bK-p"+p.digest(req, way)))
	if f := p.forked[forkKey(req)]; f != nil && req.Method == sip.INVITE && toTag(req) == "" {
		if sent, err := parse([]byte(req.String())); err == nil {
			f.branches = append(f.branches, sent.(*sip.Request))
		}
	}
	p.send(req, to)
}
