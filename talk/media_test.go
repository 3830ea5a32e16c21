package talk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/talk"
	"sipxrest/talk/talktest"
)

// A tape is an MCU that carries nothing, and says what it was told.
type tape struct {
	mu    sync.Mutex
	heard []string
}

func (t *tape) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = append(t.heard, fmt.Sprintf(format, args...))
}

var theirs = talktest.Candidate{SDPMid: "0", Candidate: "candidate:1 1 udp 2015363327 198.18.0.1 32268 typ host"}

func (t *tape) Publish(offer, codec string, trickle func(talktest.Candidate)) (talktest.MCUPublisher, string, error) {
	t.note("publish %s %s", offer, codec)
	trickle(theirs)
	return &track{tape: t}, "answer to " + offer, nil
}

type track struct{ *tape }

func (t *track) Lost() bool { return false }
func (t *track) Close()     { t.note("close") }
func (t *track) Candidate(c talktest.Candidate) error {
	t.note("candidate %s", c.Candidate)
	return nil
}

func (t *track) Answer(sdp string) error {
	t.note("answer %s", sdp)
	return nil
}

func (t *track) Subscribe(trickle func(talktest.Candidate)) (talktest.MCUSubscriber, string, error) {
	trickle(theirs)
	return &track{t.tape}, "offer", nil
}

// media runs a test with a room that was joined, where alice is in the call. What
// came of media is told.
func media(t *testing.T, f func(r *rig, room *talk.Room, mcu *tape, alice *talktest.User)) {
	t.Helper()
	mcu := &tape{}
	bubble(t, func(r *rig) {
		alice := r.lab.Cloud.Join(token, "alice")
		room := r.session.Join(token)
		r.was("up first", "entered", "audio", "people")
		f(r, room, mcu, alice)
		room.Leave()
	}, func(r *rig, cfg *talk.Config) {
		r.lab.MCU = mcu
		cfg.Handler.Room = func(_ *talk.Session, e talk.RoomEvent) { r.tell("%s", kinds[e.Kind]) }
		cfg.Handler.Media = func(_ *talk.Room, m talk.MediaMessage) {
			text := fmt.Sprintf("kind=%d from=%.1s sid=%q sdp=%q", m.Kind, m.From, m.SID, m.SDP)
			if m.Update {
				text += " update"
			}
			if m.Candidate.Candidate != "" {
				text += " " + m.Candidate.SDPMid + " " + m.Candidate.Candidate
			}
			if m.Err != nil {
				text = fmt.Sprintf("error from=%.1s id=%s code=%s", m.From, m.ID, m.Err.Code)
			}
			r.tell("%s", text)
		}
	})
}

var kinds = map[talk.RoomEventKind]string{talk.EndedForEveryone: "ended", talk.Deleted: "deleted", talk.Empty: "empty",
	talk.Entered: "entered", talk.Returned: "returned", talk.AudioChanged: "audio", talk.PeopleChanged: "people"}

// wrote are the room's messages of a type to the server.
func wrote(r *rig, what string) (list []string) {
	synctest.Wait()
	for _, m := range r.lab.Messages() {
		if text, ok := strings.CutPrefix(m, "<- "); ok && strings.Contains(text, what) {
			list = append(list, text)
		}
	}
	return list
}

