package phone

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func frameOf(text string) *frame {
	f := newFrame()
	f.data = f.room[:copy(f.room, text)]
	return f
}

// What is told is before all audio, and stays when audio goes.
func TestALegKeepsWhatIsToldAndTheNewestAudio(t *testing.T) {
	var sums relayed
	a, b := newLeg(&sums), newLeg(&sums)
	a.hear(frameOf(audio(1, 1))) // nobody is there
	a.peer.Store(b)
	for i := range 3 * queueFrames {
		a.hear(frameOf(audio(1, int16(i))))
		if i == queueFrames {
			b.tell([]byte("start"))
		}
	}
	if m, f, _ := b.take(); string(m) != "start" || f != nil {
		t.Errorf("first %q, %v", m, f)
	}
	for i := 2 * queueFrames; i < 3*queueFrames; i++ {
		_, f, ended := b.take()
		if f == nil || string(f.data) != audio(1, int16(i)) || ended {
			t.Fatalf("frame %d: %v", i, f)
		}
		f.free()
	}
	if m, f, ended := b.take(); m != nil || f != nil || ended {
		t.Errorf("%q, %v, %v", m, f, ended)
	}
	if n := sums.dropped.Load(); n != 2*queueFrames {
		t.Errorf("%d dropped", n)
	}
	b.tell([]byte("last"))
	a.hear(frameOf(audio(1, 1)))
	b.end()
	b.end()
	if b.tell([]byte("later")) {
		t.Error("told after the end")
	}
	a.hear(frameOf(audio(1, 1)))
	if m, f, ended := b.take(); string(m) != "last" || f != nil || ended {
		t.Errorf("%q, %v, %v", m, f, ended)
	}
	if m, f, ended := b.take(); m != nil || f != nil || !ended {
		t.Errorf("%q, %v, %v", m, f, ended)
	}
}

// Audio that nobody has taken in time is dropped, and counted.
func TestOldAudioIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sums relayed
		l := newLeg(&sums)
		for i := range 3 {
			l.play(frameOf(audio(1, int16(i))))
			time.Sleep(frameAge / 2)
		}
		if _, f, _ := l.take(); f == nil || string(f.data) != audio(1, 1) {
			t.Error("what is too old is taken")
		}
		time.Sleep(frameAge)
		if _, f, ended := l.take(); f != nil || ended {
			t.Error("what has become too old is taken")
		}
		if n := sums.dropped.Load(); n != 2 {
			t.Errorf("%d are counted", n)
		}
		l.end()
	})
}

func TestALegThatTakesNothingIsFull(t *testing.T) {
	l := newLeg(new(relayed))
	n := 0
	for l.tell([]byte(strconv.Itoa(n))) {
		n++
	}
	if n != queueUrgent {
		t.Errorf("%d messages are kept", n)
	}
	if m, _, _ := l.take(); string(m) != "0" || !l.tell([]byte("more")) {
		t.Errorf("%q", m)
	}
	l.end()
}

func TestRelayingAllocatesNothing(t *testing.T) {
	var sums relayed
	a, b := newLeg(&sums), newLeg(&sums)
	a.peer.Store(b)
	text := audio(320, 1)
	if n := testing.AllocsPerRun(1000, func() {
		a.hear(frameOf(text))
		_, f, _ := b.take()
		f.free()
	}); n >= 1 { // the collector may empty the pool
		t.Errorf("%v allocations per frame", n)
	}
	a.end()
	b.end()
}
