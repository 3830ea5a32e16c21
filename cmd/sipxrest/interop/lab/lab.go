// Package lab puts real SIP peers on loopback for tests: Kamailio as registrar
// and challenging proxy, baresip phones, SIPp phones that misbehave, and the
// real sipxrest binary, each started on free ports and ended with the test.
//
// Nothing here sleeps to let something happen: readiness is a line that the
// program prints or an answer that it gives, with a deadline. When a test
// fails, the logs of its lab stay in a folder that the test names.
package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// Domain is the SIP domain of every lab, and the realm of its challenges.
	Domain = "sipx.test"
	// Password is the SIP password and the PIN of every user.
	Password = "123"
	// Patience is how long a lab waits for anything that should happen at once.
	// It is long because the machine may be busy: it is a limit, not a delay.
	Patience = time.Minute
)

// Lab is one SIP world of a test.
type Lab struct {
	// Dir holds the configuration, recordings and logs.
	Dir string
	// Proxy is the registrar and proxy.
	Proxy *Proxy

	tb testing.TB
}

// Start makes a folder and starts the proxy. routes sends calls for a user to
// a fixed address (ip:port) instead of a registered phone.
func Start(tb testing.TB, routes map[string]string) *Lab {
	tb.Helper()
	return startLab(tb, proxyConfig{routes: routes})
}

// StartWorkers is Start with a number of UDP workers in the proxy: with more
// than one, messages that follow each other closely change places.
func StartWorkers(tb testing.TB, routes map[string]string, workers int) *Lab {
	tb.Helper()
	return startLab(tb, proxyConfig{routes: routes, workers: workers})
}

// StartForking is Start with a proxy that rings two phones of a user at once.
func StartForking(tb testing.TB) *Lab {
	tb.Helper()
	return startLab(tb, proxyConfig{phones: 2})
}

// StartSecure is Start with a proxy that speaks TLS and WebSocket as well.
func StartSecure(tb testing.TB, routes map[string]string) *Lab {
	tb.Helper()
	return startLab(tb, proxyConfig{routes: routes, secure: true})
}

// Bare makes a folder only, for tests of pages that call nobody.
func Bare(tb testing.TB) *Lab {
	tb.Helper()
	return &Lab{tb: tb, Dir: folder(tb)}
}

func startLab(tb testing.TB, c proxyConfig) *Lab {
	tb.Helper()
	Need(tb, "kamailio", "baresip", "sipp", "curl")
	l := &Lab{tb: tb, Dir: folder(tb)}
	l.Proxy = startProxy(l, c)
	return l
}

// Run runs a subtest: what fails in it is told there, and what is started in
// it ends with it. Subtests of a lab run one after another.
func (l *Lab) Run(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		outer := l.tb
		l.tb = t
		defer func() { l.tb = outer }()
		test(t)
	})
}

// Need fails the test when a program is not installed: a test that is skipped
// silently proves nothing.
func Need(tb testing.TB, programs ...string) {
	tb.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			tb.Fatalf("%s is not installed: run `make setup`, or only `make unit` where it cannot be installed", p)
		}
	}
}

// folder is like TempDir but outlives a failed test, for its logs.
func folder(tb testing.TB) string {
	tb.Helper()
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '_'
		}
		return r
	}, tb.Name())
	dir, err := os.MkdirTemp("", "lab-"+name+"-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() || os.Getenv("LAB_KEEP") != "" {
			tb.Logf("logs of the lab: %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return dir
}

// write puts a file into the lab's folder and returns its path.
func (l *Lab) write(name, text string) string {
	l.tb.Helper()
	path := filepath.Join(l.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		l.tb.Fatal(err)
	}
	return path
}

// Until polls ok until it is true, and fails the test with what was awaited
// when that takes longer than Patience.
func (l *Lab) Until(what string, ok func() bool) {
	l.tb.Helper()
	l.until(20*time.Millisecond, func() string { return what }, ok)
}

// until polls ok and fails the test with what failure says when Patience is over.
func (l *Lab) until(every time.Duration, failure func() string, ok func() bool) {
	l.tb.Helper()
	l.untilIn(Patience, every, failure, ok)
}

// untilIn is until with a patience of its own.
func (l *Lab) untilIn(patience, every time.Duration, failure func() string, ok func() bool) {
	l.tb.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			l.tb.Fatalf("waited %v in vain: %s", patience, failure())
		}
	}
}

// Ports below Linux' ephemeral range (32768): no outgoing socket of another
// program can take one between our look and its use.
const (
	firstPort = 20000
	lastPort  = 32000
)

var ports struct {
	sync.Mutex
	next int
}

// Ports returns the first of n consecutive ports that are free on 127.0.0.1
// for UDP and TCP. A port is given out once in the life of the process.
func Ports(tb testing.TB, n int) int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 { // another test binary may run: start elsewhere
		ports.next = firstPort + 2*rand.IntN((lastPort-firstPort)/2)
	}
	for range lastPort - firstPort {
		first := ports.next
		if first+n > lastPort {
			ports.next = firstPort
			continue
		}
		if free(first, n) {
			ports.next = first + n + n%2 // stays even: RTP wants that
			return first
		}
		ports.next = first + 2
	}
	tb.Fatal("no free ports on 127.0.0.1")
	return 0
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		if !freeAt("127.0.0.1", port) {
			return false
		}
	}
	return true
}

// freeAt reports whether a port of an address is free for UDP and TCP.
func freeAt(host string, port int) bool {
	addr := fmt.Sprintf("%s:%d", host, port)
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	u.Close()
	t, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	t.Close()
	return true
}
