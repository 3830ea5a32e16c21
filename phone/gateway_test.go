package phone

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo/sip"

	"sipxrest/phone/media"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

const (
	boardAddr = "10.0.0.1:5060"
	deskAddr  = "10.0.0.3:5060" // kim's SIP phone
	deskSIP   = "sip:202@10.0.0.3"
)

// An exchange is a house with a switchboard, and a SIP phone that is kim's.
type exchange struct {
	*house
	desk    *siptest.Phone
	board   *sipflow.Switchboard
	ports   *media.Ports
	far     *media.Session // what the SIP phone speaks and hears by
	heard   *ear
	stop    func()
	allowed func(target string) error
	proved  string // the digest user of who calls

	mu    sync.Mutex
	taken []error // what Take returned
}

// ear keeps what a phone hears.
type ear struct {
	mu  sync.Mutex
	pcm []int16
}

func (e *ear) hear(pcm []int16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pcm = append(e.pcm, pcm...)
}

func (e *ear) all() []int16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]int16(nil), e.pcm...)
}

// withDesk runs f in an exchange. The script is that of kim's SIP phone.
func withDesk(t *testing.T, script siptest.Script, f func(x *exchange), options ...func(*Config)) {
	t.Helper()
	at(t, func(h *house) {
		t := h.t
		x := &exchange{house: h, heard: &ear{}}
		listen := func(a netip.AddrPort) (media.Conn, error) { return h.net.Listen(a.String()), nil }
		var err error
		fail := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		x.ports, err = media.NewPorts(media.Config{Address: netip.MustParseAddr("10.0.0.1"), MinPort: 20000, MaxPort: 20007, Log: slog.New(slog.DiscardHandler), ListenUDP: listen})
		fail(err)
		there, err := media.NewPorts(media.Config{Address: netip.MustParseAddr("10.0.0.3"), MinPort: 40000, MaxPort: 40001, Log: slog.New(slog.DiscardHandler), ListenUDP: listen})
		fail(err)
		x.far, err = there.Open(media.Options{Audio: x.heard.hear})
		fail(err)
		defer x.far.Close()
		if script.SDP == "" {
			script.SDP = string(x.far.Offer())
		}
		x.desk = siptest.NewPhone(h.net.Listen(deskAddr), siptest.Account{User: "202", Domain: "10.0.0.3"}, script)
		defer x.desk.Close()
		res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
		fail(err)
		defer res.Close()
		x.board, err = sipflow.New(sipflow.Config{Listen: []string{"udp:" + boardAddr}, Realm: "10.0.0.1", Resolver: res,
			Network: sipflow.Network{
				ListenUDP: func(a string) (sipflow.PacketConn, error) { return h.net.Listen(a), nil },
				ListenTCP: func(a string) (net.Listener, error) { return h.net.ListenTCP(a), nil },
				DialTCP:   func(ctx context.Context, a string) (net.Conn, error) { return h.net.DialContext(ctx, "tcp", a) },
			},
			Allow: func(_ *sipflow.Spec, target string) error {
				if x.allowed != nil {
					return x.allowed(target)
				}
				return nil
			},
			Inbound: &sipflow.Inbound{Admit: func(*sipflow.Incoming) sipflow.Admission { return sipflow.Trusted },
				Take: func(ctx context.Context, in *sipflow.Incoming) error {
					in.Username = x.proved
					err := h.Take(ctx, in, in.To.User, 30*time.Second)
					x.mu.Lock()
					defer x.mu.Unlock()
					x.taken = append(x.taken, err)
					return err
				}},
		}, slog.New(slog.DiscardHandler))
		fail(err)
		serving, stop := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- x.board.Serve(serving) }()
		x.stop = sync.OnceFunc(func() {
			stop()
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
		h.cfg.Gateway = &Gateway{Board: x.board, Ports: x.ports, Domain: "10.0.0.1", Guests: true}
		fail(h.cfg.Store.SetSIP(t.Context(), h.users["kim"].ID, deskSIP))
		f(x)
		time.Sleep(2 * time.Minute) // all that is under way
		if !x.desk.OnHook() {
			t.Errorf("the SIP phone is not on hook: %v", x.desk.Log())
		}
		if n := x.ports.InUse(); n != 0 {
			t.Errorf("%d pairs of ports are left", n)
		}
		if n := x.board.Active(); n != 0 {
			t.Errorf("%d SIP calls are left", n)
		}
		h.Shutdown()
		x.stop()
	}, options...)
}

// calls has sam call kim.
func (x *exchange) calls() *client {
	x.t.Helper()
	return x.open("sam", initiatePath(callA, x.id("kim")))
}

// started wants that a phone socket has had its start frame, and no more.
func (c *client) started(what string) {
	c.h.t.Helper()
	if got := c.heard(); len(got) != 1 || !strings.HasPrefix(got[0], `{"phonecallStartTime":"`) {
		c.h.t.Fatalf("%s: %q, want the start frame", what, got)
	}
}

// outcome wants that the last call came to o, and no other.
func (x *exchange) outcome(o Outcome) {
	x.t.Helper()
	settle()
	if s := x.Stats(); s.Calls != 0 || s.Outcomes[o] != 1 {
		x.t.Errorf("want one call that was %v: %+v", o, s)
	}
}

// power is how much of a tone of f Hz there is in pcm at 16 kHz, by Goertzel's
// algorithm: 1 for a pure tone.
func power(pcm []int16, f float64) float64 {
	if len(pcm) == 0 {
		return 0
	}
	c := 2 * math.Cos(2*math.Pi*f/16000)
	var s1, s2, all float64
	for _, v := range pcm {
		x := float64(v)
		s1, s2 = x+c*s1-s2, s1
		all += x * x
	}
	if all == 0 {
		return 0
	}
	return 2 * (s1*s1 + s2*s2 - c*s1*s2) / (float64(len(pcm)) * all)
}

// tone is d of a tone of f Hz in messages of n samples.
func tone(f float64, d time.Duration, n int) (frames [][]int16) {
	for i := 0; i < int(d.Seconds()*16000); i += n {
		pcm := make([]int16, n)
		for j := range pcm {
			pcm[j] = int16(8000 * math.Sin(2*math.Pi*f*float64(i+j)/16000))
		}
		frames = append(frames, pcm)
	}
	return frames
}

func message(pcm []int16) string {
	b := []byte(audio(len(pcm), 0))
	for i, v := range pcm {
		b[4+2*i], b[5+2*i] = byte(v), byte(uint16(v)>>8)
	}
	return string(b)
}

// speak has both sides play a tone for two seconds: each hears the other's.
func (x *exchange) speak(user *client) {
	x.t.Helper()
	user.heard()
	before := len(x.heard.all())
	near, far := tone(800, 2*time.Second, 640), tone(1200, 2*time.Second, 320)
	for i := range far {
		if i%2 == 0 {
			user.say(message(near[i/2]))
		}
		x.far.Write(far[i])
		time.Sleep(20 * time.Millisecond)
	}
	middle := func(pcm []int16) []int16 {
		if len(pcm) < 20000 {
			x.t.Fatalf("only %d samples were heard", len(pcm))
		}
		return pcm[8000:20000]
	}
	if p := power(middle(x.heard.all()[before:]), 800); p < 0.9 {
		x.t.Errorf("the SIP phone hears %.2f of the user's tone", p)
	}
	var pcm []int16
	for _, m := range user.heard() {
		if len(m) != 644 {
			x.t.Fatalf("a message of %d bytes", len(m))
		}
		for i := 4; i < len(m); i += 2 {
			pcm = append(pcm, int16(uint16(m[i])|uint16(m[i+1])<<8))
		}
	}
	if p := power(middle(pcm), 1200); p < 0.9 {
		x.t.Errorf("the user hears %.2f of the SIP phone's tone", p)
	}
}

// offered is the session description of the last request of ours to the phone.
func (x *exchange) offered() []byte {
	x.t.Helper()
	all := x.desk.Requests("INVITE")
	if len(all) == 0 {
		x.t.Fatal("no INVITE came")
	}
	return all[len(all)-1].Body()
}

func TestUserCallsASIPPhone(t *testing.T) {
	withDesk(t, siptest.Script{Ring: 3 * time.Second}, func(x *exchange) {
		from := x.calls()
		from.hears("before the answer")
		time.Sleep(3 * time.Second)
		from.started("caller")
		if err := x.far.Accept(x.offered()); err != nil {
			t.Fatal(err)
		}
		invite := x.desk.Requests("INVITE")[0]
		if f := invite.From(); f.Address.User != "sam" || f.Address.Host != "10.0.0.1" || f.DisplayName != "Sam <Iam>" {
			t.Errorf("From: %v", f)
		}
		if x.far.Codec() != "G722" {
			t.Errorf("the codec is %s", x.far.Codec())
		}
		x.speak(from)
		do := func(want int, a siptest.Action) {
			t.Helper()
			res, err := x.desk.Do(x.t.Context(), a)
			if err != nil || res.StatusCode != want {
				t.Errorf("%s: %v, %v", a.Method, res, err)
			}
		}
		sdp := string(x.far.Offer())
		do(200, siptest.Action{Method: "INVITE", Body: strings.Replace(sdp, "sendrecv", "sendonly", 1)}) // held
		from.stays("while it is held")
		do(200, siptest.Action{Method: "INVITE", Body: sdp})
		do(488, siptest.Action{Method: "INVITE", Body: strings.Replace(sdp, "10.0.0.3", "224.0.0.1", -1)})
		do(405, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:9@10.0.0.3>")}})
		x.speak(from)
		x.desk.HangUp()
		from.ends("caller", websocket.StatusGoingAway)
		x.outcome(Completed)
		if s := x.Stats(); s.ToPhones != 1 || s.RTP.Received < 180 || s.RTP.Sent < 180 {
			t.Errorf("%+v", s)
		}
	})
}

func TestUserHangsUpOnASIPPhone(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		from := x.calls()
		from.started("caller")
		_ = from.Close(websocket.StatusNormalClosure, "")
		settle()
		if n := len(x.desk.Requests("BYE")); n != 1 {
			t.Errorf("%d BYEs came", n)
		}
		x.outcome(Completed)
	})
}

