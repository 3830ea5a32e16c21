package web

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair is both ends of a TCP connection, the first one direct.
func pair(t *testing.T) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	here := direct(c)
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

func TestDirectConnCarriesMoreThanTheSocketHolds(t *testing.T) {
	here, there := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	go func() {
		here.Write(sent) //nolint:errcheck // the reader finds out
		here.Close()
	}()
	got, err := io.ReadAll(there)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
	here2, there2 := pair(t)
	go func() {
		there2.Write(sent) //nolint:errcheck
		there2.Close()
	}()
	got, err = io.ReadAll(here2)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("back: %d bytes of %d, %v", len(got), len(sent), err)
	}
}

func TestDirectConnKeepsDeadlinesAndClosing(t *testing.T) {
	here, there := pair(t)
	here.SetReadDeadline(time.Now().Add(-time.Second)) //nolint:errcheck
	var timeout net.Error
	if _, err := here.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after its deadline: %v", err)
	}
	here.SetReadDeadline(time.Time{}) //nolint:errcheck
	there.(*net.TCPConn).SetLinger(0) //nolint:errcheck
	there.Close()
	if _, err := here.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after a reset: %v", err)
	}
	waits := make(chan error)
	closed, _ := pair(t)
	go func() {
		_, err := closed.Read(make([]byte, 1))
		waits <- err
	}()
	closed.Close()
	if err := <-waits; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read of what is closed meanwhile: %v", err)
	}
	if _, err := closed.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write to what is closed: %v", err)
	}
}

// Calls over WebSocket bound what the kernel keeps of their audio.
func TestDirectConnLetsItsBufferBeSet(t *testing.T) {
	direct := direct(&net.TCPConn{})
	if _, ok := direct.(interface{ SetWriteBuffer(int) error }); !ok {
		t.Errorf("%T hides it", direct)
	}
}
