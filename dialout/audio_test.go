package dialout

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/media"
	"sipxrest/talk/talktest"
)

// A phone hears the conversation, and is heard there.
func TestAPhoneAndTheConversationHearEachOther(t *testing.T) {
	withAudio(t, func(st *audioStage) {
		alice := st.lab.Cloud.Talk(token, "alice", talktest.ParticipantOptions{Sound: talktest.Tone600})
		app := st.lab.Cloud.Talk(token, "bob", talktest.ParticipantOptions{Sound: talktest.Silent, Once: true}) // asks once, as mobile apps
		p := st.call(101, 700)
		st.hears("the phone", p, 600)
		alice.Expect(patience, 700)
		app.Expect(patience, 600, 700)
		st.until("both directions proven", func() bool { return strings.Contains(st.log.String(), "RTP goes both ways") })
		if got := st.lab.Cloud.Phones(token); !slices.Equal(got, []string{p.id}) {
			t.Errorf("shown in the conversation: %q", got)
		}
		st.until("shown as speaking", func() bool { return st.lab.Cloud.Flags(token, p.id) == 4 })
		p.hangUp()
		st.until("gone", func() bool { return len(st.lab.Cloud.Phones(token)) == 0 && st.lab.Cloud.BridgesIn(token) == 0 })
		st.until("the last status", func() bool { return st.last(p.id) == "cleared Bye" })
		st.until("nothing is published", func() bool { n, _ := st.lab.Cloud.Published(token); return n <= 2 })
		if n := st.rooms.Stats(); n.Rooms != 0 || n.Phones != 0 {
			t.Errorf("left in conversations: %+v", n)
		}
		alice.Leave()
		app.Leave()
	})
}

// Each of several phones hears all others and not itself.
func TestPhonesHearEachOtherAndNotThemselves(t *testing.T) {
	withAudio(t, func(st *audioStage) {
		alice := st.lab.Cloud.Talk(token, "alice", talktest.ParticipantOptions{Sound: talktest.Tone600})
		defer alice.Leave()
		a, b, c := st.call(101, 700), st.call(102, 900), st.call(103, 1200)
		st.hears("the first", a, 600, 900, 1200)
		st.hears("the second", b, 600, 700, 1200)
		st.hears("the third", c, 600, 700, 900)
		alice.Expect(patience, 700, 900, 1200)

		// A moderator mutes one, in the mixer.
		alice.Control(b.id, `{"type":"mute","audio":1}`)
		alice.Expect(patience, 700, 1200)
		st.hears("the first", a, 600, 1200)
		st.until("shown as muted", func() bool { return st.lab.Cloud.Flags(token, b.id) == 1 })
		alice.Control(b.id, `{"type":"mute","audio":3}`)
		st.hears("one who is deaf", b)
		alice.Control(b.id, `{"type":"mute","audio":0}`)
		st.hears("the second", b, 600, 700, 1200)
		alice.Expect(patience, 700, 900, 1200)
		if len(b.line.muted) > 0 {
			t.Error("muting has reached SIP")
		}

		// Digits go by RFC 4733, and nobody else hears them.
		alice.Control(a.id, `{"type":"dtmf","digit":"5"}`)
		alice.Control(a.id, `{"type":"dtmf","digit":"#"}`)
		st.until("digits", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.digits == "5#" })

		// And hangs one up.
		alice.Control(c.id, `{"type":"hangup"}`)
		st.until("hung up", func() bool { return c.line.wasHungUp() != nil })
		st.until("the last status", func() bool { return st.last(c.id) == "cleared Hung up by a moderator" })
		st.hears("the first", a, 600, 900)
	})
}

