//go:build interop

package interop

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/phone"
)

// softphone is a user's client over WebSocket: it plays a tone once the call is
// answered, and keeps what it hears.
type softphone struct {
	t    *testing.T
	base string
	user phone.User
	auth http.Header

	mu     sync.Mutex
	notes  []string // notifications
	heard  []int16
	up     bool
	closed error
}

func newSoftphone(t *testing.T, s *lab.Service, store *phone.Store, name string) *softphone {
	t.Helper()
	u, err := store.Add(t.Context(), phone.User{Username: name}, name+"'s password")
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := store.LogIn(t.Context(), name, name+"'s password")
	if err != nil {
		t.Fatal(err)
	}
	return &softphone{t: t, base: "wss" + strings.TrimPrefix(s.Secure, "https") + "/api/v3/", user: u,
		auth: http.Header{"Authorization": {"Bearer " + token}}}
}

func (p *softphone) dial(path string) *websocket.Conn {
	p.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // its certificate is of its own
	}}
	ws, _, err := websocket.Dial(p.t.Context(), p.base+path, &websocket.DialOptions{HTTPClient: client, HTTPHeader: p.auth})
	if err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	p.t.Cleanup(func() { ws.CloseNow() })
	return ws
}

// listen opens a notification socket.
func (p *softphone) listen() {
	p.t.Helper()
	ws := p.dial("notification/socket")
	go func() {
		for {
			_, text, err := ws.Read(context.Background())
			if err != nil {
				return
			}
			p.mu.Lock()
			p.notes = append(p.notes, string(text))
			p.mu.Unlock()
		}
	}()
}

// notified waits for the first notification of a kind and forgets all.
func (p *softphone) notified(l *lab.Lab, kind string) (note string) {
	p.t.Helper()
	l.Until(p.user.Username+" is told of "+kind, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, note = range p.notes {
			if strings.Contains(note, kind) {
				p.notes = nil
				return true
			}
		}
		return false
	})
	return note
}

// talk serves a phone socket with a tone of hz until it closes.
func (p *softphone) talk(ws *websocket.Conn, hz float64) {
	p.mu.Lock()
	p.heard, p.up, p.closed = nil, false, nil
	p.mu.Unlock()
	go func() {
		for {
			_, b, err := ws.Read(context.Background())
			p.mu.Lock()
			switch {
			case err != nil:
				p.closed = err
			case len(b) < 4 || len(b) != 4+2*int(binary.LittleEndian.Uint32(b)):
				p.up = true
			default:
				for b = b[4:]; len(b) > 0; b = b[2:] {
					p.heard = append(p.heard, int16(binary.LittleEndian.Uint16(b)))
				}
			}
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		frame := binary.LittleEndian.AppendUint32(nil, 320)
		for n := 0; ; {
			<-tick.C
			p.mu.Lock()
			up, over := p.up, p.closed != nil
			p.mu.Unlock()
			if over {
				return
			}
			if !up {
				continue
			}
			frame = frame[:4]
			for range 320 {
				frame = binary.LittleEndian.AppendUint16(frame, uint16(int16(8000*math.Sin(2*math.Pi*hz*float64(n)/16000))))
				n++
			}
			if ws.Write(context.Background(), websocket.MessageBinary, frame) != nil {
				return
			}
		}
	}()
}

// hears waits until the last second of what was heard is a tone of hz.
func (p *softphone) hears(l *lab.Lab, hz float64) {
	p.t.Helper()
	l.Until(fmt.Sprintf("%s hears %.0f Hz", p.user.Username, hz), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.heard) > 16000 && goertzel(p.heard[len(p.heard)-16000:], hz) > 0.8
	})
}

// goertzel is the share of a tone of hz in a second at 16 kHz.
func goertzel(pcm []int16, hz float64) float64 {
	c := 2 * math.Cos(2*math.Pi*hz/16000)
	var s1, s2, all float64
	for _, v := range pcm {
		x := float64(v)
		s1, s2 = x+c*s1-s2, s1
		all += x * x
	}
	if all < 1e6*float64(len(pcm)) { // silence
		return 0
	}
	return 2 * (s1*s1 + s2*s2 - c*s1*s2) / (float64(len(pcm)) * all)
}

// ended waits until the phone socket has been closed with a code.
func (p *softphone) ended(l *lab.Lab, code websocket.StatusCode) {
	p.t.Helper()
	l.Until(p.user.Username+"'s socket is closed", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.closed != nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	var e websocket.CloseError
	if !errors.As(p.closed, &e) || e.Code != code {
		p.t.Errorf("%s's socket ended with %v, want %d", p.user.Username, p.closed, code)
	}
}

// A user over WebSocket calls a SIP phone through the proxy, and is called by
// one through dispatch; each hears the other's tone, with each codec.
func TestWebSocketUsersAndSIPPhonesSpeak(t *testing.T) {
	t.Parallel()
	for _, codec := range []string{"PCMA", "G722"} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			sip := net.JoinHostPort("127.0.0.1", strconv.Itoa(lab.Ports(t, 1)))
			rtp := lab.Ports(t, 8)
			l := lab.Start(t, map[string]string{"5000": sip})
			desk := l.Phone("202", lab.PhoneConfig{AnswerDelay: 500 * time.Millisecond, G722: codec == "G722"})
			s := l.ServiceAt(sip, fmt.Sprintf(`phone:
  enabled: true
  sip: {enabled: true, rtp-ports: %d-%d, agent: "209", media-allow: [127.0.0.0/8]}
dispatch:
  trunks: [{name: kamailio, sources: [127.0.0.1]}]
  rules: [{id: sam, numbers: ["5000"], action: transfer, transfer_to: "phone:sam"}]`, rtp, rtp+7))
			store, err := phone.Open(filepath.Join(l.Dir, "data", "phone.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			sam, kim := newSoftphone(t, s, store, "sam"), newSoftphone(t, s, store, "kim")
			for _, err := range []error{store.Relate(t.Context(), phone.Favorite, kim.user.ID, sam.user.ID),
				store.Relate(t.Context(), phone.Favorite, sam.user.ID, kim.user.ID), store.SetSIP(t.Context(), kim.user.ID, "sip:202@sipx.test")} {
				if err != nil {
					t.Fatal(err)
				}
			}
			const hz = 1000
			l.Run(t, "a user calls", func(t *testing.T) {
				ws := sam.dial("phone/socket/initiate/" + phone.NewID().String() + "/to/" + kim.user.ID.String())
				sam.talk(ws, hz)
				sam.hears(l, desk.Tone)
				desk.AwaitTone(hz, "sam")
				desk.HangUp()
				sam.ended(l, websocket.StatusGoingAway)
				desk.AwaitOnHook()
			})
			l.Run(t, "a phone calls", func(t *testing.T) {
				sam.listen()
				desk.Dial("5000")
				note := sam.notified(l, "incomingPhoneCall")
				var call struct {
					ContentID string
					Caller    struct{ Username string }
				}
				if err := json.Unmarshal([]byte(note), &call); err != nil || call.Caller.Username != "kim" {
					t.Errorf("%s: %v", note, err)
				}
				ws := sam.dial("phone/socket/answer/" + call.ContentID)
				sam.talk(ws, hz+200)
				sam.hears(l, desk.Tone)
				desk.AwaitTone(hz+200, "sam")
				desk.Hold()
				desk.Resume()
				sam.hears(l, desk.Tone)
				if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
					t.Error(err)
				}
				desk.AwaitOnHook()
				sam.notified(l, "phoneCallEnded")
			})
		})
	}
}
