package attendant

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
)

func TestEntries(t *testing.T) {
	for _, tc := range []struct {
		name string
		keys string
		o    EntryOptions
		want string
		took time.Duration // at least
	}{
		{"hash", "123#", EntryOptions{}, "123", 0},
		{"pause", "123", EntryOptions{}, "123", 5 * time.Second},
		{"a pause of its own", "12", EntryOptions{Pause: 2 * time.Second}, "12", 2 * time.Second},
		{"length", "1234", EntryOptions{Max: 3}, "123", 0},
		{"nothing", "#", EntryOptions{}, "", 0},
		{"cleared", "*12#", EntryOptions{Clear: '*'}, "12", 0},
		{"cleared twice", "**12#", EntryOptions{Clear: '*'}, "12", 0},
		{"a star within", "1*2#", EntryOptions{Clear: '*'}, "1*2", 0},
		{"a star that counts", "*12#", EntryOptions{}, "*12", 0},
		{"letters", "AD0#", EntryOptions{}, "AD0", 0},
		{"at most 32", strings.Repeat("7", 32), EntryOptions{}, strings.Repeat("7", 32), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			withCaller(t, func(r *rig) {
				began := time.Now()
				press := r.a.Conversation().Digit
				for _, key := range []byte(tc.keys) {
					press(key)
				}
				entry, err := r.a.Entry(r.Context(), tc.o)
				if took := time.Since(began); entry != tc.want || err != nil || took < tc.took || took > tc.took+time.Second {
					r.Errorf("%q, %v after %s", entry, err, took)
				}
			})
		})
	}
}

func TestAnEntryEndsWithItsContext(t *testing.T) {
	withCaller(t, func(r *rig) {
		why := errors.New("no PIN in time")
		for _, keys := range []string{"", "1"} {
			ctx, stop := context.WithTimeoutCause(r.Context(), time.Second, why)
			r.press(keys)
			if entry, err := r.a.Entry(ctx, EntryOptions{}); entry != "" || !errors.Is(err, why) {
				r.Errorf("%q, %v", entry, err)
			}
			stop()
		}
	})
}

// The packets of one key are many, some are lost, and many phones send no marker.
func TestDigitsOfPhonesWithoutAMarker(t *testing.T) {
	withSocket(t, func(r *rig) {
		r.event(5, 1000, false, false)
		r.event(5, 1000, false, false)
		time.Sleep(100 * time.Millisecond)
		r.event(5, 1000, false, true)
		r.event(5, 1000, false, true)
		time.Sleep(100 * time.Millisecond)
		r.event(5, 3000, false, true) // its end alone arrives
		time.Sleep(100 * time.Millisecond)
		r.event(11, 5000, true, false)
		if entry, err := r.a.Entry(r.Context(), EntryOptions{}); entry != "55" || err != nil {
			r.Errorf("%q, %v", entry, err)
		}
	})
}

// Digits that are dialled in advance count from the answer on, up to a bound.
func TestDigitsThatNobodyWaitsForAreKept(t *testing.T) {
	withCaller(t, func(r *rig) {
		for range 2 {
			r.press(strings.Repeat("12", 10))
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		got := ""
		for key := r.a.Next(); key != 0; key = r.a.Next() {
			got += string(key)
		}
		if want := strings.Repeat("12", maxKeys/2); got != want {
			r.Errorf("kept %s, want %s", got, want)
		}
		select {
		case <-r.a.More():
		default:
		}
		r.press("9")
		<-r.a.More()
		if key := r.a.Next(); key != '9' {
			r.Errorf("%q", key)
		}
	})
}

func TestTheSameDigitInBothWaysCountsOnce(t *testing.T) {
	for _, tc := range []struct {
		name string
		what string // R or I, the key, and the time in units of 100 ms
		want string
	}{
		{"both", "R1@0 I1@0", "1"},
		{"INFO first", "I1@0 R1@3", "1"},
		{"late", "R1@0 I1@5", "11"},
		{"at the bound", "R1@0 I1@4", "1"},
		{"twice in each", "R1@0 I1@1 R1@2 I1@3", "11"},
		{"twice, and INFO lags", "R1@0 R1@2 I1@3 I1@4", "11"},
		{"three by one", "R1@0 R1@1 R1@2", "111"},
		{"others", "R1@0 I2@0 R2@1 I1@2", "12"},
		{"another between", "R1@0 R2@1 I1@2 I2@3 R1@4", "121"},
		{"three for one", "R1@0 I1@1 I1@2", "11"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p presses
			got := ""
			began := time.Now()
			for word := range strings.FieldsSeq(tc.what) {
				by := byRTP
				if word[0] == 'I' {
					by = byINFO
				}
				if p.counts(word[1], by, began.Add(time.Duration(word[3]-'0')*100*time.Millisecond)) {
					got += word[1:2]
				}
			}
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// A phone sends each digit by RTP and by INFO.
func TestADigitInBothWaysIsOneOfTheEntry(t *testing.T) {
	withCaller(t, func(r *rig) {
		for _, key := range []byte("1122#") {
			r.press(string(key))
			time.Sleep(80 * time.Millisecond)
			r.a.Conversation().Digit(key)
			time.Sleep(300 * time.Millisecond)
		}
		if entry, err := r.a.Entry(r.Context(), EntryOptions{}); entry != "1122" || err != nil {
			r.Errorf("%q, %v", entry, err)
		}
		if key := r.a.Next(); key != 0 {
			r.Errorf("%q is left", key)
		}
	})
}

func TestWhoCanPressNothingIsToldInTheLog(t *testing.T) {
	const line = "no telephone-event was offered: digits can come by INFO only"
	withSocket(t, func(r *rig) {
		if strings.Contains(r.log.String(), line) {
			r.Error("logged for a phone that has telephone-event")
		}
		c := r.a.Conversation()
		for range 2 {
			if _, err := c.Reoffer([]byte(strings.ReplaceAll(description("0"), "telephone-event", "x-none"))); err != nil {
				r.Fatal(err)
			}
		}
		if n := strings.Count(r.log.String(), line); n != 1 {
			r.Errorf("%d lines", n)
		}
		c.Digit('3')
		if key, err := r.a.Digit(r.Context()); key != '3' || err != nil {
			r.Errorf("%q, %v", key, err)
		}
	})
}

func TestADescriptionThatIsNoGoodIsRefused(t *testing.T) {
	withSocket(t, func(r *rig) {
		c := r.a.Conversation()
		var refused *sipflow.StatusError
		if _, err := c.Reoffer([]byte(description("18"))); !errors.As(err, &refused) || refused.Code != 488 {
			r.Errorf("%v", err)
		}
		c.Offer()
		if err := c.Answered([]byte(description("18")), false); !errors.As(err, &refused) || refused.Code != 488 {
			r.Errorf("%v", err)
		}
		if err := c.Answered([]byte(description("18")), true); err != nil {
			r.Errorf("of a provisional response: %v", err)
		}
		if err := c.Answered([]byte(description("0 101")), false); err != nil {
			r.Error(err)
		}
	})
}
