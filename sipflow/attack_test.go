package sipflow

import (
	"crypto/tls"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
	"sipxrest/sipflow/wire"
)

// The final status in a NOTIFY is the outcome, whatever its Subscription-State
// says; what only looks like one is not.
func TestFinalSipfragIsTheOutcome(t *testing.T) {
	inCall(t, func(t *testing.T, r *rig, c *Call, p *rawPhone) {
		p.wants(200, p.notify(1, "100 Trying", "active;expires=60"))
		p.wants(200, p.inDialog("NOTIFY", 2, "Event: refer\r\nSubscription-State: active\r\n", "SIP/2.0 200\x00\r\nSIP/2.0 200 OK"))
		p.wants(200, p.inDialog("NOTIFY", 3, "Event: refer\r\nSubscription-State: active\r\n", "HTTP/1.1 200 OK"))
		p.wants(200, p.notify(4, "486 Busy Here", "active"))
		if bye := p.hungUp(); !strings.HasPrefix(string(bye.Get(wire.Reason)), "SIP;cause=486") {
			t.Errorf("BYE has Reason %q", bye.Get(wire.Reason))
		}
		<-c.Done()
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), "486") {
			t.Errorf("the call ended with %v", err)
		}
	})
}

func TestNotifyAfterTheEndOfTheSubscription(t *testing.T) {
	inCall(t, func(t *testing.T, r *rig, c *Call, p *rawPhone) {
		p.wants(200, p.notify(5, "100 Trying", "active"))
		last := p.notify(7, "200 OK", "terminated;reason=noresource")
		p.wants(200, last)
		p.wants(481, p.notify(8, "603 Decline", "terminated")) // RFC 6665 §4.1.3
		p.wants(500, p.notify(6, "603 Decline", "terminated")) // RFC 3261 §12.2.2
		p.wants(200, last)                                     // its response may have been lost
		p.hungUp()
		<-c.Done()
		if c.Err() != nil {
			t.Errorf("the call ended with %v", c.Err())
		}
		synctest.Wait()
		p.wants(200, last)
		p.wants(481, p.notify(9, "603 Decline", "terminated"))
		if s := r.status(); strings.Contains(s, "603") {
			t.Errorf("recorded %s", s)
		}
	})
}

// What comes after our BYE is recorded until the subscription ends (RFC 5057).
func TestNotifiesAfterTheByeAreRecorded(t *testing.T) {
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
		p.wants(200, p.notify(2, "183 Session Progress", "active"))
		p.wants(200, p.notify(2, "183 Session Progress", "active")) // its response was lost
		p.wants(489, p.notify(3, "603 Decline", "active", "Event: refer", "Event: dialog"))
		p.wants(481, p.notify(4, "603 Decline", "active", "Call-ID: ", "Call-ID: x"))
		p.send(p.inDialog("ACK", 1, "", "", "Call-ID: ", "Call-ID: x"))
		p.wants(200, p.notify(4, "200 OK", "terminated"))
		p.wants(481, p.notify(5, "603 Decline", "terminated"))
		p.wants(200, p.inDialog("BYE", 6, "", "")) // crosses ours
		p.wants(481, p.inDialog("INVITE", 7, "", ""))
		if m := p.read(40 * time.Second); m != nil {
			t.Errorf("got %s", show(m))
		}
		p.wants(481, p.inDialog("BYE", 8, "", ""))
		if got, want := r.status(),
			"INVITE 180 Ringing, INVITE 200 OK, NOTIFY 180 Ringing, NOTIFY 183 Session Progress, NOTIFY 200 OK"; got != want {
			t.Errorf("recorded %s, want %s", got, want)
		}
		r.empty()
	})
}

