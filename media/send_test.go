package media

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"sipxrest/sipflow/siptest"
)

// sound is pcm that is never 0.
func sound(n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = 8000
	}
	return pcm
}

// loudness of a packet, as mean of its samples' sizes. The decoder is that of
// the stream, nil if the codec does not mind.
func loudness(d *decoder, c Codec, p *rtp.Packet) float64 {
	if d == nil {
		d = &decoder{}
	}
	pcm := d.decode(nil, c, p.Payload)
	sum := 0.0
	for _, v := range pcm[len(pcm)/2:] { // the filters begin from nothing
		sum += math.Abs(float64(v))
	}
	return sum / float64(len(pcm)/2)
}

// Frames of any size become packets of 20 ms, 20 ms apart, without a gap.
func TestBurstsArePaced(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pts   string
		codec Codec
		frame time.Duration
	}{
		{"10 ms", "8", PCMA, 10 * time.Millisecond}, {"20 ms", "0", PCMU, 20 * time.Millisecond}, {"30 ms", "9", G722, 30 * time.Millisecond},
		{"100 ms", "8", PCMA, 100 * time.Millisecond}, {"100 ms wideband", "9", G722, 100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inCall(t, describe(phoneAddr, tt.pts), func(r *rig, p *phone) {
				time.Sleep(500 * time.Millisecond)
				p.got() // silence
				arrived := time.Now()
				for time.Since(arrived) < 3*time.Second {
					r.s.Write(sound(int(16000 * tt.frame / time.Second)))
					time.Sleep(tt.frame)
				}
				synctest.Wait()
				packets := p.got()
				var dec decoder
				if n := len(packets); n < 146 || n > 150 {
					t.Errorf("%d packets in 3 s", n)
				}
				for i, got := range packets {
					if Codec(got.PayloadType) != map[Codec]Codec{PCMA: 8, PCMU: 0, G722: 9}[tt.codec] || got.Version != 2 ||
						len(got.Payload) != frameTicks {
						t.Fatalf("packet %d: %s", i, got)
					}
					if i == 0 {
						if !got.Marker {
							t.Error("the first packet after silence has no marker (RFC 3551 §4.1)")
						}
						continue
					}
					before := packets[i-1]
					if got.SequenceNumber != before.SequenceNumber+1 || got.Timestamp != before.Timestamp+frameTicks || got.SSRC != before.SSRC ||
						got.Marker {
						t.Fatalf("packet %d: %s after %s", i, got, before)
					}
					if l := loudness(&dec, tt.codec, got); i > 8 && (l < 7000 || l > 9000) {
						t.Errorf("packet %d is %.0f loud", i, l)
					}
				}
				if st := r.s.Stats(); st.Overrun != 0 {
					t.Errorf("%d samples dropped", st.Overrun)
				}
				r.steady("", packets)
			})
		})
	}
}

// steady checks that RTP was sent every 20 ms, by the record of the network.
func (r *rig) steady(to string, packets []*rtp.Packet) {
	r.t.Helper()
	if to == "" {
		to = phoneAddr
	}
	var last time.Time
	var lastSeq uint16
	for _, p := range r.net.Packets() {
		var got rtp.Packet
		if p.To.String() != to || got.Unmarshal(p.Data) != nil {
			continue
		}
		if got.SequenceNumber != packets[0].SequenceNumber && got.SequenceNumber == lastSeq+1 &&
			got.SequenceNumber-packets[0].SequenceNumber < uint16(len(packets)) && p.Sent.Sub(last) != frameTime {
			r.t.Errorf("packet %d was sent %v after the one before", got.SequenceNumber, p.Sent.Sub(last))
		}
		last, lastSeq = p.Sent, got.SequenceNumber
	}
}

// When the other side stops, a little silence is sent, then one packet per
// second; the timestamps count the time all the same.
func TestSilenceIsNotSent(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		time.Sleep(25 * time.Millisecond)
		if got := p.got(); len(got) != 1 || got[0].Marker {
			t.Fatalf("%d packets at once: the phone does not learn where we are", len(got))
		}
		r.s.Write(sound(5*frameSamples + 100))
		time.Sleep(10 * time.Second)
		packets := p.got()
		if n := len(packets); n < 6+keepSilence+8 || n > 6+3+keepSilence+10 {
			t.Errorf("%d packets", n)
		}
		for i, got := range packets[1:] {
			if got.SequenceNumber != packets[i].SequenceNumber+1 {
				t.Errorf("sequence number %d after %d", got.SequenceNumber, packets[i].SequenceNumber)
			}
		}
		first, last := packets[0], packets[len(packets)-1]
		if gone := last.Timestamp - first.Timestamp; gone < 8*clockRate || gone > 10*clockRate {
			t.Errorf("timestamps went on by %d", gone)
		}
		if !first.Marker || loudness(nil, PCMA, first) < 4000 || loudness(nil, PCMA, packets[7]) > 20 || loudness(nil, PCMA, last) > 20 {
			t.Errorf("marker %v, loudness %.0f, %.0f, %.0f", first.Marker, loudness(nil, PCMA, first), loudness(nil, PCMA, packets[7]),
				loudness(nil, PCMA, last))
		}
		r.s.Write(sound(4 * frameSamples))
		time.Sleep(100 * time.Millisecond)
		if got := p.got(); len(got) < 4 || !got[len(got)-4].Marker && !got[0].Marker {
			t.Errorf("%d packets, without a marker", len(got))
		}
	})
}

