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
	hear := func(v *Voice) (longest time.Duration) {
		t.Helper()
		tick := time.NewTicker(packetTime)
		defer tick.Stop()
		for range 3000 {
			if gap, packets := v.Gap(); packets > 0 {
				return gap
			}
			<-tick.C
		}
		t.Fatal("a minute without a packet")
		return 0
	}
	hear(a)
	hear(b)
	quiet.Store(true)
	const silence = 10 * packetTime
	<-time.After(silence)
	if gap, packets := a.Gap(); packets == 0 {
		t.Errorf("a hears nothing: %v", gap)
	}
	_, before := b.Gap()
	<-time.After(silence)
	if gap, packets := b.Gap(); packets > 1 || before > 0 && packets > 0 && gap < silence/2 {
		t.Errorf("b hears %d packets of somebody who is silent, %v apart", packets, gap)
	}
}

func TestAudioAt(t *testing.T) {
	for description, want := range map[string]string{
		"c=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n":  "127.0.0.1:4000",
		"c=IN IP4 127.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n":     "",
		"c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n":    "",
		"c=IN IP4 phone.test\r\nm=audio 4000 RTP/AVP 0\r\n": "",
		"c=IN IP4 127.0.0.1\r\nm=audio 99999 RTP/AVP 0\r\n": "",
		"": "",
	} {
		if to, ok := audioAt(description); ok != (want != "") || ok && to.String() != want {
			t.Errorf("%q: %v, %t", description, to, ok)
		}
	}
}
