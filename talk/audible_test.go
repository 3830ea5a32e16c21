package talk_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

// update is a list of participants as servers send it.
func update(users string) string {
	return `{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"` + token + `",` + users + `}}}`
}

func join(entries ...string) string {
	return `{"type":"event","event":{"target":"room","type":"join","join":[` + strings.Join(entries, ",") + `]}}`
}

func entry(id string) string { return `{"sessionid":"` + id + `","userid":"` + id + `"}` }

// hears checks who is to be heard.
func hears(t *testing.T, room *talk.Room, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := room.Audible(); !slices.Equal(got, want) {
		t.Errorf("to be heard: %q, want %q", got, want)
	}
}

// Lists as they were captured, and as older servers and Nextclouds send them.
func TestWhoIsHeard(t *testing.T) {
	for name, c := range map[string]struct {
		users string // of alice and bob, who were named; carol was not
		want  []string
	}{
		"numbers": {`"users":[{"sessionId":"alice","inCall":3},{"sessionId":"bob","inCall":7}]`, []string{"alice", "bob"}},
		"not in the call": {`"users":[{"sessionId":"alice","inCall":0},{"sessionId":"bob","inCall":3}]`,
			[]string{"bob"}},
		"false":                 {`"users":[{"sessionId":"alice","inCall":false},{"sessionId":"bob","inCall":3}]`, []string{"bob"}},
		"true":                  {`"users":[{"sessionId":"alice","inCall":true}]`, []string{"alice"}},
		"absent":                {`"users":[{"sessionId":"alice"},{"sessionId":"bob","inCall":3}]`, []string{"bob"}},
		"null":                  {`"users":[{"sessionId":"alice","inCall":null},{"sessionId":"bob","inCall":3}]`, []string{"bob"}},
		"video only":            {`"users":[{"sessionId":"alice","inCall":5},{"sessionId":"bob","inCall":1}]`, nil},
		"audio out of the call": {`"users":[{"sessionId":"alice","inCall":2},{"sessionId":"bob","inCall":6}]`, nil},
		"who has left is listed": {`"users":[{"sessionId":"carol","inCall":7,"userId":"alice"},` +
			`{"sessionId":"alice","inCall":7,"userId":"alice"}]`,
			[]string{"alice"}},
		"another bridge": {`"users":[{"sessionId":"alice","inCall":3,"internal":true,"features":["internal-incall"]},` +
			`{"sessionId":"bob","inCall":3}]`,
			[]string{"alice", "bob"}},
		"a phone": {`"users":[{"sessionId":"alice","inCall":11,"virtual":true},{"sessionId":"bob","inCall":3}]`, []string{"bob"}},
		"moderators first": {`"users":[{"sessionId":"alice","inCall":3,"participantType":3},{"sessionId":"bob","inCall":3,"participantType":1}]`,
			[]string{"bob", "alice"}},
		"guests who are moderators first": {`"users":[{"sessionId":"alice","inCall":3,"participantType":4},` +
			`{"sessionId":"bob","inCall":3,"participantType":6}]`, []string{"bob", "alice"}},
		"what cannot be read is left out": {`"users":[5,null,{"sessionId":7},{"inCall":3},{"sessionId":"alice","inCall":"x"},` +
			`{"sessionId":"bob","inCall":3,"virtual":"x","participantType":{}}]`, []string{"bob"}},
		"small letters": {`"users":[{"sessionid":"alice","incall":3}]`, []string{"alice"}},
		"changes only":  {`"changed":[{"sessionId":"alice","inCall":3},{"sessionId":"carol","inCall":3}]`, []string{"alice"}},
		"no list":       {`"users":null`, nil},
		"of nobody":     {`"users":[]`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				room := r.session.Join(token)
				synctest.Wait()
				r.lab.Say(join(entry("alice"), entry("bob")))
				r.lab.Say(update(c.users))
				hears(t, room, c.want...)
				r.lab.Say(update(`"incall":0,"all":true`))
				hears(t, room)
			})
		})
	}
}

