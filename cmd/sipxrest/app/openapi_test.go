package app

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/docs/docstest"
	"sipxrest/sipflow/siptest"
)

const openAPI = "../../../docs/openapi.yaml"

// The listener of metrics.listen answers what docs/openapi.yaml says: browsers
// that call by another's name get nothing else.
func TestNoPageReadsMetricsByItsOwnName(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	s := start(t, watched(t, addr))
	answers := docstest.Read(t, openAPI).Watch()
	ask := func(path, host, mode string) {
		t.Helper()
		for _, method := range docstest.Methods {
			r, err := http.NewRequest(method, s.MetricsURL()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			if mode != "" {
				r.Header.Set("Sec-Fetch-Mode", mode)
			}
			resp, err := s.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			answers.Note(t, method, path, resp.StatusCode, resp.Header)
			if misnamed := mode != ""; misnamed != (resp.StatusCode == http.StatusMisdirectedRequest) {
				t.Errorf("%s %s by %q: %d", method, path, host, resp.StatusCode)
			}
		}
	}
	paths := []string{"/metrics", "/healthz", "/readyz"}
	for _, path := range paths {
		ask(path, "", "")
		ask(path, "rebound.example:9100", "")         // no browser
		ask(path, "rebound.example:9100", "navigate") // a page
	}
	s.sw.Drain()
	ask("/readyz", "", "")
	for _, path := range paths {
		answers.Check(t, path)
	}
}

// What a listener answers by itself is described for every resource that it
// guards.
func TestTheListenersAnswersAreDescribed(t *testing.T) {
	doc := docstest.Read(t, openAPI)
	answers := doc.Watch()
	s := startPlain(t)
	h := web.Guard(s.routes, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	for key, op := range doc.Operations {
		if _, ok := op.Responses[http.StatusRequestEntityTooLarge]; !ok {
			continue
		}
		method, path, _ := strings.Cut(key, " ")
		r := httptest.NewRequest(method, strings.NewReplacer("{", "", "}", "").Replace(path), strings.NewReader(strings.Repeat("x", 64<<10+1)))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		answers.Note(t, method, path, w.Code, w.Header())
	}
}
