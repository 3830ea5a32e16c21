package sipflow

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// connect opens a connection to one of our sockets.
func (s *secured) connect(from, to string) net.Conn {
	s.t.Helper()
	c, err := s.net.DialFrom(from)(s.t.Context(), "tcp", to)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// closedAfter reads until the end of a connection.
func closedAfter(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	start := time.Now()
	c.SetReadDeadline(start.Add(time.Hour))
	if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection is still open: %v", err)
	}
	return time.Since(start)
}

// answers sends an OPTIONS over TLS and wants its response.
func answers(t *testing.T, c net.Conn) {
	t.Helper()
	p := &rawPhone{t: t, via: "SIP/2.0/TLS 10.0.0.66:5061"}
	p.use(c)
	p.wants(200, strings.Replace(stranger("OPTIONS", ""), "/UDP", "/TLS", 1))
}

func TestPeerWithoutPatienceForTLSIsCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		to, says string
		within   time.Duration
	}{
		"says nothing":                   {ourTLS, "", transport.HandshakeTime},
		"says half a hello":              {ourTLS, "\x16\x03\x01\x02\x00\x01", transport.HandshakeTime},
		"speaks SIP without TLS":         {ourTLS, strings.Replace(stranger("OPTIONS", ""), "/UDP", "/TLS", 1), time.Second},
		"speaks HTTP to the port of SIP": {ourTLS, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", time.Second},
		"WebSocket, says nothing":        {ourWS, "", transport.HandshakeTime},
		"WebSocket, half a request":      {ourWS, "GET / HTTP/1.1\r\nHost: a\r\n", transport.HandshakeTime},
		"WebSocket over TLS, nothing":    {ourWSS, "", transport.HandshakeTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSecured(t, siptest.NewNetwork(), phoneAddr)
				defer s.stop()
				conn := s.connect("10.0.0.66", c.to)
				io.WriteString(conn, c.says) //nolint:errcheck // closedAfter tells
				if d := closedAfter(t, conn); d > c.within+time.Second {
					t.Errorf("closed after %v", d)
				}
				answers(t, tls.Client(s.connect("10.0.0.66", ourTLS), s.dialer())) // others are served
			})
		})
	}
}

// Who opens connections and says nothing uses up what one address may have,
// not what others need.
func TestHandshakesOfOneAddressAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), phoneAddr)
		defer s.stop()
		var last net.Conn
		for range transport.MaxHandshakesOfOne + 1 {
			last = s.connect("10.0.0.66", ourTLS)
			synctest.Wait()
		}
		if d := closedAfter(t, last); d > time.Second {
			t.Errorf("one more than allowed was closed after %v", d)
		}
		answers(t, tls.Client(s.connect("10.0.0.67", ourTLS), s.dialer()))
		time.Sleep(transport.HandshakeTime + time.Second)
		answers(t, tls.Client(s.connect("10.0.0.66", ourTLS), s.dialer()))
		if n := s.sw.transport.Handshaking(); n != 0 {
			t.Errorf("%d handshakes are still counted", n)
		}
	})
}

