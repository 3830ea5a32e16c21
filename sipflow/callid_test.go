package sipflow

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

func TestIdsOfCallsSortByTheirTime(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	last := ""
	for i := range 1000 {
		id := newCallID(at.Add(time.Duration(i) * time.Millisecond))
		if !regexp.MustCompile(`^call_[0-9A-Z]{20}$`).MatchString(id) {
			t.Fatalf("%q is no id", id)
		}
		if id <= last {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
	}
}

// A call is found by its id while it goes on, and the id is no other's meanwhile.
func TestACallIsFoundByItsID(t *testing.T) {
	wish(t, siptest.Script{}, siptest.Script{}, func(t *testing.T, r *rig, p *phones) {
		c, err := r.sw.Place(t.Context(), spec(inviting, func(s *Spec) { s.ID = "of-a-client-0001" }), Invite)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if c.ID() != "of-a-client-0001" || r.sw.ByID(c.ID()) != c {
			t.Errorf("the call is %q, and not found by it", c.ID())
		}
		other := spec(func(s *Spec) { s.ID, s.Key.Called = c.ID(), "203@sipx.test" })
		if _, err := r.sw.Place(t.Context(), other, Refer); !errors.Is(err, ErrIDInUse) {
			t.Errorf("another call with the id: %v, want ErrIDInUse", err)
		}
		_, err = r.sw.Place(t.Context(), spec(inviting, func(s *Spec) { s.Conflict = ConflictReject }), Invite)
		var held *InProgressError
		if !errors.As(err, &held) || held.ID != c.ID() {
			t.Errorf("a call of the same parties: %v, want the id of the holder", err)
		}
		c.HangUp(ErrHungUpByUser)
		<-c.Done()
		if r.sw.ByID(c.ID()) != nil || r.sw.ByID("") != nil {
			t.Error("the id is kept when the call is over")
		}
	})
}

// A call of which somebody does not want to hear more than that it was to be placed
// calls nobody.
func TestACallThatIsNotReadyCallsNobody(t *testing.T) {
	wish(t, siptest.Script{}, siptest.Script{}, func(t *testing.T, r *rig, p *phones) {
		full := errors.New("the disk is full")
		s := spec(func(s *Spec) {
			s.Ready = func(ctx context.Context) error {
				r.mu.Lock()
				defer r.mu.Unlock()
				if r.placed != 1 {
					t.Error("Ready is asked before Placed was told")
				}
				return full
			}
		})
		if _, err := r.sw.Place(t.Context(), s, Refer); !errors.Is(err, full) {
			t.Errorf("Place: %v, want why it was not ready", err)
		}
		s.Ready = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.sw.Place(ctx, s, Refer); !errors.Is(err, ErrUnreachable) {
			t.Errorf("Place that is never ready: %v", err)
		}
		synctest.Wait()
		if n := len(p.calling.Requests(sip.INVITE)); n != 0 {
			t.Errorf("the phone got %d INVITEs", n)
		}
		if got := r.stories.text(); !strings.Contains(got, "not tried") || !strings.Contains(got, full.Error()) {
			t.Errorf("told:\n%s", got)
		}
	})
}

func TestACallLastsNoLongerThanItMay(t *testing.T) {
	wish(t, siptest.Script{Ring: 2 * time.Second}, siptest.Script{Ring: 3 * time.Second}, func(t *testing.T, r *rig, p *phones) {
		c, err := r.sw.Place(t.Context(), spec(inviting, func(s *Spec) { s.MaxTalk = time.Minute }), Invite)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		<-c.Done()
		if took := time.Since(began).Round(time.Second); took != 65*time.Second {
			t.Errorf("it lasted %v, want the ringing and a minute", took)
		}
		if !errors.Is(c.Err(), ErrTimeLimit) || !p.calling.OnHook() || !p.called.OnHook() {
			t.Errorf("ended by %v, the phones on hook: %v, %v", c.Err(), p.calling.OnHook(), p.called.OnHook())
		}
		time.Sleep(time.Second)
		want := "ended [connected] by service, connected: " + ErrTimeLimit.Error()
		if got := r.stories.text(); !strings.Contains(got, want) {
			t.Errorf("told:\n%s\nwant %s", got, want)
		}
	})
}
