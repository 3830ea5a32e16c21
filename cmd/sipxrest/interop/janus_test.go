//go:build interop

package interop

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/media"
	"sipxrest/media/sfu"
	"sipxrest/talk/talktest"
)

// The lab itself: without sipxrest, two browsers hear each other through Janus, and
// again after it was restarted or killed.
func TestTalkParticipantsHearEachOtherThroughJanus(t *testing.T) {
	t.Parallel()
	lab.NeedNamespaces(t)
	l := lab.Start(t, nil)
	janus := l.Janus()
	talk := l.TalkWith(janus)
	alice := l.TalkUser(talk, conversation, "alice", 600)
	bob := l.TalkUser(talk, conversation, "bob", 1000)
	alice.AwaitHears("bob", bob.Tone)
	bob.AwaitHears("alice", alice.Tone)
	if got := bob.Received("alice").Codec; got != "audio/opus" {
		t.Errorf("bob receives %q", got)
	}
	for _, end := range []func(){janus.Stop, janus.Kill} {
		end()
		alice.AwaitHears("bob")
		janus.Start()
		alice.AwaitHearsIn(recovery, "bob", bob.Tone)
		bob.AwaitHearsIn(recovery, "alice", alice.Tone)
	}
	bob.Leave()
	alice.AwaitHears("bob")
	alice.Leave()
	talk.Until("nothing is published", lab.Patience, func() bool {
		publishers, heard := talk.Cloud.Published(conversation)
		return publishers == 0 && heard == 0
	})
}

// recovery is how long it may take until all hear each other again once Janus is back.
const recovery = 30 * time.Second

// Without browsers, signaling and telephones: what the service publishes with each of
// its codecs comes back from Janus as it was, and both ends notice when Janus goes.
func TestThePublisherAndJanusUnderstandEachOther(t *testing.T) {
	t.Parallel()
	lab.NeedNamespaces(t)
	l := lab.Start(t, nil)
	janus := l.Janus()
	mcu := janus.MCU()
	ours, err := sfu.New(sfu.Config{Address: janus.Here})
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	failed := make(chan error, 10)
	for _, codec := range []media.Codec{media.G722, media.PCMU, media.PCMA} {
		connected := make(chan time.Duration, 2)
		events := sfu.Events{Connected: func(d time.Duration) { connected <- d }, Failed: func(err error) { failed <- err }}
		p, offer, err := ours.Publish(codec, events)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		early := make(chan sfu.Candidate, 100)
		there, answer, err := mcu.Publish(offer, strings.ToLower(codec.String()), func(c talktest.Candidate) { early <- sfu.Candidate(c) })
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Answer(answer); err != nil {
			t.Fatalf("%v: %v\n%s", codec, err, answer)
		}
		if err := p.Candidate(<-early); err != nil {
			t.Error(err)
		}
		select {
		case took := <-connected:
			t.Logf("%v: connected after %v", codec, took)
		case <-time.After(lab.Patience):
			t.Fatalf("%v: no connection", codec)
		}
		listener, offer, err := there.Subscribe(func(c talktest.Candidate) { early <- sfu.Candidate(c) })
		if err != nil {
			t.Fatal(err)
		}
		s, answer, err := ours.Subscribe(offer, events)
		if err != nil {
			t.Fatalf("%v: %v\n%s", codec, err, offer)
		}
		defer s.Close()
		if err := errors.Join(listener.Answer(answer), s.Candidate(<-early)); err != nil {
			t.Fatal(err)
		}
		<-connected

		const hz = 1000
		tone := media.Tone(hz, time.Minute, -12)
		var heard []int16
		tick := time.NewTicker(20 * time.Millisecond)
		for n := 0; len(heard) < 32000 && n < len(tone)/320; n++ {
			now := <-tick.C
			p.Write((*[320]int16)(tone[320*n:]))
			var frame [320]int16
			if s.Pull(now, &frame) || len(heard) > 0 {
				heard = append(heard, frame[:]...)
			}
		}
		tick.Stop()
		if share := goertzel(heard[len(heard)-16000:], hz); share < 0.95 {
			t.Errorf("%v: only %.2f of what comes back is the tone", codec, share)
		}
	}
	janus.Kill()
	for range 6 {
		select {
		case err := <-failed:
			if !errors.Is(err, sfu.ErrLost) {
				t.Errorf("a connection has failed with %v, want %v", err, sfu.ErrLost)
			}
		case <-time.After(lab.Patience):
			t.Fatal("a connection to a Janus that was killed has not failed")
		}
	}
}
