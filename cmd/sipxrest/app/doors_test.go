package app

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/callcontroller"
	"sipxrest/dialout"
	"sipxrest/dispatch"
	"sipxrest/event"
	webphone "sipxrest/phone"
	"sipxrest/resolve"
	"sipxrest/restauth"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

var updateDoors = flag.Bool("update", false, "rewrite the golden files of what doors tell")

// street is a switchboard with all doors, a bus that hears them, and the phones 201 and
// 202 behind a proxy. The gateway to telephones and the conference are phones, too.
type street struct {
	t               *testing.T
	net             *siptest.Network
	bus             *event.Bus
	sw              *sipflow.Switchboard
	controller      http.Handler
	dialout         http.Handler
	calling, called *siptest.Phone
	gateway, room   *siptest.Phone
	began           time.Time
	seen            event.Cursor
}

const doorRules = `
- {id: busy, numbers: ["5001"], action: hangup, reject_status_code: 486}
- {id: sales, numbers: ["5002"], action: transfer, transfer_to: "sip:202@10.0.0.3"}
- {id: moved, numbers: ["5003"], action: transfer, transfer_to: "sip:202@10.0.0.3", mode: redirect}
- {id: secret, numbers: ["5004"], room_name: "202", pin: "1234"}
- {id: asks, numbers: ["5005"], url: "http://127.0.0.1:1/", allow_http: true, allow_private: [127.0.0.1]}
`

// onStreet runs f in fake time. The scripts are those of 201, 202, the gateway and the
// conference.
func onStreet(t *testing.T, scripts [4]siptest.Script, f func(s *street)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &street{t: t, net: siptest.NewNetwork(), began: time.Now()}
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		fail := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		var err error
		s.bus, err = event.Open(event.Config{Store: "memory", Strict: true}, log)
		fail(err)
		running, end := context.WithCancel(context.Background())
		kept := make(chan error, 1)
		go func() { kept <- s.bus.Run(running) }()
		s.seen = s.bus.Oldest()

		file := filepath.Join(t.TempDir(), "users.yaml")
		fail(os.WriteFile(file, []byte(`[{user: "201", pin: "1", sip-password: x}, {user: "202", pin: "2", sip-password: x}]`), 0o600))
		users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: "sipx.test", Files: []string{file}})
		fail(err)
		gate, err := restauth.New(restauth.Config{Domain: "sipx.test", Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			users, log)
		fail(err)
		proxy := s.net.Proxy("10.0.0.9:5060", siptest.ProxyConfig{Domain: "sipx.test", Open: true, Users: map[string]string{"201": "x",
			"202": "x", "conference": "x"},
			Locations: map[string]string{"201": "sip:201@10.0.0.2:5060", "202": "sip:202@10.0.0.3:5060",
				"conference": "sip:conference@10.0.0.5:5060"}})
		s.calling = s.net.Phone("201", "10.0.0.2:5060", scripts[0])
		s.called = s.net.Phone("202", "10.0.0.3:5060", scripts[1])
		s.gateway = s.net.Phone("gateway", "10.0.0.4:5060", scripts[2])
		s.room = s.net.Phone("conference", "10.0.0.5:5060", scripts[3])

		rules, err := dispatch.ParseRules([]byte(doorRules), "rules.yaml")
		fail(err)
		d, err := dispatch.New(dispatch.Config{Rules: rules, Trunks: []dispatch.Trunk{{Name: "t", Sources: []string{"10.0.0.2"}}},
			RoomTarget: "sip:{room}@10.0.0.3",
			Domain:     "sipx.test", Calls: dispatchDoor{s.bus}}, log)
		fail(err)
		resolver, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
		fail(err)
		s.sw, err = sipflow.New(sipflow.Config{Listen: []string{"udp:10.0.0.1:5060"}, Realm: "sipx.test",
			OutboundProxies: []string{"sip:10.0.0.9:5060"}, Resolver: resolver,
			Fallback: true, Inbound: d.Inbound("sipx.test"), Network: sipflow.Network{
				ListenUDP: func(a string) (sipflow.PacketConn, error) { return s.net.Listen(a), nil },
				ListenTCP: func(a string) (net.Listener, error) { return s.net.ListenTCP(a), nil },
				DialTCP:   func(ctx context.Context, a string) (net.Conn, error) { return s.net.DialContext(ctx, "tcp", a) },
			}}, log, s.bus.Observe)
		fail(err)
		serving, stop := context.WithCancel(context.Background())
		served := make(chan error, 2)
		go func() { served <- s.sw.Serve(serving) }()
		c := callcontroller.New(callcontroller.Config{Domain: "sipx.test", Timeout: 30 * time.Second, Calls: controllerDoor{s.bus}}, s.sw,
			users, gate, log)
		s.controller = gate.Listener(restauth.TrustedOrPIN, true, c.Handler())
		o, err := dialout.New(dialout.Config{Gateway: dialout.Gateway{URI: "sip:10.0.0.4"}, Domain: "sipx.test", Target: "conference",
			RingTimeout: 30 * time.Second,
			Calls:       dialoutDoor{s.bus}}, s.sw, users, gate, log)
		fail(err)
		s.dialout = gate.Listener(restauth.TrustedOrPIN, true, o.Handler())
		go func() { served <- o.Run(serving) }()
		synctest.Wait()

		f(s)
		time.Sleep(3 * time.Minute)
		stop()
		fail(<-served)
		fail(<-served)
		for _, p := range []*siptest.Phone{s.calling, s.called, s.gateway, s.room} {
			p.Close()
		}
		proxy.Close()
		resolver.Close()
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		d.Close(closing)
		cancel()
		gate.Stop()
		end()
		fail(<-kept)
		fail(s.bus.Close())
		if n := s.bus.Stats().Refused; n != 0 {
			t.Errorf("%d events were refused", n)
		}
	})
}

