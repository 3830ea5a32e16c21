package talk_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

func TestCallIsShownFromAcceptanceToEnd(t *testing.T) {
	bubble(t, func(r *rig) {
		user := r.lab.Cloud.Join(token, "alice")
		id := r.call(101)
		if q := r.last(); q.RoomID != token || q.Number != "+493055500200" || q.Options.AttendeeID != 101 || q.Options.ActorID != "actor-101" ||
			q.Options.ActorType != "phones" {
			t.Errorf("the request was %+v", q)
		}
		room := r.session.Join(token)
		synctest.Wait()
		if n := r.lab.Cloud.BridgesIn(token); n != 1 {
			t.Errorf("%d bridges in the room", n)
		}
		r.status(id, talk.Ringing)
		r.add(id, 101)
		if n := r.sent("addsession", `"incall":9`, `"number":"+493055500200"`, `"callid":"`+id+`"`, `"displayname":"Phone"`, `"type":"phone"`,
			`"actorId":"actor-101"`, `"actorType":"phones"`); n != 1 {
			t.Errorf("%d phone sessions as they should be", n)
		}
		r.status(id, talk.Connected)
		if got := r.lab.Cloud.Phones(token); len(got) != 1 || got[0] != id {
			t.Errorf("phones %q", got)
		}
		if err := r.session.UpdateSession(id, talk.MutedSpeaking); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if all := strings.Join(user.Events(), "\n"); !strings.Contains(all, `"type":"flags"`) || !strings.Contains(all, `"flags":1`) {
			t.Error("the user did not see the flags:", all)
		}
		if _, err := r.session.RemoveSession(id); err != nil {
			t.Error(err)
		}
		if err := r.session.Status(token, talk.Status{CallID: id, State: talk.Cleared, Cause: "EndedByRemote", Code: 200,
			Message: "Bye"}); err != nil {
			t.Error(err)
		}
		room.Leave()
		synctest.Wait()
		if got := r.lab.Cloud.Statuses(token)[id]; got != (talktest.CallStatus{CallID: id, Status: "cleared", Cause: "EndedByRemote", Code: 200,
			Message: "Bye"}) {
			t.Errorf("last status %+v", got)
		}
		sleep(5 * time.Second)
		saw(t, user, id, "accepted", "ringing", "connected", "cleared", "removed")
		if n := r.lab.Cloud.BridgesIn(token); n != 0 || len(r.lab.Cloud.Phones(token)) != 0 {
			t.Errorf("%d bridges and phones %q stay in the room", n, r.lab.Cloud.Phones(token))
		}
		if r.sent(`"type":"bye"`) != 1 {
			t.Error("the room's connection did not say bye")
		}
		if err := r.session.UpdateSession(id, 0); !errors.Is(err, talk.ErrNotAdded) {
			t.Errorf("flags of a phone that left: %v", err)
		}
	})
}

func TestRefusalReachesTheUser(t *testing.T) {
	bubble(t, func(r *rig) {
		user := r.lab.Cloud.Join(token, "alice")
		r.lab.Cloud.VerifyStatus = 400
		_, err := r.lab.Cloud.Dialout(token, "+493055500200", talktest.Options(101))
		var refused *talktest.DialoutError
		if !errors.As(err, &refused) ||
			*refused != (talktest.DialoutError{Status: 502, Code: "not_allowed", Message: "The number could not be verified."}) {
			t.Errorf("the user was told %v", err)
		}
		saw(t, user, "call-1")
	})
}

