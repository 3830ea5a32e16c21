package restauth

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Who guesses fills no disk: a line tells of many guesses, and never of what was
// guessed.
func TestWrongPINsAreLoggedALineForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := newGate(t, Config{}, func(h *harness) { h.log = slog.New(slog.NewJSONHandler(&log, nil)) })
		guess := func(agent string) {
			r := request("POST", "/x?agent="+agent)
			r.SetBasicAuth("201", "guess77")
			wantStatus(t, do(g.on(TrustedOrPIN, true), r), 401)
		}
		for range 8 {
			guess("201")
		}
		guess("202")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		text := log.String()
		if strings.Count(text, "\n") != 1 || !strings.Contains(text, `"refused":9`) || !strings.Contains(text, "201 by ") || !strings.Contains(text, "202 by ") {
			t.Errorf("log:\n%s", text)
		}
		if strings.Contains(text, "guess77") {
			t.Errorf("the log tells what was guessed:\n%s", text)
		}
		guess("201")
		g.Stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := log.String(); got != text {
			t.Errorf("a line after the end: %s", got)
		}
	})
}
