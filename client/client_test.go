package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script answers requests in their order, and keeps them.
type script struct {
	answers []any // a status with header and body as text, or an error
	seen    []*http.Request
	bodies  []string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	s.seen, s.bodies = append(s.seen, r), append(s.bodies, string(body))
	if len(s.answers) == 0 {
		return nil, errors.New("no more answers")
	}
	next := s.answers[0]
	s.answers = s.answers[1:]
	switch a := next.(type) {
	case error:
		return nil, a
	case *http.Response:
		return a, nil
	}
	panic("no answer")
}

func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	if status >= 400 {
		h.Set("Content-Type", "application/problem+json")
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func scripted(t *testing.T, cfg Config, answers ...any) (*Client, *script) {
	t.Helper()
	s := &script{answers: answers}
	cfg.HTTP = &http.Client{Transport: s}
	if cfg.URL == "" {
		cfg.URL = "https://pbx.example:6666/"
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

var errReset = errors.New("connection reset by peer")

func TestAnOrderIsRepeatedWithItsKeyAfterTheTimeThatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, Config{Key: "sxk_a"},
			answer(429, `{"code":"rate_limited","retry_after_ms":1500}`),
			answer(503, `{"code":"draining"}`, "Retry-After", "2"),
			answer(409, `{"code":"idempotency_in_progress","retry_after_ms":1000}`),
			errReset,
			answer(200, `{"id":"call_1","state":"calling","metadata":{"a":1},"ring_ms":null}`))
		began := time.Now()
		call, err := c.CreateCall(t.Context(), CreateCall{Calling: Address("201"), Called: Telephone("+49301234567")})
		if err != nil || call.ID != "call_1" || call.State != StateCalling || string(call.Metadata) != `{"a":1}` || call.RingMS != nil {
			t.Fatalf("%+v %v", call, err)
		}
		if took := time.Since(began); took < 4500*time.Millisecond || took > 6500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if len(s.seen) != 5 {
			t.Fatalf("%d requests", len(s.seen))
		}
		key := s.seen[0].Header.Get("Idempotency-Key")
		for i, r := range s.seen {
			if r.Method != "POST" || r.URL.String() != "https://pbx.example:6666/v1/calls" || r.Header.Get("Idempotency-Key") != key || key == "" ||
				r.Header.Get("Authorization") != "Bearer sxk_a" || r.Header.Get("Content-Type") != "application/json" ||
				s.bodies[i] != `{"calling":"201","called":{"number":"+49301234567"}}` {
				t.Errorf("%s %s %v %s", r.Method, r.URL, r.Header, s.bodies[i])
			}
		}
		s.answers = []any{answer(200, `{}`)}
		if _, err := c.CreateCall(t.Context(), CreateCall{}, IdempotencyKey("mine")); err != nil ||
			s.seen[5].Header.Get("Idempotency-Key") != "mine" {
			t.Errorf("%v %v", err, s.seen[5].Header)
		}
	})
}

func TestWhatIsNotRepeated(t *testing.T) {
	hook := func(ctx context.Context, c *Client) error {
		_, err := c.CreateWebhook(ctx, CreateWebhook{})
		return err
	}
	call := func(ctx context.Context, c *Client) error { _, err := c.CreateCall(ctx, CreateCall{}); return err }
	me := func(ctx context.Context, c *Client) error { _, err := c.Me(ctx); return err }
	for name, tt := range map[string]struct {
		ask    func(context.Context, *Client) error
		answer func() any
		asked  int
		want   error
	}{
		"an error": {call, func() any { return answer(404, `{"code":"call_not_found"}`) }, 1, CodeCallNotFound},
		"a wrong PIN": {me, func() any { return answer(429, `{"code":"too_many_wrong_pins","retry_after_ms":10}`) }, 1,
			CodeTooManyWrongPINs},
		"a webhook that may be made":  {hook, func() any { return errReset }, 1, errReset},
		"a webhook that was not made": {hook, func() any { return answer(503, `{"code":"store_unavailable"}`) }, 5, CodeStoreUnavailable},
		"a long pause": {call, func() any { return answer(429, `{"code":"rate_limited","retry_after_ms":31000}`) }, 1,
			CodeRateLimited},
		"more than five times":          {me, func() any { return errReset }, 5, errReset},
		"a gateway's word for silence":  {me, func() any { return answer(502, "<html>", "Content-Type", "text/html") }, 5, nil},
		"a gateway's word about a hook": {hook, func() any { return answer(502, "<html>", "Content-Type", "text/html") }, 1, nil},
		"no SIP server":                 {call, func() any { return answer(502, `{"code":"unreachable"}`) }, 1, CodeUnreachable},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, s := scripted(t, Config{})
			for range 10 {
				s.answers = append(s.answers, tt.answer())
			}
			err := tt.ask(t.Context(), c)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || len(s.seen) != tt.asked {
				t.Errorf("%s: %d requests, %v", name, len(s.seen), err)
			}
		})
	}
}

func TestAContextEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, Config{}, answer(503, `{"code":"draining","retry_after_ms":20000}`))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		// A pause that the context does not outlast does not begin: the refusal says more.
		if _, err := c.Me(ctx); !errors.Is(err, CodeDraining) || time.Since(began) != 0 || len(s.seen) != 1 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		s.answers = []any{answer(503, `{"code":"draining","retry_after_ms":20000}`)}
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		if _, err := c.Me(ctx); !errors.Is(err, CodeDraining) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestAProblemTellsWhatIsWrong(t *testing.T) {
	c, _ := scripted(t, Config{}, answer(400, `{"code":"invalid_request","detail":"2 members are wrong; see errors.","dialled":"no","errors":[
		{"pointer":"/called","code":"missing","detail":"it is needed"},{"parameter":"agent","code":"invalid","detail":"no such user"}]}`))
	_, err := c.CreateCall(t.Context(), CreateCall{})
	const want = "sipxrest: 400 invalid_request: 2 members are wrong; see errors. [/called: it is needed] [agent: no such user]"
	if err == nil || err.Error() != want || !IsNotDialled(err) || errors.Is(err, CodeCallNotFound) {
		t.Errorf("%v", err)
	}
	if IsNotDialled(errReset) {
		t.Error("nobody knows whether a lost connection dialled")
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for _, cfg := range []Config{
		{}, {URL: "pbx.example"}, {URL: "ftp://pbx.example"}, {URL: "https://a:secret@pbx.example"}, {URL: "https://pbx.example:port"},
		{URL: "http://pbx.example", User: "201", PIN: "1234"}, {URL: "https://pbx.example", User: "201", Key: "sxk_a"},
	} {
		if c, err := New(cfg); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v %v", cfg, c, err)
		}
	}
}

func TestListsAreReadPageByPage(t *testing.T) {
	c, s := scripted(t, Config{Agent: "201"}, answer(200, `{"data":[{"id":"a"},{"id":"b"}],"has_more":true,"next":"n1"}`),
		answer(200, `{"data":[{"id":"c"}],"has_more":false,"next":null}`))
	var ids []string
	query := CallQuery{State: []State{StateCalling, "active"}, Tags: map[string]string{"deal": "4711"}, Limit: 2,
		CreatedAfter: time.Date(2026, 11, 30, 12, 0, 0, 5e6, time.FixedZone("", 3600))}
	for call, err := range c.Calls(t.Context(), query) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, call.ID)
	}
	const first = "agent=201&created_after=2026-11-30T11%3A00%3A00.005Z&limit=2&state=calling&state=active&tag.deal=4711"
	if !slices.Equal(ids, []string{"a", "b", "c"}) || s.seen[0].URL.RawQuery != first || s.seen[1].URL.Query().Get("cursor") != "n1" {
		t.Errorf("%q %s %s", ids, s.seen[0].URL, s.seen[1].URL)
	}
	s.answers = []any{answer(403, `{"code":"missing_scope"}`)}
	for _, err := range c.Calls(t.Context(), CallQuery{}) {
		if !errors.Is(err, CodeMissingScope) {
			t.Error(err)
		}
	}
}
