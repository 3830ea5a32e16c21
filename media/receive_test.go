package media

import (
	"math"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// numbered makes packets whose sound tells which they are.
func numbered(i int) []byte { return slices.Repeat([]byte{byte(0xa0 | i%16)}, frameTicks) }

// What the network does to packets, and what is heard and counted.
func TestNetworksThatLoseAndReorder(t *testing.T) {
	type counts struct{ received, lost, late, reordered, duplicate, dropped uint64 }
	for _, tt := range []struct {
		name  string
		order []int // packets in the order of sending, each 20 ms; -1: nothing
		want  counts
	}{
		{"nothing", seq(0, 50), counts{received: 50}},
		{"one lost", seq(0, 50, 20), counts{received: 49, lost: 1}},
		{"three lost", seq(0, 50, 20, 21, 22), counts{received: 47, lost: 3}},
		{"one twice", insert(seq(0, 50), 20, 20), counts{received: 51, duplicate: 1}},
		{"one again that was played", insert(seq(0, 50), 30, 20), counts{received: 51, duplicate: 1}},
		{"two swapped", swap(seq(0, 50), 20), counts{received: 50, reordered: 1}},
		{"the first two swapped", swap(seq(0, 50), 0), counts{received: 50, reordered: 1}},
		{"one very late", insert(seq(0, 50, 20), 40, 20), counts{received: 50, lost: 1, late: 1}},
		{"a new place in the sequence", append(seq(0, 25), seq(10025, 10050)...), counts{received: 49}},
		{"a stray number", insert(seq(0, 50), 20, 20000), counts{received: 50}},
		{"an outage of 2 s", append(append(seq(0, 25), slices.Repeat([]int{-1}, 100)...), seq(125, 150)...), counts{received: 50, lost: 100}},
		{"a burst", append(append(seq(0, 25), slices.Repeat([]int{-1}, 20)...), seq(25, 70)...), counts{received: 70}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
				start, ts := p.seq, p.ts
				for i, n := range tt.order {
					if n >= 0 {
						p.seq, p.ts = start+uint16(n), ts+uint32(n)*frameTicks
						p.send(p.packet(numbered(n)))
					}
					extra := i+1 < len(tt.order) && (tt.order[i+1] == 20 || tt.order[i+1] == 20000) && n != 19 && n != 21
					if !extra { // what is sent beside the stream takes no time
						time.Sleep(frameTime)
					}
				}
				time.Sleep(time.Second)
				r.s.Close()
				st := r.s.Stats()
				if got := (counts{st.Received, st.Lost, st.Late, st.Reordered, st.Duplicate, st.Dropped}); got != tt.want {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
				for i := range r.when[1:] {
					if d := r.when[i+1].Sub(r.when[i]); d != frameTime {
						t.Fatalf("frame %d came %v after the one before", i+1, d)
					}
				}
				for i, f := range r.audio {
					if len(f) != frameSamples {
						t.Fatalf("frame %d has %d samples", i, len(f))
					}
				}
			})
		})
	}
}

func seq(from, to int, without ...int) (list []int) {
	for i := from; i < to; i++ {
		if !slices.Contains(without, i) {
			list = append(list, i)
		}
	}
	return list
}

func insert(list []int, at, n int) []int { return slices.Insert(list, at, n) }

func swap(list []int, at int) []int {
	list[at], list[at+1] = list[at+1], list[at]
	return list
}

