package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/clustertest"
	"sipxrest/event"
	"sipxrest/order"
	"sipxrest/sipflow"
)

// withNodes runs a test in fake time with two nodes, whose keys are the same.
func withNodes(t *testing.T, s setup, test func(t *testing.T, all *clustertest.Nodes, a, b *callRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		all := clustertest.New()
		var rigs [2]*callRig
		for i, name := range []string{"a", "b"} {
			its := s
			its.api = func(c *Config) {
				c.Elsewhere = all.Node(name)
				if s.api != nil {
					s.api(c)
				}
				if i > 0 {
					c.Keys = rigs[0].cfg.Keys
				}
			}
			cr := newCallRig(t, its)
			defer cr.stop()
			giveWay := order.AnswerGiveWay(cr.API.sw, func(context.Context) error { return nil })
			all.Answer[name] = func(ctx context.Context, op string, data []byte) ([]byte, error) {
				switch op {
				case ElsewhereOp:
					return cr.AnswerElsewhere(ctx, data)
				case TicketOp:
					return cr.AnswerTicket(ctx, data)
				case order.GiveWayOp:
					return giveWay(ctx, data)
				}
				return nil, errors.New("asked for " + op)
			}
			rigs[i] = cr
		}
		rigs[1].keys = rigs[0].keys
		test(t, all, rigs[0], rigs[1])
	})
}

// at notes that a call is at a node.
func at(n *clustertest.Nodes, name string, c *event.Call) {
	p := cluster.Place{Node: name, ID: c.ID, Live: true}
	n.IDs[c.ID] = p
	n.Keys[sipflow.Key{Agent: c.Agent, Calling: c.Legs[0].Address, Called: c.Legs[1].Address}.String()] = p
}

func TestACallIsActedOnAtAnyNode(t *testing.T) {
	withNodes(t, setup{}, func(t *testing.T, all *clustertest.Nodes, a, b *callRig) {
		id := a.call(usual)
		at(all, "a", a.until(id, event.Connected))
		path := "/v1/calls/" + id
		here, there := a.do(200, "GET", path, ""), b.do(200, "GET", path, "")
		if here.Body.String() != there.Body.String() || there.Header().Get("ETag") != here.Header().Get("ETag") {
			t.Errorf("GET: %v %s, want %s", there.Header(), there.Body, here.Body)
		}
		if w := b.do(304, "GET", path, "", header("If-None-Match", here.Header().Get("ETag"))); w.Body.Len() != 0 {
			t.Errorf("304 with %s", w.Body)
		}
		w := b.do(200, "POST", path+"/actions/mute", `{"leg":"calling"}`, header("X-Request-Id", "mine"), header("Idempotency-Key", "m1"))
		if w.Header().Get("X-Request-Id") != "mine" || !strings.Contains(w.Body.String(), `"muted":true`) || !a.get(id).Legs[0].Muted {
			t.Errorf("mute: %v %s", w.Header(), w.Body)
		}
		if w := a.do(200, "POST", path+"/actions/mute", `{"leg":"calling"}`, header("Idempotency-Key",
			"m1")); w.Header().Get("Idempotency-Replayed") != "true" {
			t.Error("the same key at the other node does it again")
		}
		b.refuses(InvalidRequest, "POST", path+"/actions/dtmf", `{}`)
		b.refuses(UnsupportedMediaType, "POST", path+"/actions/dtmf", `{}`, header("Content-Type", "text/plain"))
		b.refuses(BodyTooLarge, "POST", path+"/actions/dtmf", `{"digits":"`+strings.Repeat("1", maxBody)+`"}`)
		b.refuses(ChangedMeanwhile, "PATCH", path, `{"tags":{"a":"b"}}`, header("If-Match", `"1"`))
		b.do(200, "PATCH", path, `{"tags":{"a":"b"}}`, header("Content-Type", "application/merge-patch+json"))
		if a.get(id).Tags["a"] != "b" {
			t.Errorf("the patch is not there: %v", a.get(id).Tags)
		}
		// It is there for those who may see it, and for no others.
		b.do(404, "DELETE", path, "", asUser("203"))
		b.do(404, "GET", path, "", asUser("203"))
		b.refuses(NotYourLeg, "POST", path+"/actions/mute", `{}`, asUser("202"))
		b.do(200, "GET", path, "", b.withKey("crm"))
		b.refuses(MissingScope, "DELETE", path, "", b.withKey("reader"))
		b.refuses(NotTraced, "GET", path+"/messages", "", b.withKey("all"))
		if w := b.do(200, "DELETE", path, "", b.withKey("all")); !strings.Contains(w.Body.String(), `"changed":true`) {
			t.Errorf("DELETE: %s", w.Body)
		}
		c := a.ended(id)
		if c.End.Actor == nil || c.End.Actor.Type != "key" || c.End.Actor.Name != "all" {
			t.Errorf("it was ended by %s", inJSON(t, c.End))
		}
		b.do(404, "GET", "/v1/calls/call_00000000000000000000", "")
		b.do(404, "DELETE", "/v1/calls/"+strings.Repeat("x", 200), "")
	})
}

