package sipflow

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// Addresses of encrypted transports, and the name by which a phone's is known.
const (
	ourTLS    = "10.0.0.1:5061"
	ourWS     = "10.0.0.1:5080"
	ourWSS    = "10.0.0.1:5443"
	phoneTLS  = "10.0.0.2:5061"
	calledTLS = "10.0.0.3:5061"
	phoneName = "phone.test"
)

// secured is a switchboard that speaks every transport, and its world.
type secured struct {
	*rig
	ca  *certAuthority
	own *tls.Certificate
}

// newSecured starts a switchboard that sends everything to hop.
func newSecured(t *testing.T, n *siptest.Network, hop string, adjust ...func(*Config)) *secured {
	t.Helper()
	s := &secured{ca: newAuthority(t, "the test's authority")}
	s.own = s.ca.issue(forNames("sipxrest.test"))
	s.rig = newRig(t, n, hop, append([]func(*Config){func(c *Config) {
		c.Listen = append(c.Listen, "tls:"+ourTLS, "ws:"+ourWS, "wss:"+ourWSS)
		c.TLS.Certificate = func() *tls.Certificate { return s.own }
		c.TLS.Authorities = s.ca.pool
		c.Resolver = resolverOf(t, nil)
	}}, adjust...)...)
	return s
}

// resolverOf knows the phones' names, and records of the test's.
func resolverOf(t *testing.T, records map[string]dns.RR) *resolve.Resolver {
	t.Helper()
	at := func(ip string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(ip)} }
	r, err := resolve.New(resolve.Config{
		Servers: []string{"10.0.0.53:53"}, Transports: []string{"udp", "tcp", "tls", "ws", "wss"},
		Hosts: map[string][]netip.Addr{phoneName: at("10.0.0.2"), "other.test": at("10.0.0.2"), "called.test": at("10.0.0.3")},
		Exchange: func(_ context.Context, q *dns.Msg, _ string) (*dns.Msg, error) {
			a := new(dns.Msg).SetReply(q)
			if rr := records[dns.TypeToString[q.Question[0].Qtype]+" "+q.Question[0].Name]; rr != nil {
				a.Answer = []dns.RR{rr}
			}
			return a, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// listener is the TLS of a phone with a certificate.
func (s *secured) listener(cert *tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*cert}}
}

// dialer is the TLS by which a phone connects to us.
func (s *secured) dialer() *tls.Config {
	return &tls.Config{RootCAs: s.ca.pool(), ServerName: "sipxrest.test"}
}

// shaking is a listener of TLS that does not wait for Accept to agree with
// those who connect.
type shaking struct {
	net.Listener
	conns chan net.Conn
}

func (s *secured) listenTLS(addr string) net.Listener {
	l := &shaking{s.net.ListenTCP(addr), make(chan net.Conn, 16)}
	config := s.listener(s.ca.issue(forNames(phoneName)))
	go func() {
		defer close(l.conns)
		for {
			c, err := l.Listener.Accept()
			if err != nil {
				return
			}
			if secure := tls.Server(c, config); secure.Handshake() == nil {
				l.conns <- secure
			}
		}
	}()
	return l
}

func (l *shaking) Accept() (net.Conn, error) {
	if c := <-l.conns; c != nil {
		return c, nil
	}
	return nil, net.ErrClosed
}

// phone starts a phone on a transport.
func (s *secured) phone(user, transport, addr, name string, script siptest.Script) (*siptest.Phone, *siptest.StreamConn) {
	server, client := s.listener(s.ca.issue(forNames(name))), s.dialer()
	if transport == "ws" {
		server, client = nil, nil
	}
	s.net.Name(addr, user)
	conn := s.net.ListenStream(transport, addr, server, client)
	return siptest.NewPhone(conn, siptest.Account{User: user}, script), conn
}

func TestCallOverEncryptedAndWebSocketTransports(t *testing.T) {
	for _, transport := range []string{"tls", "ws", "wss"} {
		t.Run(transport, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSecured(t, siptest.NewNetwork(), phoneName+":5061;transport="+transport)
				defer s.stop()
				p, _ := s.phone("201", transport, phoneTLS, phoneName, siptest.Script{})
				defer p.Close()
				c := s.place(spec())
				<-c.Done()
				time.Sleep(10 * time.Second) // its last NOTIFY
				if c.Err() != nil || !p.OnHook() || !p.Acked() {
					t.Errorf("ended with %v, the phone saw %v", c.Err(), p.Log())
				}
				invite := p.Requests("INVITE")[0]
				ours := map[string]string{"tls": ourTLS, "ws": ourWS, "wss": ourWSS}[transport]
				for header, want := range map[string]string{
					"Via":     "SIP/2.0/" + strings.ToUpper(transport) + " " + ours,
					"Contact": "<sip:callcontroller@" + ours + ";transport=" + transport + ">",
					"Route":   "<sip:" + phoneTLS + ";transport=" + transport + ";lr>",
				} {
					if got := invite.GetHeader(header).Value(); !strings.HasPrefix(got, want) {
						t.Errorf("%s: %s, want %s", header, got, want)
					}
				}
				if got := s.status(); !strings.HasPrefix(got, "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying") ||
					!strings.HasSuffix(got, "NOTIFY 200 OK") {
					t.Errorf("recorded %s", got)
				}
				s.empty()
			})
		})
	}
}

