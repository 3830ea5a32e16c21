package sfu

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"sipxrest/media"
)

const (
	maxSDP        = 64 << 10 // bytes of a description
	maxSections   = 32       // m= lines in it
	maxCandidates = 64       // of one peer
	maxCandidate  = 512      // bytes of one
)

var (
	errTooLong  = errors.New("the session description is longer than 64 KiB")
	errSections = errors.New("the session description has too many m= lines")
	errNoAudio  = errors.New("the offer has no audio that is sent")
)

// An offer of a media server, of which only the audio is taken. The other m=
// lines are kept from pion altogether, since even refused by it, the one of the
// data channel costs an association of SCTP (RFC 8831) for each subscription.
type offer struct {
	all   []*sdp.MediaDescription
	audio int              // the index of what is taken
	types [128]media.Codec // of the audio, by payload type
}

// parse reads a description. Its candidates are those that may be used.
func parse(text string) (*sdp.SessionDescription, error) {
	if len(text) > maxSDP {
		return nil, errTooLong
	}
	d := &sdp.SessionDescription{}
	if err := d.UnmarshalString(text); err != nil {
		return nil, fmt.Errorf("session description: %w", err)
	}
	if len(d.MediaDescriptions) > maxSections {
		return nil, errSections
	}
	left := maxCandidates
	keep := func(a sdp.Attribute) bool {
		if a.Key != "candidate" {
			return true
		}
		if !usable(a.Value) || left == 0 {
			return false
		}
		left--
		return true
	}
	d.Attributes = slices.DeleteFunc(d.Attributes, func(a sdp.Attribute) bool { return !keep(a) })
	for _, m := range d.MediaDescriptions {
		m.Attributes = slices.DeleteFunc(m.Attributes, func(a sdp.Attribute) bool { return !keep(a) })
	}
	return d, nil
}

// readOffer returns an offer of audio only, as text, and what answers to the
// whole one are made with.
func readOffer(text string) (*offer, string, error) {
	d, err := parse(text)
	if err != nil {
		return nil, "", err
	}
	o := &offer{all: d.MediaDescriptions, audio: slices.IndexFunc(d.MediaDescriptions, func(m *sdp.MediaDescription) bool {
		return m.MediaName.Media == "audio" && m.MediaName.Port.Value != 0 && direction(d, m, "sendonly", "sendrecv")
	})}
	if o.audio < 0 {
		return nil, "", errNoAudio
	}
	if !o.learn(o.all[o.audio]) {
		return nil, "", ErrCodec
	}
	d.MediaDescriptions = o.all[o.audio : o.audio+1 : o.audio+1]
	mid, _ := o.all[o.audio].Attribute("mid")
	d.Attributes = slices.DeleteFunc(d.Attributes, func(a sdp.Attribute) bool { return a.Key == "group" })
	d.WithValueAttribute("group", "BUNDLE "+mid)
	out, err := d.Marshal()
	return o, string(out), err
}

// learn takes the payload types of our codecs, and reports whether there is one.
// pion would take a static payload type for its codec, whatever the offer says.
func (o *offer) learn(m *sdp.MediaDescription) bool {
	names := map[string]string{"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000"} // RFC 3551 §6
	for _, a := range m.Attributes {
		if pt, what, ok := strings.Cut(a.Value, " "); ok && a.Key == "rtpmap" {
			names[pt] = what
		}
	}
	known := false
	for _, format := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(format, 10, 7)
		name, rest, _ := strings.Cut(names[format], "/")
		clock, _, _ := strings.Cut(rest, "/")
		for _, c := range codecs {
			if err == nil && strings.EqualFold(name, c.codec.String()) && clock == strconv.Itoa(int(c.params.ClockRate)) {
				o.types[pt], known = c.codec, true
			}
		}
	}
	return known
}

// direction reports whether the direction of m is one of those. It is that of
// the whole session where m has none (RFC 8866 §6.7).
func direction(d *sdp.SessionDescription, m *sdp.MediaDescription, any ...string) bool {
	has := func(of []sdp.Attribute) string {
		for _, a := range of {
			if slices.Contains([]string{"sendrecv", "sendonly", "recvonly", "inactive"}, a.Key) {
				return a.Key
			}
		}
		return ""
	}
	is := has(m.Attributes)
	if is == "" {
		is = has(d.Attributes)
	}
	if is == "" {
		is = "sendrecv"
	}
	return slices.Contains(any, is)
}

// answer makes the answer to the whole offer of the one to its audio: all other
// m= lines are refused by port 0 (RFC 3264 §6).
func (o *offer) answer(text string) (string, error) {
	d := &sdp.SessionDescription{}
	if err := d.UnmarshalString(text); err != nil {
		return "", err
	}
	if len(d.MediaDescriptions) != 1 {
		return "", fmt.Errorf("the answer has %d m= lines instead of one", len(d.MediaDescriptions))
	}
	if d.MediaDescriptions[0].MediaName.Port.Value == 0 || !direction(d, d.MediaDescriptions[0], "recvonly", "sendrecv") {
		return "", ErrCodec
	}
	all := make([]*sdp.MediaDescription, len(o.all))
	for i, m := range o.all {
		if i == o.audio {
			all[i] = d.MediaDescriptions[0]
			continue
		}
		no := &sdp.MediaDescription{MediaName: m.MediaName, ConnectionInformation: d.MediaDescriptions[0].ConnectionInformation}
		no.MediaName.Port = sdp.RangedPort{}
		if mid, ok := m.Attribute("mid"); ok {
			no.WithValueAttribute("mid", mid)
		}
		all[i] = no.WithPropertyAttribute("inactive")
	}
	d.MediaDescriptions = all
	out, err := d.Marshal()
	return string(out), err
}

// readAnswer checks an answer to an offer of one m= line and returns it with the
// candidates that may be used.
func readAnswer(text string) (string, error) {
	d, err := parse(text)
	if err != nil {
		return "", err
	}
	if len(d.MediaDescriptions) != 1 {
		return "", fmt.Errorf("the answer has %d m= lines instead of one", len(d.MediaDescriptions))
	}
	if m := d.MediaDescriptions[0]; m.MediaName.Port.Value == 0 || !direction(d, m, "recvonly", "sendrecv") {
		return "", ErrCodec
	}
	out, err := d.Marshal()
	return string(out), err
}

// usable reports whether a candidate is one of UDP with an address. Names are
// not looked up, those of mDNS neither.
func usable(candidate string) bool {
	f := strings.Fields(strings.TrimPrefix(candidate, "candidate:"))
	if len(candidate) > maxCandidate || len(f) < 8 || !strings.EqualFold(f[2], "udp") || f[6] != "typ" {
		return false
	}
	port, err := strconv.ParseUint(f[5], 10, 16)
	if err != nil || port == 0 {
		return false
	}
	a, err := netip.ParseAddr(f[4])
	return err == nil && a.Zone() == ""
}
