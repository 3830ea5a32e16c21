package talkroom

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/boundary"

	"sipxrest/talk"
)

func TestConversationsWithPhonesAreCounted(t *testing.T) {
	inRoom(t, func(st *stage) {
		var rooms []*Room
		for _, token := range []string{"1", "2"} {
			r, err := st.rooms.Enter(nil, token, nil)
			if err != nil {
				t.Fatal(err)
			}
			rooms = append(rooms, r)
		}
		if _, err := st.rooms.Enter(nil, "3", nil); !errors.Is(err, ErrRooms) {
			t.Errorf("a third one is %v", err)
		}
		if _, err := st.rooms.Enter(nil, "2", nil); err != nil {
			t.Errorf("one that is there already: %v", err)
		}
		rooms[0].Leave()
		if _, err := st.rooms.Enter(nil, "3", nil); err != nil {
			t.Errorf("after another was left: %v", err)
		}
		st.stop()
		if _, err := st.rooms.Enter(nil, "1", nil); !errors.Is(err, ErrStopped) {
			t.Errorf("at the end: %v", err)
		}
	}, func(c *Config) { c.MaxRooms = 2 })
}

// Owners hear of the call by events: dial-in waits for it to begin.
func TestTheCallBeginsAndEnds(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.others = -1
		r := st.enter()
		st.told()
		st.set(talk.PeopleChanged, func() { st.others = 0 })
		st.told()
		if r.InCall() {
			t.Error("somebody is in the call")
		}
		st.set(talk.PeopleChanged, func() { st.others = 2 })
		st.told(Begun)
		st.set(talk.PeopleChanged, func() { st.others = 3 })
		st.told()
		other := st.enter() // who comes later is told, too
		st.told(Begun)
		st.set(talk.PeopleChanged, func() { st.others = 0 })
		st.told(Ended, Ended)
		p := other.AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		st.told(Begun, Begun)
		if !r.InCall() || r.Phones() != 1 || r.Token() != "123" {
			t.Error("a phone is not in the call")
		}
		p.Remove()
		st.told(Ended, Ended)
		st.set(talk.Empty, nil)
		st.told(Empty, Empty)
		other.Leave()
		st.forget()
	})
}

// A conversation that was deleted is another one when it comes again.
func TestADeletedConversationIsAnotherOne(t *testing.T) {
	inRoom(t, func(st *stage) {
		r, _, _ := st.up()
		st.set(talk.Deleted, nil)
		st.told(Begun, Deleted)
		again := st.enter()
		if again.conversation == r.conversation {
			t.Error("it is the one that was deleted")
		}
		r.Leave()
		st.set(talk.EndedForEveryone, nil)
		st.told(EndedForEveryone)
	})
}

// Who enters a conversation that was just left says nothing before that is over.
func TestOneConversationComesAfterTheOther(t *testing.T) {
	inRoom(t, func(st *stage) {
		r, _, _ := st.up()
		st.rooms.mu.Lock()
		c := st.rooms.joined[st]
		st.rooms.mu.Unlock()
		block := make(chan struct{})
		c.post(func() { <-block })
		r.Leave()
		st.enter().AddPhone("call-2", &fakePhone{}, PhoneOptions{})
		time.Sleep(time.Second)
		st.says()
		close(block)
		st.says("incall 0", "leave", "offer g722")
		// Phones that are added too late come to nothing.
		p := r.AddPhone("call-3", &fakePhone{}, PhoneOptions{})
		if p.Mute(talk.MutedSpeaking); r.Phones() != 0 {
			t.Error("a phone is in a conversation that was left")
		}
		p.Remove()
	})
}

func TestLateClocksHaveFewerParticipantsDecoded(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		l := st.rooms.load
		late := func(seconds int) {
			for range seconds {
				l.late(150*time.Millisecond, time.Now())
				l.late(150*time.Millisecond, time.Now()) // twice in a second counts once
				time.Sleep(time.Second)
			}
			synctest.Wait()
		}
		late(4)
		if l.speakers() != 6 {
			t.Error("four seconds of ten are enough")
		}
		time.Sleep(10 * time.Second)
		late(4)
		if l.speakers() != 6 {
			t.Error("four seconds count though others are long ago")
		}
		late(1)
		if got := st.rooms.Stats().Speakers; got != 3 {
			t.Errorf("%d speakers, want 3", got)
		}
		late(5)
		if got := l.speakers(); got != 2 {
			t.Errorf("%d speakers, want 2", got)
		}
		late(5)
		if got := l.speakers(); got != 2 {
			t.Errorf("%d speakers, want 2 at least", got)
		}
		time.Sleep(50 * time.Second)
		if got := l.speakers(); got != 2 {
			t.Errorf("%d speakers before the minute is over", got)
		}
		time.Sleep(12 * time.Second)
		if got := l.speakers(); got != 6 {
			t.Errorf("%d speakers after a minute, want 6", got)
		}
	})
}

// A fault in what a conversation is told ends neither the process nor the conversation.
func TestFaultsInWhatIsToldAreSurvived(t *testing.T) {
	inRoom(t, func(st *stage) {
		var fail atomic.Bool
		fail.Store(true)
		r, err := st.rooms.Enter(nil, "123", func(Event) {
			if fail.Load() {
				panic("out of range")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		before := boundary.Count()
		st.set(talk.Empty, nil)
		if boundary.Count() == before {
			t.Error("nothing has failed")
		}
		fail.Store(false)
		st.set(talk.AudioChanged, func() { st.audible = []string{"P1"} })
		r.AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		time.Sleep(time.Second)
		st.mu.Lock()
		defer st.mu.Unlock()
		if len(st.pubs) != 1 || !strings.Contains(strings.Join(st.said, "\n"), "ask P1") {
			t.Errorf("the conversation does not go on: %q", st.said)
		}
	})
}
