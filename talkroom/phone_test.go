package talkroom

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/talk"
)

// shows wants the flags that were shown of a phone since the last look.
func (st *stage) shows(want ...talk.Flags) {
	st.t.Helper()
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	if got := st.flags["call-1"]; !slices.Equal(got, want) {
		st.t.Errorf("shown %v, want %v", got, want)
	}
	st.flags["call-1"] = nil
}

// shown are the flags that were shown of a phone so far.
func (st *stage) shown(id string) []talk.Flags {
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.flags[id])
}

// heard reports whether the publisher gets anything but silence in the next 200 ms.
func (st *stage) heard() bool {
	p := st.pub()
	time.Sleep(time.Second)
	st.mu.Lock()
	before := p.heard
	st.mu.Unlock()
	time.Sleep(200 * time.Millisecond)
	st.mu.Lock()
	defer st.mu.Unlock()
	return p.heard > before
}

func TestWhoSpeaksIsShown(t *testing.T) {
	inRoom(t, func(st *stage) {
		_, p, a := st.up()
		time.Sleep(3 * time.Second)
		st.shows() // not before the phone session is there
		p.Shown()
		st.shows(talk.Talking)
		a.hush()
		time.Sleep(5 * time.Second)
		st.shows(0)
		p.Shown() // added again: it is shown with none
		time.Sleep(5 * time.Second)
		st.shows()
	})
}

func TestFlagsAreShownOnceASecondAtMost(t *testing.T) {
	inRoom(t, func(st *stage) {
		_, p, _ := st.up()
		p.Shown()
		for range 40 { // 4 s
			p.Raise(!p.Raised())
			p.Mute(talk.MutedSpeaking)
			p.Mute(0)
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(st.shown("call-1")); n > 6 {
			t.Errorf("%d changes were shown in 4 s", n)
		}
		p.Raise(true)
		p.Mute(talk.MutedSpeaking | talk.MutedListening)
		time.Sleep(2 * time.Second)
		all := st.shown("call-1")
		if last := all[len(all)-1]; last != talk.MutedSpeaking|talk.MutedListening|talk.HandRaised {
			t.Errorf("shown in the end: %d", last)
		}
	})
}

func TestAMutedPhoneIsNotHeard(t *testing.T) {
	inRoom(t, func(st *stage) {
		r, p, _ := st.up()
		p.Shown()
		if !st.heard() {
			t.Fatal("the phone is not heard")
		}
		p.Mute(talk.MutedSpeaking)
		if st.heard() {
			t.Error("a muted phone is heard")
		}
		p.Mute(talk.HandRaised | talk.Talking) // neither mutes
		if !st.heard() || p.Muted() != 0 {
			t.Error("it is not heard again")
		}
		p.Held(true) // what it plays to who is on hold is not for the conversation
		if st.heard() {
			t.Error("a phone on hold is heard")
		}
		time.Sleep(time.Second)
		if f := st.shown("call-1"); f[len(f)-1] != talk.MutedSpeaking {
			t.Errorf("a phone on hold is shown with %v", f)
		}
		p.Held(false)
		if !st.heard() {
			t.Error("it is not heard again after the hold")
		}
		p.Remove()

		// One that Nextcloud does not let speak stays muted, whatever is wanted.
		q := r.AddPhone("call-2", &fakePhone{}, PhoneOptions{MayNotSpeak: true})
		q.Shown()
		st.answers()
		q.Mute(0)
		if st.heard() || q.Muted() != talk.MutedSpeaking {
			t.Error("one who may not speak is heard")
		}
		if got := st.shown("call-2"); !slices.Equal(got, []talk.Flags{talk.MutedSpeaking}) {
			t.Errorf("shown %v", got)
		}
	})
}

func TestAPhoneThatTheServerDoesNotKnowIsShownLater(t *testing.T) {
	inRoom(t, func(st *stage) {
		r := st.enter()
		var err error = talk.ErrNotAdded
		n := 0
		st.rooms.show = func(*talk.Session, string, talk.Flags) error {
			st.mu.Lock()
			defer st.mu.Unlock()
			n++
			return err
		}
		tried := func(with error) int {
			synctest.Wait()
			st.mu.Lock()
			defer st.mu.Unlock()
			err = with
			return n
		}
		p := r.AddPhone("call-1", &fakePhone{silent: true}, PhoneOptions{Flags: talk.MutedSpeaking})
		p.Shown()
		time.Sleep(10 * time.Second)
		if n := tried(errors.New("too much waits")); n != 1 {
			t.Errorf("it was tried %d times", n)
		}
		p.Shown()
		tried(nil)
		time.Sleep(2 * time.Second)
		if tried(nil) < 3 {
			t.Error("flags that could not be sent are not sent again")
		}
	})
}

func TestAPhoneAloneHearsSoAndThenMusic(t *testing.T) {
	inRoom(t, func(st *stage) {
		asked := 0
		clip := func(name string) []int16 {
			st.mu.Lock()
			defer st.mu.Unlock()
			if name == "alone" {
				asked++
			}
			return slices.Repeat([]int16{5000}, 16000)
		}
		told := func() int {
			synctest.Wait()
			st.mu.Lock()
			defer st.mu.Unlock()
			return asked
		}
		o := PhoneOptions{Clip: clip, Music: slices.Repeat([]int16{3000}, 8000)}
		st.set(talk.PeopleChanged, func() { st.others = -1 }) // not known yet
		r, _, a := st.up(o)
		a.hush()
		time.Sleep(10 * time.Second)
		if told() != 0 {
			t.Fatal("it is told to be alone though nobody knows")
		}
		st.set(talk.PeopleChanged, func() { st.others = 0 })
		time.Sleep(2500 * time.Millisecond)
		if told() != 1 {
			t.Fatal("it is not told that it is alone")
		}
		time.Sleep(10 * time.Second)
		if !a.hears() {
			t.Error("there is no music")
		}
		st.set(talk.PeopleChanged, func() { st.others = 1 })
		time.Sleep(300 * time.Millisecond)
		if a.hears() {
			t.Error("there is music in a call with others")
		}
		st.set(talk.PeopleChanged, func() { st.others = 0 })
		time.Sleep(3 * time.Second)
		if !a.hears() || told() != 1 {
			t.Errorf("alone again: music %v, told %d times", a.hears(), told())
		}
		// Another phone is company, too.
		second := r.AddPhone("call-2", &fakePhone{silent: true}, PhoneOptions{})
		time.Sleep(300 * time.Millisecond)
		if a.hears() {
			t.Error("there is music in a call with another phone")
		}
		second.Remove()
	})
}

func TestAPromptIsForOnePhone(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.others = 3
		r, p, a := st.up()
		b := &fakePhone{silent: true}
		r.AddPhone("call-2", b, PhoneOptions{})
		a.hush()
		p.Play(slices.Repeat([]int16{5000}, 3*16000))
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if one, other := a.frames(), b.frames(); one < 10 || other > 0 {
			t.Errorf("heard by the one %d, by the other %d", one, other)
		}
		if st.heard() {
			t.Error("the conversation hears the prompt")
		}
	})
}

