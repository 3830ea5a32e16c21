package phone

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// A peer that does not read loses the oldest audio, never what tells it that
// the call is up. Nobody else waits for it.
func TestASlowReaderLosesTheOldest(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		slow, res, text := h.dial("kim", answerPath(callA)) // reads nothing
		if slow == nil {
			t.Fatal(res.StatusCode, text)
		}
		const frames = 2000
		for i := range frames {
			c.from.say(audio(320, int16(i)))
		}
		time.Sleep(frameAge / 2) // until all was read
		s := h.Stats()
		if s.FramesDropped == 0 || s.FramesDropped+s.FramesRelayed > frames || frames-s.FramesDropped-s.FramesRelayed > queueFrames+1 {
			t.Errorf("%+v", s)
		}
		slow.SetReadLimit(1 << 20)
		go slow.read()
		got := slow.heard()
		if !strings.HasPrefix(got[0], `{"phonecallStartTime":`) {
			t.Errorf("first %q", got[0])
		}
		if last := got[len(got)-1]; last != audio(320, frames-1) {
			t.Errorf("the newest is not among what was kept: %q", last[4:6])
		}
	})
}

// A peer that reads nothing for a while hears what is said then, and not what
// was said before: neither we nor the kernel keep it.
func TestWhoReadsNothingIsNotLate(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		slow, res, text := h.dial("kim", answerPath(callA))
		if slow == nil {
			t.Fatal(res.StatusCode, text)
		}
		const frames = 500 // 10 s
		for i := range frames {
			c.from.say(audio(320, int16(i)))
			time.Sleep(20 * time.Millisecond)
		}
		const kept = queueFrames + sendBuffer/652 + 5 // some are being written and read
		if s := h.Stats(); s.FramesDropped < frames-kept {
			t.Errorf("only %d of %d were dropped", s.FramesDropped, frames)
		}
		time.Sleep(10 * time.Second) // nobody says anything
		slow.SetReadLimit(1 << 20)
		go slow.read()
		c.from.say(audio(320, frames))
		got := slow.heard()
		if most := sendBuffer/652 + 5; len(got) > most {
			t.Errorf("%d messages were kept, want %d at most", len(got), most)
		}
		if last := got[len(got)-1]; last != audio(320, frames) {
			t.Errorf("the last is %q", last[4:6])
		}
	})
}

// A device that takes nothing is known not to, before the kernel has kept
// thousands of notifications for it.
func TestADeviceThatReadsNothingIsGivenUpSoon(t *testing.T) {
	at(t, func(h *house) {
		silent, _, _ := h.dial("kim", "/api/v3/notification/socket")
		kept := func() bool {
			h.Service.mu.Lock()
			defer h.Service.mu.Unlock()
			for d := range h.devices[h.users["kim"].ID] {
				return d.leg.over.Err() == nil
			}
			return false
		}
		told := 0
		for ; kept() && told < 5000; told++ {
			h.answer(NewID(), h.users["kim"].ID)
			synctest.Wait()
		}
		if most := queueUrgent + sendBuffer/len(answeredText(callA)) + 5; told > most {
			t.Errorf("given up after %d notifications, want %d at most", told, most)
		}
		_ = silent.CloseNow()
	})
}

func TestMessagesOfMoreThan16KiBCloseWith1009(t *testing.T) {
	at(t, func(h *house) {
		c := h.talking()
		c.from.say(audio(8190, 1))
		c.to.hears("16,384 bytes", audio(8190, 1))
		_ = c.from.Write(h.t.Context(), websocket.MessageBinary, make([]byte, 16385))
		c.from.ends("who wrote too much", websocket.StatusMessageTooBig)
		c.to.ends("the other", websocket.StatusGoingAway)
		c.kim1.hears("first device", endedText(callA))
	})
	at(t, func(h *house) { // a device has nothing to say, but is bounded too
		d := h.notified("sam")
		if err := d.Write(h.t.Context(), websocket.MessageBinary, make([]byte, 10000)); err != nil {
			t.Fatal(err)
		}
		d.stays("device")
		_ = d.Write(h.t.Context(), websocket.MessageText, make([]byte, 20000))
		d.ends("who wrote too much", websocket.StatusMessageTooBig)
	})
}

func TestSocketsArePingedAndPingsAnswered(t *testing.T) {
	at(t, func(h *house) {
		var pings atomic.Int64
		ws, _, err := websocket.Dial(h.t.Context(), "http://"+houseAddr+"/api/v3/notification/socket",
			&websocket.DialOptions{HTTPClient: h.client,
				HTTPHeader:     http.Header{"Authorization": {"Bearer " + h.tokens["sam"]}},
				OnPingReceived: func(context.Context, []byte) bool { pings.Add(1); return true }})
		if err != nil {
			t.Fatal(err)
		}
		d := &client{Conn: ws, h: h}
		go d.read()
		time.Sleep(10 * time.Minute)
		d.stays("device")
		if n := pings.Load(); n != 20 {
			t.Errorf("%d pings in ten minutes", n)
		}
		if err := ws.Ping(h.t.Context()); err != nil { // long after the last write
			t.Error(err)
		}
	})
}