// same compares JSON.
func same(t *testing.T, got, want string) {
	t.Helper()
	var a, b any
	if json.Unmarshal([]byte(got), &a) != nil || json.Unmarshal([]byte(want), &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// The messages of publishing are those that real servers take.
func TestARoomPublishes(t *testing.T) {
	media(t, func(r *rig, room *talk.Room, mcu *tape, _ *talktest.User) {
		self := room.SessionID()
		id, err := room.Offer("1796", "v=0", "g722")
		if err != nil {
			t.Fatal(err)
		}
		r.was(`kind=2 from=S sid="1796" sdp="answer to v=0"`, `kind=3 from=S sid="1796" sdp="" 0 `+theirs.Candidate)
		same(t, wrote(r, `"offer"`)[0], `{"id":"`+id+`","type":"message","message":{"recipient":{"type":"session","sessionid":"`+self+`"},`+
			`"data":{"to":"`+self+`","sid":"1796","roomType":"video","type":"offer","audiocodec":"g722",`+
			`"payload":{"type":"offer","nick":"Phones","sdp":"v=0"}}}}`)
		if err := room.Candidate(self, "1796", talk.Candidate{SDPMid: "0", Candidate: "candidate:2"}); err != nil {
			t.Error(err)
		}
		if err := room.InCall(3); err != nil {
			t.Error(err)
		}
		same(t, wrote(r, `"incall":3`)[0], `{"type":"internal","internal":{"type":"incall","incall":{"incall":3}}}`)
		if err := room.InCall(0); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if want := []string{"publish v=0 g722", "candidate candidate:2", "close"}; !slices.Equal(mcu.heard, want) {
			t.Errorf("the media server was told %q", mcu.heard)
		}
		// The server keeps a publisher's first sid.
		_, _ = room.Offer("1", "v=0", "g722")
		r.forget()
		_ = room.Candidate(self, "2", talk.Candidate{Candidate: "candidate:3"})
		r.was("error from=S id=candidate-4 code=processing_failed")
	})
}

func TestARoomHearsAParticipant(t *testing.T) {
	media(t, func(r *rig, room *talk.Room, _ *tape, alice *talktest.User) {
		id, err := room.Ask(alice.ID())
		if err != nil {
			t.Fatal(err)
		}
		same(t, wrote(r, "requestoffer")[0], `{"id":"`+id+`","type":"message","message":{"recipient":{"type":"session",`+
			`"sessionid":"`+alice.ID()+`"},"data":{"roomType":"video","type":"requestoffer"}}}`)
		sleep(9 * time.Second)
		r.was()
		sleep(time.Second) // she publishes nothing
		r.was("error from=U id=" + id + " code=client_not_found")
		alice.Call(false)
		r.forget()
		id, _ = room.Ask(alice.ID())
		r.was("error from=U id=" + id + " code=not_allowed")
		say := func(data string) {
			r.lab.Say(`{"type":"message","message":{"sender":{"type":"session","sessionid":"` + alice.ID() + `"},"data":` + data + `}}`)
		}
		say(`{"from":"x","to":"y","type":"offer","roomType":"video","payload":{"sdp":"v=0","type":"offer"},"sid":"803"}`)
		say(`{"type":"candidate","roomType":"video","payload":{"candidate":{"sdpMid":"0","sdpMLineIndex":0,"candidate":"candidate:1"}},` +
			`"sid":"803"}`)
		say(`{"type":"offer","roomType":"video","payload":{"sdp":"v=1","type":"offer","update":true},"sid":"803"}`)
		r.was(`kind=1 from=U sid="803" sdp="v=0"`, `kind=3 from=U sid="803" sdp="" 0 candidate:1`, `kind=1 from=U sid="803" sdp="v=1" update`)
		if err := room.Answer(alice.ID(), "803", "v=2"); err != nil {
			t.Error(err)
		}
		same(t, wrote(r, `"answer"`)[0], `{"id":"answer-3","type":"message","message":{"recipient":{"type":"session",`+
			`"sessionid":"`+alice.ID()+`"},"data":{"to":"`+alice.ID()+`","sid":"803","roomType":"video","type":"answer",`+
			`"payload":{"type":"answer","nick":"Phones","sdp":"v=2"}}}}`)
		r.was("error from=U id=answer-3 code=processing_failed") // the lab knows of no such offer
	})
}

// Sessions may say anything in the names of the media server, and the server may
// be anybody.
func TestMediaOfOthersIsNotHeard(t *testing.T) {
	media(t, func(r *rig, room *talk.Room, _ *tape, alice *talktest.User) {
		self, long := room.SessionID(), strings.Repeat("x", 50<<10)
		for _, c := range [][2]string{
			{"stranger", `{"type":"offer","roomType":"video","payload":{"sdp":"v=0"},"sid":"1"}`},
			{alice.ID(), `{"type":"answer","roomType":"video","payload":{"sdp":"v=0"},"sid":"1"}`},
			{self, `{"type":"offer","roomType":"video","payload":{"sdp":"v=0"},"sid":"1"}`},
			{alice.ID(), `{"type":"offer","roomType":"screen","payload":{"sdp":"v=0"},"sid":"1"}`},
			{alice.ID(), `{"type":"offer","roomType":"video","payload":{"sdp":"` + long + `"},"sid":"1"}`},
			{alice.ID(), `{"type":"offer","roomType":"video","payload":{"sdp":""},"sid":"1"}`},
			{alice.ID(), `{"type":"offer","roomType":"video","payload":{"sdp":5},"sid":"1"}`},
			{alice.ID(), `{"type":"offer","roomType":"video","payload":[],"sid":"1"}`},
			{alice.ID(), `{"type":"offer","roomType":"video","payload":{"sdp":"v=0"},"sid":"` + long[:300] + `"}`},
			{alice.ID(), `{"type":"candidate","roomType":"video","payload":{"candidate":{"candidate":"` + long[:2000] + `"}},"sid":"1"}`},
			{alice.ID(), `{"type":"candidate","roomType":"video","payload":{"candidate":{"candidate":"a","sdpMLineIndex":-1}},"sid":"1"}`},
			{alice.ID(), `{"type":"candidate","roomType":"video","payload":{"candidate":5},"sid":"1"}`},
			{alice.ID(), `{"type":"unheard-of","roomType":"video","payload":{},"sid":"1"}`},
			{alice.ID(), `5`}, {"", `{"type":"offer","roomType":"video","payload":{"sdp":"v=0"},"sid":"1"}`},
		} {
			r.lab.Say(`{"type":"message","message":{"sender":{"type":"session","sessionid":"` + c[0] + `"},"data":` + c[1] + `}}`)
		}
		for _, m := range []string{`{"type":"message","message":5}`, `{"type":"message"}`, `{"id":"ask-9","type":"error","error":{"code":"x"}}`,
			`{"type":"error","error":{"code":"client_not_found"}}`} {
			r.lab.Say(m)
		}
		r.was()
	})
}

// How what we publish fares when the connection is lost.
func TestAnOwnerIsToldWhetherItsMediaGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(r *rig, room *talk.Room)
		told []string
		same bool // the session
	}{
		"resumed": {func(r *rig, room *talk.Room) {
			r.lab.Refuse(true)
			r.lab.Drop()
			synctest.Wait()
			if _, err := room.Offer("2", "v=0", "g722"); !errors.Is(err, talk.ErrAway) {
				t.Errorf("an offer without a connection: %v", err)
			}
			sleep(20 * time.Second)
			r.lab.Refuse(false)
		}, []string{"down", "returned", "up resumed"}, true},
		"renewed": {func(r *rig, _ *talk.Room) {
			r.lab.Refuse(true)
			r.lab.Drop()
			sleep(40 * time.Second)
			r.lab.Refuse(false)
		}, []string{"again 4271953862", "audio", "down", "entered", "up renewed"}, false},
		"requests only": {func(r *rig, _ *talk.Room) { r.lab.ForgetDialout() },
			[]string{"again 4271953862", "down", "up renewed"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			media(t, func(r *rig, room *talk.Room, mcu *tape, _ *talktest.User) {
				self := room.SessionID()
				_, _ = room.Offer("1", "v=0", "g722")
				_ = room.InCall(3)
				sleep(10 * time.Second)
				r.forget()
				c.lose(r, room)
				sleep(10 * time.Second)
				r.mu.Lock()
				told := slices.Sorted(slices.Values(r.told))
				r.told = nil
				r.mu.Unlock()
				if !slices.Equal(told, c.told) {
					t.Errorf("told %q, want %q", told, c.told)
				}
				if got := room.SessionID() == self; got != c.same {
					t.Errorf("the same session: %v", got)
				}
				if closed := slices.Contains(mcu.heard, "close"); closed == c.same {
					t.Errorf("what was published has ended: %v", closed)
				}
				if publishers, _ := r.lab.Cloud.Published(token); (publishers == 1) != c.same {
					t.Errorf("%d publish", publishers)
				}
				sleep(time.Hour)
				r.was()
			})
		})
	}
}

