package lab

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo answers everything with itself, until the test ends.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String()
}

func TestWireIsCutStoppedAndMended(t *testing.T) {
	w := (&Lab{tb: t}).Wire(echo(t))
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", w.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	// says reports whether what is sent comes back in time.
	says := func(c net.Conn, limit time.Duration) bool {
		if _, err := c.Write([]byte("x")); err != nil {
			return false
		}
		_ = c.SetReadDeadline(time.Now().Add(limit))
		n, err := c.Read(make([]byte, 1))
		return n == 1 && err == nil
	}
	c := dial()
	if !says(c, Patience) {
		t.Fatal("nothing comes back")
	}
	for name, stop := range map[string]func(){"both ways": w.Stop, "there": w.StopUp, "back": w.StopDown} {
		stop()
		if says(c, 50*time.Millisecond) {
			t.Errorf("stopped %s: it comes back", name)
		}
		w.Mend()
		_ = c.SetReadDeadline(time.Now().Add(Patience))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Errorf("stopped %s and mended: what was sent is lost: %v", name, err)
		}
	}
	const delay = 30 * time.Millisecond
	w.Slow(delay)
	if began := time.Now(); !says(c, Patience) || time.Since(began) < 2*delay {
		t.Errorf("a slow wire takes %v, want at least %v", time.Since(began), 2*delay)
	}
	w.Cut()
	if says(c, Patience) || says(dial(), Patience) {
		t.Error("something passes a wire that is cut")
	}
	w.Mend()
	if !says(dial(), Patience) {
		t.Error("nothing passes a wire that is mended")
	}
}
