package siptest_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

var users = map[string]string{"201": "123", "202": "456", "203": "789"}

// office is a proxy with the phones 201 and 202, not registered yet.
type office struct {
	proxy *siptest.Proxy
	a, b  *siptest.Phone
}

func newOffice(t *testing.T, n *siptest.Network, a, b siptest.Script) *office {
	o := &office{proxy: n.Proxy("10.0.0.9:5060", siptest.ProxyConfig{Domain: "sipx.test", Users: users})}
	phone := func(user, addr string, s siptest.Script) *siptest.Phone {
		n.Name(addr, user)
		return siptest.NewPhone(n.Listen(addr), siptest.Account{
			User: user, Domain: "sipx.test", Password: users[user], Proxy: o.proxy.Addr(),
		}, s)
	}
	o.a, o.b = phone("201", "10.0.0.2:5060", a), phone("202", "10.0.0.3:5060", b)
	t.Cleanup(func() { o.a.Close(); o.b.Close(); o.proxy.Close() })
	return o
}

func TestProxyRegistersChallengesAndRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		o := newOffice(t, n, siptest.Script{}, siptest.Script{Ring: time.Second})
		if err := o.b.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := o.a.Call(t.Context(), "sip:202@sipx.test;sipx-noroute=Voicemail;sipx-userforward=false"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if !o.a.ConnectedTo(o.b) {
			t.Error("not connected")
		}
		got := o.b.Requests(sip.INVITE)
		if len(got) != 1 || got[0].Recipient.String() != "sip:202@10.0.0.3:5060" || got[0].GetHeader("Proxy-Authorization") != nil {
			t.Errorf("202 got %v", got)
		}
		o.b.HangUp()
		time.Sleep(time.Minute)
		if !o.a.OnHook() || !o.b.OnHook() {
			t.Error("off hook")
		}
		flowtest.Golden(t, "proxy", n.Ladder())
	})
}

func TestProxyCallSurvivesLossOfAnyMessage(t *testing.T) {
	flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) {
		o := newOffice(t, n, siptest.Script{}, siptest.Script{Ring: time.Second})
		if err := o.b.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := o.a.Call(t.Context(), "sip:202@sipx.test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if !o.a.ConnectedTo(o.b) {
			t.Error("not connected")
		}
		o.a.HangUp()
		time.Sleep(time.Minute)
		if !o.a.OnHook() || !o.b.OnHook() {
			t.Errorf("off hook: %v %v", o.a.Log(), o.b.Log())
		}
	})
}

func TestProxyForwardsCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		o := newOffice(t, n, siptest.Script{}, siptest.Script{NeverAnswer: true})
		if err := o.b.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := o.a.Call(ctx, "sip:202@sipx.test"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if !o.a.OnHook() || !o.b.OnHook() || len(o.b.Requests(sip.CANCEL)) != 1 {
			t.Errorf("%v %v", o.a.Log(), o.b.Log())
		}
		if got := o.a.Answers(); len(got) != 1 || got[0].StatusCode != 487 {
			t.Errorf("201 got %v", got)
		}
	})
}

func TestProxyRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		password, uri, want string
	}{
		"not registered": {"123", "sip:203@sipx.test", "480"},
		"unknown user":   {"123", "sip:999@sipx.test", "404"},
		"foreign domain": {"123", "sip:202@elsewhere.test", "404"},
		"wrong password": {"000", "sip:203@sipx.test", "407"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				proxy := n.Proxy("10.0.0.9:5060", siptest.ProxyConfig{Domain: "sipx.test", Users: users})
				phone := siptest.NewPhone(n.Listen("10.0.0.2:5060"), siptest.Account{
					User: "201", Domain: "sipx.test", Password: tt.password, Proxy: proxy.Addr()}, siptest.Script{})
				defer proxy.Close()
				defer phone.Close()
				err := phone.Call(t.Context(), tt.uri)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %s", err, tt.want)
				}
				time.Sleep(time.Minute)
				if !phone.OnHook() {
					t.Error("off hook")
				}
			})
		})
	}
}

func TestRegistrarRefusesAnothersName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		proxy := n.Proxy("10.0.0.9:5060", siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"mallory": "m", "201": "123"}})
		phone := siptest.NewPhone(n.Listen("10.0.0.2:5060"), siptest.Account{
			User: "201", Domain: "sipx.test", Password: "guess", Proxy: proxy.Addr()}, siptest.Script{})
		defer proxy.Close()
		defer phone.Close()
		if err := phone.Register(t.Context()); !errors.Is(err, siptest.ErrRefused) || proxy.Location("201") != "" {
			t.Errorf("%v, registered at %q", err, proxy.Location("201"))
		}
		if !slices.ContainsFunc(proxy.Log(), func(l string) bool { return strings.HasPrefix(l, "wrong credentials for REGISTER") }) {
			t.Errorf("log %v", proxy.Log())
		}
	})
}

// The same proxy and phones over the kernel's UDP, as the demo uses them.
func TestRealSockets(t *testing.T) {
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	proxy := siptest.NewProxy(listen(), siptest.ProxyConfig{Domain: "sipx.test", Users: users})
	defer proxy.Close()
	phone := func(user string, s siptest.Script) *siptest.Phone {
		return siptest.NewPhone(listen(), siptest.Account{User: user, Domain: "sipx.test", Password: users[user], Proxy: proxy.Addr()}, s)
	}
	boss := phone("203", siptest.Script{})
	defer boss.Close()
	a := phone("201", siptest.Script{Refer: siptest.Refer{Follow: true}})
	defer a.Close()
	b := phone("202", siptest.Script{})
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, p := range []*siptest.Phone{a, b} {
		if err := p.Register(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := boss.Call(ctx, "sip:201@sipx.test"); err != nil {
		t.Fatal(err)
	}
	res, err := boss.Do(ctx, siptest.Action{Method: sip.REFER, Header: []sip.Header{
		sip.NewHeader("Refer-To", "<sip:202@sipx.test>"), sip.NewHeader("Referred-By", "<sip:201@sipx.test>"),
	}})
	if err != nil || res.StatusCode != 202 {
		t.Fatalf("REFER: %v %v", res, err)
	}
	if err := b.Wait(ctx, func() bool { return b.ConnectedTo(a) }); err != nil {
		t.Error(err)
	}
}
