package sipflow

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// stranger renders a request that belongs to no call.
func stranger(method, header string, replace ...string) string {
	return strings.NewReplacer(replace...).Replace(fmt.Sprintf("%s sip:x@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP "+
		"phone.lan:5066;branch=z9hG4bKs;rport\r\n"+
		"From: <sip:s@evil.example>;tag=s\r\nTo: <sip:x@10.0.0.1>\r\nCall-ID: stranger\r\nCSeq: 1 %s\r\n%sContent-Length: 0\r\n\r\n", method,
		method, header))
}

func TestStrangersAreAnswered(t *testing.T) {
	const tagged = "To: <sip:x@10.0.0.1>;tag=0123456789abcdef"
	for _, c := range []struct {
		name, msg string
		code      int // 0: no response
		has       string
	}{
		{"OPTIONS", stranger("OPTIONS", ""), 200, "Accept: application/sdp, multipart/*"},
		{"OPTIONS says what we allow", stranger("OPTIONS", ""), 200, "Allow: " + allow},
		{"OPTIONS with an unknown extension", stranger("OPTIONS", "Require: a, b\r\nRequire: c\r\n"), 420, "Unsupported: a, b, c"},
		{"INVITE", stranger("INVITE", ""), 404, ""},
		{"INVITE that would replace a call", stranger("INVITE", "Contact: <sip:x@10.0.0.7>\r\nReplaces: nobody;to-tag=1;from-tag=2\r\n"),
			481, ""},
		{"INVITE that must replace a call", stranger("INVITE", "Contact: <sip:x@10.0.0.7>\r\nReplaces: nobody;to-tag=1;from-tag=2\r\n"+
			"Require: replaces\r\n"), 481, ""},
		{"INVITE that must replace a call, and more", stranger("INVITE", "Replaces: nobody;to-tag=1;from-tag=2\r\nRequire: replaces, x\r\n"),
			420, "Unsupported: x"},
		{"INVITE that must be taken in place of another", stranger("INVITE", "Require: replaces\r\n"), 420, "Unsupported: replaces"},
		{"OPTIONS that would replace a call", stranger("OPTIONS", "Replaces: nobody;to-tag=1;from-tag=2\r\n"), 400, ""},
		{"INVITE with a foreign scheme", stranger("INVITE", "", "sip:x@10.0.0.1 SIP", "soap.beep://10.0.0.1 SIP"), 416, ""},
		{"NOTIFY", stranger("NOTIFY", "Event: refer\r\n"), 481, "481 Subscription does not exist"},
		{"BYE", stranger("BYE", ""), 481, ""},
		{"BYE with a tag", stranger("BYE", "", "To: <sip:x@10.0.0.1>", tagged), 481, ""},
		{"BYE with a tag that is not ours", stranger("BYE", "", "To: <sip:x@10.0.0.1>", "To: <sip:x@10.0.0.1>;tag=x"), 481, ""},
		{"CANCEL", stranger("CANCEL", ""), 481, ""},
		{"REGISTER", stranger("REGISTER", ""), 405, "Allow: " + allow},
		{"SUBSCRIBE", stranger("SUBSCRIBE", ""), 405, "Allow: " + allow},
		{"FOO", stranger("FOO", ""), 501, "Allow: " + allow},
		{"ACK", stranger("ACK", ""), 0, ""},
		{"ACK with a tag", stranger("ACK", "", "To: <sip:x@10.0.0.1>", tagged), 0, ""},
		{"ACK that is malformed", stranger("ACK", "Contact\r\n"), 0, ""},
		{"malformed", stranger("OPTIONS", "Contact\r\n"), 400, "400 Header Field Without Colon"},
		{"a line that is no field", stranger("OPTIONS", "nonsense\r\n"), 200, ""},
		{"fault before the fields", stranger("OPTIONS", "", " SIP/2.0\r\nVia", " SIP/3.0\r\nVia"), 505, "CSeq: 1 OPTIONS"},
		{"blank in the Request-URI", stranger("INVITE", "", "sip:x@10.0.0.1 SIP", "sip:x@10.0.0.1; lr SIP"), 400, "CSeq: 1 INVITE"},
		{"Content-Length too long", stranger("OPTIONS", "", "Length: 0", "Length: 9"), 400, ""},
		{"malformed, nobody to tell: no Call-ID", stranger("OPTIONS", "", "Call-ID: stranger\r\n", ""), 0, ""},
		{"malformed, nobody to tell: no Via", stranger("OPTIONS", "", "Via: ", "X: "), 0, ""},
		{"Via that cannot be read", stranger("OPTIONS", "", "SIP/2.0/UDP phone", "SIP/2.0 phone"), 0, ""},
		{"response of nobody's", "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK0123456789abcdef\r\nFrom: <sip:a@b>;tag=1\r\nTo: " +
			"<sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n", 0, ""},
		{"malformed response", "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK0123456789abcdef\r\nContact\r\nFrom: <sip:a@b>\r\n" +
			"To: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n", 0, ""},
		{"response of a later version", "SIP/3.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK0123456789abcdef\r\nFrom: <sip:a@b>\r\nTo: " +
			"<sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n", 0, ""},
		{"keep-alive", "\r\n\r\n", 0, ""},
		{"garbage", "\x16\x03\x01\x02\x00\x01", 0, ""},
		{"nothing", "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, phoneAddr)
				defer r.stop()
				p := rawUDP(t, n, "10.0.0.66:4711")
				m := p.wants(c.code, c.msg)
				if m == nil {
					return
				}
				if !strings.Contains(string(m.Raw()), c.has) {
					t.Errorf("the answer has no %q:\n%s", c.has, m.Raw())
				}
				if len(wire.Tag(m.Get(wire.To))) == 0 {
					t.Errorf("the answer has no To tag:\n%s", m.Raw())
				}
				if got := string(m.Get(wire.Via)); got != "SIP/2.0/UDP phone.lan:5066;branch=z9hG4bKs;rport=4711;received=10.0.0.66" {
					t.Errorf("Via %s", got)
				}
				if again := p.ask(c.msg); again == nil || string(again.Raw()) != string(m.Raw()) {
					t.Errorf("the repeat was answered otherwise:\n%s", again.Raw())
				}
				r.empty()
			})
		})
	}
}

