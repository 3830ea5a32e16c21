package talk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

// cutOnce loses the connection at the first message, sent or taken, that holds
// what.
func cutOnce(r *rig, sent bool, what string) {
	done := false
	synctest.Wait() // the lab looks at Cut
	r.lab.Cut = func(s bool, m []byte) bool {
		if done || s != sent || !strings.Contains(string(m), what) {
			return false
		}
		done = true
		return true
	}
}

func TestConnectionLostAtEachStepOfHello(t *testing.T) {
	for _, c := range []struct {
		name string
		sent bool
		what string
	}{
		{"before welcome", true, `"welcome":`},
		{"before hello is taken", false, `"type":"hello"`},
		{"before hello is answered", true, `"sessionid"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.was("down")
				sleep(talk.FirstPause)
				r.was("up first")
				if up, err := r.session.Connected(); !up || err != nil {
					t.Error(up, err)
				}
				id := r.call(1)
				r.status(id, talk.Rejected)
			}, func(r *rig, _ *talk.Config) { cutOnce(r, c.sent, c.what) })
		})
	}
}

func TestServerThatFallsSilent(t *testing.T) {
	for name, c := range map[string]struct {
		before string
		sent   bool
		within time.Duration
	}{
		"before welcome":           {`"welcome"`, true, 2 * time.Second},
		"before hello is answered": {`"hello"`, false, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				sleep(c.within - time.Second)
				r.was()
				sleep(2 * time.Second)
				r.was("down", "up first")
			}, func(r *rig, _ *talk.Config) {
				frozen := false
				r.lab.Cut = func(sent bool, m []byte) bool {
					if !frozen && sent == c.sent && strings.Contains(string(m), c.before) {
						frozen = true
						r.lab.Freeze()
					}
					return false
				}
			})
		})
	}
}

func TestServerThatIsNotThereIsTriedAgain(t *testing.T) {
	bubble(t, func(r *rig) {
		r.was("down")
		if up, err := r.session.Connected(); up || err == nil {
			t.Error(up, err)
		}
		sleep(time.Hour)
		r.was() // told once
		r.lab.Refuse(false)
		sleep(5 * time.Second) // the longest pause
		r.was("up first")
	}, func(r *rig, _ *talk.Config) { r.lab.Refuse(true) })
}

// What is said while the connection is lost comes in order once the session is
// resumed, and what came meanwhile does too.
func TestSessionIsResumed(t *testing.T) {
	bubble(t, func(r *rig) {
		user := r.lab.Cloud.Join(token, "alice")
		id, second := r.call(101), r.call(102)
		r.session.Join(token)
		r.add(second, 102)
		sleep(time.Minute) // and a ping came since
		r.forget()
		r.lab.Refuse(true)
		r.lab.Drop()
		synctest.Wait()
		r.was("down")
		r.status(id, talk.Ringing)
		r.add(id, 101)
		r.status(id, talk.Connected)
		user.Control(second, `{"type":"dtmf","digit":"5"}`)
		user.Control(second, `{"type":"hangup"}`)
		sleep(15 * time.Second)
		r.lab.Refuse(false)
		sleep(5 * time.Second)
		saw(t, user, id, "accepted", "ringing", "connected")
		r.was("up resumed", `control call-2 kind=2 digit='5' mute=0 reason=""`, `control call-2 kind=1 digit='\x00' mute=0 reason=""`)
		if n := r.sent("addsession", second); n != 1 {
			t.Errorf("%s was added %d times", second, n)
		}
		if got := r.lab.Cloud.Phones(token); len(got) != 2 {
			t.Errorf("phones %q", got)
		}
		third := r.call(103) // and calls are asked for again
		for _, id := range []string{id, second, third} {
			r.status(id, talk.Cleared)
		}
	})
}

func TestSessionThatIsForgottenIsBegunAgain(t *testing.T) {
	for name, lose := range map[string]func(*rig){
		"too late to resume": func(r *rig) {
			r.lab.Refuse(true)
			r.lab.Drop()
			sleep(31 * time.Second)
			r.lab.Refuse(false)
			sleep(5 * time.Second)
		},
		"restarted": func(r *rig) {
			r.lab.Restart()
			r.lab.Cloud.Join(token, "bob")
			sleep(5 * time.Second)
		},
		"restarted, and nobody has come back yet": func(r *rig) {
			r.lab.Restart()
			sleep(5 * time.Second)
		},
		"restarted, and the room's connection is last": func(r *rig) {
			failed := 0
			synctest.Wait()
			r.lab.Cut = func(sent bool, m []byte) bool {
				if sent || failed == 3 || !strings.Contains(string(m), "internal-incall") {
					return false
				}
				failed++
				return true
			}
			r.lab.Restart()
			sleep(30 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var id string
			again := false
			bubble(t, func(r *rig) {
				r.lab.Cloud.Join(token, "alice")
				id = r.call(101)
				r.session.Join(token)
				r.add(id, 101)
				r.status(id, talk.Connected)
				r.forget()
				lose(r)
				synctest.Wait()
				if !again {
					t.Fatal("nobody was told that all is to be said again")
				}
				if got := r.lab.Cloud.Phones(token); len(got) != 1 || got[0] != id {
					t.Errorf("phones %q", got)
				}
				if s := r.lab.Cloud.Statuses(token)[id].Status; s != "connected" {
					t.Errorf("status %q", s)
				}
				if n := r.lab.Cloud.BridgesIn(token); n != 1 {
					t.Errorf("%d bridges in the room", n)
				}
				if n := r.sent(`"resumeid"`); n < 1 {
					t.Error("resuming was not tried")
				}
				other := r.call(102)
				r.status(other, talk.Cleared)
				r.status(id, talk.Cleared)
			}, func(r *rig, cfg *talk.Config) {
				cfg.Handler.Again = func(s *talk.Session, roomID string) {
					if roomID != token || again {
						t.Errorf("told of %q, before that: %v", roomID, again)
					}
					again = true
					if err := s.AddSession(phone(id, 101)); err != nil {
						t.Error(err)
					}
					if err := s.Status(token, talk.Status{CallID: id, State: talk.Connected}); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// A call that ended while the connection was lost is cleared for the new
// session too: nobody else would say so.
func TestLastStatusOutlivesTheSession(t *testing.T) {
	bubble(t, func(r *rig) {
		user := r.lab.Cloud.Join(token, "alice")
		id := r.call(101)
		r.lab.Refuse(true)
		r.lab.Drop()
		synctest.Wait()
		r.status(id, talk.Ringing)
		r.status(id, talk.Cleared)
		sleep(40 * time.Second)
		r.lab.Refuse(false)
		sleep(5 * time.Second)
		saw(t, user, id, "accepted", "cleared")
		r.forget()
	})
}

// TCP takes what never arrives: what was written right before the connection
// was found to be lost is said again.
func TestStatusLostOnTheWayIsSaidAgain(t *testing.T) {
	bubble(t, func(r *rig) {
		user := r.lab.Cloud.Join(token, "alice")
		id := r.call(101)
		sleep(30 * time.Second)
		r.lab.Freeze()
		r.status(id, talk.Ringing)
		r.status(id, talk.Connected)
		sleep(10 * time.Second)
		saw(t, user, id, "accepted")
		r.lab.Drop()
		sleep(time.Second)
		saw(t, user, id, "accepted", "connected")
		r.lab.Drop() // and not a second time
		sleep(time.Second)
		if n := r.sent(`"connected"`); n > 2 {
			t.Errorf("connected was said %d times", n)
		}
		r.status(id, talk.Cleared)
	})
}

func TestSilentConnectionIsReplaced(t *testing.T) {
	bubble(t, func(r *rig) {
		sleep(time.Hour) // pings keep it
		r.was("up first")
		r.lab.Freeze()
		sleep(75*time.Second + talk.FirstPause)
		r.was("down", "up resumed")
		if n := r.lab.Bridges(); n != 1 {
			t.Errorf("%d bridges", n)
		}
	})
}

// A session that another connection has taken over is not fought for.
func TestByeOfTheServerBeginsAnotherSession(t *testing.T) {
	bubble(t, func(r *rig) {
		r.lab.Bye("session_resumed")
		sleep(talk.FirstPause)
		r.was("up first", "down", "up renewed")
		if n := r.sent(`"resumeid"`); n != 0 {
			t.Error("a session that had ended was to be resumed")
		}
	})
}

func TestLostWithAddsessionOnTheWay(t *testing.T) {
	bubble(t, func(r *rig) {
		user := r.lab.Cloud.Join(token, "alice")
		id := r.call(101)
		cutOnce(r, false, "addsession") // taken, then lost
		r.add(id, 101)
		r.status(id, talk.Connected)
		sleep(5 * time.Second)
		if n := r.sent("addsession"); n > 1 {
			t.Errorf("added %d times", n)
		}
		saw(t, user, id, "accepted", "connected")
		r.status(id, talk.Cleared)
	})
}

func TestLostWhileResuming(t *testing.T) {
	for _, sent := range []bool{false, true} {
		bubble(t, func(r *rig) {
			user := r.lab.Cloud.Join(token, "alice")
			id := r.call(101)
			what := `"resumeid"`
			cutOnce(r, sent, what)
			r.lab.Drop()
			r.status(id, talk.Connected)
			sleep(5 * time.Second)
			saw(t, user, id, "accepted", "connected")
			r.was("up first", "down", "up resumed")
			r.status(id, talk.Cleared)
		})
	}
}

func TestRefusedHelloIsNotTriedAgainSoon(t *testing.T) {
	for name, change := range map[string]func(*rig, *talk.Config){
		"secret":  func(_ *rig, c *talk.Config) { c.Servers[0].Secret = "wrong" },
		"backend": func(_ *rig, c *talk.Config) { c.Servers[0].Backends[0].URL = "http://cloud.example/" },
		"feature": func(r *rig, _ *talk.Config) { r.lab.Features = []string{"dialout"} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				sleep(59 * time.Second)
				if n := r.sent("hello"); n > 1 {
					t.Errorf("%d hellos within a minute", n)
				}
				sleep(3 * time.Hour) // ten within half an hour, and the lab complains
				if n := r.sent("hello"); name != "feature" && n < 5 {
					t.Errorf("%d hellos in three hours", n)
				}
				if up, err := r.session.Connected(); up || err == nil {
					t.Errorf("up %v, error %v", up, err)
				}
				r.was("down")
			}, change)
		})
	}
}

func TestTooMuchIsNotQueued(t *testing.T) {
	bubble(t, func(r *rig) {
		r.lab.Refuse(true)
		r.lab.Drop()
		synctest.Wait()
		var err error
		for i := 0; i < 10000 && err == nil; i++ {
			err = r.session.Status(token, talk.Status{CallID: "c", State: talk.Ringing})
		}
		if !errors.Is(err, talk.ErrBacklog) {
			t.Errorf("10000 statuses: %v", err)
		}
	})
}

func TestServerThatSendsAnythingDoesNoHarm(t *testing.T) {
	bubble(t, func(r *rig) {
		for _, m := range []string{`5`, `null`, `[]`, `{}`, `{"type":5}`, `{"type":"internal"}`, `{"id":"x","type":"internal","internal":[]}`,
			`{"type":"control","control":null}`, `{"type":"control","control":{"recipient":{"type":"session","sessionid":"x"},"data":[1]}}`,
			`{"type":"event","event":{"target":"room","type":"join","join":5}}`, `{"type":"error"}`, `{"type":"unheard-of","x":{}}`,
			`{"type":"message","message":{}}`,
			`{"type":"room","room":{"roomid":""}}`, "\xff\xfe", strings.Repeat("[", 20000)} {
			r.lab.Say(m)
		}
		synctest.Wait()
		r.was("up first")
		r.lab.Say(`{"x":"` + strings.Repeat("x", 70<<10) + `"}`)
		sleep(time.Second)
		r.was("down", "up resumed")
		request := func(id, backend string) {
			r.lab.Say(`{"id":"` + id + `","type":"internal","internal":{"type":"dialout","dialout":{"roomid":"1","backend":"` + backend +
				`","request":{"number":"+4930"}}}}`)
		}
		request("other", "http://cloud.example/")
		synctest.Wait()
		if n := r.sent(`"id":"other"`, "invalid_backend"); n != 1 || len(r.requests) != 0 {
			t.Errorf("%d answers to a request of another Nextcloud, %d came through", n, len(r.requests))
		}
		request("again", "HTTP://Cloud.example:80/nextcloud")
		request("again", talktest.CloudURL)
		synctest.Wait()
		if len(r.requests) != 1 {
			t.Errorf("%d requests of one id", len(r.requests))
		}
		for i := range 300 {
			request(fmt.Sprint("many-", i), talktest.CloudURL)
		}
		synctest.Wait()
		if n := r.sent("too_many_requests"); n != 301-256 || len(r.requests) != 256 {
			t.Errorf("%d requests came through, %d were refused", len(r.requests), n)
		}
		// Requests that cannot be understood are answered if they can be.
		if n := r.sent(`"id":"x"`, "invalid_request"); n != 1 {
			t.Errorf("%d answers to a request that is none", n)
		}
	}, func(r *rig, _ *talk.Config) { r.auto, r.lab.OnFault = false, func(talktest.Fault) {} })
}

// A removal that was lost is said again, or the phone would stay for ever. An
// addsession is not, there might be two phones then: that is told.
func TestWhatIsLostOnTheWayOfAPhoneIsMadeUpFor(t *testing.T) {
	for _, c := range []struct {
		name, lost string
		doubt      bool
	}{{"added", `"addsession"`, true}, {"connected", `"status":"connected"`, true}, {"removed", `"removesession"`, false},
		{"cleared", `"status":"cleared"`, false}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				user := r.lab.Cloud.Join(token, "alice")
				id := r.call(101)
				r.forget()
				cutOnce(r, false, c.lost)
				r.add(id, 101)
				r.status(id, talk.Connected)
				sleep(time.Minute) // and a ping came since
				if _, err := r.session.RemoveSession(id); err != nil {
					t.Error(err)
				}
				r.status(id, talk.Cleared)
				sleep(time.Second)
				if p := r.lab.Cloud.Phones(token); len(p) > 0 {
					t.Errorf("phones %q stay", p)
				}
				saw(t, user, id, "accepted", "connected", "cleared")
				if c.doubt {
					r.was("down", "in doubt "+id, "up resumed")
				} else {
					r.was("down", "up resumed")
				}
				sleep(time.Hour)
				r.lab.Drop() // and that is all
				sleep(time.Second)
				r.was("down", "up resumed")
				if n := r.sent("addsession"); n > 1 {
					t.Errorf("added %d times", n)
				}
			})
		})
	}
}

