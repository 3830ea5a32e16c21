package siptest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Voice is the audio of a phone over a real socket: it sends packets of silence by RTP
// (RFC 3550) to where the other side wants them, and counts what it hears.
type Voice struct {
	conn  *net.UDPConn
	heard func() string
	work  sync.WaitGroup
	ended chan struct{}

	mu    sync.Mutex
	since time.Time
	last  time.Time // of a packet
	audio Audio

	next   uint16 // number of the packet that is expected
	stream uint32 // SSRC of the packets
	begun  bool   // both are known
}

// Audio is what a phone has heard.
type Audio struct {
	Packets int           // that came
	For     time.Duration // how long it has listened
	Longest time.Duration // time without a packet, which a busy machine makes longer

	// What the numbers of the packets tell: however busy the machine is, it makes none of these.
	Lost  int // packets that were sent and did not come
	Twice int // packets that came again, or after later ones
	Anew  int // streams that took the place of another
}

// Whole reports whether audio came, and each packet of it once.
func (a Audio) Whole() bool { return a.Packets > 0 && a.Lost == 0 && a.Twice == 0 && a.Anew == 0 }

// packetTime is how much audio a packet carries.
const packetTime = 20 * time.Millisecond

// Owed is the audio that has not come in this time, if each packet carries 20 ms.
func (a Audio) Owed() time.Duration { return a.For - time.Duration(a.Packets)*packetTime }

// NewVoice speaks and listens on a socket, which it owns from now on, until Close. heard
// returns the other side's last description, as Phone.Heard does.
func NewVoice(conn *net.UDPConn, heard func() string) *Voice {
	v := &Voice{conn: conn, heard: heard, ended: make(chan struct{}), since: time.Now()}
	v.work.Go(v.listen)
	v.work.Go(v.speak)
	return v
}

// VoiceSDP is the description of a phone of a user whose audio is at conn: for Script.SDP
// and Reinvite.SDP.
func VoiceSDP(user string, conn *net.UDPConn) string {
	at := conn.LocalAddr().(*net.UDPAddr)
	return fmt.Sprintf("v=0\r\no=%s 7 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n",
		user, at.IP, at.IP, at.Port)
}

func (v *Voice) listen() {
	buf := make([]byte, 2048)
	for {
		n, _, err := v.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if n >= 12 && buf[0]>>6 == 2 {
			v.note(binary.BigEndian.Uint16(buf[2:]), binary.BigEndian.Uint32(buf[8:]))
		}
	}
}

// note counts a packet by its number and its stream.
func (v *Voice) note(number uint16, stream uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if v.audio.Packets > 0 {
		v.audio.Longest = max(v.audio.Longest, now.Sub(v.last))
	}
	v.last = now
	v.audio.Packets++
	if v.begun && stream == v.stream {
		ahead := int16(number - v.next) // it wraps as the number does
		if ahead < 0 {
			v.audio.Twice++
			return
		}
		v.audio.Lost += int(ahead)
	} else if v.begun {
		v.audio.Anew++
	}
	v.begun, v.stream, v.next = true, stream, number+1
}

func (v *Voice) speak() {
	packet := make([]byte, 12+8*packetTime.Milliseconds())
	packet[0] = 2 << 6 // the version; payload type 0 is PCMU
	for i := range packet[12:] {
		packet[12+i] = 0xff // silence
	}
	binary.BigEndian.PutUint32(packet[8:], uint32(v.conn.LocalAddr().(*net.UDPAddr).Port)) // another one than the other side's
	tick := time.NewTicker(packetTime)
	defer tick.Stop()
	// A tick that a busy machine leaves out has no number. One with nobody to send to has: who listens misses it.
	for n := uint32(0); ; n++ {
		select {
		case <-v.ended:
			return
		case <-tick.C:
		}
		to, ok := audioAt(v.heard())
		if !ok {
			continue
		}
		binary.BigEndian.PutUint16(packet[2:], uint16(n))
		binary.BigEndian.PutUint32(packet[4:], n*uint32(8*packetTime.Milliseconds()))
		_, _ = v.conn.WriteToUDPAddrPort(packet, to)
	}
}

// audioAt is where a description wants audio, if it wants any (RFC 3264 §5.1).
func audioAt(description string) (to netip.AddrPort, ok bool) {
	host, port := "", 0
	for line := range strings.Lines(description) {
		line = strings.TrimSpace(line)
		if c, found := strings.CutPrefix(line, "c=IN IP4 "); found {
			host = c
		}
		if m, found := strings.CutPrefix(line, "m=audio "); found {
			number, _, _ := strings.Cut(m, " ")
			port, _ = strconv.Atoi(number)
		}
		if line == "a=sendonly" || line == "a=inactive" {
			return to, false
		}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.IsUnspecified() || port <= 0 || port > 65535 {
		return to, false
	}
	return netip.AddrPortFrom(ip, uint16(port)), true
}

// Audio returns what came since the last Reset.
func (v *Voice) Audio() Audio {
	v.mu.Lock()
	defer v.mu.Unlock()
	a := v.audio
	a.For = time.Since(v.since)
	if a.Packets > 0 {
		a.Longest = max(a.Longest, time.Since(v.last))
	}
	return a
}

// Reset counts anew. A packet that is lost between two packets is counted, whichever side of
// Reset they came on.
func (v *Voice) Reset() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.since, v.audio = time.Now(), Audio{}
}

// Close ends the audio, and returns when nothing of it runs.
func (v *Voice) Close() {
	close(v.ended)
	v.conn.Close()
	v.work.Wait()
}
