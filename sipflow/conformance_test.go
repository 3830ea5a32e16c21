package sipflow

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// A phone that cannot take the placeholder is asked for an offer, then gets a
// description without streams, and one whose stream is not used, each once (RFC 3725
// §4.4). One that refuses the call
// is not asked again.
func TestPhoneThatRefusesThePlaceholderIsOfferedLess(t *testing.T) {
	for _, tc := range []struct {
		code  int
		again bool
	}{{400, true}, {415, true}, {488, true}, {606, true}, {486, false}, {404, false}, {480, false}} {
		for _, flow := range []Flow{Refer, Invite} {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
				defer r.stop()
				p := rawUDP(t, n, phoneAddr)
				c, err := r.sw.Place(t.Context(), spec(), flow)
				if err != nil {
					t.Fatal(err)
				}
				offers := []string{"\r\nm=audio 2222 RTP/AVP 0 8 9 18 96 101\r\na=sendrecv\r\n", "", "\r\nt=0 0\r\n",
					"\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n"}
				if !tc.again {
					offers = offers[:1]
				}
				for i, want := range offers {
					p.invite = p.expect("INVITE")
					body := string(p.invite.Body())
					version := fmt.Sprintf(" %d IN IP4 10.0.0.1\r\ns=", max(i, 1))
					if !strings.Contains(body, want) || i > 0 && !strings.HasSuffix(body, want) || (body == "") != (want == "") ||
						body != "" && !strings.Contains(body, version) || int(p.invite.Seq()) != i+1 {
						t.Errorf("%d: offer %d is\n%s", tc.code, i+1, p.invite.Raw())
					}
					p.send(p.response(p.invite, tc.code, "", ""))
					p.expect("ACK")
				}
				p.quiet(5 * time.Second)
				<-c.Done()
				if c.Err() == nil || !strings.Contains(c.Err().Error(), fmt.Sprint(tc.code)) {
					t.Errorf("ended with %v", c.Err())
				}
				r.empty()
			})
		}
	}
}

// The call goes on with the offer that is taken.
func TestOfferThatIsTakenIsAsGoodAsThePlaceholder(t *testing.T) {
	for refused := range 4 {
		offerIsTaken(t, refused)
	}
}

func offerIsTaken(t *testing.T, refused int) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		for range refused {
			p.send(p.response(p.expect("INVITE"), 488, "", ""))
			p.expect("ACK")
		}
		p.answerAndAccept()
		ends(t, c, p, 1)
		r.empty()
	})
}

// CANCEL waits for a provisional response (RFC 3261 §9.1): a phone that stirs
// only when nobody wants it any more is cancelled then, or hung up.
func TestPhoneThatStirsWhenItIsTooLate(t *testing.T) {
	for _, stirs := range []int{180, 200} {
		t.Run(fmt.Sprint(stirs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, phoneAddr)
				defer r.stop()
				p := rawUDP(t, n, phoneAddr)
				c := r.place(spec(func(s *Spec) { s.Timeout = 5 * time.Second }))
				p.invite = p.expect("INVITE")
				for began := time.Now(); time.Since(began) < 10*time.Second; {
					if m := p.read(time.Second); m != nil && m.Method() != "INVITE" {
						t.Fatalf("before any response came %s", show(m))
					}
				}
				p.send(p.response(p.invite, stirs, p.contact(), ""))
				if stirs == 180 {
					m := p.expect("CANCEL")
					if string(m.Get(wire.Via)) != string(p.invite.Get(wire.Via)) || m.Seq() != p.invite.Seq() ||
						string(m.URI()) != string(p.invite.URI()) {
						t.Errorf("this CANCEL is not the INVITE's:\n%s", m.Raw())
					}
					p.send(p.response(m, 200, "", ""))
					p.send(p.response(p.invite, 487, "", ""))
					p.expect("ACK")
				} else {
					p.expect("ACK")
					p.hungUp()
				}
				<-c.Done()
				if c.Err() == nil || !strings.Contains(c.Err().Error(), ErrNoAnswer.Error()) {
					t.Errorf("ended with %v", c.Err())
				}
				r.empty()
			})
		})
	}
}

