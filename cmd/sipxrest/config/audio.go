package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/setting"
	"sipxrest/media"
	"sipxrest/media/sfu"
	"sipxrest/talkroom"
)

// audioSection is the name of the section DialoutAudio.
const audioSection = "dialout.audio"

// DialoutAudio is the section "dialout.audio": phones out of Talk's conversations
// are in the conversation itself, in place of dialout.room-target.
type DialoutAudio struct {
	// Enabled: there is the section, be it empty.
	Enabled bool
	// Address is what phones and media servers are told. Empty: phone.sip.address, or
	// what holds without it.
	Address string
	// RTPPorts are the ports for phones, two for each: "20000-20999".
	RTPPorts string
	// MediaAllow lists networks where audio goes though it would not, MediaNAT
	// those from which it may come though no phone has named them.
	MediaAllow, MediaNAT []string
	// SRTP says whether audio of phones is encrypted.
	SRTP string
	// ICEPort is the UDP port for all media servers. 0: any.
	ICEPort int
	// ICEAddress is what media servers are told in place of Address.
	ICEAddress string
	// ICEServers are asked for further ways to media servers.
	ICEServers []sfu.ICEServer
	// Codec is the one in which phones are heard.
	Codec string
	// Speakers is how many participants of a conversation are heard at a time.
	Speakers int
	// Beep says who hears that a phone joins or leaves.
	Beep string
}

// rows are the keys of the section.
func (a *DialoutAudio) rows() []row {
	return []row{
		{Name: "dialout.audio.address", Set: setting.Text(&a.Address), Absent: "`phone.sip.address`, or what holds without it", Show: "192.0.2.1",
			Doc: "address that phones and the media server send audio to. With any key of `dialout.audio`, phones out of Talk conversations are heard there, and hear; then there is no `dialout.room-target`. See [dialout.md](dialout.md)"},
		{Name: "dialout.audio.rtp-ports", Set: setting.Text(&a.RTPPorts), Default: "20000-20999",
			Doc: "UDP ports for phones, two for each call; those of `phone.sip.rtp-ports` are shared if they are the same"},
		{Name: "dialout.audio.media-allow", Set: setting.Texts(&a.MediaAllow), Show: "[127.0.0.0/8]",
			Doc: "networks that audio is sent to though it would not be: loopback, link-local, this machine's own addresses"},
		{Name: "dialout.audio.media-nat", Set: setting.Texts(&a.MediaNAT), Show: "[]",
			Doc: "networks that audio may come from though the phone named another address: those of NATs in front of phones"},
		{Name: "dialout.audio.srtp", Set: setting.Text(&a.SRTP), Check: word(media.Securities()...), Default: media.SRTPOffered.String(),
			Doc: "SRTP with phones, with keys in SDP (RFC 4568): `offered`, where they offer it; `required`: we offer it, and calls without it come to nothing; `off`"},
		{Name: "dialout.audio.ice-port", Set: setting.Number(&a.ICEPort), Default: "21000",
			Doc: "UDP port for all media servers (Janus); 0: any that is free"},
		{Name: "dialout.audio.ice-address", Set: setting.Text(&a.ICEAddress), Absent: "`dialout.audio.address`", Show: "198.51.100.7",
			Doc: "what media servers are told in place of `dialout.audio.address`, where a NAT is in between"},
		{Name: "dialout.audio.ice-servers", Set: iceServers(&a.ICEServers), Show: "[{urls: [\"turn:turn.example:3478\"], secret: \"TURNSECRET\"}]",
			Doc: "STUN and TURN servers, `{urls: [\"turn:turn.example:3478\"], username: NAME, credential: PASSWORD}`, or `secret`, coturn's static-auth-secret, in place of the two. Only where UDP to the media server is blocked"},
		{Name: "dialout.audio.codec", Set: setting.Text(&a.Codec), Check: word("g722", "pcmu", "pcma"), Default: "g722",
			Doc: "codec in which phones are heard: `g722`, `pcmu` or `pcma`"},
		{Name: "dialout.audio.speakers", Set: setting.Number(&a.Speakers), Check: count(100), Default: "6",
			Doc: "how many participants of a conversation phones hear at a time: the loudest; 1 to 100"},
		{Name: "dialout.audio.beep", Set: setting.Text(&a.Beep), Check: word(string(talkroom.BeepPhones), string(talkroom.BeepAll), string(talkroom.BeepNone)), Default: "phones",
			Doc: "who hears that a phone joins or leaves: the other `phones`, `all`, or `none`"},
	}
}

