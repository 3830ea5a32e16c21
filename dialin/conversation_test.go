package dialin

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/media/prompts"
	"sipxrest/media/sfu"
	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talk/talktest"
	"sipxrest/talkroom"
)

// patience is how long is waited for what comes at once, unless the machine has much
// else to do. It only matters when a test fails.
const patience = time.Minute

// beside has a test run beside others, unless the race detector is at work: sound in
// real time would need all processors for one of them.
func beside(t *testing.T) {
	if !raceDetector {
		t.Parallel()
	}
}

// whole is dial-in with all that it works with: a signaling server with Nextcloud and
// media server, audio over sockets. It takes real time.
type whole struct {
	t     *testing.T
	lab   *talktest.Lab
	s     *Service
	ports *media.Ports
	log   locked
	ends  chan Outcome
}

// locked is a log that several goroutines write.
type locked struct {
	mu  sync.Mutex
	log bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.String()
}

func newWhole(t *testing.T, change ...func(*Config)) *whole {
	t.Helper()
	w := &whole{t: t, lab: talktest.New(t), ends: make(chan Outcome, 8)}
	w.lab.AddSFU()
	log := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	here := netip.MustParseAddr("127.0.0.1")
	var err error
	w.ports, err = media.NewPorts(media.Config{Address: here, MinPort: 20000, MaxPort: 32000, Log: log,
		Allow: []netip.Prefix{netip.PrefixFrom(here, 8)}})
	if err != nil {
		t.Fatal(err)
	}
	servers, err := sfu.New(sfu.Config{Address: here, Loopback: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	set, err := prompts.Load("")
	if err != nil {
		t.Fatal(err)
	}
	rooms := talkroom.New(talkroom.Config{SFU: servers, Beep: talkroom.BeepNone}, log)
	cfg := Config{Language: "en", Tries: 3, Time: time.Minute, Pause: 5 * time.Second, Wait: 30 * time.Minute, StartCalls: StartMembers,
		Consent: ConsentAsk, AllowUnmute: true, Calls: 10, RoomPhones: 10}
	for _, f := range change {
		f(&cfg)
	}
	w.s, err = New(cfg, Needs{Ports: w.ports, Prompts: set, Rooms: rooms, Ends: func(_ string, o Outcome) { w.ends <- o }}, log)
	if err != nil {
		t.Fatal(err)
	}
	client, err := talk.New(talk.Config{Handler: talk.Handlers(rooms.Handler(), w.s.Handler()), Dial: w.lab.Dial, Servers: []talk.Server{{
		URL: talktest.URL, Secret: talktest.Secret,
		Backends: []talk.BackendConfig{{URL: talktest.CloudURL, SIPSecret: talktest.SIPSecret}}}}}, log)
	if err != nil {
		t.Fatal(err)
	}
	w.s.Connect(client)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	serving, stop := context.WithCancel(context.Background())
	running.Go(func() { _ = rooms.Run(ctx) })
	var signaling sync.WaitGroup
	signaling.Go(func() { _ = client.Serve(serving) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = servers.Close()
		stop()
		signaling.Wait()
		if n := w.ports.InUse(); n != 0 {
			t.Errorf("%d pairs of ports are in use", n)
		}
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	for end := time.Now().Add(patience); client.Sessions()[0].Audio() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the client is not connected")
		}
	}
	return w
}

// caller is a telephone with its call.
type caller struct {
	w       *whole
	session *media.Session
	hangUp  context.CancelCauseFunc
	ctx     context.Context
	over    chan struct{}
	err     error
	up      chan struct{}

	mu    sync.Mutex
	heard []int16 // of late
}

// calls dials in. The telephone sounds of hz.
func (w *whole) calls(q Call, hz float64) *caller {
	w.t.Helper()
	c := &caller{w: w, over: make(chan struct{}), up: make(chan struct{})}
	var err error
	if c.session, err = w.ports.Open(media.Options{Audio: c.hear}); err != nil {
		w.t.Fatal(err)
	}
	c.ctx, c.hangUp = context.WithCancelCause(context.Background())
	go func() {
		defer close(c.over)
		c.err = w.s.Take(c.ctx, c, q)
	}()
	sounds := make(chan struct{})
	go func() {
		defer close(sounds)
		tone := media.Tone(hz, time.Second, -12)
		for i := 0; ; i = (i + 320) % len(tone) {
			select {
			case <-c.over:
				return
			case <-time.After(20 * time.Millisecond):
				c.session.Write(tone[i : i+320])
			}
		}
	}()
	w.t.Cleanup(func() {
		c.hangUp(sipflow.ErrHungUp)
		<-c.over
		<-sounds
		c.session.Close()
	})
	<-c.up
	return c
}

// Converse is the telephone's dialog: it offers, and takes the answer.
func (c *caller) Converse(ctx context.Context, end *sipflow.Conversation) error {
	defer close(c.up)
	answer, err := end.Reoffer(c.session.Offer())
	if err != nil {
		return err
	}
	if err := c.session.Accept(answer); err != nil {
		return err
	}
	c.up <- struct{}{}
	<-ctx.Done()
	if cause := context.Cause(ctx); cause != sipflow.ErrHungUp {
		return cause
	}
	return nil
}

func (c *caller) Refuse(int, string, ...string) error { return nil }

func (c *caller) hear(pcm []int16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard = append(c.heard, pcm...); len(c.heard) > 8000 {
		c.heard = c.heard[len(c.heard)-8000:]
	}
}

// dials presses keys.
func (c *caller) dials(keys string) {
	c.w.t.Helper()
	for _, key := range []byte(keys) {
		if err := c.session.SendDigit(key, 60*time.Millisecond); err != nil {
			c.w.t.Error(err)
		}
	}
}

// hears waits until the telephone hears a tone, or does not hear it.
func (c *caller) hears(hz float64, want bool) {
	c.w.t.Helper()
	deadline := time.Now().Add(patience)
	for c.level(hz) > -30 != want {
		if time.Now().After(deadline) {
			c.w.t.Fatalf("the telephone hears %v Hz with %.0f dB", hz, c.level(hz))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// level is how loud a tone is, in dB below full scale (Goertzel).
func (c *caller) level(hz float64) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.heard) < 8000 {
		return -100
	}
	k, s1, s2 := 2*math.Cos(2*math.Pi*hz/16000), 0.0, 0.0
	for _, v := range c.heard {
		s1, s2 = float64(v)+k*s1-s2, s1
	}
	power := s1*s1 + s2*s2 - k*s1*s2
	return 20 * math.Log10(2*math.Sqrt(max(power, 1))/8000/32768)
}

// shown is the name by which the signaling server knows the telephone.
func (w *whole) shown() string {
	all := w.lab.Cloud.Phones(short)
	if len(all) != 1 {
		w.t.Fatalf("%d phones are shown", len(all))
	}
	return all[0]
}

// ended waits for the end of the call.
func (c *caller) ended(want Outcome) {
	c.w.t.Helper()
	select {
	case <-c.over:
	case <-time.After(patience):
		c.w.t.Fatal("the call goes on")
	}
	if o := <-c.w.ends; o != want {
		c.w.t.Errorf("it ended as %v: %v", o, c.err)
	}
}

const short = "42719"

func meeting(w *whole, sip int, change ...func(*talktest.Conversation)) {
	w.lab.Cloud.Set(short, func(v *talktest.Conversation) {
		v.SIP, v.PINs = sip, map[string]talktest.Person{"1234": {ActorID: "alice"}}
		for _, f := range change {
			f(v)
		}
	})
}

// The whole way: number and PIN by RFC 4733, tones both ways, the keys, a moderator's
// mute and hang-up.
func TestACallerTakesPartInAConversation(t *testing.T) {
	beside(t)
	w := newWhole(t)
	meeting(w, 1)
	bob := w.lab.Cloud.Talk(short, "bob", talktest.ParticipantOptions{Sound: talktest.Tone400})
	c := w.calls(Call{ID: "call1", Trunk: "carrier", From: "493055500200", Caller: "+493055500200"}, 1000)
	c.dials(short + "#1234#")
	bob.Expect(patience, 1000)
	c.hears(400, true)
	c.hears(1000, false)

	c.dials("*6")
	bob.Expect(10 * time.Second)
	c.dials("*6")
	bob.Expect(patience, 1000)

	id := w.shown()
	bob.Control(id, `{"type":"mute","audio":1}`)
	bob.Expect(10 * time.Second)
	bob.Control(id, `{"type":"mute","audio":0}`)
	bob.Expect(patience, 1000)
	bob.Control(id, `{"type":"hangup"}`)
	c.ended(Joined)
	w.lab.Until("the phone has left", patience, func() bool {
		return strings.Contains(strings.Join(w.lab.Messages(), "\n"), `"removesession"`)
	})
	for _, secret := range []string{"=" + short, `"` + short, "1234", "3055500200"} {
		if line := regexp.MustCompile(".*" + secret + ".*").FindString(w.log.String()); line != "" {
			t.Errorf("the log has %q: %s", secret, line)
		}
	}
	bob.Leave()
}

// A guest without a PIN waits until a member begins the call, and hears that it ends for
// everyone.
func TestAGuestWaitsAndHearsTheEnd(t *testing.T) {
	beside(t)
	w := newWhole(t)
	meeting(w, 2)
	c := w.calls(Call{ID: "call1", Trunk: "carrier"}, 1000)
	c.dials(short + "##")
	w.lab.Until("we are in the conversation", patience, func() bool { return w.lab.Cloud.BridgesIn(short) == 1 })
	time.Sleep(300 * time.Millisecond)
	if len(w.lab.Cloud.Phones(short)) != 0 {
		t.Error("the phone is shown before the call has begun")
	}
	bob := w.lab.Cloud.Talk(short, "bob", talktest.ParticipantOptions{Sound: talktest.Tone600})
	bob.Expect(patience, 1000)
	c.hears(600, true)
	w.lab.Cloud.EndForEveryone(short)
	c.ended(Joined)
	bob.Leave()
}

// A caller whom the lobby holds is let in, one with a wrong PIN is not.
func TestALobbyAndAWrongPIN(t *testing.T) {
	beside(t)
	w := newWhole(t)
	meeting(w, 1, func(v *talktest.Conversation) { v.Lobby = true })
	bob := w.lab.Cloud.Talk(short, "bob", talktest.ParticipantOptions{Sound: talktest.Tone400})
	c := w.calls(Call{ID: "call1", Token: short, Trunk: "carrier", From: "a"}, 1000)
	c.dials("9999#1234#")
	time.Sleep(3 * time.Second)
	if len(w.lab.Cloud.Phones(short)) != 0 {
		t.Error("the lobby does not hold the caller")
	}
	meeting(w, 1, func(v *talktest.Conversation) { v.Lobby = false })
	bob.Expect(patience, 1000)
	c.dials("*9")
	c.ended(Joined)

	other := w.calls(Call{ID: "call2", Token: short, Trunk: "carrier", From: "b"}, 1000)
	other.dials("1#2#3#")
	other.ended(Wrong)
	bob.Leave()
}

// A direct number needs no digits, and leads to a conversation of its own.
func TestADirectNumber(t *testing.T) {
	beside(t)
	w := newWhole(t)
	w.lab.Cloud.Number("493012345", "alice")
	c := w.calls(Call{ID: "call1", Direct: true, Trunk: "carrier", Caller: "+493055500200", Called: "+493012345"}, 1000)
	w.lab.Until("the phone is heard in a conversation", patience, func() bool {
		return strings.Contains(strings.Join(w.lab.Messages(), "\n"), `"incall":{"incall":3}`)
	})
	c.hangUp(sipflow.ErrHungUp)
	c.ended(Joined)
}
