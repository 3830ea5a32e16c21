package talk_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/boundary"

	"sipxrest/talk"
)

// inRoom runs a test with a phone that is up in a joined room.
func inRoom(t *testing.T, f func(r *rig, room *talk.Room, id string)) {
	t.Helper()
	bubble(t, func(r *rig) {
		id := r.call(101)
		room := r.session.Join(token)
		synctest.Wait()
		r.add(id, 101)
		r.status(id, talk.Connected)
		f(r, room, id)
		r.status(id, talk.Cleared)
	})
}

func TestModeratorsControlPhones(t *testing.T) {
	inRoom(t, func(r *rig, _ *talk.Room, id string) {
		user := r.lab.Cloud.Join(token, "alice")
		for _, c := range []struct{ data, want string }{
			{`{"type":"hangup"}`, `kind=1 digit='\x00' mute=0 reason=""`},
			{`{"type":"dtmf","digit":"5"}`, `kind=2 digit='5' mute=0 reason=""`},
			{`{"type":"dtmf","digit":"#"}`, `kind=2 digit='#' mute=0 reason=""`},
			{`{"type":"dtmf","digit":"*"}`, `kind=2 digit='*' mute=0 reason=""`},
			{`{"type":"mute","audio":1}`, `kind=3 digit='\x00' mute=1 reason=""`},
			{`{"type":"mute","audio":3}`, `kind=3 digit='\x00' mute=3 reason=""`},
			{`{"type":"mute","audio":7}`, `kind=3 digit='\x00' mute=3 reason=""`},
			{`{"type":"mute","audio":0}`, `kind=3 digit='\x00' mute=0 reason=""`},
			{`{"type":"dtmf","digit":"12"}`, ""},
			{`{"type":"dtmf","digit":"A"}`, ""},
			{`{"type":"dtmf","digit":5}`, ""},
			{`{"type":"dtmf"}`, ""},
			{`{"type":"mute"}`, ""},
			{`{"type":"mute","audio":null}`, ""},
			{`{"type":"mute","audio":"1"}`, ""},
			{`{"type":"mute","audio":true}`, ""},
			{`{"type":["hangup"]}`, ""},
			{`{"type":"other"}`, ""},
			{`"hangup"`, ""},
			{`[1,{}]`, ""},
			{`null`, ""},
			{`7`, ""},
		} {
			synctest.Wait()
			r.forget()
			user.Control(id, c.data)
			if c.want == "" {
				r.was()
			} else {
				r.was("control " + id + " " + c.want)
			}
		}
		user.Moderator = false
		user.Control(id, `{"type":"hangup"}`)
		r.was()
	})
}

// The signaling server delivers what a moderator of any room says.
func TestModeratorsOfOtherRoomsDoNot(t *testing.T) {
	inRoom(t, func(r *rig, room *talk.Room, id string) {
		mallory := r.lab.Cloud.Join("999", "mallory")
		alice := r.lab.Cloud.Join(token, "alice")
		r.forget()
		if !mallory.Control(id, `{"type":"hangup"}`) {
			t.Fatal("not delivered")
		}
		r.was()
		alice.Leave()
		r.forget()
		alice = r.lab.Cloud.Join(token, "alice")
		r.forget()
		alice.Control(id, `{"type":"dtmf","digit":"1"}`)
		r.was("control " + id + ` kind=2 digit='1' mute=0 reason=""`)
		room.Leave() // nobody can be checked any more
		alice.Control(id, `{"type":"dtmf","digit":"2"}`)
		r.was()
	})
}

func TestParticipantRemovedInNextcloud(t *testing.T) {
	inRoom(t, func(r *rig, _ *talk.Room, id string) {
		r.forget()
		r.lab.Cloud.Disinvite(token, "actor-101")
		r.was("control " + id + ` kind=1 digit='\x00' mute=0 reason="disinvited"`)
	})
}

func TestPeopleInTheCallAreCounted(t *testing.T) {
	inRoom(t, func(r *rig, room *talk.Room, _ string) {
		takePart := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := room.Humans(); n != want {
				t.Errorf("%d take part, want %d", n, want)
			}
		}
		takePart(0) // neither the phone nor we
		r.lab.Say(`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"7","incall":0,"all":true}}}`)
		r.was("up first")
		alice := r.lab.Cloud.Join(token, "alice")
		bob := r.lab.Cloud.Join(token, "bob")
		takePart(2)
		alice.Call(false)
		takePart(1)
		bob.Leave()
		takePart(0)
		alice.Call(true)
		takePart(1)
		r.lab.Cloud.EndForEveryone(token)
		takePart(0)
		r.was(fmt.Sprintf("room %s kind=%d", token, talk.EndedForEveryone))
	})
}

