package metrics

import (
	"io"
	"net/http"
	"strings"
)

// Handler serves /metrics, /healthz and /readyz to GET and HEAD. ready lists
// why the service should get no calls now; with an empty list it is ready.
//
// /healthz is 200 for as long as the process runs; a supervisor that gets no
// 200 may restart it. /readyz is 503, with a line for each reason, while calls
// should go elsewhere.
func (r *Registry) Handler(ready func() []string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", r.handler())
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { say(w, r, http.StatusOK, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if why := ready(); len(why) > 0 {
			say(w, r, http.StatusServiceUnavailable, why...)
			return
		}
		say(w, r, http.StatusOK, "ready")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		say(w, r, http.StatusNotFound, "here are /metrics, /healthz and /readyz")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			say(w, r, http.StatusMethodNotAllowed, "only GET and HEAD are answered here")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func say(w http.ResponseWriter, r *http.Request, status int, lines ...string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, strings.Join(lines, "\n")+"\n") // nobody is left to be told
	}
}