// The route set is Record-Route from behind; a strict router (no lr) takes the
// Request-URI's place (RFC 3261 §12.1.2, §12.2.1.1, §16.12).
func TestRequestsTakeTheRecordedRoute(t *testing.T) {
	const near, far = "<sip:" + phoneAddr + ";lr;near>", "<sip:10.0.0.8;lr;far>"
	for _, tc := range []struct {
		name, record, uri string
		routes            []string
	}{
		{"two loose routers", "Record-Route: " + far + "\r\nRecord-Route: " + near + "\r\n", "sip:201@10.0.0.77", []string{near, far}},
		{"in one field", "Record-Route: " + far + ", " + near + "\r\n", "sip:201@10.0.0.77", []string{near, far}},
		{"the first is strict", "Record-Route: " + far + ", <sip:" + phoneAddr + ">\r\n", "sip:" + phoneAddr,
			[]string{far, "<sip:201@10.0.0.77>"}},
		{"the second is strict", "Record-Route: <sip:10.0.0.8>, " + near + "\r\n", "sip:201@10.0.0.77", []string{near, "<sip:10.0.0.8>"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, phoneAddr)
				defer r.stop()
				p := rawUDP(t, n, phoneAddr) // the near router
				c := r.place(spec())
				p.invite = p.expect("INVITE")
				p.send(p.response(p.invite, 200, tc.record+"Contact: <sip:201@10.0.0.77>\r\n", ""))
				for _, method := range []string{"ACK", "REFER", "BYE"} {
					m := p.expect(method)
					var routes []string
					for v := range m.All(wire.Route) {
						routes = append(routes, string(v))
					}
					if string(m.URI()) != tc.uri || !slices.Equal(routes, tc.routes) {
						t.Errorf("%s %s by %q, want %s by %q", method, m.URI(), routes, tc.uri, tc.routes)
					}
					switch method {
					case "REFER":
						p.send(p.response(m, 202, "", ""))
						p.wants(200, p.notify(1, "180 Ringing", "active"))
					case "BYE":
						p.send(p.response(m, 200, "", ""))
					}
				}
				<-c.Done()
				r.empty()
			})
		})
	}
}

// Early media needs 100rel (RFC 3262 §5: an offer in an unreliable provisional
// response is none): the calling phone waits for the 200.
func TestUnreliableEarlyMediaIsNotOffered(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.place()
		p.b.invite = p.b.expect("INVITE")
		p.b.send(p.b.response(p.b.invite, 183, p.b.contact()+sdpHeader, sdpOf(5000)))
		p.a.quiet(5 * time.Second)
		p.b.quiet(0) // no PRACK
		p.b.ok(p.b.invite, "", sdpOf(5001))
		m := p.a.expect("INVITE")
		if !strings.Contains(string(m.Body()), "m=audio 5001") {
			t.Errorf("A was offered\n%s", m.Body())
		}
		p.a.ok(m, "", sdpOf(4001))
		p.a.expect("ACK")
		p.b.expect("ACK")
		synctest.Wait()
		p.hangUp()
	})
}

// A 491 of the other phone is the asking one's to wait out (RFC 3261 §14.1).
func TestRelayed491IsNotOursToRepeat(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002)))
		p.b.send(p.b.response(p.b.expect("INVITE"), 491, "", ""))
		p.b.expect("ACK")
		p.a.response1(491)
		p.a.send(p.a.ack(1, ""))
		p.b.quiet(10 * time.Second)
		p.a.send(p.a.inDialog("INVITE", 2, sdpHeader, sdpOf(4002)))
		p.b.ok(p.b.expect("INVITE"), "", sdpOf(5002))
		p.b.expect("ACK")
		p.a.response1(200)
		p.a.send(p.a.ack(2, ""))
		synctest.Wait()
		p.hangUp()
	})
}

// Both phones hold at once: one of them gets 491 while the other's is pending,
// and comes again.
func TestBothPhonesHoldAtOnce(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, held("10.0.0.2")))
		m := p.b.expect("INVITE")
		p.b.send(p.b.inDialog("INVITE", 1, sdpHeader, held("10.0.0.3")))
		p.b.response1(491)
		p.b.send(p.b.ack(1, ""))
		p.a.quiet(0)
		p.b.ok(m, "", sdpOf(5002))
		p.b.expect("ACK")
		p.a.response1(200)
		p.a.send(p.a.ack(1, ""))
		synctest.Wait()
		p.b.send(p.b.inDialog("INVITE", 2, sdpHeader, held("10.0.0.3")))
		p.a.ok(p.a.expect("INVITE"), "", sdpOf(4002))
		p.a.expect("ACK")
		if body := string(p.b.response1(200).Body()); !strings.Contains(body, "m=audio 4002") {
			t.Errorf("B was answered\n%s", body)
		}
		p.b.send(p.b.ack(2, ""))
		synctest.Wait()
		p.hangUp()
	})
}

