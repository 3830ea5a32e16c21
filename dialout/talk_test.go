package dialout

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

const (
	token  = "4271953862"
	number = "+493055500200"
)

// talkStage is a stage with Talk, in a bubble.
type talkStage struct {
	*stage
	lab  *talktest.Lab
	user *talktest.User // a moderator in the call
	stop func()
	dir  string
}

// withTalk makes cfg one for the lab.
func withTalk(lab *talktest.Lab, dir string, change ...func(*Config)) func(*Config) {
	return func(c *Config) {
		c.Servers = []talk.Server{{URL: talktest.URL, Secret: talktest.Secret,
			Backends: []talk.BackendConfig{{URL: talktest.CloudURL, SIPSecret: talktest.SIPSecret}}}}
		c.Dial = lab.Dial
		c.RoomTarget = "sip:{token}@conference.test"
		c.Dir = dir
		for _, f := range change {
			f(c)
		}
	}
}

// inTalk runs a test in fake time with a service that Talk knows. In the end
// nothing may be left of it: no call, no phone, no note.
func inTalk(t *testing.T, f func(st *talkStage), change ...func(*Config)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		lab := talktest.New(t)
		st := &talkStage{stage: newStage(t, withTalk(lab, dir, change...)), lab: lab, dir: dir}
		st.stop = st.runs()
		synctest.Wait()
		st.user = lab.Cloud.Join(token, "moderator")
		st.user.Moderator = true
		f(st)
		st.stop()
		lab.Close()
		if strings.Contains(st.log.String(), number[1:]) {
			t.Errorf("the log tells the number that was called: %s", st.log)
		}
		if notes := st.notes(); len(notes) > 0 {
			t.Errorf("notes stay: %q", notes)
		}
		if st.active != 0 || len(st.busy) != 0 || len(st.rooms) != 0 || len(st.users) != 0 {
			t.Errorf("counted as in progress: %d calls, %v, %v, %v", st.active, st.busy, st.rooms, st.users)
		}
	})
}

// notes are the files of the journal.
func (st *talkStage) notes() (names []string) {
	files, _ := os.ReadDir(st.dir)
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

// dial has the number called out of the room.
func (st *talkStage) dial() (id string, l *testLine) {
	st.t.Helper()
	id, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101))
	if err != nil {
		st.t.Fatalf("%v\n%s", err, st.log)
	}
	return id, st.one()
}

// shows says which states of a call a user saw.
func (st *talkStage) shows(id string, want ...string) {
	st.t.Helper()
	synctest.Wait()
	if got := st.user.Calls(id); !slices.Equal(got, want) {
		st.t.Errorf("the user saw %q, want %q\n%s", got, want, st.log)
	}
}

// last says what the call's last status was.
func (st *talkStage) last(id string, want talktest.CallStatus) {
	st.t.Helper()
	synctest.Wait()
	want.CallID = id
	if got := st.lab.Cloud.Statuses(token)[id]; got != want {
		st.t.Errorf("last status %+v, want %+v\n%s", got, want, st.log)
	}
}

func (st *talkStage) connected() (id string, l *testLine) {
	st.t.Helper()
	id, l = st.dial()
	l.rings()
	l.connects()
	synctest.Wait()
	if got := st.lab.Cloud.Phones(token); !slices.Equal(got, []string{id}) {
		st.t.Fatalf("phones in the room: %q\n%s", got, st.log)
	}
	return id, l
}

// rejected checks whether Nextcloud was told that the call came to nothing.
func (st *talkStage) rejected(id string, want bool) {
	st.t.Helper()
	time.Sleep(20 * time.Second)
	synctest.Wait()
	if got := slices.Contains(st.lab.Cloud.Rejected(), id); got != want {
		st.t.Errorf("rejected at Nextcloud: %v, want %v: %q\n%s", got, want, st.lab.Cloud.Requests(), st.log)
	}
}

