package media

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"sipxrest/sipflow/siptest"
)

// securePhone is a phone with SRTP, made by hand of pion's contexts.
type securePhone struct {
	*phone
	suite   *suite
	out, in *srtp.Context
}

// keyBytes are the key that inline writes.
func (q *securePhone) contextOf(b []byte, opts ...srtp.ContextOption) *srtp.Context {
	q.t.Helper()
	c, err := srtp.CreateContext(b[:q.suite.key], b[q.suite.key:], q.suite.profile, opts...)
	if err != nil {
		q.t.Fatal(err)
	}
	return c
}

// encryptBy has the phone encrypt by a key whose bytes are all b.
func (q *securePhone) encryptBy(b byte, opts ...srtp.ContextOption) {
	q.out = q.contextOf(bytes.Repeat([]byte{b}, q.suite.key+q.suite.salt), opts...)
}

// description offers or answers by that key.
func (q *securePhone) description(b byte, more ...string) []byte {
	return []byte(strings.Replace(describe(phoneAddr, "8 101", append([]string{fmt.Sprintf("a=crypto:1 %s %s\r\n", q.suite.name,
		inline(b, q.suite.key+q.suite.salt))}, more...)...), "RTP/AVP", "RTP/SAVP", 1))
}

// take takes our key out of a description.
func (q *securePhone) take(description []byte) {
	q.t.Helper()
	for _, l := range keysOf(description) {
		if k := readKey(strings.TrimPrefix(l, "a=crypto:")); k != nil && k.suite == q.suite {
			q.in = q.contextOf(k.secret, srtp.SRTPReplayProtection(64), srtp.SRTCPReplayProtection(64))
			return
		}
	}
	q.t.Fatalf("no key in\n%s", description)
}

// sealed encrypts a packet.
func (q *securePhone) sealed(b []byte) []byte {
	q.t.Helper()
	b, err := q.out.EncryptRTP(nil, b, nil)
	if err != nil {
		q.t.Fatal(err)
	}
	return b
}

func (q *securePhone) say(i int) { q.send(q.sealed(q.packet(loud(i)))) }

// heard decrypts every packet that has come; failed are those that it cannot.
func (q *securePhone) heard() (all []*rtp.Packet, failed int) {
	q.t.Helper()
	for _, p := range q.got() {
		b, err := p.Marshal()
		if err != nil {
			q.t.Fatal(err)
		}
		clear, err := q.in.DecryptRTP(nil, b, nil)
		if err != nil {
			failed++
			continue
		}
		var r rtp.Packet
		if err := r.Unmarshal(clear); err != nil {
			q.t.Fatal(err)
		}
		all = append(all, &r)
	}
	return all, failed
}

// report sends RTCP.
func (q *securePhone) report(encrypt bool, packets ...rtcp.Packet) {
	q.t.Helper()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		q.t.Fatal(err)
	}
	if encrypt {
		if b, err = q.out.EncryptRTCP(nil, b, nil); err != nil {
			q.t.Fatal(err)
		}
	}
	if _, err := q.rtcp.WriteToUDPAddrPort(b, netip.AddrPortFrom(q.to.Addr(), q.to.Port()+1)); err != nil {
		q.t.Fatal(err)
	}
}

// encrypted runs a test with an agreed stepped session by SRTP.
func encrypted(t *testing.T, with *suite, more string, f func(r *rig, q *securePhone)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, Options{Stepped: true})
		q := &securePhone{phone: newPhone(t, n, phoneAddr), suite: with}
		q.encryptBy('a')
		answer, err := r.s.Answer(q.description('a', more))
		if err != nil {
			t.Fatal(err)
		}
		q.take(answer)
		f(r, q)
		r.s.Close()
	})
}

