package sipflow

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

// tortures are the messages of RFC 4475 with the sections that say what an
// element may do with them, and what ours does: it can be called by nobody and
// registers nobody, so most of what is well-formed gets 404 or 405. 0 is no
// response. A stream that cannot be read on is closed after the response.
var tortures = []struct {
	name, section string
	udp, tcp      int
	closed        bool // the stream
	why           string
}{
	{"wsinv", "3.1.1.1", 481, 481, false, "well-formed, within a dialog that there is not"},
	{"intmeth", "3.1.1.2", 501, 501, false, "a method that nobody knows"},
	{"esc01", "3.1.1.3", 404, 404, false, "well-formed"},
	{"escnull", "3.1.1.4", 405, 405, false, "well-formed"},
	{"esc02", "3.1.1.5", 501, 501, false, "the method is not REGISTER: % has no meaning there"},
	{"lwsdisp", "3.1.1.6", 200, 200, false, "no blank before <"},
	{"longreq", "3.1.1.7", 404, 404, false, "well-formed, long values"},
	{"dblreq", "3.1.1.8", 405, 404, true, "by UDP the second request is not one; by TCP it is, and what follows is none"},
	{"semiuri", "3.1.1.9", 200, 200, false, "a semicolon in the user part"},
	{"transports", "3.1.1.10", 200, 200, false, "unknown transports in Vias below the first"},
	{"mpart01", "3.1.1.11", 405, 405, false, "well-formed"},
	{"unreason", "3.1.1.12", 0, 0, false, "a response"},
	{"noreason", "3.1.1.13", 0, 0, false, "a response"},
	{"badinv01", "3.1.2.1", 400, 400, false, "separators without values in Via"},
	{"clerr", "3.1.2.2", 400, 0, true, "Content-Length is too large; by TCP the rest is waited for"},
	{"ncl", "3.1.2.3", 400, 400, true, "a negative Content-Length"},
	{"scalar02", "3.1.2.4", 400, 400, false, "CSeq is too large"},
	{"scalarlg", "3.1.2.5", 0, 0, false, "likewise in a response, which is dropped"},
	{"quotbal", "3.1.2.6", 400, 400, false, "an open quote in To"},
	{"ltgtruri", "3.1.2.7", 400, 400, false, "Request-URI in <>"},
	{"lwsruri", "3.1.2.8", 400, 400, false, "a blank in the Request-URI"},
	{"lwsstart", "3.1.2.9", 400, 400, false, "two blanks in the start line"},
	{"trws", "3.1.2.10", 400, 400, false, "a blank at the end of the start line"},
	{"escruri", "3.1.2.11", 400, 400, false, "header fields in the Request-URI"},
	{"baddate", "3.1.2.12", 404, 404, false, "Date is not looked at"},
	{"regbadct", "3.1.2.13", 405, 405, false, "we are no registrar"},
	{"badaspec", "3.1.2.14", 200, 200, false, "blanks within <>, which can be read"},
	{"baddn", "3.1.2.15", 400, 0, true, "a comma in a display name; the message has no end either"},
	{"badvers", "3.1.2.16", 505, 505, false, "SIP/7.0"},
	{"mismatch01", "3.1.2.17", 400, 400, false, "CSeq has another method"},
	{"mismatch02", "3.1.2.18", 400, 400, false, "likewise, an unknown one"},
	{"bigcode", "3.1.2.19", 0, 0, false, "a response with a code of four digits"},
	{"badbranch", "3.2.1", 200, 200, false, "the branch is the cookie alone"},
	{"insuf", "3.3.1", 0, 0, false, "no From, To and Call-ID: nothing to answer with"},
	{"unkscm", "3.3.2", 416, 416, false, "an unknown scheme"},
	{"novelsc", "3.3.3", 416, 416, false, "a scheme that is none of SIP's"},
	{"unksm2", "3.3.4", 405, 405, false, "unknown schemes in fields that are not looked at"},
	{"bext01", "3.3.5", 420, 420, false, "unknown extensions are required"},
	{"invut", "3.3.6", 404, 404, false, "nobody is called, so the body does not matter"},
	{"regaut01", "3.3.7", 405, 405, false, "we are no registrar"},
	{"multi01", "3.3.8", 400, 400, false, "fields twice that may be there once"},
	{"mcl01", "3.3.9", 400, 400, true, "Content-Length twice"},
	{"bcast", "3.3.10", 0, 0, false, "a response with the broadcast address in Via"},
	{"zeromf", "3.3.11", 200, 200, false, "no forwards left, and none needed"},
	{"cparam01", "3.3.12", 405, 405, false, "we are no registrar"},
	{"cparam02", "3.3.13", 405, 405, false, "we are no registrar"},
	{"regescrt", "3.3.14", 405, 405, false, "we are no registrar"},
	{"sdp01", "3.3.15", 404, 404, false, "nobody is called, so Accept does not matter"},
	{"inv2543", "3.4.1", 404, 400, true, "RFC 2543 needs no Content-Length; a stream does"},
}