// Without an outbound proxy each phone's domain says in DNS how it is reached.
func TestBridgedCallOverTransportsThatDNSNames(t *testing.T) {
	srv := func(name, target string, port uint16) dns.RR {
		return &dns.SRV{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: 60}, Target: target, Port: port}
	}
	records := map[string]dns.RR{
		"NAPTR calling.example.": &dns.NAPTR{Hdr: dns.RR_Header{Name: "calling.example.", Rrtype: dns.TypeNAPTR, Class: dns.ClassINET, Ttl: 60},
			Flags: "s", Service: "SIPS+D2T", Replacement: "_sips._tcp.calling.example."},
		"SRV _sips._tcp.calling.example.": srv("_sips._tcp.calling.example.", phoneName+".", 5061),
		"SRV _sips._ws.called.example.":   srv("_sips._ws.called.example.", "called.test.", 5061),
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), "", func(c *Config) { c.Resolver = resolverOf(t, records) })
		defer s.stop()
		calling, _ := s.phone("201", "tls", phoneTLS, "calling.example", siptest.Script{})
		defer calling.Close()
		called, _ := s.phone("202", "wss", calledTLS, "called.example", siptest.Script{})
		defer called.Close()
		c, err := s.sw.Place(t.Context(), spec(func(s *Spec) {
			s.Method, s.CallingUser, s.CalledUser = MethodInvite, "201@calling.example", "202@called.example"
		}), Invite)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if calling.Dialogs() != 1 || called.Dialogs() != 1 || !called.Acked() {
			t.Fatalf("201 saw %v, 202 %v", calling.Log(), called.Log())
		}
		do(t, calling, 200, siptest.Action{Method: "INVITE"}) // each phone to the other, through us
		do(t, called, 200, siptest.Action{Method: "INFO", Body: "Signal=1\r\n", ContentType: "application/dtmf-relay"})
		called.HangUp()
		<-c.Done()
		time.Sleep(time.Second)
		if !calling.OnHook() || !called.OnHook() {
			t.Errorf("201 saw %v, 202 %v", calling.Log(), called.Log())
		}
		s.empty()
	})
}

