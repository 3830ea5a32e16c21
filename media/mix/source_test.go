package mix

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// speakers runs a mixer with sources of such levels.
func speakers(limit int, levels ...int) (*rig, []*voice) {
	r := newRig(limit)
	r.phone(voice{silent: true})
	var sources []*voice
	for i, l := range levels {
		v := &voice{hz: 400 + 200*float64(i), amplitude: 2000, level: l}
		sources = append(sources, v)
		r.AddSource(v)
	}
	return r, sources
}

// heard says which sources are decoded in the next tick, as "0 2".
func heard(r *rig, sources []*voice) string {
	var before []int
	for _, s := range sources {
		before = append(before, s.pulled)
	}
	r.run(1)
	var list []string
	for i, s := range sources {
		if s.pulled > before[i] {
			list = append(list, fmt.Sprint(i))
		}
	}
	return strings.Join(list, " ")
}

// The loudest are heard: those who are stay for 2 s, and until another one is
// louder by 6 dB.
func TestTheLoudestAreHeard(t *testing.T) {
	r, s := speakers(2, 50, 20, 127, 30)
	want := func(when, list string) {
		t.Helper()
		if got := heard(r, s); got != list {
			t.Errorf("%s: %s are heard, want %s", when, got, list)
		}
	}
	want("at first", "1 3")
	s[0].level = 10
	r.run(97)
	want("after 99 ticks", "1 3")
	r.run(1)
	want("after 2 s, one of them fading out", "0 1 3")
	want("then", "0 1")
	r.run(200)
	s[3].level = 15
	want("louder by 5 dB", "0 1")
	s[3].level = 14
	want("louder by 6 dB, the other one fading out", "0 1 3")
	want("then", "0 3")
	s[0].level, s[3].level, s[2].level = 100, 100, 14
	want("one has been heard for 2 s, and is silent", "0 2 3")
	want("then", "2 3")
	s[0].level = 10
	r.run(50)
	want("both have been heard for less than 2 s", "2 3")
	r.run(50)
	want("the quieter one gives way", "0 2")
}

// Fewer are heard at once when the machine is late; and more again.
func TestNumberOfSpeakersChanges(t *testing.T) {
	r, s := speakers(6, 10, 20, 30, 40, 50)
	if got := heard(r, s); got != "0 1 2 3 4" {
		t.Errorf("%s are heard of as many as may be", got)
	}
	r.SetSpeakers(2)
	r.run(1)
	if got := heard(r, s); got != "0 1" {
		t.Errorf("%s are heard of 2", got)
	}
	r.SetSpeakers(0)
	r.run(1)
	if got := heard(r, s); got != "0" || r.Speakers() != 1 {
		t.Errorf("%s are heard of 1", got)
	}
	r.SetSpeakers(3)
	if got := heard(r, s); got != "0 1 2" {
		t.Errorf("%s are heard of 3", got)
	}
}

// One who leaves makes room at once; one who comes is skipped as long as he is not heard.
func TestSourcesComeAndGo(t *testing.T) {
	r := newRig(1)
	p, _ := r.phone(voice{silent: true})
	a, b := &voice{hz: 500, amplitude: 5000, level: 10}, &voice{hz: 800, amplitude: 5000, level: 20}
	remove := r.AddSource(a)
	r.AddSource(b)
	r.run(20)
	if a.pulled != 20 || b.pulled != 0 || b.skipped != 20 {
		t.Errorf("%d of one are decoded, %d of the other, %d skipped", a.pulled, b.pulled, b.skipped)
	}
	if l := level(p.last(10), 500); math.Abs(l-5000) > 5 {
		t.Errorf("one is heard at %.0f", l)
	}
	remove()
	r.run(11)
	if l := level(p.last(10), 800); math.Abs(l-5000) > 5 || a.pulled != 20 {
		t.Errorf("the other is heard at %.0f", l)
	}
}

// A source that is heard from now on begins within 10 ms, and the one whose place
// it takes ends within 10 ms.
func TestSourcesFade(t *testing.T) {
	r, s := speakers(1, 20, 30)
	p := &telephone{voice: voice{silent: true}}
	r.AddPhone(p)
	s[0].of = func(int) int16 { return 8000 }
	s[1].of = func(int) int16 { return 4000 }
	r.run(150)
	if i := slices.IndexFunc(p.last(100), func(v int16) bool { return v != 8000 }); i >= 0 {
		t.Fatalf("one is heard at %d", p.last(100)[i])
	}
	s[0].level, s[1].level = 60, 20
	r.run(3)
	for i, v := range p.last(3) {
		k := min(i, 160)
		if want := 8000*(160-k)/160 + 4000*k/160; int(v) != want && int(v) != want-1 {
			t.Fatalf("sample %d is %d, want %d", i, v, want)
		}
	}
}
