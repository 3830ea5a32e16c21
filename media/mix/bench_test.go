package mix

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// recorded is somebody who says the same second again and again.
type recorded struct {
	pcm []int16
	at  int
}

func (r *recorded) Pull(_ time.Time, out *[320]int16) bool {
	copy(out[:], r.pcm[r.at:])
	r.at = (r.at + samples) % len(r.pcm)
	return true
}
func (r *recorded) Push(time.Time, *[320]int16) {}
func (r *recorded) Skip(time.Time)              {}
func (r *recorded) Level() int                  { return 30 }

// One tick of a conversation: phones + participants that speak, without codecs and
// network. All speak at once, loud enough for the limiter.
func BenchmarkRoom(b *testing.B) {
	for _, room := range []struct{ phones, sources int }{{1, 4}, {5, 4}, {5, 8}, {20, 8}} {
		b.Run(fmt.Sprintf("%d+%d", room.phones, room.sources), func(b *testing.B) {
			m := New(Config{Speakers: 8, Out: func(*[320]int16) {}})
			r := rand.New(rand.NewPCG(1, 2))
			voice := func() *recorded {
				v := &recorded{pcm: make([]int16, 16000)}
				for i := range v.pcm {
					v.pcm[i] = int16(r.IntN(12000) - 6000)
				}
				return v
			}
			for range room.phones {
				m.AddPhone(voice())
			}
			for range room.sources {
				m.AddSource(voice())
			}
			now := newYear
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(frameTime)
				m.step(now)
			}
		})
	}
}

// A tick makes no garbage, whatever is going on.
func TestTickDoesNotAllocate(t *testing.T) {
	r := newRig(2)
	r.cfg.Out = func(*[320]int16) {}
	var lines []*Line
	clip := make([]int16, 1000)
	for i := range 4 {
		pcm := make([]int16, 16000)
		for k := range pcm {
			pcm[k] = int16(k % 20000)
		}
		lines = append(lines, r.AddPhone(&recorded{pcm: pcm, at: i * samples}))
		r.AddSource(&recorded{pcm: pcm})
	}
	lines[0].Play(clip, true)
	lines[1].Mute(true, true)
	r.beep.Store(&clip0)
	if n := testing.AllocsPerRun(200, func() { r.run(1) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

var clip0 = clip{pcm: make([]int16, 100000)}
