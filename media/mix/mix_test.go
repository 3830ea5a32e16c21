package mix

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/boundary"
)

// Each phone hears all but itself, and the conversation hears all phones and
// none of its own.
func TestEachHearsAllButItself(t *testing.T) {
	tones := []float64{400, 500, 650, 800, 950, 1100, 1300, 1500, 1700, 1900}
	for _, tt := range []struct{ phones, sources int }{{1, 0}, {1, 1}, {1, 4}, {2, 0}, {3, 1}, {5, 4}, {6, 4}} {
		t.Run(fmt.Sprintf("%d phones, %d sources", tt.phones, tt.sources), func(t *testing.T) {
			r := newRig(6)
			var phones []*telephone
			for i := range tt.phones {
				p, _ := r.phone(voice{hz: tones[i], amplitude: 2000})
				phones = append(phones, p)
			}
			for i := range tt.sources {
				r.AddSource(&voice{hz: tones[tt.phones+i], amplitude: 2000})
			}
			r.run(60)
			want := 20 * math.Log10(2000)
			check := func(who string, pcm []int16, hears func(i int) bool) {
				for i := range tt.phones + tt.sources {
					got := decibels(pcm, tones[i])
					if hears(i) && math.Abs(got-want) > 0.1 {
						t.Errorf("%s hears %.0f Hz at %.1f dB, want %.1f", who, tones[i], got, want)
					}
					if !hears(i) && got > want-40 {
						t.Errorf("%s hears %.0f Hz, at %.1f dB", who, tones[i], got)
					}
				}
			}
			for k, p := range phones {
				check(fmt.Sprintf("phone %d", k), p.last(50), func(i int) bool { return i != k })
			}
			check("the conversation", r.last(50), func(i int) bool { return i < tt.phones })
		})
	}
}

// One who speaks alone is heard as he is, to the very bit, however loud.
func TestSingleSpeakerIsBitExact(t *testing.T) {
	square := func(i int) int16 { // as loud as can be
		if i/8%2 == 0 {
			return math.MaxInt16
		}
		return math.MinInt16
	}
	for _, tt := range []struct {
		name  string
		voice voice
	}{{"full scale", voice{of: square}}, {"loud", voice{hz: 440, amplitude: 32767}}, {"quiet", voice{hz: 440, amplitude: 100}}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(6)
			a, _ := r.phone(tt.voice)
			b, _ := r.phone(voice{of: func(i int) int16 { return 0 }})
			c, _ := r.phone(voice{silent: true})
			r.AddSource(&voice{of: func(i int) int16 { return 0 }}) // a browser that is muted sends silence
			r.run(20)
			want := make([]int16, 10*samples)
			v := tt.voice
			v.at = 10 * samples
			for i := range 10 {
				v.Pull(r.now, (*[320]int16)(want[i*samples:]))
			}
			for who, got := range map[string][]int16{"b": b.last(10), "c": c.last(10), "the conversation": r.last(10)} {
				if !slices.Equal(got, want) {
					t.Errorf("%s hears something else", who)
				}
			}
			if l := loudest16(a.last(10)); l > 0 {
				t.Errorf("the speaker hears %d", l)
			}
		})
	}
}

// Two at full scale are made quieter instead of wrapping around; and afterwards
// one alone is as loud as before.
func TestLimiter(t *testing.T) {
	r := newRig(6)
	a, _ := r.phone(voice{hz: 300, amplitude: 32000})
	b, _ := r.phone(voice{hz: 500, amplitude: 32000})
	c, _ := r.phone(voice{silent: true})
	r.run(100)
	for who, pcm := range map[string][]int16{"c": c.last(90), "the conversation": r.last(90)} {
		if l := loudest16(pcm); l > ceiling+1 {
			t.Errorf("%s: a sample of %d", who, l)
		}
		for i := 1; i < len(pcm); i++ { // two such tones change by 6,300 together between samples, 10,000 at most
			if d := int(pcm[i]) - int(pcm[i-1]); d > 10000 || d < -10000 {
				t.Fatalf("%s: a crack of %d at %d", who, d, i)
			}
		}
		for _, hz := range []float64{300, 500} {
			if l := level(pcm[:50*samples], hz); l < 13000 || l > 17000 {
				t.Errorf("%s hears %.0f Hz at %.0f", who, hz, l)
			}
		}
		if l := decibels(pcm[:50*samples], 800) - decibels(pcm[:50*samples], 500); l > -40 {
			t.Errorf("%s hears the sum of both at %.0f dB", who, l)
		}
	}
	if l := level(a.last(50), 500); math.Abs(l-32000) > 10 {
		t.Errorf("one phone hears the other alone at %.0f", l)
	}
	b.silent = true
	r.run(50)
	if l := level(r.last(10), 300); math.Abs(l-32000) > 10 {
		t.Errorf("alone again at %.0f", l)
	}
}

