package sipflow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

// endCall has the caller give up what it has asked for.
func (p *rawInbound) endCall() {
	p.rawPhone.t.Helper()
	p.rawPhone.send(rawOf("CANCEL", 1, "b1", ""))
	p.next(200)
	p.rawPhone.send(refusalACK(p.next(487)))
}

func TestDestinationSaysWhatTheTargetGets(t *testing.T) {
	to := Destination{URI: uri202 + ";transport=udp", DisplayName: "Room \"1\"\r\nX-Evil: 1",
		Header: []string{"X-Room: 1\r\nX-Evil: 1", "Contact: <sip:evil@10.0.0.66>", "Route: <sip:10.0.0.66;lr>", "v: SIP/2.0/UDP evil",
			"Call-Info: <x>", "no name", "bad name: x"}}
	inboundRaw(t, func(ctx context.Context, in *Incoming) error { return in.Connect(ctx, to) }, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite("From: <sip:201@", `From: "Jo \"B\"" <sip:+49%2030@`))
		p.next(180)
		got := p.target.Requests("INVITE")[0]
		for name, want := range map[string]string{"To": `"Room \"1\"X-Evil: 1" <sip:202@10.0.0.3:5060>`,
			"From":   `"Jo \"B\"" <sip:+49%2030@sipx.test>`,
			"X-Room": "1X-Evil: 1", "Call-Info": "<x>", "X-Evil": "", "Route": "<sip:10.0.0.3:5060;lr>",
			"Contact": "<sip:callcontroller@10.0.0.1:5060;transport=udp>"} {
			var values []string
			for _, h := range got.GetHeaders(name) {
				v, _, _ := strings.Cut(h.Value(), ";tag=")
				values = append(values, v)
			}
			if have := strings.Join(values, ", "); have != want {
				t.Errorf("%s: %q, want %q", name, have, want)
			}
		}
		if n := len(got.GetHeaders("Via")); n != 1 {
			t.Errorf("%d Via", n)
		}
		p.endCall()
	})
}

func TestConnectGoesWhereItMay(t *testing.T) {
	forbid := func(cfg *Config) {
		cfg.Allow = func(_ *Spec, target string) error {
			if target == "+900" {
				return errors.New("premium")
			}
			return nil
		}
	}
	for _, c := range []struct {
		name string
		to   Destination
		code int
		err  string
	}{
		{"a service of this machine", Destination{URI: "sip:x@127.0.0.1:22"}, 480, "only this machine"},
		{"ourselves", Destination{URI: "sip:x@10.0.0.1:5060"}, 480, transport.ErrOwn.Error()},
		{"what the policy forbids", Destination{URI: uri202, Check: "+900"}, 403, "premium"},
		{"no URI", Destination{URI: "room"}, 480, "not a SIP"},
		{"a URI with more in it", Destination{URI: "sip:202@10.0.0.3>\r\nX-Evil: 1\r\n<sip:x@y"}, 480, "not a SIP"},
		{"a URI with header fields", Destination{URI: uri202 + "?Replaces=x"}, 480, "not a SIP"},
		{"a telephone number without a proxy", Destination{URI: "tel:+4930"}, 480, "outbound proxy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got error
			inboundRaw(t, func(ctx context.Context, in *Incoming) error {
				got = in.Connect(ctx, c.to)
				return got
			}, func(t *testing.T, p *rawInbound) {
				p.rawPhone.send(rawInvite())
				p.rawPhone.send(refusalACK(p.next(c.code)))
				if got == nil || !strings.Contains(got.Error(), c.err) {
					t.Errorf("Connect: %v, want %q", got, c.err)
				}
				if n := len(p.target.Requests()); n != 0 {
					t.Errorf("the target got %d requests", n)
				}
			}, forbid)
		})
	}
	t.Run("a service of this machine that the configuration names", func(t *testing.T) {
		to := Destination{URI: "sip:conference@127.0.0.1:5070", Trusted: true}
		inboundRaw(t, func(ctx context.Context, in *Incoming) error { return in.Connect(ctx, to) }, func(t *testing.T, p *rawInbound) {
			own := p.rig.net.Phone("conference", "127.0.0.1:5070", siptest.Script{Ring: time.Minute})
			defer own.Close()
			p.rawPhone.send(rawInvite())
			p.next(180)
			p.endCall()
			time.Sleep(time.Second)
		})
	})
	t.Run("a telephone number by way of the proxy", func(t *testing.T) {
		inboundRaw(t, func(ctx context.Context, in *Incoming) error {
			return in.Connect(ctx, Destination{URI: "tel:+49-30;x=y"})
		}, func(t *testing.T, p *rawInbound) {
			p.rawPhone.send(rawInvite())
			p.next(180)
			if uri := p.target.Requests("INVITE")[0].Recipient.String(); uri != "sip:+49-30@10.0.0.3;user=phone" {
				t.Errorf("INVITE for %s", uri)
			}
			p.endCall()
		}, func(cfg *Config) { cfg.OutboundProxies = []string{"sip:" + calledAddr} })
	})
}

