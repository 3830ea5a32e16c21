package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/event"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// Addresses of the tests' network.
const (
	ourAddr   = "10.0.0.1:5060"
	proxyAddr = "10.0.0.9:5060"
)

// phoneAddr is the address of the phone of a user.
var phoneAddr = map[string]string{"201": "10.0.0.2:5060", "202": "10.0.0.3:5060", "203": "10.0.0.4:5060"}

// callRig is an API whose calls go to scripted phones by a network in memory.
type callRig struct {
	*rig
	net    *siptest.Network
	bus    *event.Bus
	phones map[string]*siptest.Phone
	stop   func()
	// stopSIP stops the switchboard, and returns when its calls are hung up.
	stopSIP func()
}

// A setup says how a callRig differs from the usual.
type setup struct {
	phones  map[string]siptest.Script // by user; the usual phone for those that are missing
	without []string                  // users without a phone
	numbers map[string]string         // numbers whose telephone is the phone of a user
	sip     func(*sipflow.Config)
	api     func(*Config)
	bus     func(*event.Config)
}

// withCalls runs a test in fake time.
func withCalls(t *testing.T, s setup, test func(t *testing.T, cr *callRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cr := newCallRig(t, s)
		defer cr.stop()
		test(t, cr)
	})
}

func newCallRig(t *testing.T, s setup) *callRig {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	bc := event.Config{Store: "memory", Strict: true}
	if s.bus != nil {
		s.bus(&bc)
	}
	bus, err := event.Open(bc, log)
	if err != nil {
		t.Fatal(err)
	}
	n := siptest.NewNetwork()
	locations := map[string]string{}
	users := map[string]string{"200": "x", "299": "x"}
	for user, addr := range phoneAddr {
		users[user], locations[user] = "x", "sip:"+user+"@"+addr
	}
	for _, user := range s.without {
		delete(locations, user)
	}
	for number, user := range s.numbers {
		users[number], locations[number] = "x", "sip:"+user+"@"+phoneAddr[user]
	}
	proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: testDomain, Users: users, Open: true, Locations: locations})
	cr := &callRig{net: n, bus: bus, phones: map[string]*siptest.Phone{}}
	for user, addr := range phoneAddr {
		cr.phones[user] = n.Phone(user, addr, s.phones[user])
	}
	resolver, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
	if err != nil {
		t.Fatal(err)
	}
	sc := sipflow.Config{Listen: []string{"udp:" + ourAddr}, Realm: testDomain, OutboundProxies: []string{"sip:" + proxyAddr},
		Resolver: resolver, Fallback: true,
		Network: sipflow.Network{
			ListenUDP: func(a string) (sipflow.PacketConn, error) { return n.Listen(a), nil },
			ListenTCP: func(a string) (net.Listener, error) { return n.ListenTCP(a), nil },
			DialTCP:   func(ctx context.Context, a string) (net.Conn, error) { return n.DialContext(ctx, "tcp", a) },
		}}
	if s.sip != nil {
		s.sip(&sc)
	}
	sw, err := sipflow.New(sc, log, bus.Observe)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served, ran := make(chan error, 1), make(chan error, 1)
	busCtx, stopBus := context.WithCancel(context.Background())
	go func() { served <- sw.Serve(ctx) }()
	go func() { ran <- bus.Run(busCtx) }()
	cr.rig = newRig(t, bus, func(c *Config) {
		c.Calls.Allow, c.Calls.MaxCalls = sc.Allow, 20_000
		if s.api != nil {
			s.api(c)
		}
	})
	cr.API.sw = sw
	cr.stopSIP = sync.OnceFunc(func() {
		stop()
		<-served
	})
	cr.stop = func() {
		cr.stopSIP()
		resolver.Close()
		for _, p := range cr.phones {
			p.Close()
		}
		proxy.Close()
		stopBus()
		if err := <-ran; err != nil {
			t.Errorf("the bus: %v", err)
		}
		bus.Close()
	}
	return cr
}

// as201 is who asks as a rule.
var as201 = asUser("201")

// do sends a request of 201 and wants a status.
func (cr *callRig) do(status int, method, target, text string, how ...func(*http.Request)) *httptest.ResponseRecorder {
	cr.t.Helper()
	all := []func(*http.Request){as201}
	if text != "" {
		all = append(all, body(text))
	}
	w := cr.ask(method, target, append(all, how...)...)
	if w.Code != status {
		cr.t.Fatalf("%s %s %s: %d %s, want %d", method, target, text, w.Code, w.Body, status)
	}
	return w
}

// refuses sends a request of 201 that must be refused with a code.
func (cr *callRig) refuses(code Code, method, target, text string, how ...func(*http.Request)) *Problem {
	cr.t.Helper()
	p := problemOf(cr.t, cr.do(faultOf[code].Status, method, target, text, how...))
	if p.Code != code {
		cr.t.Fatalf("%s %s %s: %s (%s), want %s", method, target, text, p.Code, p.Detail, code)
	}
	return p
}

// call places a call and returns its id.
func (cr *callRig) call(text string, how ...func(*http.Request)) string {
	cr.t.Helper()
	w := cr.do(201, "POST", "/v1/calls", text, how...)
	c := shownCall(cr.t, w)
	if got := w.Header().Get("Location"); got != "/v1/calls/"+c.ID {
		cr.t.Errorf("Location is %q", got)
	}
	return c.ID
}

// usual is the body of a call of 201 with 202.
const usual = `{"calling":"201","called":"202"}`

// shownCall is the call in an answer.
func shownCall(t *testing.T, w *httptest.ResponseRecorder) *event.Call {
	t.Helper()
	var c event.Call
	if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil || c.Object != "call" {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return &c
}

// get is a call as 201 sees it.
func (cr *callRig) get(id string) *event.Call {
	cr.t.Helper()
	return shownCall(cr.t, cr.do(200, "GET", "/v1/calls/"+id, ""))
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// until waits for a state of a call.
func (cr *callRig) until(id string, state event.State) *event.Call {
	cr.t.Helper()
	for range 1200 {
		if c, ok := cr.bus.Call(id); ok && (c.State == state || c.State == event.Ended) {
			if c.State != state {
				cr.t.Fatalf("the call has ended: %s", inJSON(cr.t, c.End))
			}
			return c
		}
		after(100 * time.Millisecond)
	}
	cr.t.Fatalf("the call does not become %s: %s", state, inJSON(cr.t, cr.get(id)))
	return nil
}

// ended waits for a call's end.
func (cr *callRig) ended(id string) *event.Call {
	cr.t.Helper()
	return cr.until(id, event.Ended)
}

// events are the types of a call's events, in their order.
func (cr *callRig) events(id string) string {
	cr.t.Helper()
	list, err := cr.bus.CallEvents(id, 0, 1000)
	if err != nil {
		cr.t.Fatal(err)
	}
	var types []string
	for _, e := range list {
		name := string(e.Type)
		if e.Data.Leg != "" {
			name += " " + e.Data.Leg
		}
		types = append(types, name)
	}
	return strings.Join(types, ", ")
}

func inJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// invites is how many INVITEs that begin a call a phone got.
func (cr *callRig) invites(user string) int {
	calls := map[string]bool{}
	for _, r := range cr.phones[user].Requests("INVITE") {
		if r.To().Params.GetOr("tag", "") == "" {
			calls[r.CallID().Value()] = true
		}
	}
	return len(calls)
}
