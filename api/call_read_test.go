package api

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/event"
	"sipxrest/sipflow/siptest"
)

// listOf are the ids in an answer, and its cursor.
func listOf(t *testing.T, w *httptest.ResponseRecorder) (ids []string, next string) {
	t.Helper()
	var l struct {
		Data    []struct{ ID string }
		HasMore bool `json:"has_more"`
		Next    *string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil || l.HasMore != (l.Next != nil) {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	for _, d := range l.Data {
		ids = append(ids, d.ID)
	}
	if l.Next != nil {
		next = *l.Next
	}
	return ids, next
}

func TestListsOfCalls(t *testing.T) {
	withCalls(t, setup{phones: map[string]siptest.Script{"202": {Status: 486}}}, func(t *testing.T, cr *callRig) {
		start := time.Now().UTC()
		for i := range 7 {
			called := []string{"202", "203"}[i%2]
			cr.call(fmt.Sprintf(`{"calling":"201","called":%q,"id":"list-of-calls-%06d","tags":{"n":"%d"},"on_conflict":"replace"}`, called, i, i/2))
			after(10 * time.Second)
		}
		other := shownCall(t, cr.ask("POST", "/v1/calls", asUser("203"), body(`{"calling":"203","called":"202","id":"list-of-another-user"}`))).ID
		after(10 * time.Second)
		middle := start.Add(35 * time.Second).Format(time.RFC3339)
		for query, want := range map[string]string{
			"":                              "6 5 4 3 2 1 0",
			"order=asc":                     "0 1 2 3 4 5 6",
			"state=active":                  "5",
			"state=ended":                   "6 4 3 2 1 0",
			"state=connected&state=ended":   "6 5 4 3 2 1 0",
			"reason=busy":                   "6 4 2 0",
			"outcome=busy&tag.n=1":          "2",
			"outcome=cancelled":             "3 1",
			"reason=replaced":               "3 1",
			"user=203":                      "5 3 1",
			"agent=201":                     "6 5 4 3 2 1 0",
			"flow=refer":                    "",
			"kind=click_to_call&source=api": "6 5 4 3 2 1 0",
			"kind=inbound":                  "",
			"created_after=" + middle:       "6 5 4",
			"created_before=" + middle:      "3 2 1 0",
			"updated_after=" + middle:       "6 5 4 3",
		} {
			ids, _ := listOf(t, cr.do(200, "GET", "/v1/calls?"+query, ""))
			var got []string
			for _, id := range ids {
				got = append(got, id[len(id)-1:])
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: %v, want %s", query, ids, want)
			}
		}
		for query, code := range map[string]Code{"stat=active": UnknownParameter, "state=up": InvalidRequest, "limit=0": InvalidRequest,
			"limit=101":  InvalidRequest,
			"cursor=xyz": InvalidCursor, "created_after=yesterday": InvalidRequest, "order=up": InvalidRequest, "agent=203": WrongAgent} {
			cr.refuses(code, "GET", "/v1/calls?"+query, "")
		}
		// Pages stay the same while calls are added.
		var all []string
		next := ""
		for page := 0; ; page++ {
			w := cr.do(200, "GET", "/v1/calls?limit=3"+next, "")
			ids, cursor := listOf(t, w)
			all = append(all, ids...)
			if page == 0 {
				cr.call(`{"calling":"201","called":"202","id":"list-of-calls-added"}`)
			}
			if cursor == "" {
				break
			}
			if !strings.Contains(w.Header().Get("Link"), cursor) {
				t.Errorf("Link is %q", w.Header().Get("Link"))
			}
			next = "&cursor=" + cursor
		}
		if len(all) != 7 || slices.Contains(all, "list-of-calls-added") || slices.Contains(all, other) {
			t.Errorf("the pages have %v", all)
		}
		w := cr.do(200, "GET", "/v1/calls?limit=3", "")
		_, cursor := listOf(t, w)
		cr.refuses(InvalidCursor, "GET", "/v1/calls?limit=3&state=ended&cursor="+cursor, "")
	})
}

func TestACallIsPatched(t *testing.T) {
	withCalls(t, setup{}, func(t *testing.T, cr *callRig) {
		id := cr.call(`{"calling":"201","called":"202","tags":{"a":"1","b":"2"},"metadata":{"x":{"y":1,"z":12345678901234567890}}}`)
		cr.until(id, event.Connected)
		patch := func(text string) *event.Call {
			t.Helper()
			return shownCall(t, cr.do(200, "PATCH", "/v1/calls/"+id, text, header("Content-Type", mergePatch)))
		}
		c := patch(`{"tags":{"a":null,"c":"3"},"metadata":{"x":{"y":null},"new":[1]}}`)
		if inJSON(t, c.Tags) != `{"b":"2","c":"3"}` || string(c.Metadata) != `{"new":[1],"x":{"z":12345678901234567890}}` {
			t.Errorf("%s %s", inJSON(t, c.Tags), c.Metadata)
		}
		if same := patch(`{"tags":{"c":"3"}}`); same.Version != c.Version {
			t.Errorf("what changes nothing made version %d of %d", same.Version, c.Version)
		}
		cr.refuses(ChangedMeanwhile, "PATCH", "/v1/calls/"+id, `{"tags":{"c":"4"}}`, header("If-Match", `"1"`))
		cr.do(200, "PATCH", "/v1/calls/"+id, `{"tags":{"c":"4"}}`, header("If-Match", etag(c.Version)))
		for _, text := range []string{`{"state":"ended"}`, `{"tags":[]}`, `{"tags":{"a":1}}`, `{"metadata":"` + strings.Repeat("x",
			maxMetadata) + `"}`} {
			cr.refuses(InvalidRequest, "PATCH", "/v1/calls/"+id, text)
		}
		if c := patch(`{"tags":null,"metadata":null}`); len(c.Tags) != 0 || string(c.Metadata) != "{}" {
			t.Errorf("all taken away: %s %s", inJSON(t, c.Tags), c.Metadata)
		}
		// Patches at once do not undo each other.
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				cr.ask("PATCH", "/v1/calls/"+id, as201, body(fmt.Sprintf(`{"tags":{"k%d":"v"}}`, i)))
			})
		}
		all.Wait()
		if c := cr.get(id); len(c.Tags) != 10 {
			t.Errorf("after ten patches at once: %s", inJSON(t, c.Tags))
		}
		if list := cr.events(id); strings.Count(list, "call.updated") != 13 {
			t.Errorf("its events are %s", list)
		}
		cr.do(200, "DELETE", "/v1/calls/"+id, "")
		if p := cr.refuses(CallEnded, "PATCH", "/v1/calls/"+id, `{"tags":{"a":"b"}}`); p.End == nil || p.End.Reason != "client_hung_up" {
			t.Errorf("%+v", p)
		}
	})
}
