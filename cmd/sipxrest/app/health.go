package app

import (
	"bytes"
	"time"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/version"
	"sipxrest/event"
)

// healthOfParts is how the parts fare that the API does not know itself.
func (a *App) healthOfParts() api.Health {
	h := api.Health{Version: version.String(), Certificates: a.certificateHealth(time.Now()), Limits: a.limitHealth()}
	if a.talk != nil {
		for _, s := range a.talk.Sessions() {
			t := api.TalkServer{Server: s.Server(), Nextcloud: s.Backend().URL()}
			var err error
			if t.Connected, err = s.Connected(); err != nil && !t.Connected {
				t.Error = err.Error()
			}
			h.TalkServers = append(h.TalkServers, t)
		}
	}
	return h
}

// certificateHealth tells which certificates are presented, and until when.
func (a *App) certificateHealth(now time.Time) (all []api.Certificate) {
	for _, c := range a.certificates {
		leaf := c.Leaf()
		out := api.Certificate{Subject: leaf.Subject.String(), Names: none(append([]string(nil), leaf.DNSNames...)), Issuer: leaf.Issuer.String(),
			SelfSigned: bytes.Equal(leaf.RawIssuer, leaf.RawSubject), Uses: none(a.certificateUses[c]), NotBefore: event.At(leaf.NotBefore),
			NotAfter: event.At(leaf.NotAfter), LeftMS: leaf.NotAfter.Sub(now).Milliseconds()}
		for _, ip := range leaf.IPAddresses {
			out.Names = append(out.Names, ip.String())
		}
		all = append(all, out)
	}
	return all
}

// limitHealth tells how much of the whole service's limits is in use.
func (a *App) limitHealth() (all []api.Limit) {
	add := func(name string, used, most int) {
		l := api.Limit{Name: name, Used: used}
		if most > 0 {
			l.Most = &most
		}
		all = append(all, l)
	}
	add("limits.calls", a.sw.Active(), a.cfg.Limits.Calls)
	if a.controller != nil {
		s := a.controller.Stats()
		add("limits.records", s.Records, a.cfg.Limits.Records)
		add("limits.record-bytes", int(s.Bytes), a.cfg.Limits.RecordBytes)
	}
	add("limits.connections", a.connections().open, a.cfg.Limits.Connections*len(a.listeners))
	s := a.api.Stats()
	add("api.limits.streams", s.Streams, a.cfg.API.Limits.Streams)
	add("api.limits.waits", int(s.Waits), a.cfg.API.Limits.Waits)
	if a.dialout != nil {
		add("dialout.limits.calls", a.dialout.Stats().Active, a.cfg.Dialout.Limits.Calls)
	}
	if a.rooms != nil {
		add("dialout.limits.rooms", a.rooms.Stats().Rooms, a.cfg.Dialout.Limits.Rooms)
	}
	if a.phone != nil {
		s := a.phone.Stats()
		add("phone.limits.calls", s.Calls, a.cfg.Phone.Limits.Calls)
		add("phone.limits.sockets", s.Sockets, a.cfg.Phone.Limits.Sockets)
	}
	return all
}
