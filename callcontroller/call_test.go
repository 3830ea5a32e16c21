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

// TestACallThroughTheSwitchboard places a call over HTTP to a scripted phone
// that challenges the agent, and reads its status to the end of its record.
func TestACallThroughTheSwitchboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ours, phones = "10.0.0.1:5060", "10.0.0.2:5060"
		n := siptest.NewNetwork()
		phone := n.Phone("201", phones, siptest.Script{Ring: 2 * time.Second, Challenge: siptest.Challenge{
			Methods: []sip.RequestMethod{"INVITE", "REFER", "BYE"}, Realm: "sipx.test", User: "200", Password: "secret200",
		}})
		defer phone.Close()
		resolver, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
		if err != nil {
			t.Fatal(err)
		}
		defer resolver.Close()
		sw, err := sipflow.New(sipflow.Config{
			Listen: []string{"udp:" + ours}, Realm: "sipx.test", OutboundProxies: []string{"sip:" + phones}, Resolver: resolver,
			Network: sipflow.Network{
				ListenUDP: func(a string) (sipflow.PacketConn, error) { return n.Listen(a), nil },
				ListenTCP: func(a string) (net.Listener, error) { return n.ListenTCP(a), nil },
				DialTCP:   func(ctx context.Context, a string) (net.Conn, error) { return n.DialContext(ctx, "tcp", a) },
			},
		}, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- sw.Serve(ctx) }()
		defer func() {
			stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}()
		b := newBench(t, Config{}, nil)
		c := New(b.cfg, sw, b.users, b.gate, b.log)
		b.handler = b.gate.Listener(restauth.TrustedOrPIN, true, c.Handler())

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
		sw.Drain()
		if w := b.do("POST", "/callcontroller/201/202"); w.Code != 503 {
			t.Errorf("while draining: %d %s", w.Code, w.Body)
		}
	})
}
