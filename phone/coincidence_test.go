package phone

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// A call that ends in the moment of a ping is closed as any other.
func TestACallThatEndsInTheMomentOfAPingIsClosedInGoodOrder(t *testing.T) {
	for range 10 {
		at(t, func(h *house) {
			c := h.ringing()
			c.to = h.open("kim", answerPath(callA)) // and is pinged when the call ends
			time.Sleep(2 * pingEvery)
			c.from.ends("caller", websocket.StatusGoingAway)
			c.to.ends("callee", websocket.StatusGoingAway)
		}, func(cfg *Config) { cfg.MaxCall = 2 * pingEvery })
	}
}

// once is a listener of one connection.
type once chan net.Conn

func (o once) Accept() (net.Conn, error) {
	if conn, ok := <-o; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (o once) Close() error   { return nil }
func (o once) Addr() net.Addr { return &net.TCPAddr{} }

// A ping takes its time to be written. A leg that ends meanwhile is closed by
// 1001 behind it, and a peer that does not return that has closeWait.
func TestALegThatEndsWhileAPingIsWritten(t *testing.T) {
	for name, answers := range map[string]bool{"answered": true, "not answered": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sums relayed
				l := newLeg(&sums)
				client, conn := net.Pipe() // which holds nothing
				defer client.Close()
				ended := make(chan time.Time, 1)
				server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s, err := (&Service{}).accept(w, r, l, websocket.MessageText)
					if err != nil {
						t.Error(err)
						return
					}
					s.serve(func() {})
					ended <- time.Now()
				})}
				defer server.Close()
				listener := make(once, 1)
				listener <- conn
				defer close(listener)
				go func() { _ = server.Serve(listener) }()

				fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
					"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
				upgraded(t, client)
				time.Sleep(pingEvery)
				synctest.Wait() // the ping is being written
				l.end()
				over := time.Now()
				time.Sleep(time.Second)
				want := "\x89\x011" + "\x88\x02\x03\xe9" // ping, 1001
				got := make([]byte, len(want))
				if n, err := io.ReadFull(client, got); err != nil || string(got) != want {
					t.Fatalf("% x, %v; want % x", got[:n], err, want)
				}
				wait := closeWait
				if answers {
					wait = time.Second
					_, _ = io.WriteString(client, "\x88\x82\x00\x00\x00\x00\x03\xe9")
				}
				if d := (<-ended).Sub(over); d != wait {
					t.Errorf("the connection ended after %v, want %v", d, wait)
				}
			})
		})
	}
}

// A peer may write too much in place of a pong: it is told at once.
func TestWhoWritesTooMuchWhileAPingIsNotAnsweredIsTold(t *testing.T) {
	at(t, func(h *house) {
		ws, _, err := websocket.Dial(h.t.Context(), "http://"+houseAddr+"/api/v3/notification/socket",
			&websocket.DialOptions{HTTPClient: h.client,
				HTTPHeader:     http.Header{"Authorization": {"Bearer " + h.tokens["sam"]}},
				OnPingReceived: func(context.Context, []byte) bool { return false }})
		if err != nil {
			t.Fatal(err)
		}
		d := &client{Conn: ws, h: h}
		go d.read()
		time.Sleep(pingEvery + time.Second)
		_ = d.Write(h.t.Context(), websocket.MessageText, make([]byte, 20000))
		d.ends("who wrote too much", websocket.StatusMessageTooBig)
		if n := h.Stats().Sockets; n != 0 {
			t.Errorf("%d sockets", n)
		}
	})
}
