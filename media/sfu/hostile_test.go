package sfu

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/talk/talktest"
)

// anOffer is one of the stand-in, with audio, video and a data channel.
func anOffer(t testing.TB, r *rig) string {
	t.Helper()
	_, there, _ := r.publish(media.G722, "g722")
	_, offer, err := there.Subscribe(func(talktest.Candidate) {})
	if err != nil {
		t.Fatal(err)
	}
	return offer
}

// What Janus offers beside audio is refused, at its place, so that no association
// of SCTP is set up.
func TestAllButAudioIsRefused(t *testing.T) {
	r := newRig(t)
	offer := anOffer(t, r)
	video := "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:v\r\na=rtpmap:96 VP8/90000\r\na=sendonly\r\n"
	i := strings.Index(offer, "m=audio")
	for name, text := range map[string]string{"behind audio": offer + video, "before audio": offer[:i] + video + offer[i:]} {
		s, answer, err := r.sfu.Subscribe(text, Events{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var lines []string
		for line := range strings.Lines(answer) {
			if strings.HasPrefix(line, "m=") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		want := []string{"m=audio 9 UDP/TLS/RTP/SAVPF 9", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel", "m=video 0 UDP/TLS/RTP/SAVPF 96"}
		if name == "before audio" {
			want = []string{want[2], want[0], want[1]}
		}
		if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("%s: the answer has\n%s", name, got)
		}
		if !strings.Contains(answer, "a=group:BUNDLE 0\r\n") || !strings.Contains(answer, "a=mid:v\r\n") {
			t.Errorf("%s: %s", name, answer)
		}
		if s.pc.SCTP().Transport() != nil && s.pc.SCTP().State().String() != "connecting" {
			t.Errorf("%s: SCTP is %v", name, s.pc.SCTP().State())
		}
		s.Close()
	}
}

// What cannot be an offer or answer is refused, with a word of what is wrong.
func TestDescriptionsThatAreRefused(t *testing.T) {
	r := newRig(t)
	offer := anOffer(t, r)
	long := offer + strings.Repeat("a=x:"+strings.Repeat("y", 1000)+"\r\n", 70)
	many := offer + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", maxSections)
	for name, tt := range map[string]struct{ offer, want string }{
		"nothing":           {"", "no audio"},
		"no description":    {"hello", "session description"},
		"64 KiB":            {long, "longer than 64 KiB"},
		"many m= lines":     {many, "too many m= lines"},
		"no audio":          {strings.ReplaceAll(offer, "m=audio", "m=text"), "no audio"},
		"audio is off":      {strings.Replace(offer, "m=audio 9", "m=audio 0", 1), "no audio"},
		"audio is received": {strings.ReplaceAll(offer, "a=sendonly", "a=recvonly"), "no audio"},
		"another codec":     {strings.ReplaceAll(offer, "G722/8000", "speex/8000"), ErrCodec.Error()},
		"no fingerprint":    {strings.ReplaceAll(offer, "a=fingerprint", "a=x-fingerprint"), "fingerprint"},
		"no ICE":            {strings.ReplaceAll(offer, "a=ice-", "a=x-ice-"), "ice"},
	} {
		s, answer, err := r.sfu.Subscribe(tt.offer, Events{})
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tt.want)) {
			t.Errorf("%s: %v, not %q\n%s", name, err, tt.want, answer)
		}
		if s != nil {
			s.Close()
		}
	}
	p, mine, err := r.sfu.Publish(media.PCMU, Events{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for name, text := range map[string]string{"nothing": "", "64 KiB": long, "two m= lines": mine + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"} {
		if err := p.Answer(text); err == nil || errors.Is(err, ErrCodec) {
			t.Errorf("answer, %s: %v", name, err)
		}
	}
}

// Candidates are counted, whether they come early, late or in a description, and
// what cannot be used is not looked at.
func TestCandidatesAreBounded(t *testing.T) {
	r := newRig(t)
	p, _, err := r.sfu.Publish(media.PCMU, Events{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	candidate := func(i int) Candidate {
		return Candidate{Candidate: "candidate:1 1 udp 1 192.0.2.1 " + strconv.Itoa(1024+i) + " typ host"}
	}
	for i := range maxCandidates {
		if err := p.Candidate(candidate(i)); err != nil {
			t.Fatalf("candidate %d: %v", i, err)
		}
	}
	if err := p.Candidate(candidate(0)); !errors.Is(err, errCandidates) {
		t.Errorf("one too many: %v", err)
	}
	for _, c := range []string{"", "x", "candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active", "candidate:1 1 udp 1 x.local 9 typ host",
		"candidate:1 1 udp 1 metadata.internal 80 typ host", "candidate:1 1 udp 1 192.0.2.1 0 typ host",
		"candidate:1 1 udp 1 192.0.2.1 99999 typ host",
		"candidate:1 1 udp 1 192.0.2.1 9 type host", "candidate:1 1 udp 1 fe80::1%eth0 9 typ host",
		"candidate:1 1 udp 1 192.0.2.1 9 typ host " + strings.Repeat("x ", maxCandidate)} {
		if usable(c) {
			t.Errorf("usable: %.80s", c)
		}
	}
	if len(p.early) != maxCandidates {
		t.Errorf("%d candidates wait", len(p.early))
	}
	offer := anOffer(t, r)
	d, err := parse(offer + strings.Repeat("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", 2*maxCandidates) +
		"a=candidate:1 1 udp 1 x.local 9 typ host\r\n")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range d.MediaDescriptions {
		for _, a := range m.Attributes {
			if a.Key == "candidate" {
				n++
			}
		}
	}
	if n != maxCandidates {
		t.Errorf("%d candidates are taken of a description", n)
	}
}

// A source that floods the socket loses its packets, others lose none.
func TestAFloodIsDropped(t *testing.T) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	g := newGuard(socket)
	flood, other := netip.MustParseAddrPort("192.0.2.66:4711"), netip.MustParseAddrPort("192.0.2.20:5000")
	now := time.Now()
	taken, others := 0, 0
	for i := range 100_000 { // in two seconds
		at := now.Add(time.Duration(i) * 20 * time.Microsecond)
		if g.takes(flood, at) {
			taken++
		}
		if i%1000 == 0 && g.takes(other, at) { // 50 packets a second
			others++
		}
	}
	if taken > 3*guardPackets || others != 100 {
		t.Errorf("%d packets of the flood were taken, %d of 100 of another source", taken, others)
	}
	if n := testing.AllocsPerRun(1000, func() { g.takes(other, now) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

// Packets of strangers to the socket change nothing.
func TestStrangersAtTheSocket(t *testing.T) {
	r := newRig(t)
	p, there, e := r.publish(media.PCMU, "pcmu")
	s, _ := r.subscribe(there)
	stranger, err := net.Dial("udp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.sfu.Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	stun := append([]byte{0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
	for i := range 2000 {
		_, _ = stranger.Write([][]byte{
			append(stun, 0, 6, 0, 3, 'a', ':', 'b', 0),                     // STUN of an unknown user
			append(stun, 0, 6, 0xff, 0xff),                                 // whose attribute is too long
			{0x80, 0, byte(i >> 8), byte(i), 0, 0, 0, 0, 0, 0, 0, 1, 1},    // RTP
			{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, byte(i)}, // DTLS
			{}, {0xff},
		}[i%6])
	}
	r.flows(p, s)
	select {
	case err := <-e.failed:
		t.Error(err)
	default:
	}
}

// A peer that sends ever new streams is cut off.
func TestStreamsAreBounded(t *testing.T) {
	r := newRig(t)
	_, there, _ := r.publish(media.PCMU, "pcmu")
	s, e := r.subscribe(there)
	for i := range 3 * maxStreams {
		_ = s.buffer(0, uint32(i)).Close()
	}
	if err := e.down(t); !errors.Is(err, errStreams) {
		t.Error(err)
	}
}

// Close is right at any time, twice, and together with that of the SFU.
func TestCloseAtAnyTime(t *testing.T) {
	r := newRig(t)
	offer := anOffer(t, r)
	for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond} {
		for range 5 {
			p, mine, err := r.sfu.Publish(media.G722, Events{Failed: func(err error) { t.Errorf("after Close: %v", err) }})
			if err != nil {
				t.Fatal(err)
			}
			_, answer, err := r.janus.Publish(mine, "g722", func(c talktest.Candidate) { _ = p.Candidate(Candidate(c)) })
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Answer(answer); err != nil {
				t.Fatal(err)
			}
			s, _, err := r.sfu.Subscribe(offer, Events{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(after)
			p.Close()
			p.Close()
			p.Write(tone(440, 0))
			var out [320]int16
			s.Close()
			s.Pull(time.Now(), &out)
			_ = s.Candidate(Candidate{Candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host"})
		}
	}
	if _, _, err := r.sfu.Publish(media.G722, Events{}); err != nil { // is open while all closes
		t.Fatal(err)
	}
	if err := r.sfu.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := r.sfu.Publish(media.G722, Events{}); err == nil {
		t.Error("published after Close")
	}
	if _, _, err := r.sfu.Subscribe(offer, Events{}); err == nil {
		t.Error("subscribed after Close")
	}
}

func TestConfigurationsThatAreWrong(t *testing.T) {
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	here := netip.MustParseAddr("127.0.0.1")
	for want, c := range map[string]Config{
		"address: ":             {},
		"address: 0.0":          {Address: netip.MustParseAddr("0.0.0.0")},
		"address: 127":          {Address: here},
		"external: 2001":        {Address: here, Loopback: true, External: netip.MustParseAddr("2001:db8::1")},
		"port: ":                {Address: here, Loopback: true, Port: uint16(taken.LocalAddr().(*net.UDPAddr).Port)},
		"port: listen":          {Address: netip.MustParseAddr("192.0.2.1")}, // is not this machine's
		"servers: urls":         {Address: here, Loopback: true, Servers: []ICEServer{{}}},
		"servers: urls: ":       {Address: here, Loopback: true, Servers: []ICEServer{{URLs: []string{"http://x"}}}},
		"servers: turn:x needs": {Address: here, Loopback: true, Servers: []ICEServer{{URLs: []string{"turn:x"}}}},
		"servers: turn:x has": {Address: here, Loopback: true, Servers: []ICEServer{{URLs: []string{"turn:x"}, Username: "u", Credential: "c",
			Secret: "s"}}},
	} {
		s, err := New(c)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
		if err == nil {
			_ = s.Close()
		}
	}
}

// A thousand connections that nobody answers leave nothing behind.
func TestAThousandSubscriptions(t *testing.T) {
	r := newRig(t)
	offer := anOffer(t, r)
	goroutines := runtime.NumGoroutine()
	var subs []*Subscription
	for range 1000 {
		s, _, err := r.sfu.Subscribe(offer, Events{})
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, s)
		if len(subs) == 50 {
			for _, s := range subs {
				s.Close()
			}
			subs = subs[:0]
		}
	}
	eventually(t, "all are gone", func() bool {
		r.sfu.mu.Lock()
		defer r.sfu.mu.Unlock()
		return len(r.sfu.conns) <= 1 && runtime.NumGoroutine() <= goroutines+20
	})
}

// A fault of ours in pion's goroutine costs the packet, and not the process.
func TestAFaultCostsOnePacket(t *testing.T) {
	n := 0
	i := &inlet{log: slog.New(slog.DiscardHandler), done: make(chan struct{}), take: func([]byte) {
		if n++; n == 1 {
			panic("out of range")
		}
	}}
	for range 2 {
		if wrote, err := i.Write([]byte("packet")); wrote != 6 || err != nil {
			t.Errorf("wrote %d, %v", wrote, err)
		}
	}
	if n != 2 {
		t.Errorf("%d packets were taken", n)
	}
}
