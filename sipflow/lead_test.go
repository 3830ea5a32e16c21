package sipflow

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

// Requests that wait go out in the order in which they are due, whichever was
// made first. Each goes out at the tick after that, none before.
func TestRequestsThatWaitGoOutWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q leads
		began := time.Now()
		var mu sync.Mutex // each alarm has its own goroutine
		sent := map[*clientTx]time.Duration{}
		due := func() {
			mu.Lock()
			defer mu.Unlock()
			for _, l := range q.take() {
				sent[l.tx] = time.Since(began)
			}
		}
		want := map[*clientTx]time.Duration{}
		for i, wait := range []time.Duration{500, 100, 7, 100, 3, 500, 250} {
			at := time.Duration(i) * time.Millisecond
			time.Sleep(time.Until(began.Add(at)))
			tx := new(clientTx)
			q.add(lead{time.Now().Add(wait * time.Millisecond), tx}, due)
			want[tx] = at + wait*time.Millisecond
		}
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		for tx, at := range want {
			if got, ok := sent[tx]; !ok || got < at || got-at >= leadTick {
				t.Errorf("what is due after %v was sent after %v", at, got)
			}
		}
		mu.Unlock()
		if q.queue != nil || q.armed {
			t.Error("the queue is kept")
		}
		q.close()
		q.add(lead{time.Now(), new(clientTx)}, due)
		time.Sleep(time.Second)
		if q.queue != nil {
			t.Error("something waits after the end")
		}
	})
}

// fullLink is a connection whose peer reads nothing.
type fullLink struct{ transport.Link }

func (fullLink) Send([]byte, netip.AddrPort) error {
	time.Sleep(5 * time.Second)
	return errors.New("i/o timeout")
}

func (fullLink) Reliable() bool { return true }

// timedLink tells when something is sent first.
type timedLink struct {
	transport.Link
	at chan time.Time // holds one
}

func (l timedLink) Send([]byte, netip.AddrPort) error {
	select {
	case l.at <- time.Now():
	default:
	}
	return nil
}

func (timedLink) Reliable() bool { return false }

// A phone that reads nothing keeps no other call's REFER waiting.
func TestAReferDoesNotWaitForThePhoneOfAnotherCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), phoneAddr)
		defer r.stop()
		var mu sync.Mutex
		sent := make(chan time.Time, 1)
		failed, began := 0, time.Now()
		const many = 100 // none may be dropped
		for i := range many {
			tx := &clientTx{id: uint64(1000 + i), method: "REFER", path: transport.Path{Link: fullLink{}}, onEvent: func(e event) {
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(e.err, errUnsent) {
					failed++
				}
			}}
			r.sw.startLater(tx, nil, referLead)
		}
		r.sw.startLater(&clientTx{id: 20, method: "REFER", path: transport.Path{Link: timedLink{at: sent}}, onEvent: func(event) {}}, nil,
			referLead)
		time.Sleep(time.Minute)
		synctest.Wait()
		if d := (<-sent).Sub(began); d > referLead+leadTick {
			t.Errorf("the REFER of another call went out after %v, want %v", d, referLead)
		}
		mu.Lock()
		defer mu.Unlock()
		if failed != many {
			t.Errorf("%d requests ended as not sent, want %d", failed, many)
		}
	})
}

// brokenLink is of a state that should not be possible: asked again, under the
// shard's lock, it fails.
type brokenLink struct {
	transport.Link
	asked *bool
}

func (l brokenLink) Reliable() bool {
	if *l.asked {
		panic("broken")
	}
	*l.asked = true
	return false
}

// A fault ends the request at work, and no other waits for its lock.
func TestAFaultInARequestThatWaitsCostsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), phoneAddr)
		defer r.stop()
		r.faulty = true
		sent, failed := make(chan time.Time, 1), make(chan error, 1)
		r.sw.startLater(&clientTx{id: 16, method: "REFER", path: transport.Path{Link: brokenLink{asked: new(bool)}}, onEvent: func(e event) {
			failed <- e.err
		}}, nil, referLead)
		r.sw.startLater(&clientTx{id: 32, method: "REFER", path: transport.Path{Link: timedLink{at: sent}}, onEvent: func(event) {}}, nil,
			referLead)
		if err := <-failed; err != transport.ErrFault {
			t.Errorf("it ended with %v", err)
		}
		<-sent // the other
		time.Sleep(time.Minute)
	})
}