func TestTalkSeesACallFromAcceptanceToEnd(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.dial()
		if l.number != number || l.target != "sip:4271953862@conference.test" || l.callID != id || l.anonymous || !l.client.Trusted {
			t.Errorf("the order was %+v", l.placement)
		}
		if notes := st.notes(); !slices.Equal(notes, []string{id + ".json"}) {
			t.Errorf("noted while it rings: %q", notes)
		}
		st.shows(id, "accepted")
		if n := st.lab.Cloud.BridgesIn(token); n != 1 {
			t.Errorf("%d bridges in the room", n)
		}
		l.rings()
		l.rings()
		st.shows(id, "accepted", "ringing")
		if p := st.lab.Cloud.Phones(token); len(p) != 0 {
			t.Errorf("the phone is shown before it has answered: %q", p)
		}
		l.connects()
		st.shows(id, "accepted", "ringing", "connected")
		if p := st.lab.Cloud.Phones(token); !slices.Equal(p, []string{id}) {
			t.Errorf("phones %q", p)
		}
		l.ends(phone, nil)
		st.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByRemote", Code: 200, Message: "Bye"})
		l.rings() // late
		time.Sleep(5 * time.Second)
		st.shows(id, "accepted", "ringing", "connected", "cleared", "removed")
		if n, p := st.lab.Cloud.BridgesIn(token), st.lab.Cloud.Phones(token); n != 0 || len(p) != 0 {
			t.Errorf("%d bridges and phones %q stay", n, p)
		}
		st.rejected(id, false)
		if got := st.Stats().Calls[FromTalk][Connected]; got != 1 {
			t.Errorf("counted %d", got)
		}
	})
}

func TestEachOutcomeIsSaidInTalkAndAtNextcloud(t *testing.T) {
	refused := func(code int, reason string) error {
		return &sipflow.StatusError{Method: "INVITE", Code: code, Reason: reason}
	}
	for _, tt := range []struct {
		name string
		by   party
		err  error
		want talktest.CallStatus
		o    Outcome
	}{
		{"busy", phone, refused(486, "Busy Here"), talktest.CallStatus{Status: "rejected", Cause: "EndedByBusy", Code: 486, Message: "Busy Here"},
			Rejected},
		{"unavailable", phone, refused(480, "Temporarily Unavailable (Call limit)"),
			talktest.CallStatus{Status: "rejected", Cause: "EndedByTemporarilyUnavailable", Code: 480,
				Message: "Temporarily Unavailable (Call limit)"}, Rejected},
		{"declined", phone, refused(603, "Decline"), talktest.CallStatus{Status: "rejected", Cause: "EndedByDeclined", Code: 603,
			Message: "Decline"}, Rejected},
		{"unknown", phone, refused(404, ""), talktest.CallStatus{Status: "rejected", Cause: "EndedByNotFound", Code: 404,
			Message: "SIP status 404"}, Rejected},
		{"moved", phone, refused(302, "Moved"), talktest.CallStatus{Status: "rejected", Cause: "EndedByRedirect", Code: 302, Message: "Moved"},
			Rejected},
		{"gateway out of order", phone, refused(503, "Service Unavailable"),
			talktest.CallStatus{Status: "rejected", Cause: "EndedByServiceUnavailable", Code: 503, Message: "Service Unavailable"}, Failed},
		{"wrong secret", phone, refused(407, "Proxy Authentication Required"),
			talktest.CallStatus{Status: "rejected", Cause: "EndedByUnauthorized", Code: 407, Message: "Proxy Authentication Required"}, Rejected},
		{"no answer", phone, sipflow.ErrNoAnswer, talktest.CallStatus{Status: "cleared", Cause: "EndedByTimeout", Code: 408,
			Message: "No answer"}, Unanswered},
		{"unreachable", us, sipflow.ErrUnreachable, talktest.CallStatus{Status: "rejected", Cause: "EndedByServiceUnavailable", Code: 503,
			Message: "The telephone network cannot be reached"}, Failed},
		{"room refuses", room, refused(486, "Busy Here"), talktest.CallStatus{Status: "rejected", Cause: "EndedByRoom", Code: 502,
			Message: "The conference cannot be reached"}, Failed},
		{"room silent", room, sipflow.ErrNoAnswer, talktest.CallStatus{Status: "rejected", Cause: "EndedByRoom", Code: 502,
			Message: "The conference cannot be reached"}, Failed},
		{"phone hangs up before the room answers", phone, sipflow.ErrHungUp, talktest.CallStatus{Status: "cleared", Cause: "EndedByRemote",
			Code: 200, Message: "Bye"}, Cancelled},
		{"forbidden", us, sipflow.ErrForbidden, talktest.CallStatus{Status: "rejected", Cause: "EndedByLocal", Code: 403,
			Message: "Calling this number is not allowed"}, Rejected},
		{"shutdown", us, sipflow.ErrDraining, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 487,
			Message: "The phone service is being restarted"}, Cancelled},
		{"fault", us, errors.New("internal fault"), talktest.CallStatus{Status: "rejected", Cause: "EndedByServerError", Code: 500,
			Message: "Internal error"}, Failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTalk(t, func(st *talkStage) {
				st.lab.Cloud.NoteDelay = 300 * time.Millisecond // a refusal at once outruns it
				id, l := st.dial()
				l.ends(tt.by, tt.err)
				st.last(id, tt.want)
				st.rejected(id, true)
				st.shows(id, "accepted", tt.want.Status, "removed")
				if got := st.Stats().Calls[FromTalk][tt.o]; got != 1 {
					t.Errorf("counted as %v %d times", tt.o, got)
				}
			})
		})
	}
}

