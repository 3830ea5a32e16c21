package media

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// event is a packet of a key.
type event struct {
	key      byte
	end      bool
	duration uint16
}

func eventOf(t *testing.T, p *rtp.Packet) event {
	t.Helper()
	if len(p.Payload) != 4 || int(p.Payload[0]) >= len(keys) || p.Payload[1]&0x40 != 0 {
		t.Fatalf("not an event: % x", p.Payload)
	}
	return event{keys[p.Payload[0]], p.Payload[1]&0x80 != 0, binary.BigEndian.Uint16(p.Payload[2:])}
}

// A key is one event: the marker first, one timestamp, a duration that grows, its
// end three times. Sound pauses for it and goes on behind it.
func TestDigitsToThePhone(t *testing.T) {
	for _, d := range []struct {
		name    string
		asked   time.Duration
		packets int
		last    uint16
	}{{"100 ms", 100 * time.Millisecond, 5, 800}, {"90 ms", 90 * time.Millisecond, 5, 720}, {"too short", 0, 2, 320},
		{"too long", time.Minute, 300, 48000}} {
		t.Run(d.name, func(t *testing.T) {
			stepped(t, describe(phoneAddr, "8 96", "a=rtpmap:96 telephone-event/8000\r\na=rtpmap:101 PCMU/8000\r\n"), func(r *rig, p *phone) {
				r.step(100*time.Millisecond, loudFrame(), nil)
				if err := r.s.SendDigit('#', d.asked); err != nil {
					t.Fatal(err)
				}
				before := p.got()
				r.step(10*time.Second, loudFrame(), nil)
				all := p.got()
				if len(all) != 500 {
					t.Fatalf("%d packets in 500 frames", len(all))
				}
				events := all[:d.packets+2] // the end twice more
				for i, got := range events {
					e := eventOf(t, got)
					want := event{'#', i >= d.packets-1, min(uint16(min(i+1, d.packets)*frameTicks), d.last)}
					if got.PayloadType != 96 || e != want || got.Marker != (i == 0) || got.Timestamp != before[4].Timestamp+frameTicks {
						t.Errorf("packet %d: type %d, marker %v, timestamp %d, %+v, want %+v", i, got.PayloadType, got.Marker, got.Timestamp, e, want)
					}
				}
				for i, got := range all[1:] {
					if was := all[i]; got.SequenceNumber != was.SequenceNumber+1 {
						t.Fatalf("sequence number %d after %d", got.SequenceNumber, was.SequenceNumber)
					}
				}
				for i, got := range all[len(events):] {
					if at := before[4].Timestamp + uint32(1+len(events)+i)*frameTicks; got.PayloadType != 8 || got.Timestamp != at {
						t.Fatalf("sound behind the key: type %d, timestamp %d, want %d", got.PayloadType, got.Timestamp, at)
					}
				}
			})
		})
	}
}

// What we send is what we understand: keys that wait for each other arrive in their
// order, also from a session with a clock.
func TestDigitsWaitForEachOther(t *testing.T) {
	const typed = "0123456789*#ABCD1122"
	inCall(t, describe(phoneAddr, "8 101"), func(r *rig, p *phone) {
		for _, k := range []byte(typed) {
			if err := r.s.SendDigit(k, 80*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
		var d digits
		got, last := "", time.Time{}
		began := uint32(0)
		for range 300 {
			r.s.Write(sound(frameSamples))
			time.Sleep(frameTime)
			for _, q := range p.got() {
				if q.PayloadType != 101 {
					continue
				}
				d.push(q.Timestamp, q.Payload)
				if q.Timestamp != began {
					if since := time.Since(last); began != 0 && since < 100*time.Millisecond {
						t.Errorf("only %v between two keys", since)
					}
					began = q.Timestamp
				}
				last = time.Now()
			}
			list, n := d.take()
			got += string(list[:n])
		}
		if got != typed {
			t.Errorf("keys %q, want %q", got, typed)
		}
		if st := r.s.Stats(); st.Overrun != 0 {
			t.Errorf("%d samples of what was not to be heard wait", st.Overrun)
		}
	})
}

func TestDigitsThatCannotBeSent(t *testing.T) {
	stepped(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		if err := r.s.SendDigit('1', time.Second); !errors.Is(err, ErrNoDigits) {
			t.Errorf("to a phone without telephone-event: %v", err)
		}
		r.step(time.Second, loudFrame(), nil)
		if got := p.got(); len(got) != 50 || got[9].PayloadType != 8 {
			t.Errorf("%d packets", len(got))
		}
	})
	stepped(t, describe(phoneAddr, "8 101"), func(r *rig, p *phone) {
		for _, key := range []byte("xa \x00\xff") {
			if err := r.s.SendDigit(key, time.Second); err == nil || errors.Is(err, ErrNoDigits) {
				t.Errorf("the key %q: %v", key, err)
			}
		}
		n := 0
		var err error
		for ; n < 1000 && err == nil; n++ {
			err = r.s.SendDigit('7', time.Second)
		}
		if !errors.Is(err, ErrManyDigits) || n != 33 {
			t.Errorf("digit %d: %v", n, err)
		}
		again := func(more string) {
			t.Helper()
			if _, err := r.s.Answer([]byte(describe(phoneAddr, "8 101", more))); err != nil {
				t.Fatal(err)
			}
			r.step(time.Second, loudFrame(), nil)
		}
		again("")
		if got := p.got(); eventOf(t, got[20]).key != '7' {
			t.Errorf("%v", got[20])
		}
		again("a=sendonly\r\n") // held: who pressed then does not mean what is said later
		if got := p.got(); len(got) != 0 {
			t.Errorf("%d packets while held", len(got))
		}
		if err := r.s.SendDigit('7', time.Second); !errors.Is(err, ErrHeld) {
			t.Errorf("while held: %v", err)
		}
		again("")
		for _, got := range p.got() {
			if got.PayloadType != 8 {
				t.Fatalf("an event after the call was held: %v", got)
			}
		}
		r.s.Close()
		if err := r.s.SendDigit('7', time.Second); !errors.Is(err, ErrHeld) {
			t.Errorf("after the end: %v", err)
		}
	})
}
