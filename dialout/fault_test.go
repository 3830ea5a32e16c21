package dialout

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
	"sipxrest/talk/talktest"
)

// What a bridge must not do is found by talktest, which fails the test: each of
// these brings about what one of its faults is for.

// dialing has the number called and returns what that came to, later.
func (st *talkStage) dialing(token string, attendee int) <-chan error {
	answered := make(chan error, 1)
	go func() {
		_, err := st.lab.Cloud.Dialout(token, number, talktest.Options(attendee))
		answered <- err
	}()
	return answered
}

// refusedWith fails the test unless err is a refusal with that code.
func refusedWith(t *testing.T, err error, code string) {
	t.Helper()
	var refused *talktest.DialoutError
	if !errors.As(err, &refused) || refused.Code != code || code != "" && len(refused.Message) < 20 {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestFaultAcceptedWithoutAskingNextcloud(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.lab.Cloud.VerifyDelay = 2 * time.Second
		answered := st.dialing(token, 101)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(st.lines()) > 0 || len(st.notes()) > 0 {
			t.Error("called before Nextcloud has answered")
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		st.lines()[0].ends(phone, nil)
		synctest.Wait()
		for _, status := range []int{301, 400, 401, 403, 404, 412, 429, 500, 501, 503} {
			st.lab.Cloud.VerifyStatus = status
			if err := <-st.dialing(token, 102); err == nil {
				t.Errorf("accepted though Nextcloud answered %d", status)
			}
		}
		if len(st.lines()) > 1 {
			t.Error("called though Nextcloud refused")
		}
	})
}

func TestFaultAnswersAndStatusesWithoutTheirRoom(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		refusedWith(t, <-st.dialing(token, 101), alreadyCalled)
		l.ends(phone, nil)
		st.shows(id, "accepted", "ringing", "connected", "cleared")
		n := 0
		for _, m := range st.lab.Messages() {
			if strings.HasPrefix(m, "<- ") && strings.Contains(m, `"type":"dialout"`) {
				if n++; !strings.Contains(m, `"roomid":"`+token+`"`) {
					t.Errorf("without its room: %s", m)
				}
			}
		}
		if n != 5 {
			t.Errorf("%d messages about calls", n)
		}
	})
}

func TestFaultCallsThatAreNeverCleared(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		for i, ends := range []func(*testLine){
			func(l *testLine) { l.ends(phone, sipflow.ErrNoAnswer) },
			func(l *testLine) { l.rings(); l.ends(phone, &sipflow.StatusError{Method: "INVITE", Code: 486}) },
			func(l *testLine) { l.connects(); l.ends(phone, nil) },
			func(l *testLine) { l.rings(); l.connects(); l.ends(room, errors.New("fault")) },
			func(l *testLine) { l.ends(us, sipflow.ErrDraining) },
		} {
			if err := <-st.dialing(token, 101); err != nil {
				t.Fatal(i, err)
			}
			synctest.Wait()
			ends(st.lines()[i])
			synctest.Wait()
		}
		if _, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101)); err != nil { // and what is left is ended by Run's end
			t.Error(err)
		}
	})
}

func TestFaultPhonesWithoutTheirActor(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, _ := st.connected()
		added := st.sent(`"addsession"`)
		if len(added) != 1 || !strings.Contains(added[0], `"actorId":"actor-101","actorType":"phones"`) ||
			!strings.Contains(added[0], `"incall":9`) ||
			!strings.Contains(added[0], `"sessionid":"`+id+`"`) {
			t.Errorf("added %q", added)
		}
	})
}

// sent are the messages to the signaling server that hold what.
func (st *talkStage) sent(what string) (list []string) {
	synctest.Wait()
	for _, m := range st.lab.Messages() {
		if strings.HasPrefix(m, "<- ") && strings.Contains(m, what) {
			list = append(list, m)
		}
	}
	return list
}

func TestFaultTheIDOfARequestUsedAgain(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, _ := st.connected()
		st.user.Control(id, `{"type":"mute","audio":1}`)
		st.user.Control(id, `{"type":"hangup"}`)
		st.shows(id, "accepted", "ringing", "connected", "cleared")
		if n := len(st.sent(`"id":"Q`)); n != 1 {
			t.Errorf("%d messages with the request's id", n)
		}
	})
}

func TestFaultLineBreaksInTheCaller(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		for _, caller := range []string{talktest.HostileCaller, "1\n2", "1\r2", "\r\n", "+1 2", `"1"`, "1;tag=2", "1\x00", "٣٤",
			strings.Repeat("1", 21), "+"} {
			text, _ := json.Marshal(caller)
			_, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101, "caller", string(text)))
			refusedWith(t, err, badCaller)
			if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("line breaks come back: %q", err)
			}
		}
		if len(st.lines()) > 0 {
			t.Error("called all the same")
		}
	})
}