// Two nodes of which each takes the other for a call's ask each other once.
func TestARequestIsForwardedOnce(t *testing.T) {
	withNodes(t, setup{}, func(t *testing.T, all *clustertest.Nodes, a, b *callRig) {
		const id = "call_00000000000000000000"
		find := map[string]string{"a": "b", "b": "a"} // what each believes
		for name, rig := range map[string]*callRig{"a": a, "b": b} {
			rig.API.cfg.Elsewhere = mistaken{all.Node(name), find[name]}
		}
		for _, rig := range []*callRig{a, b} {
			all.Asked = nil
			if w := rig.do(404, "DELETE", "/v1/calls/"+id, ""); !strings.Contains(w.Body.String(), string(CallNotFound)) {
				t.Errorf("%s", w.Body)
			}
			if len(all.Asked) != 1 {
				t.Errorf("asked %v", all.Asked)
			}
		}
	})
}

// mistaken is a node that believes that all calls are another's.
type mistaken struct {
	clustertest.Node
	other string
}

func (m mistaken) FindID(_ context.Context, id string) (cluster.Place, error) {
	return cluster.Place{Node: m.other, ID: id, Live: true}, nil
}

func TestATransferAtAnyNode(t *testing.T) {
	withNodes(t, setup{}, func(t *testing.T, all *clustertest.Nodes, a, b *callRig) {
		id := a.call(usual)
		at(all, "a", a.until(id, event.Connected))
		path := "/v1/calls/" + id + "/transfers"
		w := b.do(202, "POST", path, `{"to":"203"}`)
		if w.Header().Get("Location") != path+"/t1" {
			t.Errorf("Location %q", w.Header().Get("Location"))
		}
		b.do(200, "GET", path+"/t1", "")
		b.do(200, "GET", path, "")
		after(5 * time.Second)
		if c := a.get(id); len(c.Transfers) != 1 || c.Transfers[0].State != sipflow.TransferCompleted {
			t.Errorf("the transfer is %s", inJSON(t, c.Transfers))
		}
		b.refuses(TransferOver, "DELETE", path+"/t1", "")
	})
}

// Two calls at two nodes cannot be joined, and that is said.
func TestCallsOfTwoNodesAreNotJoined(t *testing.T) {
	withNodes(t, setup{}, func(t *testing.T, all *clustertest.Nodes, a, b *callRig) {
		first, second := a.call(usual), b.call(`{"calling":"201","called":"203"}`)
		at(all, "a", a.until(first, event.Connected))
		at(all, "b", b.until(second, event.Connected))
		a.do(404, "POST", "/v1/calls/"+first+"/transfers", `{"with_call":"`+second+`"}`) // its bus does not know it here
		if !a.isElsewhere(t.Context(), second) || a.isElsewhere(t.Context(), first) || b.isElsewhere(t.Context(), second) {
			t.Error("it is not known where the calls are")
		}
	})
}

