package sfu

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"sipxrest/media"
)

// codecs are those that media servers may send, and all but the first what may
// be published.
var codecs = []struct {
	codec  media.Codec
	params webrtc.RTPCodecParameters
}{
	{media.Opus, webrtc.RTPCodecParameters{PayloadType: 111, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1"}}},
	{media.G722, webrtc.RTPCodecParameters{PayloadType: 9, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeG722, ClockRate: 8000}}},
	{media.PCMU, webrtc.RTPCodecParameters{PayloadType: 0, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypePCMU, ClockRate: 8000}}},
	{media.PCMA, webrtc.RTPCodecParameters{PayloadType: 8, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypePCMA, ClockRate: 8000}}},
}

// frameTicks is 20 ms of the RTP clock of all that is published.
const frameTicks = 160

// Publisher is a connection that sends audio.
type Publisher struct {
	conn
	track track

	// Owned by the goroutine that calls Write.
	encoder *media.Encoder
	header  rtp.Header
	payload []byte

	sent, lost atomic.Uint64
}

// PublisherStats counts what was sent, since the publisher was made.
type PublisherStats struct {
	Sent uint64 // packets
	Lost uint64 // of those, on their way to the media server, as it says
}

// Publish makes a connection that sends audio in one codec, and its offer, which
// has all candidates. With Servers this may take a second.
func (s *SFU) Publish(codec media.Codec, events Events) (*Publisher, string, error) {
	p := &Publisher{payload: make([]byte, 0, frameTicks),
		header: rtp.Header{Version: 2, Marker: true, SequenceNumber: uint16(rand.Uint32()), Timestamp: rand.Uint32()}}
	p.events, p.rtcp = events, p.report
	engine := &webrtc.MediaEngine{}
	for _, c := range codecs[1:] {
		if c.codec == codec {
			p.track.params = c.params
			if err := engine.RegisterCodec(c.params, webrtc.RTPCodecTypeAudio); err != nil {
				return nil, "", fmt.Errorf("publish: %w", err)
			}
		}
	}
	if p.track.params.ClockRate == 0 {
		return nil, "", fmt.Errorf("publish: %v cannot be encoded", codec)
	}
	p.encoder = media.NewEncoder(codec)
	reports := &interceptor.Registry{}
	sender, err := report.NewSenderInterceptor(report.WithSenderLoggerFactory(s.settings.LoggerFactory))
	if err != nil {
		return nil, "", fmt.Errorf("publish: %w", err)
	}
	reports.Add(sender)
	if err := p.open(s, engine, reports); err != nil {
		return nil, "", fmt.Errorf("publish: %w", err)
	}
	offer, err := p.offer()
	if err != nil {
		p.close()
		return nil, "", fmt.Errorf("publish: %w", err)
	}
	return p, offer, nil
}

func (p *Publisher) offer() (string, error) {
	if _, err := p.pc.AddTransceiverFromTrack(&p.track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		return "", err
	}
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	return p.gather(offer)
}

// Answer takes the answer to the offer. It returns ErrCodec if audio would not
// get through: there is no sense in trying again then.
func (p *Publisher) Answer(sdp string) error {
	text, err := readAnswer(sdp)
	if err == nil {
		err = p.remote(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: text})
	}
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// Candidate takes a candidate of the peer. It may come before the answer.
func (p *Publisher) Candidate(c Candidate) error { return p.candidate(c) }

// Write sends a frame of 20 ms. Until the connection is there it is lost. Only
// one goroutine calls it.
func (p *Publisher) Write(pcm *[320]int16) {
	out := p.track.out.Load()
	p.header.SequenceNumber++
	p.header.Timestamp += frameTicks
	if out == nil {
		return
	}
	p.payload = p.encoder.Encode(p.payload[:0], pcm)
	p.header.SSRC, p.header.PayloadType = out.ssrc, out.payloadType
	if _, err := out.stream.WriteRTP(&p.header, p.payload); err == nil {
		p.header.Marker = false
		p.sent.Add(1)
	}
}

// report takes RTCP of the media server.
func (p *Publisher) report(packet []byte) {
	out := p.track.out.Load()
	if out == nil {
		return
	}
	packets, err := rtcp.Unmarshal(packet)
	if err != nil {
		return
	}
	for _, packet := range packets {
		var reports []rtcp.ReceptionReport
		switch r := packet.(type) {
		case *rtcp.ReceiverReport:
			reports = r.Reports
		case *rtcp.SenderReport:
			reports = r.Reports
		}
		for _, r := range reports {
			if r.SSRC == out.ssrc && r.TotalLost < 1<<23 { // below 0 with copies, as 24 bits
				p.lost.Store(uint64(r.TotalLost))
			}
		}
	}
}

// Stats may be called at any time.
func (p *Publisher) Stats() PublisherStats {
	return PublisherStats{Sent: p.sent.Load(), Lost: p.lost.Load()}
}

// Close ends the connection. It returns at once; [SFU.Close] waits for the end.
func (p *Publisher) Close() { p.close() }

// track is pion's view of what is published. That of pion allocates for each
// packet.
type track struct {
	params webrtc.RTPCodecParameters
	out    atomic.Pointer[outlet]
}

// outlet is where the packets of a connection go.
type outlet struct {
	ssrc        uint32
	payloadType uint8
	stream      webrtc.TrackLocalWriter
}

func (t *track) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, params := range c.CodecParameters() {
		if params.MimeType == t.params.MimeType {
			t.out.Store(&outlet{uint32(c.SSRC()), uint8(params.PayloadType), c.WriteStream()})
			return params, nil
		}
	}
	return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
}

func (t *track) Unbind(webrtc.TrackLocalContext) error {
	t.out.Store(nil)
	return nil
}

func (t *track) ID() string                { return "audio" }
func (t *track) RID() string               { return "" }
func (t *track) StreamID() string          { return "phones" }
func (t *track) Kind() webrtc.RTPCodecType { return webrtc.RTPCodecTypeAudio }

var _ webrtc.TrackLocal = (*track)(nil)
