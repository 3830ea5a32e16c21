package dialout

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/clustertest"
	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

// talkNodes are two nodes that one Talk knows. The first has its calls.
type talkNodes struct {
	all  *clustertest.Nodes
	a, b *talkStage
	crew []*talkStage
}

// withTalkNodes runs a test in fake time. In the end nothing may be left at a node that
// lives: no call, no phone, no note.
func withTalkNodes(t *testing.T, test func(t *testing.T, n *talkNodes)) {
	t.Helper()
	dirs := map[string]string{"a": t.TempDir(), "b": t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		lab := talktest.New(t)
		n := &talkNodes{all: clustertest.New()}
		for _, name := range []string{"a", "b"} {
			st := &talkStage{lab: lab, dir: dirs[name]}
			st.stage = newStage(t, withTalk(lab, dirs[name], func(c *Config) { c.Elsewhere = n.all.Node(name) }))
			answersAt(n.all, name, st.stage)
			st.stop = st.runs()
			synctest.Wait() // Talk asks the first one that has come
			n.crew = append(n.crew, st)
		}
		n.a, n.b = n.crew[0], n.crew[1]
		n.a.user = lab.Cloud.Join(token, "moderator")
		n.a.user.Moderator = true
		n.b.user = n.a.user
		test(t, n)
		for _, st := range n.crew {
			st.stop()
			if notes := st.notes(); len(notes) > 0 {
				t.Errorf("notes stay: %q", notes)
			}
			if st.active != 0 || len(st.busy) != 0 || len(st.rooms) != 0 {
				t.Errorf("counted as in progress: %d calls, %v, %v", st.active, st.busy, st.rooms)
			}
		}
		lab.Close()
	})
}

// record is what the first node keeps of a call.
func (n *talkNodes) record(id string) []byte {
	var spec sipflow.Spec
	n.a.find(id).keepWith(&spec)
	return spec.Kept.Record(nil)
}

// moves has the second node take a call over. The line is what that tells it.
func (n *talkNodes) moves(t *testing.T, id string, record []byte, joined bool) *testLine {
	t.Helper()
	l := &testLine{}
	n.b.taken = func(string) *line {
		return &line{hangUp: func(why error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.hungUp = why
		}}
	}
	spec := &sipflow.Spec{ID: id, Kept: &sipflow.Kept{Door: Door}}
	if !n.b.Resume(spec, record, joined) {
		t.Error("the call may not go on")
	}
	l.report = func(h happening) {
		by := map[party]sipflow.Party{phone: sipflow.CallingParty, room: sipflow.CalledParty}[h.by]
		spec.Observe(&sipflow.Event{Kind: sipflow.Ended, By: by, Err: h.err})
	}
	n.all.Change(func() { n.all.IDs[id] = cluster.Place{Node: "b", ID: id, Live: true} })
	synctest.Wait()
	return l
}

// A phone in a conversation is shown there by the node that takes its call over. The other
// one, which is fenced and lives, says no more of it. Talk is told of one end.
func TestTalkGoesOnAtAnotherNode(t *testing.T) {
	withTalkNodes(t, func(t *testing.T, n *talkNodes) {
		id, first := n.a.connected()
		l := n.moves(t, id, n.record(id), true)
		first.ends(us, sipflow.ErrForgotten)
		synctest.Wait()
		if got := n.b.lab.Cloud.Phones(token); !slices.Equal(got, []string{id}) {
			t.Errorf("phones in the room: %q", got)
		}
		n.b.shows(id, "accepted", "ringing", "connected")
		if n.a.find(id) != nil {
			t.Error("the first node knows the call still")
		}
		n.b.user.Control(id, `{"type":"hangup"}`) // it is the new node's
		synctest.Wait()
		if !errors.Is(l.wasHungUp(), errModerator) {
			t.Errorf("hung up by %v\n%s", l.wasHungUp(), n.b.log)
		}
		n.b.shows(id, "accepted", "ringing", "connected", "cleared")
		n.b.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 200, Message: "Hung up by a moderator"})
		if got := n.b.lab.Cloud.Phones(token); len(got) != 0 {
			t.Errorf("phones in the room: %q", got)
		}
		n.b.rejected(id, false)
	})
}

// A phone that cannot be kept is hung up, and Talk is told so by the node that does it.
func TestTalkIsToldByTheNodeThatHangsUp(t *testing.T) {
	for name, connected := range map[string]bool{"it rang": false, "it was in the conversation": true} {
		t.Run(name, func(t *testing.T) {
			withTalkNodes(t, func(t *testing.T, n *talkNodes) {
				id, first := n.a.dial()
				first.rings()
				want := []string{"accepted", "ringing", "cleared"}
				if connected {
					first.connects()
					want = []string{"accepted", "ringing", "connected", "cleared"}
				}
				synctest.Wait()
				l := n.moves(t, id, n.record(id), connected)
				first.ends(us, sipflow.ErrForgotten)
				l.ends(us, sipflow.ErrNodeLost)
				n.b.shows(id, want...)
				n.b.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 500, Message: "The phone service was interrupted"})
				n.b.rejected(id, !connected)
				if n.b.lab.Cloud.Knows(id) {
					t.Error("Nextcloud takes the call to go on")
				}
			})
		})
	}
}

// A node that was dead ends only those of its calls that no other one has taken over.
func TestANodeComesBackToCallsOfOthers(t *testing.T) {
	withTalkNodes(t, func(t *testing.T, n *talkNodes) {
		id, first := n.a.connected()
		l := n.moves(t, id, n.record(id), true)
		first.ends(us, sipflow.ErrForgotten)
		synctest.Wait()
		session := n.a.client.Sessions()[0]
		left := []*entry{{CallID: id, Server: session.Server(), Backend: session.Backend().URL(), RoomID: token, Connected: true},
			{CallID: "nobodys", Server: session.Server(), Backend: session.Backend().URL(), RoomID: token, Connected: true}}
		for _, e := range left {
			n.a.journal.put(e)
		}
		n.all.Change(func() { n.all.Away = errors.New("no store") })
		n.a.adopt(left)
		n.a.sessionUp(session, talk.Resumed)
		time.Sleep(rejectPause / 2)
		synctest.Wait()
		if got := n.a.notes(); len(got) != 2 {
			t.Errorf("without the store %q are noted, want both", got)
		}
		n.all.Change(func() { n.all.Away = nil })
		time.Sleep(rejectPause)
		synctest.Wait()
		if got := n.a.notes(); len(got) != 0 {
			t.Errorf("%q are noted", got)
		}
		n.b.shows(id, "accepted", "ringing", "connected")
		n.b.shows("nobodys", "cleared", "removed")
		l.ends(phone, nil)
		n.b.shows(id, "accepted", "ringing", "connected", "cleared")
	})
}

// Without its Nextcloud a phone is hung up: nobody would hear of it.
func TestTalkIsNotConfiguredAtTheOtherNode(t *testing.T) {
	withNodes(t, Limits{}, func(t *testing.T, all *clustertest.Nodes, a, _ *stage) {
		spec := &sipflow.Spec{ID: "x", Kept: &sipflow.Kept{Door: Door}}
		if a.Resume(spec, []byte(`{"number":"+49301","talk":{"backend":"https://cloud.test/","roomid":"1"}}`), true) {
			t.Error("the call goes on")
		}
		if !strings.Contains(a.log.String(), "dialout.servers") {
			t.Error("the log does not say what is missing")
		}
	})
}