// Without its node a call cannot be ended, and that is said.
func TestACallWhoseNodeIsGone(t *testing.T) {
	withNodes(t, setup{}, func(t *testing.T, all *clustertest.Nodes, a, b *callRig) {
		id := a.call(usual)
		at(all, "a", a.until(id, event.Connected))
		all.Dead["a"] = true
		for _, ask := range [][2]string{{"DELETE", ""}, {"GET", ""}, {"POST", "/actions/mute"}, {"POST", "/transfers"}, {"PATCH", ""}} {
			p := b.refuses(NodeUnavailable, ask[0], "/v1/calls/"+id+ask[1], `{"to":"203"}`)
			if p.RetryAfterMS == nil || *p.RetryAfterMS != 5000 || p.Dialled != DialledNo || p.CallID != id {
				t.Errorf("%s %s: %s", ask[0], ask[1], inJSON(t, p))
			}
		}
		all.Away = errors.New("no store")
		p := b.refuses(ClusterUnavailable, "DELETE", "/v1/calls/"+id, "")
		if p.RetryAfterMS == nil || *p.RetryAfterMS != 5000 {
			t.Errorf("%s", inJSON(t, p))
		}
		a.do(200, "DELETE", "/v1/calls/"+id, "") // its own node needs nobody
		// A node that has heard it and does not answer may have done it.
		all.Away, all.Dead["a"] = nil, false
		all.Answer["a"] = func(context.Context, string, []byte) ([]byte, error) { return nil, context.DeadlineExceeded }
		if p := b.refuses(NodeUnavailable, "DELETE", "/v1/calls/"+id, ""); p.Dialled != DialledUnknown {
			t.Errorf("dialled %s", p.Dialled)
		}
		all.Answer["a"] = func(context.Context, string, []byte) ([]byte, error) { return []byte("of another release"), nil }
		b.refuses(InternalError, "DELETE", "/v1/calls/"+id, "")
	})
}

// One key places one call, at however many nodes it comes at once.
func TestAnIdempotencyKeyAtTwoNodes(t *testing.T) {
	withNodes(t, setup{}, func(t *testing.T, all *clustertest.Nodes, a, b *callRig) {
		both := make(chan *httptest.ResponseRecorder, 2)
		for _, cr := range []*callRig{a, b} {
			go func() { both <- cr.ask("POST", "/v1/calls", as201, body(usual), header("Idempotency-Key", "k1")) }()
		}
		got := map[int]int{}
		for range 2 {
			w := <-both
			got[w.Code]++
			if w.Code == 409 && problemOf(t, w).Code != IdempotencyInProgress {
				t.Errorf("%s", w.Body)
			}
		}
		after(time.Second)
		if n := a.invites("201") + b.invites("201"); n != 1 || got[201] != 1 || got[409] != 1 {
			t.Errorf("%d calls, statuses %v", n, got)
		}
		b.refuses(IdempotencyMismatch, "POST", "/v1/calls", `{"calling":"201","called":"203"}`, header("Idempotency-Key", "k1"))
		a.refuses(IdempotencyMismatch, "POST", "/v1/calls", `{"calling":"201","called":"203"}`, header("Idempotency-Key", "k1"))
		all.Away = errors.New("no store")
		a.refuses(ClusterUnavailable, "POST", "/v1/calls", usual, header("Idempotency-Key", "k2"))
		all.Away = nil
		if len(all.Noted) != 1 {
			t.Errorf("the store has %v", all.Noted)
		}
		// What nobody was called for is free again.
		first := a
		if b.invites("201") > 0 {
			first = b
		}
		first.refuses(CallInProgress, "POST", "/v1/calls", usual, header("Idempotency-Key", "k3"))
		if len(all.Noted) != 1 {
			t.Errorf("the store has %v", all.Noted)
		}
	})
}