func TestClientCertificates(t *testing.T) {
	for name, c := range map[string]struct {
		auth    tls.ClientAuthType
		cert    func(known, unknown *certAuthority) *tls.Certificate
		refused bool
	}{
		"none asked":        {auth: tls.NoClientCert},
		"asked, none shown": {auth: tls.RequestClientCert},
		"asked, a good one": {auth: tls.RequestClientCert, cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forNames("a.test"))
		}},
		"asked, an unknown": {auth: tls.RequestClientCert, cert: func(_, u *certAuthority) *tls.Certificate { return u.issue() },
			refused: true},
		"wanted, none shown": {auth: tls.RequireAnyClientCert, refused: true},
		"wanted, a good one": {auth: tls.RequireAnyClientCert, cert: func(k, _ *certAuthority) *tls.Certificate { return k.issue() }},
		"wanted, an unknown": {auth: tls.RequireAnyClientCert, cert: func(_, u *certAuthority) *tls.Certificate { return u.issue() },
			refused: true},
		"wanted, an old one": {auth: tls.RequireAnyClientCert, cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(valid(-2*time.Hour, -time.Hour))
		}, refused: true},
		"wanted, self-signed": {auth: tls.RequireAnyClientCert, cert: func(k, _ *certAuthority) *tls.Certificate {
			return (&certAuthority{t: k.t}).issue()
		}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSecured(t, siptest.NewNetwork(), phoneAddr, func(cfg *Config) { cfg.TLS.ClientAuth = c.auth })
				defer s.stop()
				config := s.dialer()
				if c.cert != nil {
					own := c.cert(s.ca, newAuthority(t, "another authority"))
					config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
				}
				conn := tls.Client(s.connect("10.0.0.66", ourTLS), config)
				if !c.refused {
					answers(t, conn)
					return
				}
				io.WriteString(conn, strings.Replace(stranger("OPTIONS", ""), "/UDP", "/TLS", 1)) //nolint:errcheck // the read tells
				conn.SetReadDeadline(time.Now().Add(time.Minute))
				if b, err := io.ReadAll(conn); len(b) > 0 || err == nil || strings.Contains(err.Error(), "timeout") {
					t.Errorf("got %q, %v", b, err)
				}
			})
		})
	}
}

// A renewed certificate is presented on new connections; the others go on.
func TestNewConnectionsHaveTheNewCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), phoneAddr)
		defer s.stop()
		serial := func() string {
			c := tls.Client(s.connect("10.0.0.66", ourTLS), s.dialer())
			answers(t, c)
			return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
		}
		old := tls.Client(s.connect("10.0.0.66", ourTLS), s.dialer())
		answers(t, old)
		was := serial()
		time.Sleep(time.Second)
		s.own = s.ca.issue(forNames("sipxrest.test"))
		if serial() == was {
			t.Error("the old certificate is presented")
		}
		answers(t, old)
	})
}

func TestMessagesInSmallTLSRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), phoneAddr)
		defer s.stop()
		c := tls.Client(s.connect("10.0.0.66", ourTLS), s.dialer())
		msg := strings.Replace(stranger("OPTIONS", ""), "/UDP", "/TLS", 1)
		for i := range len(msg) - 1 {
			if _, err := c.Write([]byte(msg[i : i+1])); err != nil {
				t.Fatal(err)
			}
		}
		p := &rawPhone{t: t, via: "SIP/2.0/TLS 10.0.0.66:5061"}
		p.use(c)
		p.send(msg[len(msg)-1:] + msg)
		for range 2 {
			if m := p.read(time.Second); m == nil || m.Code() != 200 {
				t.Errorf("answered %s", show(m))
			}
		}
	})
}

// browser opens a WebSocket to us by an HTTP request of the test's.
func (s *secured) browser(adjust func(*websocket.DialOptions)) (*websocket.Conn, *http.Response, error) {
	o := &websocket.DialOptions{Subprotocols: []string{"sip"}, HTTPHeader: http.Header{}, HTTPClient: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.net.DialFrom("10.0.0.66")(ctx, "tcp", ourWS)
		}}}}
	if adjust != nil {
		adjust(o)
	}
	return websocket.Dial(s.t.Context(), "ws://sipxrest.test:5080/any/path", o)
}