// forget drops what the rig has recorded, so that only the switchboard's own
// memory is measured.
func (r *rig) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = nil
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// 100,000 NOTIFYs of 2 KB, in a dialog whose REFER is not answered, and then
// some more while the outcome is awaited: each is answered, none is kept, and
// the call ends as it should.
func TestNotifyFloodLeavesMemoryFlat(t *testing.T) {
	floods := 20_000 / flowtest.Share(10)
	if testing.Short() {
		floods = 5_000
	}
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.answer()
		refer := p.expect("REFER")
		seq, before := 0, heap()
		flood := func(count int) {
			const batch = 100
			for range count / batch {
				for range batch {
					seq++
					p.send(p.inDialog("NOTIFY", seq, "Event: refer\r\nSubscription-State: active\r\n", "SIP/2.0 100 Trying\r\n"+strings.Repeat("x", 2000)))
				}
				for got := 0; got < batch; {
					m := p.read(time.Second)
					if m == nil {
						t.Fatalf("%d of %d were answered", got, batch)
					}
					if m.IsRequest() {
						continue // the REFER again
					}
					if got++; m.Code() != 200 && m.Code() != 500 {
						t.Fatalf("answered %s", m.StatusLine())
					}
				}
				r.forget()
			}
		}
		flood(floods)
		if grown := heap() - before; grown > 2<<20 {
			t.Errorf("%d NOTIFYs while the REFER is not answered took %d KiB", floods, grown>>10)
		}
		p.send(p.response(refer, 202, p.contact(), ""))
		flood(floods / 10)
		if grown := heap() - before; grown > 2<<20 {
			t.Errorf("%d more NOTIFYs took %d KiB", floods/10, grown>>10)
		}
		ends(t, c, p, seq+1)
		r.empty()
	})
}

// NOTIFYs for a call that is busy with something else are not kept without end:
// the phone is asked to come again.
func TestNotifiesWaitForABusyCallWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		free := make(chan bool)
		c := r.place(spec(func(s *Spec) {
			s.Observe = func(e *Event) {
				if strings.HasSuffix(e.Text, "100 Trying") {
					<-free // the call sees nothing that comes meanwhile
				}
			}
		}))
		p.answerAndAccept()
		p.wants(200, p.notify(1, "100 Trying", "active"))
		for i := range maxInbox {
			p.wants(200, p.notify(2+i, "180 Ringing", "active"))
		}
		if m := p.wants(500, p.notify(100, "200 OK", "terminated")); m != nil && m.Get(wire.RetryAfter) == nil {
			t.Error("500 without Retry-After")
		}
		close(free)
		ends(t, c, p, 101)
		r.empty()
	})
}

// Requests of every kind in a loop: bounded, answered, and the call unharmed.
func TestRequestFloodInADialog(t *testing.T) {
	inCall(t, func(t *testing.T, r *rig, c *Call, p *rawPhone) {
		before := heap()
		for i := range 2000 {
			seq := 10 + 4*i
			p.wants(200, p.inDialog("OPTIONS", seq, "", ""))
			p.wants(405, p.inDialog("MESSAGE", seq+1, "", ""))
			p.wants(501, p.inDialog("FOO", seq+2, "", ""))
			if m := p.ask(p.inDialog("INVITE", seq+3, "", "")); m == nil || (m.Code() != 200 && m.Code() != 500) {
				t.Fatalf("re-INVITE answered %s", show(m))
			}
		}
		if grown := heap() - before; grown > 1<<20 {
			t.Errorf("8,000 requests took %d KiB", grown>>10)
		}
		p.send(p.inDialog("BYE", 100_000, "", ""))
		<-c.Done()
		if c.Err() == nil || !strings.Contains(c.Err().Error(), ErrHungUp.Error()) {
			t.Errorf("the call ended with %v", c.Err())
		}
	})
}

// A 200 of the INVITE's own transaction that is another dialog's is ignored.
func TestAnswerWithAnotherCallIDIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.invite = p.expect("INVITE")
		ok := p.response(p.invite, 200, p.contact(), "")
		branch := string(p.invite.Get(wire.Via))
		for _, forged := range []string{
			strings.Replace(ok, "Call-ID: ", "Call-ID: x", 1),
			strings.Replace(ok, "From: ", "From: <sip:evil@evil>;tag=evil\r\nX: ", 1),
			strings.Replace(ok, "From: ", "From: <sip:evil@evil>;tag=0123456789abcdef\r\nX: ", 1), // as ours look
			strings.Replace(ok, "CSeq: 1 ", "CSeq: 2 ", 1),
			strings.Replace(ok, "1 INVITE", "1 BYE", 1),
			strings.Replace(ok, branch, branch[:len(branch)-1]+"g", 1),
			strings.Replace(ok, "Via: ", "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK\r\nVia: ", 1),
		} {
			p.send(forged)
			if m := p.read(400 * time.Millisecond); m != nil && m.Method() != "INVITE" {
				t.Fatalf("%s\n was answered %s", forged, show(m))
			}
		}
		if s := r.status(); s != "" {
			t.Errorf("recorded %s", s)
		}
		p.send(ok)
		for m := p.expect1(); m.Method() == "INVITE"; m = p.expect1() {
		}
		p.send(p.response(p.expect("REFER"), 202, p.contact(), ""))
		ends(t, c, p, 1)
		r.empty()
	})
}

