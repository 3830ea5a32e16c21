// Package sipgofaults says why the service has a transaction layer and a parser of
// its own beside sipgo's: each test shows a fault that sipgo has, and fails once it
// has it no more. Then the fault goes, too, from "Why SIP parsing and transactions
// are our own" in docs/development.md, and what was built around it can be looked at
// again.
//
// What no test shows here needs minutes or a profile: client transactions that live
// for 32 s, a UDP pool that grows with the source addresses, a TLS server name that
// is the address.
package sipgofaults

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/miekg/dns"
)

// still fails the test of a fault that is gone.
func still(t *testing.T, fault bool, what string) {
	t.Helper()
	if !fault {
		t.Errorf("sipgo has put this right: %s. Take it off the list of reasons in docs/development.md, and remove this test", what)
	}
}

// peer is the other side of a call, whose messages a test writes.
type peer struct {
	*net.UDPConn
	t    *testing.T
	from net.Addr // of the last message
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{UDPConn: conn, t: t}
}

func (p *peer) port() int { return p.LocalAddr().(*net.UDPAddr).Port }

func (p *peer) uri(user string) string { return fmt.Sprintf("sip:%s@127.0.0.1:%d", user, p.port()) }

// next is the next message that begins with one of the words; "" when none comes in
// time.
func (p *peer) next(wait time.Duration, words ...string) string {
	deadline := time.Now().Add(wait)
	buffer := make([]byte, 64<<10)
	for {
		p.SetReadDeadline(deadline)
		n, from, err := p.ReadFrom(buffer)
		if err != nil {
			return ""
		}
		p.from = from
		for _, word := range words {
			if strings.HasPrefix(string(buffer[:n]), word+" ") {
				return string(buffer[:n])
			}
		}
	}
}

// field is the first value of a header field.
func field(message, name string) string {
	if all := fields(message, name); len(all) > 0 {
		return all[0]
	}
	return ""
}

