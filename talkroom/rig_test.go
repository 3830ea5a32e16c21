package talkroom

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/media"
	"sipxrest/media/sfu"
	"sipxrest/talk"
)

const ours = "R1" // our session in the conversation

// stage is a conversation whose servers the test plays. All that it says to them
// is in said, with the time since the beginning.
type stage struct {
	t     *testing.T
	rooms *Rooms
	begun time.Time
	stop  func()
	log   *strings.Builder

	mu      sync.Mutex
	said    []string
	n       int // of messages
	session string
	away    bool
	audible []string
	others  int
	pubs    []*fakePublisher
	subs    []*fakeSubscription
	refuse  error // of connections
	slow    time.Duration
	flags   map[string][]talk.Flags
	events  []Event
	gone    bool // we have left
}

// inRoom runs a test in fake time. In the end nothing may be left.
func inRoom(t *testing.T, f func(st *stage), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Beep: BeepNone}
		for _, c := range change {
			c(&cfg)
		}
		st := &stage{t: t, begun: time.Now(), session: ours, flags: map[string][]talk.Flags{}, log: &strings.Builder{}}
		st.rooms = New(cfg, slog.New(slog.NewTextHandler(locked{st}, &slog.HandlerOptions{Level: slog.LevelDebug})))
		st.rooms.connects = st
		st.rooms.join = func(*talk.Session, string) signaling { return st }
		st.rooms.show = func(_ *talk.Session, id string, f talk.Flags) error {
			st.mu.Lock()
			defer st.mu.Unlock()
			st.flags[id] = append(st.flags[id], f)
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- st.rooms.Run(ctx) }()
		st.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		f(st)
		st.stop()
		for i, p := range st.pubs {
			if !p.closed {
				t.Errorf("publisher %d stays", i)
			}
		}
		for i, s := range st.subs {
			if !s.closed {
				t.Errorf("subscription %d stays", i)
			}
		}
		if len(st.rooms.rooms)+len(st.rooms.joined)+len(st.rooms.ending)+len(st.rooms.live) > 0 {
			t.Errorf("conversations stay: %v", st.rooms.live)
		}
		for s, n := range st.rooms.Stats().Sources {
			if n != 0 {
				t.Errorf("%d sources are %s", n, s)
			}
		}
	})
}

// locked is the log of a stage.
type locked struct{ st *stage }

func (l locked) Write(b []byte) (int, error) {
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	return l.st.log.Write(b)
}

// say notes a message. The caller holds st.mu.
func (st *stage) say(format string, args ...any) string {
	st.n++
	st.said = append(st.said, fmt.Sprintf("%.1f ", time.Since(st.begun).Seconds())+fmt.Sprintf(format, args...))
	return fmt.Sprintf("id-%d", st.n)
}

func (st *stage) SessionID() string { st.mu.Lock(); defer st.mu.Unlock(); return st.session }

func (st *stage) Offer(sid, sdp, codec string) (string, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.away {
		return "", talk.ErrAway
	}
	st.pubs[len(st.pubs)-1].sid = sid
	id := st.say("offer %s", codec)
	st.pubs[len(st.pubs)-1].id = id
	return id, nil
}

func (st *stage) Answer(session, sid, sdp string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.away {
		return talk.ErrAway
	}
	st.say("answer %s %s", session, sid)
	return nil
}

func (st *stage) Ask(session string) (string, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.away {
		return "", talk.ErrAway
	}
	return st.say("ask %s", session), nil
}

func (st *stage) InCall(flags int) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.away {
		return talk.ErrAway
	}
	st.say("incall %d", flags)
	return nil
}

func (st *stage) Audible() []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.audible)
}

func (st *stage) Inside() bool { st.mu.Lock(); defer st.mu.Unlock(); return !st.away }

func (st *stage) Others() int { st.mu.Lock(); defer st.mu.Unlock(); return st.others }

func (st *stage) Foreign() int { return 0 }

func (st *stage) Leave() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.say("leave")
	st.gone = true
}

// fakePublisher is a publisher whose connection the test makes.
type fakePublisher struct {
	sfu.Events
	st         *stage
	sid, id    string
	answer     error
	candidates int
	heard      int // frames that are not silent
	closed     bool
}

func (st *stage) publish(_ media.Codec, e sfu.Events) (publisher, string, error) {
	time.Sleep(st.slow)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.refuse != nil {
		return nil, "", st.refuse
	}
	p := &fakePublisher{Events: e, st: st}
	st.pubs = append(st.pubs, p)
	return p, "offer", nil
}

func (p *fakePublisher) Answer(string) error { return p.answer }
func (p *fakePublisher) Candidate(sfu.Candidate) error {
	p.candidates++
	return nil
}
func (p *fakePublisher) Write(pcm *[320]int16) {
	p.st.mu.Lock()
	defer p.st.mu.Unlock()
	if *pcm != ([320]int16{}) {
		p.heard++
	}
}
func (p *fakePublisher) Stats() sfu.PublisherStats { return sfu.PublisherStats{Lost: 3} }
func (p *fakePublisher) Close()                    { p.closed = true }

// fakeSubscription says a constant.
type fakeSubscription struct {
	sfu.Events
	candidates int
	closed     bool
}

