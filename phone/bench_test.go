package phone

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"log/slog"

	"github.com/coder/websocket"
)

// BenchmarkRelay is one 20 ms message of audio, from one TCP connection to
// another through the service, with both clients in the same process: cpu-ns/op
// is user and system time of all three.
func BenchmarkRelay(b *testing.B) {
	store := tempStore(b)
	defer store.Close()
	s, err := New(Config{Store: store, RequestRate: 1000, Address: func(*http.Request) netip.Addr { return netip.Addr{} }},
		slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	s.pace = 0 // one socket has the load of many
	server := httptest.NewServer(s)
	defer server.Close()
	ctx := context.Background()
	var users [2]User
	var tokens [2]string
	for i := range users {
		name := "user" + strconv.Itoa(i)
		if users[i], err = store.Add(ctx, User{Username: name}, "password1"); err != nil {
			b.Fatal(err)
		}
		if _, tokens[i], err = store.LogIn(ctx, name, "password1"); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Relate(ctx, Favorite, users[1].ID, users[0].ID); err != nil {
		b.Fatal(err)
	}
	var conns [3]net.Conn
	open := func(i int, token, path string) *websocket.Conn {
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, addr)
			conns[i] = c
			return c, err
		}}}
		ws, _, err := websocket.Dial(ctx, server.URL+path, &websocket.DialOptions{HTTPClient: client,
			HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
		if err != nil {
			b.Fatal(err)
		}
		return ws
	}
	open(2, tokens[1], "/api/v3/notification/socket")
	from := open(0, tokens[0], initiatePath(callA, users[1].ID.String()))
	to := open(1, tokens[1], answerPath(callA))
	for _, ws := range []*websocket.Conn{from, to} {
		if _, _, err := ws.Read(ctx); err != nil { // the start frame
			b.Fatal(err)
		}
	}
	// A frame as a client writes it, its mask all zeros.
	message := audio(320, 1)
	wire := append([]byte{0x82, 0x80 | 126, byte(len(message) >> 8), byte(len(message)), 0, 0, 0, 0}, message...)
	answer := make([]byte, 4+len(message))
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		if _, err := conns[0].Write(wire); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conns[1], answer); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
	b.StopTimer()
	for _, c := range conns {
		c.Close()
	}
	s.Shutdown()
}

// cpuTime is what this process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
