package media

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A Refusal says why a session description cannot be used, and with which SIP
// response an offer of it is answered: 400 for one that cannot be read, 488 for
// one that asks for what we do not do. After a refused answer the call is hung up.
type Refusal struct {
	Code   int // 400 or 488
	Reason string
}

func (r *Refusal) Error() string {
	phrase := "Not Acceptable Here"
	if r.Code == 400 {
		phrase = "Bad Request"
	}
	return fmt.Sprintf("media: %d %s: %s", r.Code, phrase, r.Reason)
}

func malformed(format string, args ...any) error {
	return &Refusal{400, "session description: " + fmt.Sprintf(format, args...)}
}

func unacceptable(format string, args ...any) error {
	return &Refusal{488, fmt.Sprintf(format, args...)}
}

const (
	maxDescription = 16 << 10 // bytes
	maxLines       = 16       // m= lines
)

// line is one m= line with what was said about it.
type line struct {
	media, proto string
	port         int
	formats      []string
	conn         netip.Addr // of its c= or the session's; zero: not an IP address, or none
	rtcp         int        // port of a=rtcp, 0 without
	rtpmap       []string   // values of a=rtpmap
	direction    string     // "sendrecv" and so on
	crypto       []string   // values of a=crypto
}

// readLines does without an SDP library: they refuse what they need not know,
// such as a fax line or a bandwidth of a new kind: we only refuse what we
// cannot do without.
func readLines(body []byte) ([]line, error) {
	if len(body) > maxDescription {
		return nil, malformed("longer than %d bytes", maxDescription)
	}
	var lines []line
	all := line{direction: "sendrecv"} // what the session part says
	at := &all
	versioned := false
	for raw := range bytes.SplitSeq(body, []byte("\n")) {
		s := strings.TrimRight(string(raw), "\r ")
		if s == "" {
			continue
		}
		if len(s) < 2 || s[1] != '=' {
			return nil, malformed("line %.20q has no type", s)
		}
		for _, c := range []byte(s) {
			if c < ' ' && c != '\t' {
				return nil, malformed("control character in a %c= line", s[0])
			}
		}
		value := s[2:]
		if !versioned && s != "v=0" {
			return nil, malformed("does not begin with v=0")
		}
		versioned = true
		switch s[0] {
		case 'm':
			l, err := readMedia(value)
			if err != nil {
				return nil, err
			}
			if len(lines) == maxLines {
				return nil, malformed("more than %d m= lines", maxLines)
			}
			l.conn, l.direction = all.conn, all.direction
			lines = append(lines, l)
			at = &lines[len(lines)-1]
		case 'c':
			f := strings.Fields(value)
			if len(f) != 3 || f[0] != "IN" || (f[1] != "IP4" && f[1] != "IP6") {
				return nil, malformed("c=%.40s is not IN IP4 or IN IP6 and an address", value)
			}
			host, _, _ := strings.Cut(f[2], "/") // "/ttl" of a multicast address
			at.conn, _ = netip.ParseAddr(host)
			at.conn = at.conn.Unmap().WithZone("")
		case 'a':
			name, v, _ := strings.Cut(value, ":")
			switch name {
			case "sendrecv", "sendonly", "recvonly", "inactive":
				at.direction = name
			case "rtpmap":
				if len(at.rtpmap) < 128 {
					at.rtpmap = append(at.rtpmap, v)
				}
			case "crypto":
				if at != &all && len(at.crypto) < maxKeys { // keys are of a stream (RFC 4568 §4)
					at.crypto = append(at.crypto, v)
				}
			case "rtcp":
				port, _, _ := strings.Cut(v, " ")
				if n, err := strconv.ParseUint(port, 10, 16); err == nil {
					at.rtcp = int(n)
				}
			}
		}
	}
	if len(lines) == 0 {
		return nil, malformed("no m= line")
	}
	return lines, nil
}