// Whoever waited for the call is told that the server is gone: the phone must
// not be called, in whatever moment it is asked for.
func TestARequestIsNotAcceptedInTheMomentInWhichItIsForgotten(t *testing.T) {
	bubble(t, func(r *rig) {
		dialWait(t, func() (string, error) {
			return r.lab.Cloud.Dialout(token, "+493055500200", talktest.Options(101))
		})
		q := r.last()
		accepted := make(chan error, 1)
		r.session.Between(func() {
			if q.Context().Err() == nil {
				t.Error("the request is still to be verified")
			}
			go func() { accepted <- q.Accept("c1") }()
			synctest.Wait()
		})
		r.lab.Restart()
		sleep(time.Second)
		if err := <-accepted; !errors.Is(err, talk.ErrGone) {
			t.Errorf("accepted: %v", err)
		}
	}, func(r *rig, _ *talk.Config) { r.auto = false })
}

// Nextcloud is not told by a signaling server that has forgotten the phone, in
// whatever moment its call ends.
func TestAForgottenPhoneIsNotSaidToBeRemoved(t *testing.T) {
	bubble(t, func(r *rig) {
		r.lab.Cloud.Join(token, "alice")
		id := r.call(101)
		r.add(id, 101)
		r.status(id, talk.Connected)
		sleep(time.Minute)
		told := make(chan bool, 1)
		r.session.Between(func() {
			is, err := r.session.RemoveSession(id)
			if err != nil {
				t.Error(err)
			}
			told <- is
		})
		r.lab.Restart()
		sleep(time.Second)
		if <-told {
			t.Error("Nextcloud is said to be told")
		}
		r.status(id, talk.Cleared)
	})
}

