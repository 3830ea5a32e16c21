package order

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"sipxrest/cluster"
	"sipxrest/sipflow"
)

// nodes are one other node that has a key, or had it.
type nodes struct {
	place  cluster.Place
	find   error
	answer string
	err    error
	asked  []giveWay
}

func (n *nodes) Find(context.Context, string) (cluster.Place, error) { return n.place, n.find }

func (n *nodes) Ask(_ context.Context, node, op string, data []byte) ([]byte, error) {
	var q giveWay
	if err := json.Unmarshal(data, &q); err != nil || node != "a" || op != GiveWayOp {
		return nil, errors.New("asked for what is not known")
	}
	n.asked = append(n.asked, q)
	return []byte(n.answer), n.err
}

func TestRoomIsMadeForANewCall(t *testing.T) {
	live := cluster.Place{Node: "a", ID: "call_1", Live: true}
	over := cluster.Place{Node: "a", ID: "call_1"}
	for _, c := range []struct {
		name   string
		nodes  nodes
		method string
		asked  int
		id     string
		want   error
	}{
		{"there is none", nodes{find: cluster.ErrNone}, sipflow.MethodRefer, 0, "", nil},
		{"the store is away", nodes{find: errors.New("away")}, sipflow.MethodRefer, 0, "", nil},
		{"it is ours", nodes{place: cluster.Place{Node: "b", ID: "call_1", Mine: true, Live: true}}, sipflow.MethodRefer, 0, "", nil},
		{"it gives way", nodes{place: live, answer: `{}`}, sipflow.MethodRefer, 1, "call_1", nil},
		{"it stays", nodes{place: live, answer: `{"why":"in_progress","id":"call_1"}`}, sipflow.MethodInvite, 1, "call_1", sipflow.ErrInProgress},
		{"its node does not answer", nodes{place: live, err: cluster.ErrNobody}, sipflow.MethodRefer, 1, "call_1", ErrHeld},
		{"it is over", nodes{place: over, answer: `{}`}, sipflow.MethodRefer, 1, "", nil},
		{"it is over, and its phone is calling", nodes{place: over, answer: `{"why":"referred"}`}, sipflow.MethodRefer, 1, "call_1",
			sipflow.ErrReferred},
		{"it is over, as its node", nodes{place: over, err: cluster.ErrNobody}, sipflow.MethodRefer, 1, "", nil},
		{"it is over, and the new one is by INVITE", nodes{place: over}, sipflow.MethodInvite, 0, "", nil},
	} {
		spec := &sipflow.Spec{Key: sipflow.Key{Agent: "x", Calling: "y", Called: "z"}, Method: c.method}
		id, err := MakeRoom(t.Context(), &c.nodes, spec)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || id != c.id || len(c.nodes.asked) != c.asked {
			t.Errorf("%s: %q, %v, asked %+v", c.name, id, err, c.nodes.asked)
		}
		if c.asked > 0 && (c.nodes.asked[0].Key != spec.Key || c.nodes.asked[0].Method != c.method) {
			t.Errorf("%s: asked %+v", c.name, c.nodes.asked)
		}
	}
	if id, err := MakeRoom(t.Context(), nil, &sipflow.Spec{}); id != "" || err != nil {
		t.Errorf("a single node: %q, %v", id, err)
	}
}

func TestWhatNodesAskForAKeyIsBounded(t *testing.T) {
	answer := AnswerGiveWay(nil, nil)
	for _, data := range [][]byte{nil, []byte("{"), []byte(`{"conflict":"x"}`), make([]byte, maxGiveWay+1)} {
		if out, err := answer(t.Context(), data); err == nil {
			t.Errorf("%.20q is answered by %q", data, out)
		}
	}
}
