package sipflow

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
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
