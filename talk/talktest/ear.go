package talktest

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gotranspile/g722"
	"github.com/pion/opus"
	"github.com/pion/webrtc/v4"
	"github.com/zaf/g711"
)

const (
	earRate   = 16000
	earWindow = earRate * 4 / 10 // what is looked at, of the last second
	// A tone counts from toneFloor on, and if the loudest is no more than toneRange
	// above it.
	toneFloor, toneRange = -45.0, 30.0
	toneStep             = 10 // Hz between what is tried
	toneLow, toneHigh    = 100, 3800
	// toneWidth is how many steps beside a tone something softer is a part of it: the
	// gaps that a busy machine leaves spread it. Tones are 100 Hz apart.
	toneWidth = 9
)

// Tone is a frequency that somebody hears.
type Tone struct {
	Hz   int
	DBFS float64
}

func (t Tone) String() string { return fmt.Sprintf("%d Hz %.1f dBFS", t.Hz, t.DBFS) }

// ear is what came of one source lately.
type ear struct {
	mu      sync.Mutex
	pcm     []int16 // at most a second
	last    time.Time
	packets int
	lost    int
}

func (e *ear) fresh() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.pcm) >= earWindow && time.Since(e.last) < 300*time.Millisecond
}

func (e *ear) window() []int16 {
	if !e.fresh() {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.pcm[len(e.pcm)-earWindow:])
}

// listen decodes what comes, in the order in which it comes: nothing is lost or
// overtaken on this machine.
func (p *Participant) listen(t *webrtc.TrackRemote, e *ear, internal bool) {
	decode := decoder(t.Codec().MimeType)
	echoes, heard := map[int]int{}, 0
	seq, first := uint16(0), true
	for {
		packet, _, err := t.ReadRTP()
		if err != nil {
			return
		}
		e.mu.Lock()
		if d := packet.SequenceNumber - seq; !first && d > 1 && d < 1000 {
			e.lost += int(d) - 1
		}
		first, seq = false, packet.SequenceNumber
		e.packets++
		e.pcm = append(e.pcm, decode(packet.Payload)...)
		if n := len(e.pcm) - earRate; n > 0 {
			e.pcm = slices.Delete(e.pcm, 0, n)
		}
		e.last = time.Now()
		e.mu.Unlock()
		if heard++; internal && heard%20 == 0 { // every 400 ms
			p.lab.echo(e.window(), echoes)
		}
	}
}

// decoder returns what makes samples of payloads, with libraries only: what is
// tested here has decoders of its own.
func decoder(mime string) func([]byte) []int16 {
	switch strings.ToLower(mime) {
	case "audio/opus":
		d, err := opus.NewDecoderWithOutput(earRate, 1)
		return func(b []byte) []int16 {
			pcm := make([]int16, 1920)
			if err != nil || len(b) <= 3 {
				return pcm[:320]
			}
			n, err := d.DecodeToInt16(b, pcm)
			if err != nil {
				return pcm[:320]
			}
			return pcm[:n]
		}
	case "audio/g722":
		d := g722.NewDecoder(g722.Rate64000, 0)
		return func(b []byte) []int16 {
			pcm := make([]int16, 2*len(b))
			return pcm[:d.Decode(pcm, b)]
		}
	}
	linear := g711.DecodeAlawFrame
	if strings.EqualFold(mime, "audio/PCMU") {
		linear = g711.DecodeUlawFrame
	}
	return func(b []byte) []int16 {
		pcm := make([]int16, 0, 2*len(b))
		for _, v := range b {
			pcm = append(pcm, linear(v), linear(v)) // its mirror above 4 kHz is not looked at
		}
		return pcm
	}
}

// goertzel is how loud a frequency is, in dBFS, by a window of Hann.
func goertzel(pcm []int16, hz int) float64 {
	w := 2 * math.Pi * float64(hz) / earRate
	k := 2 * math.Cos(w)
	var s1, s2 float64
	for i, v := range pcm {
		s1, s2 = float64(v)*hann[i]+k*s1-s2, s1
	}
	power := s1*s1 + s2*s2 - k*s1*s2
	return 20 * math.Log10(4*math.Sqrt(max(power, 0))/float64(len(pcm))/32768+1e-9)
}