// The first frame of a second loud voice does not wrap around either.
func TestLimiterAtTheOnset(t *testing.T) {
	r := newRig(6)
	r.phone(voice{hz: 300, amplitude: 32000})
	b, _ := r.phone(voice{hz: 310, amplitude: 32000, silent: true})
	r.run(30)
	b.silent = false
	r.run(1)
	pcm := r.last(2)
	for i := 1; i < len(pcm); i++ {
		if d := int(pcm[i]) - int(pcm[i-1]); d > 12000 || d < -12000 { // 32,768 were an overflow
			t.Fatalf("a crack of %d at %d", d, i)
		}
	}
}

// The noise of a line is not heard, and speech begins at once.
func TestGate(t *testing.T) {
	noise := 32768 * math.Pow(10, -58.0/20) * math.Sqrt2 // a sine at -58 dBFS
	r := newRig(6)
	a, _ := r.phone(voice{hz: 500, amplitude: noise})
	b, _ := r.phone(voice{silent: true})
	r.run(50)
	if l := loudest16(b.heard); l > 0 {
		t.Errorf("noise is heard at %d from the beginning", l)
	}
	a.amplitude = 5000
	r.run(1)
	if l := loudest16(b.last(1)); l < 4900 {
		t.Errorf("the first frame of speech is heard at %d", l)
	}
	a.amplitude = noise
	r.run(19)
	if l := loudest16(b.last(1)); l == 0 {
		t.Error("closed after less than 400 ms")
	}
	r.run(1)
	r.run(1)
	if l := loudest16(b.last(1)); l > 0 {
		t.Errorf("open after more than 400 ms, at %d", l)
	}
	a.amplitude = 32768 * math.Pow(10, -53.0/20) * math.Sqrt2
	r.run(30)
	if l := loudest16(b.last(1)); l == 0 {
		t.Error("quiet speech is not heard")
	}
}

// Who is muted is not heard, who is deaf hears silence; and what was said
// meanwhile is never heard.
func TestMute(t *testing.T) {
	r := newRig(6)
	a, la := r.phone(voice{hz: 500, amplitude: 5000})
	b, lb := r.phone(voice{hz: 800, amplitude: 5000})
	s := &voice{hz: 1100, amplitude: 5000}
	r.AddSource(s)
	r.run(20)
	la.Mute(true, false)
	r.run(2)
	r.run(10)
	if l := decibels(r.last(10), 500); l > decibels(r.last(10), 800)-40 {
		t.Errorf("a muted phone is heard at %.0f dB", l)
	}
	if l := level(b.last(10), 500); l > 50 {
		t.Errorf("a muted phone is heard at %.0f", l)
	}
	if l := level(a.last(10), 800); l < 4900 {
		t.Errorf("a muted phone hears %.0f", l)
	}
	if a.pulled != 32 {
		t.Errorf("what it says is kept: %d frames were taken", a.pulled)
	}
	la.Mute(false, false)
	lb.Mute(false, true)
	r.run(12)
	if l := loudest16(b.last(10)); l > 0 || len(b.heard) != 44*samples {
		t.Errorf("a deaf phone hears %d, in %d samples", l, len(b.heard))
	}
	if l := level(a.last(10), 800); l < 4900 {
		t.Errorf("a deaf phone is heard at %.0f", l)
	}
	if l := level(r.last(10), 500); l < 4900 {
		t.Errorf("heard again at %.0f", l)
	}
	lb.Play(slices.Repeat([]int16{1000, -1000}, 1000), true) // it is told why
	r.run(1)
	if l := loudest16(b.last(1)); l != 1000 {
		t.Errorf("what is played to a deaf phone is at %d", l)
	}
}

// No change of who hears whom is a click: full scale within a sample.
func TestChangesDoNotClick(t *testing.T) {
	r := newRig(6)
	v := voice{hz: 200, amplitude: 20000}
	a, la := r.phone(v)
	b, lb := r.phone(voice{silent: true})
	v.at = 20 // it begins at its peak
	remove := r.AddSource(&v)
	clip := make([]int16, 16000)
	for i := range clip {
		clip[i] = int16(5000 * math.Cos(2*math.Pi*100*float64(i)/16000))
	}
	r.run(3)
	for _, change := range []func(){
		func() { la.Mute(true, false) }, func() { la.Mute(false, false) },
		func() { lb.Mute(false, true) }, func() { lb.Mute(false, false) },
		func() { lb.Play(clip[40:], false) }, func() { lb.Play(clip[40:], true) }, func() { lb.Stop() },
	} {
		change()
		r.run(3)
	}
	remove()
	for who, pcm := range map[string][]int16{"a": a.heard, "b": b.heard, "the conversation": r.room} {
		for i := 1; i < len(pcm); i++ {
			// The steepest of all: 2 × 1,570 by the tones, the clip's 196, both made quieter at once.
			if d := int(pcm[i]) - int(pcm[i-1]); d > 5000 || d < -5000 {
				t.Errorf("%s hears a click of %d in frame %d", who, d, i/samples)
			}
		}
	}
}

