package sfu

import (
	"testing"
	"time"

	"github.com/pion/rtcp"

	"sipxrest/media"
)

// The media server tells how much of ours it has lost.
func TestLossesOfWhatIsPublished(t *testing.T) {
	p := &Publisher{}
	told := func(r rtcp.Packet) {
		t.Helper()
		b, err := rtcp.Marshal([]rtcp.Packet{r})
		if err != nil {
			t.Fatal(err)
		}
		p.report(b)
	}
	of := func(ssrc, lost uint32) []rtcp.ReceptionReport {
		return []rtcp.ReceptionReport{{SSRC: ssrc, TotalLost: lost}}
	}
	told(&rtcp.ReceiverReport{Reports: of(7, 3)}) // nothing is sent yet
	p.track.out.Store(&outlet{ssrc: 7})
	if n := p.Stats().Lost; n != 0 {
		t.Errorf("%d lost", n)
	}
	told(&rtcp.ReceiverReport{Reports: of(7, 5)})
	told(&rtcp.ReceiverReport{Reports: of(8, 99)})       // is another stream
	told(&rtcp.SenderReport{Reports: of(7, 6)})          // of one who sends as well
	told(&rtcp.ReceiverReport{Reports: of(7, 0xfffffe)}) // is -2: there were copies
	p.report([]byte{0x81, 201, 0xff})
	if n := p.Stats().Lost; n != 6 {
		t.Errorf("%d lost", n)
	}
}

// The media server is told each 5 s what came (RFC 3550 §6.4.1).
func TestReportsOfWhatIsHeard(t *testing.T) {
	var sent []rtcp.ReceptionReport
	s := &Subscription{player: media.NewPlayer(media.PlayerConfig{})}
	s.send = func(p []rtcp.Packet) error {
		sent = append(sent, p[0].(*rtcp.ReceiverReport).Reports...)
		return nil
	}
	s.header.SSRC, s.highest = 7, 65000-1
	now := time.Now()
	s.reported = now
	for i := range 1000 { // 20 s, and beyond the end of the numbers
		now = now.Add(20 * time.Millisecond)
		if s.header.SequenceNumber = uint16(65000 + i); i%10 != 3 {
			s.report(now, media.Opus)
		}
	}
	if len(sent) != 4 {
		t.Fatalf("%d reports", len(sent))
	}
	for i, r := range sent {
		if r.SSRC != 7 || r.FractionLost < 24 || r.FractionLost > 27 || r.LastSequenceNumber != uint32(65000+250*i+249) {
			t.Errorf("report %d: %+v", i, r)
		}
	}
}