// ask sends a request for 201.
func (s *street) ask(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// told is what happened since it was asked before, a line for each event.
func (s *street) told() string {
	s.t.Helper()
	synctest.Wait()
	list, next, err := s.bus.Events(event.Filter{}, s.seen, 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	s.seen = next
	var b strings.Builder
	for _, e := range list {
		if e.Data.Call == nil {
			continue
		}
		fmt.Fprintf(&b, "%7.3f %d %s", e.Timestamp.Sub(s.began).Seconds(), e.CallSeq, e.Type)
		if e.Data.Leg != "" {
			fmt.Fprintf(&b, " %s", e.Data.Leg)
		}
		b.WriteString(tell(e) + "\n")
	}
	return b.String()
}

// tell is what an event changes.
func tell(e *event.Event) string {
	var b strings.Builder
	ch, c := e.Data.Change, e.Data.Call
	say := func(name, value string) {
		if value != "" {
			b.WriteString(" " + name + "=" + value)
		}
	}
	sip := func(s *event.Status) {
		if s != nil {
			fmt.Fprintf(&b, " sip=%d/%s/%v", s.Code, s.Method, s.Synthesized)
		}
	}
	if m := ch.Created; m != nil {
		fmt.Fprintf(&b, " %s by %s, agent %q, flow %q, %s", m.Kind, m.Source, m.Agent, c.Flow.Used, c.State)
		for _, l := range c.Legs {
			fmt.Fprintf(&b, "; %s %s %s", l.ID, l.Role, l.Address)
		}
	}
	if l := ch.Leg; l != nil {
		fmt.Fprintf(&b, " new: %s %s", l.Role, l.Address)
	}
	say("hop", ch.Hop)
	if ch.SIPCallID != "" {
		say("call-id", "yes")
	}
	say("ringing", ch.RingingBy)
	if ch.Devices > 0 {
		say("devices", fmt.Sprint(ch.Devices))
	}
	say("rule", ch.Rule)
	say("decision", ch.Decision)
	say("target", ch.Target)
	sip(ch.SIP)
	if end := ch.LegEnd; end != nil {
		fmt.Fprintf(&b, " %s by %s", end.Reason, end.By)
		sip(end.SIP)
	}
	if end := ch.End; end != nil {
		actor := ""
		if end.Actor != nil {
			actor = " (" + end.Actor.Type + " " + end.Actor.Name + ")"
		}
		fmt.Fprintf(&b, " %s: %s by %s%s at %s of %q, dialled %s", end.Outcome, end.Reason, end.By, actor, end.Stage, end.Leg, end.Dialled)
		sip(end.SIP)
		r := event.Record(c)
		fmt.Fprintf(&b, "\n        record: %s %s→%s: %s", r.Termination, r.CallerAOR, r.CalleeAOR, end.Message)
	}
	return b.String()
}

// doorsGolden compares what was told with a file.
func doorsGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "doors", name+".golden")
	if *updateDoors {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; it is now\n%s", file, got)
	}
}