// endingContext calls a function once it was armed, when it is asked whether it
// is done.
type endingContext struct {
	context.Context
	armed atomic.Bool
	then  func()
}

func (c *endingContext) Err() error {
	if c.armed.CompareAndSwap(true, false) {
		c.then()
	}
	return c.Context.Err()
}

// What was said before the end is delivered, also if it is said and the end comes
// while the connection's writer looks for both.
func TestWhatIsSaidRightBeforeTheEndIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := talktest.New(t)
		client, err := talk.New(config(lab), nil)
		if err != nil {
			t.Fatal(err)
		}
		user := lab.Cloud.Join(token, "alice")
		session := client.Sessions()[0]
		say := func(state talk.CallState) {
			if err := session.Status(token, talk.Status{CallID: "c", State: state}); err != nil {
				t.Error(err)
			}
		}
		inner, cancel := context.WithCancel(t.Context())
		ctx := &endingContext{Context: inner, then: func() { say(talk.Cleared); cancel() }}
		done := make(chan struct{})
		go func() { defer close(done); _ = client.Serve(ctx) }()
		synctest.Wait()
		ctx.armed.Store(true)
		say(talk.Ringing) // and the writer looks
		<-done
		saw(t, user, "c", "ringing", "cleared")
		if n := strings.Count(strings.Join(lab.Messages(), "\n"), `"hello":{"auth"`); n != 1 {
			t.Errorf("it took %d connections", n)
		}
		lab.Close()
	})
}

// A session that begins another one, to be rid of the phones of a room that was
// deleted, says by that what is still to be said.
func TestWhatIsSaidBehindAByeIsDelivered(t *testing.T) {
	bubble(t, func(r *rig) {
		id, other := r.call(101), r.call(102)
		room := r.session.Join(token)
		r.add(id, 101)
		r.lab.Cloud.DeleteRoom(token)
		synctest.Wait()
		r.lab.Refuse(true)
		r.lab.Drop()
		synctest.Wait()
		room.Leave()
		if _, err := r.session.RemoveSession(id); err != nil { // the last phone of the session
			t.Error(err)
		}
		r.status(other, talk.Cleared)
		time.AfterFunc(time.Second, func() { r.lab.Refuse(false) })
		r.stop()
		if n := r.sent(`"cleared"`, other); n != 1 {
			t.Errorf("that the call is over was said %d times", n)
		}
	})
}
