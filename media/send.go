package media

import (
	"net/netip"

	"github.com/pion/rtp"
)

const (
	keepSilence = 10 // frames of silence that are sent after the last sound: a gap of the network is none of the phone's
	keepAlive   = 50 // frames after which one packet keeps NATs open (RFC 6263) and tells the phone where we are
)

// sendFrame sends the packet of this tick, if there is one. The RTP clock goes on all the same.
func (s *Session) sendFrame() {
	s.mu.Lock()
	t := s.terms
	to := s.destination()
	s.mu.Unlock()

	s.ts += frameTicks
	if !t.sends() || !to.IsValid() {
		s.out.forget()
		s.idle = keepAlive
		return
	}
	if s.enc.codec != t.codec {
		s.enc.reset(t.codec)
	}
	sound := s.out.take(&s.pcm)
	paused := s.idle > 0
	if sound {
		s.silent = 0
	} else {
		s.silent++
		if s.idle++; s.silent > keepSilence && s.idle < keepAlive {
			return
		}
		clear(s.pcm[:])
	}
	s.idle = 0
	if s.silent > keepSilence {
		s.idle = 1 // a packet that keeps alive does not end the pause
	}
	s.enc.encode(&s.payload, &s.pcm)
	s.seq++
	n, err := rtp.Header{
		Version: 2, Marker: sound && paused, PayloadType: t.pt,
		SequenceNumber: s.seq, Timestamp: s.ts, SSRC: s.ssrc,
	}.MarshalTo(s.packet[:])
	if err != nil {
		return // cannot be: the header has no extensions
	}
	n += copy(s.packet[n:], s.payload[:])
	_, err = s.rtp.WriteToUDPAddrPort(s.packet[:n], to)

	s.mu.Lock()
	if err != nil {
		s.stats.SendErrors++
	} else {
		s.stats.Sent++
		s.octets += frameTicks
	}
	s.mu.Unlock()
}

// destination is where RTP goes: to the latched source, or else to the named
// address; nowhere while the peer holds by c=0.0.0.0. The caller holds s.mu.
func (s *Session) destination() netip.AddrPort {
	switch {
	case s.terms == nil || !s.terms.addr.IsValid():
		return netip.AddrPort{}
	case s.source.IsValid():
		return s.source
	}
	return s.terms.addr
}