func TestSIPPhoneIsNotReached(t *testing.T) {
	for name, c := range map[string]struct {
		script siptest.Script
		giveUp bool // the caller
		allow  error
		after  time.Duration
		want   Outcome
		cancel bool
	}{
		"busy":             {script: siptest.Script{Status: 486}, want: Declined},
		"declined":         {script: siptest.Script{Status: 603, Ring: 2 * time.Second}, after: 3 * time.Second, want: Declined},
		"no answer":        {script: siptest.Script{NeverAnswer: true}, after: 61 * time.Second, want: NoAnswer, cancel: true},
		"unavailable":      {script: siptest.Script{Status: 480}, want: NoAnswer},
		"the caller goes":  {script: siptest.Script{NeverAnswer: true}, giveUp: true, want: Cancelled, cancel: true},
		"no common codec":  {script: siptest.Script{SDP: "v=0\r\no=- 1 1 IN IP4 10.0.0.3\r\ns=-\r\nc=IN IP4 10.0.0.3\r\nt=0 0\r\nm=audio 40000 RTP/AVP 18\r\n"}, want: Declined},
		"policy":           {allow: errors.New("not that number"), want: Declined},
		"a reflector":      {script: siptest.Script{SDP: "v=0\r\no=- 1 1 IN IP4 10.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 22000 RTP/AVP 0\r\n"}, want: Declined},
		"without a answer": {script: siptest.Script{NoSDP: true}, want: NoAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			withDesk(t, c.script, func(x *exchange) {
				if c.allow != nil {
					x.allowed = func(string) error { return c.allow }
				}
				from := x.calls()
				settle()
				if c.giveUp {
					_ = from.Close(websocket.StatusNormalClosure, "")
				} else {
					time.Sleep(c.after)
					from.ends("caller", websocket.StatusGoingAway)
				}
				x.outcome(c.want)
				if got := len(x.desk.Requests("CANCEL")) > 0; got != c.cancel {
					t.Errorf("CANCEL: %v", got)
				}
				if c.allow != nil && len(x.desk.Requests("INVITE")) > 0 {
					t.Error("the phone was rung")
				}
			})
		})
	}
}

