package sipflow

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// dial places a call of the number behind A, the gateway, to be joined with B.
func (p *rawPair) dial(change func(*Spec)) {
	p.t.Helper()
	s := spec(func(s *Spec) {
		s.Method, s.Key.Agent, s.Key.Called = MethodInvite, "200@10.0.0.3", "call-1"
		s.Dial = &Dialling{Gateway: "sip:10.0.0.2", Number: "+4930555001", Caller: "+493012345", Target: "sip:room@10.0.0.3",
			Credentials: Credentials{Username: "trunk", Password: "of the trunk"}, Realm: "gw"}
		if change != nil {
			change(s)
		}
	})
	var err error
	if p.call, err = p.sw.Place(p.t.Context(), s, Dial); err != nil {
		p.t.Fatal(err)
	}
	p.a.invite = p.a.expect("INVITE")
}

// challenged has the phone ask for credentials; it gives the username of those
// that it gets, "" for none.
func (p *rawPhone) challenged(m *wire.Message, realm string) (user string) {
	p.t.Helper()
	p.send(p.response(m, 407, fmt.Sprintf("Proxy-Authenticate: Digest realm=%q, nonce=\"n1\"\r\n", realm), ""))
	p.expect("ACK")
	if p.invite = p.expect1(); p.invite == nil {
		return ""
	}
	_, after, _ := strings.Cut(string(p.invite.Get(wire.ProxyAuthorization)), `username="`)
	user, _, _ = strings.Cut(after, `"`)
	return user
}

func (p *rawPair) phoneAnswers() {
	p.t.Helper()
	p.a.send(p.a.response(p.a.invite, 200, p.a.contact()+sdpHeader, sdpOf(4000)))
	p.b.invite = p.b.expect("INVITE")
}

func (p *rawPair) roomAnswers() {
	p.t.Helper()
	p.b.send(p.b.response(p.b.invite, 200, p.b.contact()+sdpHeader, sdpOf(5000)))
	p.b.expect("ACK")
	p.a.expect("ACK")
}

func TestDialGivesEachPartyItsOwnCredentialsOnly(t *testing.T) {
	for _, tt := range []struct {
		name          string
		gateway, room string // the realms that they ask for
		toGateway     string // whose credentials they get
		toRoom        string
	}{
		{"each asks for its own", "gw", "sipx.test", "trunk", "200"},
		{"the gateway asks for the agent's", "sipx.test", "", "", ""},
		{"the room asks for the gateway's", "", "gw", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.dial(nil)
				if tt.gateway != "" {
					if got := p.a.challenged(p.a.invite, tt.gateway); got != tt.toGateway {
						t.Fatalf("the gateway gets the credentials of %q, want %q", got, tt.toGateway)
					}
				}
				if tt.gateway == "" || tt.toGateway != "" {
					p.phoneAnswers()
					if got := p.b.challenged(p.b.invite, tt.room); got != tt.toRoom {
						t.Fatalf("the room gets the credentials of %q, want %q", got, tt.toRoom)
					}
					if tt.toRoom != "" {
						p.roomAnswers()
						p.hangUp()
						return
					}
					p.a.expect("ACK")
					p.a.hungUp()
				}
				<-p.call.Done()
				var refused *StatusError
				if !errors.As(p.call.Err(), &refused) || refused.Code != 407 {
					t.Errorf("ended with %v", p.call.Err())
				}
			})
		})
	}
}

