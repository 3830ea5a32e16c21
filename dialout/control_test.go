package dialout

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

func TestAModeratorHangsUp(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		st.user.Control(id, `{"type":"hangup"}`)
		st.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 200, Message: "Hung up by a moderator"})
		if !errors.Is(l.wasHungUp(), errModerator) {
			t.Errorf("the phone was hung up for %v", l.wasHungUp())
		}
		if p := st.lab.Cloud.Phones(token); len(p) != 0 {
			t.Errorf("phones %q stay", p)
		}
	})
}

func TestAParticipantWhoIsRemovedIsHungUp(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		st.lab.Cloud.Disinvite(token, "actor-101")
		st.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 200, Message: "Removed from the conversation"})
		if !errors.Is(l.wasHungUp(), errDisinvited) {
			t.Errorf("the phone was hung up for %v", l.wasHungUp())
		}
	})
}

func TestTheEndForEveryoneEndsPhonesThatRingAndThatTalk(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, _ := st.connected()
		ringing, err := st.lab.Cloud.Dialout(token, number, talktest.Options(102))
		if err != nil {
			st.t.Fatal(err)
		}
		elsewhere := st.lab.Cloud.Join("555", "another")
		other, err := st.lab.Cloud.Dialout("555", number, talktest.Options(103))
		if err != nil {
			st.t.Fatal(err)
		}
		synctest.Wait()
		st.lab.Cloud.EndForEveryone(token)
		st.last(id, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 200, Message: "Ended for everyone"})
		st.last(ringing, talktest.CallStatus{Status: "cleared", Cause: "EndedByLocal", Code: 487, Message: "Ended for everyone"})
		st.rejected(ringing, true)
		if got := elsewhere.Calls(other); !slices.Equal(got, []string{"accepted"}) {
			t.Errorf("in another room: %q", got)
		}
	})
}

func TestPhonesOfADeletedRoomAreHungUp(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		_, l := st.connected()
		st.lab.Cloud.DeleteRoom(token)
		synctest.Wait()
		if !errors.Is(l.wasHungUp(), errRoomDeleted) {
			t.Errorf("the phone was hung up for %v\n%s", l.wasHungUp(), st.log)
		}
	})
}

func TestAPhoneThatIsLeftAloneIsHungUp(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		_, l := st.connected()
		st.user.Call(false)
		time.Sleep(talk.EmptyTime / 2)
		st.user.Call(true) // a bad connection
		time.Sleep(talk.EmptyTime)
		synctest.Wait()
		if l.wasHungUp() != nil {
			st.t.Fatalf("hung up though somebody came back: %v", l.wasHungUp())
		}
		st.user.Leave()
		time.Sleep(talk.EmptyTime - time.Second)
		synctest.Wait()
		if l.wasHungUp() != nil {
			t.Error("hung up too soon")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(l.wasHungUp(), errRoomEmpty) {
			t.Errorf("hung up for %v\n%s", l.wasHungUp(), st.log)
		}
	})
}

// Two telephones may talk with each other, when one of them has dialled in.
func TestAPhoneIsNotHungUpWhileACallerIsThere(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		_, l := st.connected()
		session := st.client.Sessions()[0]
		if err := session.AddSession(talk.Phone{CallID: "caller", RoomID: token,
			Options: talk.Options{ActorType: "guests", ActorID: "g"}}); err != nil {
			t.Fatal(err)
		}
		st.user.Leave()
		time.Sleep(time.Hour)
		synctest.Wait()
		if why := l.wasHungUp(); why != nil {
			t.Errorf("hung up: %v", why)
		}
		if _, err := session.RemoveSession("caller"); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * talk.EmptyTime)
		synctest.Wait()
		if !errors.Is(l.wasHungUp(), errRoomEmpty) {
			t.Errorf("hung up for %v", l.wasHungUp())
		}
	})
}

func TestDigitsReachThePhoneInOrder(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		for _, digit := range "12*#90" {
			st.user.Control(id, `{"type":"dtmf","digit":"`+string(digit)+`"}`)
		}
		for _, odd := range []string{`{"type":"dtmf","digit":"12"}`, `{"type":"dtmf","digit":"A"}`, `{"type":"dtmf","digit":5}`,
			`{"type":"dtmf"}`, `"dtmf"`, `5`, `null`, `[]`, `{"type":"dance"}`} {
			st.user.Control(id, odd)
		}
		synctest.Wait()
		if l.digits != "12*#90" {
			t.Errorf("digits %q", l.digits)
		}
		if strings.Contains(st.log.String(), "digit=") {
			t.Error("digits are logged")
		}
	})
}

func TestMuteIsShownOnceThePhoneIsMuted(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		flags := func() (list []string) {
			synctest.Wait()
			for _, e := range st.user.Events() {
				if _, rest, ok := strings.Cut(e, `"flags":{`); ok {
					_, n, _ := strings.Cut(rest, `"flags":`)
					list = append(list, n[:1])
				}
			}
			return list
		}
		for _, audio := range []string{"1", "3", "0"} {
			st.user.Control(id, `{"type":"mute","audio":`+audio+`}`)
		}
		if got := flags(); !slices.Equal(got, []string{"1", "3", "0"}) {
			t.Errorf("flags %q\n%s", got, st.log)
		}
		if want := []talk.Flags{1, 3, 0}; !slices.Equal(l.muted, want) {
			t.Errorf("muted %v, want %v", l.muted, want)
		}
		l.mu.Lock()
		l.fail = errors.New("488")
		l.mu.Unlock()
		st.user.Control(id, `{"type":"mute","audio":1}`)
		if got := flags(); len(got) != 3 {
			t.Errorf("shown as muted though the phone refused: %q", got)
		}
	})
}

func TestAModeratorOfAnotherRoomIsIgnored(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		stranger := st.lab.Cloud.Join("555", "stranger")
		stranger.Moderator = true
		if !stranger.Control(id, `{"type":"hangup"}`) {
			st.t.Fatal("the signaling server did not deliver it")
		}
		stranger.Control(id, `{"type":"dtmf","digit":"5"}`)
		st.shows(id, "accepted", "ringing", "connected")
		if l.wasHungUp() != nil || l.digits != "" {
			t.Errorf("obeyed: %v, %q", l.wasHungUp(), l.digits)
		}
		if !strings.Contains(st.log.String(), "its sender is not in the phone's room") {
			t.Error("not logged")
		}
	})
}

func TestAFloodOfDigitsIsBounded(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		id, l := st.connected()
		c := st.find(id)
		l.mu.Lock() // the phone does not take any
		for range 10 * maxControls {
			st.control(c.talk.session, talk.Control{CallID: id, Kind: talk.DTMF, Digit: '1'})
		}
		l.mu.Unlock()
		synctest.Wait()
		if n := len(l.digits); n > maxControls+1 {
			t.Errorf("%d digits were kept", n)
		}
		if n := strings.Count(st.log.String(), "too many digits"); n == 0 || n > maxLines {
			t.Errorf("%d lines say so", n)
		}
		st.control(c.talk.session, talk.Control{CallID: "another", Kind: talk.HangUp})
	})
}
