package talk_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

// inCall runs a test with a phone in a room whose call alice takes part in.
func inCall(t *testing.T, f func(r *rig, alice *talktest.User)) {
	t.Helper()
	inRoom(t, func(r *rig, _ *talk.Room, _ string) {
		alice := r.lab.Cloud.Join(token, "alice")
		sleep(time.Minute)
		r.forget()
		f(r, alice)
	})
}

var empty = fmt.Sprintf("room %s kind=%d", token, talk.Empty)

func TestARoomWithoutPeopleInItsCallIsToldOf(t *testing.T) {
	for name, leave := range map[string]func(*talktest.User){
		"gone":      func(u *talktest.User) { u.Leave() },
		"hung up":   func(u *talktest.User) { u.Call(false) },
		"ended all": nil,
	} {
		t.Run(name, func(t *testing.T) {
			inCall(t, func(r *rig, alice *talktest.User) {
				if leave == nil {
					r.lab.Cloud.EndForEveryone(token)
					r.forget()
				} else {
					leave(alice)
				}
				sleep(talk.EmptyTime - time.Second)
				r.was()
				sleep(time.Second)
				r.was(empty)
				sleep(talk.EmptyTime)
				r.was(empty) // it still is
			})
		})
	}
}

func TestWhoComesBackIsThere(t *testing.T) {
	inCall(t, func(r *rig, alice *talktest.User) {
		alice.Call(false)
		sleep(talk.EmptyTime / 2)
		alice.Call(true)
		sleep(time.Hour)
		r.was()
		alice.Leave()
		sleep(talk.EmptyTime - time.Second) // and it is being asked who is there
		r.lab.Cloud.Join(token, "bob")
		sleep(time.Hour)
		r.was()
	})
}

// While the connection is lost nobody knows who is there, and when the signaling
// server has forgotten everybody all have to come back first.
func TestOutagesDoNotMakeARoomEmpty(t *testing.T) {
	away := func(d time.Duration) func(*rig, *talktest.User) {
		return func(r *rig, _ *talktest.User) {
			r.lab.Refuse(true)
			r.lab.Drop()
			sleep(d)
			r.lab.Refuse(false)
		}
	}
	for _, c := range []struct {
		name  string
		fails func(r *rig, alice *talktest.User)
	}{
		{"resumed", away(20 * time.Second)},
		{"too late to resume", away(time.Minute)},
		{"long", away(20 * time.Minute)},
		{"while somebody is away for a moment", func(r *rig, alice *talktest.User) {
			alice.Call(false)
			sleep(talk.EmptyTime - 5*time.Second)
			away(20*time.Second)(r, alice)
			alice.Call(true)
		}},
		{"restarted", func(r *rig, alice *talktest.User) {
			r.lab.Restart()
			sleep(2 * time.Minute) // Nextcloud is restarted, too
			alice.Return()
		}},
		{"restarted after a while", func(r *rig, alice *talktest.User) {
			r.lab.Refuse(true)
			r.lab.Restart()
			sleep(time.Minute)
			r.lab.Refuse(false)
			sleep(2 * time.Minute)
			alice.Return()
		}},
		{"lost again before it is said who is there", func(r *rig, alice *talktest.User) {
			cutOnce(r, true, `"join":[{"sessionid":"U`)
			r.lab.Restart()
			alice.Return()
			sleep(time.Minute)
		}},
		{"silent, and she comes back unseen", func(r *rig, alice *talktest.User) {
			alice.Call(false)
			synctest.Wait()
			r.lab.Freeze()
			alice.Call(true)
			sleep(2 * time.Minute)
		}},
		{"another's coming is lost", func(r *rig, alice *talktest.User) {
			cutOnce(r, true, `"join":[{"sessionid":"U`)
			bob := r.lab.Cloud.Join(token, "bob")
			sleep(time.Second)
			alice.Leave()
			sleep(time.Hour)
			*alice = *bob
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inCall(t, func(r *rig, alice *talktest.User) {
				c.fails(r, alice)
				sleep(time.Hour)
				r.mu.Lock()
				told := strings.Join(r.told, "\n")
				r.mu.Unlock()
				if strings.Contains(told, empty) {
					t.Errorf("told\n%s", told)
				}
				r.forget()
				alice.Leave()
				sleep(talk.EmptyTime)
				r.was(empty)
			})
		})
	}
}

// Phones cost money: whose people do not come back is hung up some day.
func TestWhereNobodyComesBackIsEmpty(t *testing.T) {
	inCall(t, func(r *rig, _ *talktest.User) {
		r.lab.Restart()
		sleep(talk.ReturnTime)
		r.forget()
		sleep(5 * time.Second)
		if n := strings.Count(strings.Join(r.told, "\n"), empty); n > 1 {
			t.Errorf("told %q", r.told)
		}
	})
}

// Who is there and what they do is told by different parts of the server: either
// may be first.
func TestPeopleMayBeListedBeforeTheyAreNamed(t *testing.T) {
	inRoom(t, func(r *rig, room *talk.Room, _ string) {
		r.lab.Say(`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"` + token + `","users":[` +
			`{"sessionId":"alice","inCall":3},{"sessionId":"bridge","inCall":3,"internal":true},{"sessionId":"bob","inCall":0}]}}}`)
		r.lab.Say(`{"type":"event","event":{"target":"room","type":"join","join":[{"sessionid":"alice"},{"sessionid":"bob"},` +
			`{"sessionid":"bridge"}]}}`)
		synctest.Wait()
		if n := room.Humans(); n != 1 {
			t.Errorf("%d take part", n)
		}
	})
}

// What comes late over the connection of a call that is over says nothing of the
// next.
func TestNothingIsToldOfARoomThatWasLeft(t *testing.T) {
	inRoom(t, func(r *rig, room *talk.Room, _ string) {
		r.forget()
		room.Leave()
		r.lab.Say(`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"` + token + `","incall":0,"all":true}}}`)
		r.was()
	})
}

// Phones of other bridges are company for those who call in here.
func TestPhonesOfOtherBridgesAreCounted(t *testing.T) {
	inRoom(t, func(r *rig, room *talk.Room, _ string) {
		r.lab.Say(`{"type":"event","event":{"target":"room","type":"join","join":[{"sessionid":"bridge"},{"sessionid":"bob"},` +
			`{"sessionid":"phone","user":{"type":"phone","callid":"x"}},{"sessionid":"rings","user":{"type":"phone","callid":"y"}}]}}`)
		r.lab.Say(`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"` + token + `","users":[` +
			`{"sessionId":"bob","inCall":3},{"sessionId":"bridge","inCall":3,"internal":true},{"sessionId":"rings","inCall":0},` +
			`{"sessionId":"phone","inCall":9,"virtual":true}]}}}`)
		synctest.Wait()
		if n := room.Foreign(); n != 1 {
			t.Errorf("%d phones of others, and ours, are counted", n)
		}
	})
}
