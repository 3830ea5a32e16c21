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
		if strings.Count(text, "\n") != 1 || !strings.Contains(text, `"refused":9`) || !strings.Contains(text, "201 by ") ||
			!strings.Contains(text, "202 by ") {
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

// Who set up a page, a name or a peer that is refused finds out why without debug.
func TestRefusedPagesAndPeersAreLoggedALineForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := newGate(t, Config{}, func(h *harness) { h.log = slog.New(slog.NewTextHandler(&log, nil)) })
		defer g.Stop()
		for i := range 5 {
			r := request("POST", "/x")
			r.Header.Set("Origin", "https://evil.example")
			wantStatus(t, do(g.on(TrustedOrPIN, true), r), 403)
			r = request("GET", "/x")
			r.Host = "rebound.example" + strings.Repeat("x", 200*i)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			wantStatus(t, do(g.on(TrustedOrPIN, true), r), 421)
			r = request("POST", "/x")
			r.RemoteAddr = "203.0.113.9:1"
			wantStatus(t, do(g.on(TrustedOnly, true), r), 403)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, want := range []string{
			`level=INFO msg="refused requests of pages of other sites: add them to allowed-origins if they may call" refused=5 ` +
				`pages="[\"https://evil.example\" by `,
			`level=INFO msg="refused browsers that call by another's name: add it to http-names if it is ours" refused=5 ` +
				`names="[\"rebound.example\" by `,
			`level=INFO msg="refused peers on a listener with auth: trusted: add them to trusted if they may call" refused=5 peers=[203.0.113.9]`,
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, log.String())
			}
		}
		if strings.Count(log.String(), "\n") != 3 || log.Len() > 1500 {
			t.Errorf("log:\n%s", log.String())
		}
	})
}
