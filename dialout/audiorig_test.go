package dialout

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/media/sfu"
	"sipxrest/talk/talktest"
	"sipxrest/talkroom"
)

// patience is how long is waited for what comes at once, unless the machine has much
// else to do. It only matters when a test fails.
const patience = time.Minute

// audioStage is a service whose phones are in the conversation itself: signaling,
// media server, and telephones that send RTP over loopback, in real time. Only SIP is
// played by the test.
type audioStage struct {
	*stage
	lab   *talktest.Lab
	mcu   *talktest.SFU
	rooms *talkroom.Rooms
	ports *media.Ports
	far   *media.Ports // of the telephones
	stop  func()
}

var loopback = netip.MustParseAddr("127.0.0.1")

func portsFrom(t *testing.T, least uint16) *media.Ports {
	t.Helper()
	p, err := media.NewPorts(media.Config{Address: loopback, MinPort: least, MaxPort: least + 199, Log: slog.New(slog.DiscardHandler),
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// withAudio runs a test. In the end nothing may be left: no call, no phone, no port,
// no connection of the media server's, no note.
func withAudio(t *testing.T, f func(st *audioStage), change ...func(*audioStage, *Config)) {
	t.Helper()
	if testing.Short() || raceDetector {
		t.Skip("sound in real time: scripts/unit.sh runs it without the race detector, which is too slow for it")
	}
	dir := t.TempDir()
	st := &audioStage{lab: talktest.New(t), ports: portsFrom(t, 30000), far: portsFrom(t, 30200)}
	st.mcu = st.lab.AddSFU()
	servers, err := sfu.New(sfu.Config{Address: loopback, Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg := talkroom.Config{SFU: servers, Beep: talkroom.BeepNone, MaxRooms: 2}
	st.rooms = talkroom.New(cfg, nil)
	audio := &Audio{Rooms: st.rooms, Ports: st.ports}
	st.stage = newStage(t, func(c *Config) {
		withTalk(st.lab, dir)(c)
		c.RoomTarget, c.Audio = "", audio
		for _, f := range change {
			f(st, c)
		}
	}, st.rooms.Handler())
	roomsCtx, leave := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() { left <- st.rooms.Run(roomsCtx) }()
	stop := st.runs()
	st.stop = sync.OnceFunc(func() {
		stop()
		leave()
		if err := <-left; err != nil {
			t.Error(err)
		}
		if err := servers.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(st.stop)
	st.until("connected", func() bool { up, _ := st.client.Sessions()[0].Connected(); return up })
	f(st)
	st.stop()
	if n := st.ports.InUse(); n != 0 {
		t.Errorf("%d ports are in use", n)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.active != 0 || len(st.busy) != 0 || len(st.Service.rooms) != 0 {
		t.Errorf("counted as in progress: %d calls, %v, %v", st.active, st.busy, st.Service.rooms)
	}
}

// until waits for what is to come soon.
func (st *audioStage) until(what string, is func() bool) {
	st.t.Helper()
	for range 3000 {
		if is() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	st.t.Fatalf("not within a minute: %s\n%s\n%s", what, st.log, strings.Join(st.lab.Messages(), "\n"))
}

// telephone is the far end of a call: it plays a tone and hears.
type telephone struct {
	t     *testing.T
	id    string // of the call
	line  *testLine
	media *media.Session
	end   chan struct{}
	done  sync.WaitGroup

	mu     sync.Mutex
	pcm    []int16 // of the last second
	digits string
}

// call has Talk call a number, which answers and plays a tone; 0: it is silent.
func (st *audioStage) call(attendee int, hz float64) *telephone {
	st.t.Helper()
	st.mu.Lock()
	n := len(st.placed)
	st.mu.Unlock()
	id, err := st.lab.Cloud.Dialout(token, number, talktest.Options(attendee))
	if err != nil {
		st.t.Fatalf("%v\n%s", err, st.log)
	}
	p := &telephone{t: st.t, id: id, end: make(chan struct{})}
	st.until("placed", func() bool {
		st.mu.Lock()
		defer st.mu.Unlock()
		if len(st.placed) > n {
			p.line = st.placed[n]
		}
		return p.line != nil
	})
	p.media, err = st.far.Open(media.Options{Audio: p.hear, Digit: func(key byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.digits += string(key)
	}})
	if err != nil {
		st.t.Fatal(err)
	}
	answer, err := p.media.Answer(p.line.talks.Offer())
	if err != nil {
		st.t.Fatal(err)
	}
	p.line.rings()
	if err := p.line.talks.Answered(answer, false); err != nil {
		st.t.Fatal(err)
	}
	p.line.connects()
	p.done.Go(func() {
		clock := time.NewTicker(20 * time.Millisecond)
		defer clock.Stop()
		at := 0.0
		for {
			select {
			case <-p.end:
				return
			case <-clock.C:
			}
			frame := make([]int16, 320)
			for i := range frame {
				if at += 2 * math.Pi * hz / 16000; hz > 0 {
					frame[i] = int16(8000 * math.Sin(at))
				}
			}
			p.media.Write(frame)
		}
	})
	st.t.Cleanup(p.hangUp)
	return p
}

func (p *telephone) hear(pcm []int16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pcm = append(p.pcm, pcm...)
	if n := len(p.pcm) - 16000; n > 0 {
		p.pcm = slices.Delete(p.pcm, 0, n)
	}
}

// hangUp ends the call from the phone's side.
func (p *telephone) hangUp() {
	select {
	case <-p.end:
		return
	default:
	}
	close(p.end)
	p.done.Wait()
	p.line.ends(phone, nil)
	p.media.Close()
}

// tones are those of 400 ms that the phone hears, of what it may: multiples of 100 Hz.
func (p *telephone) tones() (list []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const window = 6400
	if len(p.pcm) < window {
		return nil
	}
	pcm := p.pcm[len(p.pcm)-window:]
	loud := map[int]float64{}
	most := 0.0
	for hz := 200; hz <= 3400; hz += 100 {
		c, s1, s2 := 2*math.Cos(2*math.Pi*float64(hz)/16000), 0.0, 0.0
		for _, v := range pcm {
			s1, s2 = float64(v)+c*s1-s2, s1
		}
		loud[hz] = 2 * math.Sqrt(max(s1*s1+s2*s2-c*s1*s2, 0)) / window
		most = max(most, loud[hz])
	}
	for hz := 200; hz <= 3400; hz += 100 {
		if loud[hz] > 150 && loud[hz] > most/20 { // 26 dB
			list = append(list, hz)
		}
	}
	return list
}

// hears waits until the phone hears these tones and no others.
func (st *audioStage) hears(who string, p *telephone, want ...int) {
	st.t.Helper()
	for range 1500 {
		if slices.Equal(p.tones(), want) {
			return
		}
		time.Sleep(40 * time.Millisecond)
	}
	st.t.Fatalf("%s hears %v, want %v\n%s\n%s", who, p.tones(), want, st.log, strings.Join(st.lab.Messages(), "\n"))
}

// last is the last status of a call in the conversation.
func (st *audioStage) last(id string) string {
	s := st.lab.Cloud.Statuses(token)[id]
	return fmt.Sprint(s.Status, " ", s.Message)
}