func TestRequestsAreAnsweredOnceAndInTime(t *testing.T) {
	manual := func(r *rig, _ *talk.Config) { r.auto = false }
	verify := func(q *talk.Request) {
		_, _ = q.Session.Backend().VerifyDialout(q.Context(), q.RoomID, q.Number, q.Options)
	}
	t.Run("once", func(t *testing.T) {
		bubble(t, func(r *rig) {
			done := dialWait(t, func() (string, error) {
				return r.lab.Cloud.Dialout(token, "+493055500200", talktest.Options(101))
			})
			q := r.last()
			verify(q)
			if err := q.Accept("c1"); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := q.Accept("c1"); !errors.Is(err, talk.ErrAnswered) {
				t.Errorf("accepted twice: %v", err)
			}
			if err := q.Refuse("x", "y"); !errors.Is(err, talk.ErrAnswered) {
				t.Errorf("refused after that: %v", err)
			}
			sleep(time.Minute)
			r.status("c1", talk.Cleared)
			if n := r.sent(`"type":"dialout"`); n != 2 {
				t.Errorf("%d answers and statuses", n)
			}
		}, manual)
	})
	t.Run("nobody answers", func(t *testing.T) {
		bubble(t, func(r *rig) {
			from := time.Now()
			_, err := r.lab.Cloud.Dialout(token, "+493055500200", talktest.Options(101))
			if took := time.Since(from); took != talk.AnswerTime || err == nil || !strings.Contains(err.Error(), "timeout") {
				t.Errorf("answered %v after %v", err, took)
			}
			q := r.last()
			if err := q.Accept("late"); !errors.Is(err, talk.ErrLate) || q.Context().Err() == nil {
				t.Errorf("accepted late: %v", err)
			}
		}, manual)
	})
	t.Run("the connection is away for too long", func(t *testing.T) {
		bubble(t, func(r *rig) {
			done := dialWait(t, func() (string, error) {
				return r.lab.Cloud.Dialout(token, "+493055500200", talktest.Options(101))
			})
			q := r.last()
			verify(q)
			r.lab.Refuse(true)
			r.lab.Drop()
			synctest.Wait()
			from := time.Now()
			err := q.Accept("c1")
			if took := time.Since(from); !errors.Is(err, talk.ErrLate) || took > talk.AnswerTime {
				t.Errorf("accepted after %v: %v", took, err)
			}
			r.lab.Refuse(false)
			if err := <-done; err == nil || !strings.Contains(err.Error(), "timeout") {
				t.Errorf("the user was told %v", err)
			}
		}, manual)
	})
	t.Run("the connection is away for a while", func(t *testing.T) {
		bubble(t, func(r *rig) {
			user := r.lab.Cloud.Join(token, "alice")
			done := dialWait(t, func() (string, error) {
				return r.lab.Cloud.Dialout(token, "+493055500200", talktest.Options(101))
			})
			q := r.last()
			verify(q)
			r.lab.Refuse(true)
			r.lab.Drop()
			time.AfterFunc(2*time.Second, func() { r.lab.Refuse(false) })
			if err := q.Accept("c1"); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			r.status("c1", talk.Cleared)
			saw(t, user, "c1", "accepted", "cleared")
		}, manual)
	})
	t.Run("the server forgets", func(t *testing.T) {
		bubble(t, func(r *rig) {
			for range 2 { // one is accepted meanwhile, one after that
				dialWait(t, func() (string, error) {
					return r.lab.Cloud.Dialout(token, "+493055500200", talktest.Options(101))
				})
			}
			a, b := r.requests[0], r.requests[1]
			r.lab.Refuse(true)
			r.lab.Restart()
			synctest.Wait()
			time.AfterFunc(time.Second, func() { r.lab.Refuse(false) })
			if err := a.Accept("c1"); !errors.Is(err, talk.ErrGone) {
				t.Errorf("accepted meanwhile: %v", err)
			}
			if err := b.Accept("c2"); !errors.Is(err, talk.ErrGone) {
				t.Errorf("accepted after that: %v", err)
			}
		}, manual)
	})
}