// What is played to one phone is heard by it alone, over the rest.
func TestPlay(t *testing.T) {
	r := newRig(6)
	a, la := r.phone(voice{hz: 500, amplitude: 3000})
	b, _ := r.phone(voice{hz: 800, amplitude: 3000})
	clip := make([]int16, 8000) // half a second
	for i := range clip {
		clip[i] = int16(4000 * math.Sin(2*math.Pi*1300*float64(i)/16000))
	}
	r.run(20)
	la.Play(clip, false)
	if !la.Playing() {
		t.Error("nothing is played")
	}
	r.run(25)
	if l := level(a.last(20), 1300); math.Abs(l-4000) > 10 {
		t.Errorf("played at %.0f", l)
	}
	if l := level(a.last(20), 800); math.Abs(l-3000) > 10 {
		t.Errorf("the other is heard at %.0f meanwhile", l)
	}
	if l := level(b.last(20), 1300) + level(r.last(20), 1300); l > 10 {
		t.Errorf("others hear it at %.0f", l)
	}
	r.run(1)
	if la.Playing() {
		t.Error("still played behind its end")
	}
	r.run(20)
	if l := level(a.last(20), 1300); l > 10 {
		t.Errorf("played at %.0f behind its end", l)
	}
	la.Play(clip, true)
	r.run(100)
	if l := level(a.last(20), 1300); math.Abs(l-4000) > 10 {
		t.Errorf("played at %.0f in its fourth round", l)
	}
	la.Stop()
	r.run(1)
	r.run(20)
	if l := level(a.last(20), 1300); l > 10 || la.Playing() {
		t.Errorf("played at %.0f after Stop", l)
	}
	la.Play(nil, true) // nothing, for ever
	r.run(1)
	if la.Playing() {
		t.Error("nothing is played for ever")
	}
}

// A beep is heard by all phones, and by the conversation if it is for all.
func TestBeep(t *testing.T) {
	clip := make([]int16, 6400)
	for i := range clip {
		clip[i] = int16(1800 * math.Sin(2*math.Pi*1300*float64(i)/16000))
	}
	for _, all := range []bool{false, true} {
		r := newRig(6)
		a, _ := r.phone(voice{hz: 500, amplitude: 3000})
		b, lb := r.phone(voice{silent: true})
		lb.Mute(true, false)
		r.run(20)
		r.Beep(clip, all)
		r.run(20)
		for _, p := range []*telephone{a, b} {
			if l := level(p.last(20), 1300); math.Abs(l-1800) > 5 {
				t.Errorf("all %v: a phone hears it at %.0f", all, l)
			}
		}
		if l := level(r.last(20), 1300); all != (l > 1790) || !all && l > 5 {
			t.Errorf("all %v: the conversation hears it at %.0f", all, l)
		}
		r.run(20)
		if l := level(a.last(20), 1300) + level(r.last(20), 1300); l > 5 {
			t.Errorf("all %v: heard at %.0f behind its end", all, l)
		}
	}
}

// Somebody speaks: above -40 dBFS in 3 of 5 frames, until 1 s below -45.
func TestSpeaking(t *testing.T) {
	at := func(db float64) float64 { return 32768 * math.Pow(10, db/20) * math.Sqrt2 }
	r := newRig(6)
	a, la := r.phone(voice{hz: 500, amplitude: at(-60)})
	frames := func(db float64, n int) bool {
		a.amplitude = at(db)
		r.run(n)
		return la.Speaking()
	}
	for i, step := range []struct {
		db   float64
		n    int
		want bool
	}{
		{-60, 20, false},
		{-30, 2, false}, {-60, 10, false}, // a click
		{-30, 2, false}, {-60, 2, false}, {-30, 1, true}, // three of five
		{-60, 49, true}, {-43, 1, true}, {-60, 49, true}, {-60, 1, false},
		{-43, 100, false}, // not loud enough to begin
		{-39, 3, true}, {-43, 200, true}, {-46, 49, true}, {-46, 1, false},
	} {
		if got := frames(step.db, step.n); got != step.want {
			t.Fatalf("step %d, %d frames at %.0f dBFS: %v", i, step.n, step.db, got)
		}
	}
	frames(-20, 5)
	la.Mute(true, false)
	if frames(-20, 5) {
		t.Error("one who is muted speaks")
	}
	la.Mute(false, false)
	if frames(-20, 2) || !frames(-20, 1) {
		t.Error("one who is not muted any more does not speak at once")
	}
	a.silent = true
	if frames(-20, 50) {
		t.Error("one from whom nothing comes speaks")
	}
}

