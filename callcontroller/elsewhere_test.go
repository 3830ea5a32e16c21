package callcontroller

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/clustertest"
	"sipxrest/order"
	"sipxrest/sipflow"
)

// cluster2 are the benches of two nodes a and b.
func cluster2(t *testing.T, cfg Config) (all *clustertest.Nodes, a, b *bench) {
	all = clustertest.New()
	for _, name := range []string{"a", "b"} {
		cfg.Elsewhere = all.Node(name)
		c := newBench(t, cfg, nil)
		all.Answer[name] = func(ctx context.Context, op string, data []byte) ([]byte, error) {
			if op != ElsewhereOp {
				return nil, errors.New("asked for " + op)
			}
			return c.AnswerElsewhere(ctx, data)
		}
		if name == "a" {
			a = c
		} else {
			b = c
		}
	}
	return all, a, b
}

// testKey is the key of 201's call to 202.
const testKey = "201@sipx.test:201@sipx.test:202@sipx.test"

func TestGETAtAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, a, b := cluster2(t, Config{Calls: &told{}})
		if w := b.do("GET", "/callcontroller/201/202"); w.Code != 200 || w.Body.String() != emptyLines {
			t.Errorf("without a call: %d %s", w.Code, w.Body)
		}
		a.do("POST", "/callcontroller/201/202")
		spec := a.last(t)
		progress(spec, "INVITE", "SIP/2.0 180 Ringing")
		all.Keys[testKey] = cluster.Place{Node: "a", ID: spec.ID, Live: true}
		here, there := a.do("GET", "/callcontroller/201/202"), b.do("GET", "/callcontroller/201/202")
		if there.Code != 200 || there.Body.String() != here.Body.String() || len(texts(there.Body.String())) != 1 {
			t.Errorf("at the other node: %d %s", there.Code, there.Body)
		}
		for _, name := range []string{"Etag", "Sipxrest-Call-Id", "Cache-Control", "Content-Type", "Content-Length"} {
			if here.Header().Get(name) == "" || there.Header().Get(name) != here.Header().Get(name) {
				t.Errorf("%s is %q, and was %q", name, there.Header().Get(name), here.Header().Get(name))
			}
		}
		if w := b.do("GET", "/callcontroller/201/202", "If-None-Match", here.Header().Get("Etag")); w.Code != http.StatusNotModified ||
			w.Body.Len() != 0 {
			t.Errorf("what the client has: %d %s", w.Code, w.Body)
		}
		if w := b.do("HEAD", "/callcontroller/201/202"); w.Body.Len() != 0 ||
			w.Header().Get("Content-Length") != here.Header().Get("Content-Length") {
			t.Errorf("HEAD: %v", w.Header())
		}
		if len(all.Asked) != 3 {
			t.Errorf("asked: %v", all.Asked)
		}
		end(spec)
		all.Keys[testKey] = cluster.Place{Node: "a", ID: spec.ID, Record: spec.Kept.Record(nil)}
		delete(all.Answer, "a")
		if w := b.do("GET", "/callcontroller/201/202"); w.Body.String() != a.do("GET", "/callcontroller/201/202").Body.String() ||
			w.Header().Get("Etag") != here.Header().Get("Etag") || w.Header().Get("Age") != "" {
			t.Errorf("after the end: %v %s", w.Header(), w.Body)
		}
	})
}

// A record of a former call does not hide one of the same key at another node.
func TestAFormerCallHidesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, a, b := cluster2(t, Config{})
		b.do("POST", "/callcontroller/201/202")
		progress(b.last(t), "INVITE", "SIP/2.0 486 Busy Here")
		end(b.last(t))
		a.do("POST", "/callcontroller/201/202")
		progress(a.last(t), "INVITE", "SIP/2.0 200 OK")
		all.Keys[testKey] = cluster.Place{Node: "a", ID: "call_2", Live: true}
		if got := texts(b.do("GET", "/callcontroller/201/202").Body.String()); len(got) != 1 || got[0] != "SIP/2.0 200 OK" {
			t.Errorf("it shows %q", got)
		}
		all.Away = errors.New("no store")
		if got := texts(b.do("GET", "/callcontroller/201/202").Body.String()); len(got) != 1 || got[0] != "SIP/2.0 486 Busy Here" {
			t.Errorf("without the store it shows %q", got)
		}
		if w := b.do("GET", "/callcontroller/201/203"); w.Code != 503 || w.Header().Get("Retry-After") != "5" {
			t.Errorf("without the store and a record: %d %v", w.Code, w.Header())
		}
	})
}

