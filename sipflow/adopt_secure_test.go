package sipflow

import (
	"crypto/tls"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/miekg/dns"

	"sipxrest/sipflow/siptest"
)

// securedPair is a call of 201, by TLS, and 202, by another transport, that is up at the
// first of two nodes which speak every transport.
type securedPair struct {
	*cluster
	ca        *certAuthority
	calling   *siptest.Phone
	called    *siptest.Phone
	callingAt *siptest.StreamConn
	call      *Call
}

// namesOf are the DNS records by which the two phones are reached.
func namesOf(by string) map[string]dns.RR {
	srv := func(name, target string) dns.RR {
		return &dns.SRV{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: 60}, Target: target, Port: 5061}
	}
	service := map[string]string{"tls": "_sips._tcp.", "wss": "_sips._ws."}[by]
	return map[string]dns.RR{
		"NAPTR calling.example.": &dns.NAPTR{Hdr: dns.RR_Header{Name: "calling.example.", Rrtype: dns.TypeNAPTR,
			Class: dns.ClassINET, Ttl: 60},
			Flags: "s", Service: "SIPS+D2T", Replacement: "_sips._tcp.calling.example."},
		"SRV _sips._tcp.calling.example.":    srv("_sips._tcp.calling.example.", phoneName+"."),
		"SRV " + service + "called.example.": srv(service+"called.example.", "called.test."),
	}
}

func newSecuredPair(t *testing.T, by string) *securedPair {
	t.Helper()
	s := &securedPair{ca: newAuthority(t, "the test's authority")}
	own := s.ca.issue(forNames("sipxrest.test"))
	host := 0
	s.cluster = newClusterBy(t, siptest.NewNetwork(), "", func(cfg *Config) {
		at := []string{"10.0.0.1", "10.0.0.8"}[host]
		host++
		cfg.Listen = append(cfg.Listen, "tls:"+at+":5061", "ws:"+at+":5080", "wss:"+at+":5443")
		cfg.TLS.Certificate = func() *tls.Certificate { return own }
		cfg.TLS.Authorities = s.ca.pool
		cfg.Resolver = resolverOf(t, namesOf(by))
	})
	phone := func(user, transport, addr, name string) (*siptest.Phone, *siptest.StreamConn) {
		s.net.Name(addr, user)
		conn := s.net.ListenStream(transport, addr, &tls.Config{Certificates: []tls.Certificate{*s.ca.issue(forNames(name))}},
			&tls.Config{RootCAs: s.ca.pool(), ServerName: "sipxrest.test"})
		p := siptest.NewPhone(conn, siptest.Account{User: user}, siptest.Script{})
		s.phones = append(s.phones, p)
		return p, conn
	}
	s.calling, s.callingAt = phone("201", "tls", phoneTLS, "calling.example")
	s.called, _ = phone("202", by, calledTLS, "called.example")
	var err error
	s.call, err = s.first.sw.Place(t.Context(), spec(func(s *Spec) {
		s.Method, s.CallingUser, s.CalledUser = MethodInvite, "201@calling.example", "202@called.example"
	}), Invite)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	if s.calling.Dialogs() != 1 || s.called.Dialogs() != 1 || !s.called.Acked() {
		t.Fatalf("201 saw %v, 202 %v", s.calling.Log(), s.called.Log())
	}
	return s
}

// A leg by TLS stays one, over a connection of the heir's own.
func TestEncryptedLegsAreTakenOverAsSuch(t *testing.T) {
	for _, by := range []string{"tls", "wss"} {
		t.Run(by, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSecuredPair(t, by)
				s.crash()
				time.Sleep(5 * time.Second)
				s.takeOver(true)
				time.Sleep(5 * time.Second)
				for ph, want := range map[*siptest.Phone]string{s.calling: "TLS", s.called: strings.ToUpper(by)} {
					got := ph.Requests(sip.UPDATE)
					if len(got) != 1 || got[0].Via().Transport != want || got[0].Contact().Address.Host != "10.0.0.8" {
						t.Errorf("a phone saw\n%s", strings.Join(ph.Log(), "\n"))
					}
				}
				do(t, s.calling, 200, siptest.Action{Method: "INVITE"}) // each phone to the other, by the heir
				do(t, s.called, 200, siptest.Action{Method: "INFO", Body: "Signal=1\r\n", ContentType: "application/dtmf-relay"})
				s.called.HangUp()
				time.Sleep(5 * time.Minute)
				if got := s.results(); got != TakenKept {
					t.Errorf("taken over: %s", got)
				}
				s.close()
			})
		})
	}
}

// A phone that is not reached by TLS any more is not spoken to in any other way. The other
// one is hung up.
func TestEncryptedLegThatIsNotReachedIsHungUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecuredPair(t, "tls")
		n := s.net.Arrived()
		s.callingAt.Close()
		s.crash()
		time.Sleep(5 * time.Second)
		s.takeOver(true)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if s.called.Dialogs() != 0 || !strings.HasPrefix(s.results(), TakenLost) {
			t.Errorf("taken over: %s; 202 saw\n%s", s.results(), strings.Join(s.called.Log(), "\n"))
		}
		for _, p := range s.net.Packets()[n:] {
			if p.Transport == "UDP" && p.Method() != "" {
				t.Errorf("%s went in the clear", p.Method())
			}
		}
		s.phones = s.phones[1:]
		s.close()
		s.calling.Close()
	})
}

// A leg by TCP needs a connection of the heir's own, and the phone opens none for us.
func TestLegByTCPIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		a := rawTCP(t, n, phoneAddr)
		n.Name(phoneAddr, "201")
		c := newClusterBy(t, n, "")
		q := c.phone("202", calledAddr, siptest.Script{})
		call, err := c.first.sw.Place(t.Context(), spec(func(s *Spec) {
			s.Method, s.CallingUser, s.CalledUser = MethodInvite, "201@10.0.0.2;transport=tcp", "202@10.0.0.3"
		}), Invite)
		if err != nil {
			t.Fatal(err)
		}
		a.accept()
		a.invite = a.expect("INVITE")
		a.send(a.response(a.invite, 200, a.contact()+sdpHeader+"Allow: "+onlyInvite+"\r\n", sdpOf(4000)))
		a.expect("ACK")
		again := a.expect("INVITE")
		a.send(a.response(again, 200, a.contact()+sdpHeader+"Allow: "+onlyInvite+"\r\n", sdpOf(4001)))
		a.expect("ACK")
		time.Sleep(time.Second)
		c.crash()
		if m := a.read(time.Second); m != nil {
			t.Errorf("the dead node sent %s", show(m))
		}
		c.takeOver(true)
		a.accept()
		refresh := a.expect("INVITE")
		if string(refresh.Body()) != string(again.Body()) || !strings.Contains(string(refresh.Raw()), "Via: SIP/2.0/TCP 10.0.0.8") {
			t.Errorf("the refresh is\n%s\nand was told before\n%s", refresh.Raw(), again.Body())
		}
		a.send(a.response(refresh, 200, a.contact()+sdpHeader, sdpOf(4001)))
		a.expect("ACK")
		time.Sleep(time.Second)
		q.HangUp()
		bye := a.expect("BYE")
		a.send(a.response(bye, 200, "", ""))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := c.results(); got != TakenKept {
			t.Errorf("taken over: %s", got)
		}
		_ = call
		c.close()
	})
}