// Phones and sources come and go while the clock runs, from any goroutine; and the
// clock ends with its context.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late []time.Duration
		frames := 0
		m := New(Config{Out: func(*[320]int16) { frames++ }, Late: func(d time.Duration) { late = append(late, d) }})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { m.Run(ctx) })
		for i := range 20 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 7 * time.Millisecond)
				l := m.AddPhone(&telephone{voice: voice{hz: 500, amplitude: 1000}})
				remove := m.AddSource(&voice{hz: 800, amplitude: 1000, level: 30})
				l.Play([]int16{1, 2, 3}, true)
				time.Sleep(time.Second)
				l.Mute(i%2 == 0, i%3 == 0)
				m.SetSpeakers(i % 5)
				m.Beep([]int16{1, 2, 3}, true)
				time.Sleep(time.Second)
				l.Speaking()
				l.Remove()
				l.Remove()
				remove()
				remove()
			})
		}
		time.Sleep(10*time.Second + time.Millisecond)
		if e := m.everyone.Load(); len(e.lines)+len(e.sources) > 0 {
			t.Errorf("%d phones, %d sources are left", len(e.lines), len(e.sources))
		}
		cancel()
		wg.Wait()
		if frames != 500 || len(late) != 500 || slices.Max(late) != 0 {
			t.Errorf("%d frames in 10 s, %d of them late by %v", frames, len(late), slices.Max(late))
		}
	})
}

// A clock that is late makes up for 5 ticks, and forgets the others.
func TestLateClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var late, when []time.Duration
		begin := time.Now()
		blocked := time.Duration(0)
		m := New(Config{
			Out: func(*[320]int16) {
				mu.Lock()
				when = append(when, time.Since(begin))
				d := blocked
				blocked = 0
				mu.Unlock()
				time.Sleep(d)
			},
			Late: func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				late = append(late, d)
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { m.Run(ctx) })
		block := func(d time.Duration) (ticks int, latest time.Duration) { // of 49 ticks, the first of which takes so long
			time.Sleep(time.Millisecond)
			mu.Lock()
			blocked, when, late = d, nil, nil
			mu.Unlock()
			time.Sleep(time.Second - 2*time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			if last := when[len(when)-1] % frameTime; last != 0 {
				t.Errorf("%v: the clock is out of step by %v", d, last)
			}
			return len(when), slices.Max(late)
		}
		if ticks, latest := block(70 * time.Millisecond); ticks != 49 || latest != 50*time.Millisecond {
			t.Errorf("70 ms: %d ticks, late by %v", ticks, latest)
		}
		time.Sleep(time.Millisecond)
		if ticks, _ := block(500 * time.Millisecond); ticks != 49-25+5 {
			t.Errorf("500 ms: %d ticks", ticks)
		}
		cancel()
		wg.Wait()
	})
}

// faulty is a phone, and a participant, whose sound cannot be made.
type faulty struct{}

func (faulty) Pull(time.Time, *[320]int16) bool { panic("out of range") }
func (faulty) Push(time.Time, *[320]int16)      { panic("out of range") }
func (faulty) Skip(time.Time)                   { panic("out of range") }
func (faulty) Level() int                       { return 0 }

// A fault in the sound of one ends neither the process nor the sound of the others.
func TestFaultsOfOneAreNotHeardByOthers(t *testing.T) {
	m := New(Config{Out: func(*[320]int16) { panic("out of range") }})
	a := &telephone{voice: voice{hz: 440, amplitude: 8000}}
	b := &telephone{voice: voice{silent: true}}
	m.AddPhone(faulty{})
	m.AddSource(faulty{})
	m.AddPhone(a)
	m.AddPhone(b)
	before := boundary.Count()
	for range 50 {
		m.step(time.Now())
	}
	if n := boundary.Count() - before; n != 4*50 {
		t.Errorf("%d faults are counted", n)
	}
	if l := level(b.last(20), 440); l < 7900 {
		t.Errorf("the one hears the other at %.0f", l)
	}
}