func TestWhoDoesNotAnswerPingsIsGone(t *testing.T) {
	at(t, func(h *house) {
		c := h.talking()
		silent, _, _ := h.dial("eve", "/api/v3/notification/socket") // nobody reads it
		if n := h.Stats().Sockets; n != 6 {
			t.Fatalf("%d sockets", n)
		}
		time.Sleep(pingEvery + pongWait + time.Second)
		if n := h.Stats().Sockets; n != 5 {
			t.Errorf("%d sockets", n)
		}
		c.from.stays("caller")
		_ = silent.CloseNow()
	})
}

// A callee that neither reads nor returns the close is cut off after five
// seconds; the caller is told at once.
func TestACloseThatIsNotAnsweredIsHard(t *testing.T) {
	at(t, func(h *house) {
		c := h.ringing()
		silent, _, _ := h.dial("kim", answerPath(callA))
		c.kim1.hears("first device", answeredText(callA))
		for range 2000 { // its connection takes no more
			c.from.say(audio(320, 1))
		}
		settle()
		began := time.Now()
		_ = c.from.Close(websocket.StatusNormalClosure, "")
		c.kim1.hears("first device", endedText(callA))
		for n := 0; h.Stats().Sockets > 3 && n < 600; n++ {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(began); took > closeWait+3*time.Second {
			t.Errorf("took %v", took)
		}
		_ = silent.CloseNow()
	})
}

// A device that takes nothing is given up, and the others get theirs.
func TestADeviceThatTakesNothingIsGivenUp(t *testing.T) {
	at(t, func(h *house) {
		sam, d := h.notified("sam"), h.notified("kim")
		silent, _, _ := h.dial("kim", "/api/v3/notification/socket")
		sent := 0
		for h.Stats().Devices == 3 && sent < 5000 {
			h.decline(NewID(), h.users["sam"].ID) // of nothing
			h.answer(NewID(), h.users["kim"].ID)
			sent++
			synctest.Wait()
			if sent%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		if got := d.heard(); len(got) != sent {
			t.Errorf("%d of %d arrived", len(got), sent)
		}
		if sent == 5000 {
			t.Error("it is kept")
		}
		sam.hears("the other user")
		_ = silent.CloseNow()
	})
}

// raw opens a connection on which the test writes what it likes.
func (h *house) raw(who, path string) net.Conn {
	h.t.Helper()
	conn, err := h.net.DialFrom("10.0.0.3")(h.t.Context(), "tcp", houseAddr)
	if err != nil {
		h.t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", path, h.tokens[who])
	upgraded(h.t, conn)
	return conn
}

// upgraded reads the response to a request for a WebSocket.
func upgraded(t *testing.T, conn net.Conn) {
	t.Helper()
	head := make([]byte, 0, 512)
	for b := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); head = append(head, b[0]) {
		if _, err := io.ReadFull(conn, b); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasPrefix(string(head), "HTTP/1.1 101 ") {
		t.Fatalf("%s", head)
	}
}

// Whatever is not WebSocket ends the call. A peer that sends half a message by
// drops is cut off when a ping gets no pong.
func TestWhatIsNoWebSocketEndsTheCall(t *testing.T) {
	for name, bytes := range map[string]string{
		"not masked":        "\x82\x04\x00\x00\x00\x00",
		"reserved bits":     "\xf2\x84\x00\x00\x00\x00\x00\x00\x00\x00",
		"unknown opcode":    "\x83\x80\x00\x00\x00\x00",
		"huge length":       "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"negative length":   "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"continues nothing": "\x80\x80\x00\x00\x00\x00",
		"long ping":         "\x89\xfe\x01\x00\x00\x00\x00\x00",
		"half a message":    "\x82\xfe\x10\x00\x00\x00\x00\x00abc",
		"nothing more":      "",
	} {
		t.Run(name, func(t *testing.T) {
			at(t, func(h *house) {
				c := h.ringing()
				conn := h.raw("kim", answerPath(callA))
				if _, err := io.WriteString(conn, bytes); err != nil {
					t.Fatal(err)
				}
				go func() { _, _ = io.Copy(io.Discard, conn) }()
				time.Sleep(pingEvery + pongWait + closeWait)
				c.from.ends("the other", websocket.StatusGoingAway)
				if n := h.Stats().Sockets; n != 3 {
					t.Errorf("%d sockets", n)
				}
				conn.Close()
			})
		})
	}
}
