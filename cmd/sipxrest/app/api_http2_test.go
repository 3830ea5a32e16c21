package app

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sipxrest/api"
)

// Over HTTP/2 faults are problems under /v1, as far as requests come to a handler.
// What net/http refuses before that is listed here, as in docs/api.md.
func TestFaultsUnderTheAPIOverHTTP2(t *testing.T) {
	s := startPlain(t)
	c := s.http2()
	const problem, page, text = "application/problem+json", "text/html; charset=utf-8", "text/plain; charset=utf-8"
	five := strings.Repeat("a", 5_000)
	for _, q := range []struct {
		method, path string
		fields       []string
		body         string
		status       int
		as           string
		has          string // the code of a problem, or what the text has
	}{
		{"GET", "/v1/me", []string{"content-length", "70000"}, strings.Repeat("x", 70_000), 413, problem, "body_too_large"},
		{"POST", "/v1/stream-tickets?agent=201", []string{"content-type", "application/json"}, "{x}", 400, problem, "invalid_json"},
		{"GET", "/v1/" + strings.Repeat("a", 15_000), nil, "", 404, problem, "not_found"},
		{"GET", "/v1/me?%zz", nil, "", 400, problem, "unknown_parameter"},
		{"GET", "/v1/calls/%FF?agent=201", nil, "", 404, problem, "call_not_found"},
		{"BREW", "/v1/me", nil, "", 405, problem, "method_not_allowed"},
		// By net/http.
		{"GET", "/v1/me", []string{"a", five, "b", five, "c", five, "d", five}, "", 431, page, "Request Header Field(s) Too Large"},
		{"GET", "/v1/me", []string{"connection", "close"}, "", 400, text, `"Connection" is not valid in HTTP/2`},
		// In place of its reset.
		{"GET", "/v1/calls/%zz", nil, "", 400, text, "The request is malformed."},
		{"GET", "/v1/me", []string{"X-Upper-Case", "a"}, "", 400, text, "The request is malformed."},
	} {
		stream := c.Begin(q.method, q.path, q.body != "", q.fields...)
		for rest := q.body; rest != ""; {
			piece := rest[:min(len(rest), 10_000)]
			rest = rest[len(piece):]
			c.Must(c.Framer.WriteData(stream, rest == "", []byte(piece)))
		}
		a := *c.Await(stream)
		var p api.Problem
		if a.Type == problem {
			if err := json.Unmarshal([]byte(a.Body), &p); err != nil || p.Status != a.Status {
				t.Errorf("%s %.40s: %v: %+v", q.method, q.path, err, a)
			}
			a.Body = string(p.Code)
		}
		if a.Status != q.status || a.Type != q.as || !strings.Contains(a.Body, q.has) || a.Reset != "" {
			t.Errorf("%s %.40s: %+v, want %d %s %s", q.method, q.path, a, q.status, q.as, q.has)
		}
	}
	if err := lastOfHTTP2(s, "x", strings.Repeat("a", 20_000)); err != nil {
		t.Error(err)
	}
}

// lastOfHTTP2 asks with a field that is longer than all fields together may be. The
// error is nil if the connection is ended for that.
func lastOfHTTP2(s *service, name, value string) error {
	c := s.http2()
	c.Begin("GET", "/v1/me", false, name, value)
	for {
		_ = c.Conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		switch f, err := c.Framer.ReadFrame(); f := f.(type) {
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeCompression {
				return fmt.Errorf("a long field: %v", f.ErrCode)
			}
			return nil
		case *http2.MetaHeadersFrame:
			return fmt.Errorf("a long field: %v", f)
		default:
			if err != nil {
				return fmt.Errorf("a long field: %w", err)
			}
		}
	}
}
