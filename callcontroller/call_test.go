package callcontroller

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"sipxrest/resolve"
	"sipxrest/restauth"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

const (
	ourAddr   = "10.0.0.1:5060"
	phoneAddr = "10.0.0.2:5060"
	proxyAddr = "10.0.0.9:5060"
)

// world is a bench whose controller has a real switchboard, which sends
// everything to hop on a network in memory. It must be closed.
type world struct {
	*bench
	net   *siptest.Network
	sw    *sipflow.Switchboard
	close func()
}

func newWorld(t *testing.T, hop string, observe ...func(*sipflow.Event)) *world {
	t.Helper()
	n := siptest.NewNetwork()
	resolver, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
	if err != nil {
		t.Fatal(err)
	}
	sw, err := sipflow.New(sipflow.Config{
		Listen: []string{"udp:" + ourAddr}, Realm: "sipx.test", OutboundProxies: []string{"sip:" + hop}, Resolver: resolver, Fallback: true,
		Network: sipflow.Network{
			ListenUDP: func(a string) (sipflow.PacketConn, error) { return n.Listen(a), nil },
			ListenTCP: func(a string) (net.Listener, error) { return n.ListenTCP(a), nil },
			DialTCP:   func(ctx context.Context, a string) (net.Conn, error) { return n.DialContext(ctx, "tcp", a) },
		},
	}, slog.New(slog.NewTextHandler(io.Discard, nil)), observe...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- sw.Serve(ctx) }()
	w := &world{bench: newBench(t, Config{}, nil), net: n, sw: sw}
	w.Controller = New(w.cfg, sw, w.names.Users, w.gate, w.log)
	w.handler = w.bench.gate.Listener(restauth.TrustedOrPIN, true, w.Handler())
	w.close = func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		resolver.Close()
	}
	return w
}

// TestACallThroughTheSwitchboard places a call over HTTP to a scripted phone
// that challenges the agent, and reads its status to the end of its record.
func TestACallThroughTheSwitchboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newWorld(t, phoneAddr)
		defer b.close()
		phone := b.net.Phone("201", phoneAddr, siptest.Script{Ring: 2 * time.Second, Challenge: siptest.Challenge{
			Methods: []sip.RequestMethod{"INVITE", "REFER", "BYE"}, Realm: "sipx.test", User: "200", Password: "secret200",
		}})
		defer phone.Close()

		answered := make(chan *httptest.ResponseRecorder, 1)
		go func() {
			answered <- b.do("POST", "/callcontroller/bob/tel:+1-202?agent=alice&subject=Hi&confpin=1%262")
		}()
		if w := <-answered; w.Code != 200 || w.Body.Len() > 0 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{
			"SIP/2.0 407 Proxy Authentication Required", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK",
			"SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK",
		}
		get := func() []string {
			return texts(b.do("GET", "/callcontroller/201/+1202?agent=200").Body.String())
		}
		if diff := cmp.Diff(want, get()); diff != "" {
			t.Error(diff)
		}
		invite, refer := phone.Requests("INVITE")[0], phone.Requests("REFER")[0]
		for _, h := range []struct {
			name, got, want string
		}{
			{"Request-URI", invite.Recipient.User, "bob"},
			{"To", invite.To().Address.User, "bob"},
			{"From", invite.From().DisplayName + " " + invite.From().Address.User, "Alice Agent 200"},
			{"Subject", invite.GetHeader("Subject").Value(), "Hi"},
			{"Refer-To", refer.GetHeader("Refer-To").Value(), "<sip:+1202@sipx.test?X-ConfPin=1%262>"},
		} {
			if h.got != h.want {
				t.Errorf("%s: %q, want %q", h.name, h.got, h.want)
			}
		}
		if !phone.OnHook() {
			t.Error("the phone was not hung up")
		}
		time.Sleep(5 * time.Minute)
		if got := get(); got != nil {
			t.Errorf("the record outlived its time: %q", got)
		}
		b.sw.Drain()
		if w := b.do("POST", "/callcontroller/201/202"); w.Code != 503 {
			t.Errorf("while draining: %d %s", w.Code, w.Body)
		}
	})
}
