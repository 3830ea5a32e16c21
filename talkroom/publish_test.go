package talkroom

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/media/sfu"
	"sipxrest/talk"
)

// Mobile clients ask once, when a session is new in the call with audio: so 3 comes
// in one step, and not before there is something to hear.
func TestPhonesAreInTheCallOnceTheyAreHeard(t *testing.T) {
	inRoom(t, func(st *stage) {
		r := st.enter()
		st.says()
		p := r.AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		st.says("offer g722")
		pub := st.pub()
		time.Sleep(time.Second)
		if st.mu.Lock(); pub.heard > 0 {
			t.Error("something was sent before there was a connection")
		}
		st.mu.Unlock()
		st.tell(talk.MediaMessage{Kind: talk.MediaCandidate, From: ours, SID: pub.sid})
		st.tell(talk.MediaMessage{Kind: talk.MediaCandidate, From: ours, SID: "another"})
		st.tell(talk.MediaMessage{Kind: talk.MediaAnswer, From: "P1", SID: pub.sid})   // not ours
		st.tell(talk.MediaMessage{Kind: talk.MediaAnswer, From: ours, SID: "another"}) // an old one
		st.says()
		st.answers()
		st.says("incall 3")
		if pub.candidates != 1 {
			t.Errorf("%d candidates were used, want 1", pub.candidates)
		}
		time.Sleep(100 * time.Millisecond)
		if st.mu.Lock(); pub.heard == 0 {
			t.Error("the phone is not heard")
		}
		st.mu.Unlock()

		p.Remove()
		st.says("incall 0")
		if !pub.closed {
			t.Error("the publisher stays")
		}
		r.Leave()
		r.Leave()
		st.says("leave")
	})
}

// The server finds a new publisher only after incall 0, and takes it only with a new
// sid.
func TestAConnectionThatFailsIsMadeAnew(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		first := st.pub()
		time.Sleep(20 * time.Second)
		first.Failed(sfu.ErrClosed)
		st.says("incall 0")
		time.Sleep(250 * time.Millisecond)
		second := st.pub()
		if second == first || second.sid == first.sid || second.sid == "" {
			t.Errorf("offered with the sid %q after %q", second.sid, first.sid)
		}
		first.Failed(sfu.ErrLost) // of what there is no more
		st.answers()
		st.says("offer g722", "incall 3")
		if s := st.rooms.Stats(); s.Connected != 2 || s.Reconnects != 1 || s.Failed != 0 {
			t.Errorf("counted %+v", s)
		}
	})
}

// pauses are the times between messages of one kind.
func (st *stage) pauses(what string) (list []time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	last := ""
	for _, s := range st.said {
		at, said, _ := strings.Cut(s, " ")
		if said != what {
			continue
		}
		if last != "" {
			a, _ := time.ParseDuration(last + "s")
			b, _ := time.ParseDuration(at + "s")
			list = append(list, b-a)
		}
		last = at
	}
	return list
}

// about reports whether each of got is that of want, 20 % more or less.
func about(got, want []time.Duration) bool {
	return slices.EqualFunc(got, want, func(g, w time.Duration) bool {
		const step = 100 * time.Millisecond // of the times that are noted
		return g >= w-w/5-step && g <= w+w/5+step
	})
}

func TestOffersThatAreRefusedAreMadeAgainAfterPauses(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.enter().AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		for range 6 {
			p := st.pub()
			st.tell(talk.MediaMessage{Kind: talk.MediaError, From: ours, ID: p.id, Err: &talk.ServerError{Code: "client_not_found"}})
			time.Sleep(3700 * time.Millisecond)
		}
		// Each test waits longer than the pause: only the first of each is exact.
		synctest.Wait()
		if n := len(st.pubs); n != 7 {
			t.Fatalf("%d offers, want 7", n)
		}
		for i, s := range st.said {
			if strings.HasSuffix(s, "offer g722") && i > 0 && !strings.HasSuffix(st.said[i-1], "incall 0") {
				t.Errorf("an offer without incall 0 before it: %q", st.said)
			}
		}
	})
	want := []time.Duration{200 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}
	for n, w := range want {
		for range 20 {
			if got := pause(publishPauses[:], n); got < w-w/5 || got > w+w/5 {
				t.Errorf("pause %d is %v, want about %v", n, got, w)
			}
		}
	}
}

func TestAnOfferWithoutAnswerIsMadeAgain(t *testing.T) {
	inRoom(t, func(st *stage) {
		r := st.enter()
		r.AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		st.says("offer g722")
		time.Sleep(12*time.Second - time.Millisecond)
		st.says()
		time.Sleep(300 * time.Millisecond)
		st.says("incall 0", "offer g722")
		// Answered, but not connected.
		st.tell(talk.MediaMessage{Kind: talk.MediaAnswer, From: ours, SID: st.pub().sid})
		time.Sleep(14 * time.Second)
		st.says("incall 0", "offer g722")
		st.answers()
		st.says("incall 3")
		st.told(Begun)
	})
}