// The sound of a call comes out as it went in, whatever the size of packets.
func TestSoundComesThroughTheNetwork(t *testing.T) {
	for _, tt := range []struct {
		name, pts string
		codec     Codec
		pt        uint8
		hz        float64
		size      int // ticks
		pure      float64
	}{
		{"PCMA", "8", PCMA, 8, 1000, 160, 33}, {"PCMU", "0", PCMU, 0, 1000, 160, 33}, {"G722", "9", G722, 9, 5000, 160, 20},
		{"10 ms", "8", PCMA, 8, 1000, 80, 33}, {"30 ms", "8", PCMA, 8, 1000, 240, 33}, {"60 ms", "9", G722, 9, 1000, 480, 33},
		{"100 ms", "8", PCMA, 8, 1000, 800, 33},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inCall(t, describe(phoneAddr, tt.pts), func(r *rig, p *phone) {
				p.pt = tt.pt
				var enc encoder
				enc.reset(tt.codec)
				var all []byte
				pcm := slices.Concat(tone(tt.hz, 10000), tone(tt.hz, 10000))
				for ; len(pcm) > 0; pcm = pcm[frameSamples:] {
					var b [frameTicks]byte
					enc.encode(&b, (*[frameSamples]int16)(pcm))
					all = append(all, b[:]...)
				}
				for ; len(all) >= tt.size; all = all[tt.size:] {
					p.send(p.packet(all[:tt.size]))
					time.Sleep(ticks(tt.size))
				}
				heard := r.heard()
				if len(heard) < 28000 {
					t.Fatalf("%d samples were heard", len(heard))
				}
				heard = heard[6400:25600]
				if got := purity(heard, tt.hz); got < tt.pure {
					t.Errorf("%.1f dB", got)
				}
				if got := level(heard, tt.hz, 16000); math.Abs(20*math.Log10(got/10000)) > 0.5 {
					t.Errorf("level %.0f", got)
				}
				if st := r.s.Stats(); st.Lost+st.Late+st.Dropped+st.Ignored+st.Foreign != 0 || st.Jitter > time.Millisecond {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// Sound waits 40 ms on a good network, longer on a bad one, where nothing is late then.
func TestTheBufferFollowsTheNetwork(t *testing.T) {
	for _, tt := range []struct {
		name   string
		jitter time.Duration
		most   int // packets that may be too late, or lost
	}{{"good", 0, 0}, {"30 ms", 30 * time.Millisecond, 8}} {
		t.Run(tt.name, func(t *testing.T) {
			inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
				i := 0
				r.net.Late = func(q siptest.Packet) time.Duration {
					if q.From == p.at {
						i++
						return tt.jitter * time.Duration(i*7%5) / 4
					}
					return 0
				}
				p.talk(10*time.Second, loud)
				st := r.s.Stats()
				if int(st.Lost+st.Late+st.Dropped) > tt.most || st.Received < 495 {
					t.Errorf("%+v", st)
				}
				if want := 2 * tt.jitter; st.Jitter > want || tt.jitter > 0 && st.Jitter < tt.jitter/6 {
					t.Errorf("jitter %v", st.Jitter)
				}
				r.s.mu.Lock()
				waits, target := ticks(r.s.jitter.queued), r.s.jitter.target
				r.s.mu.Unlock()
				if waits > 120*time.Millisecond {
					t.Errorf("%v wait", waits)
				}
				if tt.jitter > 0 == (target == minTarget) {
					t.Errorf("the target is %v", ticks(target))
				}
			})
		})
	}
}

// A phone with a fast clock does not add delay, one with a slow clock no cracks but a short gap now and then.
func TestPhonesClocksDiffer(t *testing.T) {
	for name, step := range map[string]time.Duration{"fast": 19900 * time.Microsecond, "slow": 20100 * time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
				for range 3000 {
					p.send(p.packet(loud(0)))
					time.Sleep(step)
				}
				st := r.s.Stats()
				r.s.mu.Lock()
				waits := ticks(r.s.jitter.queued)
				r.s.mu.Unlock()
				if waits > 120*time.Millisecond || st.Lost+st.Late > 0 || st.Dropped > 40 {
					t.Errorf("%v wait, %+v", waits, st)
				}
			})
		})
	}
}

