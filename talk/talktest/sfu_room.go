package talktest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// sfuPublisher is a room of Janus: somebody publishes, others hear him.
type sfuPublisher struct {
	up    *running
	pc    *webrtc.PeerConnection // nil for Play
	end   func()                 // of Play
	codec string
	video bool

	mu        sync.Mutex
	listeners map[*sfuSubscriber]bool
}

// Publish makes a room.
func (s *SFU) Publish(offer, codec string, trickle func(Candidate)) (MCUPublisher, string, error) {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	if up == nil {
		return nil, "", errDown
	}
	if codec == "" {
		codec = "opus"
	}
	if _, ok := sfuCodecs[codec]; !ok {
		return nil, "", fmt.Errorf("no such audio codec: %q", codec)
	}
	d := &sdp.SessionDescription{}
	if err := d.UnmarshalString(offer); err != nil {
		return nil, "", err
	}
	offered := audioCodecs(d)
	if len(offered) == 0 {
		return nil, "", errors.New("the offer has no audio")
	}
	has := slices.Contains(offered, codec)
	answerWith := codec
	if !has {
		answerWith = offered[0]
	}
	pc, err := up.peer(trickle, answerWith)
	if err != nil {
		return nil, "", err
	}
	p := &sfuPublisher{up: up, pc: pc, codec: codec, listeners: map[*sfuSubscriber]bool{},
		video: strings.Contains(offer, "\nm=video ")}
	if has {
		pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { p.forward(t) })
	}
	answer, err := describe(pc, audioOf(offer))
	if err != nil {
		p.Close()
		return nil, "", err
	}
	if !has {
		answer = strings.Replace(answer, "a=recvonly", "a=inactive", 1)
	}
	return p, answer, nil
}

// describe answers an offer, without candidates.
func describe(pc *webrtc.PeerConnection, offer string) (string, error) {
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	return answer.SDP, pc.SetLocalDescription(answer)
}

// audioCodecs are the known codecs of the audio in a description.
func audioCodecs(d *sdp.SessionDescription) []string {
	var names []string
	for _, m := range d.MediaDescriptions {
		if m.MediaName.Media != "audio" {
			continue
		}
		for _, a := range m.Attributes {
			_, what, _ := strings.Cut(a.Value, " ")
			name, _, _ := strings.Cut(strings.ToLower(what), "/")
			if _, ok := sfuCodecs[name]; ok && a.Key == "rtpmap" {
				names = append(names, name)
			}
		}
	}
	return names
}

// forward gives what is published to all who hear it.
func (p *sfuPublisher) forward(t *webrtc.TrackRemote) {
	for {
		packet, _, err := t.ReadRTP()
		if err != nil {
			return
		}
		p.mu.Lock()
		for l := range p.listeners {
			_ = l.track.WriteRTP(packet)
		}
		p.mu.Unlock()
	}
}

// Play makes a room in which somebody says a sound, without a connection to him,
// until its Close.
func (s *SFU) Play(sound Sound) MCUPublisher {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	done := make(chan struct{})
	p := &sfuPublisher{up: up, codec: "opus", listeners: map[*sfuSubscriber]bool{}, end: sync.OnceFunc(func() { close(done) })}
	s.wg.Go(func() {
		sound.speak(done, func(packet *rtp.Packet) {
			p.mu.Lock()
			defer p.mu.Unlock()
			for l := range p.listeners {
				_ = l.track.WriteRTP(packet)
			}
		})
	})
	return p
}

// Candidate takes one of the publisher's.
func (p *sfuPublisher) Candidate(c Candidate) error { return give(p.pc, c) }

// Connected reports whether the publisher may be connected: his side of DTLS is
// there a moment before ours.
func (p *sfuPublisher) Connected() bool {
	s := p.pc.ICEConnectionState()
	return s == webrtc.ICEConnectionStateConnected || s == webrtc.ICEConnectionStateCompleted
}

// Lost reports whether the media server has ended since.
func (p *sfuPublisher) Lost() bool { return p.up.ended.Load() }

// Close ends the room.
func (p *sfuPublisher) Close() {
	p.mu.Lock()
	listeners := p.listeners
	p.listeners = nil
	p.mu.Unlock()
	for l := range listeners {
		p.up.close(l.pc)
	}
	if p.pc == nil {
		p.end()
		return
	}
	p.up.close(p.pc)
}

func give(pc *webrtc.PeerConnection, c Candidate) error {
	return pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: c.Candidate, SDPMid: &c.SDPMid, SDPMLineIndex: &c.SDPMLineIndex})
}

// sfuSubscriber hears a publisher.
type sfuSubscriber struct {
	of    *sfuPublisher
	pc    *webrtc.PeerConnection
	track *webrtc.TrackLocalStaticRTP
	extra int // m= lines behind the audio
}

