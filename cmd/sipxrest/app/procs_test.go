package app

import (
	"testing"
)

func TestProcessorsFollowTheLoad(t *testing.T) {
	tuner := &procsTuner{most: 8, now: 1}
	for _, step := range []struct {
		load float64
		want int
	}{
		{0.1, 1}, {0.9, 1}, // one keeps up
		{0.97, 2}, {1.95, 4}, {3.9, 8}, {7.9, 8}, // doubled while all are busy
	} {
		if got := tuner.next(step.load); got != step.want {
			t.Fatalf("load %.1f: %d processors, want %d", step.load, got, step.want)
		}
	}
	for i := range procsCalm - 1 {
		if got := tuner.next(0.5); got != 8 {
			t.Fatalf("%d processors after %d calm looks, want 8", got, i+1)
		}
	}
	if got := tuner.next(0.5); got != 7 {
		t.Fatalf("%d processors after a calm time, want 7", got)
	}
	for range procsCalm - 1 {
		tuner.next(0.5)
	}
	tuner.next(4.5) // busy in between: the calm begins anew
	if got := tuner.next(0.5); got != 7 {
		t.Fatalf("%d processors, want 7", got)
	}
	for range 100 * procsCalm {
		tuner.next(0)
	}
	if tuner.now != 1 {
		t.Fatalf("%d processors without load, want 1", tuner.now)
	}
}

func TestRoomForGarbage(t *testing.T) {
	for _, c := range []struct{ live, rate, memory, want uint64 }{ // MiB
		{20, 0, 1 << 14, 24}, {20, 60, 1 << 14, 60}, {100, 1000, 1 << 14, 512}, {100, 10, 1 << 14, 24}, {1600, 10, 1 << 14, 200},
		{20, 1000, 1 << 11, 128}, {20, 1000, 1 << 8, 24}, {20, 1000, 0, 24},
	} {
		live := c.live << 20
		slack := live * uint64(gcPercent(live, c.rate<<20, mostSlack(c.memory<<20))) / 100
		if d := int64(slack>>20) - int64(c.want); d < -16 || d > 16 {
			t.Errorf("%d MiB live, %d MiB allocated: %d MiB for garbage, want about %d", c.live, c.rate, slack>>20, c.want)
		}
	}
}
