package phone

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func TestAFloodOfMessagesWaits(t *testing.T) {
	for name, c := range map[string]struct {
		kind    websocket.MessageType
		message string
		pace    int // small messages are many: fewer are enough to tell
	}{
		"small": {websocket.MessageBinary, "x", paceBytes / 64},
		"large": {websocket.MessageBinary, audio(8190, 1), paceBytes},
		"text":  {websocket.MessageText, "x", paceBytes / 64},
	} {
		t.Run(name, func(t *testing.T) {
			at(t, func(h *house) {
				h.pace = c.pace
				talk := h.talking()
				const seconds = 5
				most := (seconds+3)*c.pace + clientAhead + 16<<10 // the last: what the server reads ahead
				start := time.Now()
				bytes := 0
				for time.Since(start) < seconds*time.Second {
					if err := talk.from.Write(h.t.Context(), c.kind, []byte(c.message)); err != nil {
						t.Fatal(err)
					}
					if bytes += len(c.message) + 6; bytes > most {
						t.Fatalf("%d bytes were taken in %v", bytes, time.Since(start))
					}
				}
				if bytes < seconds*c.pace {
					t.Errorf("%d bytes only were taken", bytes)
				}
			})
		})
	}
}

func TestAudioDoesNotWait(t *testing.T) {
	at(t, func(h *house) {
		talk := h.talking()
		message := []byte(audio(160, 1)) // 10 ms
		n := 0
		for range 500 {
			for range 2 {
				if err := talk.from.Write(h.t.Context(), websocket.MessageBinary, message); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(20 * time.Millisecond)
			n += 2
		}
		time.Sleep(time.Millisecond)
		if got := h.stats.frames.sent.Load(); got != uint64(n) {
			t.Errorf("%d of %d messages were passed on at once", got, n)
		}
	})
}

// A connection that is closed is not waited for: its reader may be in the middle of
// a wait, and who closes it waits for the reader.
func TestClosingEndsTheWaitOfItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		p := newPaced(a, 1)
		p.free = time.Now().Add(time.Hour)
		begun := time.Now()
		time.AfterFunc(time.Second, func() { p.Close() })
		if _, err := p.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) || time.Since(begun) != time.Second {
			t.Errorf("Read returned %v after %v", err, time.Since(begun))
		}
	})
}
