package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// A phone is a user agent of sipgo, a SIP stack that shares no code with sipxrest's.
// It answers calls by itself, and calls whom it is referred to.
type phone struct {
	user, password string
	proxy          string
	contact        *sip.ContactHeader
	socket         *net.UDPConn
	ua             *sipgo.UserAgent
	client         *sipgo.Client
	taken          *sipgo.DialogServerCache
	made           *sipgo.DialogClientCache
	served         chan struct{}  // closed when nobody reads the socket any more
	work           sync.WaitGroup // one for each call and each REFER
	ctx            context.Context
	stop           context.CancelFunc

	mu      sync.Mutex
	status  int           // by which it refuses calls; 0: it answers
	hangUp  time.Duration // after which it hangs up; 0: never
	log     []string
	changed chan struct{} // closed by each line of the log
	invites []*sip.Request
	calls   map[string]func(context.Context) error // that are up, by Call-ID: what hangs up
	pending int                                    // calls that ring
}

// farewell is how long a call may take to end when the phone is closed.
const farewell = 200 * time.Millisecond

// sdp is what the phone offers and answers: nobody hears anything.
const sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"

func newPhone(socket *net.UDPConn, user, password, proxy string) (*phone, error) {
	quiet := slog.New(slog.DiscardHandler)
	ua, err := sipgo.NewUA(sipgo.WithUserAgent(user), sipgo.WithUserAgentHostname(domain),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet)),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(quiet), sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})))
	if err != nil {
		return nil, err
	}
	client, err := sipgo.NewClient(ua, sipgo.WithClientLogger(quiet), sipgo.WithClientAddr(socket.LocalAddr().String()), sipgo.WithClientConnectionAddr(socket.LocalAddr().String()))
	if err != nil {
		return nil, err
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		return nil, err
	}
	contact := sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: user, Host: "127.0.0.1", Port: socket.LocalAddr().(*net.UDPAddr).Port}}
	p := &phone{user: user, password: password, proxy: proxy, socket: socket, ua: ua, contact: &contact, client: client,
		taken: sipgo.NewDialogServerCache(client, contact), made: sipgo.NewDialogClientCache(client, contact),
		served: make(chan struct{}), changed: make(chan struct{}), calls: map[string]func(context.Context) error{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	server.OnInvite(p.safe(p.invited))
	server.OnAck(p.safe(func(req *sip.Request, tx sip.ServerTransaction) { _ = p.taken.ReadAck(req, tx) }))
	server.OnBye(p.safe(p.leave))
	server.OnRefer(p.safe(p.referred))
	server.OnNoRoute(p.safe(func(req *sip.Request, tx sip.ServerTransaction) {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
	}))
	go func() { defer close(p.served); _ = server.ServeUDP(socket) }()
	// A request that is sent before the socket is served would bind it once more.
	for ua.TransportLayer().Pool("udp").Size() == 0 {
		time.Sleep(time.Millisecond)
	}
	return p, nil
}

// safe notes a request and handles it. sipgo recovers no panics.
func (p *phone) safe(handle sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		defer func() {
			if r := recover(); r != nil {
				p.notef("%s: %v", req.Method, r)
			}
		}()
		p.notef("<- %s", req.Method)
		handle(req, tx)
	}
}

// notef adds a line to the log.
func (p *phone) notef(format string, args ...any) {
	p.change(func() { p.log = append(p.log, fmt.Sprintf(format, args...)) })
}

// change changes what others wait for.
func (p *phone) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Register registers the phone at its proxy.
func (p *phone) Register(ctx context.Context) error {
	req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: domain})
	req.SetDestination(p.proxy)
	to := sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: p.user, Host: domain}}
	req.AppendHeader(&to)
	req.AppendHeader(p.contact.Clone())
	req.AppendHeader(sip.NewHeader("Expires", "3600"))
	res, err := p.client.Do(ctx, req)
	if err == nil && (res.StatusCode == 401 || res.StatusCode == 407) {
		res, err = p.client.DoDigestAuth(ctx, req, res, sipgo.DigestAuth{Username: p.user, Password: p.password})
	}
	if err == nil && res.StatusCode != 200 {
		err = fmt.Errorf("REGISTER: %d %s", res.StatusCode, res.Reason)
	}
	return err
}