// Of what comes too fast the oldest is dropped, and the delay stays small.
func TestTooMuchSoundIsDropped(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		time.Sleep(time.Millisecond)
		r.s.Write(make([]int16, 32000))
		r.s.Write(sound(16000))
		time.Sleep(205 * time.Millisecond)
		st := r.s.Stats()
		if want := uint64(48000 - pacerSamples); st.Overrun != want {
			t.Errorf("%d samples dropped, want %d", st.Overrun, want)
		}
		for _, got := range p.got()[2:] {
			if loudness(nil, PCMA, got) < 7000 {
				t.Error("the newest was dropped")
			}
		}
	})
}

// A clock that is 0.5 % faster than ours does not add delay without end.
func TestFasterClocksAddNoDelay(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		r.s.Write(sound(5 * frameSamples)) // a hiccup to begin with
		for range 3000 {
			r.s.Write(sound(frameSamples))
			time.Sleep(frameTime * 200 / 201)
		}
		r.s.out.mu.Lock()
		n := r.s.out.n
		r.s.out.mu.Unlock()
		if n > 4*frameSamples {
			t.Errorf("%d samples wait", n)
		}
		if st := r.s.Stats(); st.Overrun == 0 || st.Overrun > 16000 {
			t.Errorf("%d samples dropped", st.Overrun)
		}
	})
}

func TestHoldAndResume(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(frameTime):
					r.s.Write(sound(frameSamples))
				}
			}
		}()
		defer func() { close(stop); <-done }()
		again := func(sdp string) {
			t.Helper()
			if _, err := r.s.Answer([]byte(sdp)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
			p.got()
			time.Sleep(time.Second)
		}
		again(describe(phoneAddr, "8"))
		if n := len(p.got()); n < 45 {
			t.Errorf("%d packets in the call", n)
		}
		again(describe(phoneAddr, "8", "a=sendonly\r\n"))
		if n := len(p.got()); n != 0 {
			t.Errorf("%d packets while held", n)
		}
		p.talk(500*time.Millisecond, loud) // music on hold
		if got := r.s.Stats().Received; got < 20 {
			t.Errorf("%d packets of music were heard", got)
		}
		again(describe(phoneAddr, "8", "a=inactive\r\n"))
		before := r.s.Stats()
		p.talk(500*time.Millisecond, loud)
		if st := r.s.Stats(); len(p.got()) != 0 || st.Received != before.Received || st.Ignored < before.Ignored+20 {
			t.Errorf("while inactive: %+v", st)
		}
		again(describe("0.0.0.0:4000", "8"))
		if n := len(p.got()); n != 0 {
			t.Errorf("%d packets while held as of old", n)
		}
		again(describe(phoneAddr, "0"))
		got := p.got()
		if len(got) < 45 || got[0].PayloadType != 0 {
			t.Errorf("%d packets after the call was resumed", len(got))
		}
		other := newPhone(r.t, r.net, "192.0.2.40:5000") // and it moves
		again(describe("192.0.2.40:5000", "9"))
		if n, there := len(p.got()), other.got(); n != 0 || len(there) < 45 || there[0].PayloadType != 9 {
			t.Errorf("%d packets to the old address, %d to the new one", n, len(there))
		}
	})
}

// A session that nobody has agreed on sends nothing, and Write does not wait.
func TestNothingIsSentBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), Options{})
		p := newPhone(r.t, r.net, phoneAddr)
		r.s.Offer()
		for range 100 {
			r.s.Write(sound(frameSamples))
			p.talk(frameTime, loud)
		}
		if st := r.s.Stats(); len(p.got()) != 0 || st.Sent != 0 || st.Received != 0 || len(r.heard()) != 0 {
			t.Errorf("%+v", st)
		}
		if err := r.s.Accept([]byte(describe(phoneAddr, "8"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if len(p.got()) == 0 {
			t.Error("nothing was sent after the answer")
		}
		r.s.Close()
		time.Sleep(frameTime)
		p.got()
		r.s.Write(sound(frameSamples))
		if _, err := r.s.Answer([]byte(describe(phoneAddr, "8"))); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if len(p.got()) != 0 {
			t.Error("something was sent after Close")
		}
	})
}

// Frames that come early and late leave no gaps.
func TestUnevenFramesLeaveNoGaps(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		time.Sleep(5 * time.Millisecond)
		began := time.Now()
		for i := range 500 {
			r.s.Write(sound(frameSamples))
			time.Sleep(time.Until(began.Add(time.Duration(i+1)*frameTime + time.Duration(i*7%4)*6*time.Millisecond)))
		}
		begun, quiet := false, 0
		for _, got := range p.got() {
			if loud := loudness(nil, PCMA, got) > 7000; loud {
				begun = true
			} else if begun {
				quiet++
			}
		}
		if !begun || quiet > 0 {
			t.Errorf("%d packets without sound", quiet)
		}
	})
}

// After the machine stood still, time has passed for the phone, too: a few
// packets make up for it, not all.
func TestMissedTicks(t *testing.T) {
	s := idle(t)
	s.rtp = nowhere{}
	if _, err := s.Answer([]byte(describe(phoneAddr, "8"))); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.report, s.heard, s.silent, s.idle = began.Add(time.Hour), began, 0, 0
	s.out.write(sound(pacerSamples))
	ts := s.ts
	s.tick(began.Add(frameTime), began)
	s.tick(began.Add(4*frameTime), began)
	if s.stats.Sent != 4 || s.ts-ts != 4*frameTicks {
		t.Errorf("%d packets, timestamp %d", s.stats.Sent, s.ts-ts)
	}
	s.tick(began.Add(2*time.Second), began)
	if s.stats.Sent != 9 || s.ts-ts != 100*frameTicks {
		t.Errorf("%d packets, timestamp %d", s.stats.Sent, s.ts-ts)
	}
}