func fields(message, name string) (values []string) {
	head, _, _ := strings.Cut(message, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(n), name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// respond sends a response. more are whole lines.
func (p *peer) respond(request, status, tag string, more ...string) {
	lines := []string{"SIP/2.0 " + status}
	for _, via := range fields(request, "Via") {
		lines = append(lines, "Via: "+via)
	}
	to := field(request, "To")
	if tag != "" && !strings.Contains(to, "tag=") {
		to += ";tag=" + tag
	}
	lines = append(lines, "From: "+field(request, "From"), "To: "+to, "Call-ID: "+field(request, "Call-ID"), "CSeq: "+field(request, "CSeq"))
	lines = append(append(lines, more...), "Content-Length: 0", "", "")
	if _, err := p.WriteTo([]byte(strings.Join(lines, "\r\n")), p.from); err != nil {
		p.t.Error(err)
	}
}

func (p *peer) contact() string { return "Contact: <" + p.uri("phone") + ">" }

// caller is a user agent of sipgo.
type caller struct {
	client  *sipgo.Client
	dialogs *sipgo.DialogClientCache
}

func newCaller(t *testing.T, options ...sipgo.UserAgentOption) *caller {
	t.Helper()
	ua, err := sipgo.NewUA(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ua.Close() })
	client, err := sipgo.NewClient(ua, sipgo.WithClientHostname("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	return &caller{client, sipgo.NewDialogClientCache(client, sip.ContactHeader{Address: sip.Uri{User: "caller", Host: "127.0.0.1"}})}
}

// call places a call to a peer, which responds as f writes in its own time.
func (c *caller) call(t *testing.T, p *peer, f func(invite string), headers ...sip.Header) (*sipgo.DialogClientSession, error) {
	t.Helper()
	invited := make(chan struct{})
	go func() {
		defer close(invited)
		if invite := p.next(2*time.Second, "INVITE"); invite != "" {
			f(invite)
		}
	}()
	session, err := c.dialogs.Invite(t.Context(), sip.Uri{User: "phone", Host: "127.0.0.1", Port: p.port()}, nil, headers...)
	<-invited
	return session, err
}

// connected is a call that has been answered and acknowledged, with its INVITE and
// ACK. more are lines of the 200.
func connected(t *testing.T, p *peer, more ...string) (session *sipgo.DialogClientSession, invite, ack string) {
	t.Helper()
	session, err := newCaller(t).call(t, p, func(request string) {
		invite = request
		p.respond(request, "200 OK", "a", append([]string{p.contact()}, more...)...)
	})
	if err == nil {
		err = session.WaitAnswer(t.Context(), sipgo.AnswerOptions{})
	}
	if err == nil {
		err = session.Ack(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return session, invite, p.next(2*time.Second, "ACK")
}

func TestResponsesLoseTheirOrder(t *testing.T) {
	p, c := newPeer(t), newCaller(t)
	const want = "[100 180 183 200]"
	for range 50 {
		session, err := c.call(t, p, func(invite string) {
			p.respond(invite, "100 Trying", "")
			p.respond(invite, "180 Ringing", "a")
			p.respond(invite, "183 Session Progress", "a")
			p.respond(invite, "200 OK", "a", p.contact())
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err = session.WaitAnswer(ctx, sipgo.AnswerOptions{OnResponse: func(res *sip.Response) error {
			got = append(got, res.StatusCode)
			return nil
		}})
		cancel()
		if err != nil || fmt.Sprint(got) != want {
			return
		}
		session.Close()
	}
	still(t, false, "responses that come back to back stay in order, and none is lost")
}

func TestAFurtherAnswerIsAcknowledgedByTheFirstDialog(t *testing.T) {
	p := newPeer(t)
	_, invite, _ := connected(t, p)
	p.respond(invite, "200 OK", "b", p.contact())
	ack := p.next(time.Second, "ACK")
	still(t, !strings.Contains(field(ack, "To"), "tag=b"), "the second 200 of a fork gets an ACK of its own dialog")
}

func TestWaitAnswerFailsAfterTenResponses(t *testing.T) {
	p, c := newPeer(t), newCaller(t)
	for range 10 { // on a busy machine it loses responses, and may see fewer than ten
		session, err := c.call(t, p, func(invite string) {
			for range 20 {
				p.respond(invite, "180 Ringing", "a")
				time.Sleep(10 * time.Millisecond)
			}
			p.respond(invite, "200 OK", "a", p.contact())
		})
		if err != nil {
			t.Fatal(err)
		}
		if err = session.WaitAnswer(t.Context(), sipgo.AnswerOptions{OnResponse: func(*sip.Response) error { return nil }}); err != nil {
			return
		}
		session.Close()
	}
	still(t, false, "WaitAnswer takes more than ten responses")
}

// cancelled has a call cancelled while it rings, and returns its INVITE and CANCEL.
func cancelled(t *testing.T, p *peer, headers []sip.Header, more ...string) (invite, cancel string) {
	t.Helper()
	session, err := newCaller(t).call(t, p, func(request string) {
		invite = request
		p.respond(request, "180 Ringing", "a", append([]string{p.contact()}, more...)...)
	}, headers...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = session.WaitAnswer(ctx, sipgo.AnswerOptions{OnResponse: func(*sip.Response) error { stop(); return nil }})
	}()
	cancel = p.next(2*time.Second, "CANCEL")
	p.respond(cancel, "200 OK", "a")
	p.respond(invite, "200 OK", "a", p.contact())
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("WaitAnswer does not end")
	}
	return invite, cancel
}

func TestA200ThatCrossesTheCancelIsLeftUp(t *testing.T) {
	p := newPeer(t)
	cancelled(t, p, nil)
	still(t, p.next(time.Second, "ACK", "BYE") == "", "a 200 that crosses the CANCEL is acknowledged and hung up")
}

func TestACancelHasTheRouteTwice(t *testing.T) {
	p := newPeer(t)
	route := fmt.Sprintf("<sip:127.0.0.1:%d;lr>", p.port())
	_, cancel := cancelled(t, p, []sip.Header{sip.NewHeader("Route", route)}, "Record-Route: "+route)
	still(t, len(fields(cancel, "Route")) > 1, "CANCEL has the Route of its INVITE")
}

func TestAnACKAfterAPRACKHasTheWrongNumber(t *testing.T) {
	p := newPeer(t)
	var invite string
	session, err := newCaller(t).call(t, p, func(request string) {
		invite = request
		p.respond(request, "183 Session Progress", "a", "Require: 100rel", "RSeq: 1", p.contact())
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		from := p.from
		prack := p.next(2*time.Second, "PRACK")
		p.respond(prack, "200 OK", "a")
		p.from = from
		p.respond(invite, "200 OK", "a", p.contact())
	}()
	err = session.WaitAnswer(t.Context(), sipgo.AnswerOptions{OnResponse: func(res *sip.Response) error {
		if res.StatusCode != 183 {
			return nil
		}
		prack := sip.NewRequest(sip.PRACK, sip.Uri{User: "phone", Host: "127.0.0.1", Port: p.port()})
		prack.AppendHeader(sip.NewHeader("RAck", "1 "+field(invite, "CSeq")))
		_, err := session.Do(t.Context(), prack)
		return err
	}})
	if err == nil {
		err = session.Ack(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	ack, want := p.next(2*time.Second, "ACK"), strings.Fields(field(invite, "CSeq"))[0]
	still(t, ack != "" && strings.Fields(field(ack, "CSeq"))[0] != want, "the ACK after a PRACK has the number of its INVITE")
}

func TestStrictRoutesLoseTheTarget(t *testing.T) {
	p := newPeer(t)
	_, _, ack := connected(t, p, fmt.Sprintf("Record-Route: <sip:router@127.0.0.1:%d>", p.port()))
	routes := strings.Join(fields(ack, "Route"), ",")
	still(t, ack != "" && !strings.Contains(routes, p.uri("phone")), "the target is the last Route behind a strict router (RFC 3261 "+
		"§12.2.1.1)")
}

func TestTheTargetIsNotRefreshed(t *testing.T) {
	p := newPeer(t)
	session, _, _ := connected(t, p)
	done := make(chan error, 1)
	go func() {
		req := sip.NewRequest(sip.INVITE, sip.Uri{User: "phone", Host: "127.0.0.1", Port: p.port()})
		_, err := session.Do(t.Context(), req)
		done <- err
	}()
	p.respond(p.next(2*time.Second, "INVITE"), "200 OK", "a", "Contact: <"+p.uri("moved")+">")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	go session.Bye(ctx)
	bye := p.next(2*time.Second, "BYE")
	still(t, bye != "" && !strings.HasPrefix(bye, "BYE "+p.uri("moved")), "a BYE goes to the Contact of the last 2xx")
}

// Challenges that a phone or proxy may send, for which sipgo has no
// credentials, or wrong ones.
func TestChallengesThatAreNotAnswered(t *testing.T) {
	for name, tt := range map[string]struct {
		challenges []string
		right      string // what the credentials have; "" for any
	}{
		"a second one": {[]string{`Digest realm="r", nonce="n", algorithm=AKAv1-MD5`, `Digest realm="r", nonce="n", algorithm=MD5`}, ""},
		"MD5-sess":     {[]string{`Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth"`}, ""},
		"auth-int":     {[]string{`Digest realm="r", nonce="n", algorithm=MD5, qop="auth-int, auth"`}, "qop=auth,"},
		"no quotes":    {[]string{`Digest realm=sipx.test, nonce=n.1, algorithm=MD5`}, ""},
		"capitals":     {[]string{`Digest REALM="r", NONCE="n", ALGORITHM=MD5`}, `realm="r"`},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			session, err := newCaller(t).call(t, p, func(invite string) {
				var lines []string
				for _, c := range tt.challenges {
					lines = append(lines, "WWW-Authenticate: "+c)
				}
				p.respond(invite, "401 Unauthorized", "a", lines...)
			})
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_ = session.WaitAnswer(ctx, sipgo.AnswerOptions{Username: "u", Password: "p"})
			}()
			again := field(p.next(500*time.Millisecond, "INVITE"), "Authorization")
			still(t, again == "" || !strings.Contains(again+",", tt.right), "the challenge is answered: "+again)
		})
	}
}

func TestALargeRequestIsAnError(t *testing.T) {
	p, c := newPeer(t), newCaller(t)
	req := sip.NewRequest(sip.MESSAGE, sip.Uri{User: "phone", Host: "127.0.0.1", Port: p.port()})
	req.SetBody(make([]byte, 1400))
	still(t, c.client.WriteRequest(req, sipgo.ClientRequestBuild) != nil,
		"a request of more than 1300 bytes is sent, by TCP or at least by UDP")
}

func TestWhatCannotBeParsedGetsNoResponse(t *testing.T) {
	ua, err := sipgo.NewUA()
	if err != nil {
		t.Fatal(err)
	}
	defer ua.Close()
	server, err := sipgo.NewServer(ua)
	if err != nil {
		t.Fatal(err)
	}
	server.OnNoRoute(func(req *sip.Request, tx sip.ServerTransaction) {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 404, "Not Found", nil))
	})
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	go server.ServeUDP(socket)
	p := newPeer(t)
	ask := func(max string) string {
		msg := fmt.Sprintf("OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s\r\nFrom: <sip:b>;tag=1\r\nTo: <sip:a>\r\nCall-ID: "+
			"x%s\r\nCSeq: %s OPTIONS\r\nContent-Length: 0\r\n\r\n",
			p.LocalAddr(), max, max, max)
		if _, err := p.WriteTo([]byte(msg), socket.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		return p.next(time.Second, "SIP/2.0")
	}
	if !strings.HasPrefix(ask("1"), "SIP/2.0 404") {
		t.Fatal("the server does not respond at all")
	}
	still(t, ask("one") == "", "a request whose CSeq cannot be read gets 400")
}

// A handler that panics ends the process.
func TestNothingRecoversPanics(t *testing.T) {
	if os.Getenv("SIPGO_PANICS") != "" {
		ua, _ := sipgo.NewUA()
		server, _ := sipgo.NewServer(ua)
		server.OnOptions(func(req *sip.Request, _ sip.ServerTransaction) { _ = req.ContentType().Value() }) // there is none
		socket, _ := net.ListenPacket("udp", "127.0.0.1:0")
		go server.ServeUDP(socket)
		conn, _ := net.Dial("udp", socket.LocalAddr().String())
		fmt.Fprintf(conn, "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK1\r\nFrom: <sip:b>;tag=1\r\nTo: <sip:a>\r\nCall-ID: "+
			"x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", conn.LocalAddr())
		time.Sleep(3 * time.Second)
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestNothingRecoversPanics$")
	cmd.Env = append(os.Environ(), "SIPGO_PANICS=1")
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "panic") {
		t.Fatalf("%v: %s", err, out)
	}
	still(t, err != nil, "a panic in a handler ends its request alone, or ContentType of a message without that header is no nil pointer")
}

// A WebSocket server may be known by its name only: a proxy of HTTP stands before it.
func TestAWebSocketIsAskedForByItsAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hosts := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			hosts <- req.Host
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	req := sip.NewRequest(sip.OPTIONS, sip.Uri{Host: "localhost", Port: port})
	req.SetTransport("WS")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, _ = newCaller(t).client.Do(ctx, req)
	select {
	case host := <-hosts:
		still(t, !strings.HasPrefix(host, "localhost"), "a WebSocket server is asked by the name in its URI")
	case <-ctx.Done():
		t.Error("it does not connect")
	}
}

func TestSRVIsAskedForOnlyAfterA(t *testing.T) {
	p := newPeer(t)
	resolver := nameServer(t, func(q dns.Question) dns.RR {
		head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 60}
		switch {
		case q.Qtype == dns.TypeSRV && q.Name == "_sip._udp.pbx.test.":
			return &dns.SRV{Hdr: head, Target: "node.pbx.test.", Port: uint16(p.port())}
		case q.Qtype == dns.TypeA:
			return &dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)}
		}
		return nil
	})
	c := newCaller(t, sipgo.WithUserAgentDNSResolver(resolver))
	_ = c.client.WriteRequest(sip.NewRequest(sip.OPTIONS, sip.Uri{User: "phone", Host: "pbx.test"}), sipgo.ClientRequestBuild)
	still(t, p.next(time.Second, "OPTIONS") == "", "a domain without a port is looked up by SRV first (RFC 3263 §4.2)")
}

// nameServer is a resolver that asks a name server in this process.
func nameServer(t *testing.T, answer func(dns.Question) dns.RR) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if rr := answer(q.Question[0]); rr != nil {
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

func TestTheParserLosesWhatARelayMustHandOn(t *testing.T) {
	parse := func(fields string) *sip.Request {
		t.Helper()
		m, err := sip.NewParser().ParseSIP([]byte("REFER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:b>;tag=1\r\nTo: " +
			"<sip:a>\r\nCall-ID: x\r\n" + fields + "\r\n\r\n"))
		if err != nil {
			t.Fatalf("%s: %v", fields, err)
		}
		return m.(*sip.Request)
	}
	refer := parse("CSeq: 1 REFER\r\nRefer-To: \"Bob\" <sip:c@h>;early-only\r\nRecord-Route: \"P\" <sip:p;lr>;x=1")
	to, route := refer.ReferTo(), refer.RecordRoute()
	still(t, to == nil || !strings.Contains(to.Value(), "early-only") || !strings.Contains(to.Value(), "Bob"),
		"Refer-To keeps its parameters and its display name")
	still(t, route == nil || !strings.Contains(route.Value(), "x=1") || !strings.Contains(route.Value(), `"P"`),
		"Record-Route keeps its parameters and its display name")
}

func TestTheParserReadsOtherwise(t *testing.T) {
	parse := func(text string) (*sip.Request, error) {
		m, err := sip.NewParser().ParseSIP([]byte(text))
		r, _ := m.(*sip.Request)
		return r, err
	}
	const head = "INFO sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:b>;tag=1\r\nCall-ID: x\r\n"
	m, err := parse(head + "To: <sip:a> ; tag=1\r\nCSeq: 1 INFO\r\n\r\n")
	tag := ""
	if err == nil && m.To() != nil {
		tag, _ = m.To().Params.Get("tag")
	}
	still(t, tag != "1", "blanks around the semicolon of a tag are none of it")

	m, err = parse(head + "To: <sip:a>\r\nCSeq: 1   INFO\r\n\r\n")
	still(t, err != nil || m.CSeq() == nil || m.CSeq().MethodName != sip.INFO, "blanks in a CSeq are passed over")

	m, err = parse(strings.ReplaceAll(head+"To: <sip:a>\r\nCSeq: 1 INFO\r\n\r\n", "\r\n", "\n"))
	still(t, err != nil || m.CallID() == nil, "lines that end with LF alone are read")

	h := sip.NewRequest(sip.INFO, sip.Uri{Host: "a"})
	h.AppendHeader(sip.NewHeader("X-A", "1"))
	h.AppendHeader(sip.NewHeader("X-A", "2"))
	h.RemoveHeader("x-a")
	still(t, len(h.GetHeaders("X-A")) > 0, "RemoveHeader removes every field, in any case")
}