// By each suite, offered or answered, both sides hear each other; digits and reports
// are encrypted as well, and nothing goes over the network in the clear.
func TestEncryptedCalls(t *testing.T) {
	for i := range suites {
		for _, way := range []string{"answered", "offered"} {
			t.Run(suites[i].name+"/"+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := siptest.NewNetwork()
					r := newRig(t, n, Options{Stepped: true, Security: SRTPRequired})
					q := &securePhone{phone: newPhone(t, n, phoneAddr), suite: &suites[i]}
					q.encryptBy('a')
					if way == "answered" {
						answer, err := r.s.Answer(q.description('a'))
						if err != nil {
							t.Fatal(err)
						}
						q.take(answer)
					} else {
						q.take(r.s.Offer())
						if err := r.s.Accept(bytes.Replace(q.description('a'), []byte("crypto:1"), fmt.Appendf(nil, "crypto:%d", i+1), 1)); err != nil {
							t.Fatal(err)
						}
					}
					heard, _ := r.step(20*time.Second, loudFrame(), q.say)
					if slices.Contains(heard[5:], false) {
						t.Error("the phone is not heard all the time")
					}
					all, failed := q.heard()
					if len(all) != 1000 || failed > 0 {
						t.Fatalf("%d packets, %d not decrypted", len(all), failed)
					}
					for j, p := range all {
						if l := loudness(nil, PCMA, p); j > 3 && (l < 7000 || p.PayloadType != 8) {
							t.Fatalf("packet %d is %.0f loud", j, l)
						}
					}
					for _, p := range n.Packets() { // a packet with sound has few different bytes, in the clear
						if len(p.Data) > 100 && bytes.Contains(p.Data, bytes.Repeat([]byte{0xaa}, 16)) {
							t.Fatal("sound is in the clear")
						}
					}
					if err := r.s.SendDigit('7', 100*time.Millisecond); err != nil {
						t.Fatal(err)
					}
					r.step(200*time.Millisecond, loudFrame(), nil)
					all, _ = q.heard()
					if len(all) != 10 || all[0].PayloadType != 101 || eventOf(t, all[0]).key != '7' {
						t.Errorf("the digit: %v", all)
					}
					if st := r.s.Stats(); st.Forged+st.Ignored+st.Foreign+st.Lost+st.SendErrors > 0 || st.Received != 1000 {
						t.Errorf("%+v", st)
					}
					r.s.Close()
					time.Sleep(frameTime)
					q.reportsOf(r)
				})
			})
		}
	}
}

// reportsOf checks the reports that have come.
func (q *securePhone) reportsOf(r *rig) {
	q.t.Helper()
	n, bye := 0, false
	for _, p := range r.net.Packets() {
		if p.To.Port() != q.at.Port()+1 {
			continue
		}
		b, err := q.in.DecryptRTCP(nil, p.Data, nil)
		if err != nil {
			q.t.Errorf("RTCP: %v", err)
			continue
		}
		all, err := rtcp.Unmarshal(b)
		if err != nil {
			q.t.Fatal(err)
		}
		n++
		if sr, ok := all[0].(*rtcp.SenderReport); ok && (len(sr.Reports) != 1 || sr.Reports[0].SSRC != q.ssrc) {
			q.t.Errorf("report %v", sr)
		}
		_, bye = all[len(all)-1].(*rtcp.Goodbye)
	}
	if n < 3 || !bye {
		q.t.Errorf("%d reports, goodbye: %v", n, bye)
	}
}

// Two sessions with clocks of their own, of which one demands SRTP.
func TestTwoSessionsWithSRTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		both := func(c *Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }
		a := newRig(t, n, Options{Security: SRTPRequired}, both)
		b, err := ports(t, n, both, func(c *Config) {
			c.Address, c.MinPort, c.MaxPort = netip.MustParseAddr("192.0.2.2"), 30000, 30001
		}).Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		answer, err := b.Answer(a.s.Offer())
		if err != nil {
			t.Fatal(err)
		}
		if err := a.s.Accept(answer); err != nil {
			t.Fatal(err)
		}
		if a.s.Suite() != "AES_CM_128_HMAC_SHA1_80" || b.Suite() != a.s.Suite() {
			t.Errorf("suites %q, %q", a.s.Suite(), b.Suite())
		}
		for range 100 {
			b.Write(sound(frameSamples))
			time.Sleep(frameTime)
		}
		if loud := a.heard(); len(loud) < 90*frameSamples || level(loud[20*frameSamples:], 0, 16000) < 1000 {
			t.Errorf("%d samples were heard: %+v, %+v", len(loud), a.s.Stats(), b.Stats())
		}
		a.s.Close()
	})
}

