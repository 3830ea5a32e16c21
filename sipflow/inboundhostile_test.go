package sipflow

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// A caller who is asked for digits may ask for other things meanwhile: each
// request has its response, and none stands in the way of the digits.
func TestInboundCallerIsHeardWhileItDials(t *testing.T) {
	digits := ""
	inboundRaw(t, func(ctx context.Context, in *Incoming) error {
		if err := in.AnswerHeld(ctx); err != nil {
			return err
		}
		for {
			d, err := in.Digit(ctx)
			if err != nil {
				return err
			}
			digits += string(d)
		}
	}, func(t *testing.T, p *rawInbound) {
		p.rawPhone.send(rawInvite())
		res := p.next(200)
		p.rawPhone.send(within(res, "ACK", 1, "", ""))
		time.Sleep(time.Second)
		seq := 2
		answer := func(method, header, body string) int {
			t.Helper()
			p.rawPhone.send(within(res, method, seq, header, body))
			for {
				m := p.read(5 * time.Second)
				if m == nil {
					t.Errorf("%s: no answer", method)
					return 0
				}
				if !m.IsRequest() && m.Method() == method && m.Seq() == uint32(seq) && m.Code() >= 200 {
					seq++
					return m.Code()
				}
			}
		}
		for range 50 {
			if code := answer("INFO", "Content-Type: application/dtmf-relay\r\n", "Signal=7\r\n"); code != 200 && code != 503 {
				t.Fatalf("INFO: %d", code)
			}
			time.Sleep(100 * time.Millisecond)
		}
		for _, c := range []struct {
			method, header, body string
			code                 int
		}{
			{"UPDATE", sdpHeader, sdpOf(4002), 200},
			{"REFER", "Refer-To: <sip:0900@10.0.0.3>\r\n", "", 405},
			{"OPTIONS", "", "", 200},
			{"MESSAGE", "Content-Type: text/plain\r\n", "x", 405},
			{"SUBSCRIBE", "Event: x\r\n", "", 405},
			{"NOTIFY", "Event: x\r\nSubscription-State: active\r\n", "", 489},
			{"PRACK", "RAck: 1 1 INVITE\r\n", "", 481},
			{"INVITE", sdpHeader, sdpOf(4002), 200},
		} {
			if code := answer(c.method, c.header, c.body); code != c.code {
				t.Errorf("%s: %d, want %d", c.method, code, c.code)
			}
			time.Sleep(time.Second)
		}
		p.rawPhone.send(within(res, "BYE", 100, "", ""))
		p.final("BYE", 200)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		p.queue = nil
		synctest.Wait()
		if digits != strings.Repeat("7", 50) {
			t.Errorf("digits %q", digits)
		}
	})
}