// noteSection notes that there is a section which a feature needs.
func (c *Config) noteSection(key string) {
	if key == audioSection || strings.HasPrefix(key, audioSection+".") {
		c.Dialout.Audio.Enabled = true
	}
}

// iceServers reads the items of "dialout.audio.ice-servers".
func iceServers(p *[]sfu.ICEServer) setting.Field {
	const shape = "{urls: [turn:turn.example:3478], username: …, credential: …}"
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		if v.Node.Kind != yaml.SequenceNode {
			return errors.New("a list is expected here, such as [" + shape + "]")
		}
		list := make([]sfu.ICEServer, 0, len(v.Node.Content))
		for _, item := range v.Node.Content {
			var s sfu.ICEServer
			err := setting.Item(item, "write the server as "+shape, []setting.Key{
				{Name: "urls", Field: setting.Texts(&s.URLs)}, {Name: "username", Field: setting.Text(&s.Username)},
				{Name: "credential", Field: setting.Text(&s.Credential)}, {Name: "secret", Field: setting.Text(&s.Secret)}})
			if err != nil {
				return err
			}
			list = append(list, s)
		}
		*p = list
		return nil
	}}
}

// audio checks the section.
func (v *checks) audio() {
	a := &v.c.Dialout.Audio
	if !a.Enabled {
		return
	}
	for key, list := range map[string][]string{"media-allow": a.MediaAllow, "media-nat": a.MediaNAT} {
		for _, s := range list {
			_, err := parsePrefix(s)
			v.check(audioSection+"."+key, err)
		}
	}
	least, most, err := portRange(a.RTPPorts)
	v.check(audioSection+".rtp-ports", err)
	told, _, err := v.c.addressOfAudio()
	v.check(audioSection+".address", err)
	switch p := a.ICEPort; {
	case p != 0 && (p < 1024 || p > 65535):
		v.check(audioSection+".ice-port", fmt.Errorf("%d: write a port from 1024 to 65535, or 0 for any", p))
	case p >= int(least) && p <= int(most):
		v.check(audioSection+".ice-port", fmt.Errorf("%d is one of rtp-ports, %s: choose another", p, a.RTPPorts))
	}
	if a.ICEAddress != "" {
		at, err := netip.ParseAddr(a.ICEAddress)
		switch {
		case err != nil || at.IsUnspecified() || at.IsMulticast():
			v.check(audioSection+".ice-address", fmt.Errorf("%.60q is no address: write it as 198.51.100.7", a.ICEAddress))
		case told.IsValid() && at.Unmap().Is4() != told.Is4():
			v.check(audioSection+".ice-address", fmt.Errorf("%s is of another IP version than the address of audio, %s", at, told))
		}
	}
	for i, s := range a.ICEServers {
		if err := checkICEServer(s); err != nil {
			v.check(audioSection+".ice-servers", fmt.Errorf("item %d: %w", i+1, err))
		}
	}
	v.sharedPorts(least, most, told)
}

// checkICEServer says what is wrong with a STUN or TURN server. Secrets are not in it.
func checkICEServer(s sfu.ICEServer) error {
	turn := false
	for _, u := range s.URLs {
		scheme, rest, _ := strings.Cut(u, ":")
		if !slices.Contains([]string{"stun", "stuns", "turn", "turns"}, scheme) || rest == "" || strings.ContainsAny(rest, "/@ ") {
			return fmt.Errorf("%.80q: write stun:HOST:PORT, turn:HOST:PORT or turns:HOST:PORT", u)
		}
		turn = turn || strings.HasPrefix(scheme, "turn")
	}
	switch {
	case len(s.URLs) == 0:
		return errors.New("urls is missing: write urls: [turn:turn.example:3478]")
	case s.Secret != "" && s.Credential != "":
		return errors.New("secret and credential: write one of the two")
	case turn && s.Secret == "" && (s.Username == "" || s.Credential == ""):
		return errors.New("a TURN server needs username and credential, or secret")
	}
	return nil
}

