package mix_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/media/mix"
	"sipxrest/media/opustest"
)

// far is a phone whose clock is not ours: its packets go through a jitter buffer.
type far struct {
	*media.Player
	heard func(now time.Time, pcm *[320]int16)
}

func (f *far) Push(now time.Time, in *[320]int16) { f.heard(now, in) }

const frameTime = 20 * time.Millisecond

// In a call of 10 minutes neither way becomes longer, whatever clocks the phone and
// the participant have: 200 ppm are 120 ms in that time.
func TestLongCallDelayDoesNotGrow(t *testing.T) {
	if raceDetector {
		t.Skip("one goroutine for minutes: it has nothing to race with")
	}
	for _, ppm := range []float64{-200, 0, 200} {
		const seconds = 10 * 60
		r := rand.New(rand.NewPCG(1, 2))
		begin := time.Unix(1e9, 0)
		// A click each second, each way. What the other side hears of it comes back by these.
		var toPhone, toRoom clicks
		ticker := mix.New(mix.Config{Out: func(pcm *[320]int16) { toRoom.take(pcm) }})
		phone := &far{media.NewPlayer(media.PlayerConfig{Min: 40 * time.Millisecond, Max: 80 * time.Millisecond}),
			func(_ time.Time, pcm *[320]int16) { toPhone.take(pcm) }}
		source := media.NewPlayer(media.PlayerConfig{})
		ticker.AddPhone(phone)
		ticker.AddSource(source)

		enc := media.NewEncoder(media.PCMA)
		all := opustest.Packets("tone-1000")
		tone, pause := all[len(all)/2], []byte{15 << 3}
		wave := media.Tone(1000, time.Second, -6)
		var silence [320]int16
		sent, next := 0, begin
		var sentAt []time.Duration
		most := time.Duration(0)
		for tick := range seconds * 50 {
			now := begin.Add(time.Duration(tick) * frameTime)
			toPhone.now, toRoom.now = now.Sub(begin), now.Sub(begin)
			for !next.After(now) {
				packet, frame := pause, &silence
				if sent%50 == 10 {
					packet, frame = tone, (*[320]int16)(wave[3200:])
					sentAt = append(sentAt, next.Sub(begin))
				}
				source.Push(uint16(sent), uint32(sent)*960, media.Opus, packet, -1, now)
				phone.Player.Push(uint16(sent), uint32(sent)*160, media.PCMA, enc.Encode(nil, frame), -1, now)
				sent++
				late := time.Duration(r.IntN(3000)) * time.Microsecond
				next = begin.Add(time.Duration(float64(time.Duration(sent)*frameTime)*(1+ppm/1e6)) + late)
			}
			mix.Step(ticker, now)
			most = max(most, source.Stats().Waiting, phone.Stats().Waiting)
		}
		for name, c := range map[string]*clicks{"to the phone": &toPhone, "to the conversation": &toRoom} {
			delays := c.delays(sentAt)
			if len(delays) < len(sentAt)-10 {
				t.Errorf("%s, %+.0f ppm: of %d clicks %d are heard", name, ppm, len(sentAt), len(delays))
				continue
			}
			first, last := slices.Max(delays[:60]), slices.Max(delays[len(delays)-60:])
			t.Logf("%s, %+.0f ppm: delay of the first minute %v, of the last %v, most %v", name, ppm, first, last, slices.Max(delays))
			if slices.Max(delays) > 120*time.Millisecond || last > first+30*time.Millisecond {
				t.Errorf("%s, %+.0f ppm: delay of the first minute %v, of the last %v, most %v", name, ppm, first, last, slices.Max(delays))
			}
		}
		if most > 100*time.Millisecond {
			t.Errorf("%+.0f ppm: %v wait", ppm, most)
		}
	}
}

// clicks notes when something loud begins.
type clicks struct {
	now   time.Duration
	at    []time.Duration
	quiet int // samples
}

func (c *clicks) take(pcm *[320]int16) {
	for i, v := range pcm {
		if math.Abs(float64(v)) < 1000 {
			c.quiet++
			continue
		}
		if c.quiet > 1600 {
			c.at = append(c.at, c.now+time.Duration(i)*time.Second/16000)
		}
		c.quiet = 0
	}
}

// delays says how long after it was sent each click was heard, if it was.
func (c *clicks) delays(sent []time.Duration) (list []time.Duration) {
	for _, s := range sent {
		i, _ := slices.BinarySearch(c.at, s)
		if i < len(c.at) && c.at[i]-s < 500*time.Millisecond {
			list = append(list, c.at[i]-s)
		}
	}
	return list
}