func TestPhonesHearThatOthersComeAndGo(t *testing.T) {
	for beep, want := range map[Beep]bool{BeepPhones: true, BeepAll: true, BeepNone: false} {
		inRoom(t, func(st *stage) {
			st.others = 3
			r, _, a := st.up()
			a.hush()
			heard := func() (phone, web bool) {
				p := st.pub()
				a.mu.Lock()
				before := a.heard
				a.mu.Unlock()
				st.mu.Lock()
				out := p.heard
				st.mu.Unlock()
				time.Sleep(time.Second)
				a.mu.Lock()
				defer a.mu.Unlock()
				st.mu.Lock()
				defer st.mu.Unlock()
				return a.heard > before, p.heard > out
			}
			time.Sleep(time.Second)
			q := r.AddPhone("call-2", &fakePhone{silent: true}, PhoneOptions{})
			if phone, web := heard(); phone != want || web != (beep == BeepAll) {
				t.Errorf("%s, one joins: heard by phones %v, by others %v", beep, phone, web)
			}
			q.Remove()
			if phone, web := heard(); phone != want || web != (beep == BeepAll) {
				t.Errorf("%s, one leaves: heard by phones %v, by others %v", beep, phone, web)
			}
		}, func(c *Config) { c.Beep = beep })
	}
}

// Who takes a phone out has its audio for himself.
func TestTheAudioOfAPhoneIsGivenBack(t *testing.T) {
	inRoom(t, func(st *stage) {
		_, p, a := st.up()
		time.Sleep(time.Second)
		p.Remove()
		a.mu.Lock()
		before := a.t
		a.mu.Unlock()
		time.Sleep(time.Second)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.t != before {
			t.Error("the mixer uses it still")
		}
		p.Mute(talk.MutedSpeaking)
		p.Play([]int16{1})
		p.Held(true)
		p.Raise(true)
		p.Shown()
	})
}
