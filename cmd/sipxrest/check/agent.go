package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"sipxrest/internal/digest"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/sipflow/transport"
)

// An agent sends probes by sipgo, a SIP stack that shares no code with ours: what is
// wrong with ours, and hides behind a server that is lenient, shows so.
//
// What sipgo cannot do well goes by the switchboard: servers of WebSocket, which it
// asks by their address and not by their name, and addresses with a zone, which it
// drops. Where it cannot be trusted with what strangers send, it is kept from it:
// a guard reads every message first.
type agent struct {
	sw       *sipflow.Switchboard
	tls      sipflow.TLS
	realm    string // the only one that gets credentials
	external string // host that Via names; "" for that of the socket
}

const (
	// connectTime bounds the opening of a TCP connection, secureTime that of one by
	// TLS. Both are shorter than optionsWait, so that the reason is told.
	connectTime = 2 * time.Second
	secureTime  = 3500 * time.Millisecond
	// resends is how often a request is sent again with credentials. The Proof
	// ends it earlier; this is for a server that challenges forever.
	resends = 4
)

// An unreadableError is a response that sipgo cannot read.
type unreadableError struct{ err error }

func (e *unreadableError) Error() string { return e.err.Error() }

// errNotSent means that a probe was left to the switchboard.
var errNotSent = errors.New("sipgo cannot send this")

// Some parts of sipgo know the default logger only, which would write into the lines
// of check. It can be set before the first use alone.
func init() { sip.SetDefaultLogger(slog.New(slog.DiscardHandler)) }

// probe sends a probe to a hop, and once more with credentials where it is asked for
// them. It waits as long as ctx; no socket is open when it returns.
// What comes back is as of Switchboard.Probe.
func (a *agent) probe(ctx context.Context, hop resolve.Hop, p sipflow.Probe) (found *sipflow.Found, err error) {
	defer func() {
		if r := recover(); r != nil {
			found, err = nil, &unreadableError{fmt.Errorf("sipgo: %v", r)}
		}
	}()
	at, local, err := a.local(hop)
	if err != nil {
		return nil, err
	}
	req, err := a.request(hop, p, local)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	heard := &ear{hop: hop, stop: stop}
	log := slog.New(heard)
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgenTLSConfig(a.tls.Client(hop)),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(log), sip.WithTransportLayerReadFilter(heard.guard)),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(log), sip.WithTransactionLayerTerminateOnConnClose(),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})))
	if err != nil {
		return nil, err
	}
	defer ua.Close()
	// A write has no limit of its own there.
	defer context.AfterFunc(ctx, func() { ua.Close() })()
	options := []sipgo.ClientOption{sipgo.WithClientLogger(log), sipgo.WithClientNAT(), sipgo.WithClientHostname(bracketed(a.external, local))}
	if hop.Transport == "udp" {
		options = append(options, sipgo.WithClientConnectionAddr(netip.AddrPortFrom(local, 0).String()))
	}
	client, err := sipgo.NewClient(ua, options...)
	if err != nil {
		return nil, err
	}
	res, err := heard.or(ask(ctx, client, hop, req))
	proof := sipflow.NewProof(a.realm, p.As)
	found = &sipflow.Found{}
	for range resends {
		if err != nil {
			return nil, heard.explain(ctx, err, at)
		}
		found.Code, found.Reason, found.Denied = res.StatusCode, res.Reason, ""
		if res.StatusCode != 401 && res.StatusCode != 407 {
			break
		}
		challenges := challengesOf(res)
		if found.Realm == "" {
			found.Realm = realmOf(challenges)
		}
		if p.As.Address == "" {
			return found, nil
		}
		c, credentials, denied := proof.Answer(challenges, p.Method, req.Recipient.String())
		if denied != "" {
			found.Denied = denied
			return found, nil
		}
		heard.forget()
		res, err = heard.or(again(ctx, client, req, res, &c, p.As.Credentials, credentials))
	}
	if err != nil {
		return nil, heard.explain(ctx, err, at)
	}
	found.Bindings = len(res.GetHeaders("Contact"))
	return found, nil
}