// invited rings, then answers, or refuses.
func (p *phone) invited(req *sip.Request, tx sip.ServerTransaction) {
	if !p.begin() {
		return
	}
	defer p.work.Done()
	if req.To().Params.Has("tag") { // the call goes on as it was
		_ = tx.Respond(sip.NewSDPResponseFromRequest(req, []byte(sdp)))
		return
	}
	call, err := p.taken.ReadInvite(req, tx)
	if err != nil {
		p.notef("%v", err)
		_ = tx.Respond(sip.NewResponseFromRequest(req, 400, "Bad Request", nil))
		return
	}
	var status int
	var hangUp time.Duration
	p.change(func() { p.invites = append(p.invites, req.Clone()); p.pending++; status, hangUp = p.status, p.hangUp })
	defer p.change(func() { p.pending-- })
	p.notef("-> 180 Ringing")
	_ = call.Respond(180, "Ringing", nil)
	select {
	case <-time.After(ring):
	case <-call.Context().Done(): // the caller has hung up
		call.Close()
		return
	case <-p.ctx.Done():
		status = 603
	}
	if status != 0 {
		p.notef("-> %d", status)
		_ = call.Respond(status, map[int]string{486: "Busy Here", 603: "Decline"}[status], nil)
		call.Close()
		return
	}
	p.notef("-> 200 OK")
	if err := call.RespondSDP([]byte(sdp)); err != nil { // returns with the ACK
		p.notef("%v", err)
		call.Close()
		return
	}
	p.up(req.CallID().Value(), func(ctx context.Context) error { defer call.Close(); return call.Bye(ctx) }, hangUp)
}

// begin counts work that Close waits for. It reports false once the phone closes.
func (p *phone) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.work.Add(1)
	return true
}

// up notes a call that is up.
func (p *phone) up(callID string, bye func(context.Context) error, after time.Duration) {
	p.change(func() { p.calls[callID] = bye })
	if after == 0 {
		return
	}
	if !p.begin() {
		return
	}
	go func() {
		defer p.work.Done()
		select {
		case <-time.After(after):
			p.end(callID)
		case <-p.ctx.Done():
		}
	}()
}

// end hangs up a call.
func (p *phone) end(callID string) {
	var bye func(context.Context) error
	p.change(func() { bye = p.calls[callID]; delete(p.calls, callID) })
	if bye == nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	p.notef("-> BYE")
	_ = bye(ctx)
}

// leave takes the other side's BYE.
func (p *phone) leave(req *sip.Request, tx sip.ServerTransaction) {
	if p.taken.ReadBye(req, tx) != nil && p.made.ReadBye(req, tx) != nil {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 481, "Call/Transaction Does Not Exist", nil))
	}
	p.change(func() { delete(p.calls, req.CallID().Value()) })
}

// referred calls whom the phone is referred to, and reports how it goes (RFC 3515).
func (p *phone) referred(req *sip.Request, tx sip.ServerTransaction) {
	call, err := p.taken.MatchDialogRequest(req)
	to := req.ReferTo()
	if err != nil || to == nil {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 481, "Call/Transaction Does Not Exist", nil))
		return
	}
	res := sip.NewResponseFromRequest(req, 202, "Accepted", nil)
	res.AppendHeader(p.contact.Clone())
	_ = tx.Respond(res)
	by := req.GetHeader("Referred-By")
	target := to.Address
	if !p.begin() {
		return
	}
	go func() {
		defer p.work.Done()
		ctx, cancel := context.WithTimeout(p.ctx, patience)
		defer cancel()
		p.report(ctx, call, "SIP/2.0 100 Trying", "active;expires=60")
		p.call(ctx, target, by, func(res *sip.Response) {
			state := "active;expires=60"
			if res.StatusCode >= 200 {
				state = "terminated;reason=noresource"
			}
			p.report(ctx, call, res.StartLine(), state)
		})
	}()
}