func TestWebSocketHandshake(t *testing.T) {
	for name, c := range map[string]struct {
		adjust func(*websocket.DialOptions)
		status int
	}{
		"program":          {status: 101},
		"page of our host": {func(o *websocket.DialOptions) { o.HTTPHeader.Set("Origin", "https://SIPxrest.test:5080") }, 101},
		"allowed page":     {func(o *websocket.DialOptions) { o.HTTPHeader.Set("Origin", "https://portal.test") }, 101},
		"foreign page":     {func(o *websocket.DialOptions) { o.HTTPHeader.Set("Origin", "https://evil.test") }, 403},
		"page by its own name": {func(o *websocket.DialOptions) {
			o.Host = "evil.test:5080"
			o.HTTPHeader.Set("Origin", "http://evil.test:5080")
		}, 421},
		"allowed page by a name that is not known": {func(o *websocket.DialOptions) {
			o.Host = "other.test"
			o.HTTPHeader.Set("Origin", "https://portal.test")
		}, 101},
		"program by any name":  {func(o *websocket.DialOptions) { o.Host = "other.test" }, 101},
		"page without a site":  {func(o *websocket.DialOptions) { o.HTTPHeader.Set("Origin", "null") }, 403},
		"no subprotocol":       {func(o *websocket.DialOptions) { o.Subprotocols = nil }, 400},
		"other subprotocol":    {func(o *websocket.DialOptions) { o.Subprotocols = []string{"xmpp", "sips"} }, 400},
		"several subprotocols": {func(o *websocket.DialOptions) { o.Subprotocols = []string{"xmpp", "sip"} }, 101},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSecured(t, siptest.NewNetwork(), phoneAddr, func(c *Config) {
					c.WebSocket.AllowedOrigins = []string{"https://portal.test"}
					c.WebSocket.OurName = func(host string) bool { return host == "sipxrest.test:5080" }
				})
				defer s.stop()
				conn, res, err := s.browser(c.adjust)
				if res == nil || res.StatusCode != c.status {
					t.Fatalf("answered %v, %v; want %d", res, err, c.status)
				}
				if err == nil {
					conn.CloseNow()
				}
			})
		})
	}
}

func TestWhatIsNoWebSocketIsAnswered(t *testing.T) {
	for says, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                                                     "HTTP/1.1 426 ",
		"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/WS a\r\n\r\n":                                    "HTTP/1.1 400 ",
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", transport.MaxUpgrade) + "\r\n": "",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSecured(t, siptest.NewNetwork(), phoneAddr)
			defer s.stop()
			c := s.connect("10.0.0.66", ourWS)
			io.WriteString(c, says) //nolint:errcheck // the read tells
			got, _ := io.ReadAll(c)
			if !strings.HasPrefix(string(got), want) || want == "" && len(got) > 0 && !bytes.HasPrefix(got, []byte("HTTP/1.1 4")) {
				t.Errorf("%.40q answered %q, want %s", says, got, want)
			}
		})
	}
}

func TestWebSocketMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), phoneAddr)
		defer s.stop()
		conn, _, err := s.browser(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow() //nolint:errcheck // the test's end
		options := strings.Replace(stranger("OPTIONS", ""), "/UDP", "/WS", 1)
		unmeasured := strings.Replace(options, "Content-Length: 0\r\n", "", 1)
		if unmeasured == options {
			t.Fatal("the message has no Content-Length to be left out")
		}
		answered := func(name string) {
			t.Helper()
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			_, b, err := conn.Read(ctx)
			if m, perr := wire.Parse(b); err != nil || perr != nil || m.Code() != 200 {
				t.Errorf("%s: answered %q, %v", name, b, err)
			}
		}
		for name, frame := range map[string]struct {
			kind websocket.MessageType
			text string
		}{"text": {websocket.MessageText, options}, "binary": {websocket.MessageBinary, options}, "no Content-Length": {websocket.MessageText,
			unmeasured}} {
			if err := conn.Write(t.Context(), frame.kind, []byte(frame.text)); err != nil {
				t.Fatal(err)
			}
			answered(name)
		}
		w, err := conn.Writer(t.Context(), websocket.MessageText) // each Write is a frame
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(options); i += 7 {
			w.Write([]byte(options[i:min(i+7, len(options))])) //nolint:errcheck // Close tells
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		answered("in pieces")
		conn.Write(t.Context(), websocket.MessageText, []byte("\r\n\r\n")) //nolint:errcheck // the read tells
		if _, b, err := conn.Read(t.Context()); err != nil || string(b) != "\r\n" {
			t.Errorf("a keep-alive was answered %q, %v", b, err)
		}
		conn.Write(t.Context(), websocket.MessageText, []byte("garbage")) //nolint:errcheck // has no response
		conn.Write(t.Context(), websocket.MessageText, []byte(options))   //nolint:errcheck // the read tells
		answered("after garbage")
		conn.Write(t.Context(), websocket.MessageText, bytes.Repeat([]byte("x"), wire.MaxMessage+1)) //nolint:errcheck // the read tells
		if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Errorf("after a message that is too long: %v", err)
		}
	})
}

