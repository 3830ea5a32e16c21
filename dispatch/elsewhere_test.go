package dispatch

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
)

// A node that has taken an inbound call over tells its webhook of the end, with what the
// former node knew of it, and once. The former one is silent.
func TestTheEndIsToldByTheNodeThatHasTheCall(t *testing.T) {
	const text = `{id: r, url: "https://hooks.test/", events: [answered, ended], sip_headers: [X-Kind]}`
	rules, err := ParseRules([]byte(text), "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := &call{rule: &rule{Rule: rules[0]}, endID: "END", Call: Call{ID: "call_1", SIPCallID: "s1", Trunk: "t1", FromUser: "201",
		FromHost: "a",
		ToUser:   "5000", ToHost: "b", At: time.Now().Add(-time.Minute), Header: func(name string) []string { return []string{"urgent"} }},
		decision: &Decision{Action: Answer, Room: "support", PIN: "4711", Metadata: "m"}, answered: time.Now().Add(-30 * time.Second)}
	record := c.record(nil)
	if strings.Contains(string(record), "4711") {
		t.Errorf("a PIN is kept: %s", record)
	}
	for name, end := range map[string]error{"": nil, "forgotten": sipflow.ErrForgotten} {
		synctest.Test(t, func(t *testing.T) {
			d, err := New(Config{Rules: rules, RoomTarget: "sip:{room}@10.0.0.3", Kept: true}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			var said []map[string]any
			d.now.Load().table.rules[0].client.HTTP = &http.Client{Transport: web(func(q *http.Request) (int, string, error) {
				m := map[string]any{}
				if err := json.NewDecoder(q.Body).Decode(&m); err != nil {
					t.Error(err)
				}
				describes(t, m)
				ids, said = append(ids, q.Header.Get("X-Event-Id")), append(said, m)
				return 200, "", nil
			})}
			spec := &sipflow.Spec{ID: "call_1", Kept: &sipflow.Kept{Door: Door}}
			d.Resume(spec, record, true)
			if d.Stats().Running != 1 || !strings.Contains(string(spec.Kept.Record(nil)), `"end":"END"`) {
				t.Errorf("it runs not, or is not kept on: %+v", d.Stats())
			}
			spec.Observe(&sipflow.Event{Kind: sipflow.Joined, At: time.Now(), Again: true})
			spec.Observe(&sipflow.Event{Kind: sipflow.Ended, At: time.Now(), By: sipflow.CallingParty, Code: 200, Err: end, End: &sipflow.End{}})
			time.Sleep(time.Minute)
			synctest.Wait()
			want := 1
			if end != nil {
				want = 0
			}
			if len(said) != want {
				t.Fatalf("%s: %d events: %v", name, len(said), said)
			}
			if want == 1 {
				m := said[0]
				if m["event"] != "ended" || m["call_id"] != "call_1" || m["outcome"] != "connected" || m["ended_by"] != "caller" ||
					m["metadata"] != "m" ||
					!strings.Contains(ids[0], "END") || m["headers"].(map[string]any)["X-Kind"] != "urgent" || m["answered_at"] == nil {
					t.Errorf("%v %v", ids, m)
				}
			}
			if d.Stats().Running != 0 {
				t.Error("it is counted as running")
			}
			d.Resume(&sipflow.Spec{Kept: &sipflow.Kept{}}, []byte("of another release"), true)
			d.Resume(&sipflow.Spec{Kept: &sipflow.Kept{}}, []byte(`{"rule":"gone"}`), true)
			d.Close(t.Context())
		})
	}
}

func TestWhatIsKeptOfACallIsBounded(t *testing.T) {
	long := strings.Repeat("x", maxKept)
	c := &call{rule: &rule{Rule: Rule{ID: "r"}}, decision: &Decision{Action: Transfer, To: "sip:203@b", Metadata: long}}
	record := c.record(nil)
	var k kept
	if err := json.Unmarshal(record, &k); err != nil || len(record) > maxKept || k.Rule != "r" || k.Decision.To != "sip:203@b" ||
		k.Decision.Metadata != "" {
		t.Errorf("%v: %d bytes: %+v", err, len(record), k)
	}
}