// A gap is filled: the last sound again, fading, then silence.
func TestGapsFadeOut(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		p.talk(time.Second, loud)
		time.Sleep(500 * time.Millisecond)
		r.mu.Lock()
		defer r.mu.Unlock()
		n := len(r.audio) - 1
		for n > 0 && r.audio[n][0] == 0 {
			n--
		}
		// n is the last frame with sound: faded, as those before it
		full := abs(r.audio[n-3][100])
		if a, b, c := abs(r.audio[n-2][100]), abs(r.audio[n-1][100]), abs(r.audio[n][100]); full < 3000 || a >= full || b >= a || c >= b ||
			c == 0 {
			t.Errorf("the sound ends with %d, %d, %d, %d", full, a, b, c)
		}
		if len(r.audio)-n < 15 {
			t.Errorf("%d frames of silence", len(r.audio)-n)
		}
	})
}

func abs(v int16) int { return max(int(v), -int(v)) }

// Packets from elsewhere change nothing, before and after the lock.
func TestOnlyTheRightSourceIsLatchedOn(t *testing.T) {
	nat := func(c *Config) { c.LatchFrom = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} }
	for _, tt := range []struct {
		name      string
		from      string // where packets come from while the phone is silent
		signaling string
		change    func(*Config)
		latched   bool
	}{
		{"the named address", phoneAddr, "", nil, true},
		{"another port of it", "192.0.2.20:6000", "", nil, true},
		{"a stranger", "192.0.2.66:4000", "", nil, false},
		{"the address of the signaling", "198.51.100.7:6000", "198.51.100.7", nil, true},
		{"beside the address of the signaling", "198.51.100.8:6000", "198.51.100.7", nil, false},
		{"a NAT by configuration", "198.51.100.8:6000", "", nat, true},
		{"not that NAT", "203.0.113.8:6000", "", nat, false},
		{"loopback as signaling", "127.0.0.1:6000", "127.0.0.1", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				opt := Options{}
				if tt.signaling != "" {
					opt.Signaling = netip.MustParseAddr(tt.signaling)
				}
				change := []func(*Config){}
				if tt.change != nil {
					change = append(change, tt.change)
				}
				r := newRig(t, n, opt, change...)
				if _, err := r.s.Answer([]byte(describe(phoneAddr, "8"))); err != nil {
					t.Fatal(err)
				}
				p := newPhone(t, n, tt.from)
				p.talk(time.Second, loud)
				st := r.s.Stats()
				if tt.latched != (st.Received > 40) || tt.latched == (st.Foreign > 40) {
					t.Errorf("%+v", st)
				}
				r.s.Write(sound(10 * frameSamples))
				time.Sleep(250 * time.Millisecond)
				if got := len(p.got()); tt.latched != (got >= 10) {
					t.Errorf("%d packets came", got)
				}
			})
		})
	}
}

func TestAttackersChangeNothing(t *testing.T) {
	for _, tt := range []struct {
		name, from string
		change     func(a, p *phone)
	}{
		{"from elsewhere with the phone's stream", "192.0.2.66:4000", func(a, p *phone) { a.ssrc, a.seq, a.ts = p.ssrc, p.seq+1, p.ts }},
		{"from elsewhere with another stream", "192.0.2.66:4000", func(a, p *phone) { a.ssrc = 0x666 }},
		{"from another port of the phone", "192.0.2.20:4444", func(a, p *phone) { a.ssrc, a.seq, a.ts = p.ssrc, p.seq+1, p.ts }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
				attacker := newPhone(r.t, r.net, tt.from)
				p.talk(time.Second, loud)
				before := len(r.heard())
				for i := range 50 {
					p.send(p.packet(loud(i)))
					tt.change(attacker, p)
					attacker.send(attacker.packet(slices.Repeat([]byte{0x2a}, frameTicks))) // of the opposite sign
					time.Sleep(frameTime)
				}
				if st := r.s.Stats(); st.Received != 100 || st.Foreign != 50 || st.Lost+st.Late+st.Dropped+st.Duplicate != 0 {
					t.Errorf("%+v", st)
				}
				want := r.heard()[before-1]
				for i, v := range r.heard()[before:] {
					if (v > 0) != (want > 0) {
						t.Fatalf("sample %d is %d", i, v)
					}
				}
				r.s.Write(sound(10 * frameSamples))
				time.Sleep(250 * time.Millisecond)
				if n, m := len(attacker.got()), len(p.got()); n != 0 || m < 10 {
					t.Errorf("%d packets to the attacker, %d to the phone", n, m)
				}
			})
		})
	}
}