// The peer must be the host that the URI names (RFC 5922).
func TestServerIsVerified(t *testing.T) {
	sipOnly := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 20}
	for name, c := range map[string]struct {
		cert  func(known, unknown *certAuthority) *tls.Certificate
		cfg   func(*Config)
		hop   string
		fails string // "" for a call that is placed
	}{
		"DNS name": {cert: func(k, _ *certAuthority) *tls.Certificate { return k.issue(forNames("x.test", "PHONE.test")) }},
		"SIP URI": {cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forURIs("sip:phone.test"), forNames("x.test"))
		}},
		"address":      {hop: phoneTLS, cert: func(k, _ *certAuthority) *tls.Certificate { return k.issue(forIP("10.0.0.2")) }},
		"usage of SIP": {cert: func(k, _ *certAuthority) *tls.Certificate { return k.issue(forNames(phoneName), usages(nil, sipOnly)) }},
		"client's usage": {cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forNames(phoneName), usages([]x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}))
		}},
		"lab": {cfg: func(c *Config) { c.TLS.Unverified = true }, cert: func(_, u *certAuthority) *tls.Certificate {
			return u.issue(forNames("x.test"))
		}},
		"wrong name": {fails: `is for x.test, not for "phone.test"`, cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forNames("x.test"))
		}},
		"address by DNS": {fails: `is for 10.0.0.2, not for "phone.test"`, cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forIP("10.0.0.2"))
		}},
		"name of an address": {hop: phoneTLS, fails: `is for phone.test, not for "10.0.0.2"`, cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forNames(phoneName))
		}},
		"wildcard": {fails: "SIP takes no wildcards", cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forNames("*.test"))
		}},
		"a user's": {fails: "names no domain", cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forURIs("sip:bob@phone.test"))
		}},
		"another protocol's": {fails: "names no domain", cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forURIs("https://phone.test"))
		}},
		"expired": {fails: "has expired on", cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forNames(phoneName), valid(-2*time.Hour, -time.Hour))
		}},
		"of tomorrow": {fails: "is not valid before", cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forNames(phoneName), valid(time.Hour, 2*time.Hour))
		}},
		"self-signed": {fails: "self-signed: put it into sip.tls.ca", cert: func(k, _ *certAuthority) *tls.Certificate {
			return (&certAuthority{t: k.t}).issue(forNames(phoneName))
		}},
		"unknown authority": {fails: "is signed by CN=another authority, which is not a known authority",
			cert: func(_, u *certAuthority) *tls.Certificate { return u.issue(forNames(phoneName)) }},
		"code signing": {fails: "incompatible key usage", cert: func(k, _ *certAuthority) *tls.Certificate {
			return k.issue(forNames(phoneName), usages([]x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.hop == "" {
					c.hop = phoneName + ":5061"
				}
				var adjust []func(*Config)
				if c.cfg != nil {
					adjust = append(adjust, c.cfg)
				}
				s := newSecured(t, siptest.NewNetwork(), c.hop+";transport=tls", adjust...)
				defer s.stop()
				conn := s.net.ListenStream("tls", phoneTLS, s.listener(c.cert(s.ca, newAuthority(t, "another authority"))), s.dialer())
				p := siptest.NewPhone(conn, siptest.Account{User: "201"}, siptest.Script{})
				defer p.Close()
				call, err := s.sw.Place(t.Context(), spec(), Refer)
				if c.fails != "" {
					if !errors.Is(err, ErrUnreachable) || !strings.Contains(fmt.Sprint(err), c.fails) {
						t.Errorf("Place: %v, want %q", err, c.fails)
					}
					if why := new(transport.CertificateError); !errors.As(err, &why) || !strings.Contains(why.Error(), c.fails) ||
						strings.Contains(why.Error(), "10.0.0.2:") {
						t.Errorf("the fault of the certificate is %v", why)
					}
					if got := p.Requests(); len(got) > 0 {
						t.Errorf("the phone got %d requests", len(got))
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				<-call.Done()
				if call.Err() != nil {
					t.Error(call.Err())
				}
			})
		})
	}
}

// One address may be several domains' server: each has its own connection.
func TestConnectionsAreNotSharedBetweenNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), "", func(c *Config) {})
		defer s.stop()
		p, _ := s.phone("201", "tls", phoneTLS, phoneName, siptest.Script{})
		defer p.Close()
		options := func(name string) error {
			_, err := s.sw.Probe(t.Context(), resolve.Hop{Transport: "tls", Addr: netip.MustParseAddrPort(phoneTLS), Name: name},
				Probe{Method: "OPTIONS"})
			return err
		}
		if err := errors.Join(options(phoneName), options(phoneName)); err != nil {
			t.Fatal(err)
		}
		if err := options("other.test"); err == nil {
			t.Error("other.test is asked over the connection of " + phoneName)
		}
		if n, _ := s.sw.transport.Connections(); n != 1 {
			t.Errorf("%d connections are open, want one", n)
		}
	})
}

