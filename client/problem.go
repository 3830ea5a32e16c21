package client

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error returns the code, so that errors.Is compares a [*Problem] with it.
func (c Code) Error() string { return string(c) }

// Error tells the status, the code, what people are told, and which members are wrong.
func (p *Problem) Error() string {
	text := fmt.Sprintf("sipxrest: %d", p.Status)
	if p.Code != "" {
		text += " " + string(p.Code)
	}
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	for _, f := range p.Errors {
		text += fmt.Sprintf(" [%s%s: %s]", f.Pointer, f.Parameter, f.Detail)
	}
	return text
}

// Is reports whether target is the problem's code.
func (p *Problem) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == p.Code
}

// GapError says that events are missing. An iterator goes on after it: read the calls
// again, then take further events.
type GapError struct {
	// Reason is "cursor_expired", "other_store", or "store_too_slow".
	Reason string
	// Oldest is the oldest place that there is, where that is known.
	Oldest string
	// Cursor is where the events after the gap begin.
	Cursor string
	// Lost is how many events are missing, 0 where nobody knows.
	Lost int
}

func (g *GapError) Error() string { return "sipxrest: events are missing: " + g.Reason }

const (
	// bodyMost bounds an answer that is kept as a whole.
	bodyMost = 32 << 20
	// textMost bounds what is kept of an answer that is no problem document.
	textMost = 1 << 10
)

// problemOf makes an error of a refusal. A server between may write others than the
// service's.
func problemOf(resp *http.Response) *Problem {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, bodyMost)) // what there is of it is told
	p := &Problem{}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(text, p) != nil {
		p = &Problem{Title: http.StatusText(resp.StatusCode), Detail: strings.ToValidUTF8(string(text[:min(len(text), textMost)]), ""),
			Dialled: DialledUnknown, RequestID: resp.Header.Get("X-Request-Id")}
	}
	p.Status = resp.StatusCode
	if p.RetryAfterMS == nil {
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 && s < 1<<20 {
			ms := s * 1000
			p.RetryAfterMS = &ms
		}
	}
	return p
}

// wait is how long the service asks to wait, 0 if it does not say.
func (p *Problem) wait() time.Duration {
	if p.RetryAfterMS == nil {
		return 0
	}
	return time.Duration(*p.RetryAfterMS) * time.Millisecond
}

// passes reports whether the same request may well be taken later. Wrong PINs stay
// wrong, and more of them lock the address for longer.
func (p *Problem) passes() bool {
	switch p.Status {
	case http.StatusTooManyRequests:
		return p.Code != CodeTooManyWrongPINs
	case http.StatusServiceUnavailable:
		return true
	}
	return p.Code == CodeIdempotencyInProgress
}

// unanswered reports whether a server between says that it got no answer.
func (p *Problem) unanswered() bool {
	return p.Code == "" && (p.Status == http.StatusBadGateway || p.Status == http.StatusGatewayTimeout)
}
