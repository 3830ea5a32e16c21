package attendant

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// near reports whether two times are some 60 ms apart at most: the jitter buffer of the
// phone, and its clock.
func near(a, b time.Time) bool { return a.Sub(b).Abs() <= 80*time.Millisecond }

// A phone that sends nothing hears the beginning all the same, and one that does hears
// it sooner.
func TestPromptsBeginOnceThePhoneIsReady(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after time.Duration // its first packet
		want  time.Duration
	}{{"silent", 0, startTime}, {"quick", 100 * time.Millisecond, 100 * time.Millisecond}, {"slow", 2 * time.Second, startTime}} {
		t.Run(tc.name, func(t *testing.T) {
			withSocket(t, func(r *rig) {
				begun := make(chan time.Time, 1)
				go func() {
					b := make([]byte, 1500)
					for {
						n, _, err := r.raw.ReadFromUDPAddrPort(b)
						if err != nil {
							close(begun)
							return
						}
						for _, v := range b[12:n] {
							if v != 0xff && v != 0x7f { // no silence
								select {
								case begun <- time.Now():
								default:
								}
							}
						}
					}
				}()
				if tc.after > 0 {
					time.AfterFunc(tc.after, func() { r.send(0, 160, true, make([]byte, 160)) })
				}
				if err := r.a.Play(r.Context(), "long"); err != nil {
					r.Error(err)
				}
				if at := <-begun; !near(at, r.began.Add(tc.want)) {
					r.Errorf("the prompt began after %s, want %s", at.Sub(r.began), tc.want)
				}
				r.a.Close()
				_ = r.raw.Close()
				for range begun {
				}
			})
		})
	}
}

func TestPromptsAreHeardInTheirOrder(t *testing.T) {
	withCaller(t, func(r *rig) {
		if err := r.a.Play(r.Context(), "long"); err != nil {
			r.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
		r.hears(r.since(), 400)
		began := time.Now()
		if err := r.a.Play(r.Context(), "short", "short"); err != nil {
			r.Error(err)
		}
		if d := time.Since(began); d < 550*time.Millisecond || d > 700*time.Millisecond {
			r.Errorf("two prompts of 200 ms took %s", d)
		}
		time.Sleep(200 * time.Millisecond)
		r.hears(r.since(), 1000)
		if err := r.a.Play(r.Context()); err != nil {
			r.Error(err)
		}
	})
}

func TestADigitStopsThePromptAndIsTheFirstOfTheEntry(t *testing.T) {
	withCaller(t, func(r *rig) {
		done := r.a.Start("long", "long")
		time.Sleep(time.Second)
		r.hears(r.since(), 400)
		r.press("4")
		pressed := time.Now()
		<-done
		if d := time.Since(pressed); d > 120*time.Millisecond {
			r.Errorf("the prompt was stopped after %s", d)
		}
		time.Sleep(300 * time.Millisecond)
		r.since()
		time.Sleep(time.Second)
		r.hears(r.since())
		began := time.Now()
		if err := r.a.Play(r.Context(), "long"); err != nil || time.Since(began) > 0 {
			r.Errorf("%v, and a prompt was begun though a digit waits", err)
		}
		r.press("2#")
		if entry, err := r.a.Entry(r.Context(), EntryOptions{}); entry != "42" || err != nil {
			r.Errorf("entered %q, %v", entry, err)
		}
	})
}

func TestWhatMustBeSaidIsNotStopped(t *testing.T) {
	withCaller(t, func(r *rig) {
		r.press("1")
		time.Sleep(200 * time.Millisecond)
		began := time.Now()
		done := r.a.Say("long")
		time.Sleep(500 * time.Millisecond)
		r.press("2")
		if err := r.a.wait(r.Context(), done); err != nil || time.Since(began) < 2*time.Second {
			r.Errorf("%v, after %s", err, time.Since(began))
		}
		r.a.Forget()
		if key := r.a.Next(); key != 0 {
			r.Errorf("%q waits", key)
		}
	})
}

func TestMusicIsPlayedWhileNoPromptIs(t *testing.T) {
	withCaller(t, func(r *rig) {
		r.a.Loop(clips["music"])
		time.Sleep(2 * time.Second)
		r.hears(r.since(), 2000)
		r.press("1") // which does not stop it
		time.Sleep(time.Second)
		r.hears(r.since(), 2000)
		r.a.Forget()
		if err := r.a.Play(r.Context(), "long"); err != nil {
			r.Error(err)
		}
		time.Sleep(time.Second)
		r.hears(r.since(), 400, 2000)
		r.a.Stop()
		time.Sleep(200 * time.Millisecond)
		r.since()
		time.Sleep(time.Second)
		r.hears(r.since())
	})
}

func TestAPromptEndsWithItsContext(t *testing.T) {
	withCaller(t, func(r *rig) {
		why := errors.New("enough")
		ctx, stop := context.WithTimeoutCause(r.Context(), time.Second, why)
		defer stop()
		if err := r.a.Play(ctx, "long"); !errors.Is(err, why) {
			r.Errorf("%v", err)
		}
		time.Sleep(200 * time.Millisecond)
		r.since()
		time.Sleep(time.Second)
		r.hears(r.since())
	})
}

// A mixer has the session for a while.
func TestTheSessionIsHandedOverAndBack(t *testing.T) {
	withCaller(t, func(r *rig) {
		done := r.a.Start("long")
		time.Sleep(time.Second)
		s := r.a.Release()
		<-done
		if err := r.a.Play(r.Context(), "long"); err != nil { // nobody would hear it
			r.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
		r.since()
		tick := time.NewTicker(frameTime)
		defer tick.Stop()
		var in, out [frame]int16
		copy(out[:], clips["short"][400:])
		r.press("8")
		for range 50 {
			now := <-tick.C
			s.Pull(now, &in)
			s.Push(now, &out)
		}
		if key, err := r.a.Digit(r.Context()); key != '8' || err != nil {
			r.Errorf("%q, %v", key, err)
		}
		r.hears(r.since(), 1000)
		r.a.Resume()
		r.a.Resume() // which changes nothing
		if err := r.a.Play(r.Context(), "long"); err != nil {
			r.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
		r.hears(r.since()[3200:], 400)
	})
}

func TestCloseEndsWhoWaits(t *testing.T) {
	withCaller(t, func(r *rig) {
		waits := make(chan error, 2)
		go func() { waits <- r.a.Play(r.Context(), "long", "long") }()
		go func() { _, err := r.a.Digit(r.Context()); waits <- err }()
		time.Sleep(time.Second)
		r.a.Close()
		synctest.Wait()
		for range 2 {
			if err := <-waits; err != nil && !errors.Is(err, ErrClosed) {
				r.Error(err)
			}
		}
		r.a.Close()
		r.a.Resume()
		if err := r.a.Play(r.Context(), "long"); err != nil && !errors.Is(err, ErrClosed) {
			r.Error(err)
		}
	})
}

func TestASilentCallerIsNoticed(t *testing.T) {
	withSocket(t, func(r *rig) {
		time.Sleep(70 * time.Second)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.quiet != 1 {
			r.Errorf("NoMedia was called %d times", r.quiet)
		}
	})
}
