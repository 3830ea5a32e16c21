package phone

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"sipxrest/media"
)

// peerCalls in the environment has the test's program be the phones of the
// benchmark: so many, in a process of their own.
const peerCalls = "PHONE_BENCH_PEERS"

// rtpPeers are phones that send 50 packets a second and throw away what comes.
// They print their ports, and read where to send to.
func rtpPeers(n int) {
	conns := make([]*net.UDPConn, n)
	for i := range conns {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			panic(err)
		}
		conns[i] = c
		go func() {
			b := make([]byte, 1500)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		}()
		fmt.Println(c.LocalAddr().(*net.UDPAddr).Port)
	}
	to := make([]netip.AddrPort, n)
	pt := make([]byte, n)
	in := bufio.NewScanner(os.Stdin)
	for i := range to {
		if !in.Scan() {
			return
		}
		port, kind, _ := strings.Cut(in.Text(), " ")
		p, _ := strconv.Atoi(port)
		k, _ := strconv.Atoi(kind)
		to[i], pt[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(p)), byte(k)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	b := make([]byte, 172)
	for i := range b[12:] {
		b[12+i] = byte(i * 37) // loud
	}
	for seq := uint32(0); ; seq++ {
		for i, c := range conns {
			b[0], b[1] = 0x80, pt[i]
			binary.BigEndian.PutUint16(b[2:], uint16(seq))
			binary.BigEndian.PutUint32(b[4:], seq*160)
			binary.BigEndian.PutUint32(b[8:], uint32(i+1))
			_, _ = c.WriteToUDPAddrPort(b, to[i])
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// BenchmarkGateway is the CPU time of a second of one call, audio both ways:
// RTP over loopback, codec, pacing, jitter buffer and the messages of the relay.
// The WebSocket is not in it, and the phones are in a process of their own.
func BenchmarkGateway(b *testing.B) {
	const calls = 50
	for _, codec := range []struct {
		name string
		pt   int
	}{{"G722", 9}, {"PCMA", 8}} {
		b.Run(codec.name, func(b *testing.B) {
			peers := exec.Command(os.Args[0])
			peers.Env = append(os.Environ(), peerCalls+"="+strconv.Itoa(calls))
			out, _ := peers.StdoutPipe()
			in, _ := peers.StdinPipe()
			if err := peers.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = in.Close(); _ = peers.Wait() }()
			loopback := netip.MustParseAddr("127.0.0.1")
			ports, err := media.NewPorts(media.Config{Address: loopback, MinPort: 28000, MaxPort: 28999, Log: slog.New(slog.DiscardHandler),
				Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
			if err != nil {
				b.Fatal(err)
			}
			s := &Service{cfg: Config{Gateway: &Gateway{Ports: ports}}}
			lines := bufio.NewScanner(out)
			var sides []*sipSide
			var users []*leg
			for range calls {
				if !lines.Scan() {
					b.Fatal("no port")
				}
				p, err := s.newSide(b.Context(), 1)
				if err != nil {
					b.Fatal(err)
				}
				defer p.close()
				if _, err := p.session.Answer(fmt.Appendf(nil, "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %s "+
					"RTP/AVP %d\r\n", lines.Text(), codec.pt)); err != nil {
					b.Fatal(err)
				}
				l := newLeg(&s.stats.frames)
				l.peer.Store(p.leg)
				p.leg.peer.Store(l)
				sides, users = append(sides, p), append(users, l)
			}
			for _, p := range sides {
				fmt.Fprintln(in, p.session.Port(), codec.pt)
			}
			time.Sleep(time.Second)
			pcm := tone(440, 20*time.Millisecond, 320)[0]
			text := message(pcm)
			began, start := cpuTime(), time.Now()
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for range 5 * 50 {
				<-tick.C
				for _, l := range users {
					for { // what a WebSocket would send
						_, f, _ := l.take()
						if f == nil {
							break
						}
						f.free()
					}
					f := newFrame()
					f.data = f.room[:copy(f.room, text)]
					l.hear(f)
				}
			}
			took := time.Since(start)
			spent := cpuTime() - began
			st := sides[0].session.Stats()
			if st.Received < 200 || st.Sent < 200 {
				b.Fatalf("%+v", st)
			}
			b.ReportMetric(spent.Seconds()*1000/(calls*took.Seconds()), "cpu-ms/call-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