var hann = func() (w [earWindow]float64) {
	for i := range w {
		w[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/earWindow)
	}
	return w
}()

// tones are the peaks of a spectrum, the loudest first.
func tones(pcm []int16) []Tone {
	if len(pcm) < earWindow {
		return nil
	}
	var at [(toneHigh-toneLow)/toneStep + 1]float64
	top := math.Inf(-1)
	for i := range at {
		at[i] = goertzel(pcm, toneLow+i*toneStep)
		top = max(top, at[i])
	}
	var found []Tone
	for i := 1; i < len(at)-1; i++ {
		peak := at[i] > at[i+1] && at[i] >= slices.Max(at[max(0, i-toneWidth):min(len(at), i+toneWidth+1)])
		if peak && at[i] > toneFloor && at[i] > top-toneRange {
			found = append(found, Tone{toneLow + i*toneStep, math.Round(10*at[i]) / 10})
		}
	}
	slices.SortFunc(found, func(a, b Tone) int {
		if a.DBFS < b.DBFS {
			return 1
		}
		return -1
	})
	return found
}

// Tones are what the participant hears of a session, the loudest first. Whose is
// "" for all sessions.
func (p *Participant) Tones(whose string) []Tone {
	p.mu.Lock()
	var windows [][]int16
	for id, e := range p.ears {
		if whose == "" || whose == id {
			windows = append(windows, e.window())
		}
	}
	p.mu.Unlock()
	var all []Tone
	for _, w := range windows {
		for _, t := range tones(w) {
			if i := slices.IndexFunc(all, func(o Tone) bool { return o.Hz == t.Hz }); i >= 0 {
				all[i].DBFS = max(all[i].DBFS, t.DBFS)
			} else {
				all = append(all, t)
			}
		}
	}
	return all
}

// Lost counts packets that were missing of those that are heard now.
func (p *Participant) Lost() (lost, packets int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.ears {
		e.mu.Lock()
		lost, packets = lost+e.lost, packets+e.packets
		e.mu.Unlock()
	}
	return lost, packets
}

// Expect waits until the participant hears just those tones, and fails the test if
// he does not within d.
func (p *Participant) Expect(d time.Duration, hz ...int) {
	p.lab.t.Helper()
	end := time.Now().Add(d)
	for {
		heard := p.Tones("")
		if same(heard, hz) {
			return
		}
		if time.Now().After(end) {
			p.lab.t.Errorf("participant %s hears %v of %d sessions, not %v", p.Name, heard, len(p.Hears()), hz)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func same(heard []Tone, hz []int) bool {
	if len(heard) != len(hz) {
		return false
	}
	for _, t := range heard {
		if !slices.ContainsFunc(hz, func(h int) bool { return h-toneStep <= t.Hz && t.Hz <= h+toneStep }) {
			return false
		}
	}
	return true
}

// echo looks whether a bridge publishes what participants say: the tone of one,
// twice in a row.
func (l *Lab) echo(pcm []int16, echoes map[int]int) {
	if len(pcm) < earWindow {
		return
	}
	l.mu.Lock()
	said := slices.Clone(l.tones)
	l.mu.Unlock()
	for _, hz := range said {
		if goertzel(pcm, hz) < toneFloor {
			echoes[hz] = 0
			continue
		}
		if echoes[hz]++; echoes[hz] == 2 {
			l.mu.Lock()
			l.fault(Echo, "%d Hz", hz)
			l.mu.Unlock()
		}
	}
}

// flagsOf reads inCall as Nextcloud writes it: a number, false, or nothing.
func flagsOf(raw json.RawMessage) int {
	var n int
	_ = json.Unmarshal(raw, &n)
	return n
}
