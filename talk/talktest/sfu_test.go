package talktest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/media/sfu"
)

// A bridge that does all right: its tone is heard by participants, and theirs by it,
// and they hear each other. There is no fault in it.
func TestABridgeAndParticipantsHearEachOther(t *testing.T) {
	l, faults := mediaLab(t)
	alice := l.Cloud.Talk(token, "alice", ParticipantOptions{Sound: Tone400, Video: true})
	bob := l.Cloud.Talk(token, "bob", ParticipantOptions{Sound: Tone1000})
	b := newBridge(t, l)
	p := b.offer("1", b.id)
	b.inCall("3")
	sub, other := b.ask(alice.ID()), b.ask(bob.ID())
	tone := media.Tone(700, time.Second, -18)
	stop, done := make(chan bool), make(chan bool)
	var heard []int16 // until done
	both := make(chan bool)
	go func() {
		defer close(done)
		told := false
		play(5*patience, stop, func(n int, now time.Time) {
			var in, more, out [320]int16
			copy(out[:], tone[n*320%len(tone):])
			p.Write(&out)
			sub.Pull(now, &in)
			other.Pull(now, &more)
			for i := range in {
				in[i] += more[i]
			}
			if heard = append(heard, in[:]...); len(heard) > earWindow {
				heard = slices.Delete(heard, 0, len(heard)-earWindow)
			}
			if n%10 == 0 && !told && same(tones(heard), []int{400, 1000}) { // and not itself
				told = true
				close(both)
			}
		})
	}()
	alice.Expect(patience, 700, 1000)
	bob.Expect(patience, 700, 400)
	select {
	case <-both:
		close(stop)
		<-done
	case <-time.After(patience):
		close(stop)
		<-done
		t.Errorf("the bridge hears %v", tones(heard))
	}
	if level := sub.Level(); level != 30 {
		t.Errorf("the level is %d, not that of the packets: 30", level)
	}
	b.inCall("0")
	alice.Expect(patience, 1000)
	b.bye()
	if f := faults(); len(f) > 0 {
		t.Errorf("faults of a bridge that has none: %q", f)
	}
}