func TestACallThatCannotBePlacedIsRejectedAfterItsAcceptance(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.fail = sipflow.ErrUnreachable
		id, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101))
		if err != nil {
			st.t.Fatal(err)
		}
		st.rejected(id, true)
		st.shows(id, "accepted", "rejected", "removed")
	})
}

func TestRequestsThatAreNotValidAreRefusedWithASentence(t *testing.T) {
	for _, tt := range []struct {
		name, number, options, code string
		prepare                     func(*talkStage)
		change                      func(*Config)
	}{
		{name: "number", number: "+49", options: talktest.Options(101), code: badNumber},
		{name: "premium", number: "+499001234567", options: talktest.Options(101), code: notAllowed,
			change: func(c *Config) { c.Allow = func(string, string) error { return errors.New("premium") } }},
		{name: "no options", number: number, options: "", code: badOptions},
		{name: "not a phone", number: number, options: `{"attendeeId":101,"actorType":"users","actorId":"x"}`, code: badOptions},
		{name: "no actor", number: number, options: `{"attendeeId":101,"actorType":"phones"}`, code: badOptions},
		{name: "no attendee", number: number, options: `{"actorType":"phones","actorId":"x"}`, code: badOptions},
		{name: "hostile caller", number: number, options: talktest.Options(101, "caller", strconv.Quote(talktest.HostileCaller)),
			code: badCaller},
		{name: "wrong secret", number: number, options: talktest.Options(101), code: notVerified, prepare: func(st *talkStage) {
			st.lab.Cloud.VerifyStatus = 401
		}},
		{name: "not invited", number: number, options: talktest.Options(101), code: notVerified, prepare: func(st *talkStage) {
			st.lab.Cloud.VerifyStatus = 404
		}},
		{name: "switched off", number: number, options: talktest.Options(101), code: notVerified, prepare: func(st *talkStage) {
			st.lab.Cloud.VerifyStatus = 501
		}},
		{name: "other number", number: number, options: talktest.Options(101), code: notVerified, prepare: func(st *talkStage) {
			st.lab.Cloud.VerifyStatus = 400
		}},
		{name: "Nextcloud fails", number: number, options: talktest.Options(101), code: noNextcloud, prepare: func(st *talkStage) {
			st.lab.Cloud.VerifyStatus = 503
		}},
		{name: "Nextcloud silent", number: number, options: talktest.Options(101), code: noNextcloud, prepare: func(st *talkStage) {
			st.lab.Cloud.VerifyDelay = time.Minute
		}},
		{name: "answer about another", number: number, options: talktest.Options(101), code: noNextcloud,
			prepare: func(st *talkStage) { st.lab.Cloud.VerifyAnswer = `{"ocs":{"data":{"token":"1"}}}` }},
		{name: "stopping", number: number, options: talktest.Options(101), code: stopping, prepare: func(st *talkStage) { st.Stop() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var change []func(*Config)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			inTalk(t, func(st *talkStage) {
				if tt.prepare != nil {
					tt.prepare(st)
				}
				_, err := st.lab.Cloud.Dialout(token, tt.number, tt.options)
				var refused *talktest.DialoutError
				if !errors.As(err, &refused) || refused.Code != tt.code || len(refused.Message) < 20 {
					t.Errorf("got %v, want %s\n%s", err, tt.code, st.log)
				}
				if len(st.lines()) > 0 || len(st.notes()) > 0 {
					t.Error("the phone is called all the same")
				}
				if st.Stats().Calls[FromTalk][Refused] == 0 {
					t.Error("not counted")
				}
			}, change...)
		})
	}
}

func TestTheCallerIsPassedOn(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		if _, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101, "caller", `"+493012345"`)); err != nil {
			st.t.Fatal(err)
		}
		if l := st.one(); l.caller != "+493012345" {
			t.Errorf("caller %q", l.caller)
		}
	})
}

