package app

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/sipflow/siptest"
)

// The console is read without a PIN, over TLS, where there is an API.
func TestTheConsoleIsOnListenersWithTLS(t *testing.T) {
	for _, test := range []struct {
		name         string
		api, console bool
		secure       int
	}{
		{"on", true, true, http.StatusOK},
		{"off", true, false, http.StatusNotFound},
		{"without the API", false, true, http.StatusNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, addr := apptest.Phone(t, siptest.Script{NeverAnswer: true})
			cfg := testConfig(t, addr)
			cfg.API.Enabled, cfg.Console.Enabled = test.api, test.console
			s := start(t, cfg)
			for i, want := range []int{test.secure, http.StatusNotFound} {
				resp, err := s.client.Get(s.Addrs()[i] + "/console/")
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != want || want == http.StatusOK != strings.Contains(string(body), `src="main.js"`) {
					t.Errorf("%s: %d %s", s.Addrs()[i], resp.StatusCode, body)
				}
			}
		})
	}
}