// The rules of who may call whom are those of all calls.
func TestSIPPhoneIsCalledByWhoMay(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		x.relate(Block, "kim", "sam")
		_, res, text := x.dial("sam", initiatePath(callA, x.id("kim")))
		x.compare("blocked", res, text, 400, "Cannot call this user.")
		if n := len(x.desk.Requests("INVITE")); n != 0 {
			t.Error("the phone was rung")
		}
	})
}

func TestDeviceAndSIPPhoneRing(t *testing.T) {
	t.Run("the device is first", func(t *testing.T) {
		withDesk(t, siptest.Script{NeverAnswer: true}, func(x *exchange) {
			kim := x.notified("kim")
			from := x.calls()
			if got := kim.heard(); len(got) != 1 {
				t.Fatalf("%q", got)
			}
			to := x.open("kim", answerPath(callA))
			from.started("caller")
			to.started("callee")
			cancels := x.desk.Requests("CANCEL")
			if len(cancels) != 1 || !strings.Contains(cancels[0].String(), `cause=200;text="Call completed elsewhere"`) {
				t.Errorf("%v", cancels)
			}
			to.say(audio(320, 5))
			from.hears("caller", audio(320, 5))
			_ = to.Close(websocket.StatusNormalClosure, "")
			from.ends("caller", websocket.StatusGoingAway)
			x.outcome(Completed)
		})
	})
	t.Run("the SIP phone is first", func(t *testing.T) {
		withDesk(t, siptest.Script{Ring: 2 * time.Second}, func(x *exchange) {
			kim := x.notified("kim")
			from := x.calls()
			if got := kim.heard(); len(got) != 1 {
				t.Fatalf("%q", got)
			}
			time.Sleep(2 * time.Second)
			from.started("caller")
			kim.hears("the device", answeredText(callA))
			_, res, text := x.dial("kim", answerPath(callA))
			x.compare("answered late", res, text, 404, "Couldn't find phone call.")
			x.desk.HangUp()
			from.ends("caller", websocket.StatusGoingAway)
			kim.hears("the device", endedText(callA))
			x.outcome(Completed)
		})
	})
	t.Run("the SIP phone is busy, the device rings on", func(t *testing.T) {
		withDesk(t, siptest.Script{Status: 486}, func(x *exchange) {
			kim := x.notified("kim")
			from := x.calls()
			kim.heard()
			from.stays("caller")
			to := x.open("kim", answerPath(callA))
			to.started("callee")
			_ = to.Close(websocket.StatusNormalClosure, "")
			from.ends("caller", websocket.StatusGoingAway)
		})
	})
	t.Run("declined on the SIP phone", func(t *testing.T) {
		withDesk(t, siptest.Script{Status: 603}, func(x *exchange) {
			kim := x.notified("kim")
			from := x.calls()
			from.ends("caller", websocket.StatusGoingAway)
			if got := kim.heard(); len(got) != 2 || got[1] != endedText(callA) {
				t.Errorf("%q", got)
			}
			x.outcome(Declined)
		})
	})
	t.Run("declined on the device", func(t *testing.T) {
		withDesk(t, siptest.Script{NeverAnswer: true}, func(x *exchange) {
			x.notified("kim")
			from := x.calls()
			settle()
			x.wants("kim", "POST", "/api/v3/phone/decline/"+callA, "", 200, "")
			from.ends("caller", websocket.StatusGoingAway)
			if n := len(x.desk.Requests("CANCEL")); n != 1 {
				t.Errorf("%d CANCELs came", n)
			}
			x.outcome(Declined)
		})
	})
}

