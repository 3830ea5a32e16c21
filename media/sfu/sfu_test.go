package sfu

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/talk/talktest"
)

// What is published is heard, in each codec, and its tone has the right height.
func TestWhatIsPublishedIsHeard(t *testing.T) {
	for _, codec := range []media.Codec{media.G722, media.PCMU, media.PCMA} {
		t.Run(codec.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			p, there, _ := r.publish(codec, strings.ToLower(codec.String()))
			s, _ := r.subscribe(there)
			var pcm []int16
			run(75, func(i int, now time.Time) {
				p.Write(tone(440, i))
				var out [320]int16
				if s.Pull(now, &out) || len(pcm) > 0 {
					pcm = append(pcm, out[:]...)
				}
			})
			if len(pcm) < 16000 {
				t.Fatalf("heard %d samples only: %+v", len(pcm), s.Stats())
			}
			pcm = pcm[len(pcm)-8000:]
			if at, off := level(pcm, 440), level(pcm, 520); at < -15 || at > -10 || off > at-20 {
				t.Errorf("440 Hz with %.1f dBFS, 520 Hz with %.1f", at, off)
			}
			if st := s.Stats(); st.Codec != codec || st.First.IsZero() || st.Lost > 2 {
				t.Errorf("%+v", st)
			}
			if st := p.Stats(); st.Sent < 70 {
				t.Errorf("%+v", st)
			}
		})
	}
}

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
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p, there, pe := r.publish(media.G722, "g722")
		s, se := r.subscribe(there)
		r.flows(p, s)
		r.janus.Restart(time.Hour)
		if err := pe.down(t, 2*time.Second); !errors.Is(err, ErrClosed) {
			t.Errorf("publisher: %v", err)
		}
		if err := se.down(t, 2*time.Second); !errors.Is(err, ErrClosed) {
			t.Errorf("subscription: %v", err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		if testing.Short() {
			t.Skip("takes 10 s")
		}
		t.Parallel()
		r := newRig(t)
		p, there, pe := r.publish(media.G722, "g722")
		s, se := r.subscribe(there)
		r.flows(p, s)
		r.janus.Kill(time.Hour)
		if err := pe.down(t, 15*time.Second); !errors.Is(err, ErrLost) {
			t.Errorf("publisher: %v", err)
		}
		if err := se.down(t, 5*time.Second); !errors.Is(err, ErrLost) {
			t.Errorf("subscription: %v", err)
		}
	})
}

// Nobody answers the offer.
func TestNoAnswerIsAFailure(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 12 s")
	}
	t.Parallel()
	r := newRig(t)
	e, ev := newEvents()
	if _, _, err := r.sfu.Publish(media.PCMA, ev); err != nil {
		t.Fatal(err)
	}
	if err := e.down(t, 14*time.Second); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
}