func TestPhonesThatAreNotHeardForAMinuteAreGivenUp(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.refuse = errors.New("no socket")
		r := st.enter()
		r.AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		time.Sleep(59 * time.Second)
		st.told(Begun)
		time.Sleep(2 * time.Minute)
		st.told(MediaFailed)
		if got := st.rooms.Stats().Failed; got != 1 {
			t.Errorf("%d failures are counted", got)
		}
		st.mu.Lock()
		st.refuse = nil
		st.mu.Unlock()
		time.Sleep(5 * time.Second)
		st.answers()
		st.pub().Failed(sfu.ErrLost)
		time.Sleep(10 * time.Second)
		st.told()
	})
}

// A server that does not do audiocodec never will: one more publisher each time
// would be in vain.
func TestACodecThatIsNotTakenIsNotOfferedAgain(t *testing.T) {
	inRoom(t, func(st *stage) {
		r := st.enter()
		r.AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		p := st.pub()
		p.answer = sfu.ErrCodec
		st.tell(talk.MediaMessage{Kind: talk.MediaAnswer, From: ours, SID: p.sid})
		st.says("offer g722", "incall 0")
		time.Sleep(90 * time.Second)
		st.says()
		st.told(Begun, MediaFailed)
		if !strings.Contains(st.log.String(), "level=ERROR") {
			t.Errorf("no error is logged:\n%s", st.log)
		}
	})
}

func TestTheOfferWaitsForSignaling(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.away = true
		st.enter().AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		time.Sleep(5 * time.Minute)
		st.told(Begun) // and not given up: nobody knows better
		st.set(talk.Returned, func() { st.away = false })
		st.answers()
		st.says("offer g722", "incall 3")
	})
}

// Media go on while the signaling connection is lost.
func TestASessionThatIsResumedPublishesOn(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		st.mu.Lock()
		st.away = true
		st.mu.Unlock()
		time.Sleep(20 * time.Second)
		st.set(talk.Returned, func() { st.away = false })
		time.Sleep(5 * time.Second)
		st.says()
		if st.pub().closed || len(st.pubs) != 1 {
			t.Error("the publisher was closed")
		}
	})
}

func TestANewSessionPublishesAnew(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.audible = []string{"P1"}
		r := st.enter()
		r.AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		first := st.answers()
		sub := st.offers("P1", "s1")
		sub.Connected(0)
		st.says("ask P1", "offer g722", "incall 3", "answer P1 s1")
		st.set(talk.Entered, func() { st.session = "R2" })
		if !first.closed || !sub.closed {
			t.Error("connections of the session that is gone stay")
		}
		st.says("ask P1", "offer g722") // nothing was published in the new one before: no incall 0
		second := st.pub()
		st.tell(talk.MediaMessage{Kind: talk.MediaAnswer, From: "R2", SID: second.sid})
		second.Connected(0)
		st.says("incall 3")
		// The same session, which had to join again.
		st.set(talk.Entered, nil)
		time.Sleep(300 * time.Millisecond)
		st.says("incall 0", "ask P1", "offer g722")
		_ = r
	})
}

func TestTheEndForEveryoneIsNoFailure(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.audible = []string{"P1"}
		r := st.enter()
		p := r.AddPhone("call-1", &fakePhone{}, PhoneOptions{})
		pub := st.answers()
		st.offers("P1", "s1").Connected(0)
		st.says("ask P1", "offer g722", "incall 3", "answer P1 s1")
		st.set(talk.EndedForEveryone, func() { st.others = 0 })
		st.told(Begun, EndedForEveryone)
		pub.Failed(sfu.ErrClosed)
		time.Sleep(30 * time.Second)
		st.says("incall 0")
		// A phone that comes later begins anew.
		r.AddPhone("call-2", &fakePhone{}, PhoneOptions{})
		st.answers()
		st.says("ask P1", "offer g722", "incall 3")
		p.Remove()
		p.Remove()
	})
}

func TestPhonesHearThatTheyAreConnectedAgain(t *testing.T) {
	inRoom(t, func(st *stage) {
		asked := []string{}
		_, _, a := st.up(PhoneOptions{Clip: func(name string) []int16 {
			st.mu.Lock()
			defer st.mu.Unlock()
			asked = append(asked, name)
			return slices.Repeat([]int16{5000}, 16000)
		}})
		st.set(talk.PeopleChanged, func() { st.others = 3 })
		st.pub().Failed(sfu.ErrLost)
		st.mu.Lock()
		st.refuse = errors.New("down")
		st.mu.Unlock()
		time.Sleep(2500 * time.Millisecond)
		heard := func() []string {
			synctest.Wait()
			st.mu.Lock()
			defer st.mu.Unlock()
			return slices.Clone(asked)
		}
		if got := heard(); len(got) != 0 {
			t.Errorf("too soon: %q", got)
		}
		time.Sleep(20 * time.Second)
		if got := heard(); !slices.Equal(got, []string{"reconnecting"}) {
			t.Errorf("the phone heard %q, want reconnecting once", got)
		}
		if a.frames() == 0 {
			t.Error("it was not played")
		}
	})
}