// Of a device and a phone that answer in the same moment one gets the call, and
// the other is let go.
func TestDeviceAndSIPPhoneAnswerAtOnce(t *testing.T) {
	for early := range 6 {
		withDesk(t, siptest.Script{Ring: 2*time.Second + time.Duration(early-3)*500*time.Microsecond}, func(x *exchange) {
			x.notified("kim")
			from := x.calls()
			synctest.Wait()
			time.Sleep(2 * time.Second)
			to, res, _ := x.dial("kim", answerPath(callA))
			if to == nil && res.StatusCode != 404 {
				t.Errorf("the device got %d", res.StatusCode)
			}
			from.started("caller")
			if phone := x.desk.Dialogs() == 1; phone == (to != nil) {
				t.Errorf("the phone has %d dialogs, the device answered: %v", x.desk.Dialogs(), to != nil)
			}
			if to != nil {
				_ = to.CloseNow()
			}
			_ = from.CloseNow()
			settle()
		})
	}
}

// While a device is about to answer, the phone comes too late.
func TestSIPPhoneAnswersWhileADeviceDoes(t *testing.T) {
	withDesk(t, siptest.Script{Ring: 3 * time.Second}, func(x *exchange) {
		x.notified("kim")
		from := x.calls()
		id, _ := ParseID(callA)
		c, refused := x.claim(id, x.users["kim"].ID)
		if refused != nil {
			t.Fatal(refused)
		}
		time.Sleep(5 * time.Second)
		from.hears("the caller")
		if byes := x.desk.Requests("BYE"); len(byes) != 1 || !strings.Contains(byes[0].String(), "Call completed elsewhere") {
			t.Errorf("%v", byes)
		}
		x.unclaim(c) // it has failed: others may answer
		to := x.open("kim", answerPath(callA))
		to.started("another device")
		_ = to.CloseNow()
		from.ends("caller", websocket.StatusGoingAway)
	})
}

