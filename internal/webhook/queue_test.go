package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	return &http.Response{StatusCode: code, Status: fmt.Sprint(code, " ", http.StatusText(code)), Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)), Request: q}, nil
}

func (w web) client() *Client {
	return &Client{Endpoint: &Endpoint{Method: http.MethodPost, Timeout: 5 * time.Second}, HTTP: &http.Client{Transport: w}}
}

func testEvent(c *Client, n int) *Event {
	m := &Message{}
	m.Add("n", n)
	return &Event{Client: c, Address: "https://hooks.example/", From: "r", ID: fmt.Sprint("id", n), Name: "ended", Message: m}
}

func bodyNumber(t *testing.T, q *http.Request) int {
	var v struct{ N int }
	if err := json.NewDecoder(q.Body).Decode(&v); err != nil {
		t.Error(err)
	}
	return v.N
}

func quiet(string, *Event, error) {}

func TestEventsOfACallArriveInOrderAndAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		start := time.Now()
		fails := 3
		c := web(func(q *http.Request) (int, string, error) {
			got = append(got, fmt.Sprintf("%d %s %v", bodyNumber(t, q), q.Header.Get("X-Event-Id"), time.Since(start)))
			if fails--; fails >= 0 {
				return []int{429, 503, 408}[fails], "", nil
			}
			return 202, "ignored", nil
		}).client()
		s := NewSender(quiet)
		l := s.Line("c1")
		for n := range 3 {
			l.Put(testEvent(c, n))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{"0 id0 0s", "0 id0 1s", "0 id0 3s", "0 id0 7s", "1 id1 7s", "2 id2 7s"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		l.Put(testEvent(c, 3)) // the line begins anew
		synctest.Wait()
		if len(got) != 7 || s.Stats().Queued != 0 || s.sent.Load() != 4 {
			t.Errorf("%d %d %d", len(got), s.Stats().Queued, s.sent.Load())
		}
		s.Close(t.Context())
	})
}

func TestAnEventIsGivenUpInTheEndAndTheNextOneSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		tried := map[int]int{}
		c := web(func(q *http.Request) (int, string, error) {
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
		}).client()
		s := NewSender(quiet)
		l := s.Line("c1")
		for n := range 4 {
			l.Put(testEvent(c, n))
		}
		other := s.Line("c2")
		other.Put(testEvent(c, 9))
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
		if s.failed.Load() != 3 || s.sent.Load() != 2 || s.Stats().Queued != 0 {
			t.Errorf("%d %d %d", s.failed.Load(), s.sent.Load(), s.Stats().Queued)
		}
		s.Close(t.Context())
	})
}

func TestEventsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := web(func(*http.Request) (int, string, error) { <-release; return 200, "", nil }).client()
		s := NewSender(quiet)
		for range maxEvents + 7 {
			s.Line("c").Put(testEvent(c, 1))
		}
		if s.Stats().Queued != maxEvents || s.dropped.Load() != 7 {
			t.Errorf("%d wait, %d dropped", s.Stats().Queued, s.dropped.Load())
		}
		synctest.Wait()
		if len(s.slots) != maxSending {
			t.Errorf("%d requests at once", len(s.slots))
		}
		close(release)
		synctest.Wait()
		if s.Stats().Queued != 0 || s.bytes != 0 || s.sent.Load() != maxEvents {
			t.Errorf("%d wait", s.Stats().Queued)
		}
		s.Close(t.Context())
	})
}

func TestTheBytesOfEventsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := web(func(*http.Request) (int, string, error) { <-release; return 200, "", nil }).client()
		s := NewSender(quiet)
		for range 2 * maxEventBytes / MaxAnswer {
			e := testEvent(c, 1)
			e.Message.Add("metadata", strings.Repeat("x", MaxAnswer))
			s.Line("c").Put(e)
		}
		if n := s.Stats().Queued; n < maxEventBytes/MaxAnswer-2 || n > maxEventBytes/MaxAnswer || s.dropped.Load() == 0 {
			t.Errorf("%d wait, %d dropped", n, s.dropped.Load())
		}
		close(release)
		synctest.Wait()
		s.Close(t.Context())
	})
}

func TestAtTheEndEventsAreGivenSomeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := web(func(q *http.Request) (int, string, error) {
			asked++
			if asked == 1 {
				return 500, "", nil
			}
			return 200, "", nil
		}).client()
		s := NewSender(quiet)
		s.Line("c").Put(testEvent(c, 1))
		synctest.Wait() // it waits for its second attempt
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s.Close(ctx)
		if asked != 2 || time.Since(start) != 0 || s.sent.Load() != 1 {
			t.Errorf("asked %d times, %v", asked, time.Since(start))
		}
		s.Line("c").Put(testEvent(c, 2))
		if s.dropped.Load() != 1 {
			t.Error("taken after the end")
		}
		s.Close(ctx)
	})
	synctest.Test(t, func(t *testing.T) { // one that fails is tried once more only
		asked := 0
		c := web(func(*http.Request) (int, string, error) { asked++; return 500, "", nil }).client()
		s := NewSender(quiet)
		s.Line("c").Put(testEvent(c, 1))
		synctest.Wait()
		s.Close(t.Context())
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
	})
	synctest.Test(t, func(t *testing.T) { // an endpoint that does not respond does not keep the service
		c := web(func(q *http.Request) (int, string, error) { <-q.Context().Done(); return 0, "", q.Context().Err() }).client()
		s := NewSender(quiet)
		l := s.Line("c")
		for n := range 50 {
			l.Put(testEvent(c, n))
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		s.Close(ctx)
		if d := time.Since(start); d != 4*time.Second {
			t.Error(d)
		}
	})
}

func TestALineOfEventsEndsWithItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		order := map[string][]int{}
		c := web(func(q *http.Request) (int, string, error) {
			mu.Lock()
			defer mu.Unlock()
			id := q.Header.Get("X-Event-Id")
			order[id[:1]] = append(order[id[:1]], bodyNumber(t, q))
			return 200, "", nil
		}).client()
		s := NewSender(quiet)
		for _, call := range []string{"a", "b", "c"} {
			l := s.Line(call)
			for n := range 5 {
				e := testEvent(c, n)
				e.ID = call
				l.Put(e)
			}
		}
		synctest.Wait()
		for call, got := range order {
			if !cmp.Equal(got, []int{0, 1, 2, 3, 4}) {
				t.Errorf("%s: %v", call, got)
			}
		}
		s.Close(t.Context())
	})
}
