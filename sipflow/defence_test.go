package sipflow

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// INVITEs that are refused at once and never acknowledged are bounded, as each
// is kept for its ACK and its response repeated.
func TestRefusedINVITEsWithoutAckAreBounded(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.net.Forget = true
		p.up()
		for i := range 1000 {
			p.a.send(p.a.inDialog("INVITE", 1+i, "Session-Expires: 1\r\n"+sdpHeader, sdpOf(4002)))
			for p.a.read(2*time.Millisecond) != nil {
			}
		}
		l := p.call.legs[0]
		l.peer.mu.Lock()
		if n := len(l.peer.open); n > 2*maxOpen {
			t.Errorf("%d transactions are open", n)
		}
		l.peer.mu.Unlock()
		p.call.stop(ErrHungUpByUser)
		time.Sleep(time.Minute)
		for p.a.read(0) != nil || p.b.read(0) != nil {
		}
		<-p.call.Done()
	})
}

// A phone that insists on an acknowledgement for one provisional response
// after the other gets so many and no more.
func TestReliableProvisionalResponsesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.invite = p.expect("INVITE")
		for i := range 1000 {
			p.send(p.response(p.invite, 183, fmt.Sprintf("Require: 100rel\r\nRSeq: %d\r\n%s", 1+i, p.contact()), ""))
			for p.read(2*time.Millisecond) != nil {
			}
		}
		open := 0
		for i := range r.sw.shards {
			s := &r.sw.shards[i]
			s.mu.Lock()
			open += len(s.clients)
			s.mu.Unlock()
		}
		if open > maxPracks+1 {
			t.Errorf("%d transactions are open", open)
		}
		p.send(p.response(p.invite, 486, "", ""))
		<-c.Done()
		time.Sleep(time.Minute)
		for p.read(0) != nil {
		}
		r.empty()
	})
}

// A phone that takes nothing from its connection holds up nobody else: its
// repeated response comes over UDP, where all the others are heard, too.
func TestSlowConnectionDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		slow := n.ListenTCP(phoneAddr)
		defer slow.Close()
		c := r.place(spec())
		p.invite = p.expect("INVITE")
		contact := "Contact: <sip:" + strings.Repeat("x", 1000) + "@" + phoneAddr + ";transport=tcp>\r\n"
		ok := p.response(p.invite, 200, contact, "")
		p.send(ok)
		conn, err := slow.Accept()
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		other := rawUDP(t, n, "10.0.0.66:5060")
		for range 500 {
			p.send(ok)
			start := time.Now()
			other.wants(200, stranger("OPTIONS", ""))
			if d := time.Since(start); d > 100*time.Millisecond {
				t.Fatalf("a stranger was answered after %v", d)
			}
		}
		conn.Close()
		c.stop(ErrHungUpByUser)
		<-c.Done()
		for p.read(0) != nil {
		}
		r.empty()
	})
}

// The response to a request over a connection does not come by UDP.
func TestAnswerOverAnotherTransportIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr+";transport=tcp")
		defer r.stop()
		p, u := rawTCP(t, n, phoneAddr), rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.accept()
		p.invite = p.expect("INVITE")
		u.send(p.response(p.invite, 486, "", ""))
		time.Sleep(time.Second)
		if s := r.status(); s != "" {
			t.Errorf("recorded %s", s)
		}
		p.send(p.response(p.invite, 603, "", ""))
		p.expect("ACK")
		<-c.Done()
		r.empty()
	})
}