func TestWhatTheCallControllerTells(t *testing.T) {
	const call = "/callcontroller/201/202?agent=201"
	var got strings.Builder
	for _, c := range []struct {
		name            string
		calling, called siptest.Script
		query           string
		during          func(s *street)
	}{
		{"the called phone hangs up", siptest.Script{Ring: time.Second}, siptest.Script{Ring: time.Second, HangUpAfter: 5 * time.Second},
			"&sipMethod=invite", nil},
		{"the calling phone hangs up", siptest.Script{HangUpAfter: 5 * time.Second}, siptest.Script{Ring: time.Second}, "&sipMethod=invite",
			nil},
		{"a client hangs up", siptest.Script{Ring: time.Second}, siptest.Script{NeverAnswer: true}, "&sipMethod=invite",
			func(s *street) { time.Sleep(5 * time.Second); s.ask(s.controller, "DELETE", call, "") }},
		{"busy", siptest.Script{}, siptest.Script{Status: 486, Ring: time.Second}, "&sipMethod=invite", nil},
		{"declined by the calling phone", siptest.Script{Status: 603, Ring: time.Second}, siptest.Script{}, "", nil},
		{"not answered", siptest.Script{NeverAnswer: true}, siptest.Script{}, "&timeout=10", nil},
		{"by REFER", siptest.Script{Ring: time.Second}, siptest.Script{Ring: time.Second}, "", nil},
	} {
		onStreet(t, [4]siptest.Script{c.calling, c.called}, func(s *street) {
			w := s.ask(s.controller, "POST", call+c.query, "")
			id := w.Header().Get("Sipxrest-Call-Id")
			synctest.Wait()
			if _, ok := s.bus.Call(id); w.Code != 200 || !ok {
				s.t.Errorf("%s: %d, call %q is known: %v", c.name, w.Code, id, ok)
			}
			if c.during != nil {
				c.during(s)
			}
			time.Sleep(2 * time.Minute)
			fmt.Fprintf(&got, "# %s\n%s\n", c.name, s.told())
			if n := s.bus.Stats().Calls; n != 0 {
				s.t.Errorf("%s: %d calls are left", c.name, n)
			}
		})
	}
	doorsGolden(t, "callcontroller", got.String())
}

