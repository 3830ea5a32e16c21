package dialin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/media/attendant"
	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talkroom"
)

const (
	token = "4271953862"
	pin   = "1234567"
	// promptTime is how long each prompt of the tests is.
	promptTime = 2 * time.Second
)

// rig is a caller, and all that his call needs.
type rig struct {
	t    *testing.T
	s    *Service
	q    Call
	logs bytes.Buffer

	mu    sync.Mutex
	trace []string

	// What Nextcloud and the signaling server know, and do.
	info      talk.RoomInfo
	who       talk.Caller
	fails     map[string]error // by what is asked: room, verify, open, direct, encrypted, sessions
	encrypted bool
	asked     map[string]int
	answers   time.Duration // how long it takes to fail
	addErr    error         // of AddSession
	refuseAdd int           // so many adds fail
	slow      time.Duration // of Nextcloud, until a phone is seen
	outside   bool          // we are not in the conversation yet
	mute      bool          // nobody says whether a phone is seen
	enterErr  error
	openErr   error
	inCall    bool
	phones    int // of others
	foreign   int // of other bridges

	ears    *fakeEars
	phone   *fakePhone
	events  func(talkroom.Event)
	added   []talk.Phone
	ctx     context.Context
	hangUp  context.CancelCauseFunc
	offer   error // of our media
	over    chan struct{}
	err     error
	refused string
}

// newRig is a caller to a conversation with a PIN, whose call has begun.
func newRig(t *testing.T, change ...func(*Config)) *rig {
	r := &rig{t: t, fails: map[string]error{}, asked: map[string]int{}, inCall: true, over: make(chan struct{}),
		info: talk.RoomInfo{Token: token, SIP: talk.SIPByPIN, HasCall: true},
		who:  talk.Caller{AttendeeID: 7, ActorType: "users", ActorID: "alice", Name: "Alice", Member: true, MayPublish: true, MayStart: true},
		q:    Call{ID: "call1", Trunk: "carrier", Source: netip.MustParseAddr("192.0.2.7"), From: "493055500200", Caller: "+493055500200"}}
	cfg := Config{Language: "en", Tries: 3, Time: time.Minute, Pause: 5 * time.Second, Wait: 30 * time.Minute, StartCalls: StartMembers,
		Consent: ConsentAsk, AllowUnmute: true, Calls: 2, RoomPhones: 3}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	r.s, err = newService(cfg, r.parts(), []Cloud{r}, slog.New(slog.NewTextHandler(&r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) parts() Parts {
	return Parts{
		Open: func(clip func(string) []int16, silent func()) (Ears, error) {
			if r.openErr != nil {
				return nil, r.openErr
			}
			r.ears = &fakeEars{r: r, digits: make(chan byte, 64), silent: silent}
			return r.ears, nil
		},
		Clip: func(language, name string) []int16 { return make([]int16, 16000*int(promptTime/time.Second)) },
		Enter: func(s Session, token string, events func(talkroom.Event)) (Room, error) {
			if r.enterErr != nil {
				return nil, r.enterErr
			}
			r.note("enter %s", token)
			r.events = events
			return fakeRoom{r}, nil
		},
		Sessions: func(Cloud) ([]Session, error) {
			if err := r.fails["sessions"]; err != nil {
				return nil, err
			}
			return []Session{r}, nil
		},
		Ends: func(_ string, o Outcome) { r.note("ends %v", o) },
	}
}

func (r *rig) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trace = append(r.trace, fmt.Sprintf(format, args...))
}

// set has a script change what Nextcloud and others know.
func (r *rig) set(f func()) func() {
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		f()
	}
}

// call calls, in its own goroutine.
func (r *rig) call() {
	r.ctx, r.hangUp = context.WithCancelCause(r.t.Context())
	go func() {
		defer close(r.over)
		r.err = r.s.Take(r.ctx, r, r.q)
	}()
}

// script does one thing after another: a time is waited for, and digits are pressed.
func (r *rig) script(steps ...any) {
	for _, step := range steps {
		switch step := step.(type) {
		case time.Duration:
			time.Sleep(step)
		case string:
			for _, key := range []byte(step) {
				r.ears.press(key)
			}
		case func():
			step()
		}
		synctest.Wait()
	}
}

// leaves hangs up, if the call is not over, and waits for that.
func (r *rig) leaves() {
	r.hangUp(sipflow.ErrHungUp)
	<-r.over
}

// was compares what happened since the last time.
func (r *rig) was(want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.trace, want) {
		r.t.Errorf("happened:\n  %s\nwant:\n  %s", strings.Join(r.trace, "\n  "), strings.Join(want, "\n  "))
	}
	r.trace = nil
}