func TestDELETEAtAnyNode(t *testing.T) {
	all, a, b := cluster2(t, Config{})
	if w := b.do("DELETE", "/callcontroller/201/202"); w.Code != 404 {
		t.Errorf("without a call: %d", w.Code)
	}
	all.Keys[testKey] = cluster.Place{Node: "a", ID: "call_1", Live: true}
	if w := b.do("DELETE", "/callcontroller/201/202"); w.Code != 404 || w.Body.String() != xmlError("404", "Call not found.") {
		t.Errorf("it has just ended: %d %s", w.Code, w.Body)
	}
	a.refuse = nil
	if w := b.do("DELETE", "/callcontroller/201/202"); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if want := "hang up " + testKey; len(a.orders) != 2 || a.orders[1] != want {
		t.Errorf("node a did %q", a.orders)
	}
	delete(all.Answer, "a")
	w := b.do("DELETE", "/callcontroller/201/202")
	if w.Code != 503 || w.Header().Get("Retry-After") != "5" || w.Body.String() != xmlError("503", noNode.text) {
		t.Errorf("its node is gone: %d %v %s", w.Code, w.Header(), w.Body)
	}
	all.Away = errors.New("no store")
	if w := b.do("DELETE", "/callcontroller/201/202"); w.Code != 503 || w.Body.String() != xmlError("503", away.text) {
		t.Errorf("without the store: %d %s", w.Code, w.Body)
	}
}

func TestTransferAtAnyNode(t *testing.T) {
	all, a, b := cluster2(t, Config{})
	const transfer = "/callcontroller/201/202?action=transfer&target=203"
	for _, c := range []struct {
		err    error
		status int
		text   string
	}{
		{nil, 200, ""},
		{sipflow.ErrNoCall, 406, "Call not found."},
		{sipflow.ErrTransferring, 406, "Transfer in progress."},
		{sipflow.ErrUnreachable, 502, "The SIP server of the target cannot be reached"},
		{&sipflow.LimitError{Limit: sipflow.LimitCallRatePerAgent, Most: 3, Wait: 7 * time.Second}, 429, "limits.call-rate-per-user: 3"},
	} {
		all.Keys[testKey] = cluster.Place{Node: "a", ID: "call_1", Live: true}
		a.refuse, a.orders = c.err, nil
		w := b.do("POST", transfer)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
		if c.status == 429 && w.Header().Get("Retry-After") != "7" {
			t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
		}
		if want := "transfer " + testKey + " to 201@sipx.test:203@sipx.test:202@sipx.test by 203@sipx.test"; len(a.orders) != 1 ||
			a.orders[0] != want {
			t.Errorf("node a did %q", a.orders)
		}
	}
	delete(all.Answer, "a")
	if w := b.do("POST", transfer); w.Code != 503 || w.Header().Get("Retry-After") != "5" {
		t.Errorf("its node is gone: %d %v", w.Code, w.Header())
	}
}

// While the node that has a call does not answer GETs show what it has kept last.
func TestGETWhileTheNodeIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, a, b := cluster2(t, Config{})
		a.do("POST", "/callcontroller/201/202?sipMethod=invite")
		spec := a.last(t)
		spec.Observe(&sipflow.Event{Kind: sipflow.DialogChanged, At: time.Now(), Dialog: &sipflow.Dialog{
			Leg: 1 << 60, ID: "x:y:z", Local: "sip:201@sipx.test", Remote: "sip:202@sipx.test", State: sipflow.Confirmed}})
		want := a.do("GET", "/callcontroller/201/202")
		all.Keys[testKey] = cluster.Place{Node: "a", ID: "call_1", Live: true}
		delete(all.Answer, "a")
		if w := b.do("GET", "/callcontroller/201/202"); w.Code != 503 || w.Header().Get("Retry-After") != "5" {
			t.Errorf("without a state: %d %v", w.Code, w.Header())
		}
		all.States["call_1"] = []byte("of a later release")
		if w := b.do("GET", "/callcontroller/201/202"); w.Code != 503 || w.Header().Get("Age") != "" {
			t.Errorf("with one that cannot be read: %d %v %s", w.Code, w.Header(), w.Body)
		}
		all.At = time.Now()
		time.Sleep(3 * time.Second)
		kept := spec.Kept.Record(nil)
		rec, boot, ok := b.readKept(kept)
		if !ok || boot != a.boot || rec.runs() != true {
			t.Fatalf("the record cannot be read: %v %q", ok, boot)
		}
		all.Keys[testKey] = cluster.Place{Node: "a", ID: "call_1", Record: kept}
		if w := b.do("GET", "/callcontroller/201/202"); w.Body.String() != want.Body.String() ||
			w.Header().Get("Etag") != want.Header().Get("Etag") {
			t.Errorf("%v %s, want %s", w.Header(), w.Body, want.Body)
		}
	})
}