func readMedia(value string) (line, error) {
	f := strings.Fields(value)
	if len(f) < 4 {
		return line{}, malformed("m=%.40s is too short", value)
	}
	port, _, _ := strings.Cut(f[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return line{}, malformed("m=%.40s has no port", value)
	}
	return line{media: f[0], port: int(n), proto: f[2], formats: f[3:]}, nil
}

// terms is what two descriptions agree on. It is replaced, never changed.
type terms struct {
	line   int // index of our m= line
	proto  string
	pt     uint8 // that we send
	codec  Codec
	listed []uint8    // payload types of codecs that we may receive, the one we send first
	codecs [128]Codec // those codecs, by payload type
	event  int        // payload type of telephone-event, -1 without
	noise  int        // payload type of comfort noise (RFC 3389), which is not asked for

	addr      netip.AddrPort // where RTP goes by the description; zero while held by c=0.0.0.0
	rtcp      uint16         // RTCP port of the peer
	crypto    *sdes          // by which it encrypts, nil: it does not
	direction string         // of ours
}

func (t *terms) sends() bool    { return t.direction == "sendrecv" || t.direction == "sendonly" }
func (t *terms) receives() bool { return t.direction == "sendrecv" || t.direction == "recvonly" }

// agreement finds in a line what we have in common, in the line's order. If it answers an
// offer of ours, its key is that of one of ours.
func (s *Session) agreement(l line, answers bool) (*terms, error) {
	secured := l.proto == "RTP/SAVP" && s.opt.Security != SRTPOff
	switch {
	case l.media != "audio":
		return nil, unacceptable("no audio line")
	case l.port == 0:
		return nil, unacceptable("the audio line is switched off")
	case l.proto != "RTP/AVP" && l.proto != "RTP/AVPF" && !secured:
		return nil, unacceptable("audio by %.20s: only plain RTP/AVP is spoken here", l.proto)
	case answers && secured != (s.offeredLines[s.offeredLine].proto == "RTP/SAVP"):
		return nil, unacceptable("audio by %.20s, where %s was offered", l.proto, s.offeredLines[s.offeredLine].proto)
	}
	t := &terms{proto: l.proto, event: -1, noise: 13, rtcp: uint16(min(l.port+1, 65535))}
	if s.opt.Security != SRTPOff && (!answers || s.offeredKeys != nil) {
		t.crypto = l.keyFor(answers, s.offeredKeys)
	}
	switch {
	case t.crypto != nil:
	case secured:
		return nil, unacceptable("audio by RTP/SAVP without a=crypto that is of use here, such as AES_CM_128_HMAC_SHA1_80")
	case s.opt.Security == SRTPRequired:
		return nil, unacceptable("audio by %.20s in the clear: SRTP is required here", l.proto)
	}
	for _, f := range l.formats {
		pt, err := strconv.ParseUint(f, 10, 7)
		if err != nil {
			continue
		}
		switch name := l.mapped(uint8(pt)); {
		case name == "TELEPHONE-EVENT/8000" && t.event < 0:
			t.event = int(pt)
		case name == "CN/8000":
			t.noise = int(pt)
		case t.codecs[pt] != none: // listed twice
		default:
			for _, k := range known {
				if name == k.name+"/8000" {
					t.codecs[pt] = k.codec
					t.listed = append(t.listed, uint8(pt))
				}
			}
		}
	}
	if len(t.listed) == 0 {
		return nil, unacceptable("no codec in common: G722, PCMA and PCMU are spoken here")
	}
	t.pt = t.listed[0]
	t.codec = t.codecs[t.pt]

	t.direction = map[string]string{"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}[l.direction]
	if !l.conn.IsValid() {
		return nil, unacceptable("c= must give an IP address")
	}
	if l.conn.IsUnspecified() { // held, as before RFC 3264
		if t.receives() {
			t.direction = "recvonly"
		} else {
			t.direction = "inactive"
		}
		return t, nil
	}
	t.addr = netip.AddrPortFrom(l.conn, uint16(l.port))
	if why := s.ports.refused(t.addr); why != "" {
		return nil, unacceptable("audio to %s: %s", t.addr, why)
	}
	if l.rtcp >= 1024 {
		t.rtcp = uint16(l.rtcp)
	}
	return t, nil
}

// mapped is "NAME/RATE", in capitals, of a payload type.
func (l *line) mapped(pt uint8) string {
	for _, m := range l.rtpmap {
		number, name, _ := strings.Cut(m, " ")
		if n, err := strconv.ParseUint(number, 10, 8); err == nil && uint8(n) == pt {
			return strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(name)), "/1")
		}
	}
	for _, k := range known {
		if k.pt == pt {
			return k.name + "/8000"
		}
	}
	return ""
}

// format is one payload type of a description of ours.
type format struct {
	pt   uint8
	name string
}

// write makes a description: for each of lines one that refuses it, but for
// the line ours. The version is that of o=.
func (s *Session) write(version uint64, lines []line, ours int, formats []format, direction string, keys []*sdes) []byte {
	var b bytes.Buffer
	family := "IP4"
	if s.ports.cfg.Address.Is6() {
		family = "IP6"
	}
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %[3]s %[4]s\r\nt=0 0\r\n", s.id, version, family, s.ports.cfg.Address)
	for i, l := range lines {
		if i != ours {
			fmt.Fprintf(&b, "m=%s 0 %s %s\r\n", l.media, l.proto, strings.Join(l.formats, " "))
			continue
		}
		fmt.Fprintf(&b, "m=audio %d %s", s.port, l.proto)
		for _, f := range formats {
			fmt.Fprintf(&b, " %d", f.pt)
		}
		b.WriteString("\r\n")
		for _, f := range formats {
			fmt.Fprintf(&b, "a=rtpmap:%d %s/8000\r\n", f.pt, f.name)
			if f.name == telephoneEvent {
				fmt.Fprintf(&b, "a=fmtp:%d 0-15\r\n", f.pt)
			}
		}
		for _, k := range keys {
			fmt.Fprintf(&b, "a=crypto:%s\r\n", k.line())
		}
		fmt.Fprintf(&b, "a=ptime:20\r\na=rtcp:%d\r\na=%s\r\n", s.port+1, direction)
	}
	return b.Bytes()
}

const telephoneEvent = "telephone-event"
