package sipflow

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// A new call at another node has the rules of one at this node.
func TestACallGivesWayToOneAtAnotherNode(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new string // methods
		conflict Conflict
		stays    bool
	}{
		{name: "REFER", old: MethodRefer, new: MethodRefer},
		{name: "INVITE for REFER", old: MethodInvite, new: MethodRefer},
		{name: "REFER for INVITE", old: MethodRefer, new: MethodInvite},
		{name: "INVITE", old: MethodInvite, new: MethodInvite, stays: true},
		{name: "any", old: MethodInvite, new: MethodInvite, conflict: ConflictReplaceAny},
		{name: "none", old: MethodRefer, new: MethodRefer, conflict: ConflictReject, stays: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, siptest.NewNetwork(), phoneAddr)
				defer r.stop()
				s := spec(func(s *Spec) { s.Method = c.old })
				call, err := r.sw.Place(t.Context(), s, func(ctx context.Context, c *Call) error {
					c.placed(nil)
					<-ctx.Done()
					time.Sleep(time.Second) // of a BYE
					return context.Cause(ctx)
				})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				err = r.sw.GiveWay(t.Context(), s.Key, c.new, c.conflict)
				var holder *InProgressError
				switch {
				case c.stays && (!errors.As(err, &holder) || holder.ID != call.Spec.ID || r.sw.Find(s.Key) != call):
					t.Errorf("it does not stay: %v", err)
				case !c.stays && (err != nil || time.Since(began) != time.Second || r.sw.Find(s.Key) != nil || !errors.Is(call.Err(), ErrReplaced)):
					t.Errorf("%v after %v, the call ended by %v", err, time.Since(began), call.Err())
				}
				if err := r.sw.GiveWay(t.Context(), Key{Agent: "nobody"}, c.new, c.conflict); err != nil {
					t.Errorf("without a call: %v", err)
				}
			})
		})
	}
}

// A phone that does not respond to its BYE does not keep the other node waiting, and a
// double click at two nodes places one call.
func TestGivingWayHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), phoneAddr)
		defer r.stop()
		s := spec(func(s *Spec) { s.Method = MethodRefer })
		if _, err := r.sw.Place(t.Context(), s, func(ctx context.Context, c *Call) error {
			c.placed(nil)
			<-ctx.Done()
			time.Sleep(time.Minute)
			return context.Cause(ctx)
		}); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		if err := r.sw.GiveWay(ctx, s.Key, MethodRefer, ConflictReplace); !errors.Is(err, ErrPhoneTimeout) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute)
		r.sw.referred.add(s.Key, time.Now())
		if err := r.sw.GiveWay(t.Context(), s.Key, MethodRefer, ConflictReplace); !errors.Is(err, ErrReferred) {
			t.Errorf("got %v", err)
		}
	})
}
