package media

import (
	"bytes"
	"errors"
	"slices"
	"time"
)

// Offer makes our offer: every codec, telephone-event, sendrecv; with
// [SRTPRequired] a key for every crypto suite. In a dialog
// that has media already it keeps the number of m= lines and the payload types
// (RFC 3264 §8). It changes nothing until [Session.Accept].
func (s *Session) Offer() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, ours := []line{{media: "audio", proto: "RTP/AVP"}}, 0
	if s.opt.Security == SRTPRequired || s.secured {
		lines[0].proto = "RTP/SAVP"
	}
	event := uint8(101)
	var formats []format
	if t := s.terms; t != nil {
		lines, ours = slices.Clone(s.lines), t.line
		lines[ours].proto = t.proto
		if t.event >= 0 {
			event = uint8(t.event)
		}
		for _, pt := range t.listed { // what is in use stays in use
			formats = append(formats, format{pt, t.codecs[pt].String()})
		}
	}
	for _, k := range known {
		if !slices.ContainsFunc(formats, func(f format) bool { return f.pt == k.pt || f.name == k.name }) {
			formats = append(formats, format{k.pt, k.name})
		}
	}
	for taken := true; taken; { // 101 may be a codec of the peer's
		if taken = slices.ContainsFunc(formats, func(f format) bool { return f.pt == event }); taken {
			event = 96 + (event-95)%32
		}
	}
	formats = append(formats, format{event, telephoneEvent})
	s.offered, s.offeredLines, s.offeredLine, s.offeredKeys = formats, lines, ours, nil
	if s.mine != nil || lines[ours].proto == "RTP/SAVP" {
		s.offeredKeys = s.offerKeys()
	}
	return s.versioned(lines, ours, formats, "sendrecv", s.offeredKeys)
}

// Expect takes a description that the phone gave somebody else before, of the same
// call: if it wants SRTP, our first offer is RTP/SAVP.
func (s *Session) Expect(description []byte) {
	lines, err := readLines(description)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lines {
		if l.media == "audio" && l.port != 0 {
			s.secured = l.proto == "RTP/SAVP" && s.opt.Security != SRTPOff
			return
		}
	}
}

// Accept takes the peer's answer to the last [Session.Offer], and makes it so.
// It may come more than once: in a 183, in the 200. An answer that we cannot
// use is a [*Refusal], and leaves everything as it was.
func (s *Session) Accept(answer []byte) error {
	lines, err := readLines(answer)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offered == nil {
		return errors.New("media: Accept without an Offer")
	}
	if len(lines) != len(s.offeredLines) {
		return malformed("%d m= lines answer %d", len(lines), len(s.offeredLines))
	}
	t, err := s.agreement(lines[s.offeredLine], true)
	if err != nil {
		return err
	}
	t.listed = slices.DeleteFunc(t.listed, func(pt uint8) bool {
		if slices.Contains(s.offered, format{pt, t.codecs[pt].String()}) {
			return false
		}
		t.codecs[pt] = none
		return true
	})
	if len(t.listed) == 0 {
		return unacceptable("the answer has no codec that was offered")
	}
	t.pt, t.codec = t.listed[0], t.codecs[t.listed[0]]
	if !slices.Contains(s.offered, format{uint8(max(t.event, 0)), telephoneEvent}) {
		t.event = -1
	}
	t.line = s.offeredLine
	var mine *sdes
	if t.crypto != nil {
		mine = answered(s.offeredKeys, t.crypto)
	}
	return s.apply(t, s.offeredLines, mine)
}

// Answer answers the peer's offer (RFC 3264 §6) and makes it so: the first
// codec of the offer that we speak, in the offer's own order; its direction
// mirrored; every other m= line refused by port 0. An offer that we cannot use
// is a [*Refusal], which leaves everything as it was.
func (s *Session) Answer(offer []byte) ([]byte, error) {
	lines, err := readLines(offer)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(lines) < len(s.lines) {
		return nil, malformed("%d m= lines where there were %d before", len(lines), len(s.lines))
	}
	var t *terms
	for i, l := range lines {
		found, why := s.agreement(l, false)
		if why == nil {
			if t == nil || t.crypto == nil && found.crypto != nil { // of two ways the one that is encrypted
				t = found
				t.line = i
			}
			continue
		}
		if err == nil || l.media == "audio" {
			err = why // of the last audio line, rather than "no audio line"
		}
	}
	if t == nil {
		return nil, err
	}
	t.listed = t.listed[:1] // one answer, so that the peer does not switch
	t.codecs = [128]Codec{}
	t.codecs[t.pt] = t.codec
	formats := []format{{t.pt, t.codec.String()}}
	if t.event >= 0 {
		formats = append(formats, format{uint8(t.event), telephoneEvent})
	}
	var mine *sdes
	var keys []*sdes
	if t.crypto != nil {
		if s.mine != nil && s.terms.crypto.same(t.crypto) {
			mine = s.mine.tagged(t.crypto.tag)
		} else { // a new key for a new key: maybe it is another phone's (RFC 4568 §7.1.4)
			mine = newKey(t.crypto.tag, t.crypto.suite)
		}
		keys = []*sdes{mine}
	}
	if err := s.apply(t, lines, mine); err != nil {
		return nil, err
	}
	s.offered = nil
	return s.versioned(lines, t.line, formats, t.direction, keys), nil
}

// versioned raises the version of o= by one if the description differs from
// the last one that we made, as RFC 3264 §8 wants it.
func (s *Session) versioned(lines []line, ours int, formats []format, direction string, keys []*sdes) []byte {
	if b := s.write(s.version, lines, ours, formats, direction, keys); bytes.Equal(b, s.described) {
		return b
	}
	s.version++
	s.described = s.write(s.version, lines, ours, formats, direction, keys)
	return slices.Clone(s.described)
}

// apply makes terms those of the session, with the key by which we encrypt.
func (s *Session) apply(t *terms, lines []line, mine *sdes) error {
	now := time.Now()
	if err := s.secure(t, mine, now); err != nil {
		return err
	}
	was := s.terms
	s.terms = t
	s.lines = make([]line, len(lines)) // of which only these are asked for again
	for i, l := range lines {
		s.lines[i] = line{media: l.media, proto: l.proto, formats: l.formats}
	}
	if t.addr.IsValid() && t.addr != s.named {
		s.named = t.addr
		s.unlatch()
	}
	if was == nil || !was.receives() {
		s.heard = now
		s.lives(now) // NoMedia counts from here
	}
	s.start()
	return nil
}