func TestWhatDialoutTells(t *testing.T) {
	const order = `{"type":"dialout","dialout":{"number":"+493055500200"}}`
	var got strings.Builder
	for _, c := range []struct {
		name          string
		gateway, room siptest.Script
		during        func(s *street, where string)
	}{
		{"the phone hangs up", siptest.Script{Ring: time.Second, HangUpAfter: 5 * time.Second}, siptest.Script{}, nil},
		{"the conference hangs up", siptest.Script{Ring: time.Second}, siptest.Script{HangUpAfter: 5 * time.Second}, nil},
		{"its client hangs up", siptest.Script{Ring: time.Second}, siptest.Script{},
			func(s *street, where string) {
				time.Sleep(5 * time.Second)
				s.ask(s.dialout, "DELETE", where+"?agent=201", "")
			}},
		{"busy", siptest.Script{Status: 486, Ring: time.Second}, siptest.Script{}, nil},
		{"not answered", siptest.Script{NeverAnswer: true}, siptest.Script{}, nil},
		{"no conference", siptest.Script{Ring: time.Second}, siptest.Script{Status: 404}, nil},
	} {
		onStreet(t, [4]siptest.Script{2: c.gateway, 3: c.room}, func(s *street) {
			w := s.ask(s.dialout, "POST", "/dialout?agent=201", order)
			where := w.Header().Get("Location")
			synctest.Wait()
			if _, ok := s.bus.Call(strings.TrimPrefix(where, "/dialout/")); w.Code != 200 || !ok {
				s.t.Errorf("%s: %d %s, the call is known: %v", c.name, w.Code, w.Body, ok)
			}
			if c.during != nil {
				c.during(s, where)
			}
			time.Sleep(2 * time.Minute)
			fmt.Fprintf(&got, "# %s\n%s\n", c.name, s.told())
		})
	}
	onStreet(t, [4]siptest.Script{}, func(s *street) {
		for why := dialout.NotVerified; why <= dialout.Internal; why++ {
			a := dialout.Asked{ID: fmt.Sprint("talkcall", why), Source: dialout.FromTalk, Number: "+493055500200",
				Target: "sip:4271953862@conference.test"}
			dialoutDoor{s.bus}.Refused(a, why, "As Talk was told.")
			fmt.Fprintf(&got, "# refused by Talk\n%s\n", s.told())
		}
	})
	doorsGolden(t, "dialout", got.String())
}

func TestWhatDispatchTells(t *testing.T) {
	var got strings.Builder
	for _, c := range []struct {
		name, number    string
		calling, called siptest.Script
		giveUp          time.Duration
	}{
		{"the target hangs up", "5002", siptest.Script{}, siptest.Script{Ring: time.Second, HangUpAfter: 5 * time.Second}, 0},
		{"the caller hangs up", "5002", siptest.Script{HangUpAfter: 5 * time.Second}, siptest.Script{Ring: time.Second}, 0},
		{"the caller gives up", "5002", siptest.Script{}, siptest.Script{NeverAnswer: true}, 5 * time.Second},
		{"the target is busy", "5002", siptest.Script{}, siptest.Script{Status: 486, Ring: time.Second}, 0},
		{"refused by a rule", "5001", siptest.Script{}, siptest.Script{}, 0},
		{"no rule", "5009", siptest.Script{}, siptest.Script{}, 0},
		{"redirected", "5003", siptest.Script{}, siptest.Script{}, 0},
		{"no PIN", "5004", siptest.Script{}, siptest.Script{}, 0},
		{"the target does not answer", "5002", siptest.Script{}, siptest.Script{NeverAnswer: true}, 0},
		{"another phone answers the caller", "5002", siptest.Script{}, siptest.Script{NeverAnswer: true}, 6 * time.Second},
		{"the webhook does not decide", "5005", siptest.Script{}, siptest.Script{}, 0},
	} {
		onStreet(t, [4]siptest.Script{c.calling, c.called}, func(s *street) {
			ctx, cancel := context.WithCancel(s.t.Context())
			if c.giveUp > 0 {
				ctx, cancel = context.WithTimeout(s.t.Context(), c.giveUp)
			}
			how := siptest.Calling{}
			if strings.HasPrefix(c.name, "another phone") {
				how.GivesUp = `SIP;cause=200;text="Call completed elsewhere"`
			}
			_ = s.calling.CallAs(ctx, how, "sip:"+c.number+"@10.0.0.1:5060") // refused or not
			cancel()
			time.Sleep(2 * time.Minute)
			fmt.Fprintf(&got, "# %s\n%s\n", c.name, s.told())
			if n := s.bus.Stats().Calls; n != 0 {
				s.t.Errorf("%s: %d calls are left", c.name, n)
			}
		})
	}
	doorsGolden(t, "dispatch", got.String())
}