// What became of the REFER is told by its code. 481 says that the call is gone
// (RFC 5057 §5.1): there is nobody left to be bridged.
func TestRefusedReferIsToldAndNotBridged(t *testing.T) {
	for _, tc := range []struct {
		code int
		line string
	}{{481, "REFER 481 Call/Transaction Does Not Exist"}} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			r := newRig(t, n, phoneAddr, fallback)
			defer r.stop()
			p := rawUDP(t, n, phoneAddr)
			c := r.place(spec())
			p.answer()
			m := p.expect("REFER")
			if got := string(m.Get(wire.ReferTo)); got != "<sip:202@sipx.test>" {
				t.Errorf("Refer-To: %s", got)
			}
			if raw := string(m.Raw()); !strings.Contains(raw, "\r\nReferred-By: <sip:201@sipx.test>\r\n") {
				t.Errorf("no Referred-By in\n%s", raw)
			}
			for _, field := range []string{"\r\nRefer-Sub:", "\r\nRequire:"} { // RFC 4488 §4, RFC 7614 §4: we want its NOTIFYs
				if strings.Contains(string(m.Raw()), field) {
					t.Errorf("%s in\n%s", field, m.Raw())
				}
			}
			_, phrase, _ := strings.Cut(strings.TrimPrefix(tc.line, "REFER "), " ")
			p.send(strings.Replace(p.response(m, tc.code, "", ""), wire.Phrase(tc.code), phrase, 1))
			bye := p.hungUp()
			if got := string(bye.Get(wire.Reason)); !strings.HasPrefix(got, fmt.Sprintf("SIP;cause=%d;", tc.code)) {
				t.Errorf("%d: hung up with Reason %q", tc.code, got)
			}
			<-c.Done()
			if got := r.status(); !strings.HasSuffix(got, tc.line) {
				t.Errorf("status lines %s, want %s", got, tc.line)
			}
			if c.Err() == nil || !strings.Contains(c.Err().Error(), fmt.Sprint(tc.code)) {
				t.Errorf("ended with %v", c.Err())
			}
			p.quiet(time.Second)
			r.empty()
		})
	}
}

// Whatever a phone refuses the REFER for, it is up and can be bridged. Only what
// tells of the phone, and not of the moment, is remembered.
func TestPhoneThatRefusesReferIsBridged(t *testing.T) {
	for code, remembered := range map[int]bool{400: false, 403: true, 404: false, 405: true, 406: true, 415: false, 420: true, 429: false,
		480: false, 486: false, 488: false, 491: false, 500: false, 501: true, 503: false, 600: false, 603: true} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			r := newRig(t, n, phoneAddr, fallback)
			defer r.stop()
			p := rawUDP(t, n, phoneAddr)
			c := r.place(spec())
			p.answer()
			p.send(p.response(p.expect("REFER"), code, "", ""))
			called := p.expect("INVITE")
			if got := called.URI(); !strings.HasPrefix(string(got), "sip:202@") {
				t.Errorf("%d: the next INVITE is for %s", code, got)
			}
			p.send(p.response(called, 486, "", ""))
			p.expect("ACK")
			p.hungUp()
			<-c.Done()
			if got := r.sw.phones.refusesRefer(phoneKey{"201@sipx.test", ""}); got != remembered {
				t.Errorf("%d: remembered: %v", code, got)
			}
			r.empty()
		})
	}
}