// A peer that does not ask for rport gets its response at the port of its Via.
func TestAnswersGoToThePortOfTheVia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		sender, listener := rawUDP(t, n, "10.0.0.66:4711"), rawUDP(t, n, "10.0.0.66:5066")
		sender.wants(0, stranger("OPTIONS", "", ";rport", ""))
		if m := listener.read(time.Second); m == nil || m.Code() != 200 {
			t.Errorf("the port of the Via got %s", show(m))
		}
	})
}

// inCall runs a test with a phone that has accepted the REFER.
func inCall(t *testing.T, f func(t *testing.T, r *rig, c *Call, p *rawPhone)) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec())
		p.answerAndAccept()
		f(t, r, c, p)
		<-c.Done()
		r.empty()
	})
}

// ends lets the call end well, which shows that it is unharmed.
func ends(t *testing.T, c *Call, p *rawPhone, seq int) {
	t.Helper()
	p.wants(200, p.notify(seq, "200 OK", "terminated"))
	p.hungUp()
	<-c.Done()
	if c.Err() != nil {
		t.Errorf("the call ended with %v", c.Err())
	}
}

// What does not belong to the dialog does not touch it (RFC 3261 §12.2.2).
func TestForgedRequestsLeaveTheCallAlone(t *testing.T) {
	for _, c := range []struct {
		name string
		msg  func(p *rawPhone) string
		code int
	}{
		{"NOTIFY with a wrong From tag", func(p *rawPhone) string { return p.notify(10, "200 OK", "terminated", "tag=phone", "tag=evil") }, 481},
		{"NOTIFY without a From tag", func(p *rawPhone) string { return p.notify(10, "200 OK", "terminated", ";tag=phone", "") }, 481},
		{"NOTIFY with a wrong Call-ID", func(p *rawPhone) string { return p.notify(10, "200 OK", "terminated", "Call-ID: ", "Call-ID: x") }, 481},
		{"NOTIFY with a wrong To tag", func(p *rawPhone) string {
			tag := string(wire.Tag(p.invite.Get(wire.From)))
			first := "f"
			if tag[0] == 'f' { // the tag is random
				first = "e"
			}
			return p.notify(10, "200 OK", "terminated", tag, first+tag[1:])
		}, 481},
		{"NOTIFY of another event", func(p *rawPhone) string {
			return p.notify(10, "200 OK", "terminated", "Event: refer", "Event: dialog")
		}, 489},
		{"BYE with a wrong From tag", func(p *rawPhone) string { return p.inDialog("BYE", 10, "", "", "tag=phone", "tag=evil") }, 481},
		{"BYE with a wrong Call-ID", func(p *rawPhone) string { return p.inDialog("BYE", 10, "", "", "Call-ID: ", "Call-ID: x") }, 481},
		{"BYE with an unknown extension", func(p *rawPhone) string { return p.inDialog("BYE", 10, "Require: x\r\n", "") }, 420},
		{"CANCEL of what was answered", func(p *rawPhone) string { return p.inDialog("CANCEL", 10, "", "") }, 481},
		{"ACK with a wrong From tag", func(p *rawPhone) string { return p.inDialog("ACK", 1, "", "", "tag=phone", "tag=evil") }, 0},
		{"ACK with a wrong Call-ID", func(p *rawPhone) string { return p.inDialog("ACK", 1, "", "", "Call-ID: ", "Call-ID: x") }, 0},
		{"ACK of nothing", func(p *rawPhone) string { return p.inDialog("ACK", 9, "", "") }, 0},
		{"malformed NOTIFY", func(p *rawPhone) string { return p.notify(10, "200 OK", "terminated", "Event: refer", "Event refer") }, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			inCall(t, func(t *testing.T, r *rig, call *Call, p *rawPhone) {
				p.wants(c.code, c.msg(p))
				if c.code == 420 {
					p.wants(c.code, c.msg(p)) // and so is its repeat
				}
				ends(t, call, p, 20)
			})
		})
	}
}

