package media

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"time"

	"sipxrest/internal/boundary"

	"github.com/pion/rtcp"
)

// reception is what RFC 3550 A.3 and A.8 want to know of a stream.
type reception struct {
	ssrc     uint32
	begun    bool
	base     uint32 // first extended sequence number
	max      uint32 // highest
	received uint32

	expectedBefore, receivedBefore uint32 // at the last report

	timed   bool
	transit int64   // of the last packet, ticks
	jitter  float64 // ticks

	sr   uint32    // middle of the last sender report's NTP time
	srAt time.Time // when it came
}

func (r *reception) count(seq uint16) {
	switch d := int16(seq - uint16(r.max)); {
	case !r.begun || d >= maxDropout || d < -maxMisorder: // the peer has begun, maybe anew
		r.begun, r.base, r.max, r.received = true, uint32(seq), uint32(seq), 0
		r.expectedBefore, r.receivedBefore = 0, 0
	case d > 0:
		r.max += uint32(d)
	}
	r.received++
}

// arrived updates the jitter (RFC 3550 A.8).
func (r *reception) arrived(ts uint32, at time.Duration) {
	transit := int64(at/time.Microsecond)*clockRate/1e6 - int64(ts)
	if d := transit - r.transit; r.timed && d > -clockRate && d < clockRate { // else the clock jumped
		r.jitter += (float64(max(d, -d)) - r.jitter) / 16
	}
	r.timed, r.transit = true, transit
}

// report is the block about the stream, and begins the next interval.
func (r *reception) report(now time.Time) []rtcp.ReceptionReport {
	if !r.begun {
		return nil
	}
	expected := r.max - r.base + 1
	lost := int64(expected) - int64(r.received)
	interval, got := expected-r.expectedBefore, r.received-r.receivedBefore
	r.expectedBefore, r.receivedBefore = expected, r.received
	var fraction uint8
	if interval > got {
		fraction = uint8(min(256*uint64(interval-got)/uint64(interval), 255))
	}
	b := rtcp.ReceptionReport{
		SSRC: r.ssrc, FractionLost: fraction, TotalLost: uint32(min(max(lost, 0), 0x7fffff)),
		LastSequenceNumber: r.max, Jitter: uint32(r.jitter), LastSenderReport: r.sr,
	}
	if !r.srAt.IsZero() {
		b.Delay = uint32(now.Sub(r.srAt) * 65536 / time.Second)
	}
	return []rtcp.ReceptionReport{b}
}

// reportAfter is 5 s, randomized as RFC 3550 §6.2 wants it.
func reportAfter() time.Duration { return 2500*time.Millisecond + rand.N(5*time.Second) }

// cname is random, as RFC 7022 §4.2 wants it: it tells nothing about us.
func cname() string {
	var b [12]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return hex.EncodeToString(b[:])
}

// sendReport sends a sender report, or a receiver report if nothing was sent
// since the last one. It belongs to the clock.
func (s *Session) sendReport(now time.Time) {
	s.mu.Lock()
	to, seal := s.controlAddr(), s.sealBy()
	sent, octets := s.stats.Sent-s.sentBefore, s.octets
	blocks := s.peer.report(now)
	s.mu.Unlock()
	var first rtcp.Packet = &rtcp.ReceiverReport{SSRC: s.ssrc, Reports: blocks}
	if sent != s.reported {
		s.reported = sent
		first = &rtcp.SenderReport{
			SSRC: s.ssrc, NTPTime: ntp(now), RTPTime: s.ts,
			PacketCount: uint32(sent), OctetCount: octets, Reports: blocks,
		}
	}
	s.sendRTCP(to, seal, s.ssrc, first)
}

// bye says that the stream has ended. The clock has, too.
func (s *Session) bye() {
	s.mu.Lock()
	to, ssrc := s.controlAddr(), s.ssrc
	var seal *sealer
	if s.mine != nil {
		seal = s.mine.seal
	}
	s.mu.Unlock()
	s.sendRTCP(to, seal, ssrc, &rtcp.ReceiverReport{SSRC: ssrc}, &rtcp.Goodbye{Sources: []uint32{ssrc}})
}

// sendRTCP sends a compound packet, with the CNAME behind the report.
func (s *Session) sendRTCP(to netip.AddrPort, seal *sealer, ssrc uint32, report rtcp.Packet, more ...rtcp.Packet) {
	if !to.IsValid() {
		return
	}
	all := append([]rtcp.Packet{report, rtcp.NewCNAMESourceDescription(ssrc, s.cname)}, more...)
	b, err := rtcp.Marshal(all)
	if err == nil && seal != nil {
		b, err = seal.rtcp(b)
	}
	if err != nil {
		s.ports.cfg.Log.Debug("RTCP report", "port", s.port, "err", err)
		return
	}
	_, _ = s.rtcp.WriteToUDPAddrPort(b, to) // the next report says the same
}

// controlAddr is where RTCP goes: where the peer's comes from, or the port it
// named. While held by c=0.0.0.0 it goes nowhere before the peer's has come. The caller holds s.mu.
func (s *Session) controlAddr() netip.AddrPort {
	switch {
	case s.control.IsValid():
		return s.control
	case s.terms == nil || !s.terms.addr.IsValid():
		return netip.AddrPort{}
	case s.source.IsValid() && s.source != s.named: // behind a NAT: its RTCP port is known when it speaks
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(s.terms.addr.Addr(), s.terms.rtcp)
}

// readRTCP is a goroutine of its own.
func (s *Session) readRTCP() {
	buf := make([]byte, maxPacket+1)
	for {
		n, from, err := s.rtcp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if s.over(err) {
				return
			}
			continue
		}
		boundary.Try(s.ports.cfg.Log, "a packet of RTCP", func() { s.receiveRTCP(buf[:n], unmapped(from), time.Now()) })
	}
}

func (s *Session) receiveRTCP(b []byte, from netip.AddrPort, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rtpFrom := s.source
	if !rtpFrom.IsValid() {
		rtpFrom = s.named
	}
	if s.terms == nil || from.Addr() != rtpFrom.Addr() || len(b) > maxPacket {
		s.stats.Foreign++
		return
	}
	if b = s.decryptRTCP(b, now); b == nil {
		s.stats.Forged++
		return
	}
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		s.stats.Ignored++
		return
	}
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			if s.peer.begun && p.SSRC != s.peer.ssrc {
				continue
			}
			s.control = from
			s.lives(now)
			s.peer.sr, s.peer.srAt = uint32(p.NTPTime>>16), now
			s.told(p.Reports, now)
		case *rtcp.ReceiverReport:
			if s.peer.begun && p.SSRC != s.peer.ssrc {
				continue
			}
			s.control = from
			s.lives(now)
			s.told(p.Reports, now)
		}
	}
}

// told reads what the peer says about our stream (RFC 3550 §6.4.1).
func (s *Session) told(reports []rtcp.ReceptionReport, now time.Time) {
	for _, r := range reports {
		if r.SSRC != s.ssrc {
			continue
		}
		s.stats.RemoteLost = float64(r.FractionLost) / 256
		if r.LastSenderReport == 0 {
			continue
		}
		if d := int32(uint32(ntp(now)>>16) - r.LastSenderReport - r.Delay); d >= 0 {
			s.stats.RoundTrip = time.Duration(d) * time.Second / 65536
		}
	}
}

// ntp is a time as seconds since 1900, in 1/2^32 (RFC 3550 §4).
func ntp(t time.Time) uint64 {
	const since1900 = 2208988800
	return uint64(t.Unix()+since1900)<<32 | uint64(t.Nanosecond())<<32/1e9
}
