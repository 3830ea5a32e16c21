package dialin

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
	"sipxrest/talk"
)

// guesses dials what is wrong, and returns whether the call was answered.
func (r *rig) guesses() bool {
	r.over, r.ears = make(chan struct{}), nil
	r.call()
	synctest.Wait()
	if r.ears == nil {
		<-r.over
		return false
	}
	r.script(sec, "1111#", "2222#", token+"#", "7654321#", 20*sec)
	r.leaves()
	return true
}

func TestGuessesAreCounted(t *testing.T) {
	t.Run("of a caller", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				if !r.guesses() {
					t.Fatal("refused too early")
				}
			}
			var refused *sipflow.StatusError
			if r.guesses() || !errors.As(r.err, &refused) || refused.Code != 403 {
				t.Errorf("answered, or %v", r.err)
			}
			if asked := r.asked["room"] + r.asked["verify"]; asked != 12 {
				t.Errorf("Nextcloud was asked %d times", asked) // nine wrong entries, three numbers that were right
			}
			if r.s.Stats().Calls[Guesses] != 1 {
				t.Errorf("%v", r.s.Stats())
			}
			r.discreet()
			r.q.From = "another"
			if !r.guesses() {
				t.Error("another caller is refused, too")
			}
			r.q.From = "493055500200"
			time.Sleep(guessTime)
			if !r.guesses() {
				t.Error("it does not end")
			}
		})
	})
	t.Run("of a trunk", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			for i := range 20 {
				r.q.From = fmt.Sprint("caller", i)
				if !r.guesses() {
					t.Fatal("refused too early")
				}
			}
			r.q.From = "one more"
			if r.guesses() {
				t.Error("a new name is let in")
			}
			r.q.Trunk = "another"
			if !r.guesses() {
				t.Error("another trunk is refused, too")
			}
		})
	})
	t.Run("within a call", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(cfg *Config) { cfg.Tries = 10 })
			r.call()
			synctest.Wait()
			want := []string{"say welcome enter-meeting"}
			for range 9 {
				r.script("1111#")
				want = append(want, "say wrong again enter-meeting")
			}
			r.script(token+"#", 20*sec) // right, but nobody is told
			r.was(append(want, "say goodbye", "ends guesses")...)
			r.ended(Guesses)
		})
	})
	t.Run("not of what is right", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			for range 30 {
				r.over = make(chan struct{})
				r.enters()
				r.leaves()
			}
			if n := r.s.Stats().Calls[Left] + r.s.Stats().Calls[Joined]; n != 30 {
				t.Errorf("%d calls got in", n)
			}
		})
	})
}

// A Nextcloud that refuses our address is not asked by that trunk's strangers for a
// while; users of ours, and other trunks, may.
func TestNextcloudIsNotAskedWhileItRefusesUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		calls := func(trunk string, source netip.Addr) (asked bool) {
			before := r.asked["room"]
			r.over, r.q.Trunk, r.q.Source = make(chan struct{}), trunk, source
			r.call()
			synctest.Wait()
			r.script(sec, token+"#", 10*sec)
			r.leaves()
			return r.asked["room"] > before
		}
		a := netip.MustParseAddr("192.0.2.7")
		r.fails["room"] = talk.ErrGuesses
		if !calls("carrier", a) {
			t.Fatal("not asked")
		}
		delete(r.fails, "room")
		r.trace = nil
		if calls("carrier", a) {
			t.Error("asked for another stranger")
		}
		r.was("say unavailable", "ends unavailable")
		if !calls("another", a) || !calls("", a) {
			t.Error("not asked for others")
		}
		time.Sleep(barTime)
		if !calls("carrier", a) {
			t.Error("it does not end")
		}
	})
}

func TestBarsAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range 10 * maxBars {
		r.q.Trunk = fmt.Sprint(i)
		r.s.refuses(r, &r.q)
	}
	if len(r.s.bars) > maxBars {
		t.Errorf("%d trunks are remembered", len(r.s.bars))
	}
}

// Nextcloud makes those wait who guess. What it does not say in time counts.
func TestSlowAnswersCountAsGuesses(t *testing.T) {
	for _, c := range []struct {
		slow time.Duration
		most int
	}{{8 * sec, 9}, {0, 20}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.fails["verify"], r.answers = talk.ErrUnavailable, c.slow
			calls := 0
			for range 20 {
				r.over, r.ears = make(chan struct{}), nil
				r.call()
				synctest.Wait()
				if r.ears == nil {
					<-r.over
					break
				}
				calls++
				r.script(sec, token+"#", "7654321#", 20*sec)
				r.leaves()
			}
			if calls != c.most {
				t.Errorf("%d calls were answered with %v", calls, c.slow)
			}
		})
	}
}

// Who hangs up before Nextcloud has said whether an entry is right has guessed all the
// same: Nextcloud counts it, too, and would soon answer nobody.
func TestWhoHangsUpHasGuessed(t *testing.T) {
	for _, what := range []string{"room", "verify"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.fails[what], r.answers = talk.ErrUnavailable, 2*sec
			for range 20 {
				r.over, r.ears = make(chan struct{}), nil
				r.call()
				synctest.Wait()
				if r.ears == nil {
					<-r.over
					break
				}
				r.script(sec, token+"#")
				if what == "verify" {
					r.script("7654321#")
				}
				r.script(sec)
				r.leaves()
			}
			if n := r.asked[what]; n != maxCallerGuesses {
				t.Errorf("Nextcloud was asked %d times (%s)", n, what)
			}
			r.discreet()
		})
	}
}
