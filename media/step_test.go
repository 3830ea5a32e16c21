package media

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"sipxrest/sipflow/siptest"
)

// stepped runs a test with an agreed session that its owner steps.
func stepped(t *testing.T, desc string, f func(r *rig, p *phone)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, Options{Stepped: true})
		p := newPhone(t, n, phoneAddr)
		if _, err := r.s.Answer([]byte(desc)); err != nil {
			t.Fatal(err)
		}
		f(r, p)
		r.s.Close()
		if len(r.audio) > 0 {
			t.Error("Audio was called")
		}
	})
}

// step is the owner's clock for so long. The phone says say before each frame, nil:
// nothing. It returns which frames were heard, and them all.
func (r *rig) step(d time.Duration, in *[frameSamples]int16, say func(i int)) (heard []bool, pcm []int16) {
	r.t.Helper()
	for i := range int(d / frameTime) {
		if say != nil {
			say(i)
			synctest.Wait()
		}
		var out [frameSamples]int16
		out[7] = 99 // what the owner had in it is gone afterwards
		heard = append(heard, r.s.Pull(time.Now(), &out))
		if !heard[i] && out != silence {
			r.t.Fatalf("frame %d is not heard, and not silent", i)
		}
		pcm = append(pcm, out[:]...)
		r.s.Push(time.Now(), in)
		time.Sleep(frameTime)
	}
	return heard, pcm
}

func loudFrame() *[frameSamples]int16 { return (*[frameSamples]int16)(sound(frameSamples)) }

// A session without a clock sends a packet for each frame that it is given, gives
// one for each that it is asked for, and reports by RTCP as one with a clock does.
func TestSteppedSessions(t *testing.T) {
	stepped(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		heard, pcm := r.step(40*time.Second, loudFrame(), func(i int) { p.send(p.packet(loud(i))) })
		if n := slices.Index(heard, true); n > 2 || slices.Contains(heard[n:], false) {
			t.Errorf("the phone is heard from frame %d on, and then not always", n)
		}
		for _, v := range pcm[10*frameSamples:] {
			if abs(v) < 1000 {
				t.Fatalf("a sample of %d in loud sound", v)
			}
		}
		packets := p.got()
		if len(packets) != 2000 || !packets[0].Marker {
			t.Fatalf("%d packets for 2000 frames", len(packets))
		}
		r.steady("", packets)
		for i, got := range packets[1:] {
			if was := packets[i]; got.SequenceNumber != was.SequenceNumber+1 || got.Timestamp != was.Timestamp+frameTicks || got.Marker {
				t.Fatalf("%v after %v", got, was)
			}
			if l := loudness(nil, PCMA, got); i > 3 && l < 7000 {
				t.Fatalf("packet %d is %.0f loud", i, l)
			}
		}
		all := p.reports()
		if len(all) < 5 || len(all) > 16 {
			t.Fatalf("%d reports in 40 s", len(all))
		}
		sr, ok := all[len(all)-1][0].(*rtcp.SenderReport)
		if !ok || sr.PacketCount < 1500 || sr.OctetCount != sr.PacketCount*frameTicks || len(sr.Reports) != 1 ||
			sr.Reports[0].SSRC != p.ssrc || sr.Reports[0].TotalLost != 0 {
			t.Errorf("%v", all[len(all)-1])
		}
	})
}

// Silence is sent as a session with a clock sends it: a little, then once a second.
func TestSteppedSilence(t *testing.T) {
	for name, quiet := range map[string]*[frameSamples]int16{"nil": nil, "zeros": {}} {
		t.Run(name, func(t *testing.T) {
			stepped(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
				r.step(time.Second, loudFrame(), nil)
				p.got()
				heard, _ := r.step(10*time.Second, quiet, nil)
				if slices.Contains(heard, true) {
					t.Error("something was heard of a phone that says nothing")
				}
				packets := p.got()
				if n := len(packets); n < keepSilence+8 || n > keepSilence+12 {
					t.Errorf("%d packets", n)
				}
				r.step(frameTime, loudFrame(), nil)
				if again := p.got(); len(again) != 1 || !again[0].Marker || again[0].Timestamp-packets[0].Timestamp != 500*frameTicks {
					t.Errorf("after the silence: %v", again)
				}
			})
		})
	}
}

