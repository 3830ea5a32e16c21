package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"sipxrest/sipflow/siptest"
)

// Ear is a phone that listens closely: it sends audio by RTP as phones do, and knows the
// longest time in which none came.
type Ear struct {
	*siptest.Phone
	media *net.UDPConn
	work  sync.WaitGroup
	stop  chan struct{}

	mu      sync.Mutex
	last    time.Time
	gap     time.Duration
	packets int
}

// packetTime is how much audio is in a packet.
const packetTime = 20 * time.Millisecond

// Ear starts such a phone for a user, registered at the lab's proxy.
func (l *Lab) Ear(user string) *Ear {
	l.tb.Helper()
	sip, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: Ports(l.tb, 1)})
	if err != nil {
		l.tb.Fatal(err)
	}
	media, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: Ports(l.tb, 2)})
	if err != nil {
		l.tb.Fatal(err)
	}
	sdp := fmt.Sprintf("v=0\r\no=%s 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n",
		user, media.LocalAddr().(*net.UDPAddr).Port)
	e := &Ear{media: media, stop: make(chan struct{}), Phone: siptest.NewPhone(sip, siptest.Account{
		User: user, Domain: Domain, Password: Password, Proxy: netip.MustParseAddrPort(l.Proxy.Addr),
	}, siptest.Script{SDP: sdp, Reinvite: siptest.Reinvite{SDP: sdp}})}
	e.work.Go(e.listen)
	e.work.Go(e.speak)
	l.tb.Cleanup(func() {
		close(e.stop)
		media.Close()
		e.work.Wait()
		e.Close()
	})
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := e.Register(ctx); err != nil {
		l.tb.Fatalf("phone %s: %v", user, err)
	}
	return e
}

func (e *Ear) listen() {
	buf := make([]byte, 2000)
	for {
		if _, _, err := e.media.ReadFromUDPAddrPort(buf); err != nil {
			return
		}
		now := time.Now()
		e.mu.Lock()
		if e.packets > 0 {
			e.gap = max(e.gap, now.Sub(e.last))
		}
		e.last = now
		e.packets++
		e.mu.Unlock()
	}
}

// speak sends silence to where the other side's last description says.
func (e *Ear) speak() {
	packet := make([]byte, 12+160)
	packet[0] = 0x80 // RFC 3550 version 2, payload type 0
	for i := range packet[12:] {
		packet[12+i] = 0xff
	}
	tick := time.NewTicker(packetTime)
	defer tick.Stop()
	for n := uint32(0); ; n++ {
		select {
		case <-e.stop:
			return
		case <-tick.C:
		}
		to, ok := mediaAddress(e.Heard())
		if !ok {
			continue
		}
		binary.BigEndian.PutUint16(packet[2:], uint16(n))
		binary.BigEndian.PutUint32(packet[4:], n*160)
		binary.BigEndian.PutUint32(packet[8:], 1)
		_, _ = e.media.WriteToUDPAddrPort(packet, to)
	}
}

// mediaAddress is where a description wants audio.
func mediaAddress(description string) (netip.AddrPort, bool) {
	host, port := "", 0
	for line := range strings.Lines(description) {
		line = strings.TrimSpace(line)
		if c, ok := strings.CutPrefix(line, "c=IN IP4 "); ok {
			host = c
		}
		if m, ok := strings.CutPrefix(line, "m=audio "); ok {
			first, _, _ := strings.Cut(m, " ")
			port, _ = strconv.Atoi(first)
		}
	}
	ip, err := netip.ParseAddr(host)
	return netip.AddrPortFrom(ip, uint16(port)), err == nil && port > 0 && !ip.IsUnspecified()
}

// Gap returns the longest time without a packet since it was asked last, with the time since the
// last packet, and how many came.
func (e *Ear) Gap() (longest time.Duration, packets int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	longest, packets = e.gap, e.packets
	if packets > 0 {
		longest = max(longest, time.Since(e.last))
	}
	e.gap, e.packets = 0, 0
	return longest, packets
}