func TestNobodyIsCalledTwiceAtOnce(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.dial()
		_, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101))
		var refused *talktest.DialoutError
		if !errors.As(err, &refused) || refused.Code != alreadyCalled {
			t.Errorf("called again: %v", err)
		}
		if _, err := st.lab.Cloud.Dialout(token, "+493055500201", talktest.Options(102)); err != nil {
			t.Errorf("another attendee: %v", err)
		}
		l.ends(phone, sipflow.ErrNoAnswer)
		st.rejected(id, true)
		if _, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101)); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestCallsAreBounded(t *testing.T) {
	for _, limits := range []Limits{{Calls: 2}, {Room: 2}} {
		inTalk(t, func(st *talkStage) {
			for attendee := range 3 {
				_, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101+attendee))
				var refused *talktest.DialoutError
				if attendee == 2 && (!errors.As(err, &refused) || refused.Code != tooMany) || attendee < 2 && err != nil {
					t.Errorf("call %d: %v", attendee+1, err)
				}
			}
		}, func(c *Config) { c.Limits = limits })
	}
}

func TestShutdownClearsAllCallsAndSaysBye(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, _ := st.connected()
		ringing, err := st.lab.Cloud.Dialout(token, number, talktest.Options(102))
		if err != nil {
			st.t.Fatal(err)
		}
		st.stop()
		st.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 200, Message: "The phone service is being restarted"})
		st.last(ringing, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 487,
			Message: "The phone service is being restarted"})
		if !slices.Contains(st.lab.Cloud.Rejected(), ringing) {
			t.Error("the call that rang was not rejected at Nextcloud")
		}
		if p, n := st.lab.Cloud.Phones(token), st.lab.Bridges(); len(p) != 0 || n != 0 {
			t.Errorf("phones %q, %d bridges stay", p, n)
		}
		for _, l := range st.lines() {
			if l.wasHungUp() == nil {
				t.Error("a phone was not hung up")
			}
		}
	})
}

func TestShutdownDoesNotWaitForNextcloud(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.lab.Cloud.VerifyDelay = time.Hour
		answered := make(chan error, 1)
		go func() {
			_, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101))
			answered <- err
		}()
		synctest.Wait()
		began := time.Now()
		st.stop()
		if d := time.Since(began); d >= time.Second {
			t.Errorf("stopping took %v", d)
		}
		if err := <-answered; err == nil || !strings.Contains(err.Error(), stopping) {
			t.Errorf("answered %v while stopping", err)
		}
	})
}

// A request is given up at once when nobody is left to be called for.
func TestTheEndForEveryoneDoesNotWaitForNextcloud(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		_, l := st.connected()
		st.lab.Cloud.VerifyDelay = time.Hour
		answered := make(chan error, 1)
		go func() {
			_, err := st.lab.Cloud.Dialout(token, number, talktest.Options(102))
			answered <- err
		}()
		synctest.Wait()
		began := time.Now()
		st.lab.Cloud.EndForEveryone(token)
		if err := <-answered; err == nil || !strings.Contains(err.Error(), callOver) || time.Since(began) >= time.Second {
			t.Errorf("answered %v after %v", err, time.Since(began))
		}
		l.ends(phone, nil)
	})
}

// Lines of the log about numbers that are not verified are bounded, too.
func TestRefusalsAreLoggedWithinBounds(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		for i := range 3 * maxLines {
			if _, err := st.lab.Cloud.Dialout("1", "+49305550"+strconv.Itoa(1000+i),
				`{"attendeeId":`+strconv.Itoa(i+1)+`,"actorType":"users","actorId":"a"}`); err == nil {
				t.Fatal("accepted")
			}
		}
		if n := strings.Count(st.log.String(), "phone call refused"); n == 0 || n > maxLines {
			t.Errorf("%d lines", n)
		}
	})
}

// Who takes the agent's user away wants no calls in his name, and his policy
// has gone with him.
func TestNobodyIsCalledForAnAgentWhoIsNoMore(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.cfg.Agent = "gone" // as after the users were read again
		if _, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101)); err == nil || !strings.Contains(err.Error(), notAllowed) {
			t.Error(err)
		}
		if len(st.lines()) > 0 || !strings.Contains(st.log.String(), "dialout.agent is no user any more") {
			t.Errorf("%d calls\n%s", len(st.lines()), st.log)
		}
	}, func(c *Config) { c.Agent = "201" })
}