func TestTargetThatChallengesGetsTheCredentialsOfTheDestination(t *testing.T) {
	for _, c := range []struct {
		realm string
		code  int
	}{{"conference", 180}, {"other", 403}} {
		to := Destination{URI: uri202, Credentials: Credentials{Username: "room", Password: "pw"}, Realm: "conference", Trusted: true}
		inboundRaw(t, func(ctx context.Context, in *Incoming) error { return in.Connect(ctx, to) }, func(t *testing.T, p *rawInbound) {
			p.target.SetScript(siptest.Script{Ring: time.Minute, Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"INVITE"}, Realm: c.realm,
				User: "room", Password: "pw"}})
			p.rawPhone.send(rawInvite())
			if m := p.next(c.code); c.code == 180 {
				p.endCall()
			} else {
				p.rawPhone.send(refusalACK(m))
			}
		})
	}
}

// A target that only a caller or a client has named is no server of ours: it could
// hand us a challenge of the proxy, and have calls signed that others pay.
func TestAForeignTargetGetsNoCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		caller := &rawInbound{rawPhone: rawUDP(t, n, phoneAddr)}
		foreign := rawUDP(t, n, calledAddr)
		r := newRig(t, n, "", func(cfg *Config) {
			cfg.Inbound = &Inbound{
				Admit: func(*Incoming) Admission { return Trusted },
				Take: func(ctx context.Context, in *Incoming) error {
					to := Destination{URI: uri202, Credentials: Credentials{Username: "agent", Password: "secret"}}
					return in.Connect(ctx, to)
				},
			}
		})
		defer r.stop()
		caller.rawPhone.send(rawInvite())
		const challenge = "WWW-Authenticate: Digest realm=\"sipx.test\", nonce=\"of-the-real-proxy\"\r\n"
		foreign.send(foreign.response(foreign.expect("INVITE"), 401, challenge, ""))
		foreign.expect("ACK")
		if m := foreign.read(time.Second); m != nil {
			t.Errorf("the challenge is met by %s", show(m))
		}
		caller.rawPhone.send(refusalACK(caller.next(403)))
	})
}

// Config.Allow is told who proved to be the caller, about the target and whom the
// caller refers that to.
func TestPolicyOfTheDigestUserHolds(t *testing.T) {
	var asked []string
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		caller := siptest.NewPhone(n.Listen(phoneAddr), siptest.Account{User: "201", Password: "secret"}, siptest.Script{})
		defer caller.Close()
		target := n.Phone("202", calledAddr, siptest.Script{})
		defer target.Close()
		r := newRig(t, n, "", func(cfg *Config) {
			cfg.Allow = func(spec *Spec, target string) error {
				asked = append(asked, spec.Credentials.Username+" "+spec.Policy+" "+target)
				if strings.Contains(target, "900") {
					return errors.New("premium")
				}
				return nil
			}
			cfg.Inbound = &Inbound{Take: func(ctx context.Context, in *Incoming) error {
				in.SetPolicy("staff")
				return in.Connect(ctx, Destination{URI: uri202, Check: "202"})
			}}
			withSecrets(Credentials{Username: "201", Password: "secret"})(cfg.Inbound)
		})
		defer r.stop()
		if err := caller.Call(t.Context(), "sip:room@10.0.0.1:5060"); err != nil {
			t.Fatal(err)
		}
		do(t, caller, 603, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:900@10.0.0.3>"),
			sip.NewHeader("Contact", "<sip:201@"+phoneAddr+">")}})
		if len(target.Requests("REFER")) != 0 {
			t.Error("the target was referred")
		}
		caller.HangUp()
		time.Sleep(time.Minute)
		r.empty()
	})
	if got := strings.Join(asked, ", "); got != "201 staff 202, 201 staff sip:900@10.0.0.3" {
		t.Errorf("asked about %s", got)
	}
}

