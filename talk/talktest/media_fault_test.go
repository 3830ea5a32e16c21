package talktest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/media/sfu"
)

// Each fault is found in a bridge that has it.
func TestFaultsOfMedia(t *testing.T) {
	const audioSDP = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 9 0\r\na=mid:0\r\n" +
		"a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n"
	offerOf := func(b *bridge, sdp string) {
		b.tell("x", b.id, object{"type": "offer", "roomType": "video", "sid": "1", "audiocodec": "g722",
			"payload": object{"type": "offer", "sdp": sdp}})
	}
	for _, tt := range []struct {
		want FaultKind
		does func(t *testing.T, l *Lab, b *bridge)
	}{
		{InTwoSteps, func(t *testing.T, l *Lab, b *bridge) {
			b.offer("1", b.id)
			b.inCall("1")
			b.inCall("3")
		}},
		{NotConnected, func(t *testing.T, l *Lab, b *bridge) {
			_, offer, err := b.sfu.Publish(media.G722, sfu.Events{})
			if err != nil {
				t.Fatal(err)
			}
			b.tell("x", b.id, object{"type": "offer", "roomType": "video", "sid": "1", "audiocodec": "g722",
				"payload": object{"type": "offer", "sdp": strings.ReplaceAll(offer, "a=candidate", "a=x-candidate")}})
			wait(t, b.answer)
			b.inCall("3")
		}},
		{NotConnected, func(t *testing.T, l *Lab, b *bridge) { b.inCall("3") }}, // with nothing at all
		{AskedItself, func(t *testing.T, l *Lab, b *bridge) {
			b.tell("ask", b.id, object{"type": "requestoffer", "roomType": "video"})
		}},
		{AskedPhone, func(t *testing.T, l *Lab, b *bridge) {
			b.say(`{"id":"add","type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"call-1","roomid":"` + token +
				`","incall":9,"options":{"actorId":"a","actorType":"phones"}}}}`)
			l.Until("the phone is there", patience, func() bool { return len(l.Cloud.Phones(token)) == 1 })
			l.mu.Lock()
			id := l.sessions[b.id].phones["call-1"].id
			l.mu.Unlock()
			b.tell("ask", id, object{"type": "requestoffer", "roomType": "video"})
		}},
		{AskedGone, func(t *testing.T, l *Lab, b *bridge) {
			u := l.Cloud.Join(token, "carol")
			u.Leave()
			b.tell("ask", u.ID(), object{"type": "requestoffer", "roomType": "video"})
		}},
		{OfferCodecs, func(t *testing.T, l *Lab, b *bridge) { offerOf(b, audioSDP) }},
		{OfferCodecs, func(t *testing.T, l *Lab, b *bridge) { // one, but not the one that is named
			offerOf(b, strings.ReplaceAll(strings.Replace(audioSDP, " 9 0\r\n", " 0\r\n", 1), "a=rtpmap:9 G722/8000\r\n", ""))
		}},
		{OfferData, func(t *testing.T, l *Lab, b *bridge) {
			offerOf(b, strings.Replace(audioSDP, " 9 0\r\n", " 9\r\n", 1)+"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n")
		}},
		{WrongSID, func(t *testing.T, l *Lab, b *bridge) {
			alice := l.Cloud.Talk(token, "alice", ParticipantOptions{})
			b.tell("ask", alice.ID(), object{"type": "requestoffer", "roomType": "video"})
			o := wait(t, b.offers)
			_, answer, err := b.sfu.Subscribe(o.Message.Data.Payload.SDP, sfu.Events{})
			if err != nil {
				t.Fatal(err)
			}
			b.tell("x", alice.ID(), object{"type": "answer", "roomType": "video", "sid": "4711", "payload": object{"type": "answer", "sdp": answer}})
			if _, code := b.error(); code != "processing_failed" {
				t.Errorf("it is told %s", code)
			}
		}},
		{EarlyCandidate, func(t *testing.T, l *Lab, b *bridge) {
			b.tell("x", b.id, object{"type": "candidate", "roomType": "video", "sid": "1",
				"payload": object{"candidate": Candidate{Candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host"}}})
			b.error()
		}},
		{EarlyCandidate, func(t *testing.T, l *Lab, b *bridge) { // of a subscription
			alice := l.Cloud.Talk(token, "alice", ParticipantOptions{})
			b.tell("ask", alice.ID(), object{"type": "requestoffer", "roomType": "video"})
			o := wait(t, b.offers)
			b.tell("x", alice.ID(), object{"type": "candidate", "roomType": "video", "sid": o.Message.Data.SID,
				"payload": object{"candidate": Candidate{Candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host"}}})
			b.error()
		}},
		{Echo, func(t *testing.T, l *Lab, b *bridge) {
			alice := l.Cloud.Talk(token, "alice", ParticipantOptions{Sound: Tone600})
			p := b.offer("1", b.id)
			b.inCall("3")
			s := b.ask(alice.ID())
			found := make(chan bool)
			l.mu.Lock()
			tell := l.OnFault
			l.OnFault = func(f Fault) { tell(f); close(found) }
			l.mu.Unlock()
			play(patience, found, func(_ int, now time.Time) {
				var frame [320]int16
				s.Pull(now, &frame)
				p.Write(&frame)
			})
			b.inCall("0")
		}},
		{SecondOffer, func(t *testing.T, l *Lab, b *bridge) {
			b.offer("1", b.id)
			b.inCall("3")
			b.offer("2", b.id)
			b.inCall("0")
		}},
		{NotLeft, func(t *testing.T, l *Lab, b *bridge) {
			b.offer("1", b.id)
			b.inCall("3")
			b.bye()
		}},
	} {
		t.Run(string(tt.want), func(t *testing.T) {
			t.Parallel()
			l, faults := mediaLab(t)
			b := newBridge(t, l)
			tt.does(t, l, b)
			l.Until("the fault is found", patience, func() bool { return len(faults()) > 0 })
			if f := slices.Compact(faults()); !slices.Equal(f, []FaultKind{tt.want}) {
				t.Errorf("found %q", f)
			}
		})
	}
}
