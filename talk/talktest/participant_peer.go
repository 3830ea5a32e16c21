package talktest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// peerConn is a connection of a participant.
type peerConn struct {
	pc   *webrtc.PeerConnection
	port *port
	sid  string
	done chan struct{}
	once sync.Once
}

func (c *peerConn) close() {
	if c == nil {
		return
	}
	c.once.Do(func() {
		close(c.done)
		_ = c.pc.GracefulClose()
		_ = c.port.Close()
	})
}

func (c *peerConn) over() bool {
	s := c.pc.ConnectionState()
	return s == webrtc.PeerConnectionStateClosed || s == webrtc.PeerConnectionStateFailed
}

// peer makes a connection with Opus and what phones' codecs are.
func (p *Participant) peer() (*peerConn, error) {
	engine := &webrtc.MediaEngine{}
	for _, name := range []string{"opus", "g722", "pcmu", "pcma"} {
		if err := engine.RegisterCodec(sfuCodecs[name], webrtc.RTPCodecTypeAudio); err != nil {
			return nil, err
		}
	}
	video := webrtc.RTPCodecParameters{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}}
	if err := engine.RegisterCodec(video, webrtc.RTPCodecTypeVideo); err != nil {
		return nil, err
	}
	if err := engine.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: levelURI}, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, err
	}
	port, err := listen(p.lab.Address)
	if err != nil {
		return nil, err
	}
	var e webrtc.SettingEngine
	local(&e, port)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(e), webrtc.WithMediaEngine(engine),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{})).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		_ = port.Close()
		return nil, err
	}
	return &peerConn{pc: pc, port: port, done: make(chan struct{})}, nil
}

// publish sends the offer. Its answer comes as a message.
func (p *Participant) publish() error {
	c, err := p.peer()
	if err != nil {
		return err
	}
	p.publisher = c
	track, err := webrtc.NewTrackLocalStaticRTP(sfuCodecs["opus"].RTPCodecCapability, "microphone", p.Name)
	if err != nil {
		return err
	}
	sendonly := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}
	if _, err := c.pc.AddTransceiverFromTrack(track, sendonly); err != nil {
		return err
	}
	if p.opts.Video {
		if _, err := c.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, sendonly); err != nil {
			return err
		}
	}
	offer, err := c.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	c.sid = fmt.Sprint(time.Now().UnixNano())
	p.say("publish", p.ID(), object{"type": "offer", "roomType": "video", "sid": c.sid,
		"payload": object{"type": "offer", "nick": p.Name, "sdp": c.pc.LocalDescription().SDP}})
	p.lab.wg.Go(func() { p.opts.Sound.speak(c.done, func(packet *rtp.Packet) { _ = track.WriteRTP(packet) }) })
	return nil
}

// speak gives a packet to send every 20 ms, until done.
func (s Sound) speak(done <-chan struct{}, send func(*rtp.Packet)) {
	packets := s.packets()
	clock := time.NewTicker(20 * time.Millisecond)
	defer clock.Stop()
	from := time.Now()
	level := []byte{30}
	if packets == nil {
		packets, level[0] = [][]byte{{0xf8, 0xff, 0xfe}}, 127 // 20 ms of silence
	}
	packet := rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, PayloadType: 111}}
	_ = packet.SetExtension(1, level)
	for n := 0; ; n++ {
		for time.Since(from) < time.Duration(n)*20*time.Millisecond {
			select {
			case <-clock.C:
			case <-done:
				return
			}
		}
		packet.SequenceNumber++
		packet.Timestamp += 960
		packet.Payload = packets[n%len(packets)]
		send(&packet)
		packet.Marker = false
	}
}

// media handles answers, offers and candidates.
func (p *Participant) media(e *event) {
	d, from := &e.Message.Data, e.Message.Sender.SessionID
	var err error
	switch own := p.publisher != nil && from == p.ID() && d.SID == p.publisher.sid; {
	case d.Type == "answer" && own:
		err = p.publisher.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: d.Payload.SDP})
	case d.Type == "candidate" && own:
		err = give(p.publisher.pc, d.Payload.Candidate)
	case d.Type == "offer":
		if p.subs[from] != nil {
			p.drop(from)
		}
		err = p.subscribe(from, d.SID, d.Payload.SDP)
	case d.Type == "candidate" && p.subs[from] != nil && p.subs[from].sid == d.SID:
		err = give(p.subs[from].pc, d.Payload.Candidate)
	}
	if err != nil && !errors.Is(err, webrtc.ErrConnectionClosed) {
		p.lab.t.Logf("participant %s: %s of %s: %v", p.Name, d.Type, from, err)
	}
}

// subscribe answers an offer.
func (p *Participant) subscribe(from, sid, offer string) error {
	c, err := p.peer()
	if err != nil {
		return err
	}
	c.sid = sid
	p.subs[from] = c
	e := &ear{}
	p.mu.Lock()
	p.ears[from] = e
	p.mu.Unlock()
	internal := p.internal[from]
	c.pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		p.lab.wg.Go(func() { p.listen(t, e, internal) })
	})
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return err
	}
	answer, err := c.pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(answer); err != nil {
		return err
	}
	<-gathered
	p.say("", from, object{"type": "answer", "roomType": "video", "sid": sid,
		"payload": object{"type": "answer", "nick": p.Name, "sdp": c.pc.LocalDescription().SDP}})
	return nil
}