// A key whose node died before it called anybody is not lost.
func TestAKeyThatADeadNodeHasLeft(t *testing.T) {
	withNodes(t, setup{}, func(t *testing.T, all *clustertest.Nodes, a, b *callRig) {
		all.Away = nil
		use := &event.IdempotencyKey{Principal: "user:201", Key: "k1"}
		use.Hash = fingerprint("create ", "201@"+testDomain, []byte(usual))
		all.Noted[onceKind+claimName(use)] = string(a.claimOf(use, "call_00000000000000000001"))
		p := b.refuses(IdempotencyInProgress, "POST", "/v1/calls", usual, header("Idempotency-Key", "k1"))
		if p.CallID != "call_00000000000000000001" {
			t.Errorf("%s", inJSON(t, p))
		}
		all.Dead["a"] = true
		all.IDs["call_00000000000000000001"] = cluster.Place{Node: "a", ID: "call_00000000000000000001", Live: true} // it had begun
		b.refuses(IdempotencyInProgress, "POST", "/v1/calls", usual, header("Idempotency-Key", "k1"))
		delete(all.IDs, "call_00000000000000000001")
		b.do(201, "POST", "/v1/calls", usual, header("Idempotency-Key", "k1"))
	})
}

// Parties that have a call at another node: by the client's choice.
func TestAConflictWithACallOfAnotherNode(t *testing.T) {
	withNodes(t, setup{}, func(t *testing.T, all *clustertest.Nodes, a, b *callRig) {
		id := a.call(usual)
		at(all, "a", a.until(id, event.Connected))
		b.refuses(CallInProgress, "POST", "/v1/calls", usual)
		b.refuses(CallInProgress, "POST", "/v1/calls", `{"calling":"201","called":"202","on_conflict":"return"}`) // its bus knows nothing here
		if n := b.invites("201"); n != 0 {
			t.Errorf("%d calls were placed", n)
		}
		w := b.do(201, "POST", "/v1/calls", `{"calling":"201","called":"202","on_conflict":"replace"}`)
		if c := a.ended(id); c.End.Reason != "replaced" {
			t.Errorf("the other ended by %s", c.End.Reason)
		}
		at(all, "b", shownCall(t, w))
		all.Dead["b"] = true
		a.refuses(NodeUnavailable, "POST", "/v1/calls", `{"calling":"201","called":"202","on_conflict":"replace"}`)
		a.refuses(NodeUnavailable, "POST", "/v1/calls", usual)
	})
}

// A ticket opens one stream, at whichever node.
func TestATicketAtAnyNode(t *testing.T) {
	withNodes(t, setup{}, func(t *testing.T, all *clustertest.Nodes, a, b *callRig) {
		ticket := func(cr *callRig, who ...func(*http.Request)) string {
			t.Helper()
			var made struct{ Ticket string }
			w := cr.do(201, "POST", "/v1/stream-tickets", `{"types":["call.ended"]}`, who...)
			if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || made.Ticket == "" {
				t.Fatalf("%s", w.Body)
			}
			return made.Ticket
		}
		use := func(cr *callRig, text string) int { return cr.ask("GET", "/v1/events?ticket="+text).Code }
		for _, who := range []func(*http.Request){as201, a.withKey("all")} {
			text := ticket(a, who)
			if first, second, third := use(b, text), use(a, text), use(b, text); first != 200 || second != 401 || third != 401 {
				t.Errorf("%d, then %d and %d", first, second, third)
			}
		}
		text := ticket(a)
		after(ticketTime)
		if got := use(b, text); got != 401 {
			t.Errorf("after its time: %d", got)
		}
		text = ticket(a)
		all.Dead["a"] = true
		if got := use(b, text); got != 401 {
			t.Errorf("its node is gone: %d", got)
		}
		for _, wrong := range []string{"sxt_x", "sxt_x.YQ", "sxt_" + strings.Repeat("x", 300) + ".YQ", "sxt_x.%2A"} {
			if got := use(b, wrong); got != 401 {
				t.Errorf("%s: %d", wrong, got)
			}
		}
	})
}

func FuzzAnswerElsewhere(f *testing.F) {
	f.Add([]byte{2, '{', '}', 0}, []byte("sxt_x"))
	f.Fuzz(func(t *testing.T, data, ticket []byte) {
		st := newRig(t, nil)
		_, _ = st.AnswerTicket(t.Context(), ticket)
		var w wirePrincipal
		if json.Unmarshal(data, &w) == nil {
			p := st.principalOf(&w)
			st.Access(p, &event.Call{Agent: "201@sipx.test"})
		}
	})
}
