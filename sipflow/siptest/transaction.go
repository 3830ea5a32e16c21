package siptest

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// endpoint is the transaction layer of a phone (RFC 3261 §17, RFC 6026) over
// one socket. Everything in it happens under mu: the reader, the timers and
// the callers take turns.
type endpoint struct {
	conn  Conn
	local netip.AddrPort
	via   string // sent-protocol and sent-by, as in Via
	param string // of Contact, for the transport

	mu     sync.Mutex
	timers timers
	server map[string]*serverTx
	client map[string]*clientTx
	closed bool
	heard  string // the last session description that came
	reader sync.WaitGroup

	// Set before start, called with mu held.
	onRequest  func(*serverTx)                // a new request, other than ACK and CANCEL
	onACK      func(*sip.Request)             // an ACK for a 2xx, or a stray one
	onCancel   func(cancel, invite *serverTx) // invite is nil when there is none
	onGarbage  func(data []byte, err error)
	onRepeated func(*sip.Request)
}

func newEndpoint(conn Conn) *endpoint {
	local := addrOf(conn)
	e := &endpoint{
		conn: conn, local: local, via: "SIP/2.0/UDP " + local.String(),
		server: map[string]*serverTx{}, client: map[string]*clientTx{},
	}
	if s, ok := conn.(*StreamConn); ok {
		e.via = "SIP/2.0/" + strings.ToUpper(s.transport) + " " + local.String()
		e.param = ";transport=" + s.transport
	}
	return e
}

func addrOf(conn Conn) netip.AddrPort {
	a, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (e *endpoint) start() { e.reader.Go(e.read) }

func (e *endpoint) read() {
	buf := make([]byte, 65536)
	for {
		n, from, err := e.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if n <= 4 {
			continue // a keep-alive
		}
		m, err := parse(buf[:n])
		e.mu.Lock()
		if m != nil && strings.HasPrefix(string(m.Body()), "v=0") {
			e.heard = string(m.Body())
		}
		switch m := m.(type) {
		case *sip.Request:
			stampVia(m, from)
			m.SetSource(from.String())
			e.request(m)
		case *sip.Response:
			e.response(m)
		default:
			e.onGarbage(buf[:n], err)
		}
		e.mu.Unlock()
	}
}

// close ends the reader and every timer. Nothing is sent any more.
func (e *endpoint) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.conn.Close()
	e.reader.Wait()
	e.timers.close()
}

// after calls f under mu in d, unless the timer is stopped (also under mu) or
// the endpoint is closed before.
func (e *endpoint) after(d time.Duration, f func()) *timer {
	t := &timer{timers: &e.timers}
	t.event = e.timers.after(d, "", func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.closed && !t.stopped {
			f()
		}
	})
	return t
}

// timer is owned by its endpoint's lock.
type timer struct {
	timers  *timers
	event   *event
	stopped bool
}

func (t *timer) stop() {
	if t != nil && !t.stopped {
		t.stopped = true
		t.timers.stop(t.event)
	}
}

func (e *endpoint) write(data string, to netip.AddrPort) {
	if !e.closed {
		e.conn.WriteToUDPAddrPort([]byte(data), to) // loss is what retransmission is for
	}
}

// backoff is the interval after d for timers E, G and the repeated 2xx.
func backoff(d time.Duration) time.Duration { return min(2*d, t2) }

// serverTx is a request that we respond to.
type serverTx struct {
	e     *endpoint
	req   *sip.Request
	last  string // the last response, for retransmitted requests
	final int    // status code of the final response, 0 before
	again *timer // timer G
}

func serverKey(req *sip.Request, method sip.RequestMethod) string {
	via := req.Via()
	return via.Params.GetOr("branch", "") + " " + via.SentBy() + " " + string(method)
}

func (e *endpoint) request(req *sip.Request) {
	method := req.Method
	if method == sip.ACK {
		method = sip.INVITE
	}
	tx := e.server[serverKey(req, method)]
	switch {
	case req.Method == sip.ACK && tx != nil && tx.final >= 300:
		tx.again.stop()
	case req.Method == sip.ACK:
		e.onACK(req)
	case tx != nil:
		e.onRepeated(req)
		if tx.last != "" && (tx.final < 200 || tx.final >= 300 || method != sip.INVITE) {
			tx.send()
		}
	default:
		tx = &serverTx{e: e, req: req}
		key := serverKey(req, method)
		e.server[key] = tx
		if req.Method == sip.CANCEL {
			e.onCancel(tx, e.server[serverKey(req, sip.INVITE)])
		} else {
			e.onRequest(tx)
		}
	}
}

func (tx *serverTx) send() {
	if to, ok := replyTo(tx.req.Via()); ok {
		tx.e.write(tx.last, to)
	}
}

// respond sends a response and keeps it for retransmissions. Of several final
// responses (forks) the last is kept.
func (tx *serverTx) respond(res *sip.Response) {
	tx.last = res.String()
	tx.send()
	if res.StatusCode < 200 {
		return
	}
	if tx.final == 0 { // timers H, J, L
		key := serverKey(tx.req, tx.req.Method)
		tx.e.after(64*t1, func() {
			tx.again.stop()
			delete(tx.e.server, key)
		})
	}
	tx.final = res.StatusCode
	if tx.req.Method == sip.INVITE && tx.final >= 300 {
		tx.repeat(t1)
	}
}