func TestOddRequestsAreRefused(t *testing.T) {
	bubble(t, func(r *rig) {
		for _, c := range []struct{ name, options, code string }{
			{"attendee is no number", `{"attendeeId":"x","actorType":"phones"}`, "invalid_options"},
			{"caller is no string", `{"attendeeId":1,"caller":5}`, "invalid_options"},
			{"options are a list", `[]`, "invalid_options"},
		} {
			_, err := r.lab.Cloud.Dialout(token, "+493055500200", c.options)
			var refused *talktest.DialoutError
			if !errors.As(err, &refused) || refused.Code != c.code {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if _, err := r.lab.Cloud.Dialout(strings.Repeat("1", 33), "+493055500200", talktest.Options(1)); err == nil ||
			!strings.Contains(err.Error(), "invalid_roomid") {
			t.Errorf("a token that is too long: %v", err)
		}
		if len(r.requests) != 0 {
			t.Errorf("%d requests came through", len(r.requests))
		}
	})
}

func TestPhoneThatIsNotAddedIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*talktest.Cloud)
		want   string
	}{
		"not invited":       {func(c *talktest.Cloud) { c.RefusePhones = true }, "The user is not invited to this room."},
		"nextcloud is slow": {func(c *talktest.Cloud) { c.PhoneDelay = time.Minute }, "Could not join virtual session."},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				user := r.lab.Cloud.Join(token, "alice")
				id := r.call(101)
				c.change(r.lab.Cloud)
				r.forget()
				r.add(id, 101)
				r.status(id, talk.Connected)
				sleep(10 * time.Second)
				r.was("add failed " + id + ": signaling server: add_failed: " + c.want)
				if _, err := r.session.RemoveSession(id); err != nil || r.sent("removesession") != 0 {
					t.Errorf("removed what was not added: %v", err)
				}
				r.lab.Cloud.RefusePhones, r.lab.Cloud.PhoneDelay = false, 0
				r.add(id, 101) // may be tried again
				r.status(id, talk.Cleared)
				saw(t, user, id, "accepted", "connected", "cleared")
				if len(r.lab.Cloud.Phones(token)) != 1 {
					t.Error("not added when tried again")
				}
			})
		})
	}
}

func TestPhoneIsAddedOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		r.lab.Cloud.Join(token, "alice")
		id := r.call(101)
		r.add(id, 101)
		if err := r.session.AddSession(phone(id, 101)); !errors.Is(err, talk.ErrAdded) {
			t.Errorf("added twice: %v", err)
		}
		if err := r.session.AddSession(talk.Phone{CallID: "x", DisplayName: strings.Repeat("x", 64<<10)}); !errors.Is(err, talk.ErrTooLong) {
			t.Errorf("a message of more than 64 KiB: %v", err)
		}
		r.status(id, talk.Cleared)
		if n := r.sent("addsession"); n != 1 {
			t.Errorf("%d phone sessions sent", n)
		}
	})
}

func TestEndOfServeLeavesNothingBehind(t *testing.T) {
	for _, away := range []bool{false, true} {
		bubble(t, func(r *rig) {
			user := r.lab.Cloud.Join(token, "alice")
			id := r.call(101)
			r.session.Join(token)
			r.add(id, 101)
			r.status(id, talk.Connected)
			if away {
				r.lab.Refuse(true)
				r.lab.Drop()
				sleep(3 * time.Second)
				time.AfterFunc(time.Second, func() { r.lab.Refuse(false) })
			}
			if _, err := r.session.RemoveSession(id); err != nil {
				t.Error(err)
			}
			if err := r.session.Status(token, talk.Status{CallID: id, State: talk.Cleared}); err != nil {
				t.Error(err)
			}
			from := time.Now()
			r.stop()
			if took := time.Since(from); took > talk.FlushTime || !away && took != 0 {
				t.Errorf("Serve ended after %v", took)
			}
			saw(t, user, id, "accepted", "connected", "cleared")
			if n := r.lab.Sessions(); n != 1 {
				t.Errorf("%d sessions are left, not only the user's", n)
			}
			if err := r.session.Status(token, talk.Status{CallID: id, State: talk.Cleared}); !errors.Is(err, talk.ErrClosed) {
				t.Errorf("a status after the end: %v", err)
			}
			r.session.Join(token).Leave()
		})
	}
}

func TestEndOfServeIsBounded(t *testing.T) {
	for name, break_ := range map[string]func(*rig){
		"refused": func(r *rig) { r.lab.Refuse(true); r.lab.Drop() },
		"frozen":  func(r *rig) { r.lab.Freeze() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.session.Join(token)
				synctest.Wait()
				break_(r)
				r.status("c", talk.Cleared)
				from := time.Now()
				r.stop()
				if took := time.Since(from); took > talk.FlushTime {
					t.Errorf("Serve ended after %v", took)
				}
			})
		})
	}
}