func TestDialSaysWhoCalls(t *testing.T) {
	for _, tt := range []struct {
		name            string
		change          func(*Spec)
		from            string
		privacy, assert string
	}{
		{"a number", nil, `"Alice \"A\" Agent" <sip:+493012345@10.0.0.2>`, "", ""},
		{"in a domain of its own", func(s *Spec) { s.Dial.GatewayDomain = "tel.example" }, `"Alice \"A\" Agent" <sip:+493012345@tel.example>`, "",
			""},
		{"anonymous", func(s *Spec) { s.Dial.Anonymous = true }, `"Anonymous" <sip:anonymous@anonymous.invalid>`, "id",
			"<sip:+493012345@10.0.0.2>"},
		{"anonymous without a number", func(s *Spec) { s.Dial.Anonymous, s.Dial.Caller = true, "" },
			`"Anonymous" <sip:anonymous@anonymous.invalid>`, "id", ""},
		{"lines in all of it", func(s *Spec) {
			s.AgentName, s.Subject, s.Dial.Caller = "A\r\nX-Evil: 1", "b\r\nX-Evil: 2", "+49 30\r\nX-Evil: 3\r\n\r\n"
			s.Dial.Number, s.Dial.Target = "+4930555001\r\nX-Evil: 4\r\n", "sip:room@10.0.0.3\r\n"
		}, `"AX-Evil: 1" <sip:+4930X-Evil3@10.0.0.2>`, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.dial(tt.change)
				p.phoneAnswers()
				p.roomAnswers()
				for _, m := range []*wire.Message{p.a.invite, p.b.invite} {
					m.Fields(func(_ wire.Header, name, _ []byte) bool {
						if strings.EqualFold(string(name), "X-Evil") {
							t.Errorf("a line of a client's became a header field:\n%s", m.Raw())
						}
						return true
					})
				}
				if from, _, _ := strings.Cut(string(p.a.invite.Get(wire.From)), ";tag="); from != tt.from {
					t.Errorf("From %s, want %s", from, tt.from)
				}
				got := map[string]string{}
				p.a.invite.Fields(func(_ wire.Header, name, value []byte) bool {
					got[string(name)] = string(value)
					return true
				})
				if got["Privacy"] != tt.privacy || got["P-Asserted-Identity"] != tt.assert {
					t.Errorf("Privacy %q, P-Asserted-Identity %q, want %q, %q", got["Privacy"], got["P-Asserted-Identity"], tt.privacy, tt.assert)
				}
				if raw := string(p.b.invite.Raw()); strings.Contains(raw, "P-Asserted-Identity") || strings.Contains(raw, "+493012345") {
					t.Errorf("the room is told who calls:\n%s", raw)
				}
				p.hangUp()
			})
		})
	}
}

// The room is not called before the phone has answered, and the phone's answer
// is acknowledged on hold, not refused, while the room rings.
func TestDialHoldsThePhoneWhileTheRoomRings(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.dial(nil)
		if len(p.a.invite.Body()) != 0 {
			t.Errorf("the phone is offered\n%s", p.a.invite.Body())
		}
		p.a.send(p.a.response(p.a.invite, 180, "", ""))
		p.b.quiet(10 * time.Second)
		p.phoneAnswers()
		p.b.send(p.b.response(p.b.invite, 180, "", ""))
		ack := p.a.expect("ACK")
		says(t, "the phone", ack, "inactive")
		if !strings.Contains(string(ack.Body()), "m=audio 2222 RTP/AVP 0 8\r\n") {
			t.Errorf("the phone's offer is answered\n%s", ack.Body())
		}
		p.b.send(p.b.response(p.b.invite, 200, p.b.contact()+sdpHeader, sdpOf(5000)))
		p.b.expect("ACK")
		m := p.a.expect("INVITE")
		says(t, "the phone", m, "sendrecv")
		p.a.ok(m, "", sdpOf(4000))
		p.a.expect("ACK")
		p.b.quiet(time.Second)
		p.hangUp()
	})
}

// A gateway that insists on reliable provisional responses offers in the first
// of them (RFC 3262 §5).
func TestDialAnswersAnOfferBeforeThePhoneDoes(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		var kinds []EventKind
		p.dial(func(s *Spec) {
			s.Observe = func(e *Event) { kinds = append(kinds, e.Kind) }
		})
		p.a.send(p.a.response(p.a.invite, 183, "Require: 100rel\r\nRSeq: 7\r\n"+p.a.contact()+sdpHeader, sdpOf(4000)))
		prack := p.a.expect("PRACK")
		says(t, "the phone", prack, "inactive")
		p.a.send(p.a.response(prack, 200, "", ""))
		p.b.quiet(5 * time.Second)
		p.a.send(p.a.response(p.a.invite, 200, p.a.contact(), ""))
		if ack := p.a.expect("ACK"); len(ack.Body()) != 0 {
			t.Errorf("the ACK answers an offer that was answered:\n%s", ack.Body())
		}
		p.b.invite = p.b.expect("INVITE")
		p.b.send(p.b.response(p.b.invite, 200, p.b.contact()+sdpHeader, sdpOf(5000)))
		m := p.a.expect("INVITE")
		says(t, "the phone", m, "sendrecv")
		p.a.ok(m, "", sdpOf(4000))
		p.b.expect("ACK")
		p.a.expect("ACK")
		p.hangUp()
		if !slices.Contains(kinds, Alerted) || !slices.Contains(kinds, Joined) {
			t.Errorf("told %v", kinds)
		}
	})
}