// ended says what the counters have to be: one call with that outcome, and nothing left.
func (r *rig) ended(want Outcome) {
	r.t.Helper()
	select {
	case <-r.over:
	default:
		r.t.Fatalf("the call goes on: %q", r.trace)
	}
	st := r.s.Stats()
	if st.Calls[want] != 1 || st.Active != 0 || st.Asked != 0 || len(r.s.calls) != 0 {
		r.t.Errorf("counted: %v, %d active, %d asked, %d shown; want one %v", st.Calls, st.Active, st.Asked, len(r.s.calls), want)
	}
	if r.ears != nil && !r.ears.closed {
		r.t.Error("the audio was not closed")
	}
	r.discreet()
}

// discreet says that no PIN, no conversation and no number is in the log.
func (r *rig) discreet() {
	r.t.Helper()
	for _, secret := range []string{token, pin, r.q.Caller, r.q.From, "7654321"} {
		if secret != "" && strings.Contains(r.logs.String(), secret) {
			r.t.Errorf("the log has %q:\n%s", secret, r.logs.String())
		}
	}
}

// Converse is the call's dialog.
func (r *rig) Converse(ctx context.Context, end *sipflow.Conversation) error {
	if r.offer != nil {
		return errors.Join(&sipflow.StatusError{Method: "INVITE", Code: 488}, r.offer)
	}
	if _, err := end.Reoffer(nil); err != nil {
		return err
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); cause != sipflow.ErrHungUp {
		return cause
	}
	return nil
}

func (r *rig) Refuse(code int, reason string, header ...string) error {
	r.refused = fmt.Sprintf("%d %s%q", code, reason, header)
	return nil
}

// A Nextcloud.

func (r *rig) URL() string { return "https://cloud.example/" }

func (r *rig) Encrypted(context.Context) (bool, error) { return r.encrypted, r.fails["encrypted"] }

func (r *rig) asks(what string) error {
	r.mu.Lock()
	r.asked[what]++
	err, slow := r.fails[what], r.answers
	r.mu.Unlock()
	if err != nil {
		time.Sleep(slow)
	}
	return err
}