// Subscribe offers what is published.
func (p *sfuPublisher) Subscribe(trickle func(Candidate)) (MCUSubscriber, string, error) {
	if p.Lost() {
		return nil, "", errDown
	}
	pc, err := p.up.peer(trickle, p.codec)
	if err != nil {
		return nil, "", err
	}
	s := &sfuSubscriber{of: p, pc: pc}
	offer, err := s.offer()
	if err != nil {
		p.up.close(pc)
		return nil, "", err
	}
	return s, offer, nil
}

func (s *sfuSubscriber) offer() (string, error) {
	var err error
	if s.track, err = webrtc.NewTrackLocalStaticRTP(sfuCodecs[s.of.codec].RTPCodecCapability, "janus0", "janus"); err != nil {
		return "", err
	}
	if _, err = s.pc.AddTransceiverFromTrack(s.track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		return "", err
	}
	offer, err := s.pc.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	if err := s.pc.SetLocalDescription(offer); err != nil {
		return "", err
	}
	return s.decorate(offer.SDP)
}

// decorate adds what Janus offers beside audio, as it was captured. pion would
// make real streams and an association of SCTP of it.
func (s *sfuSubscriber) decorate(offer string) (string, error) {
	d := &sdp.SessionDescription{}
	if err := d.UnmarshalString(offer); err != nil {
		return "", err
	}
	audio := d.MediaDescriptions[0]
	more := func(media string, port int, protos, formats []string, attributes ...string) {
		s.extra++
		m := &sdp.MediaDescription{MediaName: sdp.MediaName{Media: media, Port: sdp.RangedPort{Value: port}, Protos: protos, Formats: formats},
			ConnectionInformation: audio.ConnectionInformation}
		for _, key := range []string{"ice-ufrag", "ice-pwd", "setup"} {
			value, _ := audio.Attribute(key)
			m.WithValueAttribute(key, value)
		}
		m.WithPropertyAttribute("sendonly").WithValueAttribute("mid", fmt.Sprint(s.extra))
		for _, a := range attributes {
			key, value, _ := strings.Cut(a, ":")
			m.WithValueAttribute(key, value)
		}
		d.MediaDescriptions = append(d.MediaDescriptions, m)
	}
	if s.of.video {
		more("video", 9, []string{"UDP", "TLS", "RTP", "SAVPF"}, []string{"96"}, "rtcp-mux", "rtpmap:96 VP8/90000", "rtcp-fb:96 nack pli")
	}
	more("application", 9, []string{"UDP", "DTLS", "SCTP"}, []string{"webrtc-datachannel"}, "sctp-port:5000")
	for i, a := range d.Attributes {
		if a.Key == "group" {
			for n := range s.extra {
				d.Attributes[i].Value += fmt.Sprint(" ", n+1)
			}
		}
	}
	out, err := d.Marshal()
	return string(out), err
}

// Answer takes what answers all of the offer, and refuses what Janus offers beside
// audio, or takes it.
func (s *sfuSubscriber) Answer(answer string) error {
	d := &sdp.SessionDescription{}
	if err := d.UnmarshalString(answer); err != nil {
		return err
	}
	if len(d.MediaDescriptions) != 1+s.extra {
		return fmt.Errorf("the answer has %d m= lines, the offer %d", len(d.MediaDescriptions), 1+s.extra)
	}
	for i, m := range d.MediaDescriptions {
		if mid, _ := m.Attribute("mid"); mid != fmt.Sprint(i) {
			return fmt.Errorf("m= line %d of the answer has the mid %q", i, mid)
		}
	}
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: audioOf(answer)}); err != nil {
		return err
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.of.listeners == nil {
		return errDown
	}
	s.of.listeners[s] = true
	return nil
}

// audioOf keeps the audio of a description only.
func audioOf(text string) string {
	d := &sdp.SessionDescription{}
	if d.UnmarshalString(text) != nil {
		return text
	}
	d.MediaDescriptions = slices.DeleteFunc(d.MediaDescriptions, func(m *sdp.MediaDescription) bool { return m.MediaName.Media != "audio" })
	for i, a := range d.Attributes {
		if a.Key == "group" && len(d.MediaDescriptions) > 0 {
			mid, _ := d.MediaDescriptions[0].Attribute("mid")
			d.Attributes[i].Value = "BUNDLE " + mid
		}
	}
	out, err := d.Marshal()
	if err != nil {
		return text
	}
	return string(out)
}

// Candidate takes one of the subscriber's.
func (s *sfuSubscriber) Candidate(c Candidate) error { return give(s.pc, c) }

// Close has the subscriber hear nothing any more.
func (s *sfuSubscriber) Close() {
	s.of.mu.Lock()
	delete(s.of.listeners, s)
	s.of.mu.Unlock()
	s.of.up.close(s.pc)
}
