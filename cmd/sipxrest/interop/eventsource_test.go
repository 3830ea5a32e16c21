//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// heartbeats is how long one of a stream may take: they come every 15 s.
const heartbeats = 30 * time.Second

// idsOf are the ids of a call's events, as a page of the API has them.
func idsOf(t *testing.T, s *lab.Service, id string) string {
	t.Helper()
	var page struct {
		Data []lab.Event `json:"data"`
	}
	a := s.V1("GET", "201", "/v1/calls/"+id+"/events?limit=1000", "")
	if err := json.Unmarshal([]byte(a.Body), &page); err != nil || a.Code != 200 || len(page.Data) == 0 {
		t.Fatalf("events of %s: %d %s", id, a.Code, a.Body)
	}
	var ids []string
	for _, e := range page.Data {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, ",")
}

// talk places a call, has the called phone end it, and waits until the API says so.
func talk(t *testing.T, l *lab.Lab, s *lab.Service, calling, called *lab.Phone) (id string) {
	t.Helper()
	id = place(t, s, "")
	inCall(calling, called)
	called.HangUp()
	calling.AwaitOnHook()
	called.AwaitOnHook()
	l.Until("the call's end", func() bool { return callNow(t, s, id).State == "ended" })
	return id
}

// An EventSource gets what there is, once and in order: of all calls, and of one.
// After that one's end it is told to stop, and does.
func TestEventSourceGetsTheEventsOfCalls(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	s := l.Service()
	portal := l.Portal(s, "testdata/events.html")
	tab := portal.LogIn("201")

	tab.Eval(`follow("all", "/v1/events", {})`)
	tab.Eval(`follow("ends", "/v1/events", {types: ["call.ended"]})`)
	tab.Until(`streams.all.opened + streams.ends.opened`, "2")
	id := place(t, s, "")
	inCall(calling, called)
	tab.Eval(fmt.Sprintf(`follow("ticket", "/v1/calls/%s/events", {call_id: %[1]q})`, id))
	tab.Eval(fmt.Sprintf(`follow("pin", "/v1/calls/%s/events")`, id))
	tab.Until(`has("ticket", "call.connected") && has("pin", "call.connected")`, "true")
	called.HangUp()
	calling.AwaitOnHook()
	l.Until("the call's end", func() bool { return callNow(t, s, id).State == "ended" })

	want := idsOf(t, s, id)
	n := strings.Count(want, ",") + 1
	for _, name := range []string{"all", "ticket", "pin"} {
		tab.Until(fmt.Sprintf(`ids(%q, %q)`, name, id), want)
	}
	last := want[strings.LastIndex(want, ",")+1:]
	tab.Until(fmt.Sprintf(`ids("ends", %q)`, id), last)

	// It comes back by itself, and gets 204, which stops it. So does one by a new ticket.
	const closed = "2" // EventSource.CLOSED
	tab.Until(`streams.pin.source.readyState`, closed)
	tab.Eval(fmt.Sprintf(`follow("again", "/v1/calls/%s/events?after=%s", {call_id: %[1]q})`, id, last))
	tab.Until(`streams.again.source.readyState`, closed)
	var opened []string
	for _, o := range portal.Opened("/v1/calls/" + id + "/events") {
		opened = append(opened, strings.TrimSpace(fmt.Sprintf("%d %s", o.Code, o.Last)))
	}
	if got, want := strings.Join(opened, ", "), "200, 200, 204 "+last+", 204"; got != want {
		t.Errorf("the streams of the call were answered %s, want %s", got, want)
	}
	if got := tab.Eval(`[count("all"), count("ends"), count("ticket"), count("pin"), count("again")].join()`); got !=
		fmt.Sprintf("%d,1,%[1]d,%[1]d,0", n) {
		t.Errorf("fired: %s, want %d of each but the ends", got, n)
	}
}

// A heartbeat fires nothing in the page, and moves the cursor of its EventSource over
// what its filters leave out.
func TestEventSourceAndHeartbeats(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	s := l.Service()
	portal := l.Portal(s, "testdata/events.html")
	tab := portal.LogIn("201")
	tab.Eval(`follow("transfers", "/v1/events?type=transfer.*")`)
	tab.Until(`streams.transfers.opened`, "1")
	ids := idsOf(t, s, talk(t, l, s, calling, called))
	last := ids[strings.LastIndex(ids, ",")+1:]

	streams := func() []lab.OpenedStream { return portal.Opened("/v1/events") }
	beat := func() bool {
		of := streams()
		if len(of) != 1 {
			t.Fatalf("the stream was opened %d times", len(of))
		}
		return len(of[0].IDs) > 0 && of[0].IDs[len(of[0].IDs)-1] == last
	}
	for deadline := time.Now().Add(heartbeats); !beat(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no heartbeat at %s: %v", last, streams()[0].IDs)
		}
	}
	if fired := tab.Eval(`count("transfers") + streams.transfers.failed`); fired != "0" {
		t.Errorf("%s events or failures were fired", fired)
	}
	portal.CutAll()
	tab.Until(`streams.transfers.opened`, "2")
	if of := streams(); len(of) != 2 || of[1].Last != last {
		t.Errorf("it came back with %+v, want Last-Event-ID %s", of[1:], last)
	}
	if fired := tab.Eval(`count("transfers")`); fired != "0" {
		t.Errorf("%s events were fired", fired)
	}
}

// An EventSource lives on when the service is killed, or stopped, and started anew: it
// misses nothing and gets nothing twice. Where the log is another one, it is told.
func TestEventSourceOutlivesTheService(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	s := l.Service()
	portal := l.Portal(s, "testdata/events.html")
	tab := portal.LogIn("201")
	tab.Eval(`follow("all", "/v1/events")`)
	tab.Until(`streams.all.opened`, "1")

	var calls []string
	for i, end := range []func(){func() { s.Kill(t) }, func() { s.Stop() }} {
		id := place(t, s, "")
		calls = append(calls, id)
		inCall(calling, called)
		tab.Until(fmt.Sprintf(`ids("all", %q).split(",").length > 8`, id), "true")
		end()
		if i == 0 { // who was killed has hung up nobody
			calling.HangUp()
			called.HangUp()
		}
		calling.AwaitOnHook()
		called.AwaitOnHook()
		s = l.Service()
		// What happens before the browser is back is not missed, either.
		calls = append(calls, talk(t, l, s, calling, called))
		portal.Before(s)
		for _, id := range calls {
			tab.Until(fmt.Sprintf(`ids("all", %q)`, id), idsOf(t, s, id))
		}
	}
	if reset := tab.Eval(`has("all", "stream.reset")`); reset != "false" {
		t.Error("the stream was reset, though its log is the same")
	}

	s.Stop()
	files, err := filepath.Glob(filepath.Join(l.Dir, "data", "events.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	s = l.Service()
	portal.Before(s)
	tab.Until(`streams.all.fired.filter(f => f.type === "stream.reset").map(f => f.data.data.reason).join()`, "other_store")
	id := talk(t, l, s, calling, called)
	tab.Until(fmt.Sprintf(`ids("all", %q)`, id), idsOf(t, s, id))
	if failed := tab.Eval(`streams.all.source.readyState`); failed != "1" {
		t.Errorf("the stream's state is %s in the end, want 1: open", failed)
	}
}
