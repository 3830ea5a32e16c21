package web

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
)

// A scriptedListener answers connections from the given addresses, once there
// have been enough files for as many attempts.
type scriptedListener struct {
	net.Listener
	from  []string
	short int
}

func (l *scriptedListener) Close() error { return nil }

func (l *scriptedListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *scriptedListener) Accept() (net.Conn, error) {
	if len(l.from) == 0 {
		return nil, io.EOF
	}
	if l.short > 0 {
		l.short--
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	c := &scriptedConn{from: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(l.from[0]))}
	l.from = l.from[1:]
	return c, nil
}

type scriptedConn struct {
	net.Conn
	from *net.TCPAddr
}

func (c *scriptedConn) RemoteAddr() net.Addr { return c.from }
func (c *scriptedConn) Close() error         { return nil }

// busy has a connection answer a request.
func busy(c net.Conn) { c.(*limitedConn).state(http.StateActive) }

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	discard := slog.New(slog.DiscardHandler)
	accept := func(total int, exempt []netip.Prefix, from ...string) (l *limitListener, conns []net.Conn) {
		l = newLimitListener(&scriptedListener{from: from}, Room{Total: total, Exempt: exempt}, discard)
		for {
			c, err := l.Accept()
			if err != nil {
				return l, conns
			}
			busy(c)
			conns = append(conns, c)
		}
	}
	if _, conns := accept(8, nil, "192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "[::ffff:192.0.2.1]:4", "192.0.2.2:1"); len(conns) != 3 {
		t.Errorf("%d connections, want 2 of the first address and 1 of the second", len(conns))
	}
	if _, conns := accept(2, nil, "192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"); len(conns) != 2 {
		t.Errorf("%d connections, want 2 of 3", len(conns))
	}
	if _, conns := accept(8, config.Prefixes([]string{"192.0.2.1"}), "192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"); len(conns) != 3 {
		t.Errorf("%d connections of a reverse proxy, want 3", len(conns))
	}
	l, conns := accept(4, nil, "192.0.2.1:1")
	conns[0].Close()
	conns[0].Close()
	l.Close()
	if l.open != 0 || len(l.hosts) != 0 {
		t.Errorf("after closing (twice) %d are open, %v", l.open, l.hosts)
	}
}

// acceptAll answers the connections that are accepted from these addresses, a
// second after each other, which are idle.
func acceptAll(t *testing.T, l *limitListener) (conns []*limitedConn) {
	for {
		c, err := l.Accept()
		if err != nil {
			return conns
		}
		conns = append(conns, c.(*limitedConn))
		time.Sleep(time.Second)
	}
}

// open are the peers of those that are open.
func open(conns []*limitedConn) (peers []string) {
	for _, c := range conns {
		if !c.gone.Load() {
			peers = append(peers, c.RemoteAddr().String())
		}
	}
	return peers
}

// When a place is needed, the connection goes that is missed least.
func TestWhichIdleConnectionGivesItsPlace(t *testing.T) {
	known := func(a netip.Addr) bool { return a == netip.MustParseAddr("10.9.9.9") }
	var nine []string
	for i := range 9 {
		nine = append(nine, fmt.Sprintf("10.0.0.1:%d", i+1))
	}
	for _, c := range []struct {
		name  string
		room  Room
		from  []string
		busy  []int // answer a request
		stuck []int // do so, and the answer is not read
		next  string
		want  []string // open then
	}{
		{"the oldest", Room{Total: 3, PerAddress: 3}, []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"}, nil, nil,
			"10.0.0.4:1", []string{"10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"}},
		{"the oldest of the address that has most", Room{Total: 4, PerAddress: 4}, []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.2:2",
			"10.0.0.3:1"}, nil, nil,
			"10.0.0.4:1", []string{"10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:1", "10.0.0.4:1"}},
		{"one of its own address, where that has all it may", Room{Total: 8, PerAddress: 2}, []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.2:2"},
			nil, nil,
			"10.0.0.2:3", []string{"10.0.0.1:1", "10.0.0.2:2", "10.0.0.2:3"}},
		{"none that is in use", Room{Total: 2, PerAddress: 2}, []string{"10.0.0.1:1", "10.0.0.2:1"}, []int{0, 1}, nil,
			"10.0.0.3:1", []string{"10.0.0.1:1", "10.0.0.2:1"}},
		{"one whose answer is not read", Room{Total: 2, PerAddress: 2}, []string{"10.0.0.1:1", "10.0.0.2:1"}, []int{0}, []int{1},
			"10.0.0.3:1", []string{"10.0.0.1:1", "10.0.0.3:1"}},
		{"an idle one before that", Room{Total: 2, PerAddress: 2}, []string{"10.0.0.1:1", "10.0.0.2:1"}, nil, []int{0},
			"10.0.0.3:1", []string{"10.0.0.1:1", "10.0.0.3:1"}},
		{"room is kept for a known peer", Room{Total: 10, PerAddress: 10, Knows: known}, nine, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, nil,
			"10.9.9.9:1", append(nine[:9:9], "10.9.9.9:1")},
		{"it is not for strangers", Room{Total: 10, PerAddress: 10, Knows: known}, nine, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, nil,
			"10.0.0.2:1", nine},
		{"it is for them where nobody is known", Room{Total: 10, PerAddress: 10}, nine, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, nil,
			"10.0.0.2:1", append(nine[:9:9], "10.0.0.2:1")},
		{"a stranger's before a known peer's", Room{Total: 2, PerAddress: 2, Knows: known}, []string{"10.9.9.9:1", "10.0.0.2:1"}, nil, nil,
			"10.9.9.9:2", []string{"10.9.9.9:1", "10.9.9.9:2"}},
		{"never a known peer's for a stranger", Room{Total: 2, PerAddress: 2, Knows: known}, []string{"10.9.9.9:1", "10.0.0.2:1"}, []int{1}, nil,
			"10.0.0.3:1", []string{"10.9.9.9:1", "10.0.0.2:1"}},
		{"a known peer's for another of it", Room{Total: 2, PerAddress: 3, Knows: known}, []string{"10.9.9.9:1", "10.9.9.9:2"}, nil, nil,
			"10.9.9.9:3", []string{"10.9.9.9:2", "10.9.9.9:3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				script := &scriptedListener{from: c.from}
				l := newLimitListener(script, c.room, slog.New(slog.DiscardHandler))
				defer l.Close()
				conns := acceptAll(t, l)
				for _, i := range c.busy {
					busy(conns[i])
				}
				for _, i := range c.stuck {
					busy(conns[i])
					conns[i].stuck.Store(l.now())
				}
				time.Sleep(time.Minute)
				script.from = []string{c.next}
				conns = append(conns, acceptAll(t, l)...)
				if got := open(conns); !slices.Equal(got, c.want) {
					t.Errorf("open are\n%q, want\n%q", got, c.want)
				}
				if n, _ := l.stats(); n != len(c.want) {
					t.Errorf("%d places are taken, %d connections are open", n, len(c.want))
				}
			})
		})
	}
}

