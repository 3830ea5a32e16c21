package siptest

import (
	"net"
	"sync/atomic"
	"testing"
	"time"
)

func TestVoicesHearEachOtherAndKnowAGap(t *testing.T) {
	conn := func() *net.UDPConn {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ca, cb := conn(), conn()
	var quiet atomic.Bool
	toB, toA := VoiceSDP("b", cb), VoiceSDP("a", ca)
	a := NewVoice(ca, func() string {
		if quiet.Load() {
			return "" // nothing to send to
		}
		return toB
	})
	defer a.Close()
	b := NewVoice(cb, func() string { return toA })
	defer b.Close()
	const few = 10
	await := func(v *Voice, enough func(Audio) bool) Audio {
		t.Helper()
		tick := time.NewTicker(packetTime)
		defer tick.Stop()
		for range 3000 {
			if a := v.Audio(); enough(a) {
				return a
			}
			<-tick.C
		}
		t.Fatalf("a minute of %+v", v.Audio())
		return Audio{}
	}
	talks := func(a Audio) bool { return a.Packets >= few }
	for _, v := range []*Voice{a, b} {
		if heard := await(v, talks); !heard.Whole() {
			t.Errorf("%+v", heard)
		}
	}
	quiet.Store(true)
	a.Reset()
	await(a, talks) // b heard nothing meanwhile, or one packet that was under way
	quiet.Store(false)
	heard := await(b, func(a Audio) bool { return a.Lost > 0 })
	if heard.Whole() || heard.Lost < few/2 || heard.Longest < few/2*packetTime {
		t.Errorf("a was silent for %d packets of b, and b has heard %+v", few, heard)
	}
}

func TestAudioIsCountedByItsNumbers(t *testing.T) {
	const one, two = 1, 2 // streams
	type packet struct {
		number uint16
		stream uint32
	}
	for name, tt := range map[string]struct {
		packets []packet
		want    Audio
	}{
		"none":       {want: Audio{}},
		"each once":  {[]packet{{7, one}, {8, one}, {9, one}}, Audio{Packets: 3}},
		"wraps":      {[]packet{{65535, one}, {0, one}, {1, one}}, Audio{Packets: 3}},
		"lost":       {[]packet{{65534, one}, {1, one}}, Audio{Packets: 2, Lost: 2}},
		"twice":      {[]packet{{7, one}, {7, one}, {8, one}}, Audio{Packets: 3, Twice: 1}},
		"after":      {[]packet{{7, one}, {9, one}, {8, one}, {10, one}}, Audio{Packets: 4, Lost: 1, Twice: 1}},
		"new stream": {[]packet{{7, one}, {500, two}, {501, two}}, Audio{Packets: 3, Anew: 1}},
	} {
		v := &Voice{}
		for _, p := range tt.packets {
			v.note(p.number, p.stream)
		}
		got := v.audio
		got.Longest = 0
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
		if whole := name == "each once" || name == "wraps"; got.Whole() != whole {
			t.Errorf("%s: whole: %t", name, got.Whole())
		}
	}
	v := &Voice{}
	v.note(7, one)
	v.Reset()
	v.note(9, one)
	if a := v.Audio(); a.Packets != 1 || a.Lost != 1 {
		t.Errorf("a packet is lost just after counting began anew: %+v", a)
	}
}

func TestAudioAt(t *testing.T) {
	for description, want := range map[string]string{
		"c=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n":               "127.0.0.1:4000",
		"c=IN IP4 127.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n":                  "",
		"c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n":                 "",
		"c=IN IP4 phone.test\r\nm=audio 4000 RTP/AVP 0\r\n":              "",
		"c=IN IP4 127.0.0.1\r\nm=audio 99999 RTP/AVP 0\r\n":              "",
		"c=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\na=sendonly\r\n": "",
		"c=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\na=inactive\r\n": "",
		"c=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\na=recvonly\r\n": "127.0.0.1:4000",
		"": "",
	} {
		if to, ok := audioAt(description); ok != (want != "") || ok && to.String() != want {
			t.Errorf("%q: %v, %t", description, to, ok)
		}
	}
}