// That we are in the call may be lost on the way: it is said again.
func TestWhatWeDoInTheCallIsSaidAgain(t *testing.T) {
	media(t, func(r *rig, room *talk.Room, _ *tape, _ *talktest.User) {
		_, _ = room.Offer("1", "v=0", "g722")
		sleep(time.Minute)
		cutOnce(r, false, `"incall":3`)
		_ = room.InCall(3)
		sleep(5 * time.Second)
		if n := len(wrote(r, `"incall":3`)); n != 1 {
			t.Errorf("it was taken %d times", n)
		}
		_ = room.InCall(0)
		r.lab.Drop()
		sleep(5 * time.Second)
		if n := len(wrote(r, `"incall":3`)); n != 1 {
			t.Errorf("it was taken %d times", n)
		}
	})
}

// What we do in the call ends before we go, also when the whole client does: the lab
// finds fault with another end.
func TestTheEndOfARoomEndsOurPartInItsCall(t *testing.T) {
	for name, end := range map[string]func(r *rig, room *talk.Room){
		"left":   func(_ *rig, room *talk.Room) { room.Leave() },
		"ended":  func(r *rig, _ *talk.Room) { r.stop() },
		"unsent": func(r *rig, room *talk.Room) { r.lab.Drop(); room.Leave() },
	} {
		t.Run(name, func(t *testing.T) {
			media(t, func(r *rig, room *talk.Room, mcu *tape, _ *talktest.User) {
				r.session.Join(token).Leave() // another user's comes and goes
				_, _ = room.Offer("1", "v=0", "g722")
				_ = room.InCall(3)
				sleep(time.Second)
				end(r, room)
				sleep(time.Minute)
				if n := len(wrote(r, `"incall":0`)); n != 1 || !slices.Contains(mcu.heard, "close") {
					t.Errorf("said %d times, %q", n, mcu.heard)
				}
				r.session.Join(token) // for the end
			})
		})
	}
}