func (p *phone) report(ctx context.Context, call *sipgo.DialogServerSession, line, state string) {
	req := sip.NewRequest(sip.NOTIFY, call.InviteRequest.Contact().Address)
	req.AppendHeader(sip.NewHeader("Event", "refer"))
	req.AppendHeader(sip.NewHeader("Subscription-State", state))
	req.AppendHeader(sip.NewHeader("Content-Type", "message/sipfrag;version=2.0"))
	req.AppendHeader(p.contact.Clone())
	req.SetBody([]byte(line + "\r\n"))
	if _, err := call.Do(ctx, req); err != nil {
		p.notef("NOTIFY: %v", err)
	}
}

// call calls a target and tells of each response that matters.
func (p *phone) call(ctx context.Context, target sip.Uri, by sip.Header, tell func(*sip.Response)) {
	target.Headers = nil
	req := sip.NewRequest(sip.INVITE, target)
	req.SetDestination(p.proxy)
	req.SetBody([]byte(sdp))
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	if by != nil {
		req.AppendHeader(sip.HeaderClone(by))
	}
	p.change(func() { p.pending++ })
	defer p.change(func() { p.pending-- })
	p.notef("-> INVITE")
	call, err := p.made.WriteInvite(ctx, req)
	if err == nil {
		err = call.WaitAnswer(ctx, sipgo.AnswerOptions{Username: p.user, Password: p.password, OnResponse: func(res *sip.Response) error {
			p.notef("<- %d %s", res.StatusCode, res.Reason)
			if res.StatusCode > 100 && res.StatusCode != 401 && res.StatusCode != 407 {
				tell(res)
			}
			return nil
		}})
	}
	if err == nil {
		p.notef("-> ACK")
		err = call.Ack(ctx)
	}
	if err != nil {
		p.notef("INVITE: %v", err)
		return
	}
	p.up(req.CallID().Value(), func(ctx context.Context) error { defer call.Close(); return call.Bye(ctx) }, 0)
}

// Log returns what the phone experienced, one line a message.
func (p *phone) Log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// AOR returns the phone's address of record.
func (p *phone) AOR() string { return "sip:" + p.user + "@" + domain }

// OnHook reports whether the phone is in no call.
func (p *phone) OnHook() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls) == 0 && p.pending == 0
}

// in reports whether the phone is in a call.
func (p *phone) in(callID string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[callID] != nil
}

// calledBy reports whether a user called, and was referred here by himself.
func (p *phone) calledBy(user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, invite := range p.invites {
		by := invite.GetHeader("Referred-By")
		if invite.From().Address.User == user && by != nil && strings.Contains(by.Value(), "sip:"+user+"@"+domain) {
			return true
		}
	}
	return false
}

// Wait returns once cond holds. It asks again after everything that happens to this
// phone, and only then.
func (p *phone) Wait(ctx context.Context, cond func() bool) error {
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
			return context.Cause(ctx)
		}
	}
}

// HangUp ends every call that is up.
func (p *phone) HangUp() {
	p.mu.Lock()
	var all []string
	for id := range p.calls {
		all = append(all, id)
	}
	p.mu.Unlock()
	for _, id := range all {
		p.end(id)
	}
}

// Close takes the phone off the network and returns when nothing of it runs.
func (p *phone) Close() {
	p.mu.Lock()
	p.stop()
	p.mu.Unlock()
	over := make(chan struct{})
	go func() { p.work.Wait(); close(over) }()
	// What a call still sends to take its leave may open a new socket, and wait for
	// a response of somebody who is gone.
	for waiting := true; waiting; {
		select {
		case <-over:
			waiting = false
		case <-time.After(farewell):
			p.ua.Close()
		}
	}
	p.ua.Close()
	p.socket.Close()
	<-p.served
}
