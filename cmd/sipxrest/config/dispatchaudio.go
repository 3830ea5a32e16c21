package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sipxrest/internal/setting"
	"sipxrest/media"
	"sipxrest/media/prompts"
)

// DispatchAudio is the section "dispatch.audio": how callers hear what they are asked
// for, and press digits.
type DispatchAudio struct {
	// Enabled false has callers on hold while they enter a PIN.
	Enabled bool
	// Address, RTPPorts, MediaAllow and MediaNAT are as in DialoutAudio. Empty: those
	// of phone.sip if it is enabled, else those of dialout.audio if there is any.
	Address, RTPPorts    string
	MediaAllow, MediaNAT []string
	// SRTP says whether audio of callers is encrypted.
	SRTP string
	// Language is that of the prompts, Prompts a folder with recordings in place of the
	// built-in ones. Empty: those of dialin.
	Language, Prompts string
}

const (
	dispatchAudio = "dispatch.audio."
	usualRTPPorts = "20000-20999"
)

// rows are the keys of the section.
func (a *DispatchAudio) rows() []row {
	const likewise = "those of `phone.sip`, or `dialout.audio`"
	return []row{
		{Name: dispatchAudio + "enabled", Set: setting.Truth(&a.Enabled), Default: "true",
			Doc: "callers who are asked for a PIN hear prompts, and digits by RFC 4733 count (see [dispatch.md](dispatch.md#a-pin-before-the-room)), wherever the address of audio is known; `false`: they are on hold, and digits count by INFO only"},
		{Name: dispatchAudio + "address", Set: setting.Text(&a.Address), Absent: "that of `phone.sip`, or `dialout.audio`, or what holds without it", Show: "192.0.2.1",
			Doc: "address that callers send audio to"},
		{Name: dispatchAudio + "rtp-ports", Set: setting.Text(&a.RTPPorts), Absent: likewise + ", `" + usualRTPPorts + "`", Show: usualRTPPorts,
			Doc: "UDP ports for audio, two for each caller; the same range is shared"},
		{Name: dispatchAudio + "media-allow", Set: setting.Texts(&a.MediaAllow), Absent: likewise, Show: "[127.0.0.0/8]",
			Doc: "networks that audio is sent to though it would not be: loopback, link-local, this machine's own addresses"},
		{Name: dispatchAudio + "media-nat", Set: setting.Texts(&a.MediaNAT), Absent: likewise, Show: "[]",
			Doc: "networks that audio may come from though the caller named another address: those of NATs in front of phones"},
		{Name: dispatchAudio + "srtp", Set: setting.Text(&a.SRTP), Check: word(media.Securities()...), Default: media.SRTPOffered.String(),
			Doc: "SRTP with callers, with keys in SDP (RFC 4568): `offered`, where they offer it; `required`: callers without it are on hold; `off`"},
		{Name: dispatchAudio + "language", Set: setting.Text(&a.Language), Absent: "`dialin.language`", Show: "en",
			Doc: "language of the prompts: `en`, `de`, `tones` in place of words, or a folder of `prompts`; a rule's `language` goes first"},
		{Name: dispatchAudio + "prompts", Set: setting.Path(&a.Prompts), Absent: "`dialin.prompts`", Show: "prompts",
			Doc: "folder with recordings in place of the built-in prompts, `LANGUAGE/NAME.wav`"},
	}
}

// HasPINAudio reports whether callers who are asked for a PIN hear prompts.
func (c *Config) HasPINAudio() bool {
	if !c.Dispatch.InUse() || !c.Dispatch.Audio.Enabled {
		return false
	}
	_, err := c.PINMedia()
	return err == nil
}

// WantsPINAudio reports whether the section says something about it.
func (c *Config) WantsPINAudio() bool {
	return slices.ContainsFunc(c.Dispatch.Audio.rows(), func(r row) bool { return c.IsSet(r.Name) })
}

// LacksPINAudio returns why callers who are asked for a PIN do not hear prompts though
// nobody has switched that off; nil if they do.
func (c *Config) LacksPINAudio() error {
	if !c.Dispatch.InUse() || !c.Dispatch.Audio.Enabled {
		return nil
	}
	_, err := c.PINMedia()
	return err
}

// PINMedia is what sessions with callers who are asked for a PIN need. Ports that
// others have, too, are shared, and so are the networks.
func (c *Config) PINMedia() (media.Config, error) {
	a := c.pinAudio()
	least, most, err := portRange(a.RTPPorts)
	if err != nil {
		return media.Config{}, err
	}
	told, listen, err := c.audioAddress(a.Address)
	mc := media.Config{Address: told, Listen: listen, MinPort: least, MaxPort: most, Allow: Prefixes(a.MediaAllow), LatchFrom: Prefixes(a.MediaNAT)}
	for _, other := range c.otherMedia() {
		if other.MinPort == least && other.MaxPort == most {
			mc.Allow, mc.LatchFrom = union(mc.Allow, other.Allow), union(mc.LatchFrom, other.LatchFrom)
		}
	}
	return mc, err
}

