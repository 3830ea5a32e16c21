package dialout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/clustertest"
	"sipxrest/internal/forward"
	"sipxrest/sipflow"
)

// answersAt has a node answer the others.
func answersAt(all *clustertest.Nodes, name string, st *stage) {
	all.Answer[name] = func(ctx context.Context, op string, data []byte) ([]byte, error) {
		if op != ElsewhereOp {
			return nil, cluster.ErrNobody
		}
		return st.AnswerElsewhere(ctx, data)
	}
}

// withNodes runs a test in fake time with two nodes.
func withNodes(t *testing.T, limits Limits, test func(t *testing.T, all *clustertest.Nodes, a, b *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		all := clustertest.New()
		stages := map[string]*stage{}
		for _, name := range []string{"a", "b"} {
			st := newStage(t, func(c *Config) {
				c.Limits, c.Elsewhere = limits, all.Node(name)
				c.All, c.Users = all.Node(name), all.Node(name)
			})
			st.runs()
			answersAt(all, name, st)
			st.taken = func(string) *line {
				l, err := st.lift(t.Context(), &placement{})
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			stages[name] = st
		}
		test(t, all, stages["a"], stages["b"])
	})
}

func TestACallIsKnownAtAnyNode(t *testing.T) {
	withNodes(t, Limits{}, func(t *testing.T, all *clustertest.Nodes, a, b *stage) {
		id := a.call()
		all.IDs[id] = cluster.Place{Node: "a", ID: id, Live: true}
		a.one().rings()
		if here, there := a.statusOf(id), b.statusOf(id); here != there || !strings.Contains(there, `"status":"ringing"`) {
			t.Errorf("at the other node %s, want %s", there, here)
		}
		for name, w := range map[string]*httptest.ResponseRecorder{"another user": b.ask("GET", "/dialout/"+id, "", asAlice),
			"no call":                 b.ask("GET", "/dialout/x", ""),
			"a name that is too long": b.ask("GET", "/dialout/"+strings.Repeat("x", maxID+1), ""), "another user's DELETE": b.ask("DELETE",
				"/dialout/"+id, "", asAlice)} {
			if w.Code != 404 {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		if w := b.ask("GET", "/dialout/"+id, "", asTrusted); w.Code != 200 {
			t.Errorf("a trusted peer: %d %s", w.Code, w.Body)
		}
		if w := b.ask("DELETE", "/dialout/"+id, ""); w.Code != 200 || !errors.Is(a.one().wasHungUp(), errClient) {
			t.Errorf("DELETE: %d %s, hung up by %v", w.Code, w.Body, a.one().wasHungUp())
		}
		if got := b.statusOf(id); !strings.Contains(got, `"status":"cleared"`) {
			t.Errorf("after the end: %s", got)
		}
	})
}

func TestEventsOfACallAtAnyNode(t *testing.T) {
	withNodes(t, Limits{}, func(t *testing.T, all *clustertest.Nodes, a, b *stage) {
		id := a.call()
		all.IDs[id] = cluster.Place{Node: "a", ID: id, Live: true}
		streams := make(chan *httptest.ResponseRecorder, 2)
		for _, last := range []string{"", "2"} {
			go func() {
				r := httptest.NewRequest("GET", "/dialout/"+id+"/events", nil)
				r.SetBasicAuth("201", "123")
				r.Header.Set("Last-Event-ID", last)
				w := httptest.NewRecorder()
				b.http.ServeHTTP(w, r)
				streams <- w
			}()
		}
		synctest.Wait()
		a.one().rings()
		time.Sleep(time.Minute) // longer than one question lasts
		a.one().connects()
		synctest.Wait()
		a.one().ends(phone, nil)
		total := 0
		for range 2 {
			w := <-streams
			got := data(bytes.NewReader(w.Body.Bytes()))
			total += len(got)
			if last := got[len(got)-1]; !strings.Contains(last, `"cleared"`) || !strings.Contains(w.Body.String(), "id: 4\n") {
				t.Errorf("the stream ends with %s", last)
			}
			if strings.Count(w.Body.String(), ": alive") < 2 {
				t.Errorf("a silent stream shows no sign of life: %s", w.Body)
			}
		}
		if total != 4+2 {
			t.Errorf("%d events, want 4 of one stream and 2 of the other", total)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.subscribers != 0 {
			t.Errorf("%d subscribers are left", b.subscribers)
		}
	})
}

// Streams of one call at other nodes are as few as at its own, and what those wait for
// here is bounded, too: else one user keeps out everybody's questions.
func TestSubscribersOfACallElsewhereAreBounded(t *testing.T) {
	withNodes(t, Limits{}, func(t *testing.T, all *clustertest.Nodes, a, b *stage) {
		id := a.call()
		all.IDs[id] = cluster.Place{Node: "a", ID: id, Live: true}
		for range maxWatchers {
			b.watch(id)
		}
		synctest.Wait()
		select {
		case got := <-b.watch(id):
			if len(got) != 1 || !strings.Contains(got[0], tooManyWatch) {
				t.Errorf("one too many: %q", got)
			}
		default:
			t.Error("one too many is served")
		}
		who, _ := json.Marshal(question{ID: id, Follow: true, After: 9})
		asked, err := (&forward.Request{Method: "POST", Target: Prefix, Who: who}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.AnswerElsewhere(t.Context(), asked); !errors.Is(err, cluster.ErrBusy) {
			t.Errorf("beyond what one call may have wait: %v", err)
		}
		a.one().ends(phone, nil)
		synctest.Wait()
		for _, st := range []*stage{a, b} {
			st.mu.Lock()
			if len(st.watchers) != 0 || st.subscribers != 0 {
				t.Errorf("%d watchers and %d subscribers are left", len(st.watchers), st.subscribers)
			}
			st.mu.Unlock()
		}
	})
}

// A call that is taken over has a status as soon as it can be asked for.
func TestACallThatIsTakenOverHasAStatusAtOnce(t *testing.T) {
	withNodes(t, Limits{}, func(t *testing.T, _ *clustertest.Nodes, _, b *stage) {
		taken := b.taken
		b.taken = func(id string) *line {
			if w := b.ask("GET", "/dialout/"+id, ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"accepted"`) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			return taken(id)
		}
		spec := sipflow.Spec{ID: "x", Kept: &sipflow.Kept{Door: Door}}
		b.Resume(&spec, []byte(`{"agent":"201","number":"1","statuses":[]}`), false)
		spec.Observe(&sipflow.Event{Kind: sipflow.Ended, Err: sipflow.ErrHungUpByUser})
	})
}

// Without its node a call's status is not known, but that of one which is over.
func TestACallWhoseNodeIsGone(t *testing.T) {
	withNodes(t, Limits{}, func(t *testing.T, all *clustertest.Nodes, a, b *stage) {
		id := a.call()
		var spec sipflow.Spec
		a.one().keepWith(&spec)
		all.IDs[id] = cluster.Place{Node: "a", ID: id, Live: true}
		delete(all.Answer, "a")
		for _, ask := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"GET", "/events"}} {
			w := b.ask(ask[0], "/dialout/"+id+ask[1], "")
			if w.Code != 503 || w.Header().Get("Retry-After") != "5" || !strings.Contains(w.Body.String(), noNode) {
				t.Errorf("%s %s: %d %v %s", ask[0], ask[1], w.Code, w.Header(), w.Body)
			}
		}
		a.one().connects()
		synctest.Wait()
		a.one().ends(phone, nil)
		synctest.Wait()
		all.IDs[id] = cluster.Place{Node: "a", ID: id, Record: spec.Kept.Record(nil)}
		if here, there := a.statusOf(id), b.statusOf(id); here != there || !strings.Contains(there, "EndedByRemote") {
			t.Errorf("after its end %s, want %s", there, here)
		}
		if w := b.ask("GET", "/dialout/"+id, "", asAlice); w.Code != 404 {
			t.Errorf("another user: %d", w.Code)
		}
		all.Away = errors.New("no store")
		if w := b.ask("GET", "/dialout/"+id, ""); w.Code != 503 {
			t.Errorf("without the store: %d", w.Code)
		}
	})
}

// A call that is taken over is told of, and hung up, at its new node.
func TestACallGoesOnAtAnotherNode(t *testing.T) {
	withNodes(t, Limits{User: 2}, func(t *testing.T, all *clustertest.Nodes, a, b *stage) {
		id := a.call()
		first := a.one()
		first.rings()
		first.connects()
		synctest.Wait()
		var spec sipflow.Spec
		first.keepWith(&spec)
		taken := sipflow.Spec{ID: id, Kept: &sipflow.Kept{Door: Door}}
		b.Resume(&taken, spec.Kept.Record(nil), true)
		all.IDs[id] = cluster.Place{Node: "b", ID: id, Live: true}
		delete(all.Counts, "a") // it is fenced
		if got := b.statusOf(id); !strings.Contains(got, `"status":"connected"`) {
			t.Errorf("it is %s", got)
		}
		if !taken.LogsEnd || taken.Kept.Record == nil {
			t.Errorf("%+v", taken)
		}
		// It counts, and what nobody knows is left out.
		b.Resume(&sipflow.Spec{ID: "y", Kept: &sipflow.Kept{Door: Door}}, []byte("of another release"), false)
		b.call()
		if w := b.ask("POST", "/dialout", callJSON); w.Code != 429 {
			t.Errorf("a third call: %d", w.Code)
		}
		if w := b.ask("DELETE", "/dialout/"+id, ""); w.Code != 200 || !errors.Is(b.lines()[0].wasHungUp(), errClient) {
			t.Errorf("DELETE: %d, hung up by %v", w.Code, b.lines()[0].wasHungUp())
		}
		taken.Observe(&sipflow.Event{Kind: sipflow.Ended, Err: sipflow.ErrHungUpByUser})
		if got := b.statusOf(id); !strings.Contains(got, `"status":"cleared"`) {
			t.Errorf("after the end: %s", got)
		}
	})
}

func TestLimitsHoldForAllNodes(t *testing.T) {
	withNodes(t, Limits{User: 3, Calls: 5}, func(t *testing.T, all *clustertest.Nodes, a, b *stage) {
		a.call()
		a.call()
		b.call()
		for _, st := range []*stage{a, b} {
			if w := st.ask("POST", "/dialout", callJSON); w.Code != 429 {
				t.Errorf("a fourth call: %d %s", w.Code, w.Body)
			}
			if _, err := st.Enter("201"); !errors.Is(err, sipflow.ErrTooManyCalls) {
				t.Errorf("a place of /v1: %v", err)
			}
		}
		leave, err := b.Enter("202")
		if err != nil {
			t.Fatal(err)
		}
		if w := a.ask("POST", "/dialout", callJSON, asAlice); w.Code != 200 {
			t.Errorf("a fifth call: %d %s", w.Code, w.Body)
		}
		if w := b.ask("POST", "/dialout", callJSON, asAlice); w.Code != 503 {
			t.Errorf("a sixth call: %d %s", w.Code, w.Body)
		}
		leave()
		if w := b.ask("POST", "/dialout", callJSON, asAlice); w.Code != 200 {
			t.Errorf("after one has gone: %d %s", w.Code, w.Body)
		}
	})
}

func FuzzAnswerElsewhere(f *testing.F) {
	f.Add([]byte{2, '{', '}', 0}, []byte(`{"agent":"201","statuses":[{"status":"ringing"}]}`))
	f.Fuzz(func(t *testing.T, asked, record []byte) {
		_, _, _ = keptFor(record, &question{After: -1})
		s := &Service{calls: map[string]*call{}}
		_, _ = s.AnswerElsewhere(t.Context(), asked)
	})
}