func (st *stage) subscribe(offer string, e sfu.Events) (subscription, string, error) {
	time.Sleep(st.slow)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.refuse != nil {
		return nil, "", st.refuse
	}
	s := &fakeSubscription{Events: e}
	st.subs = append(st.subs, s)
	return s, "answer", nil
}

func (s *fakeSubscription) Pull(_ time.Time, out *[320]int16) bool {
	for i := range out {
		out[i] = 1000
	}
	return true
}
func (s *fakeSubscription) Skip(time.Time) {}
func (s *fakeSubscription) Level() int     { return 20 }
func (s *fakeSubscription) Candidate(sfu.Candidate) error {
	s.candidates++
	return nil
}
func (s *fakeSubscription) Stats() sfu.SubscriptionStats {
	return sfu.SubscriptionStats{PlayerStats: media.PlayerStats{Lost: 2, Faults: 1}}
}
func (s *fakeSubscription) Close() { s.closed = true }

// fakePhone is a phone that says a tone and hears.
type fakePhone struct {
	mu     sync.Mutex
	silent bool
	heard  int // frames that are not silent
	t      int
}

func (p *fakePhone) Pull(_ time.Time, out *[320]int16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent {
		clear(out[:])
		return false
	}
	for i := range out {
		out[i] = 8000
		if p.t++; p.t%40 < 20 {
			out[i] = -8000
		}
	}
	return true
}

func (p *fakePhone) Push(_ time.Time, in *[320]int16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *in != ([320]int16{}) {
		p.heard++
	}
}

// frames are how many it has heard that were not silent.
func (p *fakePhone) frames() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard
}

// hush has the phone say nothing any more.
func (p *fakePhone) hush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}

// hears reports whether the phone hears anything in the next 200 ms.
func (p *fakePhone) hears() bool {
	time.Sleep(time.Second) // what comes still from before
	p.mu.Lock()
	before := p.heard
	p.mu.Unlock()
	time.Sleep(200 * time.Millisecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard > before
}

// enter enters the conversation.
func (st *stage) enter() *Room {
	st.t.Helper()
	r, err := st.rooms.Enter(nil, "123", func(e Event) {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.events = append(st.events, e)
	})
	if err != nil {
		st.t.Fatal(err)
	}
	return r
}

// set changes what the servers say, and tells of it.
func (st *stage) set(kind talk.RoomEventKind, change func()) {
	st.mu.Lock()
	if change != nil {
		change()
	}
	st.mu.Unlock()
	st.rooms.changed(nil, talk.RoomEvent{RoomID: "123", Kind: kind})
	synctest.Wait()
}

// tell has the media server say something.
func (st *stage) tell(m talk.MediaMessage) {
	st.rooms.mu.Lock()
	c := st.rooms.joined[st]
	st.rooms.mu.Unlock()
	if c != nil {
		c.hears(m)
	}
	synctest.Wait()
}

// pub is the newest publisher.
func (st *stage) pub() *fakePublisher {
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.pubs) == 0 {
		st.t.Fatalf("nothing was published:\n%s", strings.Join(st.said, "\n"))
	}
	return st.pubs[len(st.pubs)-1]
}

// hearings is how many subscriptions were made.
func (st *stage) hearings() int {
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.subs)
}

// answers answers the offer and has the connection come.
func (st *stage) answers() *fakePublisher {
	p := st.pub()
	st.tell(talk.MediaMessage{Kind: talk.MediaAnswer, From: ours, SID: p.sid, SDP: "answer"})
	p.Connected(50 * time.Millisecond)
	synctest.Wait()
	return p
}

// offers has a participant's offer come.
func (st *stage) offers(session, sid string) *fakeSubscription {
	st.mu.Lock()
	n := len(st.subs)
	st.mu.Unlock()
	st.tell(talk.MediaMessage{Kind: talk.MediaOffer, From: session, SID: sid, SDP: "offer"})
	if st.slow > 0 {
		time.Sleep(2 * st.slow)
		synctest.Wait()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.subs) != n+1 {
		st.t.Fatalf("there are %d subscriptions, want %d\n%s", len(st.subs), n+1, st.log)
	}
	return st.subs[n]
}

// says wants what was said since the last look, without times.
func (st *stage) says(want ...string) {
	st.t.Helper()
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	var got []string
	for _, s := range st.said {
		_, what, _ := strings.Cut(s, " ")
		got = append(got, what)
	}
	if !slices.Equal(got, want) {
		st.t.Errorf("said %q, want %q\n%s", st.said, want, st.log)
	}
	st.said = nil
}

// forget forgets what was said.
func (st *stage) forget() {
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.said = nil
}

// told wants the events since the last look.
func (st *stage) told(want ...Event) {
	st.t.Helper()
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	if !slices.Equal(st.events, want) {
		st.t.Errorf("told %v, want %v\n%s", st.events, want, st.log)
	}
	st.events = nil
}

// up is a conversation with a phone that is heard.
func (st *stage) up(o ...PhoneOptions) (*Room, *Phone, *fakePhone) {
	st.t.Helper()
	r := st.enter()
	a := &fakePhone{}
	p := r.AddPhone("call-1", a, append(o, PhoneOptions{})[0])
	st.answers()
	st.says("offer g722", "incall 3")
	return r, p, a
}