// The phone holds the call: what it plays to us meanwhile is not for the
// conversation.
func TestAPhoneHoldsTheCall(t *testing.T) {
	withAudio(t, func(st *audioStage) {
		alice := st.lab.Cloud.Talk(token, "alice", talktest.ParticipantOptions{Sound: talktest.Tone600})
		defer alice.Leave()
		p := st.call(101, 700)
		alice.Expect(patience, 700)
		offer := strings.Replace(string(p.media.Offer()), "sendrecv", "sendonly", 1)
		answer, err := p.line.talks.Reoffer([]byte(offer))
		if err != nil || !strings.Contains(string(answer), "a=recvonly") {
			t.Fatalf("hold: %v\n%s", err, answer)
		}
		alice.Expect(patience)
		st.until("shown as muted", func() bool { return st.lab.Cloud.Flags(token, p.id) == 1 })
		if answer, err = p.line.talks.Reoffer(p.media.Offer()); err == nil {
			err = p.media.Accept(answer)
		}
		if err != nil {
			t.Fatal(err)
		}
		alice.Expect(patience, 700)
		if _, err := p.line.talks.Reoffer([]byte("v=0\r\nm=image 9 udptl t38\r\n")); err == nil {
			t.Error("a fax is taken")
		}
		st.hears("the phone", p, 600)
	})
}

// After the media server was restarted all hear each other again.
func TestTheMediaServerIsRestarted(t *testing.T) {
	withAudio(t, func(st *audioStage) {
		alice := st.lab.Cloud.Talk(token, "alice", talktest.ParticipantOptions{Sound: talktest.Tone600, Rejoin: 2 * time.Second})
		defer alice.Leave()
		a, b := st.call(101, 700), st.call(102, 900)
		alice.Expect(patience, 700, 900)
		st.hears("the first", a, 600, 900)
		st.mcu.Restart(time.Hour)
		st.hears("the first", a, 900) // phones hear each other all the time
		st.mcu.Return()
		alice.Expect(patience, 700, 900)
		st.hears("the first", a, 600, 900)
		st.hears("the second", b, 600, 700)
		if n := st.rooms.Stats(); n.Reconnects == 0 {
			t.Errorf("counted %+v", n)
		}
		for _, p := range []*telephone{a, b} {
			if why := p.line.wasHungUp(); why != nil {
				t.Errorf("a call was ended: %v", why)
			}
		}
	})
}

// A signaling server that has forgotten us is told everything again. The call goes
// on.
func TestTheSignalingSessionIsRenewed(t *testing.T) {
	withAudio(t, func(st *audioStage) {
		alice := st.lab.Cloud.Talk(token, "alice", talktest.ParticipantOptions{Sound: talktest.Tone600})
		p := st.call(101, 700)
		alice.Expect(patience, 700)
		st.hears("the phone", p, 600)
		st.lab.Drop() // and back at once: the same session
		time.Sleep(2 * time.Second)
		alice.Expect(patience, 700)
		st.hears("the phone", p, 600)
		alice.Leave()
		st.lab.Restart()
		alice = st.lab.Cloud.Talk(token, "alice", talktest.ParticipantOptions{Sound: talktest.Tone600})
		defer alice.Leave()
		alice.Expect(patience, 700)
		st.hears("the phone", p, 600)
		st.until("shown again", func() bool { return slices.Equal(st.lab.Cloud.Phones(token), []string{p.id}) })
		if why := p.line.wasHungUp(); why != nil {
			t.Errorf("the call was ended: %v", why)
		}
	})
}

func TestTheCallIsEndedForEveryone(t *testing.T) {
	withAudio(t, func(st *audioStage) {
		alice := st.lab.Cloud.Talk(token, "alice", talktest.ParticipantOptions{Sound: talktest.Tone600})
		defer alice.Leave()
		a, b := st.call(101, 700), st.call(102, 900)
		alice.Expect(patience, 700, 900)
		st.lab.Cloud.EndForEveryone(token)
		st.until("all are hung up", func() bool { return a.line.wasHungUp() != nil && b.line.wasHungUp() != nil })
		st.until("the bridge has left", func() bool { return st.lab.Cloud.BridgesIn(token) == 0 && len(st.lab.Cloud.Phones(token)) == 0 })
		st.until("the last status", func() bool { return st.last(a.id) == "cleared Ended for everyone" })
		st.until("no port is in use", func() bool { return st.ports.InUse() == 0 })
	})
}

