package dialout

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

// The steps of a call at which a connection may be lost.
var steps = []string{"accepted", "ringing", "connected", "cleared"}

// through takes a call through its steps, and has lose called at one of them.
func through(st *talkStage, at string, lose func()) (id string) {
	step := func(name string) {
		synctest.Wait()
		if name == at {
			lose()
		}
	}
	id, l := st.dial()
	step("accepted")
	l.rings()
	step("ringing")
	l.connects()
	step("connected")
	l.ends(phone, nil)
	step("cleared")
	return id
}

func TestACallOutlivesALostConnectionAtEachStep(t *testing.T) {
	for _, at := range steps {
		t.Run(at, func(t *testing.T) {
			inTalk(t, func(st *talkStage) {
				id := through(st, at, st.lab.Drop)
				time.Sleep(10 * time.Second)
				st.shows(id, "accepted", "ringing", "connected", "cleared", "removed")
				if p := st.lab.Cloud.Phones(token); len(p) != 0 {
					t.Errorf("phones %q stay", p)
				}
			})
		})
	}
}

// outages are what may happen to the signaling server or the way to it, and
// when somebody is in the conversation again.
var outages = map[string]func(st *talkStage){
	"a moment": func(st *talkStage) { st.lab.Drop() },
	"less than a session lasts": func(st *talkStage) {
		st.cutOff(25 * time.Second)
	},
	"a bit more than that": func(st *talkStage) {
		st.cutOff(35 * time.Second)
	},
	"long": func(st *talkStage) {
		st.cutOff(20 * time.Minute)
	},
	"long, while somebody is away for a moment": func(st *talkStage) {
		st.user.Call(false)
		synctest.Wait()
		st.cutOff(2 * time.Minute)
		st.user.Call(true)
	},
	"restarted": func(st *talkStage) {
		st.lab.Restart()
		st.user.Return()
	},
	"restarted, people come back late": func(st *talkStage) {
		st.lab.Restart()
		time.Sleep(3 * time.Minute)
		st.user.Return()
	},
	"restarted after two minutes, people come back late": func(st *talkStage) {
		st.lab.Refuse(true)
		st.lab.Restart()
		time.Sleep(2 * time.Minute)
		st.lab.Refuse(false)
		time.Sleep(3 * time.Minute)
		st.user.Return()
	},
	"restarted twice": func(st *talkStage) {
		st.lab.Restart()
		time.Sleep(300 * time.Millisecond)
		st.lab.Restart()
		st.user.Return()
	},
	"without a sign, then restarted": func(st *talkStage) {
		st.lab.Freeze()
		time.Sleep(10 * time.Second)
		st.lab.Restart()
		st.user.Return()
		time.Sleep(2 * time.Minute)
	},
	"the room's connection only": func(st *talkStage) {
		st.lab.DropRooms()
		time.Sleep(time.Minute)
	},
	"everybody's, resumed by us alone": func(st *talkStage) {
		st.user.Lose()
		st.cutOff(25 * time.Second)
		time.Sleep(2 * time.Minute) // her session has ended: that is told after our return
		st.user.Return()
	},
	"everybody's for too long": func(st *talkStage) {
		st.user.Lose()
		st.cutOff(45 * time.Second)
		time.Sleep(2 * time.Minute)
		st.user.Return()
	},
	"everybody's for ten minutes": func(st *talkStage) {
		st.user.Lose()
		st.cutOff(10 * time.Minute)
		time.Sleep(4 * time.Minute)
		st.user.Return()
	},
	"without a sign, for everybody": func(st *talkStage) {
		st.lab.Freeze()
		st.user.Lose()
		time.Sleep(2 * time.Minute) // found out, and resumed or not
		time.Sleep(2 * time.Minute)
		st.user.Return()
	},
	"the connection for requests only": func(st *talkStage) {
		st.lab.ForgetDialout()
		time.Sleep(time.Minute)
	},
	"restarted, Nextcloud is away for ten minutes": func(st *talkStage) {
		st.lab.Cloud.Change(func(c *talktest.Cloud) { c.Away = true })
		st.lab.Restart()
		time.Sleep(10 * time.Minute)
		st.lab.Cloud.Change(func(c *talktest.Cloud) { c.Away = false })
		time.Sleep(2 * time.Minute)
		st.user.Return()
		time.Sleep(time.Minute)
	},
	"Nextcloud is away for half an hour": func(st *talkStage) {
		st.lab.Cloud.Change(func(c *talktest.Cloud) { c.Away = true })
		st.cutOff(31 * time.Second)
		time.Sleep(30 * time.Minute)
		st.lab.Cloud.Change(func(c *talktest.Cloud) { c.Away = false })
		time.Sleep(2 * time.Minute)
	},
	"Nextcloud is restarted with it": func(st *talkStage) {
		st.lab.Cloud.Change(func(c *talktest.Cloud) { c.RefusePhones = true })
		st.lab.Restart()
		time.Sleep(time.Minute)
		st.lab.Cloud.Change(func(c *talktest.Cloud) { c.RefusePhones = false })
		st.user.Return()
		time.Sleep(time.Minute)
	},
}

