package sipflow

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// Only the calling phone is asked, in the way that the installation's phones
// know, by its first INVITE.
func TestThePhoneIsAskedToAnswerByItself(t *testing.T) {
	for word, want := range map[string]string{
		"off": "", "": "", "answer-mode": "Answer-Mode: Auto", "call-info": "Call-Info: <sip:200@sipx.test>;answer-after=0",
		"alert-info": "Alert-Info: <sip:200@sipx.test>;info=alert-autoanswer;delay=0",
	} {
		way, err := ParseAutoAnswer(word)
		if err != nil {
			t.Fatal(err)
		}
		byHand(t, func(t *testing.T, p *rawPair) {
			p.place(func(s *Spec) { s.AutoAnswer = way })
			asks := func(raw []byte) (got string) {
				for line := range strings.SplitSeq(string(raw), "\r\n") {
					for _, field := range []string{"Answer-Mode:", "Call-Info:", "Alert-Info:"} {
						if strings.HasPrefix(line, field) {
							got += line
						}
					}
				}
				return got
			}
			if got := asks(p.a.invite.Raw()); got != want {
				t.Errorf("%q: the calling phone was asked by %q, want %q", word, got, want)
			}
			p.b.invite = p.b.expect("INVITE")
			if got := asks(p.b.invite.Raw()); got != "" {
				t.Errorf("%q: the called phone was asked by %q", word, got)
			}
			p.b.ok(p.b.invite, "", sdpOf(5000))
			again := p.a.expect("INVITE")
			if got := asks(again.Raw()); got != "" {
				t.Errorf("%q: the re-INVITE asks by %q", word, got)
			}
			p.a.ok(again, "", sdpOf(4001))
			p.a.expect("ACK")
			p.b.expect("ACK")
			synctest.Wait()
			p.hangUp()
		})
	}
	if _, err := ParseAutoAnswer("callinfo"); err == nil || !strings.Contains(err.Error(), "call-info") {
		t.Errorf("a word that is none: %v", err)
	}
}

// The field is in the INVITE of a call by REFER, too, and in the one that
// follows a refused placeholder.
func TestThePhoneIsAskedAgainWithTheSecondOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		p := rawUDP(t, n, phoneAddr)
		c := r.place(spec(func(s *Spec) { s.AutoAnswer = AnswerMode }))
		first := p.expect("INVITE")
		p.send(p.response(first, 488, "", ""))
		p.expect("ACK")
		p.answerAndAccept()
		for _, m := range []string{string(first.Raw()), string(p.invite.Raw())} {
			if !strings.Contains(m, "\r\nAnswer-Mode: Auto\r\n") {
				t.Errorf("no Answer-Mode in\n%s", m)
			}
		}
		ends(t, c, p, 1)
		r.empty()
	})
}

// The PBX forwards the agent's calls to somebody else, who would be listened to.
func TestAPhoneThatIsForwardedToIsNotAskedToAnswerByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		other := n.Phone("203", thirdAddr, siptest.Script{})
		defer other.Close()
		proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"200": "secret"}, Open: true,
			Locations: map[string]string{"200": "sip:203@" + thirdAddr}})
		defer proxy.Close()
		r := newRig(t, n, proxyAddr)
		defer r.stop()
		r.place(spec(func(s *Spec) {
			s.Key.Calling, s.CallingUser = "200@sipx.test", "200@sipx.test"
			s.AutoAnswer, s.ForwardingAllowed = CallInfo, true
		}))
		time.Sleep(5 * time.Minute)
		invites := other.Requests("INVITE")
		if len(invites) == 0 {
			t.Error("the call was not forwarded")
		}
		for _, m := range invites {
			if strings.Contains(m.String(), "answer-after=0") {
				t.Error("the phone of another is asked to pick up by itself")
			}
		}
	})
}