// What is not by the phone's key, is changed or is repeated is counted, and changes
// nothing: not the sound, not where RTP goes, no sign of life.
func TestForgedPackets(t *testing.T) {
	for i := range suites {
		t.Run(suites[i].name, func(t *testing.T) {
			encrypted(t, &suites[i], "", func(r *rig, q *securePhone) {
				wrong := &securePhone{phone: q.phone, suite: q.suite}
				wrong.encryptBy('x')
				nat := newPhone(r.t, r.net, "192.0.2.20:6000") // may be latched on, but for its packets
				nat.send(wrong.sealed(q.packet(loud(0))))
				nat.send(q.packet(loud(0)))
				r.step(frameTime, loudFrame(), nil)
				if st := r.s.Stats(); st.Forged != 2 || r.s.destination().String() != phoneAddr {
					t.Errorf("a forged packet was latched on: %+v", st)
				}
				r.step(time.Second, loudFrame(), q.say)
				before := r.s.Stats()
				heard, _ := r.step(time.Second, loudFrame(), func(i int) {
					good := q.sealed(q.packet(loud(i)))
					for _, at := range []int{4, 14, 100, len(good) - 1} { // of the header, the sound and the tag
						bad := slices.Clone(good)
						bad[at] ^= 1
						q.send(bad)
					}
					q.send(good[:len(good)-1])
					q.send(good[:15])
					q.send(good)
					q.send(good)
					ahead := *q.phone
					ahead.seq += 5
					q.send(wrong.sealed(ahead.packet(loud(i))))
					q.send(ahead.packet(loud(i)))
				})
				st := r.s.Stats()
				if slices.Contains(heard, false) || st.Received != before.Received+50 || st.Lost+st.Late+st.Duplicate > 0 {
					t.Errorf("the phone is not heard as before: %+v", st)
				}
				if want := before.Forged + 50*(4+1+1+1+2); st.Forged != want {
					t.Errorf("%d packets were found to be forged, want %d", st.Forged, want)
				}
				q.report(false, &rtcp.SenderReport{SSRC: q.ssrc})
				wrong.report(true, &rtcp.SenderReport{SSRC: q.ssrc})
				r.step(30*time.Second, loudFrame(), nil)
				if again := r.s.Stats(); again.Forged != st.Forged+2 {
					t.Errorf("forged reports: %+v", again)
				}
				q.report(false, &rtcp.SenderReport{SSRC: q.ssrc})
				wrong.report(true, &rtcp.SenderReport{SSRC: q.ssrc})
				r.step(31*time.Second, loudFrame(), nil)
				if r.quiet != 1 {
					t.Error("forged reports are signs of life")
				}
				q.report(true, &rtcp.SenderReport{SSRC: q.ssrc})
				r.step(time.Minute, loudFrame(), nil)
				if r.quiet != 1 {
					t.Error("a report of the phone's is none")
				}
				r.step(time.Second, loudFrame(), nil)
				if r.quiet != 2 {
					t.Error("the phone's silence is not told")
				}
			})
		})
	}
}

// Sequence numbers begin anew every 22 minutes; both sides count how often.
func TestEncryptedCallsBeyondARollover(t *testing.T) {
	encrypted(t, &suites[0], "", func(r *rig, q *securePhone) {
		r.step(frameTime, loudFrame(), nil)
		q.heard()
		q.seq, r.s.seq = 65400, 65400
		for range 3 {
			heard, _ := r.step(5*time.Second, loudFrame(), q.say)
			if slices.Contains(heard[5:], false) {
				t.Error("the phone is not heard all the time")
			}
			if all, failed := q.heard(); len(all) != 250 || failed > 0 {
				t.Errorf("%d packets, %d not decrypted", len(all), failed)
			}
		}
		if st := r.s.Stats(); st.Forged+st.Lost > 0 {
			t.Errorf("%+v", st)
		}
	})
}

