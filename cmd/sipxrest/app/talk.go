package app

import (
	"context"
	"errors"
	"fmt"

	"sipxrest/internal/metrics"
	"sipxrest/media"
	"sipxrest/media/sfu"
	"sipxrest/talk"
	"sipxrest/talkroom"
)

// signals are the users of the signaling servers' one client.
type signals struct {
	handlers []talk.Handler
	connect  []func(*talk.Client) // what they do with it, before it is served
}

// hears adds a user of the client.
func (s *signals) hears(h talk.Handler, connect func(*talk.Client)) {
	s.handlers = append(s.handlers, h)
	if connect != nil {
		s.connect = append(s.connect, connect)
	}
}

// openTalk makes the client of the signaling servers, once all who use it are there.
func (a *App) openTalk() error {
	if !a.cfg.Dialout.InUse() {
		return nil
	}
	secure, err := DialoutTLS(&a.cfg) // a file that is named has to be there, whoever reads it
	if err != nil || len(a.cfg.Dialout.Servers) == 0 {
		return err
	}
	cfg := a.cfg.DialoutConfig()
	client, err := talk.New(talk.Config{Servers: cfg.Servers, UserAgent: cfg.UserAgent, TLS: secure, Audio: a.cfg.Dialout.Audio.Enabled,
		Handler: talk.Handlers(a.signals.handlers...)}, a.log)
	if err != nil {
		return a.cfg.At("dialout.servers", fmt.Errorf("dialout.servers: %w", err))
	}
	for _, connect := range a.signals.connect {
		connect(client)
	}
	a.talk = client
	a.add(feature{name: "signaling servers", stage: stageSignaling, run: client.Serve})
	return nil
}

// openRooms makes what phones in Talk's conversations need, where there are any.
func (a *App) openRooms() error {
	if !a.cfg.Dialout.Audio.Enabled || len(a.cfg.Dialout.Servers) == 0 {
		return nil
	}
	mc, err := a.cfg.AudioMedia()
	if err != nil {
		return a.cfg.At("dialout.audio.address", fmt.Errorf("dialout.audio.address: %w", err))
	}
	if a.talkPorts, err = a.portsOf(mc); err == nil {
		err = tryPorts(a.talkPorts)
	}
	if err != nil {
		return a.cfg.At("dialout.audio.rtp-ports", fmt.Errorf("dialout.audio.rtp-ports: %w", err))
	}
	sc, err := a.cfg.SFU()
	if err != nil {
		return a.cfg.At("dialout.audio.address", fmt.Errorf("dialout.audio.address: %w", err))
	}
	sc.Log = a.log
	servers, err := sfu.New(sc)
	if err != nil {
		return a.cfg.At("dialout.audio.ice-port", fmt.Errorf("dialout.audio.ice-port: %w", err))
	}
	rc := a.cfg.Rooms()
	rc.SFU = servers
	a.rooms = talkroom.New(rc, a.log)
	a.signals.hears(a.rooms.Handler(), nil)
	a.add(feature{name: "phones in conversations", stage: stageConversations,
		run: func(ctx context.Context) error { return errors.Join(a.rooms.Run(ctx), servers.Close()) },
		abandon: func() {
			if err := servers.Close(); err != nil {
				a.log.Warn("the socket for media servers was not closed", "error", err)
			}
		},
		metrics: func(r *metrics.Registry) { addRoomMetrics(r, a.rooms) }})
	return nil
}

// tryPorts returns an error if no port can be bound.
func tryPorts(p *media.Ports) error {
	session, err := p.Open(media.Options{})
	if err == nil {
		session.Close()
	}
	return err
}

// portsOf returns the ports of a range for audio. Who asks for the same range gets
// the same ones.
func (a *App) portsOf(mc media.Config) (*media.Ports, error) {
	mc.Log = a.log
	for i := range a.ports {
		if p := &a.ports[i]; p.cfg.MinPort == mc.MinPort && p.cfg.MaxPort == mc.MaxPort && p.cfg.Address == mc.Address {
			return p.Ports, nil
		}
	}
	ports, err := media.NewPorts(mc)
	if err != nil {
		return nil, err
	}
	a.ports = append(a.ports, portRange{ports, mc})
	return ports, nil
}

// portRange is a range of ports for audio.
type portRange struct {
	*media.Ports
	cfg media.Config
}

// addRoomMetrics shows how phones fare in Talk's conversations.
func addRoomMetrics(r *metrics.Registry, rooms *talkroom.Rooms) {
	show(r, rooms.Stats, []family[talkroom.Stats]{
		{metrics.Gauge("sipxrest_talk_rooms", "Talk conversations that have phones."),
			func(s talkroom.Stats, to values) { to.gauge(s.Rooms) }},
		{metrics.Gauge("sipxrest_talk_phones", "Phones in Talk conversations."),
			func(s talkroom.Stats, to values) { to.gauge(s.Phones) }},
		{metrics.Gauge("sipxrest_talk_sources", "Participants on the web that phones hear, or are to hear, by state (asked, connecting, heard, waiting: to be asked again).", "state"),
			func(s talkroom.Stats, to values) {
				for state, n := range s.Sources {
					to.gauge(n, state)
				}
			}},
		{metrics.Gauge("sipxrest_talk_speakers", "How many participants of one conversation are decoded at a time, at most: fewer when there is too much to do."),
			func(s talkroom.Stats, to values) { to.gauge(s.Speakers) }},
		{metrics.Counter("sipxrest_talk_media_total", "Connections in which phones are to be heard: connected; attempts, that came to nothing; failed: phones were not heard for a minute.", "result"),
			func(s talkroom.Stats, to values) {
				to.count(s.Connected, "connected")
				to.count(s.Attempts, "attempt")
				to.count(s.Failed, "failed")
			}},
		{metrics.Counter("sipxrest_talk_reconnects_total", "Connections in which phones were heard that were lost."),
			func(s talkroom.Stats, to values) { to.count(s.Reconnects) }},
		{metrics.Seconds("sipxrest_talk_publish_seconds", "Time from the offer until phones are heard in a conversation."),
			func(s talkroom.Stats, to values) { to.histogram(s.Publish) }},
		{metrics.Seconds("sipxrest_talk_subscribe_seconds", "Time from a participant's offer until phones hear him."),
			func(s talkroom.Stats, to values) { to.histogram(s.Subscribe) }},
		{metrics.Counter("sipxrest_talk_packets_lost_total", "RTP packets that were lost between here and media servers."),
			func(s talkroom.Stats, to values) { to.count(s.Lost) }},
		{metrics.Counter("sipxrest_talk_opus_errors_total", "RTP packets of participants that could not be decoded."),
			func(s talkroom.Stats, to values) { to.count(s.Faults) }},
		{metrics.Seconds("sipxrest_mix_late_seconds", "How late each tick of a conversation's mixer is; one is due every 20 ms."),
			func(s talkroom.Stats, to values) { to.histogram(s.Late) }},
	})
}

func (v values) histogram(h talkroom.Histogram) { v.to.Times(v.of, h.Bounds, h.Buckets, h.Sum) }