// A connection over which half a message came is closed soon; between messages
// it may be quiet for long.
func TestConnectionsThatSayHalfAMessageAreClosed(t *testing.T) {
	whole := strings.Replace(stranger("OPTIONS", ""), "/UDP", "/TCP", 1)
	for name, c := range map[string]struct {
		says string
		open bool // a minute later
	}{
		"half a line":               {"OPTIONS", false},
		"half a header":             {whole[:60], false},
		"half a body":               {strings.Replace(whole, "Content-Length: 0", "Content-Length: 9", 1) + "x", false},
		"a message":                 {whole, true},
		"a message and a half":      {whole + whole[:60], false},
		"a ping and half a message": {whole + "\r\n\r\n" + whole[:60], false},
		"a ping":                    {whole + "\r\n\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, phoneAddr)
				defer r.stop()
				conn, err := n.DialContext(t.Context(), "tcp", ourAddr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprint(conn, c.says)
				time.Sleep(time.Minute)
				synctest.Wait()
				if _, open := r.sw.transport.Connections(); open == 1 != c.open {
					t.Errorf("open: %d", open)
				}
			})
		})
	}
}

// Strangers' connections, however many, leave us our own.
func TestManyConnectionsDoNotKeepUsFromTheNextHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr+";transport=tcp")
		defer r.stop()
		p := rawTCP(t, n, phoneAddr)
		var conns []net.Conn
		for range transport.MaxStreams + 1 {
			conn, err := n.DialContext(t.Context(), "tcp", ourAddr)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			conns = append(conns, conn)
		}
		if _, open := r.sw.transport.Connections(); open != 3072 {
			t.Errorf("%d connections of strangers are open, want 3072", open)
		}
		c := r.place(spec())
		p.accept()
		p.invite = p.expect("INVITE")
		p.send(p.response(p.invite, 486, "", ""))
		p.expect("ACK")
		<-c.Done()
		for _, conn := range conns {
			conn.Close()
		}
		r.empty()
		if _, left := r.sw.transport.Connections(); left != 0 {
			t.Errorf("%d connections are counted that are closed", left)
		}
	})
}

// Another phone that the INVITE was forked to knows Call-ID and our tag.
func TestNotifyOfAnotherPhoneAfterTheByeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.answerAndAccept()
		p.wants(200, p.notify(1, "180 Ringing", "active"))
		p.hungUp()
		<-c.Done()
		synctest.Wait()
		p.wants(481, p.notify(2, "603 Decline", "terminated", "tag="+phoneTag, "tag=other"))
		p.wants(200, p.notify(2, "200 OK", "terminated"))
		if s := r.status(); strings.Contains(s, "603") {
			t.Errorf("recorded %s", s)
		}
		r.empty()
	})
}

// Only servers get the agent's credentials: a phone could ask in the dialog, by
// the right realm, with a nonce of the server's, for a URI that it has chosen.
// So it could place calls in his name.
func TestPhonesThatAskForCredentialsGetNone(t *testing.T) {
	const challenge = "WWW-Authenticate: Digest realm=\"sipx.test\", nonce=\"n\"\r\n"
	t.Run("in the dialog", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			r := newRig(t, n, proxyAddr)
			defer r.stop()
			proxy, p := rawUDP(t, n, proxyAddr), rawUDP(t, n, phoneAddr)
			c := r.place(spec())
			proxy.invite = proxy.expect("INVITE")
			proxy.send(proxy.response(proxy.invite, 200, "Contact: <sip:900123@"+phoneAddr+">\r\n", ""))
			p.invite = proxy.invite
			p.expect("ACK")
			p.send(p.response(p.expect("REFER"), 401, challenge, ""))
			bye := p.expect("BYE")
			p.send(p.response(bye, 401, challenge, ""))
			<-c.Done()
			p.quiet(time.Second)
			if bye.Get(wire.Authorization) != nil {
				t.Error("BYE with credentials")
			}
			r.empty()
		})
	})
	t.Run("of another domain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			r := newRig(t, n, "")
			defer r.stop()
			p := rawUDP(t, n, phoneAddr)
			c := r.place(spec(func(s *Spec) { s.Key.Agent, s.CallingUser = "200@10.0.0.9", "201@10.0.0.2" }))
			p.invite = p.expect("INVITE")
			p.send(p.response(p.invite, 401, challenge, ""))
			p.expect("ACK")
			<-c.Done()
			p.quiet(time.Second)
			r.empty()
		})
	})
}