func TestWhatThePhoneTells(t *testing.T) {
	var got strings.Builder
	sam, kim := webphone.User{Username: "sam", DisplayName: "Sam"}, webphone.User{Username: "kim", SIP: "sip:202@sipx.test"}
	// What phone/calls_test.go has of the service itself.
	onStreet(t, [4]siptest.Script{}, func(s *street) {
		door := phoneDoor{s.bus}
		begin := func(id string, direct bool) string {
			door.Begins(webphone.Begun{ID: door.Name(id), Caller: sam, Callee: kim, Direct: direct})
			door.Rings(id, 2, false)
			time.Sleep(2 * time.Second)
			return id
		}
		join := func(id string) {
			door.Answering(id)
			door.Answered(id, false)
			door.Joined(id)
			time.Sleep(10 * time.Second)
		}
		for i, e := range []webphone.Ending{
			{Outcome: webphone.Completed, By: webphone.ByCaller}, {Outcome: webphone.Completed, By: webphone.ByCallee},
			{Outcome: webphone.TooLong},
			{Outcome: webphone.Ended, Stopped: true}, {Outcome: webphone.Ended, By: webphone.ByCallee}, {Outcome: webphone.Declined,
				By: webphone.ByCallee},
			{Outcome: webphone.Declined, By: webphone.ByCallee, Err: &sipflow.StatusError{Method: "INVITE", Code: 486, Reason: "Busy Here"}},
			{Outcome: webphone.Cancelled, By: webphone.ByCaller}, {Outcome: webphone.NoAnswer}, {Outcome: webphone.HandedOver,
				By: webphone.ByCallee},
		} {
			id := begin(fmt.Sprintf("6F9619FF-8B86-D011-B42D-00C04FC964%02d", i), e.Outcome == webphone.HandedOver)
			if i < 5 {
				join(id)
			}
			door.Ends(id, e)
			fmt.Fprintf(&got, "# %s by %d\n%s\n", e.Outcome, e.By, s.told())
		}
		if name := door.Name("6F9619FF-8B86-D011-B42D-00C04FC96400"); !strings.HasPrefix(name, "call_") {
			t.Errorf("an id that was used is used again: %s", name)
		}
	})
	// The SIP phone's side is a leg of the same call.
	onStreet(t, [4]siptest.Script{1: {Ring: time.Second}}, func(s *street) {
		door := phoneDoor{s.bus}
		id := door.Name("6F9619FF-8B86-D011-B42D-00C04FC964FF")
		door.Begins(webphone.Begun{ID: id, Caller: sam, Callee: kim})
		const sdp = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\n"
		call, err := s.sw.Place(s.t.Context(), sipflow.Spec{ID: id, Key: sipflow.Key{Agent: "sam@sipx.test", Calling: "phone-" + id,
			Called: "202@sipx.test"},
			Method: sipflow.MethodInvite, CalledUser: "202@sipx.test", Converse: &sipflow.Conversation{Offer: func() []byte { return []byte(sdp) },
				Answered: func(_ []byte, early bool) error {
					if !early {
						door.Answering(id)
						door.Joined(id)
					}
					return nil
				}, Reoffer: func([]byte) ([]byte, error) { return []byte(sdp), nil }}}, sipflow.Converse)
		if err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		s.called.HangUp()
		<-call.Done()
		door.Ends(id, webphone.Ending{Outcome: webphone.Completed, By: webphone.ByCallee, Phone: true})
		fmt.Fprintf(&got, "# with a SIP phone\n%s\n", s.told())
	})
	doorsGolden(t, "phone", got.String())
}