// A phone names where requests in its dialog go: what it names gets no
// credentials of the gateway's.
func TestDialGivesTheGatewaysCredentialsToNoOtherAddress(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		stranger := rawUDP(t, p.net, thirdAddr)
		p.dial(nil)
		p.a.send(p.a.response(p.a.invite, 200, "Contact: <sip:201@"+thirdAddr+">\r\n"+sdpHeader, sdpOf(4000)))
		p.b.invite = p.b.expect("INVITE")
		p.b.send(p.b.response(p.b.invite, 200, p.b.contact()+sdpHeader, sdpOf(5000)))
		p.b.expect("ACK")
		stranger.expect("ACK")
		p.call.HangUp(ErrHungUpByUser)
		p.b.hungUp()
		bye := stranger.expect("BYE")
		stranger.send(stranger.response(bye, 407, "Proxy-Authenticate: Digest realm=\"gw\", nonce=\"n1\"\r\n", ""))
		stranger.quiet(40 * time.Second)
		<-p.call.Done()
	})
}

func TestDialHangsUpFurtherAnswersOfTheGatewayWithItsCredentials(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.dial(nil)
		p.phoneAnswers()
		p.roomAnswers()
		p.a.send(strings.Replace(p.a.response(p.a.invite, 200, p.a.contact()+sdpHeader, sdpOf(4000)), "tag="+phoneTag, "tag=fork", 1))
		p.a.expect("ACK")
		p.a.send(p.a.response(p.a.expect("BYE"), 407, "Proxy-Authenticate: Digest realm=\"gw\", nonce=\"n1\"\r\n", ""))
		again := p.a.expect("BYE")
		if got := string(again.Get(wire.ProxyAuthorization)); !strings.Contains(got, `username="trunk"`) {
			t.Errorf("the fork's BYE has the credentials %q", got)
		}
		p.a.send(p.a.response(again, 200, "", ""))
		p.hangUp()
	})
}

// Who may name the target must not have services of this machine called.
func TestDialDoesNotReachThisMachineForAClient(t *testing.T) {
	for _, tt := range []struct {
		target string
		chosen bool
		sent   bool
	}{
		{"sip:x@127.0.0.1:9100", true, false},
		{"sip:x@127.0.0.1:9100;transport=tcp", true, false},
		{"sip:x@[::1]", true, false},
		{"sip:x@10.0.0.3;maddr=169.254.1.2", true, false},
		{"sip:x@127.0.0.1:9100", false, true}, // the operator's conference
	} {
		t.Run(fmt.Sprint(tt.target, tt.chosen), func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.dial(func(s *Spec) { s.Dial.Target, s.Dial.Chosen = tt.target, tt.chosen })
				p.a.send(p.a.response(p.a.invite, 200, p.a.contact()+sdpHeader, sdpOf(4000)))
				if tt.sent {
					time.Sleep(10 * time.Second)
					p.a.expect("ACK")
					if !strings.Contains(p.net.Ladder(), "127.0.0.1") {
						t.Errorf("not sent\n%s", p.net.Ladder())
					}
					p.call.stop(ErrHungUpByUser)
					p.a.hungUp()
					<-p.call.Done()
					return
				}
				p.a.expect("ACK")
				p.a.hungUp()
				<-p.call.Done()
				if err := p.call.Err(); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "only this machine") {
					t.Errorf("ended with %v", err)
				}
				if ladder := p.net.Ladder(); strings.Contains(ladder, "127.0.0.1") || strings.Contains(ladder, "169.254") {
					t.Errorf("sent\n%s", ladder)
				}
			})
		})
	}
}

// The operator's target may be here, but not where a redirection leads from it.
func TestDialDoesNotReachThisMachineByARedirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), "")
		defer r.stop()
		c := &Call{sw: r.sw, Spec: Spec{Dial: &Dialling{Target: "sip:room@127.0.0.1:5070"}}}
		target := dialTarget{(*userPhone)(c)}
		if _, err := target.route(t.Context(), c.Dial.Target); err != nil {
			t.Error(err)
		}
		if hops, err := target.route(t.Context(), "sip:x@127.0.0.1:9100"); err == nil {
			t.Errorf("goes to %v", hops)
		}
	})
}

// A user with parameters of its own is named as a whole.
func TestDialNamesTheTargetsUserAsAWhole(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.dial(func(s *Spec) { s.Dial.Target = "sip:room;pin=1@10.0.0.3;transport=udp" })
		p.phoneAnswers()
		if to := string(p.b.invite.Get(wire.To)); to != "<sip:room;pin=1@10.0.0.3>" {
			t.Errorf("To %s", to)
		}
		p.roomAnswers()
		p.hangUp()
	})
}
