package talk_test

import (
	"strings"
	"testing"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

// told reports whether the owner was told that nobody is left.
func (r *rig) emptied() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(strings.Join(r.told, "\n"), empty)
}

// What throws people out of a call is not their leaving it, whomever it hits.
func TestAnOutageOfOthersDoesNotMakeARoomEmpty(t *testing.T) {
	away := func(r *rig, is bool) { r.lab.Cloud.Change(func(c *talktest.Cloud) { c.Away = is }) }
	for name, outage := range map[string]func(r *rig, alice *talktest.User){
		// She lost the server when we did, and her session ended after ours was resumed.
		"we are resumed, she is not": func(r *rig, alice *talktest.User) {
			alice.Lose()
			r.lab.Refuse(true)
			r.lab.Drop()
			sleep(25 * time.Second)
			r.lab.Refuse(false)
			sleep(4 * time.Minute)
		},
		"as long as we are known to be shaken": func(r *rig, alice *talktest.User) {
			r.lab.Drop()
			sleep(58 * time.Second)
			alice.Leave()
			sleep(4 * time.Minute)
		},
		// The proxy of browsers and Nextcloud, which is not between us and the server.
		"she and Nextcloud are away, we notice nothing": func(r *rig, alice *talktest.User) {
			away(r, true)
			alice.Lose()
			sleep(20 * time.Minute)
			away(r, false)
			sleep(4 * time.Minute)
		},
		"Nextcloud is away once more before anybody is back": func(r *rig, alice *talktest.User) {
			r.lab.Restart()
			sleep(4 * time.Minute)
			away(r, true)
			sleep(4 * time.Minute)
			away(r, false)
			sleep(4 * time.Minute)
		},
		"the server is lost again before anybody is back": func(r *rig, alice *talktest.User) {
			r.lab.Restart()
			sleep(4 * time.Minute)
			r.lab.Drop()
			sleep(4 * time.Minute)
		},
		"Nextcloud is being updated": func(r *rig, alice *talktest.User) {
			r.lab.Cloud.Change(func(c *talktest.Cloud) { c.Maintenance = true })
			r.lab.Restart()
			sleep(time.Hour)
			r.lab.Cloud.Change(func(c *talktest.Cloud) { c.Maintenance = false })
			sleep(4 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inRoom(t, func(r *rig, room *talk.Room, _ string) {
				alice := r.lab.Cloud.Join(token, "alice")
				sleep(10 * time.Minute)
				r.forget()
				outage(r, alice)
				if r.emptied() {
					t.Errorf("told %q", r.told)
				}
				if n := room.Humans(); n != -1 {
					t.Errorf("%d humans, though nobody knows", n)
				}
				alice.Return()
				sleep(time.Minute)
				if n := room.Humans(); n != 1 {
					t.Errorf("%d humans", n)
				}
				sleep(time.Hour)
				if r.emptied() {
					t.Errorf("told %q", r.told)
				}
				alice.Leave()
				sleep(talk.EmptyTime)
				if !r.emptied() || room.Humans() != 0 {
					t.Errorf("not told, %d humans", room.Humans())
				}
			})
		})
	}
}

// Phones cost money: nobody is waited for without end once all is well.
func TestWhoDoesNotComeBackIsNotWaitedForForEver(t *testing.T) {
	for name, c := range map[string]struct {
		outage func(r *rig, alice *talktest.User)
		within time.Duration // after it
	}{
		"resumed": {func(r *rig, alice *talktest.User) {
			alice.Lose()
			r.lab.Drop()
			sleep(30 * time.Second) // her session ends
		}, talk.ReturnTime},
		"Nextcloud was away": {func(r *rig, _ *talktest.User) {
			r.lab.Cloud.Change(func(c *talktest.Cloud) { c.Away = true })
			r.lab.Restart()
			sleep(time.Hour)
			r.lab.Cloud.Change(func(c *talktest.Cloud) { c.Away = false })
		}, talk.ReturnTime + 30*time.Second},
		// Who had hung up before is not expected.
		"she had hung up before": {func(r *rig, alice *talktest.User) {
			alice.Call(false)
			sleep(5 * time.Second)
			r.lab.Drop()
			sleep(time.Second)
		}, talk.EmptyTime},
		"long after": {func(r *rig, alice *talktest.User) {
			r.lab.Drop()
			sleep(62 * time.Second)
			alice.Leave()
		}, talk.EmptyTime},
	} {
		t.Run(name, func(t *testing.T) {
			inRoom(t, func(r *rig, room *talk.Room, _ string) {
				alice := r.lab.Cloud.Join(token, "alice")
				sleep(10 * time.Minute)
				r.forget()
				c.outage(r, alice)
				if r.emptied() {
					t.Fatal("told already")
				}
				sleep(c.within + time.Second)
				if !r.emptied() || room.Humans() != 0 {
					t.Errorf("not told within %v, %d humans", c.within, room.Humans())
				}
			})
		})
	}
}

// A question to Nextcloud that is on its way does not keep a room.
func TestARoomIsLeftWhileNextcloudIsAsked(t *testing.T) {
	bubble(t, func(r *rig) {
		room := r.session.Join(token)
		alice := r.lab.Cloud.Join(token, "alice")
		sleep(time.Second)
		r.lab.Cloud.Change(func(c *talktest.Cloud) { c.StatusDelay = time.Hour })
		alice.Leave()
		sleep(talk.EmptyTime)
		room.Leave()
		sleep(time.Second)
		r.stop()
	})
}