// otherMedia are those of sections that may share ports with dispatch.audio.
func (c *Config) otherMedia() (list []media.Config) {
	if c.Phone.HasGateway() {
		if mc, err := c.MediaConfig(); err == nil {
			list = append(list, mc)
		}
	}
	if c.Dialout.Audio.Enabled {
		if mc, err := c.AudioMedia(); err == nil {
			list = append(list, mc)
		}
	}
	return list
}

func union(a, b []netip.Prefix) []netip.Prefix {
	for _, p := range b {
		if !slices.Contains(a, p) {
			a = append(a, p)
		}
	}
	return a
}

// pinAudio is the section, with what it takes from others.
func (c *Config) pinAudio() DispatchAudio {
	a := c.Dispatch.Audio
	var from DispatchAudio
	switch p, d := &c.Phone.SIP, &c.Dialout.Audio; {
	case c.Phone.HasGateway():
		from = DispatchAudio{Address: p.Address, RTPPorts: p.RTPPorts, MediaAllow: p.MediaAllow, MediaNAT: p.MediaNAT}
	case d.Enabled:
		from = DispatchAudio{Address: cmp.Or(d.Address, p.Address), RTPPorts: d.RTPPorts, MediaAllow: d.MediaAllow, MediaNAT: d.MediaNAT}
	default:
		from = DispatchAudio{Address: p.Address}
	}
	a.Address, a.RTPPorts = cmp.Or(a.Address, from.Address), cmp.Or(a.RTPPorts, from.RTPPorts, usualRTPPorts)
	if a.MediaAllow == nil {
		a.MediaAllow = from.MediaAllow
	}
	if a.MediaNAT == nil {
		a.MediaNAT = from.MediaNAT
	}
	return a
}

// PINPrompts are the prompts of the section, and the language of rules that name none.
// Errors name the file.
func (c *Config) PINPrompts() (*prompts.Set, string, error) {
	set, err := prompts.Load(c.PINFolder())
	return set, cmp.Or(c.Dispatch.Audio.Language, c.Dialin.Language), err
}

// PINFolder is that of the section's prompts.
func (c *Config) PINFolder() string { return cmp.Or(c.Dispatch.Audio.Prompts, c.Dialin.Prompts) }

// checkLanguage is dispatch.Config.CheckLanguage; nil where nobody hears prompts.
func (c *Config) checkLanguage() func(language string) error {
	if !c.HasPINAudio() {
		return nil
	}
	set, _, err := c.PINPrompts()
	if err != nil { // said by checks.dispatchAudio
		return func(string) error { return nil }
	}
	return set.Check
}

// dispatchAudio checks the section.
func (v *checks) dispatchAudio() {
	a := &v.c.Dispatch.Audio
	for key, list := range map[string][]string{"media-allow": a.MediaAllow, "media-nat": a.MediaNAT} {
		for _, s := range list {
			_, err := parsePrefix(s)
			v.check(dispatchAudio+key, err)
		}
	}
	ports, told, known := v.c.pinAudio().RTPPorts, netip.Addr{}, false
	least, most, err := portRange(ports)
	if a.RTPPorts != "" {
		v.check(dispatchAudio+"rtp-ports", err)
	}
	if at, _, err := v.c.audioAddress(v.c.pinAudio().Address); err == nil {
		told, known = at, true
	} else if a.Address != "" || a.Enabled && v.c.Dispatch.InUse() && v.c.IsSet(dispatchAudio+"enabled") {
		v.check(dispatchAudio+"address", err)
	}
	if !a.Enabled || !v.c.Dispatch.InUse() {
		return
	}
	switch set, language, err := v.c.PINPrompts(); {
	case err != nil && a.Prompts == "": // said of dialin.prompts, whose folder it is
	case err != nil:
		v.check(dispatchAudio+"prompts", err)
	default:
		v.check(dispatchAudio+"language", set.Check(language))
	}
	if err != nil || !known {
		return
	}
	for _, other := range v.c.otherMedia() {
		switch same := other.MinPort == least && other.MaxPort == most; {
		case same && other.Address != told:
			v.check(dispatchAudio+"rtp-ports", fmt.Errorf("%s are those of another address, too, %s: write another range, or the same address", ports, other.Address))
		case !same && other.MinPort <= most && least <= other.MaxPort:
			v.check(dispatchAudio+"rtp-ports", fmt.Errorf("%s: some of them are those of others, %d-%d: write the same, or a range apart", ports, other.MinPort, other.MaxPort))
		}
	}
	if p := v.c.Dialout.Audio.ICEPort; v.c.Dialout.Audio.Enabled && p >= int(least) && p <= int(most) {
		v.check(dispatchAudio+"rtp-ports", errors.New("one of them is dialout.audio.ice-port: choose another range"))
	}
}