// What a phone plays before it answers does not answer the call.
func TestEarlyMediaIsNoAnswer(t *testing.T) {
	withDesk(t, siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true, HangUpAfter: 10 * time.Second}, func(x *exchange) {
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["sam"].ID, "sip:299@10.0.0.9"); err != nil {
			t.Fatal(err)
		}
		from := x.calls()
		from.hears("while it rings")
		time.Sleep(3 * time.Second)
		from.started("caller")
		if f := x.desk.Requests("INVITE")[0].From(); f.Address.User != "299" || f.Address.Host != "10.0.0.1" {
			t.Errorf("From: %v", f)
		}
	})
}

// A user whom a SIP phone calls has his devices rung, not his SIP phone.
func TestSIPPhoneIsNotConnectedToAnother(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		other := siptest.NewPhone(x.net.Listen("10.0.0.5:5060"), siptest.Account{User: "203"}, siptest.Script{})
		defer other.Close()
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["sam"].ID, "sip:203@10.0.0.5"); err != nil {
			t.Fatal(err)
		}
		if err := <-x.fromDesk(x.t.Context(), "sam"); err == nil || !strings.Contains(err.Error(), "480") {
			t.Errorf("without a device: %v", err)
		}
		x.notified("sam")
		ctx, stop := context.WithCancel(x.t.Context())
		got := x.fromDesk(ctx, "sam")
		stop()
		<-got
		if n := len(other.Requests("INVITE")); n != 0 {
			t.Errorf("the other phone was rung %d times", n)
		}
	})
}

