package sipflow

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// replacesFor is the Replaces that names a phone's dialog with us.
func (p *rawPhone) replacesFor() string {
	return fmt.Sprintf("%s;to-tag=%s;from-tag=%s", p.invite.Get(wire.CallID), wire.Tag(p.invite.Get(wire.From)), phoneTag)
}

// newcomerINVITE is the first INVITE of another call.
func (p *rawPhone) newcomerINVITE(number int, header, body string) string {
	return fmt.Sprintf("INVITE sip:callcontroller@10.0.0.1:5060 SIP/2.0\r\nVia: %s;branch=z9hG4bKnew%d;rport\r\n"+
		"From: <sip:203@sipx.test>;tag=new\r\nTo: <sip:200@sipx.test>\r\n"+
		"Call-ID: new%d\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n%sContent-Length: %d\r\n\r\n%s",
		p.via, number, number, header, len(body), body)
}

// ackOf acknowledges a final response to newcomerINVITE.
func (p *rawPhone) ackOf(m *wire.Message) string {
	via, _, _ := strings.Cut(string(m.Get(wire.Via)), ";rport")
	return fmt.Sprintf("ACK sip:callcontroller@10.0.0.1:5060 SIP/2.0\r\nVia: %s\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d ACK\r\n"+
		"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n", via, m.Get(wire.From), m.Get(wire.To), m.Get(wire.CallID), m.Seq())
}

func TestINVITEWithReplacesThatIsRefused(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := rawUDP(t, p.net, "10.0.0.2:5080")
		good, contact := p.b.replacesFor(), third.contact()
		line := func(value string) string { return contact + "Replaces: " + value + "\r\n" }
		id, tags, _ := strings.Cut(good, ";")
		ours, theirs, _ := strings.Cut(tags, ";")
		swapped := ";to-tag=" + phoneTag + ";from-tag=" + strings.TrimPrefix(ours, "to-tag=")
		for i, c := range []struct {
			name, header string
			code         int
		}{
			{"another Call-ID", line("x" + good), 481},
			{"another tag of ours", line(id + ";to-tag=0123456789abcdef;" + theirs), 481},
			{"a tag that is not ours", line(id + ";to-tag=x;" + theirs), 481},
			{"another tag of the phone", line(id + ";" + ours + ";from-tag=other"), 481},
			{"no tag stands for none only", line(id + ";" + ours + ";from-tag=0"), 481},
			{"tags that are swapped", line(id + swapped), 481},
			{"the other phone's tags", line(id + ";" + strings.SplitN(p.a.replacesFor(), ";", 2)[1]), 481},
			{"no tag of ours", line(id + ";" + theirs), 400},
			{"no tag of the phone", line(id + ";" + ours), 400},
			{"an empty tag", line(id + ";" + ours + ";from-tag="), 400},
			{"a tag twice", line(good + ";from-tag=x"), 400},
			{"nothing", line(""), 400},
			{"no Call-ID", line(";" + tags), 400},
			{"two of them", line(good) + "Replaces: " + good + "\r\n", 400},
			{"two in one", line(good + ", " + good), 400},
			{"Join as well", line(good) + "Join: " + good + "\r\n", 400},
			{"early dialogs only", line(good + ";early-only"), 486},
			{"early dialogs only, in capitals", line(id + ";Early-Only;" + tags), 486},
			{"no Contact", "Replaces: " + good + "\r\n", 400},
			{"a Contact of ours", "Contact: <sip:x@" + ourAddr + ">\r\nReplaces: " + good + "\r\n", 482},
			{"another body", line(good) + "Content-Type: text/plain\r\n", 415},
			{"a session that is too brief", line(good) + "Supported: timer\r\nSession-Expires: 60\r\n" + sdpHeader, 422},
		} {
			body := ""
			if strings.Contains(c.header, "Content-Type") {
				body = sdpOf(6000)
			}
			if m := third.wants(c.code, third.newcomerINVITE(i, c.header, body)); t.Failed() {
				t.Fatalf("%s: %s", c.name, show(m))
			}
		}
		third.wants(400, strings.NewReplacer("INVITE", "OPTIONS").Replace(third.newcomerINVITE(99, line(good), "")))
		synctest.Wait()
		if n := p.sw.Stats().Inbound[InboundUnfit]; n != 22 {
			t.Errorf("%d INVITEs count as unfit, want 22", n)
		}
		p.hangUp()
		third.wants(603, third.newcomerINVITE(100, line(good), "")) // RFC 3891 §3: it has terminated
		third.wants(481, third.newcomerINVITE(101, line("x"+good), ""))
	})
}