// Leaving the room to see who is there would end what is published and heard.
func TestARoomWithMediaIsNotLeftToLook(t *testing.T) {
	media(t, func(r *rig, room *talk.Room, mcu *tape, alice *talktest.User) {
		_, _ = room.Offer("1", "v=0", "g722")
		_ = room.InCall(3)
		sleep(10 * time.Second)
		r.forget()
		alice.Call(false)
		r.was("audio", "people")
		sleep(talk.EmptyTime)
		r.was("empty")
		if slices.Contains(mcu.heard, "close") {
			t.Error("it was left")
		}
		// What a lost connection may have hidden is worth it: bob's coming.
		cutOnce(r, true, `"join":[{"sessionid":"U`)
		r.lab.Cloud.Join(token, "bob")
		sleep(2 * time.Minute)
		if !slices.Contains(mcu.heard, "close") || room.Humans() != 1 || len(room.Audible()) != 1 {
			t.Errorf("%q, %d humans, %q are heard", mcu.heard, room.Humans(), room.Audible())
		}
		if n := len(wrote(r, `"incall":0`)); n != 1 {
			t.Errorf("browsers were told %d times that nobody is heard any more", n)
		}
	})
}

func TestMediaOfARoomThatWasLeftIsNotTold(t *testing.T) {
	media(t, func(r *rig, room *talk.Room, _ *tape, alice *talktest.User) {
		again := r.session.Join(token)
		room.Leave()
		again.Leave()
		if _, err := room.Ask(alice.ID()); !errors.Is(err, talk.ErrClosed) {
			t.Error(err)
		}
		if err := room.InCall(3); !errors.Is(err, talk.ErrClosed) {
			t.Error(err)
		}
		r.session.Join(token) // for the end
	})
}
