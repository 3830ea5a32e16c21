package sfu

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"sipxrest/media"
	"sipxrest/talk/talktest"
)

// What is published is heard, in each codec, and its tone has the right height.
func TestWhatIsPublishedIsHeard(t *testing.T) {
	t.Parallel()
	for _, codec := range []media.Codec{media.G722, media.PCMU, media.PCMA} {
		t.Run(codec.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			p, there, _ := r.publish(codec, strings.ToLower(codec.String()))
			s, _ := r.subscribe(there)
			var h hearing
			sent := uint64(0)
			run(t, func(i int, now time.Time) bool {
				p.Write(tone(440, i))
				sent++
				h.pull(s, now)
				at, off := h.level(440), h.level(520)
				return sent > 70 && at > -15 && at < -10 && off < at-20
			})
			if t.Failed() {
				t.Errorf("440 Hz with %.1f dBFS, 520 Hz with %.1f: %+v", h.level(440), h.level(520), s.Stats())
			}
			if st := s.Stats(); st.Codec != codec || st.First.IsZero() {
				t.Errorf("%+v", st)
			}
			if st := p.Stats(); st.Sent != sent {
				t.Errorf("%d frames were written: %+v", sent, st)
			}
		})
	}
}

// What participants publish, as libopus makes it: tones, and pauses that are not
// sent. The level of packets is told without decoding.
func TestOpusIsHeard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, pauses := r.janus.Play(talktest.Tone1000), r.janus.Play(talktest.Pauses)
	defer one.Close()
	defer pauses.Close()
	s, _ := r.subscribe(one)
	other, _ := r.subscribe(pauses)
	var h hearing
	sounds, silent := 0, 0
	run(t, func(_ int, now time.Time) bool {
		var more [320]int16
		h.pull(s, now)
		if other.Pull(now, &more) {
			sounds++
		} else if sounds > 0 {
			silent++ // between words
		}
		return silent > 0 && h.level(1000) > -24 && h.level(1300) < h.level(1000)-20
	})
	if t.Failed() {
		t.Errorf("1000 Hz with %.1f dBFS, 1300 Hz with %.1f: %+v", h.level(1000), h.level(1300), s.Stats())
	}
	if st := s.Stats(); st.Codec != media.Opus || st.Faults > 0 || s.Level() != 30 {
		t.Errorf("level %d, %+v", s.Level(), st)
	}
	if st := other.Stats(); st.Faults > 0 || silent == 0 {
		t.Errorf("%d silent frames, %+v", silent, st)
	}
}

// Nothing of ours allocates for a frame that is published, or for a packet that
// comes. What pion does is not counted.
func TestFramesAllocateNothing(t *testing.T) {
	p := &Publisher{encoder: media.NewEncoder(media.G722)}
	p.track.out.Store(&outlet{stream: nowhere{}})
	frame := tone(440, 0)
	if n := testing.AllocsPerRun(200, func() { p.Write(frame) }); n != 0 {
		t.Errorf("%v allocations for a frame that is published", n)
	}
	s := &Subscription{player: media.NewPlayer(media.PlayerConfig{}), level: 1}
	s.types[9] = media.G722
	packet := append([]byte{0x90, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xbe, 0xde, 0, 1, 0x10, 30, 0, 0}, make([]byte, 160)...)
	var out [320]int16
	now, n := time.Now(), 0
	each := func() {
		n++
		now = now.Add(20 * time.Millisecond)
		packet[2], packet[3] = byte(n>>8), byte(n)
		ts := uint32(160 * n)
		packet[4], packet[5], packet[6], packet[7] = byte(ts>>24), byte(ts>>16), byte(ts>>8), byte(ts)
		s.take(packet)
		s.Pull(now, &out)
	}
	for range 100 { // less than 5 s, after which a report is sent
		each()
	}
	if n := testing.AllocsPerRun(100, each); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
	if s.Stats().Received < 200 || s.Level() != 30 {
		t.Errorf("level %d, %+v", s.Level(), s.Stats())
	}
}

// nowhere takes packets in pion's place.
type nowhere struct{}

func (nowhere) WriteRTP(*rtp.Header, []byte) (int, error) { return 0, nil }
func (nowhere) Write([]byte) (int, error)                 { return 0, nil }

// Janus answers so if the signaling server did not tell it the codec.
func TestAnAnswerWithoutTheCodecIsToldApart(t *testing.T) {
	r := newRig(t)
	e, ev := newEvents()
	p, offer, err := r.sfu.Publish(media.G722, ev)
	if err != nil {
		t.Fatal(err)
	}
	_, answer, err := r.janus.Publish(offer, "", func(talktest.Candidate) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Answer(answer); !errors.Is(err, ErrCodec) {
		t.Errorf("%v for %s", err, answer)
	}
	p.Close()
	select {
	case err := <-e.failed:
		t.Errorf("after Close: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
}

// A media server that is stopped says goodbye, one that is killed does not.
func TestAConnectionThatEndsIsNoticed(t *testing.T) {
	t.Parallel()
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p, there, pe := r.publish(media.G722, "g722")
		s, se := r.subscribe(there)
		r.flows(p, s)
		r.janus.Restart(time.Hour)
		if err := pe.down(t); !errors.Is(err, ErrClosed) {
			t.Errorf("publisher: %v", err)
		}
		if err := se.down(t); !errors.Is(err, ErrClosed) {
			t.Errorf("subscription: %v", err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		if testing.Short() {
			t.Skip("left out by -short: it takes 10 s")
		}
		t.Parallel()
		r := newRig(t)
		p, there, pe := r.publish(media.G722, "g722")
		s, se := r.subscribe(there)
		r.flows(p, s)
		r.janus.Kill(time.Hour)
		if err := pe.down(t); !errors.Is(err, ErrLost) {
			t.Errorf("publisher: %v", err)
		}
		if err := se.down(t); !errors.Is(err, ErrLost) {
			t.Errorf("subscription: %v", err)
		}
	})
}

// Nobody answers the offer.
func TestNoAnswerIsAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, ev := newEvents()
	r.sfu.connectTime = time.Second
	if _, _, err := r.sfu.Publish(media.PCMA, ev); err != nil {
		t.Fatal(err)
	}
	if err := e.down(t); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
}