// Places are counted right whoever takes them from whom, and when.
func TestPlacesAreNeitherLostNorGivenTwice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	script := &scriptedListener{}
	l := newLimitListener(script, Room{Total: 50, PerAddress: 20, Knows: func(a netip.Addr) bool { return a.As4()[3] == 0 }},
		slog.New(slog.DiscardHandler))
	defer l.Close()
	var conns []*limitedConn
	for i := range 20_000 {
		script.from = []string{fmt.Sprintf("10.0.0.%d:%d", rnd.IntN(8), i%60_000+1)}
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c.(*limitedConn))
		}
		c := conns[rnd.IntN(len(conns))]
		switch rnd.IntN(4) {
		case 0:
			c.Close()
		case 1:
			c.state(http.StateActive)
		case 2:
			c.state(http.StateIdle)
		case 3:
			l.giveUp(rnd.IntN(2) == 0)
		}
		conns = slices.DeleteFunc(conns, func(c *limitedConn) bool { return c.gone.Load() })
		most, known := map[netip.Addr]int{}, 0
		for _, c := range conns {
			if most[c.addr]++; most[c.addr] > 20 {
				t.Fatalf("step %d: %v has %d", i, c.addr, most[c.addr])
			}
			if c.known {
				known++
			}
		}
		if l.open != len(conns) || l.known != known || len(conns) > 50 || len(l.hosts) != len(most) || len(conns)-known > 45 {
			t.Fatalf("step %d: %d of %d places, %d of %d known, %d of %d hosts", i, l.open, len(conns), l.known, known, len(l.hosts), len(most))
		}
	}
}

// Without file descriptors connections wait; what is idle is closed for them, and
// the operator is told what to do, a line for many.
func TestConnectionsAreAcceptedThoughFilesHaveRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := apptest.NewLog()
		script := &scriptedListener{from: []string{"10.0.0.1:1"}}
		l := newLimitListener(script, Room{Total: 10, PerAddress: 10}, slog.New(slog.NewTextHandler(log, nil)))
		l.Relieve = func() bool {
			script.short-- // a file is free
			return l.giveUp(false)
		}
		first := acceptAll(t, l)
		script.from, script.short = []string{"10.0.0.2:1"}, 1
		began := time.Now()
		c, err := l.Accept()
		if err != nil || !first[0].gone.Load() || time.Since(began) >= acceptAgain {
			t.Errorf("%v after %v, the idle one is closed: %v", err, time.Since(began), first[0].gone.Load())
		}
		busy(c)
		l.Relieve = func() bool { return l.giveUp(false) }
		script.from, script.short = []string{"10.0.0.3:1"}, 100 // nothing is idle
		if _, err := l.Accept(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if lines := strings.Count(log.String(), "too many files open"); lines < 1 || lines > 3 || !strings.Contains(log.String(), "LimitNOFILE") {
			t.Errorf("%d lines:\n%s", lines, log)
		}
		ended := make(chan error)
		script.from, script.short = []string{"10.0.0.4:1"}, 1<<30
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		time.Sleep(time.Second)
		l.Close()
		if err := <-ended; err == nil {
			t.Error("a listener that is closed accepts connections")
		}
	})
}
