package check

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/internal/digest"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/sipflow/wire"
)

// agentOf is an agent beside a switchboard with these sockets.
func agentOf(t *testing.T, secure sipflow.TLS, listen ...string) *agent {
	t.Helper()
	sw, err := sipflow.New(sipflow.Config{Listen: listen, Realm: "sipx.test", TLS: secure}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sw.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return &agent{sw: sw, tls: secure, realm: "sipx.test"}
}

// A rawServer answers requests with texts of its own.
type rawServer struct {
	hop      resolve.Hop
	requests chan *wire.Message
}

// serve starts a server at host. respond returns what is sent for the n-th request:
// nothing at all if it is "", and "close" closes the connection.
func serve(t *testing.T, transport, host string, secure *tls.Config, respond func(n int, req *wire.Message) string) *rawServer {
	t.Helper()
	s := &rawServer{requests: make(chan *wire.Message, 100)}
	var addr net.Addr
	done := make(chan struct{})
	n := 0
	answer := func(m *wire.Message) string {
		s.requests <- m
		n++
		return respond(n, m)
	}
	if transport == "udp" {
		c, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
		if err != nil {
			noSocket(t, host, err)
		}
		t.Cleanup(func() { c.Close(); <-done })
		addr = c.LocalAddr()
		go func() {
			defer close(done)
			b := make([]byte, 65536)
			for {
				k, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				m, err := wire.Parse(bytes.Clone(b[:k]))
				if err != nil {
					t.Errorf("%v in\n%s", err, b[:k])
					continue
				}
				if text := answer(m); text != "" {
					c.WriteTo([]byte(text), from)
				}
			}
		}()
	} else {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			noSocket(t, host, err)
		}
		if secure != nil {
			l = tls.NewListener(l, secure)
		}
		t.Cleanup(func() { l.Close(); <-done })
		addr = l.Addr()
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				for r := bufio.NewReader(c); ; {
					m, err := wire.ReadMessage(r, func() error { return nil })
					if err != nil {
						break
					}
					text, closes := strings.CutSuffix(answer(m), "close")
					io.WriteString(c, text)
					if closes {
						break
					}
				}
				c.Close()
			}
		}()
	}
	s.hop = resolve.Hop{Transport: transport, Addr: netip.MustParseAddrPort(addr.String()), Name: "localhost"}
	return s
}

// response is a usual response with further lines.
func response(req *wire.Message, status string, lines ...string) string {
	text := "SIP/2.0 " + status + "\r\n"
	for _, h := range []struct {
		name string
		id   wire.Header
	}{{"Via", wire.Via}, {"From", wire.From}, {"To", wire.To}, {"Call-ID", wire.CallID}, {"CSeq", wire.CSeq}} {
		text += h.name + ": " + string(req.Get(h.id)) + "\r\n"
	}
	for _, l := range lines {
		text += l + "\r\n"
	}
	return text + "Content-Length: 0\r\n\r\n"
}