// sharedPorts checks that the ports of phone.sip are the same, or others.
func (v *checks) sharedPorts(least, most uint16, told netip.Addr) {
	if !v.c.Phone.HasGateway() || most == 0 {
		return
	}
	low, high, err := v.c.Phone.SIP.ports()
	at, _, err2 := v.c.mediaAddress()
	switch {
	case err != nil || err2 != nil:
	case low == least && high == most && at != told:
		v.check(audioSection+".rtp-ports", fmt.Errorf("phone.sip.rtp-ports are the same for another address, %s: write another range, or the same address", at))
	case (low != least || high != most) && low <= most && least <= high:
		v.check(audioSection+".rtp-ports", fmt.Errorf("%s: some of them are phone.sip.rtp-ports, %s: write the same, or a range apart", v.c.Dialout.Audio.RTPPorts, v.c.Phone.SIP.RTPPorts))
	}
	if p := v.c.Dialout.Audio.ICEPort; p >= int(low) && p <= int(high) && p > 0 {
		v.check(audioSection+".ice-port", fmt.Errorf("%d is one of phone.sip.rtp-ports, %s: choose another", p, v.c.Phone.SIP.RTPPorts))
	}
}

// addressOfAudio is what phones are told to send audio to, and what sockets are
// bound to.
func (c *Config) addressOfAudio() (told, listen netip.Addr, err error) {
	text := c.Dialout.Audio.Address
	if text == "" {
		text = c.Phone.SIP.Address
	}
	if told, listen, err = c.audioAddress(text); err == nil && isOwn(told) {
		listen = told // SIP may have another one: Janus is not where the gateway is
	}
	return told, listen, err
}

// isOwn reports whether an address is one of this machine's.
func isOwn(a netip.Addr) bool { return slices.Contains(Interfaces(), a) }

// Interfaces are the addresses of this machine's interfaces, loopback among them.
func Interfaces() (own []netip.Addr) {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().Unmap())
		}
	}
	return own
}

// AudioMedia is what sessions with phones in Talk's conversations need.
func (c *Config) AudioMedia() (media.Config, error) {
	a := &c.Dialout.Audio
	least, most, err := portRange(a.RTPPorts)
	if err != nil {
		return media.Config{}, err
	}
	told, listen, err := c.addressOfAudio()
	mc := media.Config{Address: told, Listen: listen, MinPort: least, MaxPort: most, Allow: Prefixes(a.MediaAllow), LatchFrom: Prefixes(a.MediaNAT)}
	if err == nil && c.sharesPorts() {
		mc.Allow = append(mc.Allow, Prefixes(c.Phone.SIP.MediaAllow)...)
		mc.LatchFrom = append(mc.LatchFrom, Prefixes(c.Phone.SIP.MediaNAT)...)
	}
	return mc, err
}

// sharesPorts reports whether phone.sip has the same ports, and so their networks
// hold for both.
func (c *Config) sharesPorts() bool {
	if !c.Phone.HasGateway() {
		return false
	}
	least, most, _ := portRange(c.Dialout.Audio.RTPPorts)
	low, high, err := c.Phone.SIP.ports()
	return err == nil && low == least && high == most
}

// SFU is what connections with media servers need.
func (c *Config) SFU() (sfu.Config, error) {
	a := &c.Dialout.Audio
	told, bound, err := c.addressOfAudio()
	if err != nil {
		return sfu.Config{}, err
	}
	if bound.IsUnspecified() {
		bound = told // a media server has to be told one address
	}
	s := sfu.Config{Address: bound, Port: uint16(a.ICEPort), Servers: a.ICEServers, Loopback: bound.IsLoopback()}
	if told != bound {
		s.External = told
	}
	if at, err := netip.ParseAddr(a.ICEAddress); err == nil {
		s.External = at.Unmap()
	}
	return s, nil
}

// Rooms is what conversations that have phones need, but for their connections.
func (c *Config) Rooms() talkroom.Config {
	a := &c.Dialout.Audio
	codec, _ := media.ParseCodec(a.Codec) // checked
	return talkroom.Config{Codec: codec, Speakers: a.Speakers, Beep: talkroom.Beep(a.Beep), MaxRooms: c.Dialout.Limits.Rooms}
}
