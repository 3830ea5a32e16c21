package sfu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/talk/talktest"
)

const (
	benchListeners = 32
	benchChild     = "SIPXREST_SFU_BENCH_CHILD"
)

// benchPeer is the media server of benchmarks, in a process of its own, whose work
// is not counted. For each line it offers to hear somebody who speaks, and takes the
// answer in the next one.
func benchPeer() {
	s := talktest.NewSFU(&testing.B{})
	talker := s.Play(talktest.Speech)
	lines, out := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		if _, err := lines.ReadString('\n'); err != nil {
			os.Exit(0)
		}
		var mu sync.Mutex
		var candidates []string
		sub, offer, err := talker.Subscribe(func(c talktest.Candidate) {
			mu.Lock()
			defer mu.Unlock()
			candidates = append(candidates, c.Candidate)
		})
		if err != nil {
			panic(err)
		}
		time.Sleep(50 * time.Millisecond) // until its candidates are there
		mu.Lock()
		_ = out.Encode([]any{offer, candidates})
		mu.Unlock()
		line, _ := lines.ReadString('\n')
		var answer string
		if json.Unmarshal([]byte(line), &answer) != nil || sub.Answer(answer) != nil {
			panic(line)
		}
	}
}

// BenchmarkSubscription measures how much of a processor somebody costs who is
// heard, or is not at the moment: an op is 20 ms of one. It takes real time, so:
// go test -run '^$' -bench Subscription -benchtime 32000x ./media/sfu (20 s each).
func BenchmarkSubscription(b *testing.B) {
	for _, decoded := range []bool{true, false} {
		b.Run(fmt.Sprintf("decoded=%v", decoded), func(b *testing.B) {
			s, err := New(Config{Address: netip.MustParseAddr("127.0.0.1"), Loopback: true})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			heap, goroutines := usedHeap(), runtime.NumGoroutine()
			subs := benchSubscriptions(b, s)
			heap, goroutines = usedHeap()-heap, runtime.NumGoroutine()-goroutines
			before := cpuTime(b)
			b.ResetTimer()
			var out [320]int16
			heard := 0
			clock := time.NewTicker(20 * time.Millisecond)
			defer clock.Stop()
			ticks := max(b.N/benchListeners, 1)
			for range ticks {
				now := <-clock.C
				for _, sub := range subs {
					if !decoded {
						sub.Skip(now)
					} else if sub.Pull(now, &out) {
						heard++
					}
				}
			}
			b.StopTimer()
			micros := float64((cpuTime(b) - before).Microseconds()) / float64(ticks*benchListeners)
			b.ReportMetric(micros, "cpu-µs/op")
			b.ReportMetric(micros/200, "%core")
			b.ReportMetric(float64(heap)/1024/benchListeners, "KiB/subscription")
			b.ReportMetric(float64(goroutines)/benchListeners, "goroutines/subscription")
			for _, sub := range subs {
				if st := sub.Stats(); st.Last.IsZero() || time.Since(st.Last) > time.Second {
					b.Errorf("not heard: %+v", st)
				}
			}
		})
	}
}

// BenchmarkWrite is what one frame costs that is published, all of pion included.
func BenchmarkWrite(b *testing.B) {
	for _, codec := range []media.Codec{media.G722, media.PCMU} {
		b.Run(codec.String(), func(b *testing.B) {
			r := newRig(b)
			p, _, _ := r.publish(codec, strings.ToLower(codec.String()))
			frame := tone(440, 0)
			b.ReportAllocs()
			for b.Loop() {
				p.Write(frame)
			}
		})
	}
}

func benchSubscriptions(b *testing.B, s *SFU) (subs []*Subscription) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), benchChild+"=1")
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = child.Wait()
	})
	lines := bufio.NewReader(out)
	for range benchListeners {
		fmt.Fprintln(in)
		line, err := lines.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		var offer string
		var candidates []string
		if err := json.Unmarshal([]byte(line), &[]any{&offer, &candidates}); err != nil {
			b.Fatal(err)
		}
		e, ev := newEvents()
		sub, answer, err := s.Subscribe(offer, ev)
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range candidates {
			_ = sub.Candidate(Candidate{Candidate: c})
		}
		text, _ := json.Marshal(answer)
		fmt.Fprintf(in, "%s\n", text)
		e.up(b)
		subs = append(subs, sub)
	}
	return subs
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func usedHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
