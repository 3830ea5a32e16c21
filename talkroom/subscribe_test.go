package talkroom

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/media/sfu"
	"sipxrest/talk"
)

func TestParticipantsAreHeardByPhones(t *testing.T) {
	inRoom(t, func(st *stage) {
		_, p, a := st.up()
		a.hush()
		st.set(talk.AudioChanged, func() { st.audible = []string{"P1"} })
		st.says("ask P1")
		if a.hears() {
			t.Error("something is heard of nobody")
		}
		// Candidates come before the answer is made, and of other connections.
		st.slow = 100 * time.Millisecond
		st.tell(talk.MediaMessage{Kind: talk.MediaOffer, From: "P1", SID: "s1", SDP: "offer"})
		st.tell(talk.MediaMessage{Kind: talk.MediaCandidate, From: "P1", SID: "s1"})
		st.tell(talk.MediaMessage{Kind: talk.MediaCandidate, From: "P1", SID: "s0"})
		st.tell(talk.MediaMessage{Kind: talk.MediaCandidate, From: "P2", SID: "s1"})
		time.Sleep(200 * time.Millisecond)
		st.says("answer P1 s1")
		st.mu.Lock()
		sub := st.subs[0]
		st.mu.Unlock()
		st.tell(talk.MediaMessage{Kind: talk.MediaCandidate, From: "P1", SID: "s1"})
		if sub.candidates != 2 {
			t.Errorf("%d candidates were used, want 2", sub.candidates)
		}
		sub.Connected(30 * time.Millisecond)
		if !a.hears() {
			t.Error("the participant is not heard")
		}
		if got := st.rooms.Stats().Sources["heard"]; got != 1 {
			t.Errorf("%d sources are heard", got)
		}
		p.Mute(talk.MutedListening)
		if a.hears() {
			t.Error("a deaf phone hears")
		}
		p.Mute(0)
		st.set(talk.AudioChanged, func() { st.audible = nil })
		if !sub.closed {
			t.Error("the subscription of one who has gone stays")
		}
		if a.hears() {
			t.Error("one who has gone is heard")
		}
	})
}

// Nobody else's offers are answered, nor those of our own session.
func TestOffersOfStrangersAreLeftOut(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		st.tell(talk.MediaMessage{Kind: talk.MediaOffer, From: "P9", SID: "s", SDP: "offer"})
		st.tell(talk.MediaMessage{Kind: talk.MediaOffer, From: ours, SID: "s", SDP: "offer"})
		st.tell(talk.MediaMessage{Kind: talk.MediaError, ID: "id-77"})
		st.tell(talk.MediaMessage{Kind: talk.MediaCandidate, From: "P9", SID: "s"})
		st.tell(talk.MediaMessage{})
		st.says()
		if st.hearings() != 0 {
			t.Error("a stranger is heard")
		}
	})
}

func TestParticipantsAreAskedAgainAfterPauses(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		st.set(talk.AudioChanged, func() { st.audible = []string{"P1"} })
		for range 7 {
			st.mu.Lock()
			id := fmt.Sprintf("id-%d", st.n)
			st.mu.Unlock()
			st.tell(talk.MediaMessage{Kind: talk.MediaError, From: "P1", ID: id, Err: &talk.ServerError{Code: "client_not_found"}})
			st.mu.Lock()
			n := st.n
			st.mu.Unlock()
			for range 400 {
				time.Sleep(100 * time.Millisecond)
				st.mu.Lock()
				now := st.n
				st.mu.Unlock()
				if now > n {
					break
				}
			}
		}
		s := time.Second
		if got := st.pauses("ask P1"); !about(got, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}) {
			t.Errorf("asked again after %v", got)
		}
		if got := st.rooms.Stats().Sources; got["asked"] != 1 || got["heard"] != 0 {
			t.Errorf("sources: %v", got)
		}
		st.forget()
	})
}

func TestAnOfferThatDoesNotComeIsAskedForAgain(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		st.set(talk.AudioChanged, func() { st.audible = []string{"P1"} })
		time.Sleep(14 * time.Second)
		st.says("ask P1", "ask P1")
		// It comes, and there is no connection.
		sub := st.offers("P1", "s1")
		time.Sleep(16 * time.Second)
		st.says("answer P1 s1", "ask P1")
		if !sub.closed {
			t.Error("the connection that did not come stays")
		}
	})
}