// Neither a phone that rings nor one that waits for another is joined with anybody.
func TestINVITEWithReplacesBeforeTheBridge(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.place()
		p.b.invite = p.b.expect("INVITE")
		p.b.send(p.b.response(p.b.invite, 180, p.b.contact(), ""))
		third := rawUDP(t, p.net, "10.0.0.2:5080")
		third.wants(481, third.newcomerINVITE(1, third.contact()+"Replaces: "+p.b.replacesFor()+"\r\n", ""))
		third.wants(603, third.newcomerINVITE(2, third.contact()+"Replaces: "+p.a.replacesFor()+"\r\n", ""))
		third.wants(486, third.newcomerINVITE(3, third.contact()+"Replaces: "+p.a.replacesFor()+";early-only\r\n", ""))
		p.b.ok(p.b.invite, "", sdpOf(5000))
		p.a.ok(p.a.expect("INVITE"), "", sdpOf(4001))
		p.a.expect("ACK")
		p.b.expect("ACK")
		synctest.Wait()
		p.hangUp()
	})
}

// A call over TLS is taken over by nobody who comes without (RFC 3891 §8).
func TestINVITEWithReplacesOfADialogOverTLS(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		p.call.legs[1].peer.onlySecure()
		third := rawUDP(t, p.net, "10.0.0.2:5080")
		third.wants(403, third.newcomerINVITE(1, third.contact()+"Replaces: "+p.b.replacesFor()+"\r\n", ""))
		p.call.legs[1].peer.mu.Lock()
		p.call.legs[1].peer.secure = false
		p.call.legs[1].peer.mu.Unlock()
		p.hangUp()
	})
}

// The INVITE comes again, by another way as well, and another phone's while it is
// dealt with.
func TestINVITEWithReplacesThatComesAgain(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		third := rawUDP(t, p.net, "10.0.0.2:5080")
		header := third.contact() + "Replaces: " + p.b.replacesFor() + "\r\nRequire: replaces\r\n" + sdpHeader
		msg := third.newcomerINVITE(1, header, sdpOf(6000))
		third.wants(100, msg)
		joining := p.a.expect("INVITE")
		if !strings.Contains(string(joining.Body()), "m=audio 6000") {
			t.Errorf("A was offered\n%s", joining.Body())
		}
		third.wants(100, msg)
		third.wants(482, strings.Replace(msg, "z9hG4bKnew1", "z9hG4bKother", 1))
		other := third.newcomerINVITE(2, header, sdpOf(6002))
		third.wants(100, other)
		third.wants(491, third.newcomerINVITE(3, header, sdpOf(6004))) // two wait
		p.a.ok(joining, "", sdpOf(4002))
		p.a.expect("ACK")
		var answer *wire.Message
		for declined := false; answer == nil || !declined; {
			switch m := third.read(time.Second); {
			case m == nil:
				t.Fatalf("answered: %v, the other declined: %v", answer != nil, declined)
			case m.Code() == 200:
				answer = m
				third.send(third.ackOf(m))
			case m.Code() == 603:
				declined = true
				third.send(third.ackOf(m))
			}
		}
		if supported := string(answer.Get(wire.Supported)); !strings.Contains(supported, "replaces") ||
			!strings.Contains(string(answer.Body()), "m=audio 4002") {
			t.Errorf("answered\n%s", answer.Raw())
		}
		p.b.hungUp()
		synctest.Wait()
		p.call.stop(ErrHungUpByUser)
		p.a.hungUp()
		third.hungUp()
		<-p.call.Done()
	})
}