// Nothing of a phone that holds the call is heard, music neither, and nothing is
// sent to it.
func TestSteppedSessionsOnHold(t *testing.T) {
	for _, hold := range []string{"a=sendonly\r\n", "a=inactive\r\n", "c=IN IP4 0.0.0.0\r\n"} {
		t.Run(hold[:len(hold)-2], func(t *testing.T) {
			stepped(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
				say := func(i int) { p.send(p.packet(loud(i))) }
				r.step(time.Second, loudFrame(), say)
				if _, err := r.s.Answer([]byte(describe(phoneAddr, "8", hold))); err != nil {
					t.Fatal(err)
				}
				p.got()
				if heard, _ := r.step(time.Second, loudFrame(), say); slices.Contains(heard, true) || len(p.got()) > 0 {
					t.Error("a phone on hold is heard or spoken to")
				}
				if _, err := r.s.Answer([]byte(describe(phoneAddr, "8"))); err != nil {
					t.Fatal(err)
				}
				if heard, _ := r.step(time.Second, loudFrame(), say); slices.Contains(heard[5:], false) || len(p.got()) != 50 {
					t.Error("the call does not go on")
				}
			})
		})
	}
}

// The keys of a phone leave a gap in its sound, and 100 ms behind it: tones that
// phones let slip into their audio are not for others.
func TestDigitsLeaveAGap(t *testing.T) {
	stepped(t, describe(phoneAddr, "8 101"), func(r *rig, p *phone) {
		say := func(i int) { p.send(p.packet(loud(i))) }
		r.step(time.Second, nil, say)
		ts := p.ts
		pressed, _ := r.step(200*time.Millisecond, nil, func(i int) { // the sound goes on beside the key, as some phones have it
			say(i)
			p.pt = 101
			was := p.ts
			p.ts = ts
			end := byte(0)
			if i > 6 {
				end = 0x80
			}
			p.send(p.packet([]byte{5, end | 10, 0, byte(20 * min(i+1, 8))}))
			p.pt, p.ts = 8, was
		})
		after, _ := r.step(time.Second, nil, say)
		if slices.Contains(pressed[1:], true) { // the network takes some time
			t.Errorf("the phone is heard while it sends a key: %v %+v", pressed, r.s.Stats())
		}
		back := slices.Index(after, true)
		if quiet := time.Duration(back) * frameTime; back < 0 || quiet < digitShadow || quiet > digitShadow+100*time.Millisecond {
			t.Errorf("the phone is heard again after %d frames", back)
		}
		if slices.Contains(after[back:], false) {
			t.Error("the sound has further gaps")
		}
		if r.keys != "5" {
			t.Errorf("keys %q", r.keys)
		}
	})
}

// After the owner stood still, time has passed for the phone, too: a few
// packets make up for it, not all.
func TestSteppedOwnersThatAreLate(t *testing.T) {
	s := idle(t)
	s.closed, s.opt.Stepped = false, true
	s.rtp, s.rtcp = nowhere{}, nowhere{}
	if _, err := s.Answer([]byte(describe(phoneAddr, "8"))); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	push := func(d time.Duration, times int) {
		now = now.Add(d)
		for range times {
			s.Push(now, loudFrame())
		}
	}
	ts := s.ts
	push(0, 1)
	push(frameTime, 1)
	push(3*frameTime, 3)
	if s.stats.Sent != 5 || s.ts-ts != 5*frameTicks {
		t.Errorf("%d packets, timestamp %d", s.stats.Sent, s.ts-ts)
	}
	push(2*time.Second, 5)
	if s.stats.Sent != 10 || s.ts-ts != 105*frameTicks {
		t.Errorf("%d packets, timestamp %d", s.stats.Sent, s.ts-ts)
	}
}

// Before the answer and after Close nothing is sent, heard or told.
func TestSteppedSessionsBeginAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, Options{Stepped: true})
		p := newPhone(t, n, phoneAddr)
		say := func(i int) { p.send(p.packet(loud(i))) }
		r.s.Offer()
		if heard, _ := r.step(time.Second, loudFrame(), say); slices.Contains(heard, true) || len(p.got()) > 0 {
			t.Error("something was sent or heard before the answer")
		}
		if err := r.s.Accept([]byte(describe(phoneAddr, "8"))); err != nil {
			t.Fatal(err)
		}
		if heard, _ := r.step(time.Second, loudFrame(), say); !slices.Contains(heard, true) || len(p.got()) != 50 {
			t.Error("nothing was sent or heard after it")
		}
		r.s.Close()
		time.Sleep(frameTime)
		p.got()
		if heard, _ := r.step(2*time.Minute, loudFrame(), say); slices.Contains(heard, true) || len(p.got()) > 0 || r.quiet > 0 {
			t.Error("something was sent, heard or told after the end")
		}
	})
}

