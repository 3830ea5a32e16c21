//go:build interop

package chaos

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/config"
)

const (
	calls = 1000
	every = 10 * time.Millisecond
	// atOnce bounds the calls in progress. Where the machine has no time for all, each
	// message is late and is sent again, which takes more time, until phones give up.
	atOnce = 64
	// Records are kept for longer than the slowest machine needs.
	agent = "?agent=200&timeout=60&resultCacheTime=3600"
)

// call is one of the load: REFER calls end at the called phone, INVITE calls
// there or by DELETE.
type call struct {
	path      string // "a17/b17"
	invite    bool
	byDelete  bool
	connected bool
	told      string // its last document
}

func newCall(i int) *call {
	c := &call{path: fmt.Sprintf("a%d/b%d", i, i), invite: i%10 < 3}
	if c.byDelete = c.invite && i%2 == 0; c.byDelete {
		c.path = fmt.Sprintf("a%d/c%d", i, i)
	}
	return c
}

func (c *call) post(w *town) int {
	query := agent
	if c.invite {
		query += "&sipMethod=invite"
	}
	status, body, _ := w.do("POST", c.path+query)
	if status != 200 && status != 503 {
		w.t.Errorf("POST %s: %d %s", c.path, status, body)
	}
	return status
}

// follow reads the call's document until the call is over, and hangs it up if
// it is for the client to do so.
func (c *call) follow(w *town) {
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		time.Sleep(400 * time.Millisecond)
		status, body, etag := w.do("GET", c.path+agent)
		if status != 200 || etag == `"lines"` || etag == `"dialogs"` {
			w.t.Errorf("GET %s: %d, ETag %s: the record is lost", c.path, status, etag)
			return
		}
		c.told = body
		if c.invite {
			up := strings.Count(body, "Confirmed Dialog") == 2
			c.connected = c.connected || up
			if up && c.byDelete {
				if status, body, _ := w.do("DELETE", c.path+agent); status != 200 {
					w.t.Errorf("DELETE %s: %d %s", c.path, status, body)
				}
			}
		} else {
			c.connected = strings.Contains(body, "<method>NOTIFY</method>\n\t<status-line>SIP/2.0 200 OK")
		}
		if len(w.log.of(c.path)) > 0 && (c.connected || c.invite || w.log.of(c.path)[0] != "") {
			return
		}
	}
	w.t.Errorf("%s is not over after two minutes: %s", c.path, c.told)
}

// TestEveryCallComesToItsEnd places a thousand calls, some dozens at once. Each is
// connected, or its record and the log name what it failed of; all phones
// are on-hook then, and the service keeps nothing but the records.
func TestEveryCallComesToItsEnd(t *testing.T) {
	// The latest events are kept in memory, up to a bound that these calls do not reach. They
	// would hide what a call leaves behind.
	w := newTown(t, calls, func(c *config.Config) { c.API.Enabled = false })
	before := heap()
	var running sync.WaitGroup
	all := make([]*call, calls)
	room := make(chan struct{}, atOnce)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range all {
		c := newCall(i)
		all[i] = c
		room <- struct{}{}
		running.Go(func() {
			defer func() { <-room }()
			if c.post(w) == 200 {
				c.follow(w)
			}
		})
		<-tick.C
	}
	running.Wait()
	failed := 0
	for _, c := range all {
		ends := w.log.of(c.path)
		if len(ends) != 1 {
			t.Errorf("%s ended %d times in the log", c.path, len(ends))
			continue
		}
		if !c.connected {
			failed++
			t.Logf("%s: %q: %s", c.path, ends[0], c.told)
			if ends[0] == "" {
				t.Errorf("%s was not connected, and nothing says why", c.path)
			}
		}
		if _, _, etag := w.do("GET", c.path+agent); etag == `"lines"` || etag == `"dialogs"` {
			t.Errorf("the record of %s is lost", c.path)
		}
	}
	if failed > calls/100 { // what is lost is sent again: a machine that has no time may still fail some
		t.Errorf("%d calls failed", failed)
	}
	w.awaitOnHook()
	w.close()
	all = nil
	// What is late is still expected for 32 s (RFC 3261, timers D and M).
	grown, second := 0, time.NewTicker(time.Second)
	defer second.Stop()
	for range 60 {
		if grown = heap() - before; grown <= maxGrowth {
			break
		}
		<-second.C
	}
	t.Logf("%d of %d calls were connected; the heap grew by %d KiB", calls-failed, calls, grown>>10)
	if grown > maxGrowth {
		t.Error("which is more than records, the log's ends and buffers")
	}
	w.stop()
	for _, line := range w.log.worst {
		t.Error(line)
	}
}

// maxGrowth is for the records, some 600 bytes each, the log's ends,
// connections and buffers. A call that is kept would be some 5 KiB.
const maxGrowth = calls*600 + 3<<19

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestTerminationAmidTheLoadLeavesNoPhoneOffHook ends the service while calls
// come in, ring, are being joined and are up.
func TestTerminationAmidTheLoadLeavesNoPhoneOffHook(t *testing.T) {
	w := newTown(t, calls, func(c *config.Config) { c.Drain = time.Second })
	var running sync.WaitGroup
	tick := time.NewTicker(every)
	defer tick.Stop()
	placed := make([]*call, 100) // of each state some; a busy machine can hang them up in the time that there is
	for i := range placed {
		c := newCall(i)
		running.Go(func() {
			if c.post(w) == 200 {
				placed[i] = c
			}
		})
		<-tick.C
	}
	running.Wait()
	w.stop()
	for _, c := range placed {
		if c == nil {
			t.Error("a call was refused")
		} else if n := len(w.log.of(c.path)); n != 1 {
			t.Errorf("%s ended %d times in the log", c.path, n)
		}
	}
	w.awaitOnHook() // calls of the phones' own last for three seconds
	w.close()
	for _, line := range w.log.worst {
		t.Error(line)
	}
}