// cutOff has the signaling server not be reached for a while. It does not notice.
func (st *talkStage) cutOff(d time.Duration) {
	st.lab.Refuse(true)
	st.lab.Drop()
	time.Sleep(d)
	st.lab.Refuse(false)
}

func TestACallOutlivesAnOutageOfTheSignalingServer(t *testing.T) {
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			inTalk(t, func(st *talkStage) {
				id, l := st.connected()
				st.user.Control(id, `{"type":"mute","audio":1}`)
				time.Sleep(time.Minute) // and a ping came since
				outage(st)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if p := st.lab.Cloud.Phones(token); !slices.Equal(p, []string{id}) {
					t.Errorf("phones %q", p)
				}
				if got := st.lab.Cloud.Statuses(token)[id]; got.Status != "connected" {
					t.Errorf("shown as %+v", got)
				}
				if f := st.lab.Cloud.Flags(token, id); f != int(talk.MutedSpeaking) {
					t.Errorf("shown with the flags %d", f)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if why := l.wasHungUp(); why != nil {
					t.Errorf("hung up: %v\n%s", why, st.log)
				}
				st.user.Control(id, `{"type":"hangup"}`)
				synctest.Wait()
				if !errors.Is(l.wasHungUp(), errModerator) {
					t.Errorf("hung up: %v\n%s", l.wasHungUp(), st.log)
				}
				st.forgets(id)
			})
		})
	}
}

// forgets wants that nothing is left of a call that is over.
func (st *talkStage) forgets(id string) {
	st.t.Helper()
	time.Sleep(20 * time.Second)
	synctest.Wait()
	if p := st.lab.Cloud.Phones(token); len(p) > 0 {
		st.t.Errorf("phones %q stay", p)
	}
	if st.lab.Cloud.Knows(id) {
		st.t.Errorf("for Nextcloud it goes on: %q\n%s", st.lab.Cloud.Requests(), st.log)
	}
	if notes := st.notes(); len(notes) > 0 {
		st.t.Errorf("notes stay: %q", notes)
	}
}

// What happens to a call while nobody in Talk can be told is shown afterwards.
func TestWhatHappensDuringAnOutageIsShownAfterwards(t *testing.T) {
	for name, outage := range outages {
		for _, c := range []struct {
			what   string
			before func(l *testLine)
			during func(l *testLine)
			shown  string
			phone  bool
		}{
			{"nothing", func(l *testLine) {}, func(l *testLine) {}, "accepted", false},
			{"rings", func(l *testLine) {}, (*testLine).rings, "ringing", false},
			{"connects", (*testLine).rings, (*testLine).connects, "connected", true},
			{"ends", (*testLine).connects, func(l *testLine) { l.ends(phone, nil) }, "", false},
			{"is refused", (*testLine).rings, func(l *testLine) { l.ends(phone, sipflow.ErrNoAnswer) }, "", false},
		} {
			t.Run(name+"/"+c.what, func(t *testing.T) {
				inTalk(t, func(st *talkStage) {
					id, l := st.dial()
					c.before(l)
					time.Sleep(time.Minute)
					time.AfterFunc(260*time.Millisecond, func() { c.during(l) }) // when it is tried again for the first time
					outage(st)
					time.Sleep(20 * time.Second)
					synctest.Wait()
					if got := st.lab.Cloud.Statuses(token)[id].Status; got != c.shown && (c.shown != "" || got == "connected" || got == "ringing") {
						t.Errorf("shown as %q\n%s", got, st.log)
					}
					if p := st.lab.Cloud.Phones(token); (len(p) > 0) != c.phone {
						t.Errorf("phones %q", p)
					}
					l.ends(phone, nil)
					st.forgets(id)
				})
			})
		}
	}
}

func TestACallThatEndsWhileTheSignalingServerIsGoneIsCleared(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		st.lab.Refuse(true)
		st.lab.Drop()
		time.Sleep(5 * time.Second)
		l.ends(phone, nil)
		time.Sleep(5 * time.Second)
		st.lab.Refuse(false)
		time.Sleep(5 * time.Second)
		st.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByRemote", Code: 200, Message: "Bye"})
	})
}