// A phone that is silent may come back from another port, but not at once; the
// exact address of its description always may.
func TestTheLockMoves(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		nat := newPhone(r.t, r.net, "192.0.2.20:6000")
		nat.talk(500*time.Millisecond, loud)
		if st := r.s.Stats(); st.Received != 25 {
			t.Fatalf("%+v", st)
		}
		p.talk(500*time.Millisecond, loud) // the named one
		if st := r.s.Stats(); st.Received != 50 || st.Foreign != 0 {
			t.Fatalf("the named address was not heard: %+v", st)
		}
		nat.talk(500*time.Millisecond, loud)
		if st := r.s.Stats(); st.Received != 50 || st.Foreign != 25 {
			t.Fatalf("the lock moved too early: %+v", st)
		}
		time.Sleep(relock)
		nat.talk(500*time.Millisecond, loud)
		if st := r.s.Stats(); st.Received != 75 {
			t.Fatalf("the lock did not move: %+v", st)
		}
	})
}

// A session refresh does not open the lock.
func TestTheLockOutlivesARefresh(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		nat := newPhone(r.t, r.net, "192.0.2.20:6000")
		nat.talk(500*time.Millisecond, loud)
		if _, err := r.s.Answer([]byte(describe(phoneAddr, "8", "a=ptime:20\r\n"))); err != nil {
			t.Fatal(err)
		}
		p.got()
		nat.got()
		r.s.Write(sound(10 * frameSamples))
		time.Sleep(250 * time.Millisecond)
		if n, m := len(nat.got()), len(p.got()); n < 10 || m != 0 {
			t.Errorf("%d packets to the latched address, %d to the named one", n, m)
		}
	})
}