// The phone changes its key: before our answer has come it goes on with the old one. Then its
// packets are by the new one, and its count of rollovers goes on, or not.
func TestNewKeys(t *testing.T) {
	for _, goesOn := range []bool{false, true} {
		t.Run(fmt.Sprintf("count goes on: %v", goesOn), func(t *testing.T) {
			encrypted(t, &suites[0], "", func(r *rig, q *securePhone) {
				r.step(frameTime, loudFrame(), nil)
				q.seq, r.s.seq = 65500, 65500
				r.step(2*time.Second, loudFrame(), q.say)
				q.heard()
				old := r.s.ssrc
				answer, err := r.s.Answer(q.description('b'))
				if err != nil {
					t.Fatal(err)
				}
				if heard, _ := r.step(200*time.Millisecond, loudFrame(), q.say); slices.Contains(heard, false) {
					t.Error("the phone is not heard until our answer has come")
				}
				if _, failed := q.heard(); failed != 10 {
					t.Errorf("%d packets are not by a new key", failed)
				}
				q.take(answer)
				before, _ := q.out.ROC(q.ssrc)
				q.encryptBy('b')
				if goesOn {
					q.out.SetROC(q.ssrc, before)
				}
				if heard, _ := r.step(time.Second, loudFrame(), q.say); slices.Contains(heard, false) {
					t.Error("the phone is not heard by its new key")
				}
				all, failed := q.heard()
				if len(all) != 50 || failed > 0 || all[0].SSRC == old {
					t.Fatalf("%d packets, %d not decrypted, of stream %x after %x", len(all), failed, all[0].SSRC, old)
				}
				if st := r.s.Stats(); st.Forged+st.Lost > 0 || st.Received != 160 {
					t.Errorf("%+v", st)
				}
				q.encryptBy('a') // what was true once is not any more
				r.step(time.Second, loudFrame(), q.say)
				if st := r.s.Stats(); st.Forged != 50 || st.Received != 160 {
					t.Errorf("by the old key: %+v", st)
				}
			})
		})
	}
}

// Without a rollover the stream goes on under the new key; the old one is
// forgotten soon.
func TestNewKeysOfYoungCalls(t *testing.T) {
	encrypted(t, &suites[0], "", func(r *rig, q *securePhone) {
		r.step(time.Second, loudFrame(), q.say)
		all, _ := q.heard()
		answer, err := r.s.Answer(q.description('b'))
		if err != nil {
			t.Fatal(err)
		}
		q.take(answer)
		r.step(4*time.Second, loudFrame(), q.say)
		again, failed := q.heard()
		if failed > 0 || again[0].SSRC != all[0].SSRC || again[0].SequenceNumber != all[49].SequenceNumber+1 {
			t.Errorf("%v after %v, %d not decrypted", again[0], all[49], failed)
		}
		if st := r.s.Stats(); st.Forged > 0 {
			t.Errorf("%+v", st)
		}
		r.step(4*time.Second, loudFrame(), q.say)
		if st := r.s.Stats(); st.Forged < 100 || st.Forged > 160 {
			t.Errorf("long after the change: %+v", st)
		}
	})
}