func (r *rig) Room(_ context.Context, asked string) (talk.RoomInfo, error) {
	if err := r.asks("room"); err != nil {
		return talk.RoomInfo{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if asked != token {
		return talk.RoomInfo{}, talk.ErrNotFound
	}
	return r.info, nil
}

func (r *rig) VerifyDialin(_ context.Context, asked, entered string) (talk.Caller, error) {
	if err := r.asks("verify"); err != nil {
		return talk.Caller{}, err
	}
	if asked != token || entered != pin {
		return talk.Caller{}, talk.ErrNotFound
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	who := r.who
	who.Room = r.info
	return who, nil
}

func (r *rig) OpenDialin(context.Context, string) (talk.Caller, error) {
	if err := r.asks("open"); err != nil {
		return talk.Caller{}, err
	}
	return talk.Caller{Room: r.info, AttendeeID: 8, ActorType: "guests", ActorID: "g1", MayPublish: true, MayStart: true}, nil
}

func (r *rig) DirectDialin(_ context.Context, called, caller string) (talk.Caller, error) {
	r.note("direct %s %s", called, caller)
	if err := r.asks("direct"); err != nil {
		return talk.Caller{}, err
	}
	return talk.Caller{Room: talk.RoomInfo{Token: token}, AttendeeID: 9, ActorType: "guests", ActorID: "g2", MayPublish: true}, nil
}

// A session with the signaling server.

func (r *rig) AddSession(p talk.Phone) error {
	r.mu.Lock()
	err := r.addErr
	r.mu.Unlock()
	if err != nil {
		return err
	}
	r.note("add %s %q %q %s/%s", p.RoomID, p.DisplayName, p.Number, p.Options.ActorType, p.Options.ActorID)
	r.added = append(r.added, p)
	id, then := p.CallID, func(id string) { r.s.added(r, id) }
	if r.refuseAdd > 0 {
		r.refuseAdd--
		then = func(id string) { r.s.addFailed(r, id, errors.New("add_failed")) }
	}
	if !r.mute {
		time.AfterFunc(r.slow, func() { then(id) })
	}
	return nil
}

func (r *rig) RemoveSession(id string) (bool, error) {
	if id != r.added[len(r.added)-1].CallID {
		r.t.Errorf("another phone is removed")
	}
	r.note("remove")
	return true, nil
}

// control is what a moderator, or Nextcloud, does.
func (r *rig) control(m talk.Control) func() {
	return func() {
		m.CallID = r.added[len(r.added)-1].CallID
		r.s.control(r, m)
	}
}

func (r *rig) happens(e talkroom.Event) func() { return func() { r.events(e) } }

type fakeRoom struct{ r *rig }

func (f fakeRoom) AddPhone(id string, a Audio, o talkroom.PhoneOptions) Phone {
	f.r.note("in speak=%v", !o.MayNotSpeak)
	p := &fakePhone{r: f.r}
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.r.phone = p
	return p
}
func (f fakeRoom) Inside() bool {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	return !f.r.outside
}
func (f fakeRoom) InCall() bool {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	return f.r.inCall
}
func (f fakeRoom) Phones() int {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	n := f.r.phones
	if f.r.phone != nil {
		n++
	}
	return n
}
func (f fakeRoom) Foreign() int {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	return f.r.foreign
}
func (f fakeRoom) Leave() { f.r.note("leave") }

type fakePhone struct {
	r     *rig
	flags talk.Flags
	hand  bool
}

func (p *fakePhone) Shown()            { p.r.note("shown") }
func (p *fakePhone) Held(held bool)    {}
func (p *fakePhone) Play(pcm []int16)  { p.r.note("plays") }
func (p *fakePhone) Raised() bool      { return p.hand }
func (p *fakePhone) Muted() talk.Flags { return p.flags }
func (p *fakePhone) Mute(f talk.Flags) { p.flags = f; p.r.note("mute %d", f) }
func (p *fakePhone) Raise(up bool)     { p.hand = up; p.r.note("hand %v", up) }
func (p *fakePhone) Remove() {
	p.r.note("out")
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.r.phone = nil
}

// fakeEars play prompts of promptTime, and take digits as an attendant.Attendant does.
type fakeEars struct {
	r        *rig
	digits   chan byte
	silent   func()
	released bool
	closed   bool
}

func (e *fakeEars) press(key byte) {
	select {
	case e.digits <- key:
	default:
	}
}

func (e *fakeEars) Conversation() *sipflow.Conversation {
	return &sipflow.Conversation{Offer: func() []byte { return nil }, Answered: func([]byte, bool) error { return nil },
		Reoffer: func([]byte) ([]byte, error) { return nil, nil }}
}

func (e *fakeEars) says(names []string) {
	if e.released {
		e.r.t.Error("a prompt is played while the conversation has the sound")
	}
	e.r.note("say %s", strings.Join(names, " "))
}

func (e *fakeEars) Start(names ...string) { e.says(names) }
func (e *fakeEars) Stop()                 {}
func (e *fakeEars) Loop([]int16)          {}
func (e *fakeEars) Close()                { e.closed = true }
func (e *fakeEars) Resume()               { e.released = false }
func (e *fakeEars) Release() Audio        { e.released = true; return fakeAudio{e.r} }

func (e *fakeEars) Play(ctx context.Context, names ...string) error {
	e.says(names)
	select {
	case <-time.After(promptTime * time.Duration(len(names))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *fakeEars) Digit(ctx context.Context) (byte, error) {
	select {
	case d := <-e.digits:
		return d, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (e *fakeEars) Entry(ctx context.Context, o attendant.EntryOptions) (string, error) {
	var entered []byte
	for {
		waiting, cancel := ctx, context.CancelFunc(func() {})
		if len(entered) > 0 {
			waiting, cancel = context.WithTimeout(ctx, o.Pause)
		}
		d, err := e.Digit(waiting)
		cancel()
		switch {
		case err != nil && ctx.Err() == nil:
			return string(entered), nil
		case err != nil:
			return "", err
		case d == '#':
			return string(entered), nil
		case d == o.Clear && len(entered) == 0:
		default:
			if entered = append(entered, d); len(entered) == o.Max {
				return string(entered), nil
			}
		}
	}
}

type fakeAudio struct{ r *rig }

func (fakeAudio) Pull(time.Time, *[320]int16) bool { return false }
func (fakeAudio) Push(time.Time, *[320]int16)      {}
func (fakeAudio) Directions() (bool, bool)         { return true, true }
func (a fakeAudio) SendDigit(key byte, _ time.Duration) error {
	a.r.note("digit %c", key)
	time.Sleep(time.Millisecond) // a moderator can be quicker
	return nil
}
