package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// told is a server-sent event of the call c.
func told(n int, kind string, more string) string {
	id := fmt.Sprintf("evt_abc123_1_%d", n)
	return fmt.Sprintf("id: %s\nevent: %s\ndata: {\"id\":%q,\"type\":%q,\"final\":%v,\"data\":{\"call_id\":\"c\"%s}}\n\n",
		id, kind, id, kind, kind == "call.ended", more)
}

func stream(parts ...string) *http.Response {
	return answer(200, "retry: 2000\n\n"+strings.Join(parts, ""), "Content-Type", "text/event-stream")
}

// read iterates until the end, and tells each event and each gap.
func read(ctx context.Context, c *Client, call string, q EventQuery) (all string, last error) {
	seq := c.Events(ctx, q)
	if call != "" {
		seq = c.CallEvents(ctx, call, q)
	}
	for e, err := range seq {
		var gap *GapError
		switch {
		case errors.As(err, &gap):
			all += fmt.Sprintf("gap %s %d at %s\n", gap.Reason, gap.Lost, gap.Cursor)
		case err != nil:
			last = err
		default:
			all += strings.TrimSpace(string(e.Type)+" "+e.ID+" "+e.Data.CallID) + "\n"
		}
	}
	return all, last
}

func TestAStreamGoesOnWhereItWasCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := told(3, "leg.ringing", "")
		c, s := scripted(t, Config{},
			stream(told(1, "call.created", ""), told(2, "leg.dialing", ""), cut[:len(cut)-1]), // its last line is missing
			errReset,
			answer(503, `{"code":"draining","retry_after_ms":3000}`),
			answer(502, "", "Content-Type", "text/html"),
			stream(told(2, "leg.dialing", ""), told(3, "leg.ringing", ""), "id: evt_abc123_1_9\n\n"),
			stream("id: evt_abc123_1_9\nevent: stream.closing\n"+
				"data: {\"id\":\"evt_abc123_1_9\",\"data\":{\"retry_ms\":1234}}\n\n", told(1, "never.read", "")),
			stream(told(12, "call.ended", ""), told(13, "never.read", "")),
		)
		all, err := read(t.Context(), c, "c", EventQuery{})
		const want = "call.created evt_abc123_1_1 c\nleg.dialing evt_abc123_1_2 c\nleg.ringing evt_abc123_1_3 c\ncall.ended evt_abc123_1_12 c\n"
		if all != want || err != nil {
			t.Errorf("%s%v", all, err)
		}
		places := ""
		for _, r := range s.seen {
			places += r.Header.Get("Last-Event-ID") + " "
		}
		const asked = " evt_abc123_1_2 evt_abc123_1_2 evt_abc123_1_2 evt_abc123_1_2 evt_abc123_1_9 evt_abc123_1_9 "
		if places != asked || s.seen[0].URL.Path != "/v1/calls/c/events" {
			t.Errorf("%q %s", places, s.seen[0].URL)
		}
	})
}

func TestAStreamTellsOfGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		c, s := scripted(t, Config{},
			answer(200, `{"data":[],"has_more":false,"next":"evt_abc123_1_0"}`),
			stream(told(1, "call.created", "")),
			stream("id: evt_xyz789_1_5\nevent: stream.reset\ndata: {\"id\":\"evt_xyz789_1_5\",\"type\":\"stream.reset\","+
				"\"data\":{\"reason\":\"other_store\",\"oldest\":\"evt_xyz789_1_1\"}}\n\n",
				strings.ReplaceAll(told(6, "call.created", ""), "abc123", "xyz789"),
				strings.ReplaceAll(told(7, "stream.gap", `,"change":{"count":4}`), "abc123", "xyz789")),
			answer(403, `{"code":"missing_scope"}`),
		)
		all, err := read(ctx, c, "", EventQuery{Types: []string{"call.*"}})
		const want = "call.created evt_abc123_1_1 c\ngap other_store 0 at evt_xyz789_1_5\n" +
			"call.created evt_xyz789_1_6 c\ngap store_too_slow 4 at evt_xyz789_1_7\n"
		if all != want || !errors.Is(err, CodeMissingScope) {
			t.Errorf("%s%v", all, err)
		}
		if q := s.seen[1].URL.RawQuery; q != "after=evt_abc123_1_0&type=call.%2A" {
			t.Error(q)
		}
	})
}

func TestASnapshotIsAnEventForEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		part := func(n int, ids ...string) string {
			return fmt.Sprintf("id: evt_abc123_1_5\nevent: stream.snapshot\n"+
				"data: {\"id\":\"evt_abc123_1_5\",\"data\":{\"part\":%d,\"parts\":2,\"calls\":[{\"id\":%q}]}}\n\n",
				n, ids[0])
		}
		c, s := scripted(t, Config{},
			stream(part(1, "a")), // cut between two parts: both come again
			stream(part(1, "a"), part(2, "b"), told(6, "call.created", "")),
			answer(401, `{"code":"unauthenticated"}`))
		all, err := read(t.Context(), c, "", EventQuery{Snapshot: true})
		const a, b = "stream.snapshot evt_abc123_1_5 a\n", "stream.snapshot evt_abc123_1_5 b\n"
		if all != a+a+b+"call.created evt_abc123_1_6 c\n" || !errors.Is(err, CodeUnauthenticated) {
			t.Errorf("%s%v", all, err)
		}
		if s.seen[1].URL.RawQuery != "snapshot=1" || s.seen[2].URL.RawQuery != "" || s.seen[2].Header.Get("Last-Event-ID") != "evt_abc123_1_6" {
			t.Errorf("%s %s", s.seen[1].URL, s.seen[2].URL)
		}
	})
}

// silent is a body on which nothing comes until the request ends.
type silent struct{ ctx context.Context }

func (s silent) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }
func (silent) Close() error               { return nil }

type silentFirst struct{ script }

func (s *silentFirst) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(s.seen) == 0 {
		s.seen = append(s.seen, r)
		resp := stream()
		resp.Body = silent{r.Context()}
		return resp, nil
	}
	return s.script.RoundTrip(r)
}

func TestASilentConnectionIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &silentFirst{script{answers: []any{stream(told(1, "call.ended", ""))}}}
		c, err := New(Config{URL: "https://pbx.example", HTTP: &http.Client{Transport: s}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		all, err := read(t.Context(), c, "c", EventQuery{})
		if took := time.Since(began); all != "call.ended evt_abc123_1_1 c\n" || err != nil || took < silence || took > silence+soon {
			t.Errorf("%s%v after %v", all, err, took)
		}
	})
}

func TestHowAStreamEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		answers []any
		want    string
		err     error
	}{
		"its end was read before": {[]any{stream(told(1, "leg.ended", "")), answer(204, "")}, "leg.ended evt_abc123_1_1 c\n", nil},
		"no such call":            {[]any{answer(404, `{"code":"call_not_found"}`)}, "", CodeCallNotFound},
		"nobody there":            {[]any{errReset, errReset, errReset, errReset, errReset, stream(told(1, "call.ended", ""))}, "", errReset},
		"its reader's time is over": {[]any{stream(told(1, "leg.ended", "")),
			answer(503, `{"code":"draining","retry_after_ms":7200000}`)}, "leg.ended evt_abc123_1_1 c\n", context.DeadlineExceeded},
		"not JSON": {[]any{stream("id: x\nevent: call.ended\ndata: {\n\n")}, "", io.ErrUnexpectedEOF},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), time.Hour)
			defer stop()
			c, _ := scripted(t, Config{}, tt.answers...)
			all, err := read(ctx, c, "c", EventQuery{})
			if name == "not JSON" {
				if err == nil || !errors.As(err, new(unreadable)) {
					t.Error(err)
				}
			} else if all != tt.want || !errors.Is(err, tt.err) || tt.err == nil && err != nil {
				t.Errorf("%s: %s%v", name, all, err)
			}
		})
	}
}

func TestWhoLeavesTheLoopLeavesTheStream(t *testing.T) {
	c, s := scripted(t, Config{}, stream(told(1, "call.created", ""), told(2, "call.ended", "")))
	for range c.CallEvents(t.Context(), "c", EventQuery{}) {
		break
	}
	if len(s.seen) != 1 {
		t.Errorf("%d requests", len(s.seen))
	}
}

func TestBlocks(t *testing.T) {
	read := func(text string) (all string, err error) {
		in := newBlocks(strings.NewReader(text))
		for {
			b, err := in.next()
			if err != nil {
				return all, err
			}
			all += fmt.Sprintf("%s|%s|%s|%v\n", b.id, b.event, b.data, b.retry)
		}
	}
	for text, want := range map[string]string{
		": comment\nid:1\r\nevent: a\r\ndata: x\r\ndata: y\r\n\r\n": "1|a|x\ny|0s\n",
		"\n\nretry: 5\n\nretry: x\nretry: -1\n\nother: 1\n\n":       "|||5ms\n",
		"id: 1\n\nid: 2\ndata: cut off":                             "1|||0s\n",
		"data: " + strings.Repeat("x", 40_000) + "\n\n":             "||" + strings.Repeat("x", 40_000) + "|0s\n",
	} {
		if got, err := read(text); err != io.EOF || !strings.HasPrefix(got, want) {
			t.Errorf("%.60q: %.60q %v", text, got, err)
		}
	}
	if _, err := read("data: " + strings.Repeat("x", blockMost)); !errors.Is(err, errLongBlock) {
		t.Error(err)
	}
	if _, err := read(strings.Repeat("data: x\n", blockMost/8+1)); !errors.Is(err, errLongBlock) {
		t.Error(err)
	}
}