// A 200 that has no Contact is acknowledged and hung up, however often it comes.
func TestRepeatedAnswerWithoutContactIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.invite = p.expect("INVITE")
		ok := p.response(p.invite, 200, "", "")
		p.send(ok)
		first := p.expect("ACK")
		p.hungUp()
		<-c.Done()
		p.send(ok)
		if again := p.expect("ACK"); string(again.URI()) != string(first.URI()) {
			t.Errorf("the first ACK went to %q, the second to %q", first.URI(), again.URI())
		}
		r.empty()
	})
}

// An attacker that has read the names of a dialog over TLS, but is not within
// TLS itself, ends nothing, moves no media and reports nothing.
func TestACallOverTLSTakesNothingByOtherTransports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, siptest.NewNetwork(), phoneName+":5061;transport=tls")
		defer s.stop()
		p := &rawPhone{t: t, via: "SIP/2.0/TLS " + phoneTLS, port: phoneTLS, listener: s.listenTLS(phoneTLS)}
		defer p.listener.Close()
		c := s.place(spec())
		p.accept()
		p.answerAndAccept()
		forger := rawUDP(t, s.net, "10.0.0.66:5060")
		forger.invite, forger.via = p.invite, "SIP/2.0/UDP 10.0.0.66:5060"
		plain, err := s.net.DialFrom("10.0.0.66")(t.Context(), "tcp", ourAddr)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		byTCP := &rawPhone{t: t, via: "SIP/2.0/TCP 10.0.0.66:5060", port: "10.0.0.66:5060", invite: p.invite}
		byTCP.use(plain)
		forge := func() {
			t.Helper()
			for _, f := range []*rawPhone{forger, byTCP} {
				f.wants(403, f.notify(11, "603 Decline", "terminated"))
				f.wants(403, f.inDialog("INVITE", 12, sdpHeader, sdpOf(6000)))
				f.wants(403, f.inDialog("INFO", 13, "", ""))
				f.wants(403, f.inDialog("BYE", 14, "", ""))
				f.send(f.inDialog("ACK", 12, "", ""))
			}
		}
		forge()
		p.wants(200, p.notify(1, "100 Trying", "active"))
		p.wants(200, p.notify(2, "180 Ringing", "active"))
		p.hungUp()
		<-c.Done()
		if c.Err() != nil {
			t.Errorf("the call ended with %v", c.Err())
		}
		forge() // its subscription goes on
		answer := forger.response(p.invite, 200, forger.contact(), "")
		for _, answer := range []string{answer, strings.Replace(answer, ";tag="+phoneTag, ";tag=other", 1)} {
			forger.send(answer)
			if m := forger.read(2 * time.Second); m != nil {
				t.Errorf("a forged answer got %s", show(m))
			}
		}
		p.wants(200, p.notify(3, "200 OK", overWith))
		if got := s.status(); strings.Contains(got, "603") {
			t.Errorf("recorded %s", got)
		}
		p.conn.Close()
		s.empty()
	})
}

// Nor is a caller over TLS cancelled, or called on, by who is not.
func TestInboundCallOverTLSIsNotCancelledByOtherTransports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		s := newSecured(t, n, "", func(c *Config) {
			c.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: waits}
		})
		defer s.stop()
		dial, err := n.DialFrom("10.0.0.2")(t.Context(), "tcp", ourTLS)
		if err != nil {
			t.Fatal(err)
		}
		p := &rawPhone{t: t}
		p.use(tls.Client(dial, s.dialer()))
		byTLS := strings.NewReplacer("SIP/2.0/UDP", "SIP/2.0/TLS")
		p.wants(100, byTLS.Replace(rawInvite()))
		forger := rawUDP(t, n, "10.0.0.66:5060")
		forger.wants(481, rawOf("CANCEL", 1, "b1", ""))
		forger.wants(482, rawInvite())
		p.wants(200, byTLS.Replace(rawOf("CANCEL", 1, "b1", "")))
		p.send(byTLS.Replace(refusalACK(p.reads("INVITE", 487))))
		p.conn.Close()
		s.empty()
	})
}