// Whether there is a subscription (RFC 4488) is between the phones.
func TestRefersubPassesBetweenThePhones(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		p.a.send(p.a.inDialog("REFER", 1, "Refer-To: <sip:203@sipx.test>\r\nRefer-Sub: false\r\nSupported: norefersub\r\n", ""))
		m := p.b.expect("REFER")
		for _, field := range []string{"\r\nRefer-Sub: false\r\n", "\r\nSupported: norefersub\r\n"} {
			if !strings.Contains(string(m.Raw()), field) {
				t.Errorf("B got no %q:\n%s", field, m.Raw())
			}
		}
		p.b.send(p.b.response(m, 202, p.b.contact()+"Refer-Sub: false\r\n", ""))
		if res := p.a.response1(202); !strings.Contains(string(res.Raw()), "\r\nRefer-Sub: false\r\n") {
			t.Errorf("A got\n%s", res.Raw())
		}
		p.a.quiet(40 * time.Second)
		p.hangUp()
	})
}

// Only the status line of a sipfrag counts (RFC 3420, RFC 3515 §2.4.5), and
// only a good one; whatever it is, the NOTIFY is answered and the call goes on.
func TestEveryFormOfSipfragIsLivedWith(t *testing.T) {
	inCall(t, func(t *testing.T, r *rig, c *Call, p *rawPhone) {
		const header = "Subscription-State: active\r\nContent-Type: message/sipfrag;version=2.0\r\nEvent: refer"
		for i, body := range []string{
			"SIP/2.0 181 Call Is Being Forwarded\r\nVia: SIP/2.0/UDP x\r\nContact: <sip:x>\r\n\r\n", "SIP/2.0 182 Queued\n", "", "\x00\xff<xml/>",
			"SIP/2.0 183 x\r\n" + strings.Repeat("X: y\r\n", 9000), "INVITE sip:x SIP/2.0\r\n", "SIP/2.0 099 x",
		} {
			id := []string{"", ";id=2", ";ID=\"2\""}[i%3] // RFC 3515 §2.4.6: the first may have one, too
			p.wants(200, p.inDialog("NOTIFY", i+1, header+id+"\r\n", body))
		}
		got := r.status()
		for _, line := range []string{"NOTIFY 181 Call Is Being Forwarded", "NOTIFY 182 Queued", "NOTIFY 183 x"} {
			if !strings.Contains(got, line) {
				t.Errorf("no %q in %.400s", line, got)
			}
		}
		if len(got) > 4096 {
			t.Errorf("%d bytes are recorded", len(got))
		}
		ends(t, c, p, 20)
	})
}

// A BYE that crosses ours is answered well after the call, too; what is new is
// not (RFC 3261 §15.1.2).
func TestByeThatComesAfterTheEndIsAnswered(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		p.hangUp()
		synctest.Wait()
		for _, ph := range []*rawPhone{p.a, p.b} {
			ph.wants(200, ph.inDialog("BYE", 5, "", ""))
			ph.wants(200, ph.inDialog("BYE", 5, "", ""))
			ph.wants(481, ph.inDialog("INFO", 6, "", ""))
			ph.wants(481, ph.inDialog("BYE", 7, "", "", "Call-ID: ", "Call-ID: x"))
		}
		time.Sleep(40 * time.Second)
		p.a.wants(481, p.a.inDialog("BYE", 8, "", ""))
	})
}

// A phone may repeat its 200 until long after the call (RFC 6026 §8.4, RFC 3261
// §13.2.2.4): each is acknowledged, none is reported again.
func TestRepeatedAnswerIsAcknowledgedBeyondTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.answerAndAccept()
		ok := p.response(p.invite, 200, p.contact(), "")
		began := time.Now()
		again := func() {
			p.send(ok)
			if ack := p.expect("ACK"); ack.Seq() != p.invite.Seq() || time.Since(began) > time.Second {
				t.Errorf("ACK of %d after %v", ack.Seq(), time.Since(began))
			}
			p.quiet(500 * time.Millisecond)
			began = time.Now()
		}
		for range 10 {
			again()
		}
		ends(t, c, p, 1)
		synctest.Wait()
		began = time.Now()
		for range 10 {
			again()
		}
		if got := strings.Count(r.status(), "INVITE 200 OK"); got != 1 {
			t.Errorf("the answer is reported %d times: %s", got, r.status())
		}
		r.empty()
	})
}

