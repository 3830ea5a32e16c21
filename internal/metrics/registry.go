package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Build says which program it is.
type Build struct{ Version, Revision, GoVersion string }

// Registry is what a scrape shows.
type Registry struct{ registry *prometheus.Registry }

// New returns a registry with the metrics of the Go runtime, of the process,
// and sipxrest_build_info.
func New(b Build) *Registry {
	r := &Registry{prometheus.NewRegistry()}
	r.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := Gauge("sipxrest_build_info", "Always 1; the labels say which program this is.", "version", "revision", "goversion")
	r.Add([]*Family{build}, func(v Values) { v.Set(build, 1, b.Version, b.Revision, b.GoVersion) })
	return r
}

// Add has read called for the values of families at each scrape, by several
// goroutines if there are several scrapes. It panics if a family is there
// already: names are part of the program.
func (r *Registry) Add(families []*Family, read func(Values)) {
	r.registry.MustRegister(&collector{families, read})
}

// Gatherer is for tests: it reads everything once.
func (r *Registry) Gatherer() prometheus.Gatherer { return r.registry }

const (
	// maxScrapes bounds the scrapes at a time: each reads every call.
	maxScrapes = 4
	// scrapeTime bounds a scrape; Prometheus itself gives up after 10 s.
	scrapeTime = 10 * time.Second
)

// handler serves scrapes.
func (r *Registry) handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime})
}