// A process may end before the signaling server is back.
func TestACallWhoseEndCouldNotBeSaidIsEndedByTheNextProcess(t *testing.T) {
	for name, connects := range map[string]bool{"connected": true, "ringing": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				lab := talktest.New(t)
				st := &talkStage{stage: newStage(t, withTalk(lab, dir)), lab: lab, dir: dir}
				stop := st.runs()
				synctest.Wait()
				st.user = lab.Cloud.Join(token, "moderator")
				id, l := st.dial()
				if connects {
					l.connects()
				}
				synctest.Wait()
				lab.Refuse(true)
				lab.Drop()
				time.Sleep(time.Second)
				l.ends(phone, sipflow.ErrHungUp)
				time.Sleep(time.Minute)
				if notes := st.notes(); !slices.Equal(notes, []string{id + ".json"}) {
					t.Errorf("noted: %q", notes)
				}
				stop()
				st.user.Leave() // and whoever stays sees it for ever
				st.user = lab.Cloud.Join(token, "moderator")
				lab.Refuse(false)

				next := &talkStage{stage: newStage(t, withTalk(lab, dir)), lab: lab, dir: dir, user: st.user}
				stop = next.runs()
				time.Sleep(30 * time.Second)
				if states := st.user.Calls(id); len(states) == 0 || states[len(states)-1] != "removed" {
					t.Errorf("the user saw %q", states)
				}
				if notes := st.notes(); len(notes) > 0 {
					t.Errorf("notes stay: %q", notes)
				}
				// Nextcloud was away as well.
				if got := slices.Contains(lab.Cloud.Rejected(), id); got == connects {
					t.Errorf("rejected at Nextcloud: %v", got)
				}
				stop()
				lab.Close()
			})
		})
	}
}

// A connection may be there and take nothing.
func TestACallIsNotedUntilItsLastStatusIsSent(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		lab := talktest.New(t)
		st := &talkStage{stage: newStage(t, withTalk(lab, dir)), lab: lab, dir: dir}
		stop := st.runs()
		synctest.Wait()
		st.user = lab.Cloud.Join(token, "moderator")
		id, l := st.connected()
		lab.Stall(true)
		st.user.Control(id, `{"type":"mute","audio":1}`) // what is being read gets through
		synctest.Wait()
		l.ends(phone, nil)
		synctest.Wait()
		if notes := st.notes(); len(notes) != 1 {
			t.Errorf("noted: %q", notes)
		}
		stop()
		lab.Stall(false)
		if states := st.user.Calls(id); states[len(states)-1] != "connected" {
			t.Fatalf("the user saw %q", states)
		}
		next := &talkStage{stage: newStage(t, withTalk(lab, dir)), lab: lab, dir: dir, user: st.user}
		stop = next.runs()
		time.Sleep(time.Second)
		next.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 500, Message: "The phone service was interrupted"})
		time.Sleep(30 * time.Second) // the session of the earlier process
		next.forgets(id)
		stop()
		lab.Close()
	})
}

func TestACallThatIsNotShownIsForgottenByNextcloudAllTheSame(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.lab.Cloud.RefusePhones = true
		id, l := st.dial()
		l.connects()
		time.Sleep(time.Minute)
		st.shows(id, "accepted", "connected")
		l.ends(phone, nil)
		st.rejected(id, true)
	})
}

// Nextcloud may hang for longer than the call lasts.
func TestACallThatIsOverBeforeItsPhoneFailsToBeShownIsForgottenByNextcloud(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.lab.Cloud.PhoneDelay = 11 * time.Second
		id, l := st.dial()
		l.connects()
		time.Sleep(3 * time.Second)
		l.ends(phone, nil)
		st.rejected(id, true)
		st.shows(id, "accepted", "connected", "cleared", "removed")
	})
}

func TestARequestIsNotAcceptedOnceItsConnectionIsForgotten(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.lab.Cloud.VerifyDelay = 3 * time.Second
		answered := make(chan error, 1)
		go func() {
			_, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101))
			answered <- err
		}()
		time.Sleep(time.Second)
		st.lab.Restart()
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := <-answered; err == nil {
			t.Error("it was accepted")
		}
		if len(st.lines()) > 0 {
			t.Error("a phone was called that nobody knows of")
		}
	})
}