// A publisher keeps its first sid, and candidates with another one are refused.
// What is published after Janus has ended is not found until incall 0.
func TestPublishersAsTheRealServerHasThem(t *testing.T) {
	l, faults := mediaLab(t)
	l.PublisherWait = 300 * time.Millisecond
	janus := l.MCU.(*SFU)
	alice := l.Cloud.Talk(token, "alice", ParticipantOptions{Rejoin: 100 * time.Millisecond})
	b := newBridge(t, l)
	b.offer("first", b.id)
	b.tell("c", b.id, object{"type": "candidate", "roomType": "video", "sid": "other",
		"payload": object{"candidate": Candidate{Candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host"}}})
	if id, code := b.error(); id != "c" || code != "processing_failed" {
		t.Errorf("a candidate with another sid: %s for %s", code, id)
	}
	b.inCall("3")
	l.Until("alice has asked", patience, func() bool { return l.hears(alice.ID(), b.id) })
	soon(t, "all are connected", func() bool { return janus.connected() == 3 })

	id := alice.ID()
	janus.Restart(time.Hour)
	b.tell("down", b.id, object{"type": "offer", "roomType": "video", "sid": "second", "audiocodec": "g722",
		"payload": object{"type": "offer", "sdp": "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 9\r\n" +
			"a=rtpmap:9 G722/8000\r\n"}})
	if _, code := b.error(); code != "client_not_found" {
		t.Errorf("while it is down: %s", code)
	}
	janus.Return()
	p := b.offer("third", b.id) // is answered, and even connects
	l.Until("alice is back", patience, func() bool { return alice.ID() != id && l.publishes(alice.ID()) })
	time.Sleep(2 * l.PublisherWait)
	if l.hears(alice.ID(), b.id) {
		t.Error("what was published anew was found without incall 0")
	}
	p.Close()
	b.inCall("0")
	b.offer("fourth", b.id)
	b.inCall("3")
	l.Until("alice has asked again", patience, func() bool { return l.hears(alice.ID(), b.id) })
	b.inCall("0")
	b.bye()
	if f := slices.Compact(faults()); !slices.Equal(f, []FaultKind{SecondOffer}) {
		t.Errorf("faults %q", f)
	}
}

// The codec is that beside the offer, else Opus; one that is none is an error.
func TestOffersAreAnsweredByTheirCodec(t *testing.T) {
	for _, tt := range []struct{ name, codec, without, want string }{
		{"named", "g722", "", "a=recvonly"},
		{"not named", "", "", "a=inactive"},
		{"another one", "pcmu", "", "a=inactive"},
		{"one that is none", "bogus", "", "client_not_found"},
		{"an older server", "g722", "offer-codecs", "a=inactive"},
		{"no media server", "g722", "mcu", "client_not_found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, _ := mediaLab(t)
			l.Features = slices.DeleteFunc(l.Features, func(f string) bool { return f == tt.without })
			b := newBridge(t, l)
			_, offer, err := b.sfu.Publish(media.G722, sfu.Events{})
			if err != nil {
				t.Fatal(err)
			}
			data := object{"type": "offer", "roomType": "video", "sid": "1", "payload": object{"type": "offer", "sdp": offer}}
			if tt.codec != "" {
				data["audiocodec"] = tt.codec
			}
			b.tell("offer", "somebody", data) // whoever it is for, it is the bridge's own
			if !strings.HasPrefix(tt.want, "a=") {
				if id, code := b.error(); id != "offer" || code != tt.want {
					t.Errorf("%s for %q", code, id)
				}
				return
			}
			a := wait(t, b.answer)
			if sdp := a.Message.Data.Payload.SDP; !strings.Contains(sdp, tt.want) || strings.Contains(sdp, "a=candidate") {
				t.Errorf("no %s, or candidates, in\n%s", tt.want, sdp)
			}
			if a.Message.Sender.SessionID != b.id || a.Message.Data.SID != "1" {
				t.Errorf("the answer is %s's, with the sid %s", a.Message.Sender.SessionID, a.Message.Data.SID)
			}
		})
	}
}

// Whose offer is asked for, and what comes of it.
func TestOffersThatAreAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		whom       func(l *Lab) string
	}{
		{"not in the call", "not_allowed", func(l *Lab) string {
			u := l.Cloud.Join(token, "carol")
			u.Call(false)
			return u.ID()
		}},
		{"in another conversation", "not_allowed", func(l *Lab) string { return l.Cloud.Join("1234", "carol").ID() }},
		{"publishes nothing", "client_not_found", func(l *Lab) string { return l.Cloud.Join(token, "carol").ID() }},
		{"never was there", "client_not_found", func(l *Lab) string { return "nobody" }},
		{"publishes later", "", func(l *Lab) string { return l.Cloud.Talk(token, "carol", ParticipantOptions{}).ID() }},
		{"has a camera", "", func(l *Lab) string { return l.Cloud.Talk(token, "carol", ParticipantOptions{Video: true}).ID() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, _ := mediaLab(t)
			l.PublisherWait = patience
			if tt.want != "" {
				l.PublisherWait = 50 * time.Millisecond
			}
			b := newBridge(t, l)
			b.tell("ask", tt.whom(l), object{"type": "requestoffer", "roomType": "video"})
			if tt.want != "" {
				if id, code := b.error(); id != "ask" || code != tt.want {
					t.Errorf("%s for %q", code, id)
				}
				return
			}
			sdp := wait(t, b.offers).Message.Data.Payload.SDP
			for _, want := range []string{"m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=application ", "a=extmap:1 " + levelURI, "a=setup:actpass"} {
				if !strings.Contains(sdp, want) {
					t.Errorf("no %q in\n%s", want, sdp)
				}
			}
			if strings.Contains(sdp, "m=video 9 ") != (tt.name == "has a camera") {
				t.Errorf("video in\n%s", sdp)
			}
		})
	}
}

// All connections of a session end with its call, with everybody's, and with it.
func TestConnectionsEndWithTheCall(t *testing.T) {
	for name, end := range map[string]func(l *Lab, b *bridge){
		"incall 0":         func(_ *Lab, b *bridge) { b.inCall("0") },
		"bye":              func(_ *Lab, b *bridge) { b.inCall("0"); b.bye() },
		"for everyone":     func(l *Lab, _ *bridge) { l.Cloud.EndForEveryone(token) },
		"room deleted":     func(l *Lab, _ *bridge) { l.Cloud.DeleteRoom(token) },
		"somebody else's":  func(l *Lab, _ *bridge) { l.Cloud.EndForEveryone("1234") },
		"server restarted": func(l *Lab, _ *bridge) { l.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := mediaLab(t)
			janus := l.MCU.(*SFU)
			b := newBridge(t, l)
			b.offer("1", b.id)
			b.inCall("3")
			if n := janus.Peers(); n != 1 {
				t.Fatalf("%d connections", n)
			}
			end(l, b)
			if name == "somebody else's" {
				if n := janus.Peers(); n != 1 {
					t.Errorf("%d connections", n)
				}
				return
			}
			soon(t, "no connection is left", func() bool { return janus.Peers() == 0 })
		})
	}
}

// Apps for mobile phones ask for sessions that are new in the call, once.
func TestAppsAskOnce(t *testing.T) {
	l, _ := mediaLab(t)
	alice := l.Cloud.Talk(token, "alice", ParticipantOptions{Once: true})
	b := newBridge(t, l)
	b.offer("1", b.id)
	b.inCall("1") // without audio
	b.inCall("3")
	time.Sleep(500 * time.Millisecond)
	if l.hears(alice.ID(), b.id) {
		t.Error("it was asked for although it was not new")
	}
	b.inCall("0")
	b.offer("2", b.id)
	b.inCall("3")
	l.Until("it was asked for", patience, func() bool { return l.hears(alice.ID(), b.id) })
}