// The service may end at any time. Whoever waits is told, and nothing of the
// call goes on.
func TestServeEndsInEveryPhaseOfAnInboundCall(t *testing.T) {
	held := func(ctx context.Context, in *Incoming) error {
		if err := in.AnswerHeld(ctx); err != nil {
			return err
		}
		_, err := in.Digit(ctx)
		return err
	}
	ack := func(p *rawInbound, res *wire.Message) { p.rawPhone.send(within(res, "ACK", 1, "", "")) }
	answered := func(p *rawInbound) *wire.Message {
		p.rawPhone.send(rawInvite())
		p.next(180)
		res := p.next(200)
		ack(p, res)
		time.Sleep(time.Second)
		return res
	}
	for _, c := range []struct {
		name   string
		target siptest.Script
		take   func(ctx context.Context, in *Incoming) error
		before func(p *rawInbound)
		want   string // what the caller is told
		late   bool   // Serve does not wait so long
	}{
		{name: "thinking", take: waits, before: func(p *rawInbound) { p.rawPhone.send(rawInvite()) }, want: "503"},
		{name: "silent target", target: siptest.Script{Silent: true}, before: func(p *rawInbound) { p.rawPhone.send(rawInvite()) }, want: "503",
			late: true},
		{name: "ringing", target: siptest.Script{NeverAnswer: true}, before: func(p *rawInbound) {
			p.rawPhone.send(rawInvite())
			p.next(180)
		}, want: "503"},
		{name: "ringing reliably", target: siptest.Script{NeverAnswer: true}, before: func(p *rawInbound) {
			p.rawPhone.send(rawInvite("Max-Forwards", "Supported: 100rel\r\nMax-Forwards"))
			p.next(180)
		}, want: "503"},
		{name: "target answers while 180 waits for its PRACK", target: siptest.Script{Ring: time.Second}, before: func(p *rawInbound) {
			p.rawPhone.send(rawInvite("Max-Forwards", "Supported: 100rel\r\nMax-Forwards"))
			p.next(180)
			time.Sleep(3 * time.Second)
		}, want: "503"},
		{name: "answer without ACK", before: func(p *rawInbound) { p.rawPhone.send(rawInvite()); p.next(180); p.next(200) }, want: "",
			late: true},
		{name: "on hold", take: held, before: func(p *rawInbound) { p.rawPhone.send(rawInvite()); ack(p, p.next(200)); time.Sleep(time.Second) },
			want: "BYE"},
		{name: "on hold without ACK", take: held, before: func(p *rawInbound) { p.rawPhone.send(rawInvite()); p.next(200) }, want: "",
			late: true},
		{name: "bridged", before: func(p *rawInbound) { answered(p) }, want: "BYE"},
		{name: "re-INVITE pending", target: siptest.Script{Reinvite: siptest.Reinvite{After: 5 * time.Second}}, before: func(p *rawInbound) {
			res := answered(p)
			p.rawPhone.send(within(res, "INVITE", 2, sdpHeader, sdpOf(4002)))
			time.Sleep(time.Second)
		}, want: "BYE"},
		{name: "refused without ACK", take: refuse486, before: func(p *rawInbound) { p.rawPhone.send(rawInvite()); p.next(486) }},
		{name: "cancelled without ACK", take: waits, before: func(p *rawInbound) {
			p.rawPhone.send(rawInvite())
			time.Sleep(time.Second)
			p.rawPhone.send(rawOf("CANCEL", 1, "b1", ""))
			time.Sleep(time.Second)
		}},
		{name: "caller has hung up", before: func(p *rawInbound) { p.rawPhone.send(within(answered(p), "BYE", 2, "", "")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			take := c.take
			if take == nil {
				take = connectTo202
			}
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				if c.target.Ring == 0 {
					c.target.Ring = time.Second
				}
				p := &rawInbound{rawPhone: rawUDP(t, n, phoneAddr), target: n.Phone("202", calledAddr, c.target)}
				defer p.target.Close()
				p.rig = newRig(t, n, "", func(cfg *Config) {
					cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: take}
				})
				defer p.shutdown() //nolint:errcheck // looked at below
				c.before(p)
				time.Sleep(time.Second)
				p.queue = nil
				done := make(chan error, 1)
				go func() { done <- p.shutdown() }()
				told := ""
				for start := time.Now(); told == "" && time.Since(start) < 15*time.Second; {
					m := p.read(15*time.Second - time.Since(start))
					switch {
					case m == nil:
					case m.IsRequest():
						told = m.Method()
						p.rawPhone.send(p.rawPhone.response(m, 200, "", ""))
					case m.Method() == "INVITE" && m.Code() == 503:
						told = "503"
						p.rawPhone.send(refusalACK(m))
					}
				}
				if told != c.want {
					t.Errorf("the caller is told %q, want %q", told, c.want)
				}
				if err := <-done; (err != nil) != c.late {
					t.Errorf("Serve: %v", err)
				}
				time.Sleep(time.Minute) // goroutines that are left then fail the bubble
				synctest.Wait()
				if p.sw.Active() != 0 || p.ended != p.placed || !p.target.OnHook() {
					t.Errorf("%d calls are active, %d of %d have ended, the target: %v", p.sw.Active(), p.ended, p.placed, p.target.Log())
				}
				if t.Failed() {
					t.Log(n.Ladder())
				}
			})
		})
	}
}

