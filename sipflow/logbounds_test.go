package sipflow

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// Whoever a caller says he is, a line of the log is no longer for it.
func TestALineOfTheLogIsShortWhateverACallerIsCalled(t *testing.T) {
	var log bytes.Buffer
	long := strings.Repeat("x", 60_000)
	sw := &Switchboard{log: slog.New(slog.NewTextHandler(&log, nil)), cfg: Config{LogCalls: true}}
	c := &Call{Spec: Spec{Key: Key{Agent: long, Calling: long, Called: long + "\x1b[2J"}}}
	sw.logEnd(c)
	if line := log.String(); !strings.Contains(line, "calling=xxx") || len(line) > 1000 {
		t.Errorf("%d bytes: %.300s", len(line), line)
	}
}

// Without file descriptors the operator is told so, a line for many attempts,
// and what to do.
func TestThatFilesHaveRunOutIsToldALineForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		closed := make(chan struct{})
		r := newRig(t, n, phoneAddr, func(c *Config) {
			listen := c.Network.ListenTCP
			c.Network.ListenTCP = func(a string) (net.Listener, error) {
				l, err := listen(a)
				return &noFiles{l, closed}, err
			}
		})
		log := new(syncBuffer)
		r.log.b.Store(log)
		time.Sleep(time.Minute)
		r.stop()
		if lines := strings.Count(log.String(), "too many files open"); lines < 2 || lines > 10 || !strings.Contains(log.String(),
			"LimitNOFILE") {
			t.Errorf("%d lines in a minute:\n%.2000s", lines, log.String())
		}
	})
}

// noFiles cannot accept a connection until it is closed.
type noFiles struct {
	net.Listener
	closed chan struct{}
}

func (l *noFiles) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
}

func (l *noFiles) Close() error {
	close(l.closed)
	return l.Listener.Close()
}