// Many may call by one number, that of a company.
func TestGuestsAreNotBusy(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["kim"].ID, ""); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(x.t.Context())
		defer stop()
		var calls []<-chan error
		for _, name := range []string{"sam", "eve"} {
			device := x.notified(name)
			calls = append(calls, x.fromDesk(ctx, name))
			if rung := device.heard(); len(rung) != 1 {
				t.Errorf("%s: %q", name, rung)
			}
		}
		stop()
		for _, got := range calls {
			<-got
		}
	})
}

func TestGatewayCallsEnd(t *testing.T) {
	t.Run("the longest time", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			from := x.calls()
			from.started("caller")
			x.sounds(t, 61*time.Second)
			from.ends("caller", websocket.StatusGoingAway)
			x.outcome(TooLong)
		}, func(c *Config) { c.MaxCall = time.Minute })
	})
	t.Run("a phone that says nothing", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			from := x.calls()
			from.started("caller")
			time.Sleep(50 * time.Second)
			from.stays("caller")
			time.Sleep(12 * time.Second)
			from.ends("caller", websocket.StatusGoingAway)
			x.outcome(Completed)
		})
	})
	t.Run("logged out", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			from := x.calls()
			from.started("caller")
			x.wants("sam", "POST", "/api/v3/auth/logout", "", 204, "")
			from.ends("caller", websocket.StatusGoingAway)
			if n := len(x.desk.Requests("BYE")); n != 1 {
				t.Errorf("%d BYEs came", n)
			}
		})
	})
	t.Run("hung up while it is answered", func(t *testing.T) {
		for early := range 6 {
			withDesk(t, siptest.Script{Ring: time.Second}, func(x *exchange) {
				from := x.calls()
				time.Sleep(time.Second + time.Duration(early-2)*500*time.Microsecond)
				_ = from.CloseNow()
				settle()
			})
		}
	})
	t.Run("the service ends", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			from := x.calls()
			from.started("caller")
			x.Shutdown()
			from.ends("caller", websocket.StatusGoingAway)
			if n := len(x.desk.Requests("BYE")); n != 1 {
				t.Errorf("%d BYEs came", n)
			}
		})
	})
	t.Run("no ports are left", func(t *testing.T) {
		withDesk(t, siptest.Script{}, func(x *exchange) {
			var taken []*media.Session
			for range 4 {
				s, err := x.ports.Open(media.Options{})
				if err != nil {
					t.Fatal(err)
				}
				taken = append(taken, s)
			}
			from := x.calls()
			from.ends("caller", websocket.StatusGoingAway)
			x.outcome(NoAnswer)
			for _, s := range taken {
				s.Close()
			}
		})
	})
}

// sounds has the SIP phone say something all the time.
func (x *exchange) sounds(t *testing.T, d time.Duration) {
	t.Helper()
	if err := x.far.Accept(x.offered()); err != nil {
		t.Fatal(err)
	}
	for range d / time.Second {
		for _, pcm := range tone(500, 100*time.Millisecond, 320) {
			x.far.Write(pcm)
		}
		time.Sleep(time.Second)
	}
}

// fromDesk has kim's phone call a user; what comes of it is sent.
func (x *exchange) fromDesk(ctx context.Context, name string) <-chan error {
	got := make(chan error, 1)
	go func() { got <- x.desk.Call(ctx, "sip:"+name+"@"+boardAddr) }()
	settle()
	return got
}

