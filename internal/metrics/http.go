package metrics

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// httpMethods are those counted by name. The last stands for all others:
// clients may write what they like.
var httpMethods = [...]string{"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "other"}

func httpMethod(name string) int {
	for i, m := range httpMethods {
		if m == name {
			return i
		}
	}
	return len(httpMethods) - 1
}

// httpBounds are the upper bounds of the histogram of durations.
var httpBounds = [...]time.Duration{time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second}

// minCode, maxCode are the status codes counted by themselves.
const minCode, maxCode = 100, 599

// HTTP counts the requests of the handlers that it wraps.
type HTTP struct {
	now     atomic.Int64
	answers [len(httpMethods)][maxCode - minCode + 1]atomic.Uint64
	times   [len(httpMethods)]struct {
		buckets [len(httpBounds) + 1]atomic.Uint64
		sum     atomic.Int64 // ns
	}
}

// Families of HTTP.
var (
	httpRequests = Counter("sipxrest_http_requests_total", "HTTP requests answered, by method (GET, HEAD, POST, DELETE, OPTIONS, PUT or other) and status code.", "method", "code")
	httpSeconds  = Seconds("sipxrest_http_request_duration_seconds", "Time from an HTTP request's header to the end of its answer, in seconds; without streams of events and WebSockets.", "method")
	httpInFlight = Gauge("sipxrest_http_requests_in_flight", "HTTP requests that are being answered, streams included.")
)

// AddHTTP shows what h counts.
func (r *Registry) AddHTTP(h *HTTP) {
	r.Add([]*Family{httpRequests, httpSeconds, httpInFlight}, func(v Values) {
		v.Set(httpInFlight, float64(h.now.Load()))
		for m, method := range httpMethods {
			for c := range h.answers[m] {
				if n := h.answers[m][c].Load(); n > 0 {
					v.Count(httpRequests, n, method, strconv.Itoa(minCode+c))
				}
			}
			t := &h.times[m]
			buckets, some := make([]uint64, len(t.buckets)), false
			for i := range t.buckets {
				buckets[i] = t.buckets[i].Load()
				some = some || buckets[i] > 0
			}
			if some {
				v.Times(httpSeconds, httpBounds[:], buckets, time.Duration(t.sum.Load()), method)
			}
		}
	})
}

// Wrap counts the responses of next.
func (h *HTTP) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		h.now.Add(1)
		s := &Status{ResponseWriter: w}
		defer func() {
			h.now.Add(-1)
			m := httpMethod(r.Method)
			code := s.Code()
			h.answers[m][min(max(code, minCode), maxCode)-minCode].Add(1)
			if code == http.StatusSwitchingProtocols || strings.HasPrefix(s.Header().Get("Content-Type"), "text/event-stream") {
				return
			}
			took, t := time.Since(began), &h.times[m]
			i := 0
			for i < len(httpBounds) && took > httpBounds[i] {
				i++
			}
			t.buckets[i].Add(1)
			t.sum.Add(int64(took))
		}()
		next.ServeHTTP(s, r)
	})
}

// Status is a ResponseWriter that remembers its status code. It can be flushed
// and hijacked if the one beneath can.
type Status struct {
	http.ResponseWriter
	code int
}

// Code is the status code sent; 200 when the handler wrote none.
func (s *Status) Code() int {
	if s.code == 0 {
		return http.StatusOK
	}
	return s.code
}

// WriteHeader implements http.ResponseWriter.
func (s *Status) WriteHeader(code int) {
	if s.code == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (s *Status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush implements http.Flusher.
func (s *Status) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() } // it has no way to tell

// Hijack implements http.Hijacker.
func (s *Status) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err == nil && s.code == 0 {
		s.code = http.StatusSwitchingProtocols
	}
	return c, rw, err
}
