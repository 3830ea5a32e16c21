package talk_test

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

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

const token = "4271953862"

// rig is a client at a lab, in a bubble.
type rig struct {
	t       *testing.T
	lab     *talktest.Lab
	session *talk.Session
	stop    func() // Serve's end, once
	auto    bool   // verify and accept requests

	mu       sync.Mutex
	told     []string // what the Handler was told
	requests []*talk.Request
	calls    int
}

func config(lab *talktest.Lab) talk.Config {
	return talk.Config{UserAgent: "sipxrest/test", Dial: lab.Dial, Servers: []talk.Server{{URL: talktest.URL, Secret: talktest.Secret,
		Backends: []talk.BackendConfig{{URL: talktest.CloudURL, SIPSecret: talktest.SIPSecret}}}}}
}

// bubble runs a test in fake time with a client that serves.
func bubble(t *testing.T, f func(r *rig), change ...func(*rig, *talk.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, lab: talktest.New(t), auto: true}
		cfg := config(r.lab)
		cfg.Handler = talk.Handler{
			Dialout: r.dialout,
			Control: func(_ *talk.Session, c talk.Control) {
				r.tell("control %s kind=%d digit=%q mute=%d reason=%q", c.CallID, c.Kind, c.Digit, c.Mute, c.Reason)
			},
			Room: func(_ *talk.Session, e talk.RoomEvent) {
				if e.Kind < talk.Entered { // those of media have their own tests
					r.tell("room %s kind=%d", e.RoomID, e.Kind)
				}
			},
			AddFailed: func(_ *talk.Session, id string, err error) { r.tell("add failed %s: %v", id, err) },
			InDoubt:   func(_ *talk.Session, p talk.Phone) { r.tell("in doubt %s", p.CallID) },
			Up:        func(_ *talk.Session, h talk.Hello) { r.tell("up %v", h) },
			Again:     func(_ *talk.Session, roomID string) { r.tell("again %s", roomID) },
			Down:      func(_ *talk.Session, err error) { r.tell("down") },
		}
		for _, c := range change {
			c(r, &cfg)
		}
		client, err := talk.New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r.session = client.Sessions()[0]
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = client.Serve(ctx)
		}()
		r.stop = sync.OnceFunc(func() {
			cancel()
			<-done
		})
		synctest.Wait()
		f(r)
		r.stop()
		r.lab.Close()
	})
}

func (r *rig) tell(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

// was checks what the Handler was told, and forgets all of it.
func (r *rig) was(want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.told, want) {
		r.t.Errorf("told %q, want %q", r.told, want)
	}
	r.told = nil
}

func (r *rig) forget() {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = nil
}

func (r *rig) dialout(q *talk.Request) {
	r.mu.Lock()
	r.requests = append(r.requests, q)
	r.calls++
	id := fmt.Sprintf("call-%d", r.calls)
	auto := r.auto
	r.mu.Unlock()
	if !auto {
		return
	}
	go func() {
		if _, err := r.session.Backend().VerifyDialout(q.Context(), q.RoomID, q.Number, q.Options); err != nil {
			_ = q.Refuse("not_allowed", "The number could not be verified.")
			return
		}
		_ = q.Accept(id)
	}()
}

// last is the request that came last.
func (r *rig) last() *talk.Request {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.requests) == 0 {
		r.t.Fatal("no request came")
	}
	return r.requests[len(r.requests)-1]
}

// call has a number called and returns the call's id.
func (r *rig) call(attendee int) string {
	r.t.Helper()
	id, err := r.lab.Cloud.Dialout(token, "+493055500200", talktest.Options(attendee))
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rig) status(id string, state talk.CallState) {
	r.t.Helper()
	if err := r.session.Status(token, talk.Status{CallID: id, State: state}); err != nil {
		r.t.Error(err)
	}
	synctest.Wait()
}

func (r *rig) add(id string, attendee int) {
	r.t.Helper()
	if err := r.session.AddSession(phone(id, attendee)); err != nil {
		r.t.Error(err)
	}
	synctest.Wait()
}

func phone(id string, attendee int) talk.Phone {
	return talk.Phone{CallID: id, RoomID: token, Number: "+493055500200", DisplayName: "Phone",
		Options: talk.Options{ActorID: fmt.Sprintf("actor-%d", attendee), ActorType: "phones"}}
}

// saw checks the statuses that a user was told of.
func saw(t *testing.T, u *talktest.User, id string, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := u.Calls(id); !slices.Equal(got, want) {
		t.Errorf("the user saw %q of %s, want %q", got, id, want)
	}
}

// sent counts the messages that the signaling server took and that hold all of
// what.
func (r *rig) sent(what ...string) int {
	synctest.Wait()
	n := 0
	for _, m := range r.lab.Messages() {
		ok := strings.HasPrefix(m, "<- ")
		for _, w := range what {
			ok = ok && strings.Contains(m, w)
		}
		if ok {
			n++
		}
	}
	return n
}

func dialWait(t *testing.T, f func() (string, error)) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := f()
		done <- err
	}()
	synctest.Wait()
	return done
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// serve runs f while another client serves.
func serve(t *testing.T, c *talk.Client, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Serve(ctx)
	}()
	synctest.Wait()
	f()
	cancel()
	<-done
}