// A muted phone sends comfort noise or nothing but RTCP: it is there. One that
// sends neither is told of.
func TestSignsOfLife(t *testing.T) {
	control := func(p *phone, packets ...rtcp.Packet) {
		p.t.Helper()
		b, err := rtcp.Marshal(packets)
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := p.rtcp.WriteToUDPAddrPort(b, netip.AddrPortFrom(p.to.Addr(), p.to.Port()+1)); err != nil {
			p.t.Fatal(err)
		}
	}
	noise := func(pt uint8) func(p *phone) {
		return func(p *phone) {
			p.pt = pt
			p.send(p.packet([]byte{60}))
			p.pt = 8
		}
	}
	for _, tt := range []struct {
		name  string
		desc  string
		life  func(p *phone)
		alive bool
	}{
		{"nothing", "", func(*phone) {}, false},
		{"sender report", "", func(p *phone) { control(p, &rtcp.SenderReport{SSRC: p.ssrc}) }, true},
		{"receiver report", "", func(p *phone) { control(p, &rtcp.ReceiverReport{SSRC: p.ssrc}) }, true},
		{"report of another stream", "", func(p *phone) { control(p, &rtcp.ReceiverReport{SSRC: 0x666}) }, false},
		{"no report", "", func(p *phone) { control(p, &rtcp.Goodbye{Sources: []uint32{p.ssrc}}) }, false},
		{"comfort noise", "", noise(13), true},
		{"comfort noise by name", "a=rtpmap:97 CN/8000\r\n", noise(97), true},
		{"a payload type that is none", "", noise(98), false},
	} {
		for _, clock := range []string{"own clock", "stepped"} {
			t.Run(tt.name+"/"+clock, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := siptest.NewNetwork()
					r := newRig(t, n, Options{Stepped: clock == "stepped"})
					p := newPhone(t, n, phoneAddr)
					if _, err := r.s.Answer([]byte(describe(phoneAddr, "8 13 97", tt.desc))); err != nil {
						t.Fatal(err)
					}
					wait := func(d time.Duration) {
						if clock == "stepped" {
							r.step(d, nil, nil)
						} else {
							time.Sleep(d)
						}
					}
					p.talk(time.Second, loud)
					for range 10 {
						wait(30 * time.Second)
						tt.life(p)
					}
					if got := r.quiet == 0; got != tt.alive {
						t.Errorf("NoMedia was called %d times", r.quiet)
					}
				})
			})
		}
	}
}

// Nothing is allocated for a frame.
func TestFramesAllocateNothing(t *testing.T) {
	for _, c := range benched {
		step := steady(t, describe(phoneAddr, c.pts))
		for range 100 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n != 0 {
			t.Errorf("%s: %v allocations for a frame", c.name, n)
		}
	}
}

// One frame each way.
func BenchmarkStep(b *testing.B) {
	for _, c := range benched {
		b.Run(c.name, func(b *testing.B) {
			step := steady(b, describe(phoneAddr, c.pts))
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

// steady returns what receives, pulls and pushes one frame of a session.
func steady(t testing.TB, desc string) func() {
	t.Helper()
	s := idle(t)
	s.closed, s.opt.Stepped = false, true
	s.rtp, s.rtcp = nowhere{}, nowhere{}
	if _, err := s.Answer([]byte(desc)); err != nil {
		t.Fatal(err)
	}
	from := netip.MustParseAddrPort(phoneAddr)
	now := time.Unix(1e9, 0)
	h := rtp.Header{Version: 2, PayloadType: s.terms.pt, SSRC: 1}
	var p rtp.Packet
	var buf [12 + frameTicks]byte
	var out [frameSamples]int16
	in, speech := loudFrame(), loud(0)
	return func() {
		h.SequenceNumber++
		h.Timestamp += frameTicks
		n, _ := h.MarshalTo(buf[:])
		n += copy(buf[n:], speech)
		s.receive(&p, buf[:n], from, now)
		s.Pull(now, &out)
		s.Push(now, in)
		now = now.Add(frameTime)
		s.report = now.Add(time.Hour) // reports allocate, each 5 s
	}
}