// The time limit of what we have sent is none for a pong.
func TestWebSocketPeerMayPingLongAfterWeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), phoneAddr)
		defer s.stop()
		conn, _, err := s.browser(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow() //nolint:errcheck // the test's end
		options := strings.Replace(stranger("OPTIONS", ""), "/UDP", "/WS", 1)
		conn.Write(t.Context(), websocket.MessageText, []byte(options)) //nolint:errcheck // the read tells
		if _, _, err := conn.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		go conn.Read(t.Context()) //nolint:errcheck // takes the pong
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := conn.Ping(ctx); err != nil {
			t.Errorf("a ping a minute later: %v", err)
		}
	})
}

// hijacked keeps the connection that a WebSocket is made of.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := h.ResponseWriter.(http.Hijacker).Hijack()
	h.conn = c
	return c, rw, err
}

// A WebSocket of ours whose peer gives no sign of life is closed.
func TestWebSocketPeerMustAnswerPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), phoneName+":5061;transport=ws")
		defer s.stop()
		l := s.net.ListenTCP(phoneTLS)
		defer l.Close()
		closed := make(chan time.Duration, 1)
		peer := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Host != phoneName+":5061" || req.URL.Path != "/" || req.Header.Get("Sec-WebSocket-Protocol") != "sip" {
				t.Errorf("asked for %v", req)
				return
			}
			taken := &hijacked{ResponseWriter: w}
			conn, err := websocket.Accept(taken, req, &websocket.AcceptOptions{Subprotocols: []string{"sip"}})
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.CloseNow() //nolint:errcheck // the test's end
			_, b, err := conn.Read(t.Context())
			invite, perr := wire.Parse(b)
			if err != nil || perr != nil {
				t.Errorf("read %q, %v, %v", b, err, perr)
				return
			}
			p := &rawPhone{t: t}
			conn.Write(t.Context(), websocket.MessageText, []byte(p.response(invite, 180, "", ""))) //nolint:errcheck // the test tells
			start := time.Now()
			io.Copy(io.Discard, taken.conn) //nolint:errcheck // reads frames and sends none
			closed <- time.Since(start)
		})}
		go peer.Serve(l) //nolint:errcheck // until the listener is closed
		c := s.place(spec(func(s *Spec) { s.Timeout = 20 * time.Minute }))
		if d := <-closed; d < transport.KeepAliveMin || d > transport.KeepAliveMax+transport.PongTime+time.Second {
			t.Errorf("closed after %v", d)
		}
		c.stop(ErrHungUpByUser)
		<-c.Done()
	})
}

// The response to a request over TLS does not come without TLS.
func TestAnswerToSecureRequestMustBeSecure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), phoneName+":5061;transport=tls")
		defer s.stop()
		p := &rawPhone{t: t, via: "SIP/2.0/TLS " + phoneTLS, port: phoneTLS, listener: s.listenTLS(phoneTLS)}
		defer p.listener.Close()
		c := s.place(spec())
		p.accept()
		p.invite = p.expect("INVITE")
		fmt.Fprint(s.connect("10.0.0.66", ourAddr), p.response(p.invite, 486, "", ""))
		time.Sleep(time.Second)
		if got := s.status(); got != "" {
			t.Errorf("recorded %s", got)
		}
		p.send(p.response(p.invite, 603, "", ""))
		p.expect("ACK")
		<-c.Done()
	})
}