// Many that ask at once for a connection get the same.
func TestOneConnectionIsOpenedForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), "")
		defer s.stop()
		p, _ := s.phone("201", "tls", phoneTLS, phoneName, siptest.Script{})
		defer p.Close()
		hop := resolve.Hop{Transport: "tls", Addr: netip.MustParseAddrPort(phoneTLS), Name: phoneName}
		got := make(chan transport.Link, 20)
		for range cap(got) {
			go func() {
				p, err := s.sw.transport.Path(t.Context(), hop)
				if err != nil {
					t.Error(err)
				}
				got <- p.Link
			}()
		}
		first := <-got
		for range cap(got) - 1 {
			if other := <-got; other != first {
				t.Fatal("there is more than one connection")
			}
		}
	})
}

// A dialog that was set up over TLS stays there, wherever the phone's Contact
// leads, and after its connection is lost goes to the same server again.
func TestSecureDialogStaysSecure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), phoneName+":5061;transport=tls")
		defer s.stop()
		l := s.listenTLS(phoneTLS)
		defer l.Close()
		p := &rawPhone{t: t, via: "SIP/2.0/TLS " + phoneTLS, port: phoneAddr, bare: true, listener: l}
		u := rawUDP(t, s.net, phoneAddr) // where its Contact leads
		c := s.place(spec())
		p.accept()
		p.answerAndAccept()
		p.send(p.notify(1, "180 Ringing", "active"))
		p.expect("BYE")
		p.conn.Close()
		p.accept()
		p.hungUp()
		<-c.Done()
		if c.Err() != nil {
			t.Errorf("ended with %v", c.Err())
		}
		if m := u.read(0); m != nil {
			t.Errorf("%s came by UDP", show(m))
		}
	})
}

// A phone that was called by UDP and asks for sips gets nothing by UDP under
// that URI (RFC 3261 §26.2.2).
func TestSIPSContactIsNotCalledInsecurely(t *testing.T) {
	for name, c := range map[string]struct {
		contact string
		listens bool
	}{
		"TLS to its Contact": {"<sips:201@" + phoneName + ":5061>", true},
		"no TLS there":       {"<sips:201@" + phoneName + ":5061>", false},
		"UDP by its URI":     {"<sips:201@" + phoneName + ":5061;transport=udp>", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSecured(t, siptest.NewNetwork(), phoneAddr)
				defer s.stop()
				u := rawUDP(t, s.net, phoneAddr)
				p := &rawPhone{t: t, via: "SIP/2.0/TLS " + phoneTLS, port: phoneTLS}
				if c.listens {
					p.listener = s.listenTLS(phoneTLS)
					defer p.listener.Close()
				}
				call := s.place(spec())
				u.invite = u.expect("INVITE")
				u.send(u.response(u.invite, 200, "Contact: "+c.contact+"\r\n", ""))
				if strings.HasPrefix(name, "TLS") {
					p.invite = u.invite
					p.accept()
					p.expect("ACK")
					refer := p.expect("REFER")
					if got := string(refer.Get(wire.Contact)); !strings.HasPrefix(got, "<sips:callcontroller@"+ourTLS) {
						t.Errorf("Contact %s, want a sips URI", got)
					}
					p.send(p.response(refer, 202, p.contact(), ""))
					m := p.ask(p.notify(1, "180 Ringing", "active", "NOTIFY sip:", "NOTIFY sips:"))
					if got := string(m.Get(wire.Contact)); !strings.HasPrefix(got, "<sips:callcontroller@"+ourTLS) {
						t.Errorf("Contact of the answer %s, want a sips URI", got)
					}
					p.hungUp()
				} else {
					for _, method := range []string{"ACK", "BYE"} { // as if it had no Contact
						if m := u.expect(method); !strings.HasPrefix(string(m.URI()), "sip:201@sipx.test") {
							t.Errorf("%s %s", method, m.URI())
						} else if method == "BYE" {
							u.send(u.response(m, 200, "", ""))
						}
					}
				}
				<-call.Done()
				if ok := call.Err() == nil; ok != strings.HasPrefix(name, "TLS") {
					t.Errorf("ended with %v", call.Err())
				}
			})
		})
	}
}