// A call becomes encrypted, and goes back into the clear: what is on its way by the
// old manner is not played as noise.
func TestEncryptionComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, Options{Stepped: true})
		q := &securePhone{phone: newPhone(t, n, phoneAddr), suite: &suites[0]}
		plain := func(i int) { q.send(q.packet(loud(i))) }
		if _, err := r.s.Answer([]byte(describe(phoneAddr, "8"))); err != nil {
			t.Fatal(err)
		}
		r.step(time.Second, loudFrame(), plain)
		answer, err := r.s.Answer(q.description('a'))
		if err != nil {
			t.Fatal(err)
		}
		q.got()
		q.take(answer)
		q.encryptBy('a')
		heard, _ := r.step(time.Second, loudFrame(), q.say)
		if all, failed := q.heard(); slices.Contains(heard, false) || len(all) != 50 || failed > 0 {
			t.Errorf("encrypted: %d packets, %d not decrypted", len(all), failed)
		}
		if _, err := r.s.Answer([]byte(describe(phoneAddr, "8"))); err != nil {
			t.Fatal(err)
		}
		_, pcm := r.step(200*time.Millisecond, loudFrame(), q.say) // it has not seen our answer
		for _, v := range pcm[frameSamples:] {
			if d := int(v) - int(pcm[0]); d < -500 || d > 500 {
				t.Fatalf("noise: %d, %d", v, pcm[0])
			}
		}
		if heard, _ := r.step(time.Second, loudFrame(), plain); slices.Contains(heard, false) {
			t.Error("the phone is not heard in the clear")
		}
		if st := r.s.Stats(); st.Forged+st.Ignored > 0 || st.Received != 160 {
			t.Errorf("%+v", st)
		}
	})
}

// A master key identifier that the phone names is in its packets; ours have none.
func TestMasterKeyIdentifiers(t *testing.T) {
	for i := range suites {
		t.Run(suites[i].name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, Options{Stepped: true})
				q := &securePhone{phone: newPhone(t, n, phoneAddr), suite: &suites[i]}
				offer := bytes.Replace(q.description('a'), []byte("YWFh"), []byte("YWFh"), 1)
				key := inline('a', q.suite.key+q.suite.salt)
				offer = bytes.Replace(offer, []byte(key), []byte(key+"|2^31|258:4"), 1)
				answer, err := r.s.Answer(offer)
				if err != nil {
					t.Fatal(err)
				}
				q.take(answer)
				q.encryptBy('a', srtp.MasterKeyIndicator([]byte{0, 0, 1, 2}))
				heard, _ := r.step(time.Second, loudFrame(), q.say)
				if all, failed := q.heard(); slices.Contains(heard[5:], false) || len(all) != 50 || failed > 0 {
					t.Errorf("%d packets, %d not decrypted", len(all), failed)
				}
				q.report(true, &rtcp.SenderReport{SSRC: q.ssrc, NTPTime: 1 << 32})
				r.step(time.Second, loudFrame(), q.say)
				q.encryptBy('a', srtp.MasterKeyIndicator([]byte{0, 0, 1, 3}))
				q.seq += 10
				r.step(time.Second, loudFrame(), q.say)
				if st := r.s.Stats(); st.Received != 100 || st.Forged != 50 || r.s.peer.srAt.IsZero() {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// A key is good for as many packets as the phone has said.
func TestLifetimesOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		var log strings.Builder
		r := newRig(t, n, Options{Stepped: true}, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		q := &securePhone{phone: newPhone(t, n, phoneAddr), suite: &suites[0]}
		key := inline('a', 30)
		answer, err := r.s.Answer(bytes.Replace(q.description('a'), []byte(key), []byte(key+"|2^5"), 1))
		if err != nil {
			t.Fatal(err)
		}
		q.take(answer)
		q.encryptBy('a')
		r.step(time.Second, loudFrame(), q.say)
		if st := r.s.Stats(); st.Received != 32 || st.Forged != 18 || strings.Count(log.String(), "lifetime is over") != 1 {
			t.Errorf("%+v, log %s", st, log.String())
		}
		if _, err := r.s.Answer(q.description('b')); err != nil {
			t.Fatal(err)
		}
		q.encryptBy('b')
		r.step(time.Second, loudFrame(), q.say)
		if st := r.s.Stats(); st.Received != 82 {
			t.Errorf("after a new key: %+v", st)
		}
	})
}

// A phone that begins ever new streams under one key does not make us grow.
func TestStreamsUnderOneKeyAreBounded(t *testing.T) {
	encrypted(t, &suites[0], "", func(r *rig, q *securePhone) {
		from := netip.MustParseAddrPort(phoneAddr)
		var p rtp.Packet
		for i := range 5000 {
			q.ssrc = uint32(10000 + i)
			r.s.receive(&p, q.sealed(q.packet(loud(0))), from, time.Now())
			b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: q.ssrc + 1e6}})
			if err != nil {
				t.Fatal(err)
			}
			if b, err = q.out.EncryptRTCP(nil, b, nil); err != nil {
				t.Fatal(err)
			}
			r.s.receiveRTCP(b, from, time.Now())
		}
		if r.s.rx.streams != maxStreams {
			t.Errorf("%d streams", r.s.rx.streams)
		}
		q.ssrc = 10001 // one that is known
		r.step(time.Second, loudFrame(), q.say)
		if st := r.s.Stats(); st.Received < 45 {
			t.Errorf("%+v", st)
		}
	})
}