func (tx *serverTx) repeat(d time.Duration) {
	tx.again = tx.e.after(d, func() {
		tx.send()
		tx.repeat(backoff(d))
	})
}

// clientTx is a request that we sent.
type clientTx struct {
	e      *endpoint
	req    *sip.Request
	to     netip.AddrPort
	data   string
	on     func(*sip.Response) // nil when there was no response in 64*T1
	heard  bool                // any response
	final  int
	again  *timer // timers A and E
	giveUp *timer // timers B and F
	ack    string // for a non-2xx, to be repeated
}

// send starts a transaction: it puts Via and Max-Forwards on top and
// retransmits until a response comes.
func (e *endpoint) send(req *sip.Request, to netip.AddrPort, on func(*sip.Response)) *clientTx {
	if len(req.GetHeaders("Max-Forwards")) == 0 {
		req.PrependHeader(sip.NewHeader("Max-Forwards", "70"))
	}
	req.PrependHeader(sip.NewHeader("Via", e.via+";branch="+newBranch()+";rport"))
	return e.sendAs(req, to, on)
}

// sendAs is send for a request that has its Via.
func (e *endpoint) sendAs(req *sip.Request, to netip.AddrPort, on func(*sip.Response)) *clientTx {
	req.SetBody(req.Body())
	tx := &clientTx{e: e, req: req, to: to, data: req.String(), on: on}
	key := clientKey(req)
	e.client[key] = tx
	e.write(tx.data, to)
	tx.repeat(t1)
	tx.giveUp = e.after(64*t1, func() {
		delete(e.client, key)
		tx.again.stop()
		if !tx.heard || req.Method != sip.INVITE {
			tx.on(nil)
		}
	})
	return tx
}

func clientKey(m sip.Message) string {
	return m.Via().Params.GetOr("branch", "") + " " + string(m.CSeq().MethodName)
}

func (tx *clientTx) repeat(d time.Duration) {
	tx.again = tx.e.after(d, func() {
		tx.e.write(tx.data, tx.to)
		if tx.req.Method == sip.INVITE {
			tx.repeat(2 * d)
		} else {
			tx.repeat(backoff(d))
		}
	})
}

func (e *endpoint) response(res *sip.Response) {
	key := clientKey(res)
	tx := e.client[key]
	if tx == nil {
		return
	}
	invite := tx.req.Method == sip.INVITE
	switch {
	case res.StatusCode < 200:
		if tx.final != 0 {
			return
		}
		if invite { // timer B is over; the user agent decides how long to wait
			tx.again.stop()
			tx.giveUp.stop()
		}
		tx.heard = true
		tx.on(res)
	case tx.final == 0:
		tx.heard, tx.final = true, res.StatusCode
		tx.again.stop()
		tx.giveUp.stop()
		e.after(64*t1, func() { delete(e.client, key) }) // timers D, K, M
		if invite && res.StatusCode >= 300 {
			tx.ack = ackFor(tx.req, res)
			e.write(tx.ack, tx.to)
		}
		tx.on(res)
	case invite && tx.ack != "" && res.StatusCode >= 300:
		e.write(tx.ack, tx.to)
	case invite && tx.final < 300 && res.StatusCode < 300:
		tx.on(res) // repeated, or from another fork
	}
}

// ackFor is the ACK for a final response other than 2xx (RFC 3261 §17.1.1.3).
func ackFor(invite *sip.Request, res *sip.Response) string {
	ack := sip.NewRequest(sip.ACK, invite.Recipient)
	ack.AppendHeader(sip.NewHeader("Via", invite.Via().Value()))
	copyHeaders(ack, invite, "Max-Forwards", "Route", "From")
	ack.AppendHeader(sip.NewHeader("To", res.To().Value()))
	copyHeaders(ack, invite, "Call-ID")
	ack.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.ACK})
	ack.SetBody(nil)
	return ack.String()
}

// cancel asks for the end of a pending INVITE (RFC 3261 §9.1). The caller has
// seen a provisional response.
func (tx *clientTx) cancel(reason string, on func(*sip.Response)) {
	req := sip.NewRequest(sip.CANCEL, tx.req.Recipient)
	req.AppendHeader(sip.NewHeader("Via", tx.req.Via().Value()))
	copyHeaders(req, tx.req, "Max-Forwards", "Route", "From", "To", "Call-ID")
	req.AppendHeader(&sip.CSeqHeader{SeqNo: tx.req.CSeq().SeqNo, MethodName: sip.CANCEL})
	if reason != "" {
		req.AppendHeader(sip.NewHeader("Reason", reason))
	}
	tx.e.sendAs(req, tx.to, on)
}

func copyHeaders(to, from sip.Message, names ...string) {
	for _, name := range names {
		for _, h := range from.GetHeaders(name) {
			to.AppendHeader(sip.NewHeader(h.Name(), h.Value()))
		}
	}
}
