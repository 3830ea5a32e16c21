// Package metrics shows what a service counts to Prometheus, which reads it as
// text over HTTP.
//
// The service keeps its own counters. A Registry asks for them when it is
// scraped, so that nothing of this costs anything in between:
//
//	family.go    what is shown: families of metrics and how their values are read
//	registry.go  the registry with the Go runtime's and the process' own metrics
//	http.go      the counters of HTTP requests, as a middleware
//	health.go    /metrics, /healthz, /readyz
//
// Labels must come from small fixed sets: each value of a label is a time
// series that is kept for weeks.
package metrics