// ask sends a request by a new connection and returns the final response.
func ask(ctx context.Context, client *sipgo.Client, hop resolve.Hop, req *sip.Request) (*sip.Response, error) {
	limit := connectTime
	if hop.Transport == "tls" {
		limit = secureTime
	}
	connect, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tx, err := client.TransactionRequest(connect, req)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if res != nil && !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, tx.Err()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// again sends a request again with credentials. sipgo makes them where it can: it
// knows passwords only, and no "-sess". It takes the first challenge and reads not
// all that servers write, so it is given the one that was chosen, written anew.
func again(ctx context.Context, client *sipgo.Client, req *sip.Request, res *sip.Response, c *digest.Challenge, cred sipflow.Credentials, ours string) (*sip.Response, error) {
	asks, answers := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		asks, answers = "Proxy-Authenticate", "Proxy-Authorization"
	}
	if algorithm, known := digest.AlgorithmOf(c.Algorithm); known && cred.Password != "" && cred.Stored(algorithm) == "" &&
		!strings.ContainsAny(c.Realm+c.Nonce+c.Opaque+cred.Username, `"\`) {
		plain := sip.NewResponse(res.StatusCode, res.Reason)
		plain.AppendHeader(sip.NewHeader(asks, plainly(c)))
		return client.DoDigestAuth(ctx, req, plain, sipgo.DigestAuth{Username: cred.Username, Password: cred.Password})
	}
	req.RemoveHeader(answers)
	req.AppendHeader(sip.NewHeader(answers, ours))
	req.CSeq().SeqNo++
	req.RemoveHeader("Via")
	return client.Do(ctx, req, sipgo.ClientRequestAddVia)
}

// plainly writes a challenge as every reader takes it.
func plainly(c *digest.Challenge) string {
	text := fmt.Sprintf(`Digest realm="%s", nonce="%s"`, c.Realm, c.Nonce)
	if c.Opaque != "" {
		text += fmt.Sprintf(`, opaque="%s"`, c.Opaque)
	}
	if c.Algorithm != "" {
		text += ", algorithm=" + c.Algorithm
	}
	if c.QOP != nil {
		text += `, qop="auth"`
	}
	return text
}

// request writes a probe.
func (a *agent) request(hop resolve.Hop, p sipflow.Probe, local netip.Addr) (*sip.Request, error) {
	suffix := ""
	if hop.Transport != "udp" {
		suffix = ";transport=" + hop.Transport
	}
	target := "sip:" + hop.Addr.String() + suffix
	if p.Domain != "" {
		target = "sip:" + p.Domain
	}
	from := "sip:callcontroller@" + bracketed(a.external, local)
	if p.As.Address != "" {
		from = "sip:" + p.As.Address
	}
	to := target
	if p.Method == "REGISTER" {
		to = from
	}
	var uris [3]sip.Uri
	for i, text := range []string{target, from, to} {
		// An address that it would write in another way is another address.
		if err := sip.ParseUri(text, &uris[i]); err != nil || uris[i].String() != text {
			return nil, errNotSent
		}
	}
	req := sip.NewRequest(sip.RequestMethod(p.Method), uris[0])
	req.SetTransport(strings.ToUpper(hop.Transport))
	req.SetDestination(hop.Addr.String())
	if p.Domain != "" {
		req.AppendHeader(sip.NewHeader("Route", "<sip:"+hop.Addr.String()+suffix+";lr>"))
	}
	f := &sip.FromHeader{Address: uris[1]}
	f.Params.Add("tag", sip.GenerateTagN(16))
	req.AppendHeader(f)
	req.AppendHeader(&sip.ToHeader{Address: uris[2]})
	req.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	return req, nil
}

// local returns from which address a hop is asked: by UDP that of the first socket
// that reaches it, as the service would, of a socket on every address the one that
// leads there. at is that socket, for people.
func (a *agent) local(hop resolve.Hop) (at string, local netip.Addr, err error) {
	to := hop.Addr.Addr().Unmap()
	switch {
	case hop.Addr.Addr().Zone() != "":
		return "", local, errNotSent
	case hop.Transport == "tcp", hop.Transport == "tls":
		return "", leading(hop.Addr), nil
	case hop.Transport != "udp":
		return "", local, errNotSent
	}
	for _, socket := range a.sw.Addrs() {
		addr, udp := strings.CutPrefix(socket, "udp:")
		bound, err := netip.ParseAddrPort(addr)
		if !udp || err != nil {
			continue
		}
		own := bound.Addr()
		switch {
		case own.IsUnspecified() && (own.Is6() || to.Is4()):
			if l := leading(hop.Addr); l.IsValid() {
				return socket, l, nil
			}
			continue
		case own.Unmap().Is4() != to.Is4() || own.IsUnspecified():
			continue
		}
		at, local = socket, own.Unmap()
		if !local.IsLoopback() || to.IsLoopback() { // or else perhaps another one does better
			break
		}
	}
	if !local.IsValid() || local.Zone() != "" {
		return "", local, errNotSent // the switchboard says why
	}
	return at, local, nil
}

// leading is our address on the way to another; the zero one if there is no way.
func leading(to netip.AddrPort) netip.Addr {
	c, err := net.Dial("udp", to.String()) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// bracketed writes the host that Via names.
func bracketed(external string, local netip.Addr) string {
	switch {
	case strings.Contains(external, ":"):
		return "[" + strings.Trim(external, "[]") + "]"
	case external != "":
		return external
	case local.Is6():
		return "[" + local.String() + "]"
	case !local.IsValid():
		return "invalid" // the connection fails for the same reason
	}
	return local.String()
}

// challengesOf are the challenges of a 401 or 407.
func challengesOf(res *sip.Response) (all []string) {
	name := "WWW-Authenticate"
	if res.StatusCode == 407 {
		name = "Proxy-Authenticate"
	}
	for _, h := range res.GetHeaders(name) {
		all = append(all, h.Value())
	}
	return all
}

// realmOf is the realm of the first challenge that can be read.
func realmOf(challenges []string) string {
	for _, v := range challenges {
		if c, ok := digest.ParseChallenge(v); ok {
			return c.Realm
		}
	}
	return ""
}

// An ear stands between sipgo and its sockets. As sipgo's logger it learns how a
// connection ended, which no function of sipgo tells. As its read filter it keeps
// from it what would end the process: nothing there recovers panics.
type ear struct {
	hop  resolve.Hop
	stop context.CancelFunc // ends the wait for a response that cannot be read

	mu         sync.Mutex
	unreadable error // of what the server sent
	ended      error // the last error that sipgo logged
	final      *sip.Response
	stream     *sip.ParserStream
	partial    bool // the stream has begun a message
}

// Enabled implements slog.Handler.
func (e *ear) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

// WithAttrs implements slog.Handler.
func (e *ear) WithAttrs([]slog.Attr) slog.Handler { return e }

// WithGroup implements slog.Handler.
func (e *ear) WithGroup(string) slog.Handler { return e }

// Handle implements slog.Handler.
func (e *ear) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && a.Key == "error" {
			e.mu.Lock()
			e.ended = err
			e.mu.Unlock()
		}
		return true
	})
	return nil
}

// guard is a sip.TransportReadFilter that lets pass whole responses that can be read.
// Of a server that sends requests to a probe nothing is expected.
func (e *ear) guard(from sip.TransportReadProps, data []byte) (pass []byte, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	datagram := from.Transport == "UDP"
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("sipgo: %v", r)
		}
		if err != nil && (!datagram || e.from(from.RemoteAddr)) {
			e.unreadable = err
			e.stop()
		}
		if err != nil {
			pass = nil
		}
		if datagram { // the next one may be what we wait for
			err = nil
		}
	}()
	if !e.partial && len(strings.Trim(string(data), "\r\n")) == 0 {
		return nil, nil // a keep-alive
	}
	if datagram {
		m, err := sip.NewParser().ParseSIP(data)
		if err != nil {
			return nil, err
		}
		return e.passing(nil, m)
	}
	if e.stream == nil {
		e.stream = sip.NewParser().NewSIPStream()
	}
	var wrong error
	err = e.stream.ParseSIPStream(data, func(m sip.Message) {
		var err error
		if pass, err = e.passing(pass, m); err != nil {
			wrong = err
		}
	})
	if e.partial = errors.Is(err, sip.ErrParseSipPartial); e.partial {
		err = nil
	}
	return pass, errors.Join(err, wrong)
}

// or returns the final response that has come where sipgo says that there is none:
// of a response and the end of its connection it may handle the end first.
func (e *ear) or(res *sip.Response, err error) (*sip.Response, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if res == nil && errors.Is(err, sip.ErrTransactionTransport) && e.final != nil {
		return e.final, nil
	}
	if res == nil && err == nil {
		err = sip.ErrTransactionTerminated
	}
	return res, err
}

// forget forgets the response to a request that is sent again.
func (e *ear) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.final = nil
}

// from reports whether an address is that of the server that is asked.
func (e *ear) from(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	return err == nil && at.Addr().Unmap() == e.hop.Addr.Addr().Unmap()
}

// passing appends a response that sipgo's transactions take. Its panics are the
// caller's to recover.
func (e *ear) passing(b []byte, m sip.Message) ([]byte, error) {
	res, ok := m.(*sip.Response)
	if !ok {
		return b, nil
	}
	// What it writes is read once more: it may be another message.
	text := res.String()
	again, err := sip.NewParser().ParseSIP([]byte(text))
	if err != nil {
		return b, err
	}
	if _, err := sip.ClientTxKeyMake(again); err != nil {
		return b, err
	}
	res, ok = again.(*sip.Response)
	if !ok {
		return b, errors.New("it is another message once written again")
	}
	if !res.IsProvisional() {
		e.final = res
	}
	return append(b, text...), nil
}

// explain says why no response came, as the switchboard does.
func (e *ear) explain(ctx context.Context, err error, at string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var op *net.OpError
	switch {
	case e.unreadable != nil:
		return &unreadableError{e.unreadable}
	case errors.Is(err, syscall.EINVAL) && strings.HasPrefix(at, "udp:127.") && !e.hop.Addr.Addr().IsLoopback():
		return fmt.Errorf("%s cannot be reached from %s, for loopback leads to this machine only: add an address of the network to sip.listen: %w", e.hop.Addr, at, syscall.EINVAL)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil, errors.Is(err, sip.ErrTransactionTransport):
		const lost = "the connection was closed before an answer came"
		for _, why := range []error{e.ended, err} {
			if errors.As(why, &op) && op.Op == "remote error" {
				return fmt.Errorf("%s: %w", lost, transport.ExplainHandshake(op))
			}
		}
		return errors.New(lost)
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if strings.HasPrefix(inner.Error(), "TLS handshake error: ") {
			return fmt.Errorf("TLS: %w", transport.ExplainHandshake(errors.Unwrap(inner)))
		}
	}
	if errors.As(err, &op) {
		plain := *op
		if plain.Op == "dial" {
			plain.Source = nil // a nil pointer of sipgo's, which is printed
		}
		return &plain
	}
	return err
}
