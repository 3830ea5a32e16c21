package siptest

import (
	"fmt"
	"slices"
	"strings"
)

// Media is what a phone's audio can do. A phone with formats negotiates as RFC 3264
// says, and hangs up when what it gets breaks that: it is strict about the answers to
// its offers. The zero value is the usual phone, whose description is always the same.
type Media struct {
	Formats []string // rtpmap values in the order of its preference: "0 PCMU/8000", "111 opus/48000/2"
	Profile string   // of its offers, "RTP/AVP" if empty
	Others  []string // further profiles that it takes in an offer of others
	Lines   []string // of each stream that it describes: "a=crypto:…"
	Needs   string   // begins a line that offers of others must have, "a=fingerprint:"; "" for none

	NeedsStream bool // rings for ever with an offer that has no stream
	NoLateOffer bool // takes no INVITE without an offer, not within a call either
	OneTrack    bool // a browser: a stream that was refused to it has nothing to send any more
	Multipart   bool // a gateway: its descriptions come with a part of ISUP (RFC 3204)
}

func (m *Media) on() bool { return len(m.Formats) > 0 }

func (m *Media) profile() string { return firstOf(m.Profile, "RTP/AVP") }

// takes reports whether the phone can do something with an offer. One without
// streams in use is none that could be refused.
func (m *Media) takes(offer string) bool {
	if offer == "" {
		return !m.NoLateOffer
	}
	used := false
	for _, s := range streamsOf(offer) {
		if used = used || s.used(); s.used() && len(m.common(s)) > 0 {
			return true
		}
	}
	return !used
}

// common are the formats of an offered stream that the phone has.
func (m *Media) common(s mediaStream) (formats []string) {
	if s.media != "audio" || s.profile != m.profile() && !slices.Contains(m.Others, s.profile) {
		return nil
	}
	if m.Needs != "" && !slices.ContainsFunc(s.lines, func(l string) bool { return strings.HasPrefix(l, m.Needs) }) {
		return nil
	}
	speech := false
	for _, f := range s.formats {
		for _, own := range m.Formats {
			if _, name, _ := strings.Cut(own, " "); name == s.name(f) {
				formats = append(formats, f)
				speech = speech || !strings.HasPrefix(name, "telephone-event/")
			}
		}
	}
	if !speech { // digits alone are no call
		return nil
	}
	return formats
}