func TestFaultAcceptedLate(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.lab.Cloud.VerifyDelay = 7900 * time.Millisecond
		if err := <-st.dialing(token, 101); err != nil { // in time
			t.Error(err)
		}
		st.lab.Cloud.VerifyDelay = 8100 * time.Millisecond
		began := time.Now()
		refusedWith(t, <-st.dialing(token, 102), noNextcloud)
		if d := time.Since(began); d > 8100*time.Millisecond {
			t.Errorf("refused after %v", d)
		}
		// Verified in time, but nobody can be told: the next request is lost with
		// its connection.
		synctest.Wait() // Nextcloud, which was not waited for, looks at VerifyDelay
		st.lab.Cloud.VerifyDelay = 5 * time.Second
		answered := st.dialing(token, 103)
		time.Sleep(time.Second)
		synctest.Wait() // the lab looks at Cut
		st.lab.Cut = func(sent bool, m []byte) bool {
			if sent && strings.Contains(string(m), "actor-104") {
				go st.lab.Refuse(true)
				return true
			}
			return false
		}
		lost := st.dialing(token, 104)
		time.Sleep(15 * time.Second)
		st.lab.Refuse(false)
		if err := <-answered; err == nil {
			t.Error("accepted late")
		}
		if err := <-lost; err == nil {
			t.Error("accepted what was lost")
		}
		if n := len(st.sent(`"status":"accepted"`)); n != 1 {
			t.Errorf("%d were accepted", n)
		}
		// 101, that of 102 too late, 103
		if requests := strings.Join(st.lab.Cloud.Requests(), "\n"); strings.Count(requests, "verify-dialout OK") != 3 {
			t.Errorf("asked of Nextcloud:\n%s", requests)
		}
		synctest.Wait()
		if len(st.lines()) != 1 {
			t.Errorf("%d calls were placed", len(st.lines()))
		}
	})
}

func TestFaultPhonesAddedTwice(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		l.connects() // nonsense
		for range 3 {
			st.lab.Drop() // resumed
			time.Sleep(time.Second)
		}
		if n := len(st.sent(`"addsession"`)); n != 1 {
			t.Errorf("added %d times", n)
		}
		st.lab.Restart() // renewed
		st.user = st.lab.Cloud.Join(token, "moderator")
		time.Sleep(time.Second)
		st.lab.Drop()
		time.Sleep(time.Second)
		if n := len(st.sent(`"addsession"`)); n != 2 {
			t.Errorf("added %d times, once by each session", n)
		}
		l.ends(phone, nil)
		st.shows(id, "connected", "cleared")
	})
}

// The signaling server takes no message of more than 64 KiB: a long text of
// others must not keep a call from being said to be over, or from being shown.
func TestLongTextsOfOthersDoNotKeepACallInTalk(t *testing.T) {
	long := strings.Repeat("\x01é\u2028<", 20_000)
	inTalk(t, func(st *talkStage) {
		name, _ := json.Marshal(strings.Repeat("é\u2028<", 4_000)) // of a response that is read
		st.lab.Cloud.VerifyAnswer = `{"token":"` + token + `","attendeeId":101,"actorType":"phones","actorId":"actor-101","displayName":` +
			string(name) + `}`
		id, l := st.dial()
		l.ends(phone, &sipflow.StatusError{Method: "INVITE", Code: 486, Reason: long})
		st.rejected(id, true)
		st.shows(id, "accepted", "rejected", "removed")
		id, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		st.lines()[1].connects()
		st.shows(id, "accepted", "connected")
		if p := st.lab.Cloud.Phones(token); !slices.Equal(p, []string{id}) {
			t.Errorf("phones %q", p)
		}
		if added := st.sent(`"addsession"`); len(added) != 1 || len(added[0]) > 2000 {
			t.Errorf("added %q", added)
		}
	})
}

func TestTextsOfOthersAreShortened(t *testing.T) {
	for text, want := range map[string]string{
		"Busy Here": "Busy Here", "": "", "a\r\nb\x00c\u2028": "abc", "Téléphone \xff": "Téléphone ",
		strings.Repeat("é", 500): strings.Repeat("é", 99), strings.Repeat("a", 500): strings.Repeat("a", 197),
	} {
		if got := shortened(text); got != want || len(got) > maxText {
			t.Errorf("%.20q: %q (%d bytes), want %q", text, got, len(got), want)
		}
	}
}

// The call of a conversation may end for everyone while Nextcloud is asked.
func TestAConversationThatEndsWhileANumberIsVerified(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.connected()
		st.lab.Cloud.VerifyDelay = time.Second
		answered := st.dialing(token, 102)
		synctest.Wait()
		st.lab.Cloud.EndForEveryone(token)
		refusedWith(t, <-answered, callOver)
		if len(st.lines()) > 1 {
			t.Error("called all the same")
		}
	})
}