// Whom neither the call's servers nor its phones are must prove who he is.
func TestStrangerThatReplacesAPhoneProvesWhoHeIs(t *testing.T) {
	for _, c := range []struct{ name, password string }{{"right", "secret"}, {"wrong", "x"}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				p := &rawPair{rig: newRig(t, n, "", func(cfg *Config) {
					cfg.Inbound = &Inbound{Realm: "sipx.test", Take: func(context.Context, *Incoming) error { panic("no call comes in") },
						Secrets: func(user string) (Credentials, bool) {
							return Credentials{Username: user, Password: "secret"}, user == "203"
						}}
				}), a: rawUDP(t, n, phoneAddr), b: rawUDP(t, n, calledAddr)}
				defer p.stop()
				p.up()
				n.Name(thirdAddr, "203")
				third := siptest.NewPhone(n.Listen(thirdAddr), siptest.Account{User: "203", Password: c.password}, siptest.Script{})
				defer third.Close()
				done := make(chan error, 1)
				go func() {
					done <- third.Call(t.Context(), "sip:callcontroller@10.0.0.1:5060", replacesHeader(p.b.replacesFor()))
				}()
				if c.password != "secret" {
					if err := <-done; err == nil || !strings.Contains(err.Error(), "401") {
						t.Errorf("the stranger got %v, want 401", err)
					}
					synctest.Wait()
					p.hangUp()
					p.empty()
					return
				}
				p.a.ok(p.a.expect("INVITE"), "", sdpOf(4002))
				p.a.expect("ACK")
				p.b.hungUp()
				if err := <-done; err != nil {
					t.Error(err)
				}
				third.HangUp()
				p.a.hungUp()
				<-p.call.Done()
				p.empty()
			})
		})
	}
}

// A caller's own dialog is not replaced before it has acknowledged our 2xx, for no BYE
// may go to it.
func TestINVITEWithReplacesBeforeTheACK(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		p.next(180)
		m := p.next(200)
		replaces := "Replaces: raw1;to-tag=" + string(m.ToTag()) + ";from-tag=f1\r\nMax-Forwards"
		p.wants(491, rawInvite("b1", "b2", "raw1", "raw2", "Max-Forwards", replaces))
		p.rawPhone.send(within(m, "ACK", 1, "", ""))
		p.rawPhone.send(within(m, "BYE", 2, "", ""))
		p.next(200)
	})
}

// A flood of such INVITEs is bounded, as requests in the dialog are.
func TestINVITEsWithReplacesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := &rawPair{rig: newRig(t, n, "", func(cfg *Config) { cfg.Limits.DialogRate = 10 }),
			a: rawUDP(t, n, phoneAddr), b: rawUDP(t, n, calledAddr)}
		defer p.stop()
		p.up()
		third := rawUDP(t, n, "10.0.0.4:5060") // nobody whom the call knows
		codes := map[int]int{}
		for i := range 30 {
			third.send(third.newcomerINVITE(i, third.contact()+"Replaces: "+p.b.replacesFor()+"\r\n", ""))
			for m := third.read(5 * time.Millisecond); m != nil; m = third.read(5 * time.Millisecond) {
				codes[m.Code()]++
				if m.Code() == 403 {
					third.send(third.ackOf(m))
				}
			}
		}
		if codes[403] == 0 || codes[403] > 12 || codes[500] == 0 {
			t.Errorf("answered %v", codes)
		}
		p.hangUp()
		for third.read(time.Minute) != nil {
		}
		p.empty()
	})
}

