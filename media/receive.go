package media

import (
	"net/netip"
	"time"

	"sipxrest/internal/boundary"

	"github.com/pion/rtp"
)

const (
	maxPacket = 1500            // bytes
	relock    = 3 * time.Second // the latched source must have been silent before another takes its place

	digitShadow = 100 * time.Millisecond // behind a digit, that a stepped session leaves out
)

// readRTP is a goroutine of its own: the socket's reader.
func (s *Session) readRTP() {
	buf := make([]byte, maxPacket+1)
	var p rtp.Packet
	for {
		n, from, err := s.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if s.over(err) {
				return
			}
			continue
		}
		boundary.Try(s.ports.cfg.Log, "a packet of RTP", func() { s.receive(&p, buf[:n], unmapped(from), time.Now()) })
	}
}

// over reports whether a reader has to end. Other errors are of single packets,
// such as an ICMP message; a pause keeps an endless series of them from being
// expensive.
func (s *Session) over(err error) bool {
	select {
	case <-s.done:
		return true
	default:
	}
	s.ports.cfg.Log.Debug("RTP socket", "port", s.port, "err", err)
	select {
	case <-s.done:
		return true
	case <-time.After(frameTime):
		return false
	}
}

// receive deals with one datagram. p is memory that it may use.
func (s *Session) receive(p *rtp.Packet, b []byte, from netip.AddrPort, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.terms
	if t == nil || !t.receives() || len(b) > maxPacket {
		s.stats.Ignored++
		return
	}
	if s.rx != nil || s.before != nil { // what the header says is not secret, but not yet true
		if _, err := p.Header.Unmarshal(b); err != nil || p.Version != 2 || p.SSRC == s.ssrc {
			s.stats.Ignored++
			return
		}
		if from != s.source && !s.may(from, now) {
			s.stats.Foreign++
			return
		}
		if b = s.decrypt(b, &p.Header, now); b == nil {
			s.stats.Forged++
			return
		}
	}
	if p.Unmarshal(b) != nil || p.Version != 2 || p.SSRC == s.ssrc {
		s.stats.Ignored++
		return
	}
	c := t.codecs[p.PayloadType]
	event := int(p.PayloadType) == t.event
	if c != none && len(p.Payload) == 0 {
		c = none // keeps something alive
	}
	if int(p.PayloadType) == t.noise && (from == s.source || s.may(from, now)) {
		s.lives(now)
	}
	if !s.counts(p, from, c != none || event, now) {
		return
	}
	if !s.jitter.push(p.SequenceNumber, p.Timestamp, c, p.Payload, now) {
		return
	}
	s.peer.count(p.SequenceNumber)
	s.stats.Received++
	switch {
	case c != none:
		s.peer.arrived(p.Timestamp, now.Sub(s.begin))
		s.jitter.aim(int(s.peer.jitter))
		s.playing = true
	case event:
		s.digits.push(p.Timestamp, p.Payload)
		s.deaf = now.Add(digitShadow + ticks(s.jitter.target)) // what came beside it is still to be played
	default: // comfort noise, say: its place in the sequence is not a loss
		s.stats.Ignored++
		return
	}
	s.heard = now
	s.lives(now)
}

// lives notes a sign of life.
func (s *Session) lives(now time.Time) { s.alive, s.quiet = now, false }

// counts reports whether a packet belongs to the stream, and latches on its
// source if that is what it takes. fits: its payload type was agreed on.
func (s *Session) counts(p *rtp.Packet, from netip.AddrPort, fits bool, now time.Time) bool {
	if from != s.source {
		if !s.may(from, now) {
			s.stats.Foreign++
			return false
		}
		if !fits {
			s.stats.Ignored++
			return false
		}
		s.ports.cfg.Log.Debug("RTP comes from", "port", s.port, "source", from, "named", s.named)
		s.source, s.exact = from, from == s.named
		s.control = netip.AddrPort{}
		s.stream(p)
		return true
	}
	if p.SSRC == s.peer.ssrc {
		return true
	}
	if fits && p.SSRC == s.nextSSRC && p.SequenceNumber == s.nextSeq {
		s.stream(p)
		return true
	}
	s.nextSSRC, s.nextSeq = p.SSRC, p.SequenceNumber+1
	s.stats.Ignored++
	return false
}

// may reports whether a source may be latched on now.
func (s *Session) may(from netip.AddrPort, now time.Time) bool {
	a := from.Addr()
	if a != s.named.Addr() && (!s.opt.Signaling.IsValid() || a != s.opt.Signaling) && !contains(s.ports.cfg.LatchFrom, a) {
		return false
	}
	if s.source.IsValid() && now.Sub(s.heard) < relock && (s.exact || from != s.named) {
		return false
	}
	return from == s.named || s.ports.refused(from) == ""
}

// stream begins the peer's stream anew with p.
func (s *Session) stream(p *rtp.Packet) {
	s.peer = reception{ssrc: p.SSRC, jitter: s.peer.jitter}
	s.nextSSRC, s.nextSeq = 0, 0
	s.jitter.reset(p.SequenceNumber)
	s.digits.reset()
}

// unlatch waits for the first packet of the address that is named now.
func (s *Session) unlatch() {
	s.source, s.control, s.exact = netip.AddrPort{}, netip.AddrPort{}, false
}