func TestRoomIsJoinedOnceForAllItsCalls(t *testing.T) {
	inRoom(t, func(r *rig, room *talk.Room, _ string) {
		if again := r.session.Join(token); again != room || again.ID() != token {
			t.Error("another room")
		}
		synctest.Wait()
		if n := r.lab.Cloud.BridgesIn(token); n != 1 {
			t.Errorf("%d bridges", n)
		}
		r.lab.Cloud.Join(token, "alice")
		room.Leave()
		synctest.Wait()
		if n := r.lab.Cloud.BridgesIn(token); n != 1 {
			t.Errorf("%d bridges after one of two has left", n)
		}
		room.Leave()
		synctest.Wait()
		if n := r.lab.Cloud.BridgesIn(token); n != 0 {
			t.Errorf("%d bridges after both have left", n)
		}
		if n := r.sent(`"type":"room"`); n != 1 {
			t.Errorf("joined %d times", n)
		}
	})
}

// The phones of a room that was deleted stay for as long as their session: it
// is replaced once nobody else needs it.
func TestDeletedRoom(t *testing.T) {
	bubble(t, func(r *rig) {
		r.lab.Cloud.Join(token, "alice")
		id := r.call(101)
		room := r.session.Join(token)
		r.add(id, 101)
		r.status(id, talk.Connected)
		before := r.lab.Sessions()
		r.forget()
		r.lab.Cloud.DeleteRoom(token)
		r.was(fmt.Sprintf("room %s kind=%d", token, talk.Deleted))
		if _, err := r.session.RemoveSession(id); err != nil {
			t.Error(err)
		}
		r.status(id, talk.Cleared)
		room.Leave()
		synctest.Wait()
		sleep(time.Second)
		r.was("up renewed")
		if n := r.lab.Sessions(); n != before-2 { // neither the phone nor the room's connection
			t.Errorf("%d sessions of %d are left", n, before)
		}
		if n := r.lab.Bridges(); n != 1 {
			t.Errorf("%d bridges", n)
		}
	})
}

func TestRoomOutlivesItsConnection(t *testing.T) {
	inRoom(t, func(r *rig, room *talk.Room, id string) {
		alice := r.lab.Cloud.Join(token, "alice")
		sleep(time.Minute) // and a ping came since the phone was added
		r.forget()
		r.lab.Drop()
		sleep(time.Second)
		r.was("down", "up resumed")
		bob := r.lab.Cloud.Join(token, "bob")
		synctest.Wait()
		if n := room.Humans(); n != 2 {
			t.Errorf("%d take part", n)
		}
		alice.Control(id, `{"type":"dtmf","digit":"1"}`)
		bob.Control(id, `{"type":"dtmf","digit":"2"}`)
		synctest.Wait()
		if n := len(r.told); n < 2 {
			t.Errorf("told %q", r.told)
		}
	})
}

// Without having joined nobody could control the phone any more.
func TestJoinThatIsLostIsRepeated(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.call(101)
		cutOnce(r, false, `"type":"room"`)
		room := r.session.Join(token)
		r.add(id, 101)
		r.lab.Cloud.Join(token, "alice")
		sleep(time.Second)
		if n, people := r.lab.Cloud.BridgesIn(token), room.Humans(); n != 1 || people != 1 {
			t.Errorf("%d bridges in the room, %d people in its call", n, people)
		}
		r.status(id, talk.Cleared)
	})
}

// A bridge that is new in a room is no human, though its join does not say so.
func TestOtherBridgesAreNotPeople(t *testing.T) {
	inRoom(t, func(r *rig, room *talk.Room, _ string) {
		cfg := config(r.lab)
		other, err := talk.New(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		serve(t, other, func() {
			other.Sessions()[0].Join(token)
			synctest.Wait()
			if n := r.lab.Cloud.BridgesIn(token); n != 2 {
				t.Fatalf("%d bridges", n)
			}
			if n := room.Humans(); n != 0 {
				t.Errorf("%d take part", n)
			}
		})
	})
}

// A fault of ours in what a server says ends neither the process nor the connection.
func TestAFaultCostsOneMessage(t *testing.T) {
	fail := false
	bubble(t, func(r *rig) {
		id := r.call(101)
		r.session.Join(token)
		synctest.Wait()
		r.add(id, 101)
		r.status(id, talk.Connected)
		user := r.lab.Cloud.Join(token, "alice")
		synctest.Wait()
		r.forget()
		before := boundary.Count()
		fail = true
		user.Control(id, `{"type":"dtmf","digit":"5"}`)
		synctest.Wait()
		fail = false
		if boundary.Count() == before {
			t.Error("nothing has failed")
		}
		user.Control(id, `{"type":"dtmf","digit":"7"}`)
		r.was("control " + id + ` kind=2 digit='7' mute=0 reason=""`)
		r.status(id, talk.Cleared)
	}, func(_ *rig, c *talk.Config) {
		tell := c.Handler.Control
		c.Handler.Control = func(s *talk.Session, m talk.Control) {
			if fail {
				panic("out of range")
			}
			tell(s, m)
		}
	})
}