// One user's password does not take all lines.
func TestInboundCallsOfOneUserAreBounded(t *testing.T) {
	for _, c := range []struct {
		agent string
		code  int
	}{{"201", 480}, {"", 100}} {
		inboundRaw(t, waits, func(t *testing.T, p *rawInbound) {
			for i := range 3 {
				p.rawPhone.send(rawInvite("b1", fmt.Sprint("a", i), "raw1", fmt.Sprint("call", i)))
				auth := answerWith(challengeBy(t, p.final("INVITE", 401), "SHA-256"), Credentials{Username: "201", Password: "secret"}, roomURI)
				want := 100
				if i == 2 {
					want = c.code
				}
				m := p.wants(want, rawInvite("b1", fmt.Sprint("c", i), "raw1", fmt.Sprint("call", i), "Max-Forwards",
					"Authorization: "+auth+"\r\nMax-Forwards"))
				if want == 480 && m.Get(wire.RetryAfter) == nil {
					t.Error("480 without Retry-After")
				}
			}
			p.sw.stopCalls()
			time.Sleep(40 * time.Second)
			p.queue = nil
		}, func(cfg *Config) {
			cfg.Limits.CallsPerAgent = 2
			cfg.Inbound.Realm, cfg.Inbound.Admit = "sipx.test", nil
			cfg.Inbound.User = func(string) string { return c.agent }
			cfg.Inbound.Secrets = func(user string) (Credentials, bool) {
				return Credentials{Username: user, Password: "secret"}, user == "201"
			}
		})
	}
}

func TestDisplayNamesAreReadWhole(t *testing.T) {
	for value, want := range map[string]string{
		`"Bob <the> Builder" <sip:201@p>;tag=a`:  "Bob <the> Builder",
		`"a\" <sip:x@y>, \"b" <sip:201@p>;tag=a`: `a" <sip:x@y>, "b`,
		`Bob Builder <sip:201@p>;tag=a`:          "Bob Builder",
		`"open <sip:201@p>;tag=a`:                `"open`,
		`<sip:201@p>`:                            "",
		`sip:201@p;tag=a`:                        "",
		"\"a\x00b\" <sip:201@p>":                 "ab",
	} {
		if a := uri.ParseNameAddr([]byte(value)); a.Name != want || a.User != "201" && want[:min(len(want), 2)] != `"o` {
			t.Errorf("%s: %+v, want %q", value, a, want)
		}
	}
}

// What the configuration names may be a service of this machine; what such a
// service sends the call to may not.
func TestTrustOfADestinationEndsWithItsRedirect(t *testing.T) {
	res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"},
		Hosts: map[string][]netip.Addr{"inside.test": {netip.MustParseAddr("127.0.0.1")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	var got error
	to := Destination{URI: uri202, Trusted: true}
	inboundRaw(t, func(ctx context.Context, in *Incoming) error { got = in.Connect(ctx, to); return got }, func(t *testing.T, p *rawInbound) {
		inside := p.rig.net.Phone("inside", "127.0.0.1:5070", siptest.Script{})
		defer inside.Close()
		p.target.SetScript(siptest.Script{Status: 302, RedirectTo: "<sip:x@inside.test:5070>"})
		p.rawPhone.send(rawInvite())
		m := p.final("INVITE", 480)
		p.rawPhone.send(refusalACK(m))
		untouched(t, inside)
		if got == nil || !strings.Contains(got.Error(), errLocal.Error()) {
			t.Errorf("Connect: %v", got)
		}
	}, func(cfg *Config) { cfg.Resolver, cfg.FollowRedirects = res, true })
}
