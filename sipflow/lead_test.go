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

// Requests that wait go out in the order in which they are due, each at the tick
// after that and none before, whatever waits longer was made earlier.
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

// timedLink notes when something is sent first.
type timedLink struct {
	transport.Link
	at *time.Time
}

func (l timedLink) Send([]byte, netip.AddrPort) error {
	if l.at.IsZero() {
		*l.at = time.Now()
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
		var sent time.Time
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
		r.sw.startLater(&clientTx{id: 20, method: "REFER", path: transport.Path{Link: timedLink{at: &sent}}, onEvent: func(event) {}}, nil, referLead)
		time.Sleep(time.Minute)
		synctest.Wait()
		if d := sent.Sub(began); d > referLead+leadTick {
			t.Errorf("the REFER of another call went out after %v, want %v", d, referLead)
		}
		mu.Lock()
		defer mu.Unlock()
		if failed != many {
			t.Errorf("%d requests ended as not sent, want %d", failed, many)
		}
	})
}