// A phone that begins a new stream is heard from its second packet on; one
// packet with another SSRC is nothing.
func TestNewStreamsOfThePhone(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		p.talk(500*time.Millisecond, loud)
		p.ssrc, p.seq, p.ts = 0x9999, 4711, 42
		p.talk(500*time.Millisecond, loud)
		if st := r.s.Stats(); st.Received != 49 || st.Ignored != 1 || st.Lost != 0 {
			t.Errorf("%+v", st)
		}
		stray := *p
		stray.ssrc = 0x5555
		p.send(stray.packet(loud(0)))
		p.talk(500*time.Millisecond, loud)
		if st := r.s.Stats(); st.Received != 74 || st.Ignored != 2 || st.Lost != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestKeysAreHeardOnce(t *testing.T) {
	inCall(t, describe(phoneAddr, "8 101"), func(r *rig, p *phone) {
		p.talk(200*time.Millisecond, loud)
		press := func(event byte, packets int, lost ...int) {
			p.pt = 101
			ts := p.ts
			for i := range packets {
				end := byte(0)
				if i >= packets-3 {
					end = 0x80 // and twice more (RFC 4733 §2.5.1.4)
				}
				d := min(i+1, packets-2) * frameTicks
				b := p.packet([]byte{event, end | 10, byte(d >> 8), byte(d)})
				p.ts = ts
				if !slices.Contains(lost, i) {
					p.send(b)
				}
				time.Sleep(frameTime)
			}
			p.ts = ts + uint32(packets)*frameTicks
			p.pt = 8
		}
		press(1, 8)
		press(1, 8) // the same key again is another one
		p.talk(100*time.Millisecond, loud)
		press(11, 8, 0, 1, 2, 3, 4, 5, 6) // of which only the last arrives
		press(15, 3)
		press(16, 8)  // flash: not a key
		press(0, 700) // held for 14 s: the duration begins anew
		late := *p
		late.pt, late.ts = 101, p.ts-9999*frameTicks
		p.seq++
		p.send(late.packet([]byte{5, 0x8a, 1, 0}))
		p.talk(200*time.Millisecond, loud)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.keys != "11#D0" {
			t.Errorf("keys %q", r.keys)
		}
		if st := r.s.Stats(); st.Received < 700 {
			t.Errorf("%+v", st)
		}
	})
}

// Keys longer than the field of their duration go on with a new timestamp.
func TestLongKeys(t *testing.T) {
	var d digits
	d.push(1000, []byte{5, 10, 0xff, 0x00})
	d.push(1000+0xffff, []byte{5, 10, 0, 160})
	d.push(1000+0xffff, []byte{5, 10, 1, 160})
	d.push(1000+0xffff+20000, []byte{5, 10, 0, 160})
	d.push(1, []byte{6, 10, 0, 160})
	d.push(900000, []byte{6, 10})
	if keys, n := d.take(); string(keys[:n]) != "55" {
		t.Errorf("keys %q", keys[:n])
	}
	for i := range 100 {
		d.push(uint32(1000000+i), []byte{1, 0, 0, 1})
	}
	if _, n := d.take(); n != 16 {
		t.Errorf("%d keys wait", n)
	}
}

// Comfort noise and payload types that were not agreed on are no losses and no sound.
func TestOtherPayloadTypesAreIgnored(t *testing.T) {
	inCall(t, describe(phoneAddr, "8 0 9"), func(r *rig, p *phone) {
		for _, pt := range []uint8{13, 0, 9, 101, 96, 72} {
			p.pt = pt
			p.talk(100*time.Millisecond, loud)
		}
		if st := r.s.Stats(); st.Received != 0 || st.Ignored != 30 || len(r.heard()) != 0 {
			t.Errorf("before the lock: %+v", st)
		}
		p.pt = 8
		p.talk(200*time.Millisecond, loud)
		p.pt = 13
		p.send(p.packet([]byte{40}))
		p.ts += frameTicks - 1
		time.Sleep(frameTime)
		p.pt = 8
		p.talk(200*time.Millisecond, loud)
		for _, b := range [][]byte{{}, {0x80}, slices.Repeat([]byte{0x80}, 2000), slices.Repeat([]byte{0xff}, 100), {0x80, 8, 0, 1}} {
			p.send(b)
		}
		p.send(p.packet(make([]byte, maxPacket))) // too long
		p.seq--
		mirror := *p
		mirror.ssrc = r.s.ssrc
		for range 3 {
			p.send(mirror.packet(loud(0))) // our own stream
		}
		time.Sleep(frameTime)
		st := r.s.Stats()
		if st.Received != 21 || st.Ignored != 30+1+5+1+3 || st.Lost+st.Late+st.Dropped != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestNoMediaIsSaidOnce(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		expect := func(after time.Duration, calls int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.quiet != calls {
				t.Errorf("%d calls, want %d", r.quiet, calls)
			}
		}
		expect(59*time.Second, 0)
		expect(2*time.Second, 1)
		expect(5*time.Minute, 1)
		p.talk(time.Second, loud)
		expect(58*time.Second, 1)
		expect(3*time.Second, 2)
		p.talk(time.Second, loud)
		answer := func(more string) {
			if _, err := r.s.Answer([]byte(describe(phoneAddr, "8", more))); err != nil {
				t.Fatal(err)
			}
		}
		answer("a=inactive\r\n")
		expect(5*time.Minute, 2)
		answer("")
		expect(59*time.Second, 2)
		expect(2*time.Second, 3)
		answer("a=inactive\r\n")
		answer("")
		expect(61*time.Second, 4)
	})
}