// Who may not speak by Nextcloud's permissions is not heard, and hears.
func TestAPhoneThatMayNotSpeak(t *testing.T) {
	withAudio(t, func(st *audioStage) {
		st.lab.Cloud.VerifyAnswer = `{"token":"` + token + `","attendeeId":101,"actorType":"phones","actorId":"actor-101",` +
			`"displayName":"Phone","permissions":7}`
		alice := st.lab.Cloud.Talk(token, "alice", talktest.ParticipantOptions{Sound: talktest.Tone600})
		defer alice.Leave()
		p := st.call(101, 700)
		st.hears("the phone", p, 600)
		st.until("shown as muted", func() bool { return st.lab.Cloud.Flags(token, p.id) == 1 })
		alice.Control(p.id, `{"type":"mute","audio":0}`)
		time.Sleep(time.Second)
		alice.Expect(patience)
	})
}

// Talk's user is told why a phone cannot be heard.
func TestPhonesThatCannotBeHeardAreNotCalled(t *testing.T) {
	refused := func(st *audioStage, code, text string) {
		t.Helper()
		_, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101))
		if err == nil || !strings.Contains(err.Error(), code) || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %s and %s", err, code, text)
		}
		st.until("no port is in use", func() bool { return st.ports.InUse() == 0 })
		st.until("left", func() bool { return st.lab.Cloud.BridgesIn(token) == 0 })
	}
	t.Run("old server", func(t *testing.T) {
		withAudio(t, func(st *audioStage) { refused(st, internalError, "too old for audio") }, func(st *audioStage, _ *Config) {
			st.lab.Features = slices.DeleteFunc(st.lab.Features, func(f string) bool { return f == "offer-codecs" })
		})
	})
	t.Run("no media server", func(t *testing.T) {
		withAudio(t, func(st *audioStage) { refused(st, internalError, "(mcu)") }, func(st *audioStage, _ *Config) {
			st.lab.Features = slices.DeleteFunc(st.lab.Features, func(f string) bool { return f == "mcu" })
		})
	})
	t.Run("encrypted", func(t *testing.T) {
		withAudio(t, func(st *audioStage) { refused(st, notAllowed, "encrypts calls end to end") }, func(st *audioStage, _ *Config) {
			st.lab.Cloud.Encrypted = true
		})
	})
	t.Run("no ports", func(t *testing.T) {
		withAudio(t, func(st *audioStage) {
			for {
				s, err := st.ports.Open(media.Options{})
				if errors.Is(err, media.ErrNoPorts) { // others on this machine may have some, too
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
			}
			_, err := st.lab.Cloud.Dialout(token, number, talktest.Options(101))
			if err == nil || !strings.Contains(err.Error(), tooMany) {
				t.Errorf("got %v", err)
			}
		}, func(st *audioStage, c *Config) {})
	})
	t.Run("too many conversations", func(t *testing.T) {
		withAudio(t, func(st *audioStage) {
			for _, other := range []string{"1001", "1002"} {
				r, err := st.rooms.Enter(st.client.Sessions()[0], other, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Leave()
			}
			refused(st, tooMany, "too many conversations")
		})
	})
}

// A phone that is not heard for a minute is told so, and hung up after that.
func TestAPhoneThatIsNotHeardIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := ""
		d := &sound{cfg: &Audio{Clip: func(name string) []int16 { asked = name; return make([]int16, 3*16000) }}}
		hungUp := func() time.Duration {
			begun, over := time.Now(), make(chan bool)
			d.unavailable(func() { close(over) })
			<-over
			return time.Since(begun)
		}
		if after := hungUp(); asked != "unavailable" || after != 3*time.Second {
			t.Errorf("it hears %q, and is hung up after %v", asked, after)
		}
		d.cfg.Clip = nil // whatever there is to be heard
		if after := hungUp(); after != 0 {
			t.Errorf("without a prompt it is hung up after %v", after)
		}
	})
}
