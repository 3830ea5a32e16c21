package media

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// Reports go out every 5 s or so, tell the truth, and Close says goodbye.
func TestReports(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		for i := range 2000 { // 40 s
			if b := p.packet(loud(i)); i%10 != 9 {
				p.send(b)
			}
			r.s.Write(sound(frameSamples))
			time.Sleep(frameTime)
		}
		all := p.reports()
		if len(all) < 5 || len(all) > 16 {
			t.Fatalf("%d reports in 40 s", len(all))
		}
		for _, compound := range all {
			if len(compound) != 2 {
				t.Fatalf("%v", compound)
			}
			sr, ok := compound[0].(*rtcp.SenderReport)
			sdes, named := compound[1].(*rtcp.SourceDescription)
			if !ok || !named || len(sr.Reports) != 1 || sdes.Chunks[0].Items[0].Type != rtcp.SDESCNAME ||
				sr.OctetCount != sr.PacketCount*frameTicks {
				t.Fatalf("%v", compound)
			}
			if b := sr.Reports[0]; b.SSRC != p.ssrc || b.FractionLost < 20 || b.FractionLost > 32 || b.TotalLost == 0 { // a tenth of 256
				t.Errorf("%+v", b)
			}
		}
		last := all[len(all)-1][0].(*rtcp.SenderReport)
		if last.PacketCount < 1500 || last.Reports[0].TotalLost < 150 || last.Reports[0].LastSequenceNumber < 1<<16 {
			t.Errorf("%v", last)
		}

		// What the phone says about our stream is kept, with the time there and back.
		report := func(from *phone, reports ...rtcp.ReceptionReport) {
			t.Helper()
			b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: p.ssrc, NTPTime: 0x1234_5678_0000_0000, Reports: reports}})
			if err != nil {
				t.Fatal(err)
			}
			to := from.to
			if _, err := from.rtcp.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.Addr(), to.Port()+1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		sent := time.Now()
		time.Sleep(100 * time.Millisecond)
		report(p, rtcp.ReceptionReport{SSRC: last.SSRC, FractionLost: 64, LastSenderReport: uint32(ntp(sent) >> 16), Delay: 65536 / 20})
		st := r.s.Stats()
		if st.RemoteLost != 0.25 || st.RoundTrip < 50*time.Millisecond || st.RoundTrip > 53*time.Millisecond {
			t.Errorf("%+v", st)
		}
		report(newPhone(r.t, r.net, "192.0.2.66:4000"), rtcp.ReceptionReport{SSRC: last.SSRC, FractionLost: 255})
		report(p, rtcp.ReceptionReport{SSRC: 1, FractionLost: 255})
		if st := r.s.Stats(); st.RemoteLost != 0.25 || st.Foreign != 1 {
			t.Errorf("a report of somebody else's: %+v", st)
		}
		time.Sleep(8 * time.Second)
		if all = p.reports(); len(all) == 0 {
			t.Fatal("no report")
		}
		if sr, ok := all[len(all)-1][0].(*rtcp.SenderReport); !ok || sr.Reports[0].LastSenderReport != 0x5678_0000 || sr.Reports[0].Delay == 0 {
			t.Errorf("%v", all[len(all)-1])
		}

		r.s.Close()
		time.Sleep(frameTime)
		all = p.reports()
		if len(all) == 0 {
			t.Fatal("no goodbye")
		}
		bye, ok := all[len(all)-1][2].(*rtcp.Goodbye)
		if !ok || bye.Sources[0] != last.SSRC {
			t.Errorf("%v", all[len(all)-1])
		}
	})
}

// The phone's RTCP port is the one it names.
func TestReportsGoToTheNamedPort(t *testing.T) {
	inCall(t, describe(phoneAddr, "8", "a=rtcp:4711 IN IP4 192.0.2.66\r\n"), func(r *rig, p *phone) {
		there := newPhone(r.t, r.net, "192.0.2.20:4710")
		time.Sleep(20 * time.Second)
		if n, m := len(p.reports()), len(there.reports()); n != 0 || m == 0 {
			t.Errorf("%d reports at the port above, %d at the named one", n, m)
		}
	})
}

// Behind a NAT the named port leads nowhere: reports go where the phone's come from.
func TestReportsThroughNATs(t *testing.T) {
	inCall(t, describe(phoneAddr, "8"), func(r *rig, p *phone) {
		nat := newPhone(r.t, r.net, "198.51.100.20:6000")
		nat.talk(20*time.Second, loud)
		if n, m := len(p.reports()), len(nat.reports()); n != 0 || m != 0 {
			t.Errorf("%d and %d reports before the phone's RTCP was seen", n, m)
		}
		b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: nat.ssrc}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nat.rtcp.WriteToUDPAddrPort(b, netip.AddrPortFrom(nat.to.Addr(), nat.to.Port()+1)); err != nil {
			t.Fatal(err)
		}
		nat.talk(20*time.Second, loud)
		if n, m := len(p.reports()), len(nat.reports()); n != 0 || m < 2 {
			t.Errorf("%d reports at the named port, %d behind the NAT", n, m)
		}
	}, func(c *Config) { c.LatchFrom = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} })
}
