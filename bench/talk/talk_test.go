// Package talk measures what telephones in conversations of Nextcloud Talk cost the
// service, which is a process of its own here. The stand-ins for Talk, Janus, its
// participants and the telephones are in this one, and are not counted:
//
//	go test ./bench/talk -run '^$' -bench . -benchtime 1x
package talk

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/media"
	"sipxrest/sipflow/siptest"
	"sipxrest/talk/talktest"
)

const (
	warm = 4 * time.Second  // until buffers and flags are settled
	span = 10 * time.Second // that is measured
	tick = 100              // of processor time in /proc, a second
)

// Processor time is in percent of one core; memory is what is resident.
func BenchmarkConversations(b *testing.B) {
	program := filepath.Join(b.TempDir(), "sipxrest")
	if out, err := exec.Command("go", "build", "-o", program, "sipxrest/cmd/sipxrest").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		name                        string
		codec                       media.Codec
		rooms, phones, participants int
		sound                       talktest.Sound
	}{
		{"2 phones PCMA", media.PCMA, 1, 2, 0, talktest.Silent},
		{"22 phones PCMA", media.PCMA, 1, 22, 0, talktest.Silent},
		{"22 phones G722", media.G722, 1, 22, 0, talktest.Silent},
		{"2 phones, 6 heard", media.PCMA, 1, 2, 6, talktest.Speech},
		{"2 phones, 6 heard, 14 not", media.PCMA, 1, 2, 20, talktest.Speech},
		{"10 rooms of 5 phones, 4 heard", media.PCMA, 10, 5, 4, talktest.Speech},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				s := start(b, program, c.codec)
				for room := range c.rooms {
					token := strconv.Itoa(4271950000 + room)
					s.lab.Cloud.Join(token, "somebody").Speak(false) // else the call is empty
					for i := range c.participants {
						s.lab.Cloud.Talk(token, "participant"+strconv.Itoa(i), talktest.ParticipantOptions{Sound: c.sound})
					}
					for i := range c.phones {
						n := room*c.phones + i
						if _, err := s.lab.Cloud.Dialout(token, fmt.Sprintf("+493055%07d", n), talktest.Options(100+n)); err != nil {
							b.Fatal(err)
						}
					}
				}
				all := c.rooms * c.phones
				s.speak(b, all)
				time.Sleep(warm)
				cpu, packets, began := s.cpu(b), s.received.Load(), time.Now()
				time.Sleep(span)
				took := time.Since(began).Seconds()
				cpu, packets = s.cpu(b)-cpu, s.received.Load()-packets
				// Where many are lacking, the figure is of another load than it says.
				b.ReportMetric(100*float64(packets)/(float64(50*all)*took), "%packets")
				b.ReportMetric(100*cpu/took, "%core")
				b.ReportMetric(s.memory(b), "MiB")
				s.stop(b)
			}
		})
	}
}

// service is the running sipxrest, and what is around it.
type service struct {
	lab      *talktest.Lab
	program  *exec.Cmd
	gateway  *siptest.Phone
	audio    *net.UDPConn // of all telephones
	codec    media.Codec
	received atomic.Int64
	ending   chan struct{}
	ended    sync.WaitGroup
	stopped  bool
}