// A stream that has ended under a key cannot be played again.
func TestOldStreamsAreNotReplayed(t *testing.T) {
	encrypted(t, &suites[0], "", func(r *rig, q *securePhone) {
		var recorded [][]byte
		r.step(time.Second, loudFrame(), func(i int) {
			b := q.sealed(q.packet(loud(i)))
			recorded = append(recorded, b)
			q.send(b)
		})
		q.ssrc++
		r.step(time.Second, loudFrame(), q.say)
		before := r.s.Stats()
		r.step(time.Second, loudFrame(), func(i int) { q.send(recorded[i]) })
		if st := r.s.Stats(); st.Received != before.Received || st.Forged != before.Forged+50 {
			t.Errorf("%+v", st)
		}
	})
}

// steadySRTP is steady for an encrypted session.
func steadySRTP(t testing.TB, with *suite) func() {
	t.Helper()
	s := idle(t)
	s.closed, s.opt.Stepped = false, true
	s.rtp, s.rtcp = nowhere{}, nowhere{}
	key := bytes.Repeat([]byte{'a'}, with.key+with.salt)
	offer := strings.Replace(describe(phoneAddr, "8", "a=crypto:1 "+with.name+" "+inline('a', len(key))+"\r\n"), "RTP/AVP", "RTP/SAVP", 1)
	if _, err := s.Answer([]byte(offer)); err != nil {
		t.Fatal(err)
	}
	ctx, err := srtp.CreateContext(key[:with.key], key[with.key:], with.profile)
	if err != nil {
		t.Fatal(err)
	}
	from := netip.MustParseAddrPort(phoneAddr)
	now := time.Unix(1e9, 0)
	h := rtp.Header{Version: 2, PayloadType: 8, SSRC: 1}
	var scratch rtp.Header
	var p rtp.Packet
	var buf [12 + frameTicks]byte
	var sealed [300]byte
	var out [frameSamples]int16
	in, speech := loudFrame(), loud(0)
	return func() {
		h.SequenceNumber++
		h.Timestamp += frameTicks
		n, _ := h.MarshalTo(buf[:])
		n += copy(buf[n:], speech)
		b, err := ctx.EncryptRTP(sealed[:0], buf[:n], &scratch)
		if err != nil {
			t.Fatal(err)
		}
		s.receive(&p, b, from, now)
		if !s.Pull(now, &out) && h.SequenceNumber > 10 {
			t.Fatalf("not heard: %+v", s.Stats())
		}
		s.Push(now, in)
		now = now.Add(frameTime)
		s.report = now.Add(time.Hour)
	}
}

func TestEncryptedFramesAllocateNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector empties the pool of pion/srtp's buffers")
	}
	for i := range suites {
		step := steadySRTP(t, &suites[i])
		for range 100 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n != 0 {
			t.Errorf("%s: %v allocations for a frame", suites[i].name, n)
		}
	}
}

// One frame each way, the phone's encryption included.
func BenchmarkStepSRTP(b *testing.B) {
	for i := range suites {
		b.Run(suites[i].name, func(b *testing.B) {
			step := steadySRTP(b, &suites[i])
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}
