package siptest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

func TestPacketsArriveInOrderAfterTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Delay = 20 * time.Millisecond
		a, b, c := n.Listen("10.0.0.1:5060"), n.Listen("10.0.0.2:5060"), n.Listen("10.0.0.3:5060")
		defer a.Close()
		defer b.Close()
		defer c.Close()
		start := time.Now()
		to := netip.MustParseAddrPort("10.0.0.3:5060")
		b.WriteToUDPAddrPort([]byte("from b"), to) // of one instant: by sender, not by who was first
		a.WriteToUDPAddrPort([]byte("from a 1"), to)
		a.WriteTo([]byte("from a 2"), net.UDPAddrFromAddrPort(to))
		a.WriteToUDPAddrPort([]byte("nowhere"), netip.MustParseAddrPort("10.9.9.9:1"))
		var got []string
		for range 3 {
			buf := make([]byte, 100)
			k, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, from.String()+" "+string(buf[:k]))
		}
		want := []string{"10.0.0.1:5060 from a 1", "10.0.0.1:5060 from a 2", "10.0.0.2:5060 from b"}
		if !slices.Equal(got, want) || time.Since(start).Truncate(time.Millisecond) != n.Delay {
			t.Errorf("%q after %v", got, time.Since(start))
		}
		if p := n.Packets(); len(p) != 4 || !p[2].Lost {
			t.Errorf("%v", p)
		}
	})
}

func TestDropDuplicateAndLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Drop = func(p siptest.Packet) bool { return string(p.Data) == "drop" }
		n.Duplicate = func(p siptest.Packet) bool { return string(p.Data) == "twice" }
		n.Late = func(p siptest.Packet) time.Duration {
			if string(p.Data) == "late" {
				return time.Second
			}
			return 0
		}
		seen := 0
		n.Observe = func(siptest.Packet) { seen++ }
		a, b := n.Listen("10.0.0.1:5060"), n.Listen("10.0.0.2:5060")
		defer a.Close()
		defer b.Close()
		for _, s := range []string{"late", "drop", "twice", "plain"} {
			a.WriteToUDPAddrPort([]byte(s), netip.MustParseAddrPort("10.0.0.2:5060"))
		}
		var got []string
		for range 4 {
			buf := make([]byte, 100)
			k, _, err := b.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(buf[:k]))
		}
		if want := []string{"twice", "plain", "twice", "late"}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		synctest.Wait()
		if seen != 5 || n.Arrived() != 5 {
			t.Errorf("%d seen, %d arrived", seen, n.Arrived())
		}
	})
}

func TestSocketDeadlinesAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		c := n.Listen("10.0.0.1:5060")
		start := time.Now()
		c.SetReadDeadline(time.Now().Add(time.Second))
		c.SetReadDeadline(time.Now().Add(2 * time.Second)) // replaces the first
		if _, _, err := c.ReadFrom(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, _, err := c.ReadFrom(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline that is over: %v", err)
		}
		c.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Hour, func() { c.Close() })
		if _, _, err := c.ReadFrom(make([]byte, 10)); !errors.Is(err, net.ErrClosed) || time.Since(start) < time.Hour {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := c.WriteTo([]byte("x"), c.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		n.Listen("10.0.0.1:5060").Close() // the address is free again
	})
}

func TestOversizedDatagramIsRefused(t *testing.T) {
	c := siptest.NewNetwork().Listen("10.0.0.1:5060")
	defer c.Close()
	if _, err := c.WriteTo(make([]byte, 70000), c.LocalAddr()); !errors.Is(err, syscall.EMSGSIZE) {
		t.Error(err)
	}
}

func TestTCPCarriesMoreThanItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		l := n.ListenTCP("10.0.0.1:5060")
		defer l.Close()
		near, err := n.DialFrom("10.0.0.2")(t.Context(), "tcp", "10.0.0.1:5060")
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if far.RemoteAddr().String() != near.LocalAddr().String() || !strings.HasPrefix(near.LocalAddr().String(), "10.0.0.2:") {
			t.Errorf("addresses %v, %v", near.LocalAddr(), far.RemoteAddr())
		}
		sent := bytes.Repeat([]byte("0123456789"), 100_000)
		go func() {
			near.Write(sent)
			near.Close()
		}()
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d of %d bytes, %v", len(got), len(sent), err)
		}
		if _, err := far.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a closed peer: %v", err)
		}
		far.Close()
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after Close: %v", err)
		}
	})
}

func TestTCPWritersDoNotBlockEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		l := n.ListenTCP("10.0.0.1:5060")
		defer l.Close()
		near, err := n.DialContext(t.Context(), "tcp", "10.0.0.1:5060")
		if err != nil {
			t.Fatal(err)
		}
		far, _ := l.Accept()
		defer near.Close()
		defer far.Close()
		near.Write([]byte("to far")) // both before either reads
		far.Write([]byte("to near"))
		for c, want := range map[net.Conn]string{near: "to near", far: "to far"} {
			buf := make([]byte, 10)
			if k, err := c.Read(buf); err != nil || string(buf[:k]) != want {
				t.Errorf("%q %v", buf[:k], err)
			}
		}
		near.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		near.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := near.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write that nobody reads: %v", err)
		}
	})
}

func TestTCPRefusesAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		if _, err := n.DialContext(t.Context(), "tcp", "10.0.0.1:5060"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("closed port: %v", err)
		}
		l := n.ListenTCP("10.0.0.1:5060")
		var conns []net.Conn
		var err error
		for err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			var c net.Conn
			if c, err = n.DialContext(ctx, "tcp", "10.0.0.1:5060"); err == nil {
				conns = append(conns, c)
			}
			cancel()
		}
		if !errors.Is(err, context.DeadlineExceeded) || len(conns) != 128 {
			t.Errorf("%v after %d", err, len(conns))
		}
		l.Close()
		if _, err := l.Accept(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		for _, c := range conns {
			c.Close()
		}
	})
}

func TestLadderMarksLossAndRepetition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Drop = func(p siptest.Packet) bool { return p.N == 1 }
		n.Duplicate = func(p siptest.Packet) bool { return p.Status() == 200 && p.Method() == "BYE" }
		p := newPair(t, n, siptest.Script{}, siptest.Script{})
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		if _, err := p.caller.Do(t.Context(), siptest.Action{Method: sip.BYE, Header: []sip.Header{
			sip.NewHeader("Reason", `SIP;cause=486;text="Busy Here"`),
		}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		p.check(t)
		if p.called.ByeReason() != `SIP;cause=486;text="Busy Here"` {
			t.Errorf("Reason %q", p.called.ByeReason())
		}
		want := `+0.000   201 → 202  INVITE sip:202@10.0.0.3:5060 (call 1, 1 INVITE) sdp [lost]
+0.500   201 → 202  INVITE sip:202@10.0.0.3:5060 (call 1, 1 INVITE) sdp [again]
+0.501   202 → 201  180 Ringing (call 1, 1 INVITE)
+0.501   202 → 201  200 OK (call 1, 1 INVITE) sdp
+0.502   201 → 202  ACK sip:202@10.0.0.3:5060 (call 1, 1 ACK)
+0.502   201 → 202  BYE sip:202@10.0.0.3:5060 (call 1, 2 BYE) Reason: SIP;cause=486;text="Busy Here"
+0.503   202 → 201  200 OK (call 1, 2 BYE)
+0.503   202 → 201  200 OK (call 1, 2 BYE) [copy]
`
		if got := n.Ladder(); got != want {
			t.Errorf("got\n%s", got)
		}
	})
}