func start(b *testing.B, program string, codec media.Codec) *service {
	b.Helper()
	s := &service{lab: talktest.New(b), codec: codec, ending: make(chan struct{})}
	s.lab.AddSFU()
	server := httptest.NewServer(s.lab)
	b.Cleanup(server.Close)
	s.lab.Cloud.Listen(server.URL + "/nextcloud/")

	s.audio = listen(b)
	payload := map[media.Codec]string{media.PCMA: "8", media.G722: "9"}[codec]
	gateway := listen(b)
	s.gateway = siptest.NewPhone(gateway, siptest.Account{User: "gateway"}, siptest.Script{SDP: fmt.Sprintf(
		"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP %s 101\r\n"+
			"a=rtpmap:101 telephone-event/8000\r\n",
		s.audio.LocalAddr().(*net.UDPAddr).Port, payload)})
	b.Cleanup(s.gateway.Close)

	dir := b.TempDir()
	config := fmt.Sprintf(`domain: bench.test
data-dir: %[1]s/data
users: [users.yaml]
sip: {listen: ["udp:127.0.0.1:0"], outbound-proxy: ["sip:127.0.0.1:9"], health: {interval: 0s}}
http: [{listen: "127.0.0.1:0", auth: pin}]
dial: {country: DE}
drain: 0s
log: {level: error}
dialout:
  servers: [{url: "%[2]s/standalone-signaling", secret: %[3]s, backends: [{url: "%[2]s/nextcloud/", sip-secret: %[4]s}]}]
  gateway: {uri: "sip:%[5]s", default-number: "+4930123456"}
  agent: "201"
  limits: {calls: 1000, room: 100, rooms: 100}
  audio: {address: 127.0.0.1, rtp-ports: 22000-23999, ice-port: 0, media-allow: [127.0.0.0/8]}
`, dir, server.URL, talktest.Secret, talktest.SIPSecret, gateway.LocalAddr())
	for name, text := range map[string]string{"sipxrest.yaml": config, "users.yaml": "- {user: \"201\", pin: \"1\"}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	s.program = exec.Command(program, "-c", filepath.Join(dir, "sipxrest.yaml"))
	s.program.Stdout, s.program.Stderr = os.Stderr, os.Stderr
	if err := s.program.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.stop(b) }) // before the lab ends
	s.lab.Until("the service is connected", time.Minute, func() bool { return s.lab.Bridges() == 1 })
	return s
}

// stop ends the service, and with it all calls.
func (s *service) stop(b *testing.B) {
	if s.stopped {
		return
	}
	s.stopped = true
	close(s.ending)
	s.audio.Close()
	s.ended.Wait()
	_ = s.program.Process.Signal(syscall.SIGTERM)
	if err := s.program.Wait(); err != nil {
		b.Error(err)
	}
}

func listen(b *testing.B) *net.UDPConn {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

var audioPort = regexp.MustCompile(`m=audio (\d+) `)

// speak waits until so many telephones are called, and has each send a tone.
func (s *service) speak(b *testing.B, phones int) {
	s.lab.Until("the telephones are called", time.Minute, func() bool { return len(s.gateway.Requests(sip.ACK)) >= phones })
	var to []*net.UDPAddr
	for _, r := range s.gateway.Requests(sip.INVITE) {
		if m := audioPort.FindSubmatch(r.Body()); m != nil {
			port, _ := strconv.Atoi(string(m[1]))
			to = append(to, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		}
	}
	s.ended.Go(func() {
		buf := make([]byte, 1500)
		for {
			if _, _, err := s.audio.ReadFromUDP(buf); err != nil {
				return
			}
			s.received.Add(1)
		}
	})
	s.ended.Go(func() {
		encoder, payload := media.NewEncoder(s.codec), byte(8)
		if s.codec == media.G722 {
			payload = 9
		}
		packet := append(make([]byte, 12), make([]byte, 160)...)
		packet[0], packet[1] = 0x80, payload
		packet[11] = 7
		clock := time.NewTicker(20 * time.Millisecond)
		defer clock.Stop()
		var pcm [320]int16
		for n := 0; ; n++ {
			select {
			case <-clock.C:
			case <-s.ending:
				return
			}
			for i := range pcm {
				pcm[i] = int16(3000 * math.Sin(2*math.Pi*440*float64(n*320+i)/16000))
			}
			binary.BigEndian.PutUint16(packet[2:], uint16(n))
			binary.BigEndian.PutUint32(packet[4:], uint32(160*n))
			packet = encoder.Encode(packet[:12], &pcm)
			for _, a := range to {
				_, _ = s.audio.WriteToUDP(packet, a)
			}
		}
	})
}

// cpu is the service's processor time in seconds.
func (s *service) cpu(b *testing.B) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.program.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / tick
}

// memory is the service's, in MiB.
func (s *service) memory(b *testing.B) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.program.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		b.Fatal("no VmRSS")
	}
	kib, _ := strconv.ParseFloat(string(m[1]), 64)
	return kib / 1024
}
