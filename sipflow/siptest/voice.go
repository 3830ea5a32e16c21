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
// (RFC 3550) to where the other side wants them, and knows the longest time in which none came.
type Voice struct {
	conn  *net.UDPConn
	heard func() string
	work  sync.WaitGroup
	ended chan struct{}

	mu      sync.Mutex
	last    time.Time
	gap     time.Duration
	packets int
}

// packetTime is how much audio a packet carries.
const packetTime = 20 * time.Millisecond

// NewVoice speaks and listens on a socket, which it owns from now on, until Close. heard
// returns the other side's last description, as Phone.Heard does.
func NewVoice(conn *net.UDPConn, heard func() string) *Voice {
	v := &Voice{conn: conn, heard: heard, ended: make(chan struct{})}
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
		if _, _, err := v.conn.ReadFromUDPAddrPort(buf); err != nil {
			return
		}
		now := time.Now()
		v.mu.Lock()
		if v.packets > 0 {
			v.gap = max(v.gap, now.Sub(v.last))
		}
		v.last = now
		v.packets++
		v.mu.Unlock()
	}
}

func (v *Voice) speak() {
	packet := make([]byte, 12+8*packetTime.Milliseconds())
	packet[0] = 2 << 6 // the version; payload type 0 is PCMU
	for i := range packet[12:] {
		packet[12+i] = 0xff // silence
	}
	tick := time.NewTicker(packetTime)
	defer tick.Stop()
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
		binary.BigEndian.PutUint32(packet[8:], 1)
		_, _ = v.conn.WriteToUDPAddrPort(packet, to)
	}
}

// audioAt is where a description wants audio.
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
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.IsUnspecified() || port <= 0 || port > 65535 {
		return to, false
	}
	return netip.AddrPortFrom(ip, uint16(port)), true
}

// Gap returns the longest time without a packet since it was asked last, and how many
// came. The time since the last one counts.
func (v *Voice) Gap() (longest time.Duration, packets int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	longest, packets = v.gap, v.packets
	if packets > 0 {
		longest = max(longest, time.Since(v.last))
	}
	v.gap, v.packets = 0, 0
	return longest, packets
}

// Close ends the audio, and returns when nothing of it runs.
func (v *Voice) Close() {
	close(v.ended)
	v.conn.Close()
	v.work.Wait()
}
