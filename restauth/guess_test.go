package restauth

import (
	"testing"
	"time"
)

// Many guesses of a PIN at once learn no more than one after another: not even
// that one of them was right.
func TestGuessesAtOnceAreNoMoreThanOneAfterAnother(t *testing.T) {
	h := newGate(t, Config{})
	on := h.on(TrustedOrPIN, true)
	guess := func(pin string) int {
		r := request("POST", "/x?agent=201")
		r.SetBasicAuth("201", pin)
		return do(on, r).StatusCode
	}
	asked := 0
	h.Gate.cfg.Now = func() time.Time {
		if asked++; asked == 2 { // the right PIN has been looked at, and is not answered yet
			for range maxUserFailures {
				if code := guess("999"); code != 401 {
					t.Errorf("a wrong one is answered %d", code)
				}
			}
		}
		return h.clock.now()
	}
	if code := guess("123"); code != 429 {
		t.Errorf("the right one is answered %d", code)
	}
	h.clock.advance(guessWindow)
	if code := guess("123"); code != 200 {
		t.Errorf("a minute later it is answered %d", code)
	}
}
