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
	"sipxrest/internal/fault"
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
	// Audio has phones be in the conversation itself, in place of that.
	Audio DialoutAudio
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

// InUse reports whether anything is set that has calls made.
func (d *Dialout) InUse() bool {
	return len(d.Servers) > 0 || d.Gateway != (dialout.Gateway{}) || d.RoomTarget != "" || d.Audio.Enabled || d.Target != "" || d.Agent != ""
}

// rows are the keys of the section.
func (d *Dialout) rows() []row {
	return append([]row{
		{Name: "dialout.servers", Set: servers(&d.Servers),
			Show: "[{url: \"https://signaling.example\", secret: \"INTERNALSECRET\", backends: [{url: \"https://cloud.example/\", sip-secret: \"SIPSECRET\"}]}]",
			Doc:  "signaling servers of Nextcloud Talk: `{url: https://signaling.example, secret: INTERNALSECRET, backends: [{url: https://cloud.example/, sip-secret: SECRET}]}`; of a cluster, each node. See [dialout.md](dialout.md), as for all of `dialout`",
			About: "Talk's signaling servers with their internalsecret, and the Nextclouds\n" +
				"behind them with Talk's sip_bridge_shared_secret."},
		{Name: "dialout.ca", Set: setting.Path(&d.CA), Absent: "the system's", Show: "ca.crt",
			Doc: "PEM file of the authorities that signaling servers and Nextclouds are verified with"},
		{Name: "dialout.gateway.uri", Set: setting.Text(&d.Gateway.URI), Show: "\"sip:gateway.example\"",
			Doc: "SIP URI of the way to the telephone network, `sip:gateway.example;transport=tls`"},
		{Name: "dialout.gateway.user", Set: setting.Text(&d.Gateway.User), Show: "trunk",
			Doc: "user name at the gateway; nobody else is told the secret"},
		{Name: "dialout.gateway.secret", Set: setting.Text(&d.Gateway.Secret), Show: "\"SECRET\"",
			Doc: "its password"},
		{Name: "dialout.gateway.realm", Set: setting.Text(&d.Gateway.Realm), Absent: "any", Show: "gateway.example",
			Doc: "the only realm for which the gateway gets an answer"},
		{Name: "dialout.gateway.domain", Set: setting.Text(&d.Gateway.Domain), Absent: "the gateway's host", Show: "gateway.example",
			Doc: "host in From"},
		{Name: "dialout.gateway.default-number", Set: setting.Text(&d.Gateway.DefaultNumber), Show: "\"+493012345\"",
			Doc: "caller of calls that name none, `+4930123456`"},
		{Name: "dialout.room-target", Set: setting.Text(&d.RoomTarget), Absent: "required with `dialout.servers`, unless there is `dialout.audio`", Show: "\"sip:{token}@conference.example\"",
			Doc: "SIP URI of a conversation's conference, with `{token}` (or `{roomid}`, the same): `sip:{token}@conference.example`",
			About: "What a phone is joined with where there is no audio: {token} stands for Talk's\n" +
				"conversation; target is for requests over HTTP that name none."},
		{Name: "dialout.target", Set: setting.Text(&d.Target), Show: "sip:conference@pbx.example",
			Doc: "SIP URI or user that a phone is joined with when `POST /dialout` names none"},
		{Name: "dialout.agent", Set: setting.Text(&d.Agent), Show: "\"201\"",
			Doc:   "the user for whom Talk calls: his policy holds, and his SIP password answers challenges on the way to `dialout.room-target`",
			About: "The user for whom Talk calls: his policy and his SIP password."},
		{Name: "dialout.ring-timeout", Set: setting.Duration(&d.RingTimeout), Default: "1m",
			Doc:   "how long a phone rings; 1 s to 10 min",
			About: "How long a phone rings."},
		{Name: "dialout.country", Set: setting.Text(&d.Country), Absent: "`dial.country`", Show: "DE",
			Doc:   "country of numbers without a country code in `POST /dialout`, `DE`; without it they are refused",
			About: "Of numbers without a country code. Default: dial.country."},
		{Name: "dialout.dtmf", Set: setting.Text(&d.DTMF), Default: "relay",
			Doc:   "digits go by INFO as `application/dtmf-relay`; `plain`: `application/dtmf`",
			About: "Digits by INFO: relay or plain."},
		{Name: "dialout.limits.calls", Set: setting.Number(&d.Limits.Calls), Default: "100",
			Doc: "calls to telephones at once"},
		{Name: "dialout.limits.room", Set: setting.Number(&d.Limits.Room), Default: "20",
			Doc: "those of one Talk conversation"},
		{Name: "dialout.limits.user", Set: setting.Number(&d.Limits.User), Default: "10",
			Doc: "those of one user of `POST /dialout`"},
		{Name: "dialout.limits.rooms", Set: setting.Number(&d.Limits.Rooms), Default: "50",
			Doc: "Talk conversations with phones at once, with `dialout.audio`"},
	}, d.Audio.rows()...)
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
	if d.Audio.Enabled {
		cfg.Audio = &dialout.Audio{}
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
		"limits.room": d.Limits.Room == 0, "limits.user": d.Limits.User == 0, "limits.rooms": d.Limits.Rooms == 0} {
		if unset { // which its package takes as the default
			v.check("dialout."+key, errors.New("0 is neither none nor without limit: leave the key out for the default"))
		}
	}
	for _, e := range Flatten(v.c.DialoutConfig().Check()) {
		var at *fault.Fault
		if !errors.As(e, &at) {
			continue // nil
		}
		key := at.Key
		switch {
		case key == "country" && d.Country == "":
			continue // dial.country is said elsewhere
		case key != "data-dir":
			key = "dialout." + key
		}
		v.check(key, at.Err)
	}
	v.audio()
	if t, err := ProxyTarget(d.Gateway.URI); err == nil {
		if transport, ok := listensFor(v.c, t); !ok {
			v.check("dialout.gateway.uri", fmt.Errorf("%q: sip.listen has no %s socket: add %s:ADDRESS:PORT to it", d.Gateway.URI, transport, transport))
		}
	}
}