// tortureMessages are the messages by name.
func tortureMessages(t *testing.T) map[string][]byte {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "torture", "*.dat"))
	if err != nil || len(files) != 49 || len(tortures) != 49 {
		t.Fatalf("RFC 4475 has 49 messages: %d files, %d rows, %v", len(files), len(tortures), err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".dat")] = data
	}
	return all
}

// writePieces writes a message in pieces. It stops where it was cut off.
func writePieces(c net.Conn, data []byte, size int) {
	for i := 0; i < len(data); i += size {
		if _, err := c.Write(data[i:min(i+size, len(data))]); err != nil {
			return
		}
	}
}

// Each message by UDP, TCP and TCP byte by byte; after each a good OPTIONS is
// answered.
func TestTortureMessagesOverTheWire(t *testing.T) {
	messages := tortureMessages(t)
	for _, c := range tortures {
		t.Run(c.section+" "+c.name, func(t *testing.T) {
			data := messages[c.name]
			if data == nil {
				t.Fatal("there is no such message")
			}
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, phoneAddr)
				defer r.stop()
				// answered is the code of the last response, wherever it went.
				answered := func(send func()) (code int) {
					at := len(n.Packets())
					send()
					time.Sleep(time.Second)
					for _, p := range n.Packets()[at:] {
						if s := p.Status(); s != 0 && p.From.String() == ourAddr {
							code = s
						}
					}
					return code
				}
				sender := rawUDP(t, n, "10.0.0.66:5060")
				if got := answered(func() { sender.send(string(data)) }); got != c.udp {
					t.Errorf("by UDP: %d, want %d (%s)", got, c.udp, c.why)
				}
				for _, size := range []int{len(data), 1} {
					conn, err := n.DialFrom("10.0.0.66")(t.Context(), "tcp", ourAddr)
					if err != nil {
						t.Fatal(err)
					}
					if got := answered(func() { writePieces(conn, data, size) }); got != c.tcp {
						t.Errorf("by TCP, %d bytes at a time: %d, want %d (%s)", size, got, c.tcp, c.why)
					}
					if !c.closed { // what follows is read
						if got := answered(func() { conn.Write([]byte(stranger("OPTIONS", "", "UDP phone", "TCP phone"))) }); got != 200 {
							t.Errorf("the OPTIONS that follows it is answered %d", got)
						}
					} else {
						time.Sleep(transport.StreamMessage)
						if _, err := conn.Write([]byte("x")); err == nil {
							t.Error("the stream is not closed")
						}
					}
					conn.Close()
				}
				rawUDP(t, n, "10.0.0.67:5060").wants(200, stranger("OPTIONS", ""))
				r.empty()
			})
		})
	}
}

// Some of them are worse than the RFC wants, for their files end early: as they
// are meant.
func TestTortureMessagesThatEndEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		p := rawUDP(t, n, "10.0.0.66:5060")
		data := append(bytes.Clone(tortureMessages(t)["baddn"]), "\r\n"...)
		p.send(string(data))
		time.Sleep(time.Second)
		found := false
		for _, q := range n.Packets() {
			found = found || strings.HasPrefix(string(q.Data), "SIP/2.0 400 Malformed From\r\n")
		}
		if !found {
			t.Error("a display name with a comma is not refused")
		}
	})
}

// The whole corpus again and again: nothing grows.
func TestTortureMessagesLeaveNothing(t *testing.T) {
	messages := tortureMessages(t)
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		sender := rawUDP(t, n, "10.0.0.66:5060")
		round := func() (goroutines int, heap uint64) {
			for _, c := range tortures {
				sender.send(string(messages[c.name]))
				for _, size := range []int{len(messages[c.name]), 64} {
					conn, err := n.DialFrom("10.0.0.66")(t.Context(), "tcp", ourAddr)
					if err != nil {
						t.Fatal(err)
					}
					writePieces(conn, messages[c.name], size)
					time.Sleep(10 * time.Millisecond)
					conn.Close()
				}
				for b, err := make([]byte, 65535), error(nil); err == nil; {
					sender.udp.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
					_, _, err = sender.udp.ReadFromUDPAddrPort(b)
				}
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return runtime.NumGoroutine(), m.HeapAlloc
		}
		for range 3 {
			round()
		}
		goroutines, heap := round()
		for range 6 {
			round()
		}
		after, grown := round()
		if after != goroutines {
			t.Errorf("%d goroutines, then %d", goroutines, after)
		}
		if grown > heap+64<<10 {
			t.Errorf("heap of %d KiB, then %d", heap>>10, grown>>10)
		}
		r.empty()
	})
}
