package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sipxrest/cmd/sipxrest/version"
	"sipxrest/dialout"
	"sipxrest/internal/setting"
	"sipxrest/talk"
)

// Dialout is the section "dialout": calls to the telephone network, for
// Nextcloud Talk and for clients that POST /dialout. Without it there is
// neither.
type Dialout struct {
	// Servers are Talk's signaling servers and the Nextclouds behind them.
	Servers []talk.Server
	// CA is a PEM file of the authorities that those are verified with. Empty:
	// those of the system.
	CA string
	// Gateway is the way to the telephone network.
	Gateway dialout.Gateway
	// RoomTarget is the SIP URI of a conversation's conference, with {token}.
	RoomTarget string
	// Target is the SIP URI or user that a phone is joined to when a client names
	// none.
	Target string
	// Agent is the user of ours on whose behalf Talk calls.
	Agent string
	// RingTimeout is how long a phone rings.
	RingTimeout time.Duration
	// Country is that of numbers without a country code. Empty: dial.country.
	Country string
	// DTMF is how digits are sent, "relay" or "plain".
	DTMF   string
	Limits dialout.Limits
}

// defaultDialout holds when nothing is set.
func defaultDialout() Dialout {
	return Dialout{RingTimeout: time.Minute, DTMF: string(dialout.DTMFRelay), Limits: dialout.Limits{Calls: 100, Room: 20, User: 10}}
}

// InUse says whether anything is set that has calls made.
func (d *Dialout) InUse() bool {
	return len(d.Servers) > 0 || d.Gateway != (dialout.Gateway{}) || d.RoomTarget != "" || d.Target != "" || d.Agent != ""
}

// keys answers the section's keys.
func (d *Dialout) keys() []setting.Key {
	return []setting.Key{
		{Name: "dialout.servers", Field: servers(&d.Servers)},
		{Name: "dialout.ca", Field: setting.Path(&d.CA)},
		{Name: "dialout.gateway.uri", Field: setting.Text(&d.Gateway.URI)},
		{Name: "dialout.gateway.user", Field: setting.Text(&d.Gateway.User)},
		{Name: "dialout.gateway.secret", Field: setting.Text(&d.Gateway.Secret)},
		{Name: "dialout.gateway.realm", Field: setting.Text(&d.Gateway.Realm)},
		{Name: "dialout.gateway.domain", Field: setting.Text(&d.Gateway.Domain)},
		{Name: "dialout.gateway.default-number", Field: setting.Text(&d.Gateway.DefaultNumber)},
		{Name: "dialout.room-target", Field: setting.Text(&d.RoomTarget)},
		{Name: "dialout.target", Field: setting.Text(&d.Target)},
		{Name: "dialout.agent", Field: setting.Text(&d.Agent)},
		{Name: "dialout.ring-timeout", Field: setting.Duration(&d.RingTimeout)},
		{Name: "dialout.country", Field: setting.Text(&d.Country)},
		{Name: "dialout.dtmf", Field: setting.Text(&d.DTMF)},
		{Name: "dialout.limits.calls", Field: setting.Number(&d.Limits.Calls)},
		{Name: "dialout.limits.room", Field: setting.Number(&d.Limits.Room)},
		{Name: "dialout.limits.user", Field: setting.Number(&d.Limits.User)},
	}
}

// servers reads the items of "dialout.servers".
func servers(p *[]talk.Server) setting.Field {
	const shape = "{url: https://signaling.example, secret: …, backends: [{url: https://cloud.example/, sip-secret: …}]}"
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		if v.Node.Kind != yaml.SequenceNode {
			return errors.New("a list is expected here, such as [" + shape + "]")
		}
		list := make([]talk.Server, 0, len(v.Node.Content))
		for _, item := range v.Node.Content {
			var s talk.Server
			err := setting.Item(item, "write the server as "+shape, []setting.Key{
				{Name: "url", Field: setting.Text(&s.URL)}, {Name: "secret", Field: setting.Text(&s.Secret)}, {Name: "backends", Field: backends(&s.Backends)}})
			if err != nil {
				return err
			}
			list = append(list, s)
		}
		*p = list
		return nil
	}}
}

func backends(p *[]talk.BackendConfig) setting.Field {
	const shape = "{url: https://cloud.example/, sip-secret: …}"
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		if v.Node.Kind != yaml.SequenceNode {
			return errors.New("a list is expected here, such as [" + shape + "]")
		}
		list := make([]talk.BackendConfig, 0, len(v.Node.Content))
		for _, item := range v.Node.Content {
			var b talk.BackendConfig
			err := setting.Item(item, "write the Nextcloud as "+shape, []setting.Key{{Name: "url", Field: setting.Text(&b.URL)}, {Name: "sip-secret", Field: setting.Text(&b.SIPSecret)}})
			if err != nil {
				return err
			}
			list = append(list, b)
		}
		*p = list
		return nil
	}}
}

// DialoutConfig is the section as its package wants it.
func (c *Config) DialoutConfig() dialout.Config {
	d := &c.Dialout
	cfg := dialout.Config{
		Servers: d.Servers, UserAgent: strings.Replace(version.String(), " ", "/", 1), Gateway: d.Gateway,
		RoomTarget: d.RoomTarget, Target: d.Target, Agent: d.Agent, Domain: c.Domain,
		RingTimeout: d.RingTimeout, Country: d.Country, DTMF: dialout.DTMF(d.DTMF), Limits: d.Limits,
		Dir: filepath.Join(c.DataDir, "dialout"),
	}
	if cfg.Country == "" {
		cfg.Country = c.Dial.Country
	}
	return cfg
}

// dialout checks the section.
func (v *checks) dialout() {
	d := &v.c.Dialout
	if !d.InUse() {
		return
	}
	for key, unset := range map[string]bool{"ring-timeout": d.RingTimeout == 0, "limits.calls": d.Limits.Calls == 0,
		"limits.room": d.Limits.Room == 0, "limits.user": d.Limits.User == 0} {
		if unset { // which its package takes as the default
			v.check("dialout."+key, errors.New("0 is neither none nor without limit: leave the key out for the default"))
		}
	}
	for _, e := range Flatten(v.c.DialoutConfig().Check()) {
		var fault *dialout.Fault
		if !errors.As(e, &fault) {
			continue // nil
		}
		key := fault.Key
		switch {
		case key == "country" && d.Country == "":
			continue // dial.country is said elsewhere
		case key != "data-dir":
			key = "dialout." + key
		}
		v.check(key, fault.Err)
	}
	if t, err := ProxyTarget(d.Gateway.URI); err == nil {
		if transport, ok := listensFor(v.c, t); !ok {
			v.check("dialout.gateway.uri", fmt.Errorf("%q: sip.listen has no %s socket: add %s:ADDRESS:PORT to it", d.Gateway.URI, transport, transport))
		}
	}
}