// crashed runs a call up to a step and returns the journal's folder as it was
// then.
func crashed(t *testing.T, at string) (dir, id string) {
	dir = t.TempDir()
	inTalk(t, func(st *talkStage) {
		var l *testLine
		id, l = st.dial()
		if at == "connected" {
			l.connects()
		}
		synctest.Wait()
		for _, name := range st.notes() {
			data, err := os.ReadFile(filepath.Join(st.dir, name))
			if err != nil {
				st.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				st.t.Fatal(err)
			}
		}
		l.ends(phone, sipflow.ErrHungUp)
	})
	return dir, id
}

func TestCallsOfAProcessThatWasKilledAreEndedByTheNext(t *testing.T) {
	for _, at := range []string{"accepted", "connected"} {
		t.Run(at, func(t *testing.T) {
			dir, id := crashed(t, at)
			synctest.Test(t, func(t *testing.T) {
				lab := talktest.New(t)
				user := lab.Cloud.Join(token, "alice")
				st := &talkStage{stage: newStage(t, withTalk(lab, dir)), lab: lab, dir: dir, user: user}
				stop := st.runs()
				time.Sleep(time.Second)
				st.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 500, Message: "The phone service was interrupted"})
				time.Sleep(30 * time.Second)
				requests := strings.Join(lab.Cloud.Requests(), "\n")
				if asked := strings.Contains(requests, "rejected-dialout"); asked != (at == "accepted") {
					t.Errorf("asked of Nextcloud:\n%s", requests)
				}
				if notes := st.notes(); len(notes) > 0 {
					t.Errorf("notes stay: %q\n%s", notes, st.log)
				}
				stop()
				lab.Close()
			})
		})
	}
}

func TestWhatAFormerRunLeftWaitsForTheSignalingServer(t *testing.T) {
	dir, id := crashed(t, "connected")
	synctest.Test(t, func(t *testing.T) {
		lab := talktest.New(t)
		lab.Refuse(true)
		st := &talkStage{stage: newStage(t, withTalk(lab, dir)), lab: lab, dir: dir}
		stop := st.runs()
		time.Sleep(time.Minute)
		if len(st.notes()) != 1 {
			t.Error("forgotten before anybody was told")
		}
		lab.Refuse(false)
		st.user = lab.Cloud.Join(token, "alice")
		time.Sleep(20 * time.Second)
		st.shows(id, "cleared", "removed")
		stop()
		lab.Close()
	})
}

// The signaling server may never take what was written to its connection, or
// forget it. Nextcloud learns in any case that the call is over.
func TestNextcloudForgetsACallWhateverWasLostOfIt(t *testing.T) {
	for name, lose := range map[string]func(st *talkStage, l *testLine){
		"nothing":       func(st *talkStage, l *testLine) {},
		"addsession":    cutting(`"addsession"`),
		"connected":     cutting(`"status":"connected"`),
		"removesession": cutting(`"removesession"`),
		"cleared":       cutting(`"status":"cleared"`),
		"the session, while it ends": func(st *talkStage, l *testLine) {
			l.connects()
			synctest.Wait()
			st.lab.Refuse(true)
			st.lab.Restart()
			time.Sleep(time.Second)
			l.ends(phone, nil)
			time.Sleep(3 * time.Minute)
			st.lab.Refuse(false)
		},
		"all, without a sign": func(st *talkStage, l *testLine) {
			time.Sleep(10 * time.Second)
			st.lab.Freeze()
			l.connects()
			time.Sleep(time.Second)
			l.ends(phone, nil)
			time.Sleep(70 * time.Second)
			st.lab.Drop()
		},
	} {
		for pause := range 2 { // between the steps
			t.Run(name, func(t *testing.T) {
				inTalk(t, func(st *talkStage) {
					id, l := st.dial()
					lose(st, l)
					l.connects()
					time.Sleep(time.Duration(pause) * 10 * time.Second)
					l.ends(phone, nil)
					time.Sleep(20 * time.Second)
					synctest.Wait()
					if p := st.lab.Cloud.Phones(token); len(p) > 0 {
						t.Errorf("phones %q stay", p)
					}
					if st.lab.Cloud.Knows(id) {
						t.Errorf("for Nextcloud it goes on: %q\n%s", st.lab.Cloud.Requests(), st.log)
					}
					if name == "nothing" && len(st.lab.Cloud.Rejected()) > 0 {
						t.Error("told twice")
					}
				})
			})
		}
	}
}

// cutting loses the connection with the first message to the signaling server
// that holds what, and all behind it.
func cutting(what string) func(*talkStage, *testLine) {
	return func(st *talkStage, _ *testLine) {
		done := false
		synctest.Wait() // the lab looks at Cut
		st.lab.Cut = func(sent bool, m []byte) bool {
			cut := !done && !sent && strings.Contains(string(m), what)
			done = done || cut
			return cut
		}
	}
}