// A service that ends does so in whatever phase its calls are.
func TestShutdownInEachPhase(t *testing.T) {
	for name, tt := range map[string]struct {
		reach    func(*talkStage) // and what happens meanwhile
		states   []string         // that the user sees in the end
		rejected bool
		notes    int // that stay for the next run
	}{
		"verifying": {reach: func(st *talkStage) {
			st.lab.Cloud.VerifyDelay = 6 * time.Second
			st.dialing(token, 101)
		}},
		"accepted": {reach: func(st *talkStage) { st.dial() }, states: []string{"accepted", "cleared"}, rejected: true},
		"placing": {reach: func(st *talkStage) {
			st.stuck = make(chan struct{})
			st.dialing(token, 101)
		}, states: []string{"accepted", "cleared"}, rejected: true},
		"ringing": {reach: func(st *talkStage) {
			_, l := st.dial()
			l.rings()
		}, states: []string{"accepted", "ringing", "cleared"}, rejected: true},
		"answering": {reach: func(st *talkStage) {
			_, l := st.dial()
			time.AfterFunc(0, l.connects)
		}, states: []string{"accepted", "connected", "cleared"}},
		"connected": {reach: func(st *talkStage) { st.connected() }, states: []string{"accepted", "ringing", "connected", "cleared"}},
		"rejecting": {reach: func(st *talkStage) {
			st.lab.Cloud.NoteDelay = time.Second
			_, l := st.dial()
			l.ends(phone, sipflow.ErrNoAnswer)
		}, states: []string{"accepted", "cleared"}, rejected: true},
		"rejecting at a Nextcloud that is down": {reach: func(st *talkStage) {
			st.lab.Cloud.RejectStatus = 503
			_, l := st.dial()
			l.ends(phone, sipflow.ErrNoAnswer)
		}, states: []string{"accepted", "cleared"}, notes: 1},
		"without the signaling server": {reach: func(st *talkStage) {
			_, l := st.connected()
			st.lab.Refuse(true)
			st.lab.Drop()
			time.Sleep(time.Second)
			st.lab.Refuse(false)
			_ = l
		}, states: []string{"accepted", "ringing", "connected", "cleared"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				lab := talktest.New(t)
				st := &talkStage{stage: newStage(t, withTalk(lab, dir)), lab: lab, dir: dir}
				stop := st.runs()
				synctest.Wait()
				st.user = lab.Cloud.Join(token, "moderator")
				tt.reach(st)
				synctest.Wait()
				id := ""
				for _, note := range st.notes() {
					id = strings.TrimSuffix(note, ".json")
				}
				began := time.Now()
				stop()
				if d := time.Since(began); d > 9*time.Second {
					t.Errorf("stopping took %v", d)
				}
				if got := st.user.Calls(id); !slices.Equal(got, tt.states) {
					t.Errorf("the user saw %q, want %q\n%s", got, tt.states, st.log)
				}
				if got := slices.Contains(lab.Cloud.Rejected(), id); got != tt.rejected {
					t.Errorf("rejected at Nextcloud: %v\n%s", got, st.log)
				}
				if n := len(st.notes()); n != tt.notes {
					t.Errorf("%d notes stay", n)
				}
				if n, p := lab.Bridges(), lab.Cloud.Phones(token); n != 0 || len(p) != 0 {
					t.Errorf("%d bridges and phones %q stay", n, p)
				}
				lab.Close()
			})
		})
	}
}

// Whatever happens at once, a call has one last status, and nothing after it.
func TestOneLastStatusWhateverHappensAtOnce(t *testing.T) {
	for seed := range uint64(150) {
		inTalk(t, func(st *talkStage) {
			random := rand.New(rand.NewPCG(seed, 5))
			id, l := st.dial()
			events := []func(){
				l.rings, l.connects, l.connects, func() { l.ends(phone, nil) },
				func() { l.ends(phone, &sipflow.StatusError{Method: "INVITE", Code: 486, Reason: "Busy Here"}) },
				func() { st.user.Control(id, `{"type":"hangup"}`) },
				func() { st.user.Control(id, `{"type":"mute","audio":1}`) },
				func() { st.lab.Cloud.EndForEveryone(token) },
				func() { st.lab.Cloud.Disinvite(token, "actor-101") },
				st.lab.Drop,
			}
			random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
			var wg sync.WaitGroup
			for _, event := range events[:3+random.IntN(len(events)-3)] {
				if random.IntN(3) == 0 {
					time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
				}
				wg.Go(event)
			}
			wg.Wait()
			time.Sleep(3 * time.Second)
			l.ends(phone, nil)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			last := 0
			states := st.user.Calls(id)
			for _, state := range states {
				if state == "cleared" || state == "rejected" {
					last++
				}
			}
			if last != 1 || states[len(states)-1] != "removed" {
				t.Errorf("seed %d: the user saw %q\n%s", seed, states, st.log)
			}
			if p := st.lab.Cloud.Phones(token); len(p) > 0 {
				t.Errorf("seed %d: phones %q stay", seed, p)
			}
			// Nextcloud forgets it either way, even if the connection was lost with all
			// that was said of the phone.
			if st.lab.Cloud.Knows(id) {
				t.Errorf("seed %d: %q, for Nextcloud it goes on: %q\n%s", seed, states, st.lab.Cloud.Requests(), st.log)
			}
		})
		if t.Failed() {
			return
		}
	}
}
