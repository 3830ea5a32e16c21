package sipflow

import (
	"context"
	"time"
)

// GiveWay hangs up the call of this node that holds a key, for one by a method that is
// about to be placed at another node. It returns nil once the call is over, or when there
// is none. An *InProgressError and ErrReferred say that the new call is not to be placed,
// as Place says it. ErrPhoneTimeout means that the phones are still being hung up when
// ctx ends.
func (sw *Switchboard) GiveWay(ctx context.Context, key Key, method string, conflict Conflict) error {
	old, err := sw.giveWay(&Call{Spec: Spec{Key: key, Method: method, Conflict: conflict}})
	if err != nil || old == nil {
		return err
	}
	select {
	case <-old.done:
		return nil
	case <-ctx.Done():
		return ErrPhoneTimeout
	}
}

// giveWay tells the call that holds the key of a new one to hang up; nil: there is none.
func (sw *Switchboard) giveWay(c *Call) (old *Call, err error) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	old = sw.calls[c.Key]
	switch {
	case old != nil && old.keepsKey(c):
		return nil, &InProgressError{ID: old.Spec.ID}
	case c.Method != MethodInvite && sw.referred.lately(c.Key, time.Now()):
		return nil, ErrReferred
	}
	if old != nil {
		old.stop(ErrReplaced)
	}
	sw.referred.forget(c.Key)
	return old, nil
}
