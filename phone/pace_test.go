package phone

import (
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestAFloodOfMessagesWaits(t *testing.T) {
	for name, c := range map[string]struct {
		kind    websocket.MessageType
		message string
	}{"small": {websocket.MessageBinary, "x"}, "large": {websocket.MessageBinary, audio(8190, 1)}, "text": {websocket.MessageText, "x"}} {
		t.Run(name, func(t *testing.T) {
			at(t, func(h *house) {
				talk := h.talking()
				const seconds = 5
				start := time.Now()
				bytes := 0
				for time.Since(start) < seconds*time.Second {
					if err := talk.from.Write(h.t.Context(), c.kind, []byte(c.message)); err != nil {
						t.Fatal(err)
					}
					bytes += len(c.message) + 6
					if most := paceBurst + (seconds+1)*paceBytes + 1<<20; bytes > most {
						t.Fatalf("%d bytes were taken in %v", bytes, time.Since(start))
					}
				}
				if bytes < seconds*paceBytes {
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
