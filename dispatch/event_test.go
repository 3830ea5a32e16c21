package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// web is the other side of HTTP requests in fake time.
type web func(*http.Request) (int, string, error)

func (w web) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.Context().Err() != nil {
		return nil, q.Context().Err()
	}
	code, body, err := w(q)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Status: fmt.Sprint(code, " ", http.StatusText(code)), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: q}, nil
}

func (w web) rule() *rule {
	return &rule{Rule: Rule{ID: "r", Webhook: Webhook{URL: "https://hooks.example/", Method: http.MethodPost, Timeout: webhookTime}}, client: &http.Client{Transport: w}, asking: make(chan struct{}, maxAsking)}
}

func testEvent(r *rule, n int) *event {
	m := &message{}
	m.add("n", n)
	return &event{rule: r, id: fmt.Sprint("id", n), name: "ended", m: m}
}

func bodyNumber(t *testing.T, q *http.Request) int {
	var v struct{ N int }
	if err := json.NewDecoder(q.Body).Decode(&v); err != nil {
		t.Error(err)
	}
	return v.N
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestEventsOfACallArriveInOrderAndAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		start := time.Now()
		fails := 3
		r := web(func(q *http.Request) (int, string, error) {
			got = append(got, fmt.Sprintf("%d %s %v", bodyNumber(t, q), q.Header.Get("X-Event-Id"), time.Since(start)))
			if fails--; fails >= 0 {
				return []int{429, 503, 408}[fails], "", nil
			}
			return 202, "ignored", nil
		}).rule()
		s := newSender(quiet())
		l := s.line("c1")
		for n := range 3 {
			l.put(testEvent(r, n))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{"0 id0 0s", "0 id0 1s", "0 id0 3s", "0 id0 7s", "1 id1 7s", "2 id2 7s"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		l.put(testEvent(r, 3)) // the line begins anew
		synctest.Wait()
		if len(got) != 7 || s.queued() != 0 || s.sent.Load() != 4 {
			t.Errorf("%d %d %d", len(got), s.queued(), s.sent.Load())
		}
		s.close(t.Context())
	})
}

func TestAnEventIsGivenUpInTheEndAndTheNextOneSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		tried := map[int]int{}
		r := web(func(q *http.Request) (int, string, error) {
			n := bodyNumber(t, q)
			mu.Lock()
			defer mu.Unlock()
			tried[n]++
			switch n {
			case 0:
				return 0, "", errors.New("connection refused")
			case 1:
				return 404, "", nil // it will not change its mind
			case 2:
				return 302, "", nil
			}
			return 200, "", nil
		}).rule()
		s := newSender(quiet())
		l := s.line("c1")
		for n := range 4 {
			l.put(testEvent(r, n))
		}
		other := s.line("c2")
		other.put(testEvent(r, 9))
		synctest.Wait()
		mu.Lock()
		if tried[9] != 1 {
			t.Error("a call waits for another")
		}
		mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if diff := cmp.Diff(map[int]int{0: attempts, 1: 1, 2: 1, 3: 1, 9: 1}, tried); diff != "" {
			t.Error(diff)
		}
		if s.failed.Load() != 3 || s.sent.Load() != 2 || s.queued() != 0 {
			t.Errorf("%d %d %d", s.failed.Load(), s.sent.Load(), s.queued())
		}
		s.close(t.Context())
	})
}

func TestEventsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := web(func(*http.Request) (int, string, error) { <-release; return 200, "", nil }).rule()
		s := newSender(quiet())
		for range maxEvents + 7 {
			s.line("c").put(testEvent(r, 1))
		}
		if s.queued() != maxEvents || s.dropped.Load() != 7 {
			t.Errorf("%d wait, %d dropped", s.queued(), s.dropped.Load())
		}
		synctest.Wait()
		if len(s.slots) != maxSending {
			t.Errorf("%d requests at once", len(s.slots))
		}
		close(release)
		synctest.Wait()
		if s.queued() != 0 || s.bytes != 0 || s.sent.Load() != maxEvents {
			t.Errorf("%d wait", s.queued())
		}
		s.close(t.Context())
	})
}

func TestTheBytesOfEventsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := web(func(*http.Request) (int, string, error) { <-release; return 200, "", nil }).rule()
		s := newSender(quiet())
		for range 2 * maxEventBytes / maxAnswer {
			e := testEvent(r, 1)
			e.m.add("metadata", strings.Repeat("x", maxAnswer))
			s.line("c").put(e)
		}
		if n := s.queued(); n < maxEventBytes/maxAnswer-2 || n > maxEventBytes/maxAnswer || s.dropped.Load() == 0 {
			t.Errorf("%d wait, %d dropped", n, s.dropped.Load())
		}
		close(release)
		synctest.Wait()
		s.close(t.Context())
	})
}

func TestAtTheEndEventsAreGivenSomeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		r := web(func(q *http.Request) (int, string, error) {
			asked++
			if asked == 1 {
				return 500, "", nil
			}
			return 200, "", nil
		}).rule()
		s := newSender(quiet())
		s.line("c").put(testEvent(r, 1))
		synctest.Wait() // it waits for its second attempt
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s.close(ctx)
		if asked != 2 || time.Since(start) != 0 || s.sent.Load() != 1 {
			t.Errorf("asked %d times, %v", asked, time.Since(start))
		}
		s.line("c").put(testEvent(r, 2))
		if s.dropped.Load() != 1 {
			t.Error("taken after the end")
		}
		s.close(ctx)
	})
	synctest.Test(t, func(t *testing.T) { // one that fails is tried once more only
		asked := 0
		r := web(func(*http.Request) (int, string, error) { asked++; return 500, "", nil }).rule()
		s := newSender(quiet())
		s.line("c").put(testEvent(r, 1))
		synctest.Wait()
		s.close(t.Context())
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
	})
	synctest.Test(t, func(t *testing.T) { // who does not answer does not keep the service
		r := web(func(q *http.Request) (int, string, error) { <-q.Context().Done(); return 0, "", q.Context().Err() }).rule()
		s := newSender(quiet())
		l := s.line("c")
		for n := range 50 {
			l.put(testEvent(r, n))
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		s.close(ctx)
		if d := time.Since(start); d != 4*time.Second {
			t.Error(d)
		}
	})
}

func TestALineOfEventsEndsWithItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		order := map[string][]int{}
		r := web(func(q *http.Request) (int, string, error) {
			mu.Lock()
			defer mu.Unlock()
			id := q.Header.Get("X-Event-Id")
			order[id[:1]] = append(order[id[:1]], bodyNumber(t, q))
			return 200, "", nil
		}).rule()
		s := newSender(quiet())
		for _, call := range []string{"a", "b", "c"} {
			l := s.line(call)
			for n := range 5 {
				e := testEvent(r, n)
				e.id = call
				l.put(e)
			}
		}
		synctest.Wait()
		for call, got := range order {
			if !cmp.Equal(got, []int{0, 1, 2, 3, 4}) {
				t.Errorf("%s: %v", call, got)
			}
		}
		s.close(t.Context())
	})
}
