package sfu

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"sipxrest/media"
)

const (
	levelURI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level" // RFC 6464
	// switchTime is for how long a stream must be silent until another one is
	// taken in its place.
	switchTime  = 200 * time.Millisecond
	reportEvery = 5 * time.Second // of RTCP, RFC 3550 §6.2
)

// Subscription is a connection that hears somebody. It is a mix.Source.
type Subscription struct {
	conn
	player *media.Player
	types  [128]media.Codec // by payload type
	level  uint8            // the extension's id, 0: none

	// Owned by pion's reader.
	send     func([]rtcp.Packet) error
	header   rtp.Header
	reported time.Time
	highest  uint32 // sequence number, with its cycles
	expected uint64 // at the last report
	received uint64

	ssrc        atomic.Uint32
	first, last atomic.Int64 // when the packets came, UnixNano
}

// SubscriptionStats are those of what was heard.
type SubscriptionStats struct {
	media.PlayerStats
	First time.Time // the first packet came; zero: none did
	Last  time.Time // the last one
}

// Subscribe makes a connection that hears whoever sent the offer, and returns
// its answer, which has all candidates. With Servers this may take a second.
// ErrCodec: the offer has none of our codecs.
func (s *SFU) Subscribe(text string, events Events) (*Subscription, string, error) {
	offer, audio, err := readOffer(text)
	if err != nil {
		return nil, "", fmt.Errorf("subscribe: %w", err)
	}
	sub := &Subscription{player: media.NewPlayer(media.PlayerConfig{Log: s.log})}
	sub.events, sub.rtp = events, sub.take
	engine := &webrtc.MediaEngine{}
	for _, c := range codecs {
		if err := engine.RegisterCodec(c.params, webrtc.RTPCodecTypeAudio); err != nil {
			return nil, "", fmt.Errorf("subscribe: %w", err)
		}
	}
	if err := engine.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: levelURI}, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, "", fmt.Errorf("subscribe: %w", err)
	}
	if err := sub.open(s, engine, &interceptor.Registry{}); err != nil {
		return nil, "", fmt.Errorf("subscribe: %w", err)
	}
	sub.send = sub.pc.WriteRTCP
	answer, err := sub.answer(offer, audio)
	if err != nil {
		sub.close()
		return nil, "", fmt.Errorf("subscribe: %w", err)
	}
	return sub, answer, nil
}

func (s *Subscription) answer(o *offer, audio string) (string, error) {
	if err := s.remote(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: audio}); err != nil {
		return "", err
	}
	var answer webrtc.SessionDescription
	err := guarded(func() (err error) {
		answer, err = s.pc.CreateAnswer(nil)
		return err
	})
	if err != nil {
		return "", err
	}
	s.types, s.level = o.types, levelID(answer.SDP) // before packets can come
	text, err := s.gather(answer)
	if err != nil {
		return "", err
	}
	return o.answer(text)
}

// levelID finds the extension in our answer, 0 for none.
func levelID(answer string) uint8 {
	d := &sdp.SessionDescription{}
	if d.UnmarshalString(answer) != nil {
		return 0
	}
	for _, m := range d.MediaDescriptions {
		for _, a := range m.Attributes {
			id, what, _ := strings.Cut(a.Value, " ")
			id, _, _ = strings.Cut(id, "/")
			uri, _, _ := strings.Cut(what, " ")
			if n, err := strconv.ParseUint(id, 10, 8); err == nil && a.Key == "extmap" && uri == levelURI {
				return uint8(n)
			}
		}
	}
	return 0
}

// take takes a packet of RTP.
func (s *Subscription) take(packet []byte) {
	n, err := s.header.Unmarshal(packet)
	if err != nil {
		return
	}
	payload := packet[n:]
	if s.header.Padding && len(payload) > 0 {
		pad := int(payload[len(payload)-1])
		if pad == 0 || pad > len(payload) {
			return
		}
		payload = payload[:len(payload)-pad]
	}
	codec := s.types[s.header.PayloadType&0x7f]
	if codec == media.Codec(0) {
		return
	}
	now := time.Now()
	if s.ssrc.Load() != s.header.SSRC || s.first.Load() == 0 {
		if s.first.Load() != 0 && now.UnixNano()-s.last.Load() < int64(switchTime) {
			return // two streams at a time would be torn to pieces
		}
		s.ssrc.Store(s.header.SSRC)
		s.highest, s.expected, s.received, s.reported = uint32(s.header.SequenceNumber)-1, 0, 0, now
	}
	s.first.CompareAndSwap(0, now.UnixNano())
	s.last.Store(now.UnixNano())
	level := -1
	if s.level != 0 {
		if e := s.header.GetExtension(s.level); len(e) > 0 {
			level = int(e[0] & 0x7f)
		}
	}
	s.player.Push(s.header.SequenceNumber, s.header.Timestamp, codec, payload, level, now)
	s.report(now, codec)
}

// report tells the media server every 5 s what came (RFC 3550 §6.4.2).
func (s *Subscription) report(now time.Time, codec media.Codec) {
	s.received++
	if d := int16(s.header.SequenceNumber - uint16(s.highest)); d > 0 {
		s.highest += uint32(d)
		s.expected += uint64(d)
	}
	if now.Sub(s.reported) < reportEvery {
		return
	}
	fraction := uint8(0)
	if s.expected > s.received {
		fraction = uint8(min((s.expected-s.received)*256/s.expected, 255))
	}
	stats, clock := s.player.Stats(), 8000.0
	if codec == media.Opus {
		clock = 48000
	}
	_ = s.send([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: s.header.SSRC,
		FractionLost: fraction, TotalLost: uint32(min(stats.Lost, 1<<23-1)), LastSequenceNumber: s.highest,
		Jitter: uint32(stats.Jitter.Seconds() * clock)}}}})
	s.expected, s.received, s.reported = 0, 0, now
}

// Candidate takes a candidate of the peer.
func (s *Subscription) Candidate(c Candidate) error { return s.candidate(c) }

// Pull decodes the next 20 ms. It reports whether out is sound; else it is
// silence.
func (s *Subscription) Pull(now time.Time, out *[320]int16) bool { return s.player.Pull(now, out) }

// Skip lets 20 ms pass by that nobody hears: nothing is decoded.
func (s *Subscription) Skip(now time.Time) { s.player.Skip(now) }

// Level returns how loud it was in the last 200 ms, in -dBov.
func (s *Subscription) Level() int { return s.player.Level() }

// Close ends the connection. It returns at once; [SFU.Close] waits for the end.
func (s *Subscription) Close() { s.close() }

// Stats may be called at any time.
func (s *Subscription) Stats() SubscriptionStats {
	at := func(nano int64) time.Time {
		if nano == 0 {
			return time.Time{}
		}
		return time.Unix(0, nano)
	}
	return SubscriptionStats{PlayerStats: s.player.Stats(), First: at(s.first.Load()), Last: at(s.last.Load())}
}