func certificateFor(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	certPEM, keyPEM, err := web.MakeSelfSigned(names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return pair, roots
}

// noSocket ends a test whose server cannot listen: some machines have no IPv6.
func noSocket(t *testing.T, host string, err error) {
	t.Helper()
	if host == "::1" {
		t.Skip("this machine has no IPv6: ", err)
	}
	t.Fatal(err)
}

// sockets counts the open sockets of this process.
func sockets(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("only Linux tells a process its sockets: ", err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

var alice = sipflow.Account{Address: "201@sipx.test", Credentials: sipflow.Credentials{Username: "201", Password: "secret"}}

func TestProbesAreThoseOfAnotherStack(t *testing.T) {
	pair, roots := certificateFor(t, "localhost")
	secure := sipflow.TLS{Authorities: func() *x509.CertPool { return roots }, Certificate: func() *tls.Certificate { return &pair }}
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, transport := range []string{"udp", "tcp", "tls"} {
			for _, p := range []sipflow.Probe{{Method: "OPTIONS"}, {Method: "OPTIONS", Domain: "sipx.test"},
				{Method: "REGISTER", Domain: "sipx.test", As: alice}} {
				t.Run(fmt.Sprint(transport, " ", host, " ", p.Method, p.Domain), func(t *testing.T) {
					var seen *tls.Config
					if transport == "tls" { // it wants our certificate, too
						seen = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
					}
					s := serve(t, transport, host, seen, func(_ int, req *wire.Message) string {
						return response(req, "200 Fine", "Contact: <sip:a@h>;expires=3, \"B, c\" <sip:b@h>", "m: <sip:c@h>")
					})
					a := agentOf(t, secure, "udp:"+net.JoinHostPort(host, "0"))
					before := sockets(t)
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					defer cancel()
					found, err := a.probe(ctx, s.hop, p)
					if err != nil {
						t.Fatal(err)
					}
					if found.Code != 200 || found.Reason != "Fine" || found.Bindings != 3 {
						t.Errorf("%+v", found)
					}
					req := <-s.requests
					text := string(req.Raw())
					self := "sip:" + s.hop.Addr.String()
					if transport != "udp" {
						self += ";transport=" + transport
					}
					uri, from, route := self, "<sip:callcontroller@", ""
					if p.Domain != "" {
						uri, route = "sip:sipx.test", "\r\nRoute: <"+self+";lr>\r\n"
					}
					if p.As.Address != "" {
						from = "<sip:201@sipx.test>;tag="
					}
					for _, want := range []string{p.Method + " " + uri + " SIP/2.0\r\n", "\r\nFrom: " + from, route, ";rport", "\r\nMax-Forwards: 70\r\n",
						"\r\nAccept: application/sdp\r\n",
						"branch=z9hG4bK.", "\r\nVia: SIP/2.0/" + strings.ToUpper(transport) + " " + net.JoinHostPort(host, "")} {
						if !strings.Contains(text, want) {
							t.Errorf("%q is missing in\n%s", want, text)
						}
					}
					if strings.Contains(text, "\r\nContact:") || strings.Contains(text, "\r\nExpires:") || strings.Count(text, "\r\nVia:") != 1 {
						t.Errorf("it could change what is registered:\n%s", text)
					}
					noneLeft(t, before)
				})
			}
		}
	}
}

// noneLeft fails a test after which sockets are open that were not before. Those of
// the server's side close a moment later.
func noneLeft(t *testing.T, before int) {
	t.Helper()
	for range 100 {
		if sockets(t) <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d sockets are open, %d were", sockets(t), before)
}

// What sipgo's own Digest gets wrong must not reach the server.
func TestChallengesAreAnswered(t *testing.T) {
	const sha = "SHA-256"
	hash := sipflow.Credentials{Username: "201", HA1: digest.MD5.HA1("201", "sipx.test", "secret")}
	for name, tt := range map[string]struct {
		cred       sipflow.Credentials
		status     string
		challenges []string
		algorithm  string
		denied     string
	}{
		"usual": {alice.Credentials, "401 Unauthorized", []string{`Digest realm="sipx.test", nonce="n1", algorithm=MD5, qop="auth"`},
			"MD5", ""},
		"RFC 2069": {alice.Credentials, "407 Proxy", []string{`Digest realm="sipx.test", nonce="n1"`}, "MD5", ""},
		"SHA-256": {alice.Credentials, "407 Proxy",
			[]string{`Digest realm="sipx.test", nonce="n1", algorithm=SHA-256, qop="auth", opaque="o"`}, sha, ""},
		"a second one": {alice.Credentials, "401 No", []string{`Digest realm="sipx.test", nonce="n0", algorithm=AKAv1-MD5`,
			`Digest realm="sipx.test", nonce="n1", algorithm=MD5`}, "MD5", ""},
		"another's": {alice.Credentials, "401 No", []string{`Digest realm="r", nonce="n0"`, `Digest realm="sipx.test", nonce="n1"`}, "MD5",
			""},
		"MD5-sess": {alice.Credentials, "401 No", []string{`Digest realm="sipx.test", nonce="n1", algorithm=MD5-sess, qop="auth"`}, "sess",
			""},
		"auth-int": {alice.Credentials, "401 No", []string{`Digest realm="sipx.test", nonce="n1", algorithm=MD5, qop="auth-int, auth"`},
			"MD5", ""},
		"no quotes": {alice.Credentials, "401 No", []string{`Digest realm=sipx.test, nonce=n.1, algorithm=MD5`}, "MD5", ""},
		"capitals":  {alice.Credentials, "401 No", []string{`DIGEST REALM="sipx.test", NONCE="n1", ALGORITHM=md5`}, "MD5", ""},
		"a hash":    {hash, "401 No", []string{`Digest realm="sipx.test", nonce="n1", qop="auth"`}, "MD5", ""},
		"hash for 256": {hash, "401 No", []string{`Digest realm="sipx.test", nonce="n1", algorithm=SHA-256`}, "",
			"no SIP password is stored that answers its algorithm SHA-256: add sip-password, or the hash for it, to the user"},
		"quotes": {alice.Credentials, "401 No", []string{`Digest realm="sipx.test", nonce="n\"1", opaque="\\"`}, "MD5", ""},
		"a stranger's": {alice.Credentials, "401 No", []string{`Digest realm="evil", nonce="n1"`}, "",
			`it asks for the realm "evil", configured is "sipx.test"`},
		"userhash": {alice.Credentials, "401 No", []string{`Digest realm="sipx.test", nonce="n1", userhash=true`}, "MD5", ""},
		"nothing":  {alice.Credentials, "401 No", nil, "", "its challenge cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "udp", "127.0.0.1", nil, func(n int, req *wire.Message) string {
				asks := "WWW-Authenticate: "
				if strings.HasPrefix(tt.status, "407") {
					asks = "Proxy-Authenticate: "
				}
				if n > 1 {
					return response(req, "200 OK")
				}
				var lines []string
				for _, c := range tt.challenges {
					lines = append(lines, asks+c)
				}
				return response(req, tt.status, lines...)
			})
			a := agentOf(t, sipflow.TLS{}, "udp:127.0.0.1:0")
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			found, err := a.probe(ctx, s.hop, sipflow.Probe{Method: "REGISTER", Domain: "sipx.test", As: sipflow.Account{Address: "201@sipx.test",
				Credentials: tt.cred}})
			if err != nil {
				t.Fatal(err)
			}
			if found.Denied != tt.denied {
				t.Errorf("denied %q, want %q", found.Denied, tt.denied)
			}
			if tt.denied != "" {
				if len(s.requests) != 1 {
					t.Errorf("%d requests", len(s.requests))
				}
				return
			}
			first, second := <-s.requests, <-s.requests
			if string(first.Get(wire.CallID)) != string(second.Get(wire.CallID)) || string(first.Get(wire.CSeq)) == string(second.Get(wire.CSeq)) ||
				strings.Count(string(second.Raw()), "\r\nVia:") != 1 {
				t.Errorf("not the same request again:\n%s\n%s", first.Raw(), second.Raw())
			}
			id := wire.Authorization
			if strings.HasPrefix(tt.status, "407") {
				id = wire.ProxyAuthorization
			}
			got, err := digest.ParseAuthorization(string(second.Get(id)))
			if err != nil {
				t.Fatal(err, string(second.Raw()))
			}
			if tt.algorithm == "sess" {
				want := digest.MD5.Hash(digest.MD5.HA1("201", "sipx.test", "secret") + ":n1:" + got.CNonce)
				if !got.Matches(digest.MD5, want, "REGISTER") {
					t.Errorf("%+v", got)
				}
				return
			}
			if alg := digest.Algorithm(tt.algorithm); !got.Matches(alg, alg.HA1("201", "sipx.test", "secret"), "REGISTER") ||
				got.URI != "sip:sipx.test" || got.Username != "201" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A server that challenges forever is left.
func TestAServerThatChallengesForeverIsLeft(t *testing.T) {
	s := serve(t, "udp", "127.0.0.1", nil, func(n int, req *wire.Message) string {
		return response(req, "401 Unauthorized", fmt.Sprintf(`WWW-Authenticate: Digest realm="sipx.test", nonce="n%d"`, n))
	})
	a := agentOf(t, sipflow.TLS{}, "udp:127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	found, err := a.probe(ctx, s.hop, sipflow.Probe{Method: "REGISTER", Domain: "sipx.test", As: alice})
	if err != nil || found.Denied != "it refuses the SIP password" || len(s.requests) != 3 {
		t.Errorf("%+v, %v after %d requests", found, err, len(s.requests))
	}
}

// Whatever a server sends, the process goes on, the time is bounded, and no socket
// stays open. Ours is asked where sipgo cannot read.
func TestResponsesThatCannotBeRead(t *testing.T) {
	texts := map[string]func(req *wire.Message) string{
		"silence":    func(*wire.Message) string { return "" },
		"noise":      func(*wire.Message) string { return "\x00\x01\x02 SIP\r\n\r\n" },
		"no headers": func(*wire.Message) string { return "SIP/2.0 200 OK\r\n\r\n" },
		"no CSeq": func(m *wire.Message) string {
			return strings.Replace(response(m, "200 OK"), "CSeq:", "X-CSeq:", 1)
		},
		"no Via": func(m *wire.Message) string {
			return strings.Replace(response(m, "200 OK"), "Via:", "X-Via:", 1)
		},
		"empty Via": func(m *wire.Message) string { return "SIP/2.0 200 OK\r\nVia: \r\nCSeq: 1 OPTIONS\r\n\r\n" },
		"a request": func(*wire.Message) string { return "OPTIONS sip:a SIP/2.0\r\nCSeq: x\r\nContent-Length: 0\r\n\r\n" },
		"long":      func(m *wire.Message) string { return response(m, "200 OK", "X: "+strings.Repeat("a", 60000)) },
		"much length": func(m *wire.Message) string {
			return strings.Replace(response(m, "200 OK"), "Length: 0", "Length: 99999999999", 1)
		},
		"negative": func(m *wire.Message) string {
			return strings.Replace(response(m, "200 OK"), "Length: 0", "Length: -5", 1)
		},
		"CRLFs":    func(*wire.Message) string { return "\r\n\r\n" },
		"a number": func(m *wire.Message) string { return response(m, "999999999999999999999 OK") },
		"close":    func(*wire.Message) string { return "close" },
	}
	for _, transport := range []string{"udp", "tcp"} {
		for name, text := range texts {
			t.Run(transport+" "+name, func(t *testing.T) {
				s := serve(t, transport, "127.0.0.1", nil, func(_ int, req *wire.Message) string { return text(req) })
				a := agentOf(t, sipflow.TLS{}, "udp:127.0.0.1:0")
				before := sockets(t)
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				_, err := a.probe(ctx, s.hop, sipflow.Probe{Method: "OPTIONS"})
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("it took %v", took)
				}
				if name == "close" && transport == "tcp" && (err == nil || err.Error() != "the connection was closed before an answer came") {
					t.Error(err)
				}
				if name == "silence" && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				noneLeft(t, before)
			})
		}
	}
}

// A response counts, even if the server hangs up right behind it: sipgo may see the
// end of the connection first.
func TestAServerThatClosesBehindItsResponse(t *testing.T) {
	s := serve(t, "tcp", "127.0.0.1", nil, func(_ int, req *wire.Message) string { return response(req, "200 OK") + "close" })
	a := agentOf(t, sipflow.TLS{}, "udp:127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 50 {
		if found, err := a.probe(ctx, s.hop, sipflow.Probe{Method: "OPTIONS"}); err != nil || found.Code != 200 {
			t.Fatal(found, err)
		}
	}
}

// A TCP or TLS server that takes connections and says nothing costs the time of a
// probe, and no more.
func TestAServerThatSaysNothingByTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := agentOf(t, sipflow.TLS{}, "udp:127.0.0.1:0")
	before := sockets(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	hop := resolve.Hop{Transport: "tls", Addr: netip.MustParseAddrPort(l.Addr().String()), Name: "localhost"}
	if _, err := a.probe(ctx, hop, sipflow.Probe{Method: "OPTIONS"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	noneLeft(t, before+1) // the server's side of it, which nobody accepts
}

// The texts are those of the switchboard.
func TestWhyThereIsNoResponse(t *testing.T) {
	pair, roots := certificateFor(t, "a.test")
	refusing := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	plain := serve(t, "tcp", "127.0.0.1", nil, func(_ int, req *wire.Message) string { return response(req, "200 OK") })
	noTLS := plain.hop
	noTLS.Transport = "tls"
	hopOf := func(s *rawServer) resolve.Hop { s.hop.Name = "a.test"; return s.hop }
	silent := func(int, *wire.Message) string { return "" }
	wrongName := serve(t, "tls", "127.0.0.1", refusing, silent).hop
	for name, hop := range map[string]resolve.Hop{
		"refused":        {Transport: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:1")},
		"refused by TLS": {Transport: "tls", Addr: netip.MustParseAddrPort("127.0.0.1:1"), Name: "localhost"},
		"no certificate": hopOf(serve(t, "tls", "127.0.0.1", refusing, silent)),
		"wrong name":     wrongName,
		"other family":   {Transport: "udp", Addr: netip.MustParseAddrPort("[::1]:1")},
		"other network":  {Transport: "udp", Addr: netip.MustParseAddrPort("192.0.2.1:5060")},
		"WebSocket":      {Transport: "ws", Addr: netip.MustParseAddrPort("127.0.0.1:1")},
		"no TLS":         noTLS,
	} {
		t.Run(name, func(t *testing.T) {
			a := agentOf(t, sipflow.TLS{Authorities: func() *x509.CertPool { return roots }}, "udp:127.0.0.1:0")
			c := &checker{ctx: t.Context(), out: io.Discard, wait: time.Second}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, got := c.ask(ctx, a, server{"sip:x", hop}, sipflow.Probe{Method: "OPTIONS"})
			_, want := a.sw.Probe(ctx, hop, sipflow.Probe{Method: "OPTIONS"})
			if got == nil || want == nil || essence(got) != essence(want) {
				t.Errorf("sipgo: %v\n ours: %v", got, want)
			}
		})
	}
}

// essence leaves out what differs each time: ports of our own sockets, and whether
// a refusal came before or after the request was sent.
func essence(err error) string {
	text := regexp.MustCompile(`:\d+->`).ReplaceAllString(err.Error(), "->")
	return strings.Replace(text, "the connection was closed before an answer came: the server refuses", "the server refuses", 1)
}

// What another stack cannot read is told, and is no reason to find a problem.
func TestCheckSaysWhatAnotherStackCannotRead(t *testing.T) {
	s := serve(t, "udp", "127.0.0.1", nil, func(_ int, req *wire.Message) string {
		return response(req, "200 OK", "Max-Forwards: seventy", "Contact: <sip:[")
	})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	ok, out := checked(t, apptest.Write(t, dir, "sipxrest.yaml",
		apptest.Minimal+fmt.Sprintf("trusted: []\nsip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:%s]}\n", s.hop.Addr)))
	wants(t, out, "note proxy sip:"+s.hop.Addr.String()+": udp:"+s.hop.Addr.String()+": another SIP stack cannot read its response to "+
		"OPTIONS, ours can: ", "answers OPTIONS with 200 OK")
	if !ok {
		t.Error("it says that there are problems")
	}
}

// What passes the guard, sipgo's parser and transactions take without a panic.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK.1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\nCall-ID: x\r\nCSeq: "+
		"1 OPTIONS\r\nContact: <sip:c>, <sip:d>\r\nContent-Length: 0\r\n\r\n"), true)
	f.Add([]byte("SIP/2.0 401 No\r\nv: SIP/2.0/TCP h;branch=z9hG4bK.1\r\nCSeq: 1 OPTIONS\r\nWWW-Authenticate: Digest\r\nl: 0\r\n\r\n\r\n"),
		false)
	f.Add([]byte("SIP/2.0 200\r\nVia:\r\nCSeq:\r\n\r\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, datagram bool) {
		e := &ear{stop: func() {}}
		from := sip.TransportReadProps{Transport: "TCP", RemoteAddr: &net.TCPAddr{}}
		if datagram {
			from.Transport = "UDP"
		}
		for _, part := range [][]byte{data[:len(data)/2], data[len(data)/2:]} {
			if datagram {
				part = data
			}
			pass, err := e.guard(from, part)
			if datagram && err != nil {
				t.Error(err)
			}
			if err != nil || len(pass) == 0 {
				continue
			}
			err = sip.NewParser().NewSIPStream().ParseSIPStream(pass, func(m sip.Message) {
				res := m.(*sip.Response)
				if _, err := sip.ClientTxKeyMake(res); err != nil {
					t.Error(err)
				}
				challengesOf(res)
			})
			if err != nil && !datagram {
				t.Errorf("%v: %q", err, pass)
			}
		}
	})
}