func TestSIPPhoneCallsAUser(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		sam := x.notified("sam")
		got := x.fromDesk(x.t.Context(), "sam")
		rung := sam.heard()
		if len(rung) != 1 {
			t.Fatalf("%q", rung)
		}
		call, ok := strings.CutPrefix(rung[0], `{"type":{"incomingPhoneCall":{}},"info":"kim","contentID":"`)
		if !ok || !strings.HasSuffix(call, `","caller":{"userID":"`+x.id("kim")+`","username":"kim"}}`) {
			t.Fatalf("%s", rung[0])
		}
		to := x.open("sam", answerPath(call[:36]))
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		to.started("callee")
		sam.hears("the device", answeredText(call[:36]))
		answers := x.desk.Answers()
		x.far.Offer()
		if err := x.far.Accept(answers[len(answers)-1].Body()); err != nil {
			t.Fatal(err)
		}
		x.speak(to)
		_ = to.Close(websocket.StatusNormalClosure, "")
		sam.hears("the device", endedText(call[:36]))
		if n := len(x.desk.Requests("BYE")); n != 1 {
			t.Errorf("%d BYEs came", n)
		}
		x.outcome(Completed)
		if s := x.Stats(); s.FromPhones != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestGuestCallsAUser(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["kim"].ID, ""); err != nil {
			t.Fatal(err)
		}
		eve := x.notified("eve") // who favours nobody
		ctx, stop := context.WithCancel(x.t.Context())
		got := x.fromDesk(ctx, "eve")
		rung := eve.heard()
		if len(rung) != 1 || !strings.Contains(rung[0], `"info":"202"`) ||
			!strings.Contains(rung[0], `"caller":{"userID":"`+guestID("sip:202@10.0.0.3").String()+`","username":"202"`) {
			t.Fatalf("%q", rung)
		}
		stop()
		<-got
		if ended := eve.heard(); len(ended) != 1 || !strings.Contains(ended[0], "phoneCallEnded") {
			t.Errorf("%q", ended)
		}
		x.outcome(Cancelled)

		// A guest whose number is a user's name is not shown as that user.
		if _, err := x.cfg.Store.Add(x.t.Context(), User{Username: "202"}, "password of 202"); err != nil {
			t.Fatal(err)
		}
		ctx, stop = context.WithCancel(x.t.Context())
		got = x.fromDesk(ctx, "eve")
		if rung := eve.heard(); len(rung) != 1 || !strings.Contains(rung[0], `"info":"202@10.0.0.3"`) ||
			!strings.Contains(rung[0], `"username":"202@10.0.0.3"`) {
			t.Errorf("%q", rung)
		}
		stop()
		<-got
		eve.heard()

		x.cfg.Gateway.Guests = false
		if err := <-x.fromDesk(x.t.Context(), "eve"); err == nil || !strings.Contains(err.Error(), "603") {
			t.Errorf("a guest where there are none: %v", err)
		}
	})
}

func TestWhoHasProvedHisNameIsNobodyElse(t *testing.T) {
	withDesk(t, siptest.Script{}, func(x *exchange) {
		sam := x.notified("sam")
		x.cfg.Gateway.User = func(username string) string {
			return map[string]string{"202": "202", "desk": "202", "300": "300"}[username]
		}
		// From is kim's address, and it is not she who calls: 300 is a guest.
		x.proved = "300"
		ctx, stop := context.WithCancel(x.t.Context())
		got := x.fromDesk(ctx, "sam")
		if rung := sam.heard(); len(rung) != 1 || !strings.Contains(rung[0], `"caller":{"userID":"`+guestID("sip:300@10.0.0.1").String()+`","username":"202"`) {
			t.Errorf("%q", rung)
		}
		stop()
		<-got
		sam.heard()

		// It is kim who calls, by another of her names and from another host.
		if err := x.cfg.Store.SetSIP(x.t.Context(), x.users["kim"].ID, "sip:202@10.0.0.1"); err != nil {
			t.Fatal(err)
		}
		x.relate(Block, "sam", "kim")
		for _, x.proved = range []string{"202", "desk"} {
			if err := <-x.fromDesk(x.t.Context(), "sam"); err == nil || !strings.Contains(err.Error(), "603") {
				t.Errorf("who is blocked calls as %s: %v", x.proved, err)
			}
		}
		sam.hears("of who is blocked")
		// What a trunk writes is believed.
		x.proved = "carrier"
		ctx, stop = context.WithCancel(x.t.Context())
		got = x.fromDesk(ctx, "sam")
		if rung := sam.heard(); len(rung) != 1 || !strings.Contains(rung[0], guestID("sip:202@10.0.0.3").String()) {
			t.Errorf("%q", rung)
		}
		stop()
		<-got
	})
}

func TestSIPPhoneIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(x *exchange)
		to      string
		during  func(x *exchange, call string)
		want    string
		outcome Outcome
	}{
		"nobody of that name": {to: "nobody", want: "404"},
		"offline":             {to: "sam", want: "480"},
		"calls are off":       {to: "sam", want: "480", prepare: func(x *exchange) { x.notified("sam"); x.SetCalls(false) }},
		"blocked":             {to: "sam", want: "603", prepare: func(x *exchange) { x.notified("sam"); x.relate(Block, "sam", "kim") }},
		"muted":               {to: "sam", want: "603", prepare: func(x *exchange) { x.notified("sam"); x.relate(Mute, "sam", "kim") }},
		"of too low a level": {to: "sam", want: "603", prepare: func(x *exchange) {
			x.notified("sam")
			kim := x.users["kim"]
			kim.Level = "banned"
			if err := x.cfg.Store.Update(x.t.Context(), kim); err != nil {
				x.t.Fatal(err)
			}
		}},
		"no favourite": {to: "eve", want: "603", prepare: func(x *exchange) { x.notified("eve") }},
		"oneself":      {to: "kim", want: "603", prepare: func(x *exchange) { x.notified("kim") }},
		"busy": {to: "sam", want: "486", prepare: func(x *exchange) {
			x.notified("sam")
			x.relate(Favorite, "eve", "sam")
			x.notified("eve")
			x.open("sam", initiatePath(callB, x.id("eve")))
		}},
		"busy, and no port is free": {to: "sam", want: "486", prepare: func(x *exchange) {
			x.notified("sam")
			x.relate(Favorite, "eve", "sam")
			x.notified("eve")
			x.open("sam", initiatePath(callB, x.id("eve")))
			for {
				session, err := x.ports.Open(media.Options{})
				if err != nil {
					break
				}
				time.AfterFunc(time.Minute, session.Close)
			}
		}},
		"declined": {to: "sam", want: "603", prepare: func(x *exchange) { x.notified("sam") }, during: func(x *exchange, call string) {
			x.wants("sam", "POST", "/api/v3/phone/decline/"+call, "", 200, "")
		}},
		"no answer": {to: "sam", want: "480", prepare: func(x *exchange) { x.notified("sam") }, during: func(*exchange, string) { time.Sleep(time.Minute) }},
		"logged out": {to: "sam", want: "480", prepare: func(x *exchange) { x.notified("sam") }, during: func(x *exchange, call string) {
			x.wants("sam", "POST", "/api/v3/auth/logout", "", 204, "")
			time.Sleep(time.Minute)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			withDesk(t, siptest.Script{}, func(x *exchange) {
				if c.prepare != nil {
					c.prepare(x)
				}
				began := time.Now()
				got := x.fromDesk(x.t.Context(), c.to)
				if c.during != nil {
					c.during(x, x.onlyCall())
				}
				select {
				case err := <-got:
					if err == nil || !strings.Contains(err.Error(), c.want) {
						t.Errorf("the phone got %v, want %s", err, c.want)
					}
					if took := time.Since(began); c.during == nil && took > 2*time.Second {
						t.Errorf("after %v", took)
					}
				case <-time.After(2 * time.Minute):
					t.Error("the phone got no answer")
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// onlyCall is the ID of the call that there is.
func (x *exchange) onlyCall() string {
	x.Service.mu.Lock()
	defer x.Service.mu.Unlock()
	for id := range x.Service.calls {
		return id.String()
	}
	x.t.Fatal("there is no call")
	return ""
}
