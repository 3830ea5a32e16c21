package media

import (
	"net/netip"
	"testing"
	"time"
)

// Two sessions talk to each other over the system's sockets.
func TestTwoSessionsTalk(t *testing.T) {
	p, err := NewPorts(Config{
		Address: netip.MustParseAddr("127.0.0.1"), MinPort: 30000, MaxPort: 60000,
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	caller, err := p.Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	heard := make(chan []int16, 100)
	called, err := p.Open(Options{Audio: func(pcm []int16) {
		select {
		case heard <- append([]int16(nil), pcm...):
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer called.Close()
	answer, err := called.Answer(caller.Offer())
	if err != nil {
		t.Fatal(err)
	}
	if err := caller.Accept(answer); err != nil {
		t.Fatal(err)
	}
	if caller.Codec() != "G722" || called.Codec() != "G722" {
		t.Errorf("codecs %q, %q", caller.Codec(), called.Codec())
	}
	wait := time.After(20 * time.Second)
	for loud := 0; loud < 10; {
		caller.Write(tone(1000, 10000)[:frameSamples])
		select {
		case pcm := <-heard:
			if level(pcm, 1000, 16000) > 5000 {
				loud++
			}
		case <-time.After(frameTime):
		case <-wait:
			t.Fatalf("nothing was heard: %+v, %+v", caller.Stats(), called.Stats())
		}
	}
	caller.Close()
	called.Close()
	if p.InUse() != 0 {
		t.Errorf("%d pairs of ports are in use", p.InUse())
	}
}