// A 200 to a re-INVITE is repeated until its ACK comes, as often as RFC 3261
// §13.3.1.4 says, by any transport.
func TestReinviteIsAnsweredUntilItIsAcknowledged(t *testing.T) {
	for _, transport := range []string{"UDP", "TCP"} {
		t.Run(transport, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				hop := phoneAddr
				var p *rawPhone
				if transport == "TCP" {
					hop += ";transport=tcp"
					p = rawTCP(t, n, phoneAddr)
				} else {
					p = rawUDP(t, n, phoneAddr)
				}
				r := newRig(t, n, hop, func(c *Config) { c.HangUpOn = Outcome })
				defer r.stop()
				c := r.place(spec())
				if transport == "TCP" {
					p.accept()
				}
				p.answerAndAccept()
				p.wants(200, p.notify(1, "100 Trying", "active"))

				offer := "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\nm=video 5000 RTP/AVP 99\r\n"
				const sdp = "Content-Type: application/sdp\r\n"
				hold := p.inDialog("INVITE", 2, sdp, offer)
				ok := p.wants(200, hold)
				if body := string(ok.Body()); !strings.Contains(body, "m=audio 2222 RTP/AVP 8\r\n") ||
					!strings.Contains(body, "m=video 0 RTP/AVP 99\r\n") {
					t.Errorf("answer %s", body)
				}
				p.wants(500, p.inDialog("INVITE", 3, sdp, offer)) // RFC 3261 §14.2
				if again := p.wants(200, hold); string(again.Raw()) != string(ok.Raw()) {
					t.Errorf("the repeat was answered otherwise: %s", again.Raw())
				}
				repeats, from := 0, time.Now()
				for m := p.read(5 * time.Second); m != nil; m = p.read(5 * time.Second) {
					if string(m.Raw()) != string(ok.Raw()) {
						t.Fatalf("got %s", show(m))
					}
					repeats++
				}
				// at 0.5, 1.5, 3.5, 7.5, ... 31.5 s; the last read waits 5 s
				if took := time.Since(from); repeats < 9 || repeats > 11 || took < 30*time.Second || took > 40*time.Second {
					t.Errorf("%d repeats in %v", repeats, took)
				}

				// The dialog goes on, and the next one is acknowledged.
				p.wants(200, p.inDialog("INVITE", 4, "", ""))
				p.send(p.inDialog("ACK", 4, "", ""))
				if m := p.read(10 * time.Second); m != nil {
					t.Errorf("after the ACK came %s", show(m))
				}
				p.wants(0, p.inDialog("INVITE", 4, "", "")) // a late copy
				p.wants(200, p.inDialog("INVITE", 5, "", ""))
				p.wants(0, p.inDialog("INVITE", 4, "", "")) // a later one: not its response
				p.send(p.inDialog("ACK", 4, "", ""))        // acknowledges nothing
				p.wants(200, p.notify(6, "200 OK", "terminated"))
				p.hungUp()
				<-c.Done()
				for m := p.read(time.Minute); m != nil; m = p.read(time.Minute) {
					t.Errorf("after the end came %s", show(m))
				}
				r.empty()
			})
		})
	}
}

// What comes in the same instant as the 2xx finds the dialog there.
func TestRequestsRightBehindTheAnswer(t *testing.T) {
	for _, method := range []string{"INFO", "BYE"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, phoneAddr+";transport=tcp", func(c *Config) { c.HangUpOn = Outcome })
				defer r.stop()
				p := rawTCP(t, n, phoneAddr)
				c := r.place(spec())
				p.accept()
				p.invite = p.expect("INVITE")
				p.wants(481, p.inDialog("INFO", 1, "", "")) // not yet answered: there is no dialog
				p.wants(200, p.response(p.invite, 200, p.contact(), "")+p.inDialog(method, 2, "", ""))
				p.expect("ACK")
				if method == "BYE" {
					<-c.Done()
					if c.Err() == nil || !strings.Contains(c.Err().Error(), ErrHungUp.Error()) {
						t.Errorf("ended with %v", c.Err())
					}
				} else {
					p.send(p.response(p.expect("REFER"), 202, p.contact(), ""))
					ends(t, c, p, 3)
				}
				r.empty()
			})
		})
	}
}