// A sips URI of the configuration does not lead to UDP or TCP.
func TestSIPSProxyNeedsTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), "", func(c *Config) { c.OutboundProxies = []string{"sips:" + phoneName + ":5061"} })
		defer s.stop()
		p, _ := s.phone("201", "tls", phoneTLS, phoneName, siptest.Script{})
		defer p.Close()
		c := s.place(spec())
		<-c.Done()
		if c.Err() != nil {
			t.Error(c.Err())
		}
		if _, err := s.sw.hopsOf(t.Context(), "sips:"+phoneName+";transport=udp"); !errors.Is(err, resolve.ErrTransport) {
			t.Errorf("sips over UDP: %v", err)
		}
	})
}

// A connection of ours that a call counts on is kept alive, others are not.
func TestConnectionsWithCallsAreKeptAlive(t *testing.T) {
	for _, over := range []string{"tcp", "tls"} {
		t.Run(over, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSecured(t, siptest.NewNetwork(), phoneName+":5061;transport="+over)
				defer s.stop()
				p := &rawPhone{t: t, via: "SIP/2.0/" + strings.ToUpper(over) + " " + phoneTLS, port: phoneTLS}
				if over == "tls" {
					p.listener = s.listenTLS(phoneTLS)
				} else {
					p.listener = s.net.ListenTCP(phoneTLS)
				}
				defer p.listener.Close()
				c := s.place(spec(func(s *Spec) { s.Timeout = 20 * time.Minute }))
				p.accept()
				p.invite = p.expect("INVITE")
				p.send(p.response(p.invite, 180, "", ""))
				for range 8 { // longer than a silent connection lasts
					start := time.Now()
					b := make([]byte, 4)
					p.conn.SetReadDeadline(time.Now().Add(time.Hour))
					if n, err := p.in.Read(b); err != nil || string(b[:n]) != "\r\n\r\n" {
						t.Fatalf("read %q, %v", b[:n], err)
					}
					if d := time.Since(start); d < transport.KeepAliveMin-time.Second || d > transport.KeepAliveMax+time.Second {
						t.Fatalf("a keep-alive came after %v", d)
					}
				}
				p.send(p.response(p.invite, 486, "", ""))
				p.expect("ACK")
				<-c.Done()
				start := time.Now()
				if m := p.read(time.Hour); m != nil {
					t.Fatalf("%s came", show(m))
				}
				if d := time.Since(start); d > transport.StreamIdle+time.Second {
					t.Errorf("the connection was closed after %v", d)
				}
			})
		})
	}
}

// Our certificate is presented to a server that asks; what it says when it does
// not like it is told.
func TestServerWantsOurCertificate(t *testing.T) {
	for name, c := range map[string]struct{ knows, tls12 bool }{"TLS 1.3": {knows: true}, "TLS 1.2": {knows: true, tls12: true},
		"refused by TLS 1.3": {}, "refused by TLS 1.2": {tls12: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSecured(t, siptest.NewNetwork(), phoneName+":5061;transport=tls")
				defer s.stop()
				config := s.listener(s.ca.issue(forNames(phoneName)))
				config.ClientAuth, config.ClientCAs = tls.RequireAnyClientCert, s.ca.pool()
				if !c.knows {
					config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, newAuthority(t, "another authority").pool()
				}
				if c.tls12 {
					config.MaxVersion = tls.VersionTLS12
				}
				conn := s.net.ListenStream("tls", phoneTLS, config, s.dialer())
				p := siptest.NewPhone(conn, siptest.Account{User: "201"}, siptest.Script{})
				defer p.Close()
				call, err := s.sw.Place(t.Context(), spec(), Refer)
				if err == nil {
					<-call.Done()
					err = call.Err()
				}
				if c.knows && err != nil || !c.knows && !strings.Contains(fmt.Sprint(err), "sip.tls.cert") {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}