// A call that is taken over goes on in its record, with its lines and dialogs.
func TestARecordGoesOnAtAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := cluster2(t, Config{})
		a.do("POST", "/callcontroller/201/202?timeout=40&resultCacheTime=90")
		spec := a.last(t)
		for range 60 { // more than its beginning has room for
			progress(spec, "NOTIFY", "SIP/2.0 180 Ringing")
		}
		taken := sipflow.Spec{Key: spec.Key, Method: sipflow.MethodRefer, ID: spec.ID}
		b.Resume(&taken, spec.Kept.Record(nil))
		progress(taken, "NOTIFY", "SIP/2.0 200 OK")
		got := texts(b.do("GET", "/callcontroller/201/202").Body.String())
		if len(got) != 61 || got[0] != "SIP/2.0 180 Ringing" || got[60] != "SIP/2.0 200 OK" {
			t.Errorf("it shows %d lines: %q", len(got), got)
		}
		if b.Stats().Records != 1 || b.Stats().Bytes == 0 {
			t.Errorf("%+v", b.Stats())
		}
		end(taken)
		time.Sleep(89 * time.Second)
		if b.records.find(spec.Key) == nil {
			t.Error("the record is kept for less than its client wants")
		}
		time.Sleep(2 * time.Second)
		b.records.sweep()
		if s := b.Stats(); s.Records != 0 || s.Bytes != 0 {
			t.Errorf("%+v is left", s)
		}
		// One of another release begins anew.
		b.Resume(&taken, []byte{keptVersion + 1})
		progress(taken, "INVITE", "SIP/2.0 200 OK")
		if got := texts(b.do("GET", "/callcontroller/201/202").Body.String()); len(got) != 1 {
			t.Errorf("it shows %q", got)
		}
	})
}

// Where a call is at another node its failed attempt leaves nothing here.
func TestAForgottenCallLeavesNoRecord(t *testing.T) {
	_, a, _ := cluster2(t, Config{})
	for _, err := range []error{sipflow.ErrForgotten, &sipflow.HeldError{Node: "b", ID: "call_1"}} {
		a.do("POST", "/callcontroller/201/202")
		a.last(t).Observe(&sipflow.Event{Kind: sipflow.Ended, Key: a.last(t).Key, At: time.Now(), Err: err})
		if a.records.find(a.last(t).Key) != nil {
			t.Errorf("after %v its record is there", err)
		}
	}
}

// POST where another node has the key: by the rules of one node.
func TestPOSTOfAHeldKey(t *testing.T) {
	held := &sipflow.HeldError{Node: "a", ID: "call_1"}
	for _, c := range []struct {
		name   string
		query  string
		answer string // of the node that has the key; "gone" for none
		again  error  // of the second attempt
		status int
	}{
		{name: "it gives way", answer: `{}`, status: 200},
		{name: "both by INVITE", query: "?sipMethod=invite", answer: `{"why":"in_progress","id":"call_1"}`, status: 406},
		{name: "a double click", answer: `{"why":"referred"}`, status: 200},
		{name: "its phone does not answer", answer: `{"why":"hanging_up"}`, status: 503},
		{name: "a later release", answer: `{"why":"else"}`, status: 503},
		{name: "no answer at all", answer: `x`, status: 503},
		{name: "its node is gone", answer: "gone", status: 503},
		{name: "a third call is faster", answer: `{}`, again: held, status: 503},
		{name: "the store goes away", answer: `{}`, again: sipflow.ErrNotOwner, status: 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, _, b := cluster2(t, Config{})
			delete(all.Answer, "a")
			if c.answer != "gone" {
				all.Answer["a"] = func(_ context.Context, op string, data []byte) ([]byte, error) {
					if op != order.GiveWayOp || !strings.Contains(string(data), "201@sipx.test") {
						return nil, errors.New("asked for " + op)
					}
					b.mu.Lock()
					defer b.mu.Unlock()
					b.fail = c.again
					return []byte(c.answer), nil
				}
			}
			b.fail = held
			w := b.do("POST", "/callcontroller/201/202"+c.query)
			if w.Code != c.status || c.status == 503 && w.Header().Get("Retry-After") != "5" {
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
			if c.name == "a double click" && w.Header().Get("Sipxrest-Call-Id") != "call_1" {
				t.Errorf("the call is %q", w.Header().Get("Sipxrest-Call-Id"))
			}
		})
	}
}

func FuzzReadKept(f *testing.F) {
	b := newBench(f, Config{}, nil)
	b.do("POST", "/callcontroller/201/202")
	progress(b.last(f), "INVITE", "SIP/2.0 180 Ringing")
	rec := b.records.find(b.last(f).Key)
	f.Add(rec.appendKept(nil))
	f.Add([]byte{keptVersion, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, _, ok := b.readKept(data); ok {
			r.appendLines(nil)
			r.appendDialogs(nil)
			again, _, ok := b.readKept(r.appendKept(nil))
			if !ok || again.id != r.id {
				t.Error("what was read cannot be read again")
			}
		}
		_, _ = b.AnswerElsewhere(t.Context(), data)
	})
}
