package media

import (
	"strings"
	"testing"
	"time"

	"github.com/zaf/g711"
)

// What is played when all packets are there at once: S sound, f made up, - silence.
func TestWhatIsPlayed(t *testing.T) {
	type p struct{ seq, ts int }
	for _, tt := range []struct {
		name    string
		packets []p
		want    string
		dropped uint64
		lost    uint64
	}{
		{"in order", []p{{0, 0}, {1, 160}, {2, 320}}, "SSSfff-", 0, 0},
		{"backwards", []p{{2, 320}, {1, 160}, {0, 0}}, "SSSfff-", 0, 0},
		{"one lost", []p{{0, 0}, {1, 160}, {3, 480}, {4, 640}}, "SSfSSfff-", 0, 1},
		{"six lost", []p{{0, 0}, {1, 160}, {8, 8 * 160}}, "SSfff---Sfff-", 0, 6},
		{"the phone was silent for 40 ms", []p{{0, 0}, {1, 160}, {2, 4 * 160}, {3, 5 * 160}}, "SSffSSfff-", 0, 0},
		{"its clock jumped", []p{{0, 0}, {1, 160}, {2, 900000}, {3, 900160}}, "SSSSfff-", 0, 0},
		{"its clock jumped back", []p{{0, 900000}, {1, 0}}, "SSfff-", 0, 0},
		{"too many at once", []p{{0, 0}, {1, 160}, {2, 320}, {3, 480}, {4, 640}, {5, 800}, {6, 960}, {7, 1120}, {8, 1280}, {9, 1440}, {10, 1600},
			{11, 1760}}, "SSSSSSSSSSfff-", 2, 0},
		{"a jump while some wait", []p{{0, 0}, {1, 160}, {2, 320}, {34, 34 * 160}, {35, 35 * 160}}, "SSfff-", 3, 31},
		{"only places without sound", []p{{0, -1}, {1, -1}}, "-------", 0, 0},
		{"a place without sound", []p{{0, 0}, {1, -1}, {2, 160}}, "SSfff-", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := jitter{stats: &Stats{}, bad: -1}
			now := time.Unix(1e9, 0)
			for _, p := range tt.packets {
				c, b := PCMA, loud(0)
				if p.ts < 0 {
					c, b = none, nil
				}
				j.push(uint16(p.seq+65530), uint32(p.ts), c, b, now) // across the end of the numbers
			}
			now = now.Add(ticks(maxTarget))
			full := abs(g711.DecodeAlawFrame(loud(0)[0]))
			var got strings.Builder
			var out [frameSamples]int16
			for range 20 {
				j.pull(&out, now)
				middle := abs(out[frameSamples/2])
				switch {
				case middle == 0:
					got.WriteByte('-')
				case max(middle-full, full-middle) <= 4: // the filter rounds
					got.WriteByte('S')
				default:
					got.WriteByte('f')
				}
			}
			if s := got.String(); !strings.HasPrefix(s, tt.want) || strings.Trim(s[len(tt.want):], "-") != "" {
				t.Errorf("played %s, want %s", s, tt.want)
			}
			if j.stats.Dropped != tt.dropped || j.stats.Lost != tt.lost {
				t.Errorf("%d dropped, %d lost, want %d, %d", j.stats.Dropped, j.stats.Lost, tt.dropped, tt.lost)
			}
			if j.waiting != 0 || j.queued != 0 {
				t.Errorf("%d packets, %d ticks are left", j.waiting, j.queued)
			}
		})
	}
}