func TestInboundCallExpires(t *testing.T) {
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) {
		start := time.Now()
		p.rawPhone.send(rawInvite("Max-Forwards", "Expires: 5\r\nMax-Forwards"))
		p.rawPhone.send(refusalACK(p.next(487)))
		if d := time.Since(start).Round(time.Second); d != 5*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// Expires is about the final response: an answered call goes on.
func TestAnsweredCallOutlivesExpires(t *testing.T) {
	inboundRaw(t, func(ctx context.Context, in *Incoming) error { return in.Connect(ctx, Destination{URI: uri202}) },
		func(t *testing.T, p *rawInbound) {
			p.rawPhone.send(rawInvite("Max-Forwards", "Expires: 5\r\nMax-Forwards"))
			p.next(180)
			res := p.next(200)
			p.rawPhone.send(within(res, "ACK", 1, "", ""))
			time.Sleep(time.Minute)
			if m := p.read(time.Second); m != nil {
				t.Errorf("the caller got %s", show(m))
			}
			p.wants(200, within(res, "BYE", 2, "", ""))
		})
}

func TestInboundCallerIsRemindedEachMinute(t *testing.T) {
	inboundRaw(t, func(ctx context.Context, in *Incoming) error {
		if err := errors.Join(in.Ring(), in.Ring()); err != nil {
			return err
		}
		return waits(ctx, in)
	}, func(t *testing.T, p *rawInbound) {
		start, at := time.Now(), ""
		p.rawPhone.send(rawInvite())
		for m := p.read(70 * time.Second); m != nil && time.Since(start) < 150*time.Second; m = p.read(70 * time.Second) {
			if m.Code() == 180 {
				at += fmt.Sprint(time.Since(start).Round(time.Second), " ")
			}
		}
		if at != "0s 1m0s 2m0s " {
			t.Errorf("180 at %s", at)
		}
		p.endCall()
	})
}

func TestInboundBYEThatOvertakesTheACK(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		p.next(180)
		m := p.next(200)
		start := time.Now()
		p.rawPhone.send(within(m, "BYE", 2, "Reason: SIP;cause=200;text=\"enough\"\r\n", ""))
		for m = p.next(200); m.Method() != "BYE"; m = p.next(200) {
			continue
		}
		if err := p.target.Wait(t.Context(), p.target.OnHook); err != nil || time.Since(start) > time.Second {
			t.Errorf("the target is hung up after %v: %v", time.Since(start), err)
		}
		if got := p.target.ByeReason(); got != `SIP;cause=200;text="enough"` {
			t.Errorf("Reason %q", got)
		}
	})
}

// Attended transfer with both calls inbound (RFC 3891, RFC 5589 §7): who is to
// take the other call over gets a Replaces that names a dialog of its own.
func TestInboundAttendedTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		a, b, c := n.Phone("201", phoneAddr, siptest.Script{}),
			n.Phone("202", calledAddr, siptest.Script{Answers: map[sip.RequestMethod]int{"REFER": 202}}),
			n.Phone("203", secondAddr, siptest.Script{})
		defer a.Close()
		defer b.Close()
		defer c.Close()
		r := newRig(t, n, "", func(cfg *Config) {
			cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: func(ctx context.Context, in *Incoming) error {
				return in.Connect(ctx, Destination{URI: "sip:" + in.To.User + "@10.0.0." + in.To.User[2:]})
			}}
		})
		defer r.stop()
		for _, user := range []string{"203", "204"} {
			if err := a.Call(t.Context(), "sip:"+user+"@10.0.0.1:5060"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		atC := c.Requests("INVITE")[0]
		// 201 has two dialogs with us; it refers the first to the second.
		var second *Leg
		r.sw.mu.Lock()
		for call, legs := range r.sw.bridges {
			if call.CalledUser == "204@10.0.0.1" {
				second = legs[0]
			}
		}
		r.sw.mu.Unlock()
		second.peer.mu.Lock()
		replaces := escapeHeaderValue(second.callID + ";to-tag=" + string(appendID(nil, second.id)) + ";from-tag=" + second.peer.tag)
		second.peer.mu.Unlock()
		var leg *Leg
		r.sw.mu.Lock()
		for call, legs := range r.sw.bridges {
			if call.CalledUser == "203@10.0.0.1" {
				leg = legs[0]
			}
		}
		r.sw.mu.Unlock()
		res, err := a.DoIn(t.Context(), leg.callID, siptest.Action{Method: "REFER", Header: []sip.Header{
			sip.NewHeader("Refer-To", "<sip:203@10.0.0.1?Replaces="+replaces+">"), sip.NewHeader("Contact", "<sip:201@"+phoneAddr+">")}})
		if err != nil || res.StatusCode != 202 {
			t.Fatalf("REFER: %v %v", res, err)
		}
		got := b.Requests("REFER")
		if len(got) != 1 {
			t.Fatalf("202 got %d REFERs", len(got))
		}
		want := escapeHeaderValue(atC.CallID().Value())
		if to := got[0].GetHeader("Refer-To").Value(); !strings.Contains(to, want) ||
			!strings.Contains(to, "sip:204@") && !strings.Contains(to, "sip:203@") {
			t.Errorf("Refer-To %s, want the dialog %s", to, want)
		}
		a.HangUp()
		time.Sleep(time.Minute)
		r.empty()
	})
}
