package web

import (
	"net/http"
)

// A Route is one resource of the service: which requests are its, who answers
// them, and what a listener has to know of it.
type Route struct {
	// Owns reports whether a request asks for the resource. nil: any does.
	Owns func(*http.Request) bool
	// Handler answers; nil where the service has no such resource now.
	Handler http.Handler
	// Ungated answers in place of Handler, before anybody asks who the client is,
	// on a listener with TLS, or without. nil, or if it returns nil: nothing does.
	Ungated func(secure bool) http.Handler
	// Fail answers a status as the resource words it; text says why.
	Fail func(w http.ResponseWriter, r *http.Request, status int, text string)
	// ReadsBody reports whether the resource uses the body of a request of its,
	// streams whether the answer is a stream of events. nil: never.
	ReadsBody, Streams func(*http.Request) bool
}

// Routes are the resources of a service. The first that owns a request has it.
type Routes []Route

// ServeHTTP has the first resource answer that owns the request, and is there.
func (rs Routes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for i := range rs {
		if rs[i].Handler != nil && (rs[i].Owns == nil || rs[i].Owns(r)) {
			rs[i].Handler.ServeHTTP(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

// Ungated has those resources answer that do so before anybody asks who the client
// is, on a listener with TLS, or without. All others are h's.
func (rs Routes) Ungated(secure bool, h http.Handler) http.Handler {
	var open Routes
	for _, r := range rs {
		if r.Ungated == nil {
			continue
		}
		if r.Handler = r.Ungated(secure); r.Handler != nil {
			open = append(open, r)
		}
	}
	if open == nil {
		return h
	}
	return append(open, Route{Handler: h})
}

// of is the resource that r asks for, whether it is there or not; nil for none.
func (rs Routes) of(r *http.Request) *Route {
	for i := range rs {
		if rs[i].Owns == nil || rs[i].Owns(r) {
			return &rs[i]
		}
	}
	return nil
}

// fail answers a status with the document that clients of the resource know.
func (rs Routes) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	if of := rs.of(r); of != nil {
		of.Fail(w, r, status, text)
		return
	}
	http.Error(w, text, status)
}

// readsBody reports whether the resource that r asks for uses its body.
func (rs Routes) readsBody(r *http.Request) bool {
	of := rs.of(r)
	return of != nil && of.ReadsBody != nil && of.ReadsBody(r)
}

// streams reports whether r asks for a stream of events.
func (rs Routes) streams(r *http.Request) bool {
	of := rs.of(r)
	return of != nil && of.Streams != nil && of.Streams(r)
}