// Fifty early dialogs and then a flood of 2xx, each of another phone: what is
// acknowledged and hung up is bounded, and the call of the first goes on.
func TestFloodOfForkedAnswersIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.invite = p.expect("INVITE")
		fork := func(code, i int) string {
			return strings.Replace(p.response(p.invite, code, p.contact(), ""), "tag="+phoneTag, fmt.Sprintf("tag=fork%d", i), 1)
		}
		for i := range 50 {
			p.send(fork(180, i))
		}
		p.send(p.response(p.invite, 200, p.contact(), ""))
		p.expect("ACK")
		const answers = 300
		byes := map[string]bool{}
		for i := range answers {
			p.send(fork(200, i))
			for m := p.read(time.Millisecond); m != nil; m = p.read(time.Millisecond) {
				switch {
				case m.IsRequest() && m.Method() == "BYE":
					byes[string(m.Get(wire.To))] = true
					p.send(p.response(m, 200, "", ""))
				case m.IsRequest() && m.Method() == "REFER":
					p.queue = append(p.queue, m)
				}
			}
		}
		if len(byes) != maxForks {
			t.Errorf("%d of %d answers were hung up, want %d", len(byes), answers, maxForks)
		}
		p.send(p.response(p.expect("REFER"), 202, p.contact(), ""))
		for m := p.read(2 * time.Second); m != nil; m = p.read(2 * time.Second) {
		}
		p.send(p.notify(1, "200 OK", "terminated"))
		for m := p.read(2 * time.Second); m != nil; m = p.read(2 * time.Second) {
			if m.IsRequest() && m.Method() == "BYE" {
				p.send(p.response(m, 200, "", ""))
			}
		}
		<-c.Done()
		if c.Err() != nil {
			t.Errorf("the call ended with %v", c.Err())
		}
		r.empty()
	})
}

// Display names come from files, subjects from clients: whatever they hold,
// each is one line, or nothing goes out.
func TestNothingOfARequestBreaksALine(t *testing.T) {
	for _, evil := range []string{"a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\x00X-Evil: 1", "\"\r\nX-Evil: 1", "\\\r\nX-Evil: 1"} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			r := newRig(t, n, phoneAddr)
			defer r.stop()
			p := rawUDP(t, n, phoneAddr)
			c := r.place(spec(func(s *Spec) { s.AgentName, s.Subject, s.ConfPIN = evil, evil, evil }))
			p.invite = p.expect("INVITE")
			p.send(p.response(p.invite, 200, p.contact(), ""))
			p.expect("ACK")
			refer := p.expect("REFER")
			p.send(p.response(refer, 202, "", ""))
			p.wants(200, p.notify(1, "180 Ringing", "active"))
			for _, m := range []*wire.Message{p.invite, refer, p.hungUp()} {
				head, _, _ := strings.Cut(string(m.Raw()), "\r\n\r\n")
				for line := range strings.SplitSeq(head, "\r\n") {
					if strings.HasPrefix(line, "X-Evil") || strings.ContainsAny(line, "\r\n\x00") {
						t.Errorf("%q became\n%q", evil, head)
					}
				}
			}
			<-c.Done()
			r.empty()
		})
		byHand(t, func(t *testing.T, p *rawPair) {
			p.place(func(s *Spec) { s.AgentName, s.Subject, s.ConfPIN = evil, evil, evil })
			p.b.invite = p.b.expect("INVITE") // its PIN is a field of its own
			if raw := string(p.b.invite.Raw()); strings.Contains(raw, "\nX-Evil") || strings.Contains(raw, "\rX-Evil") ||
				!strings.Contains(raw, "X-Evil: 1\r\n") {
				t.Errorf("%q became\n%q", evil, raw)
			}
			p.b.send(p.b.response(p.b.invite, 486, "", ""))
			p.b.expect("ACK")
			p.a.hungUp()
			<-p.call.Done()
		})
	}
}

// A 2xx to a re-INVITE that the call has given up is still acknowledged
// (RFC 3261 §13.2.2.4), and its dialog is hung up once.
func TestLateAnswerToAReinviteIsAcknowledged(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		m := p.ring()
		p.call.stop(ErrHungUpByUser)
		bye := p.a.expect("BYE")
		p.a.ok(m, "", sdpOf(4001))
		if ack := p.a.expect("ACK"); ack.Seq() != m.Seq() {
			t.Errorf("ACK of %d, want %d", ack.Seq(), m.Seq())
		}
		p.a.send(p.a.response(bye, 200, "", ""))
		p.b.expect("ACK")
		p.b.hungUp()
		<-p.call.Done()
		p.a.quiet(time.Second)
	})
}
