package media

import (
	"net/netip"

	"github.com/pion/rtp"
)

const (
	keepSilence = 10 // frames of silence that are sent after the last sound: a gap of the network is none of the phone's
	keepAlive   = 50 // frames after which one packet keeps NATs open (RFC 6263) and tells the phone where we are
)

// way is how the packet of a tick is sent, and where to.
type way struct {
	terms *terms
	to    netip.AddrPort
	seal  *sealer
}

// sendFrame sends the packet of this tick, if there is one.
func (s *Session) sendFrame() {
	w, ok := s.next()
	if !ok {
		s.out.forget()
		return
	}
	if s.out.take(&s.pcm) {
		s.sendSound(w, &s.pcm)
	} else {
		s.sendSound(w, nil)
	}
}

// next is the way of this tick's packet; ok is false if nothing may be sent. The
// RTP clock goes on all the same.
func (s *Session) next() (w way, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w = way{s.terms, s.destination(), s.sealBy()}
	s.ts += frameTicks
	if !w.terms.sends() || !w.to.IsValid() {
		s.idle = keepAlive
		s.forgetDigits()
		return w, false
	}
	s.nextDigit(w.terms)
	return w, true
}

// sendSound sends a frame, nil if there is silence. While a digit is sent there
// is nothing else (RFC 4733 §2.6.1).
func (s *Session) sendSound(w way, pcm *[frameSamples]int16) {
	if s.press.on() {
		s.sendDigit(w)
		return
	}
	if s.enc.codec != w.terms.codec {
		s.enc.reset(w.terms.codec)
	}
	paused := s.idle > 0
	if pcm != nil {
		s.silent = 0
	} else {
		s.silent++
		if s.idle++; s.silent > keepSilence && s.idle < keepAlive {
			return
		}
		pcm = &silence
	}
	s.idle = 0
	if s.silent > keepSilence {
		s.idle = 1 // a packet that keeps alive does not end the pause
	}
	s.enc.encode(&s.payload, pcm)
	s.send(w, rtp.Header{Marker: s.silent == 0 && paused, PayloadType: w.terms.pt, Timestamp: s.ts}, s.payload[:])
}

// silence is read only.
var silence [frameSamples]int16

// send sends one packet.
func (s *Session) send(w way, h rtp.Header, payload []byte) {
	s.seq++
	h.Version, h.SequenceNumber, h.SSRC = 2, s.seq, s.ssrc
	n, err := h.MarshalTo(s.packet[:])
	if err != nil {
		return // cannot be: the header has no extensions
	}
	n += copy(s.packet[n:], payload)
	packet := s.packet[:n]
	if w.seal != nil {
		packet, err = w.seal.rtp(s.sealed[:0], packet, &s.header)
	}
	if err == nil {
		_, err = s.rtp.WriteToUDPAddrPort(packet, w.to)
	}

	s.mu.Lock()
	if err != nil {
		s.stats.SendErrors++
	} else {
		s.stats.Sent++
		s.octets += uint32(len(payload))
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