func TestPhonesAndBridgesAreKnownByWhatJoinsSay(t *testing.T) {
	bubble(t, func(r *rig) {
		room := r.session.Join(token)
		synctest.Wait()
		r.lab.Say(join(`{"sessionid":"phone","user":{"type":"phone","callid":"x"}}`, `{"sessionid":"bridge","features":["internal-incall"]}`,
			`{"sessionid":"other","features":["start-dialout"]}`, entry("alice")))
		r.lab.Say(update(`"users":[{"sessionId":"phone","inCall":11},{"sessionId":"bridge","inCall":3},{"sessionId":"other","inCall":3},` +
			`{"sessionId":"alice","inCall":3},{"sessionId":"` + room.SessionID() + `","inCall":3}]`))
		hears(t, room, "bridge", "other", "alice")
		if h, o := room.Humans(), room.Others(); h != 1 || o != 4 {
			t.Errorf("%d humans, %d others", h, o)
		}
	})
}

// Each participant costs: a webinar is not heard whole.
func TestAtMostAHundredAreHeard(t *testing.T) {
	bubble(t, func(r *rig) {
		room := r.session.Join(token)
		synctest.Wait()
		var joins, users []string
		for i := range 300 {
			id := fmt.Sprintf("user-%03d", i)
			joins = append(joins, entry(id))
			kind := 3
			if i == 299 {
				kind = 2
			}
			users = append(users, fmt.Sprintf(`{"sessionId":"%s","inCall":3,"participantType":%d}`, id, kind))
		}
		r.lab.Say(join(joins...))
		slices.Reverse(users) // lists have no order
		r.lab.Say(update(`"users":[` + strings.Join(users, ",") + `]`))
		synctest.Wait()
		got := room.Audible()
		if len(got) != talk.MaxAudible || got[0] != "user-299" || got[1] != "user-000" || got[99] != "user-098" {
			t.Errorf("%d are heard: %q", len(got), got)
		}
		r.lab.Say(`{"type":"event","event":{"target":"room","type":"leave","leave":["user-000"]}}`)
		synctest.Wait()
		if got := room.Audible(); len(got) != talk.MaxAudible || got[1] != "user-001" || got[99] != "user-099" {
			t.Errorf("%d are heard: %q", len(got), got)
		}
	})
}

// Owners are told of what has changed, and of nothing else.
func TestAnOwnerIsToldWhoIsHeard(t *testing.T) {
	media(t, func(r *rig, room *talk.Room, _ *tape, alice *talktest.User) {
		alice.Speak(false)
		r.was("audio")
		hears(t, room)
		alice.Speak(true)
		r.was("audio")
		hears(t, room, alice.ID())
		bob := r.lab.Cloud.Join(token, "bob")
		r.was("audio", "people")
		hears(t, room, alice.ID(), bob.ID())
		bob.Call(true) // as before
		r.was()
		bob.Leave()
		r.was("audio", "people")
		r.lab.Cloud.Change(func(c *talktest.Cloud) { c.StaleLists, c.LooseLists = true, true })
		alice.Return()
		synctest.Wait()
		hears(t, room, alice.ID())
		if n := room.Humans(); n != 1 {
			t.Errorf("%d humans: who has left is counted", n)
		}
		r.forget()
		r.lab.Cloud.EndForEveryone(token)
		r.was("audio", "people", "ended")
	})
}

// A caller is let into the sound once Nextcloud has let him in.
func TestAnOwnerIsToldThatAPhoneIsSeen(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.call(101)
		room := r.session.Join(token)
		synctest.Wait()
		r.lab.Cloud.Change(func(c *talktest.Cloud) { c.PhoneDelay = 2 * time.Second })
		r.forget()
		r.add(id, 101)
		sleep(time.Second)
		r.was()
		sleep(time.Second)
		r.was("added " + id)
		if h, o := room.Humans(), room.Others(); h != 0 || o != 0 {
			t.Errorf("%d humans, %d others", h, o)
		}
		r.lab.Say(join(`{"sessionid":"P9","user":{"type":"phone","callid":"another-bridge's"}}`))
		r.lab.Say(update(`"users":[{"sessionId":"P9","inCall":9,"virtual":true}]`))
		synctest.Wait()
		if h, o := room.Humans(), room.Others(); h != 0 || o != 1 {
			t.Errorf("with another's phone %d humans, %d others", h, o)
		}
		r.was()
		r.status(id, talk.Cleared)
	}, func(r *rig, cfg *talk.Config) {
		cfg.Handler.Added = func(_ *talk.Session, callID string) { r.tell("added %s", callID) }
	})
}