func TestAConnectionThatFailsIsAskedForAgain(t *testing.T) {
	inRoom(t, func(st *stage) {
		_, _, a := st.up()
		a.hush()
		st.set(talk.AudioChanged, func() { st.audible = []string{"P1", "P2"} })
		one, two := st.offers("P1", "s1"), st.offers("P2", "s2")
		one.Connected(0)
		two.Connected(0)
		st.says("ask P1", "ask P2", "answer P1 s1", "answer P2 s2")
		one.Failed(sfu.ErrLost)
		time.Sleep(300 * time.Millisecond)
		st.says("ask P1")
		if !one.closed || two.closed {
			t.Error("not the one that failed was closed")
		}
		if !a.hears() {
			t.Error("the other one is not heard any more")
		}
		again := st.offers("P1", "s3")
		one.Connected(0) // too late
		again.Connected(0)
		st.says("answer P1 s3")
	})
}

// Who publishes anew offers by himself.
func TestAnOfferThatNobodyAskedForReplaces(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		st.set(talk.AudioChanged, func() { st.audible = []string{"P1"} })
		one := st.offers("P1", "s1")
		one.Connected(0)
		two := st.offers("P1", "s2")
		if !one.closed {
			t.Error("the connection that was replaced stays")
		}
		two.Connected(0)
		st.says("ask P1", "answer P1 s1", "answer P1 s2")
		// One after the other while answers are being made: the last one counts, and
		// only two are made.
		st.slow = time.Second
		for i := range 50 {
			st.tell(talk.MediaMessage{Kind: talk.MediaOffer, From: "P1", SID: fmt.Sprintf("t%d", i), SDP: "offer"})
		}
		time.Sleep(3 * time.Second)
		st.says("answer P1 t49")
		if n := st.hearings(); n != 4 {
			t.Errorf("%d connections were made, want 4", n)
		}
	})
}

func TestNotTooManyAnswersAreMadeAtOnce(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		st.slow = time.Second
		var many []string
		for i := range 20 {
			many = append(many, fmt.Sprintf("P%d", i))
		}
		st.set(talk.AudioChanged, func() { st.audible = many })
		for _, p := range many {
			st.tell(talk.MediaMessage{Kind: talk.MediaOffer, From: p, SID: "s", SDP: "offer"})
		}
		for i, want := range []int{0, 8, 16, 20} {
			if got := st.hearings(); got != want {
				t.Errorf("after %d s there are %d connections, want %d", i, got, want)
			}
			time.Sleep(time.Second)
		}
		st.forget()
	})
}

func TestOneWhoCannotBeHeardKeepsNobody(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		st.set(talk.AudioChanged, func() { st.audible = []string{"P1", "P2"} })
		st.mu.Lock()
		st.refuse = errors.New("a codec that is none of ours")
		st.mu.Unlock()
		st.tell(talk.MediaMessage{Kind: talk.MediaOffer, From: "P1", SID: "s1", SDP: "offer"})
		st.mu.Lock()
		st.refuse = nil
		st.mu.Unlock()
		st.offers("P2", "s2").Connected(0)
		synctest.Wait()
		if got := st.rooms.Stats().Sources; got["heard"] != 1 || got["waiting"] != 1 {
			t.Errorf("sources: %v", got)
		}
		st.forget()
	})
}

// One without a codec of ours is not asked in vain again and again.
func TestOneWithoutACodecOfOursIsNotAskedAgain(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		st.set(talk.AudioChanged, func() { st.audible = []string{"P1"} })
		st.mu.Lock()
		st.refuse = fmt.Errorf("the offer: %w", sfu.ErrCodec)
		st.mu.Unlock()
		st.tell(talk.MediaMessage{Kind: talk.MediaOffer, From: "P1", SID: "s1", SDP: "offer"})
		time.Sleep(5 * time.Minute)
		st.says("ask P1")
		st.mu.Lock()
		st.refuse = nil
		st.mu.Unlock()
		st.offers("P1", "s2").Connected(0) // with another one
		st.says("answer P1 s2")
	})
}

// What the signaling server sends without end is bounded.
func TestAFloodOfMediaMessagesIsBounded(t *testing.T) {
	inRoom(t, func(st *stage) {
		st.up()
		st.rooms.mu.Lock()
		c := st.rooms.joined[st]
		st.rooms.mu.Unlock()
		block := make(chan struct{})
		c.post(func() { <-block })
		for range 3 * maxWaiting {
			c.hears(talk.MediaMessage{Kind: talk.MediaOffer, From: "P9"})
			c.happens(talk.AudioChanged)
			c.happens(talk.RoomEventKind(999))
		}
		c.inbox.mu.Lock()
		n := len(c.inbox.list)
		c.inbox.mu.Unlock()
		if n > maxWaiting+10 {
			t.Errorf("%d wait", n)
		}
		close(block)
		synctest.Wait()
		if c.inbox.take() != nil {
			t.Error("something still waits")
		}
	})
}