func FuzzReplaces(f *testing.F) {
	for _, s := range []string{"a@b;to-tag=1;from-tag=2", "a;to-tag=1;from-tag=2;early-only", ";",
		"a;to-tag;from-tag", "a ; TO-TAG = 1 ;from-tag=0", "\xff;to-tag=\xff;from-tag=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		d, ok := parseReplaces(value)
		if !ok {
			return
		}
		again, ok := parseReplaces(d.callID + ";to-tag=" + d.toTag + ";from-tag=" + d.fromTag)
		if !ok || again.callID != d.callID || again.toTag != d.toTag || again.fromTag != d.fromTag {
			t.Errorf("%q is read as %+v, and then as %+v", value, d, again)
		}
		b := &bridge{call: &Call{sw: &Switchboard{}}}
		if to, ok := b.translateReplaces("<sip:a@b?Replaces=" + escapeHeaderValue(value) + ">"); !ok || !strings.HasPrefix(to, "<sip:") {
			t.Errorf("%q becomes %q", value, to)
		}
	})
}

// Phones that may replace others see by our INVITE and 2xx that they can.
func TestReplacesIsSupportedWhereItIs(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		for _, phone := range []*rawPhone{p.a, p.b} {
			if !wire.Lists(phone.invite, wire.Supported, "replaces") || !wire.Lists(phone.invite, wire.Supported, "timer") {
				t.Errorf("Supported: %s", phone.invite.Get(wire.Supported))
			}
		}
		p.hangUp()
		p.place(byRefer)
		if wire.Lists(p.a.invite, wire.Supported, "replaces") {
			t.Error("a call by REFER is nobody's to replace")
		}
		p.call.stop(ErrHungUpByUser)
		p.a.hungUp()
		<-p.call.Done()
	})
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		p.next(180)
		m := p.next(200)
		if !wire.Lists(m, wire.Supported, "replaces") || !wire.Lists(m, wire.Supported, "timer") {
			t.Errorf("Supported: %s", m.Get(wire.Supported))
		}
		p.rawPhone.send(within(m, "ACK", 1, "", ""))
		p.rawPhone.send(within(m, "BYE", 2, "", ""))
		p.next(200)
	})
}

// A phone writes into From what it likes: it hangs up no call of that name.
func TestAKeyThatIsHeldIsNotTakenByAPhone(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		silent := rawUDP(t, p.net, thirdAddr)
		other, err := p.sw.Place(t.Context(), spec(func(s *Spec) {
			s.Called, s.Method, s.CallingUser, s.CalledUser = "203@sipx.test", MethodInvite, "204@10.0.0.4", "203@10.0.0.4"
		}), Invite)
		if err != nil {
			t.Fatal(err)
		}
		silent.invite = silent.expect("INVITE")
		silent.send(silent.response(silent.invite, 180, "", ""))
		third := rawUDP(t, p.net, "10.0.0.2:5080")
		third.wants(100, third.newcomerINVITE(1, third.contact()+"Replaces: "+p.b.replacesFor()+"\r\n"+sdpHeader, sdpOf(6000)))
		p.a.ok(p.a.expect("INVITE"), "", sdpOf(4002))
		p.a.expect("ACK")
		p.b.hungUp()
		for m := third.read(time.Second); m != nil; m = third.read(100 * time.Millisecond) {
			if m.Code() == 200 {
				third.send(third.ackOf(m))
			}
		}
		if got := p.sw.Find(other.Key); got != other || p.call.Holds() != p.call.Key || p.sw.Find(p.call.Key) != p.call {
			t.Errorf("the key is held by %v, the call holds %s", got, p.call.Holds())
		}
		other.stop(ErrHungUpByUser)
		silent.send(silent.response(silent.expect("CANCEL"), 200, "", ""))
		silent.send(silent.response(silent.invite, 487, "", ""))
		silent.expect("ACK")
		p.call.stop(ErrHungUpByUser)
		p.a.hungUp()
		third.hungUp()
		<-p.call.Done()
		<-other.Done()
	})
}