// describe is the phone's offer, or its answer to one. The rest of it is the usual.
func (m *Media) describe(head, offer string) string {
	var b strings.Builder
	b.WriteString(head)
	if offer == "" {
		fmt.Fprintf(&b, "m=audio 40000 %s", m.profile())
		for _, f := range m.Formats {
			number, _, _ := strings.Cut(f, " ")
			b.WriteString(" " + number)
		}
		b.WriteString("\r\n")
		for _, f := range m.Formats {
			b.WriteString("a=rtpmap:" + f + "\r\n")
		}
		m.finish(&b, "sendrecv")
		return b.String()
	}
	for _, s := range streamsOf(offer) {
		formats := m.common(s)
		if !s.used() || len(formats) == 0 {
			fmt.Fprintf(&b, "m=%s 0 %s %s\r\n", s.media, s.profile, s.formats[0])
			continue
		}
		fmt.Fprintf(&b, "m=audio 40000 %s %s\r\n", s.profile, strings.Join(formats, " "))
		for _, f := range formats {
			b.WriteString("a=rtpmap:" + f + " " + s.name(f) + "\r\n")
		}
		m.finish(&b, map[string]string{"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}[s.direction()])
	}
	return b.String()
}

func (m *Media) finish(b *strings.Builder, direction string) {
	for _, l := range m.Lines {
		b.WriteString(l + "\r\n")
	}
	b.WriteString("a=" + firstOf(direction, "sendrecv") + "\r\n")
}

// multipart is a description as a gateway sends it (RFC 3204 §3.2, RFC 5621).
func multipart(description string) (contentType, body string) {
	return `multipart/mixed;boundary="cut here"`, "--cut here\r\nContent-Type: application/isup;version=itu-t92+;base=itu-t92+\r\n" +
		"Content-Disposition: signal;handling=optional\r\n\r\n\x10\x00\x20\x0a\x01\r\n" +
		"--cut here\r\nContent-Type: application/sdp\r\nContent-Disposition: session\r\n\r\n" + description + "\r\n--cut here--\r\n"
}

// mediaStream is an m= line and what stands below it.
type mediaStream struct {
	media, port, profile string
	formats              []string
	lines                []string
}

func streamsOf(description string) (streams []mediaStream) {
	for line := range strings.SplitSeq(description, "\n") {
		line = strings.TrimRight(line, "\r")
		if rest, ok := strings.CutPrefix(line, "m="); ok {
			f := strings.Fields(rest)
			if len(f) < 4 {
				f = []string{"?", "0", "?", "?"}
			}
			streams = append(streams, mediaStream{media: f[0], port: f[1], profile: f[2], formats: f[3:]})
		} else if len(streams) > 0 {
			s := &streams[len(streams)-1]
			s.lines = append(s.lines, line)
		}
	}
	return streams
}

func (s mediaStream) used() bool { return s.port != "0" }

// name is the encoding of a format (RFC 8866 §6.6), that of RFC 3551 where there is no
// rtpmap.
func (s mediaStream) name(format string) string {
	for _, l := range s.lines {
		if name, ok := strings.CutPrefix(l, "a=rtpmap:"+format+" "); ok {
			return name
		}
	}
	return map[string]string{"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "18": "G729/8000"}[format]
}

func (s mediaStream) direction() string {
	for _, l := range s.lines {
		switch l {
		case "a=sendonly", "a=recvonly", "a=inactive", "a=sendrecv":
			return l[2:]
		}
	}
	return "sendrecv"
}

// FaultOfAnswer says what of RFC 3264 §6 an answer breaks: each stream of the offer has
// its own, of the same media and profile, with formats of the offer's that it
// explains, keys where the profile has them, and in a direction that the offer lets it
// have. It is empty for a good one.
func FaultOfAnswer(offer, answer string) string {
	offered, answered := streamsOf(offer), streamsOf(answer)
	if len(offered) != len(answered) {
		return fmt.Sprintf("an answer with %d streams to an offer with %d", len(answered), len(offered))
	}
	for i, a := range answered {
		o := offered[i]
		switch {
		case a.media != o.media || a.profile != o.profile:
			return fmt.Sprintf("stream %d is %s by %s, and was offered as %s by %s", i, a.media, a.profile, o.media, o.profile)
		case !a.used():
			continue
		case !o.used():
			return fmt.Sprintf("stream %d was offered with port 0 and is used", i)
		}
		may := map[string]string{"sendrecv": "sendrecv sendonly recvonly inactive", "sendonly": "recvonly inactive",
			"recvonly": "sendonly inactive", "inactive": "inactive"}[o.direction()]
		if !slices.Contains(strings.Fields(may), a.direction()) {
			return fmt.Sprintf("stream %d is %s, and was offered %s", i, a.direction(), o.direction())
		}
		if why := faultOfStream(o, a); why != "" {
			return fmt.Sprintf("stream %d: %s", i, why)
		}
	}
	return ""
}

func faultOfStream(o, a mediaStream) string {
	has := func(prefix string) bool {
		return slices.ContainsFunc(a.lines, func(l string) bool { return strings.HasPrefix(l, prefix) })
	}
	for _, f := range a.formats {
		if !slices.Contains(o.formats, f) {
			return "format " + f + " was not offered"
		}
	}
	for _, l := range a.lines {
		for _, kind := range [...]string{"a=rtpmap:", "a=fmtp:"} {
			if rest, ok := strings.CutPrefix(l, kind); ok {
				if format, _, _ := strings.Cut(rest, " "); !slices.Contains(a.formats, format) {
					return l + " is about a format that is not there"
				}
			}
		}
	}
	switch secured := strings.Contains(a.profile, "SAVP"); {
	case secured && !has("a=crypto:") && !has("a=fingerprint:"):
		return a.profile + " without a key"
	case strings.Contains(a.profile, "TLS") && !has("a=fingerprint:"):
		return a.profile + " without a fingerprint"
	}
	return ""
}
